//! Typed events: each emits its log line and its metric together.
//!
//! Lines are written with `event!` alone: clippy bans the other log macros everywhere, also where an `allow` stands,
//! and the test over the tree bans `tracing` outside of this module.

use std::sync::Arc;
use std::time::Duration;

use actors::domain::delivery::VerifyError;
use actors::domain::ids::{MaskedUserId, RequestId};
use actors::ports::Telemetry;
use actors::ports::telemetry::{FetchEvent, PipelineEvent, RefreshOutcome, Skipped};
use actors::supervision::{Change, Observer, SupervisionEvent};
use tracing::{Level, event};

use super::Metrics;

/// Tells everything. Cheap to clone.
#[derive(Clone)]
pub struct Teller {
    pub(super) metrics: Arc<Metrics>,
}

/// A delivery as it is taken up.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The device's path segment.
    pub device: &'static str,
    /// The family of devices of its events.
    pub device_type: &'static str,
    /// Of the request.
    pub request_id: &'a RequestId,
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryEnd<'a> {
    /// The answer's status code.
    pub status: u16,
    /// `processed`, `duplicate` … or the problem's `error_type`.
    pub outcome: &'a str,
    /// Whose, masked; `None` while unknown.
    pub user: Option<MaskedUserId>,
    /// New events.
    pub events: usize,
    /// New readings.
    pub readings: usize,
    /// Refused samples.
    pub rejected: usize,
    /// Since the head arrived.
    pub duration: Duration,
}

impl Teller {
    /// A teller into `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }

    /// A webhook is taken up.
    pub fn delivery_taken_up(&self, delivery: Delivery<'_>) {
        self.metrics.webhooks.active.inc();
        event!(Level::INFO, request_id = %delivery.request_id, device = delivery.device, "webhook taken up");
    }

    /// A webhook's signature or key was checked.
    pub fn signature_checked(&self, device: &'static str, result: Result<(), VerifyError>) {
        let outcome = result.err().map_or("valid", VerifyError::outcome);
        self.metrics.webhooks.signatures.with_label_values(&[device, outcome]).inc();
    }

    /// A webhook waited so long for its slot.
    pub fn slot_waited(&self, waited: Duration) {
        self.metrics.webhooks.slot_wait.observe(waited.as_secs_f64());
    }

    /// A webhook is done.
    pub fn delivery_done(&self, delivery: Delivery<'_>, end: DeliveryEnd<'_>) {
        let metrics = &self.metrics;
        metrics.webhooks.active.dec();
        let seconds = end.duration.as_secs_f64();
        metrics.webhooks.duration.with_label_values(&[delivery.device]).observe(seconds);
        let is_duplicate = end.outcome == "duplicate";
        if end.status < 400 && !is_duplicate {
            metrics.webhooks.answered.with_label_values(&[delivery.device, delivery.device_type]).inc();
        } else {
            let error_type = if is_duplicate { "duplicate_event" } else { end.outcome };
            metrics
                .webhooks
                .failed
                .with_label_values(&[delivery.device, delivery.device_type, error_type])
                .inc();
        }
        if delivery.device == "healthkit" {
            metrics.healthkit.batch.observe(seconds);
            metrics.healthkit.errors.with_label_values(&["validation_error"]).inc_by(end.rejected as u64);
            metrics.healthkit.samples.with_label_values(&["all", "rejected"]).inc_by(end.rejected as u64);
        }
        let user = end.user.map_or_else(|| "unknown".to_owned(), |user| user.to_string());
        let duration_ms = (seconds * 1e6).round() / 1e3;
        macro_rules! line {
            ($level:ident) => {
                event!(
                    Level::$level,
                    request_id = %delivery.request_id,
                    device = delivery.device,
                    masked_user_id = user,
                    status = end.status,
                    outcome = end.outcome,
                    events = end.events,
                    readings = end.readings,
                    rejected = end.rejected,
                    duration_ms,
                    "webhook done"
                )
            };
        }
        match end.status {
            // One line for each delivery that an overload or outage refuses is no alarm.
            500..503 | 504.. => line!(ERROR),
            400.. => line!(WARN),
            _ if is_duplicate => line!(WARN),
            _ => line!(INFO),
        }
    }

    /// An operator has put dead letters on their way again: `what` is `messages` or `fetches`.
    pub fn dead_letters_redriven(&self, request_id: &RequestId, what: &'static str, count: usize) {
        self.metrics.stream.dead_letters.with_label_values(&["redriven"]).inc_by(count as u64);
        event!(Level::INFO, %request_id, what, count, "dead letters redriven");
    }

    /// Another request than a webhook is done. `route` is its pattern, never its path.
    pub fn request_done(&self, request_id: &RequestId, route: &str, status: u16, duration: Duration) {
        let duration_ms = duration.as_secs_f64() * 1e3;
        event!(Level::DEBUG, %request_id, route, status, duration_ms, "request done");
    }

    /// A request's handler panicked; where is in the line before.
    pub fn request_panicked(&self, request_id: &RequestId, route: &str) {
        event!(Level::ERROR, %request_id, route, "a request's handler panicked");
    }

    /// Something of the process's own life, at INFO.
    pub fn note(&self, message: &str) {
        event!(Level::INFO, request_id = "none", "{message}");
    }

    /// Something that an operator should look at.
    pub fn warn(&self, message: &str) {
        event!(Level::WARN, request_id = "none", "{message}");
    }

