//! Metrics under the names that dashboards know.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::json;

use crate::answers::{ago, heart_rate, refused, send, to_oura_inline};
use crate::bridge::Bridge;

/// Without a key.
async fn get(url: &str) -> reqwest::Response {
    let client = biometric_bridge::traffic::plain_client().build().expect("an HTTP client");
    client.get(url).send().await.expect("an answer")
}

/// What a scrape says: by name (without `_bucket`, `_sum` and `_count`), its labels.
struct Scrape(BTreeMap<String, BTreeSet<String>>, String);

impl Scrape {
    async fn of(url: &str) -> Self {
        let text = get(url).await.text().await.expect("text");
        let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let base =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let labels = line
                .split_once('{')
                .and_then(|(_, rest)| rest.split_once('}'))
                .map_or("", |(labels, _)| labels);
            let labels = labels
                .split("\",")
                .filter_map(|label| label.split_once('='))
                .map(|(name, _)| name.to_owned());
            names.entry(base.to_owned()).or_default().extend(labels.filter(|label| label != "le"));
        }
        Self(names, text)
    }

    /// The value of a series as it is written.
    fn value(&self, series: &str) -> Option<f64> {
        let line = self.1.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }
}

/// Deliveries of every outcome.
async fn make_traffic(bridge: &Bridge) {
    let sample = json!({"user_id": "u", "samples": [heart_rate(61, "2026-09-10T06:42:11Z"), heart_rate(-1, "2026-09-10T06:42:11Z")]});
    bridge.healthkit(&sample).await;
    bridge.healthkit(&sample).await;
    bridge.oura_inline(&json!({"user_id": "u", "timestamp": ago(60), "recovery": {"score": 30}})).await;
    bridge.oura(&json!({"user_id": "A1", "event_type": "update", "data_type": "sleep"})).await;
    refused(bridge.request(Method::POST, "/webhook/oura").body("{}"), 401, "authentication_error").await;
    refused(to_oura_inline(bridge, "{"), 400, "validation_error").await;
    bridge
        .until("switched", async |bridge| bridge.read("/v1/users/u/state").await["mode"] == "GUARDIAN")
        .await;
    bridge
        .until("checkpointed", async |bridge| {
            bridge.read("/v1/users/u/mode-switches").await["mode_switches"][0].is_object()
        })
        .await;
}

#[actix_web::test]
async fn every_metric_has_its_name_and_labels() {
    let bridge = Bridge::start().await;
    make_traffic(&bridge).await;
    let scrape = Scrape::of(&format!("{}/metrics", bridge.url)).await;
    let expected: [(&str, &[&str]); 21] = [
        ("webhook_events_total", &["device_type", "source"]),
        ("webhook_events_failed_total", &["device_type", "error_type", "source"]),
        ("webhook_process_duration_seconds", &["source"]),
        ("biometric_values", &["device_type", "metric_type"]),
        ("active_webhook_tasks", &[]),
        ("semaphore_wait_seconds", &[]),
        ("auren_semaphore_slots", &["state"]),
        ("webhook_signatures_total", &["outcome", "source"]),
        ("auren_mode_switches_total", &["from_mode", "reason", "to_mode"]),
        ("auren_mode_decision_seconds", &[]),
        ("auren_kafka_messages_processed_total", &["status"]),
        ("auren_kafka_consumer_lag_messages", &[]),
        ("auren_checkpoint_save_seconds", &[]),
        ("auren_healthkit_samples_processed_total", &["metric_type", "status"]),
        ("auren_healthkit_batch_processing_seconds", &[]),
        ("auren_healthkit_conversion_errors_total", &["error_type"]),
        ("auren_actor_mailbox_depth", &["actor"]),
        ("auren_actor_messages_total", &["actor"]),
        ("auren_cache_requests_total", &["cache", "outcome"]),
        ("auren_outbox_depth", &[]),
        ("auren_dlq_depth", &[]),
    ];
    for (name, labels) in expected {
        let found = scrape.0.get(name).unwrap_or_else(|| panic!("no {name}:\n{}", scrape.1));
        assert!(found.iter().eq(labels.iter()), "{name} has {found:?}");
    }
}

