//! The APIs' doors, and those of whoever runs the cloud.

use std::time::Duration;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{self, Answer};
use super::faults::{Fault, FaultKind, Route};
use super::limits::Fields;
use super::oauth::query;
use super::tokens::Grant;
use super::{Shared, Vendor};

/// How long a request that times out is held, and a slow body takes, unless the fault says otherwise.
const HOLD_SECONDS: f64 = 60.0;
const SLOW_SECONDS: f64 = 5.0;
/// Of one step of the clock; milliseconds of it fit 32 bits.
const FORWARD_MAX_SECONDS: u32 = 4_000_000;
/// Pieces of a slow body.
const PIECES: usize = 10;

/// An answer as it goes out.
pub(super) fn reply(answer: &Answer, fields: Fields) -> HttpResponse {
    send(answer.status, fields, answer.body.to_string().into_bytes())
}

fn send(status: u16, fields: Fields, body: Vec<u8>) -> HttpResponse {
    let mut response = head(status, fields);
    if status == 204 { response.finish() } else { response.body(body) }
}

fn head(status: u16, fields: Fields) -> actix_web::HttpResponseBuilder {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    fields.into_iter().for_each(|field| {
        response.insert_header(field);
    });
    response.content_type("application/json");
    response
}

/// Serves a request, unless a fault befalls it, or spoils the answer; counts it either way.
pub(super) async fn spoiled(
    cloud: &Shared,
    vendor: Vendor,
    route: Route,
    serve: impl FnOnce() -> Answer,
    fields: Fields,
) -> HttpResponse {
    if !cloud.config.delay.is_zero() {
        tokio::time::sleep(cloud.config.delay).await;
    }
    let count = |status: u16| {
        let route = if route == Route::Token { "token" } else { "api" };
        cloud.stats.count(&["requests", vendor.name(), route, &status.to_string()]);
    };
    let fault = cloud.faults.of_request(vendor, route);
    if let Some(fault) = &fault {
        cloud.stats.count(&["faults", fault.kind.name()]);
    }
    match fault.map(|fault| (fault.kind, fault)) {
        Some((FaultKind::RateLimit, _)) => {
            count(429);
            reply(&Answer::detail(429, "Too Many Requests"), cloud.budget.refusal(vendor))
        }
        Some((FaultKind::ServerError, _)) => {
            count(500);
            reply(&Answer::detail(500, "Internal Server Error"), fields)
        }
        Some((FaultKind::TimeOut, fault)) => {
            count(504);
            tokio::time::sleep(fault.hold(HOLD_SECONDS)).await;
            reply(&Answer::detail(504, "Gateway Timeout"), fields)
        }
        spoiling => {
            let answer = serve();
            count(answer.status);
            let body = answer.body.to_string().into_bytes();
            match spoiling {
                Some((FaultKind::BrokenJson, _)) => {
                    let half = body.len() / 2;
                    send(answer.status, fields, body[..half].to_vec())
                }
                Some((FaultKind::SlowBody, fault)) => {
                    slow(answer.status, fields, &body, fault.hold(SLOW_SECONDS))
                }
                _ => send(answer.status, fields, body),
            }
        }
    }
}

fn slow(status: u16, fields: Fields, body: &[u8], takes: Duration) -> HttpResponse {
    let pieces: Vec<Bytes> =
        body.chunks(body.len().div_ceil(PIECES).max(1)).map(Bytes::copy_from_slice).collect();
    let pause = takes / pieces.len().max(1) as u32;
    let dripping = stream::unfold(pieces.into_iter(), move |mut left| async move {
        let piece = left.next()?;
        tokio::time::sleep(pause).await;
        Some((Ok::<_, std::io::Error>(piece), left))
    });
    head(status, fields).streaming(dripping)
}

pub(super) async fn oura_api(
    request: HttpRequest,
    path: web::Path<String>,
    cloud: web::Data<Shared>,
) -> HttpResponse {
    api(&request, &path, &cloud, Vendor::Oura).await
}

pub(super) async fn whoop_api(
    request: HttpRequest,
    path: web::Path<String>,
    cloud: web::Data<Shared>,
) -> HttpResponse {
    api(&request, &path, &cloud, Vendor::Whoop).await
}

