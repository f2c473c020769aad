//! What operators and orchestrators ask: health, readiness, metrics, the tree, and the page.

use std::time::Instant;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::problem::{ErrorType, Problem};
use super::state::Doors;
use crate::dashboard;

/// `GET /health`: 200 while the process lives.
pub(super) async fn health(doors: web::Data<Doors>) -> HttpResponse {
    let (store, log, cache) = tokio::join!(
        measured(doors.store.check()),
        measured(doors.log.check()),
        measured(doors.cache.check())
    );
    let is_healthy = store.is_up()
        && log.is_up()
        && cache.is_up()
        && doors.tree.root.escalations().borrow().is_none()
        && !doors.tree.root.is_recovering();
    let thresholds = doors.thresholds_status.load();
    HttpResponse::Ok().json(json!({
        "status": if is_healthy { "healthy" } else { "degraded" },
        "service": doors.settings.telemetry.service_name,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": doors.started.elapsed().as_secs(),
        // The Python system's names: what is embedded is always connected.
        "connections": {
            "postgres": doors.engines.store == "sqlite" || store.is_up(),
            "redis": doors.engines.cache == "memory" || cache.is_up(),
            "kafka": doors.engines.log == "embedded" || log.is_up(),
        },
        "dependencies": {
            "store": store.to_json(doors.engines.store),
            "event_log": log.to_json(doors.engines.log),
            "cache": cache.to_json(doors.engines.cache),
        },
        "thresholds": {
            "thresholds_hash": doors.thresholds.load().hash(),
            "loaded_at": thresholds.loaded_at.to_string(),
            "last_refusal": thresholds.last_refusal,
        },
        "warnings": doors.warnings,
    }))
}

/// What became of a check, and how long it took.
struct Measured {
    failure: Option<String>,
    latency_ms: f64,
}

async fn measured<E: std::fmt::Display>(check: impl Future<Output = Result<(), E>>) -> Measured {
    let started = Instant::now();
    let failure = check.await.err().map(|error| error.to_string());
    Measured { failure, latency_ms: (started.elapsed().as_secs_f64() * 1e6).round() / 1e3 }
}

impl Measured {
    fn is_up(&self) -> bool {
        self.failure.is_none()
    }

    fn to_json(&self, kind: &str) -> serde_json::Value {
        let state = if self.is_up() { "up" } else { "down" };
        json!({"kind": kind, "state": state, "latency_ms": self.latency_ms, "detail": self.failure})
    }
}

/// `GET /ready`: whether deliveries can be taken in now.
pub(super) async fn ready(doors: web::Data<Doors>) -> HttpResponse {
    let mut reasons = Vec::new();
    if doors.entrance.is_closed() {
        reasons.push("the bridge is stopping".to_owned());
    }
    if doors.tree.root.escalations().borrow().is_some() {
        reasons.push("the supervision tree is failing".to_owned());
    }
    if doors.tree.root.is_recovering() {
        reasons.push("a part of the supervision tree is being restarted".to_owned());
    }
    if let Err(error) = doors.store.check().await {
        reasons.push(error.to_string());
    }
    if doors.store.outbox_depth() >= doors.settings.stream.outbox_max {
        reasons.push("too many messages wait for the event log".to_owned());
    }
    if reasons.is_empty() {
        return HttpResponse::Ok().json(json!({"status": "ready"}));
    }
    HttpResponse::ServiceUnavailable()
        .insert_header((header::RETRY_AFTER, crate::settings::RETRY_AFTER_SECONDS.to_string()))
        .json(json!({"status": "not_ready", "reasons": reasons}))
}

/// `GET /metrics`: Prometheus text, or the Python system's JSON summary.
pub(super) async fn metrics(request: HttpRequest, doors: web::Data<Doors>) -> HttpResponse {
    let accept =
        request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.split(',').any(is_json) {
        let openings = doors.tree.root.breakers().iter().map(|breaker| breaker.snapshot().openings).sum();
        return HttpResponse::Ok().json(doors.metrics.summary(openings));
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(doors.metrics_text().await)
}

/// Whether a part of `Accept` asks for JSON, and does not refuse it by `q=0`.
fn is_json(part: &str) -> bool {
    let mut pieces = part.split(';').map(str::trim);
    let names_json = pieces.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let refuses = |piece: &str| {
        let q = piece.strip_prefix("q=").or_else(|| piece.strip_prefix("Q="));
        q.and_then(|q| q.parse::<f32>().ok()) == Some(0.0)
    };
    names_json && !pieces.any(refuses)
}

/// `GET` of `BASE_PATH` without a slash at its end, from where the page's relative URLs would lead elsewhere.
pub(super) async fn to_page(request: HttpRequest) -> HttpResponse {
    let segment = request.path().rsplit('/').next().unwrap_or_default();
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, format!("{segment}/"))).finish()
}

/// `GET /`: the page.
pub(super) async fn page() -> HttpResponse {
    file(&dashboard::PAGE)
}

/// `GET /dashboard/{name}`: what the page loads.
pub(super) async fn asset(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let found = dashboard::find_asset(&name);
    found
        .map(file)
        .ok_or_else(|| Problem::new(&request, ErrorType::NotFound, "the dashboard has no such file"))
}

/// `GET /openapi.json`: what all routes take and answer, for programs.
pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(include_str!("../../docs/schemas/openapi.json"))
}

fn file(asset: &'static dashboard::Asset) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header((header::CONTENT_SECURITY_POLICY, dashboard::CONTENT_SECURITY_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(asset.body)
}
