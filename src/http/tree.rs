//! The supervision tree: looking at it, restarting a part of it, and hurting it on purpose.

use actix_web::{HttpRequest, HttpResponse, web};
use actors::supervision::{CommandError, Fault};
use serde::Deserialize;
use serde_json::json;

use super::auth::check_admin;
use super::body;
use super::problem::{ErrorType, Problem, request_id};
use super::state::Doors;
use crate::settings::COMMAND_BODY_MAX_BYTES;

const ROOT: &str = "root";

/// `GET /actors`: the whole tree.
pub(super) async fn actors(doors: web::Data<Doors>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"root": doors.tree.root.snapshot()}))
}

/// `GET /actors/{path}`: one node of it, with the post-mortems of its latest deaths.
pub(super) async fn actor(
    request: HttpRequest,
    doors: web::Data<Doors>,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let root = &doors.tree.root;
    let (node, under) = match path.as_str() {
        ROOT => (Some(root.snapshot()), ""),
        path => (root.find(path), path),
    };
    let mut node = json!(node.ok_or_else(|| not_found(&request))?);
    node["post_mortems"] = json!(root.post_mortems(under));
    Ok(HttpResponse::Ok().json(node))
}

/// `POST /admin/actors/{path}/restart`: another life for an actor, or for each one of a group, once it has finished what
/// it has in hand.
pub(super) async fn restart(
    request: HttpRequest,
    doors: web::Data<Doors>,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    check_admin(&request, &doors.settings.keys)?;
    doors.tree.root.restart(&path).map_err(|error| refused(&request, error))?;
    Ok(accepted(&request))
}

/// `{"kind": "panic"}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultBody {
    kind: FaultKind,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FaultKind {
    Panic,
    Hang,
    Stop,
    Block,
}

/// `POST /admin/actors/{path}/fault`: what is to befall an actor at its next message.
pub(super) async fn fault(
    request: HttpRequest,
    payload: web::Payload,
    doors: web::Data<Doors>,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    check_admin(&request, &doors.settings.keys)?;
    if !doors.settings.keys.enable_injection {
        let detail = "faults are switched off: set ENABLE_INJECTION=true";
        return Err(Problem::new(&request, ErrorType::NotFound, detail));
    }
    let mut memory = doors.admission.body_memory();
    let body = body::read(&request, payload, COMMAND_BODY_MAX_BYTES, &mut memory, &doors).await?;
    let FaultBody { kind } = serde_json::from_slice(&body).map_err(|_| {
        let detail = r#"send {"kind": "panic"}, or "hang", "stop" or "block""#;
        Problem::new(&request, ErrorType::ValidationError, detail)
    })?;
    let fault = match kind {
        FaultKind::Panic => Fault::Panic,
        FaultKind::Hang => Fault::Hang,
        FaultKind::Stop => Fault::Stop,
        FaultKind::Block => Fault::Block,
    };
    doors.tree.root.inject(&path, fault).map_err(|error| refused(&request, error))?;
    Ok(accepted(&request))
}

/// `POST /admin/breakers/{name}/reset`: closes a circuit breaker.
pub(super) async fn reset_breaker(
    request: HttpRequest,
    doors: web::Data<Doors>,
    name: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    check_admin(&request, &doors.settings.keys)?;
    let breakers = doors.tree.root.breakers();
    let Some(breaker) = breakers.iter().find(|breaker| breaker.name() == name.as_str()) else {
        let detail = "no circuit breaker has this name: see /actors";
        return Err(Problem::new(&request, ErrorType::NotFound, detail));
    };
    breaker.reset();
    Ok(accepted(&request))
}

fn not_found(request: &HttpRequest) -> Problem {
    Problem::new(request, ErrorType::NotFound, "no actor has this path: see /actors")
}

fn refused(request: &HttpRequest, error: CommandError) -> Problem {
    match error {
        CommandError::Unknown => not_found(request),
        CommandError::NotOneChild => {
            let detail = "this path names a group of actors: name one of them, see /actors";
            Problem::new(request, ErrorType::ValidationError, detail)
        }
        CommandError::Over => {
            let detail = "this actor has stopped for good: only a new process brings it back";
            Problem::new(request, ErrorType::Conflict, detail)
        }
    }
}

fn accepted(request: &HttpRequest) -> HttpResponse {
    HttpResponse::Accepted().json(json!({"status": "accepted", "request_id": request_id(request).as_str()}))
}