async fn api(request: &HttpRequest, path: &str, cloud: &Shared, vendor: Vendor) -> HttpResponse {
    let (fits, fields) = cloud.budget.take(vendor);
    let serve = || {
        if !fits {
            return Answer::detail(429, "Too Many Requests");
        }
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer "));
        let person = token.and_then(|token| cloud.tokens.check(vendor, token));
        let Some(who) = person.and_then(|person| cloud.world.get(person)) else {
            return Answer::detail(401, "Unauthorized");
        };
        let (asked, now_ms) = (query(request.query_string()), cloud.clock.now_ms());
        match (vendor, request.method()) {
            (Vendor::Oura, &Method::GET) => answers::of_oura(&cloud.world, who, path, &asked, now_ms),
            (Vendor::Whoop, &Method::GET) => answers::of_whoop(&cloud.world, who, path, &asked, now_ms),
            (Vendor::Whoop, &Method::DELETE) if path == "v2/user/access" => {
                cloud.tokens.revoke(vendor, who.index);
                Answer { status: 204, body: Value::Null }
            }
            _ => Answer::detail(405, "Method Not Allowed"),
        }
    };
    spoiled(cloud, vendor, Route::Api, serve, fields).await
}

/// `GET /stats`: what was served, by vendor, route and status.
pub(super) async fn stats(cloud: web::Data<Shared>) -> HttpResponse {
    let mut told = cloud.stats.as_json();
    told["simulated_time_ms"] = cloud.clock.now_ms().into();
    for vendor in Vendor::ALL.into_iter().filter(|vendor| vendor.has_api()) {
        told["busiest_window"][vendor.name()] = cloud.budget.busiest(vendor).into();
    }
    HttpResponse::Ok().json(told)
}

/// `GET /people`: everybody, with their names at the vendors.
pub(super) async fn people(cloud: web::Data<Shared>) -> HttpResponse {
    let told = |resident: &super::world::Resident| {
        json!({
            "person": resident.index,
            "healthkit": resident.person.id,
            "oura": resident.oura_id(),
            "whoop": resident.whoop_id(),
            "terra": resident.terra_id(),
            "utc_offset": resident.offset(),
        })
    };
    HttpResponse::Ok().json(cloud.world.people().iter().map(told).collect::<Vec<_>>())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantRequest {
    vendor: Vendor,
    person: usize,
    #[serde(default)]
    scope: Option<String>,
}

/// `POST /grants`: a pair of tokens without the way over a browser.
pub(super) async fn grants(body: web::Bytes, cloud: web::Data<Shared>) -> HttpResponse {
    let asked: GrantRequest = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return complaint(&error.to_string()),
    };
    if !asked.vendor.has_api() {
        return complaint("vendor must be oura or whoop");
    }
    if asked.person >= cloud.config.people {
        return complaint("there is no such person: see GET /people");
    }
    let scope = asked.scope.unwrap_or_else(|| "offline".to_owned());
    HttpResponse::Ok().json(cloud.tokens.issue(Grant { vendor: asked.vendor, person: asked.person, scope }))
}

fn complaint(detail: &str) -> HttpResponse {
    HttpResponse::BadRequest().json(json!({"error": detail}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forward {
    forward_seconds: u32,
}

/// `POST /clock`: puts simulated time forward.
pub(super) async fn clock(body: web::Bytes, cloud: web::Data<Shared>) -> HttpResponse {
    match serde_json::from_slice::<Forward>(&body) {
        Ok(Forward { forward_seconds }) if forward_seconds <= FORWARD_MAX_SECONDS => {
            cloud.clock.forward(forward_seconds * 1_000);
            HttpResponse::Ok().json(json!({"simulated_time_ms": cloud.clock.now_ms()}))
        }
        _ => complaint("must be {\"forward_seconds\": N} with N from 0 to 4000000"),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FaultList {
    One(Fault),
    Many(Vec<Fault>),
}

/// `POST /faults`: one more, or a list of them.
pub(super) async fn add_faults(body: web::Bytes, cloud: web::Data<Shared>) -> HttpResponse {
    let faults = match serde_json::from_slice(&body) {
        Ok(FaultList::One(fault)) => vec![fault],
        Ok(FaultList::Many(faults)) => faults,
        Err(_) => return complaint("must be a fault or a list of faults: see docs/vendor-cloud.md"),
    };
    match faults.into_iter().map(Fault::check).collect::<Result<Vec<_>, _>>() {
        Ok(faults) => faults.into_iter().for_each(|fault| cloud.faults.add(fault)),
        Err(problem) => return complaint(&problem),
    }
    list_faults(cloud).await
}

/// `GET /faults`.
pub(super) async fn list_faults(cloud: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(cloud.faults.list())
}

/// `DELETE /faults`: everything works again.
pub(super) async fn clear_faults(cloud: web::Data<Shared>) -> HttpResponse {
    cloud.faults.clear();
    list_faults(cloud).await
}
