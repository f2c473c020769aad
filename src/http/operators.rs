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
    let started = Instant::now();
    let store = doors.store.check().await;
    let latency_ms = (started.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    let is_up = store.is_ok();
    let is_healthy =
        is_up && doors.tree.root.escalations().borrow().is_none() && !doors.tree.root.is_recovering();
    let state = |is_up: bool| if is_up { "up" } else { "down" };
    HttpResponse::Ok().json(json!({
        "status": if is_healthy { "healthy" } else { "degraded" },
        "service": doors.settings.telemetry.service_name,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": doors.started.elapsed().as_secs(),
        "connections": {"postgres": true, "redis": true, "kafka": true},
        "dependencies": {
            "store": {
                "kind": "sqlite",
                "state": state(is_up),
                "latency_ms": latency_ms,
                "detail": store.err().map(|error| error.to_string()),
            },
            // The same file.
            "event_log": {"kind": "embedded", "state": state(is_up), "latency_ms": latency_ms, "detail": null},
        },
        "thresholds": {
            "thresholds_hash": doors.thresholds.load().hash(),
            "loaded_at": doors.thresholds_loaded_at.to_string(),
            "last_refusal": null,
        },
        "warnings": doors.warnings,
    }))
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

fn file(asset: &'static dashboard::Asset) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header((header::CONTENT_SECURITY_POLICY, dashboard::CONTENT_SECURITY_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(asset.body)
}
