//! Every metric, under the names that the Python system's dashboards know. Labels come from closed sets.

use actors::domain::account::Vendor;
use actors::ports::store::ConnectionCounts;
use actors::ports::telemetry::{CacheOutcome, RefreshOutcome};
use actors::supervision::{BreakerState, NodeSnapshot};
use parking_lot::Mutex;
use prometheus::proto::LabelPair;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::readers::ReaderMetrics;

/// Names without a prefix when no namespace is set; all others get `auren_`.
const BARE: &[&str] = &["webhook_", "biometric_values", "active_webhook_tasks", "semaphore_wait_seconds"];
/// Seconds from the fast path's tenth of a millisecond to a sender's patience.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All of them.
pub struct Metrics {
    registry: Registry,
    pub(super) webhooks: WebhookMetrics,
    pub(super) healthkit: HealthKitMetrics,
    pub(super) stream: StreamMetrics,
    pub(super) actor_restarts: IntCounterVec,
    pub(super) readers: ReaderMetrics,
    gauges: GaugeMetrics,
}

/// Of deliveries, up to their answers.
pub(super) struct WebhookMetrics {
    pub(super) answered: IntCounterVec,
    pub(super) failed: IntCounterVec,
    pub(super) duration: HistogramVec,
    pub(super) signatures: IntCounterVec,
    pub(super) active: IntGauge,
    pub(super) slot_wait: Histogram,
}

/// Of HealthKit's samples, which come by the thousand.
pub(super) struct HealthKitMetrics {
    pub(super) samples: IntCounterVec,
    pub(super) batch: Histogram,
    pub(super) errors: IntCounterVec,
}

/// Of messages, from the outbox to users' states.
pub(super) struct StreamMetrics {
    pub(super) sent: IntCounter,
    pub(super) lag: IntGauge,
    pub(super) processed: IntCounterVec,
    pub(super) values: HistogramVec,
    pub(super) decision: Histogram,
    pub(super) switches: IntCounterVec,
    pub(super) checkpoint_save: Histogram,
    pub(super) dead_letters: IntCounterVec,
    pub(super) cached: IntCounterVec,
    pub(super) refreshes: IntCounterVec,
}

/// Vendors whose tokens are refreshed.
const REFRESHED: [Vendor; 2] = [Vendor::Oura, Vendor::Whoop];

/// What is set at a scrape, not as it happens.
struct GaugeMetrics {
    slots: IntGaugeVec,
    healthkit_slots: IntGaugeVec,
    outbox_depth: IntGauge,
    connections: IntGaugeVec,
    dlq_depth: IntGauge,
    mailbox_depth: IntGaugeVec,
    breaker_state: IntGaugeVec,
    // Actors count for themselves; a scrape adds what is new.
    messages: Mutex<IntCounterVec>,
    breaker_openings: IntCounterVec,
}

/// Slots at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCounts {
    /// Nobody has them.
    pub free: usize,
    /// Deliveries being processed.
    pub used: usize,
    /// Deliveries in the queue.
    pub waiting: usize,
}

/// What is read off at the moment of a scrape.
pub struct Gauges<'a> {
    /// Those for ordinary deliveries.
    pub slots: SlotCounts,
    /// Those for HealthKit's big bodies.
    pub healthkit_slots: SlotCounts,
    /// Messages in the outbox.
    pub outbox_depth: u64,
    /// The store's connections, if it has any.
    pub connections: Option<ConnectionCounts>,
    /// Dead letters kept; `None` while the store cannot tell.
    pub dlq_depth: Option<u64>,
    /// The supervision tree.
    pub tree: &'a NodeSnapshot,
}

pub(super) struct Maker<'a> {
    registry: &'a Registry,
    namespace: Option<&'a str>,
}

impl Maker<'_> {
    fn opts(&self, name: &str, help: &str) -> Opts {
        let name = match self.namespace {
            Some("") => name.to_owned(),
            Some(namespace) => format!("{namespace}_{name}"),
            None if BARE.iter().any(|bare| name.starts_with(bare)) => name.to_owned(),
            None => format!("auren_{name}"),
        };
        Opts::new(name, help)
    }

    #[expect(
        clippy::expect_used,
        reason = "names are constants, the namespace was checked, each is registered once"
    )]
    fn register<C: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("a valid metric");
        self.registry.register(Box::new(collector.clone())).expect("registered once");
        collector
    }

    pub(super) fn counters(&self, name: &str, labels: &[&str], help: &str) -> IntCounterVec {
        self.register(IntCounterVec::new(self.opts(name, help), labels))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(self.opts(name, help)))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(self.opts(name, help)))
    }

    pub(super) fn gauges(&self, name: &str, labels: &[&str], help: &str) -> IntGaugeVec {
        self.register(IntGaugeVec::new(self.opts(name, help), labels))
    }

    fn seconds(&self, name: &str, help: &str) -> Histogram {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(SECONDS.to_vec());
        self.register(Histogram::with_opts(opts))
    }

    fn histograms(&self, name: &str, labels: &[&str], buckets: &[f64], help: &str) -> HistogramVec {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels))
    }
}

