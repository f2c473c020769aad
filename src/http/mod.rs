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
#[cfg(test)]
mod openapi_tests;
mod operators;
mod problem;
mod read_api;
mod requests;
mod routes;
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

/// The query's parameters. Asked for by each handler itself, so that whoever has no key learns nothing of them.
fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let query = web::Query::from_query(request.query_string());
    query.map(web::Query::into_inner).map_err(|_| {
        let detail = "the query string cannot be read: each name once, escaped";
        Problem::new(request, ErrorType::ValidationError, detail)
    })
}
