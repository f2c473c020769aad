//! The HTTP doors: webhooks, operators' routes, the read API and the admin routes.

mod admin;
mod admission;
mod auth;
mod body;
mod operators;
mod problem;
mod read_api;
mod state;
mod tree;
mod webhooks;

pub use admission::{Admission, Entrance, Inside, NoRoom, Slot};
pub use state::Doors;

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpMessage, HttpRequest, HttpResponse, HttpServer, ResponseError, web};
use actors::domain::ids::RequestId;
use serde::de::DeserializeOwned;

use crate::settings::{CONNECTIONS_MAX, HEAD_DEADLINE, KEEP_ALIVE};
use problem::{ErrorType, Problem};

/// The field in which a request's id comes and goes.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request its id, and tells it and how long the request took.
async fn with_request_id(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let started = Instant::now();
    let given =
        request.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).and_then(RequestId::parse);
    let request_id = given.unwrap_or_else(RequestId::generate);
    request.extensions_mut().insert(request_id.clone());
    let doors = request.app_data::<web::Data<Doors>>().cloned();
    let mut response = next.call(request).await?;
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    if let Some(doors) = doors {
        let route = response.request().match_pattern().unwrap_or_else(|| "none".to_owned());
        doors.teller.request_done(&request_id, &route, response.status().as_u16(), started.elapsed());
    }
    Ok(response)
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    let detail = "no such route: see the README for those there are";
    Problem::new(&request, ErrorType::NotFound, detail).error_response()
}

async fn get_only(request: HttpRequest) -> HttpResponse {
    Problem::method_not_allowed(&request, "GET, HEAD").error_response()
}

async fn post_only(request: HttpRequest) -> HttpResponse {
    Problem::method_not_allowed(&request, "POST").error_response()
}

/// The query's parameters. Asked for by each handler itself, so that whoever has no key learns nothing of them.
fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let query = web::Query::from_query(request.query_string());
    query.map(web::Query::into_inner).map_err(|_| {
        let detail = "the query string cannot be read: each name once, escaped";
        Problem::new(request, ErrorType::ValidationError, detail)
    })
}

/// A resource that is only read.
macro_rules! readable {
    ($path:expr, $handler:expr) => {
        web::resource($path)
            .route(web::get().to($handler))
            .route(web::head().to($handler))
            .default_service(web::to(get_only))
    };
}

/// A resource that is only told to do something.
macro_rules! commanding {
    ($path:expr, $handler:expr) => {
        web::resource($path).route(web::post().to($handler)).default_service(web::to(post_only))
    };
}

fn routes(services: &mut web::ServiceConfig) {
    services
        .service(web::resource("/webhook/{device}").route(web::to(webhooks::webhook)))
        .service(web::resource("/webhooks/{device}").route(web::to(webhooks::webhook)))
        .service(readable!("", operators::to_page))
        .service(readable!("/", operators::page))
        .service(readable!("/dashboard/{name}", operators::asset))
        .service(readable!("/health", operators::health))
        .service(readable!("/ready", operators::ready))
        .service(readable!("/metrics", operators::metrics))
        .service(readable!("/actors", tree::actors))
        .service(readable!("/actors/{path:.*}", tree::actor))
        .service(readable!("/v1/users/{id}/events", read_api::events))
        .service(readable!("/v1/users/{id}/latest", read_api::latest))
        .service(readable!("/v1/users/{id}/state", read_api::state))
        .service(readable!("/v1/users/{id}/mode-switches", read_api::mode_switches))
        .service(commanding!("/admin/inject", admin::inject))
        .service(commanding!("/admin/actors/{path:.*}/restart", tree::restart))
        .service(commanding!("/admin/actors/{path:.*}/fault", tree::fault))
        .service(commanding!("/admin/breakers/{name}/reset", tree::reset_breaker));
}

/// Binds the sockets and starts the HTTP threads. Nothing is served before the returned server is polled.
pub fn serve(doors: web::Data<Doors>) -> std::io::Result<(Server, std::net::SocketAddr)> {
    let settings = doors.settings.server.clone();
    let base_path = settings.base_path.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(doors.clone())
            .wrap(from_fn(with_request_id))
            .service(web::scope(&base_path).configure(routes))
            .default_service(web::to(not_found))
    })
    .workers(settings.workers)
    .max_connections(CONNECTIONS_MAX)
    .client_request_timeout(HEAD_DEADLINE)
    .keep_alive(KEEP_ALIVE)
    .shutdown_timeout(settings.shutdown_timeout.as_secs())
    .disable_signals()
    .bind(settings.bind_addr)?;
    let address = server.addrs().first().copied().unwrap_or(settings.bind_addr);
    Ok((server.run(), address))
}

/// `/metrics` alone, on a port of its own (`METRICS_PORT`).
pub fn serve_metrics(doors: web::Data<Doors>, port: u16) -> std::io::Result<Server> {
    let host = doors.settings.server.bind_addr.ip();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(doors.clone())
            .wrap(from_fn(with_request_id))
            .service(readable!("/metrics", operators::metrics))
            .default_service(web::to(not_found))
    });
    Ok(server.workers(1).disable_signals().bind((host, port))?.run())
}
