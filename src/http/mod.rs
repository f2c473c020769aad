//! The HTTP doors: webhooks, operators' routes, the read API and the admin routes.

mod admin;
mod admission;
mod answer;
mod auth;
mod body;
mod bound_keys;
mod connection;
mod dead_letters;
mod links;
mod long_bodies;
mod operators;
mod problem;
mod read_api;
mod requests;
mod server;
mod spool;
mod state;
mod stream;
mod timeseries;
mod tree;
mod webhooks;

pub use admission::{Admission, Entrance, Inside, NoRoom, Size, Slot};
pub use bound_keys::BoundKeys;
pub use server::{serve, serve_metrics};
pub use spool::Spool;
pub use state::{Doors, EngineKinds, Refusal, ThresholdsStatus};
pub use stream::Hub;

use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::de::DeserializeOwned;

use problem::{ErrorType, Problem};

async fn not_found(request: HttpRequest) -> HttpResponse {
    let detail = "no such route: see the README for those there are";
    Problem::new(&request, ErrorType::NotFound, detail).error_response()
}

async fn get_only(request: HttpRequest) -> HttpResponse {
    Problem::method_not_allowed(&request, "GET, HEAD").error_response()
}

async fn websocket_only(request: HttpRequest) -> HttpResponse {
    Problem::method_not_allowed(&request, "GET").error_response()
}

async fn post_only(request: HttpRequest) -> HttpResponse {
    Problem::method_not_allowed(&request, "POST").error_response()
}

async fn put_or_delete_only(request: HttpRequest) -> HttpResponse {
    Problem::method_not_allowed(&request, "PUT, DELETE").error_response()
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
        .configure(metrics_route)
        .service(readable!("/actors", tree::actors))
        .service(readable!("/actors/{path:.*}", tree::actor))
        .service(readable!("/v1/users/{id}/events", read_api::events))
        .service(readable!("/v1/users/{id}/latest", read_api::latest))
        .service(readable!("/v1/users/{id}/timeseries", timeseries::timeseries))
        .service(readable!("/v1/users/{id}/state", read_api::state))
        .service(readable!("/v1/users/{id}/mode-switches", read_api::mode_switches))
        .service(readable!("/v1/stream", stream::stream))
        .service(
            web::resource("/ws")
                .route(web::get().to(stream::socket))
                .default_service(web::to(websocket_only)),
        )
        .service(readable!("/admin/links", links::list))
        .service(
            web::resource("/admin/links/{vendor}/{vendor_user_id}")
                .route(web::put().to(links::put))
                .route(web::delete().to(links::delete))
                .default_service(web::to(put_or_delete_only)),
        )
        .service(readable!("/admin/dlq", dead_letters::list))
        .service(commanding!("/admin/dlq/redrive", dead_letters::redrive))
        .service(commanding!("/admin/inject", admin::inject))
        .service(commanding!("/admin/actors/{path:.*}/restart", tree::restart))
        .service(commanding!("/admin/actors/{path:.*}/fault", tree::fault))
        .service(commanding!("/admin/breakers/{name}/reset", tree::reset_breaker));
}

fn metrics_route(services: &mut web::ServiceConfig) {
    services.service(readable!("/metrics", operators::metrics));
}