    /// Shutdown has begun.
    pub fn shutdown_started(&self, signal: &str) {
        event!(Level::INFO, request_id = "none", signal, "shutdown started");
    }

    /// What shutdown came to.
    pub fn shutdown_ended(&self, ending: &str, outbox_left: u64, is_flushed: bool, duration: Duration) {
        let duration_ms = duration.as_secs_f64() * 1e3;
        event!(
            Level::INFO,
            request_id = "none",
            ending,
            outbox_left,
            is_flushed,
            duration_ms,
            "shutdown ended"
        );
    }
}

impl Teller {
    fn fetch(&self, vendor: &'static str, event: FetchEvent<'_>) {
        match event {
            FetchEvent::Fetched { request_id, user, events, readings, rejected } => {
                event!(Level::INFO, %request_id, vendor, masked_user_id = %user, events, readings, rejected, "data fetched");
            }
            FetchEvent::Waits { request_id, why, again_in } => {
                let again_in_ms = again_in.map(|again_in| again_in.as_millis() as u64);
                event!(Level::INFO, %request_id, vendor, why, again_in_ms, "a fetch waits");
            }
            FetchEvent::GivenUp { request_id, why, error_type } => {
                self.metrics.stream.dead_letters.with_label_values(&["sent"]).inc();
                event!(Level::ERROR, %request_id, vendor, why, error_type, "a fetch was given up: it is a dead letter");
            }
        }
    }
}

impl Telemetry for Teller {
    fn emit(&self, event: PipelineEvent<'_>) {
        let metrics = &self.metrics;
        match event {
            PipelineEvent::Applied { event } => {
                metrics.stream.processed.with_label_values(&["applied"]).inc();
                let device_type = event.device_type.name();
                for reading in &event.readings {
                    let metric = reading.metric.name();
                    metrics.stream.values.with_label_values(&[metric, device_type]).observe(reading.value);
                    if device_type == "apple_health" {
                        metrics.healthkit.samples.with_label_values(&[metric, "processed"]).inc();
                    }
                }
            }
            PipelineEvent::Skipped(skipped) => {
                metrics.stream.processed.with_label_values(&[skipped.name()]).inc();
                if skipped == Skipped::DeadLettered {
                    metrics.stream.dead_letters.with_label_values(&["sent"]).inc();
                    event!(Level::ERROR, request_id = "none", "a message was set aside as a dead letter");
                }
            }
            PipelineEvent::Decided { seconds, .. } => metrics.stream.decision.observe(seconds),
            PipelineEvent::Switched { user, from, to, reason } => {
                metrics.stream.switches.with_label_values(&[from, to, reason]).inc();
                event!(Level::INFO, request_id = "none", masked_user_id = %user, from, to, reason, "mode switched");
            }
            PipelineEvent::CheckpointsSaved { seconds, .. } => {
                metrics.stream.checkpoint_save.observe(seconds)
            }
            PipelineEvent::Published { messages } => metrics.stream.sent.inc_by(messages as u64),
            PipelineEvent::Cached { outcome, events } => {
                metrics.stream.cached.with_label_values(&["events", outcome.name()]).inc_by(events as u64);
            }
            PipelineEvent::TokenRefresh { vendor, outcome } => {
                metrics.stream.refreshes.with_label_values(&[vendor.name(), outcome.name()]).inc();
                if outcome == RefreshOutcome::Reconnect {
                    let vendor = vendor.name();
                    event!(Level::WARN, request_id = "none", vendor, "an account must be connected again");
                }
            }
            PipelineEvent::Fetch { vendor, event } => self.fetch(vendor.name(), event),
            PipelineEvent::Lag { messages } => metrics.stream.lag.set(messages),
            PipelineEvent::Retrying { actor, error } => {
                event!(Level::WARN, request_id = "none", actor, error, "trying again");
            }
        }
    }
}

impl Observer for Teller {
    fn on(&self, event: &SupervisionEvent) {
        let path = &event.path;
        let change = &event.change;
        match change {
            Change::Restarted { .. } => {
                self.metrics.actor_restarts.with_label_values(&[label(path)]).inc();
                event!(Level::WARN, request_id = "none", actor = %path, ?change, "actor restarted");
            }
            Change::Died(dead) => {
                event!(
                    Level::WARN,
                    request_id = "none",
                    actor = %path,
                    cause = ?dead.cause,
                    reason = %dead.reason,
                    lived_ms = dead.lived_ms,
                    in_hand = ?dead.in_hand,
                    waiting = dead.waiting,
                    restarts = dead.restarts,
                    sequel = ?dead.sequel,
                    "actor died"
                );
            }
            Change::Recovering { .. } | Change::Recovered => {
                event!(Level::WARN, request_id = "none", actor = %path, ?change, "actors are restarted together");
            }
            Change::Failed { .. } | Change::Refused { .. } | Change::Blocked { .. } => {
                event!(Level::ERROR, request_id = "none", actor = %path, ?change, "actor failed");
            }
            Change::Started { .. } | Change::Stopped { .. } => {
                event!(Level::DEBUG, request_id = "none", actor = %path, ?change, "actor changed");
            }
        }
    }
}

/// From now on a panic is a line like others: where it was, and not its text, which may hold what was worked on.
pub(super) fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        event!(Level::ERROR, request_id = "none", place, "a task panicked");
    }));
}

/// A user's actor counts as its pool: labels are a closed set.
fn label(path: &str) -> &str {
    if path.starts_with("users/") { "users" } else { path }
}