#[actix_web::test]
async fn counters_count_what_happened() {
    let bridge = Bridge::start().await;
    make_traffic(&bridge).await;
    let path = format!("{}/metrics", bridge.url);
    let applied = r#"auren_kafka_messages_processed_total{status="applied"}"#;
    bridge.until("applied", async |_| Scrape::of(&path).await.value(applied) == Some(2.0)).await;
    let scrape = Scrape::of(&path).await;
    let expected = [
        (r#"webhook_events_total{device_type="apple_health",source="healthkit"}"#, 1.0),
        (r#"webhook_events_total{device_type="oura_ring",source="oura"}"#, 2.0),
        (
            r#"webhook_events_failed_total{device_type="apple_health",error_type="duplicate_event",source="healthkit"}"#,
            1.0,
        ),
        (
            r#"webhook_events_failed_total{device_type="oura_ring",error_type="authentication_error",source="oura"}"#,
            1.0,
        ),
        (
            r#"webhook_events_failed_total{device_type="oura_ring",error_type="validation_error",source="oura"}"#,
            1.0,
        ),
        (r#"webhook_process_duration_seconds_count{source="oura"}"#, 4.0),
        (r#"webhook_signatures_total{outcome="valid",source="oura"}"#, 3.0),
        (r#"webhook_signatures_total{outcome="missing",source="oura"}"#, 1.0),
        (r#"biometric_values_sum{device_type="apple_health",metric_type="heart_rate"}"#, 61.0),
        (r#"biometric_values_bucket{device_type="apple_health",metric_type="heart_rate",le="60"}"#, 0.0),
        (r#"biometric_values_bucket{device_type="apple_health",metric_type="heart_rate",le="80"}"#, 1.0),
        (
            r#"auren_mode_switches_total{from_mode="PATTERN",reason="guardian.recovery",to_mode="GUARDIAN"}"#,
            1.0,
        ),
        (r#"auren_healthkit_samples_processed_total{metric_type="heart_rate",status="processed"}"#, 1.0),
        (r#"auren_semaphore_slots{state="free"}"#, 100.0),
        (r#"auren_semaphore_slots{state="used"}"#, 0.0),
        (r#"auren_semaphore_slots{state="waiting"}"#, 0.0),
        ("active_webhook_tasks", 0.0),
        ("auren_dlq_depth", 0.0),
    ];
    for (series, value) in expected {
        assert_eq!(scrape.value(series), Some(value), "{series}:\n{}", scrape.1);
    }
    let buckets: Vec<&str> = scrape
        .1
        .lines()
        .filter(|line| line.starts_with("biometric_values_bucket") && line.contains("heart_rate"))
        .filter_map(|line| line.split("le=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(buckets, ["20", "40", "60", "80", "100", "120", "140", "160", "180", "200", "+Inf"]);
}

#[actix_web::test]
async fn the_summary_has_the_python_systems_members() {
    let bridge = Bridge::start().await;
    make_traffic(&bridge).await;
    let get = || bridge.request(Method::GET, "/metrics");
    let answer = send(get().header("Accept", "application/json")).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let summary = answer.json();
    let members: Vec<&str> = summary.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "active_connections",
        "average_processing_time",
        "circuit_breaker_openings",
        "error_rate",
        "kafka_events_sent",
        "processed_webhooks_total",
    ];
    assert_eq!(members, expected);
    assert_eq!(summary["processed_webhooks_total"], 3, "{summary}");
    // Two of five were refused; a duplicate is neither.
    assert_eq!(summary["error_rate"], 0.4, "{summary}");
    assert!(summary.as_object().expect("an object").values().all(serde_json::Value::is_number), "{summary}");
    for text in ["text/plain", "*/*", "text/plain;version=0.0.4;q=0.5, */*;q=0.1"] {
        let answer = send(get().header("Accept", text)).await;
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{text}");
    }
}

#[actix_web::test]
async fn a_namespace_is_put_before_every_name() {
    for (namespace, prefix) in [("mine", "mine_"), ("", "")] {
        let bridge = Bridge::start_with(&[("METRICS_NAMESPACE", namespace)]).await;
        make_traffic(&bridge).await;
        let scrape = Scrape::of(&format!("{}/metrics", bridge.url)).await;
        for name in [
            "webhook_events_total",
            "biometric_values",
            "semaphore_slots",
            "mode_switches_total",
            "outbox_depth",
        ] {
            assert!(scrape.0.contains_key(&format!("{prefix}{name}")), "{namespace:?} {name}:\n{}", scrape.1);
        }
        assert!(
            scrape.0.keys().all(|name| name.starts_with(prefix) && !name.contains("auren")),
            "{:?}",
            scrape.0.keys()
        );
    }
}

#[actix_web::test]
async fn metrics_are_on_a_port_of_their_own_as_well() {
    // The system picks the port; it is free again when the listener goes.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port")
        .port();
    let bridge = Bridge::start_with(&[("METRICS_PORT", &port.to_string())]).await;
    let own = format!("http://127.0.0.1:{port}");
    for url in [&own, &bridge.url] {
        let scrape = Scrape::of(&format!("{url}/metrics")).await;
        assert!(scrape.0.contains_key("auren_outbox_depth"), "{url}");
    }
    assert_eq!(get(&format!("{own}/health")).await.status(), 404);
}
