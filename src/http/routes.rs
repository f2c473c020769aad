//! Which paths there are, by which methods they are asked, and who answers.

use actix_web::{HttpRequest, Resource, ResponseError, web};

use super::problem::Problem;
use super::{admin, dead_letters, links, operators, read_api, stream, timeseries, tree, webhooks};

/// One path.
pub(super) struct Route {
    /// As the framework reads it.
    pub(super) path: &'static str,
    /// As `Allow` tells them. Any other is answered 405.
    pub(super) methods: &'static str,
    answer: fn(Resource) -> Resource,
}

/// A resource that is only read.
macro_rules! readable {
    ($path:expr, $handler:expr) => {
        Route {
            path: $path,
            methods: "GET, HEAD",
            answer: |resource| resource.route(web::get().to($handler)).route(web::head().to($handler)),
        }
    };
}

/// A resource that is only told to do something.
macro_rules! commanding {
    ($path:expr, $handler:expr) => {
        Route { path: $path, methods: "POST", answer: |resource| resource.route(web::post().to($handler)) }
    };
}

/// Webhooks, which judge methods by themselves: what is allowed hangs on the device.
macro_rules! webhook {
    ($path:expr) => {
        Route {
            path: $path,
            methods: "POST, GET, HEAD",
            answer: |resource| resource.route(web::to(webhooks::webhook)),
        }
    };
}

const METRICS: Route = readable!("/metrics", operators::metrics);

/// Every path, in the order in which they are tried.
pub(super) const ROUTES: &[Route] = &[
    webhook!("/webhook/{device}"),
    webhook!("/webhooks/{device}"),
    readable!("", operators::to_page),
    readable!("/", operators::page),
    readable!("/dashboard/{name}", operators::asset),
    readable!("/openapi.json", operators::openapi),
    readable!("/health", operators::health),
    readable!("/ready", operators::ready),
    METRICS,
    readable!("/actors", tree::actors),
    readable!("/actors/{path:.*}", tree::actor),
    readable!("/v1/users/{id}/events", read_api::events),
    readable!("/v1/users/{id}/latest", read_api::latest),
    readable!("/v1/users/{id}/timeseries", timeseries::timeseries),
    readable!("/v1/users/{id}/state", read_api::state),
    readable!("/v1/users/{id}/mode-switches", read_api::mode_switches),
    readable!("/v1/stream", stream::stream),
    Route { path: "/ws", methods: "GET", answer: |resource| resource.route(web::get().to(stream::socket)) },
    readable!("/admin/links", links::list),
    Route {
        path: "/admin/links/{vendor}/{vendor_user_id}",
        methods: "PUT, DELETE",
        answer: |resource| resource.route(web::put().to(links::put)).route(web::delete().to(links::delete)),
    },
    readable!("/admin/dlq", dead_letters::list),
    commanding!("/admin/dlq/redrive", dead_letters::redrive),
    commanding!("/admin/inject", admin::inject),
    commanding!("/admin/actors/{path:.*}/restart", tree::restart),
    commanding!("/admin/actors/{path:.*}/fault", tree::fault),
    commanding!("/admin/breakers/{name}/reset", tree::reset_breaker),
];

impl Route {
    fn register(&self, services: &mut web::ServiceConfig) {
        let methods = self.methods;
        let others = move |request: HttpRequest| async move {
            Problem::method_not_allowed(&request, methods).error_response()
        };
        services.service((self.answer)(web::resource(self.path)).default_service(web::to(others)));
    }
}

pub(super) fn all(services: &mut web::ServiceConfig) {
    ROUTES.iter().for_each(|route| route.register(services));
}

pub(super) fn metrics_alone(services: &mut web::ServiceConfig) {
    METRICS.register(services);
}