impl WebhookMetrics {
    fn new(make: &Maker<'_>) -> Self {
        let of = ["source", "device_type"];
        Self {
            answered: make.counters("webhook_events_total", &of, "Deliveries answered with success"),
            failed: make.counters(
                "webhook_events_failed_total",
                &["source", "device_type", "error_type"],
                "Deliveries refused, and duplicates",
            ),
            duration: make.histograms(
                "webhook_process_duration_seconds",
                &["source"],
                SECONDS,
                "From a delivery's head to its answer",
            ),
            signatures: make.counters(
                "webhook_signatures_total",
                &["source", "outcome"],
                "Verifications of signatures and keys",
            ),
            active: make.gauge("active_webhook_tasks", "Deliveries being processed"),
            slot_wait: make.seconds("semaphore_wait_seconds", "Waiting for a slot"),
        }
    }
}

impl HealthKitMetrics {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            samples: make.counters(
                "healthkit_samples_processed_total",
                &["metric_type", "status"],
                "HealthKit samples, by what became of them",
            ),
            batch: make.seconds("healthkit_batch_processing_seconds", "One HealthKit delivery"),
            errors: make.counters(
                "healthkit_conversion_errors_total",
                &["error_type"],
                "HealthKit samples that were refused",
            ),
        }
    }
}

impl StreamMetrics {
    fn new(make: &Maker<'_>) -> Self {
        let values: Vec<f64> = (1..=10).map(|step| f64::from(step * 20)).collect();
        Self {
            sent: make.counter("kafka_events_sent_total", "Messages moved from the outbox to the log"),
            lag: make.gauge("kafka_consumer_lag_messages", "Messages behind the end of the log"),
            processed: make.counters(
                "kafka_messages_processed_total",
                &["status"],
                "Messages of the log, by what became of them",
            ),
            values: make.histograms(
                "biometric_values",
                &["metric_type", "device_type"],
                &values,
                "Readings folded into states",
            ),
            decision: make.seconds("mode_decision_seconds", "One user's fold of one batch"),
            switches: make.counters(
                "mode_switches_total",
                &["from_mode", "to_mode", "reason"],
                "Changes of users' modes",
            ),
            checkpoint_save: make.seconds("checkpoint_save_seconds", "One flush of dirty states"),
            dead_letters: make.counters(
                "dlq_messages_total",
                &["outcome"],
                "Dead letters, by what became of them",
            ),
            cached: make.counters(
                "cache_requests_total",
                &["cache", "outcome"],
                "What was to go into a cache, by what became of it",
            ),
            refreshes: make.counters(
                "oauth_refresh_total",
                &["provider", "outcome"],
                "Access tokens that had to be refreshed, by what became of them",
            ),
        }
    }
}

impl GaugeMetrics {
    fn new(make: &Maker<'_>) -> Self {
        let of = ["actor"];
        Self {
            slots: make.gauges("semaphore_slots", &["state"], "Slots for deliveries"),
            healthkit_slots: make.gauges("healthkit_slots", &["state"], "Slots for HealthKit's big bodies"),
            outbox_depth: make.gauge("outbox_depth", "Committed messages on their way to the log"),
            connections: make.gauges("db_pool_connections", &["state"], "Connections to the database"),
            dlq_depth: make.gauge("dlq_depth", "Dead letters kept"),
            mailbox_depth: make.gauges("actor_mailbox_depth", &of, "Messages waiting for an actor"),
            breaker_state: make.gauges("circuit_breaker_state", &["name"], "0 closed, 1 half-open, 2 open"),
            breaker_openings: make.counters(
                "circuit_breaker_openings_total",
                &["name"],
                "How often a breaker has opened, failed probes among it",
            ),
            messages: Mutex::new(make.counters("actor_messages_total", &of, "Messages handled by an actor")),
        }
    }

    fn read_off(&self, gauges: &Gauges<'_>) {
        for (slots, counts) in [(&self.slots, gauges.slots), (&self.healthkit_slots, gauges.healthkit_slots)]
        {
            let SlotCounts { free, used, waiting } = counts;
            for (state, count) in [("free", free), ("used", used), ("waiting", waiting)] {
                slots.with_label_values(&[state]).set(count as i64);
            }
        }
        self.outbox_depth.set(gauges.outbox_depth as i64);
        if let Some(ConnectionCounts { used, idle }) = gauges.connections {
            for (state, count) in [("used", used), ("idle", idle)] {
                self.connections.with_label_values(&[state]).set(count as i64);
            }
        }
        if let Some(dlq_depth) = gauges.dlq_depth {
            self.dlq_depth.set(dlq_depth as i64);
        }
        // Held over the whole walk: two scrapes at once would both add the same difference.
        self.read_node(gauges.tree, &self.messages.lock());
    }

    /// Every actor; a pool is one, so that labels stay a closed set, and a group is none.
    fn read_node(&self, node: &NodeSnapshot, messages: &IntCounterVec) {
        if node.live.is_none() && !node.children.is_empty() {
            return node.children.iter().for_each(|child| self.read_node(child, messages));
        }
        self.mailbox_depth.with_label_values(&[&node.path]).set(node.mailbox.depth as i64);
        let counter = messages.with_label_values(&[&node.path]);
        counter.inc_by(node.handled.saturating_sub(counter.get()));
        if let Some(breaker) = &node.breaker {
            let state = match breaker.state {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            self.breaker_state.with_label_values(&[&*breaker.name]).set(state);
            let openings = self.breaker_openings.with_label_values(&[&*breaker.name]);
            openings.inc_by(breaker.openings.saturating_sub(openings.get()));
        }
    }
}

impl Metrics {
    /// All metrics, at zero. `namespace` as `METRICS_NAMESPACE` has it.
    pub fn new(namespace: Option<&str>) -> Self {
        let registry = Registry::new();
        let make = Maker { registry: &registry, namespace };
        Self {
            webhooks: WebhookMetrics::new(&make),
            healthkit: HealthKitMetrics::new(&make),
            stream: StreamMetrics::new(&make),
            actor_restarts: make.counters("actor_restarts_total", &["actor"], "Restarts of actors"),
            readers: ReaderMetrics::new(&make),
            gauges: GaugeMetrics::new(&make),
            registry,
        }
    }

    /// Puts what will be counted at zero, so that a rate sees the first of it. `devices`: path segment and family.
    pub fn begin(&self, devices: impl Iterator<Item = (&'static str, &'static str)>) {
        for (device, device_type) in devices {
            self.webhooks.answered.with_label_values(&[device, device_type]);
            self.webhooks.duration.with_label_values(&[device]);
            self.webhooks.signatures.with_label_values(&[device, "valid"]);
            for error_type in ["duplicate_event", "authentication_error", "validation_error"] {
                self.webhooks.failed.with_label_values(&[device, device_type, error_type]);
            }
        }
        for status in ["applied", "duplicate", "foreign", "dead_lettered"] {
            self.stream.processed.with_label_values(&[status]);
        }
        for outcome in CacheOutcome::ALL {
            self.stream.cached.with_label_values(&["events", outcome.name()]);
        }
        for (vendor, outcome) in
            REFRESHED.into_iter().flat_map(|vendor| RefreshOutcome::ALL.map(|of| (vendor, of)))
        {
            self.stream.refreshes.with_label_values(&[vendor.name(), outcome.name()]);
        }
        for outcome in ["sent", "redriven"] {
            self.stream.dead_letters.with_label_values(&[outcome]);
        }
        self.healthkit.errors.with_label_values(&["validation_error"]);
        self.healthkit.samples.with_label_values(&["all", "rejected"]);
    }

    /// Prometheus text.
    pub fn text(&self, gauges: &Gauges<'_>) -> Vec<u8> {
        self.gauges.read_off(gauges);
        let mut text = Vec::new();
        // Writing to a Vec cannot fail, and every metric here has a name.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }

    /// The Python system's JSON summary.
    ///
    /// `openings`: of all circuit breakers.
    pub fn summary(&self, openings: u64) -> serde_json::Value {
        // A duplicate is no error, though it is counted among what made no event.
        let total = |counters: &IntCounterVec| -> u64 {
            let is_error = |label: &LabelPair| label.value() != "duplicate_event";
            prometheus::core::Collector::collect(counters)
                .iter()
                .flat_map(|family| family.get_metric())
                .filter(|metric| metric.get_label().iter().all(is_error))
                .map(|metric| metric.get_counter().get_value() as u64)
                .sum()
        };
        let families = prometheus::core::Collector::collect(&self.webhooks.duration);
        let durations =
            families.iter().flat_map(|family| family.get_metric()).map(|metric| metric.get_histogram());
        let (seconds, count) = durations.fold((0.0, 0), |(seconds, count), histogram| {
            (seconds + histogram.get_sample_sum(), count + histogram.get_sample_count())
        });
        let (processed, failed) = (total(&self.webhooks.answered), total(&self.webhooks.failed));
        serde_json::json!({
            "processed_webhooks_total": processed,
            "circuit_breaker_openings": openings,
            "kafka_events_sent": self.stream.sent.get(),
            "average_processing_time": if count == 0 { 0.0 } else { seconds / count as f64 },
            "active_connections": self.webhooks.active.get(),
            "error_rate": if processed + failed == 0 { 0.0 } else { failed as f64 / (processed + failed) as f64 },
        })
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
