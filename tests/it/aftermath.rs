//! What must be true after hostile traffic: nothing broke, nothing is held, and nothing personal was told.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answers::{ago, events, heart_rate, send};
use crate::bridge::{
    ADMIN_KEY, API_KEY, Bridge, HEALTHKIT_KEY, HEALTHKIT_SECRET, OURA_SECRET, OURA_TOKEN, WHOOP_SECRET,
};

/// An id with everything in it that may be escaped somewhere, and its parts as they would show.
pub(crate) const ID: &str = "Zoë Quux/47%11";
/// The same in a path.
pub(crate) const ESCAPED: &str = "Zo%C3%AB%20Quux%2F47%2511";
/// Where a sample comes from.
pub(crate) const SOURCE: &str = "Zaphod Watch";
/// A heart rate and an HRV that nothing else has.
pub(crate) const HEART_RATE: f64 = 61.234_567;
pub(crate) const HRV: f64 = 17.654_321;
/// For all that is wrong: keys, types, times.
pub(crate) const WRONG: &str = "Vogon";

/// What of these, and of the secrets, may show nowhere.
const PERSONAL: [&str; 15] = [
    "Quux",
    "Zo%C3",
    "Zoë",
    "Zo\\u00eb",
    "Zaphod",
    "61.2345",
    // All its digits: with fewer, a time of day may hold them.
    "17.654321",
    "Vogon",
    HEALTHKIT_KEY,
    HEALTHKIT_SECRET,
    OURA_SECRET,
    OURA_TOKEN,
    WHOOP_SECRET,
    API_KEY,
    ADMIN_KEY,
];

/// Nothing of a person, and no secret.
pub(crate) fn assert_nothing_personal(place: &str, text: &str) {
    for personal in PERSONAL {
        assert!(!text.contains(personal), "{place} holds {personal}: {text}");
    }
}

/// A bridge that tells all it can.
pub(crate) async fn talkative(settings: &[(&str, &str)]) -> Bridge {
    let settings: Vec<_> = [("LOG_LEVEL", "TRACE")].into_iter().chain(settings.iter().copied()).collect();
    Bridge::start_with(&settings).await
}

/// Holds the bridge to what must be true of it after anything, and stops it.
pub(crate) async fn assert_unharmed(mut bridge: Bridge) {
    assert_at_rest(&bridge).await;
    assert_at_work(&bridge).await;
    assert_discreet(&bridge).await;
    bridge.terminate();
    let (status, lines) = bridge.wait();
    assert!(status.success(), "{status}: {lines:?}");
    for line in lines {
        assert_nothing_personal("a log line", &line);
        assert!(!line.contains("panicked"), "{line}");
    }
}

/// What deliveries held is given back, and no actor has failed.
pub(crate) async fn assert_at_rest(bridge: &Bridge) {
    let idle = [
        "\nactive_webhook_tasks 0\n",
        "\nauren_semaphore_slots{state=\"used\"} 0\n",
        "\nauren_semaphore_slots{state=\"waiting\"} 0\n",
        "\nauren_healthkit_slots{state=\"used\"} 0\n",
        "\nauren_healthkit_slots{state=\"waiting\"} 0\n",
    ];
    bridge
        .until("at rest", async |bridge| {
            let metrics = bridge.get("/metrics").await.text().await.expect("text");
            idle.iter().all(|line| metrics.contains(line))
        })
        .await;
    let tree: Value = bridge.get("/actors").await.json().await.expect("JSON");
    assert_eq!(tree["root"]["restarts"], 0, "{tree}");
    assert_eq!(tree["root"]["last_failure"], Value::Null, "{tree}");
}

/// A fresh delivery goes all the way.
async fn assert_at_work(bridge: &Bridge) {
    assert_eq!(bridge.get("/ready").await.status(), 200);
    let health = send(bridge.request(Method::GET, "/health")).await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("healthy")), "{}", health.text());
    let fresh = json!({"user_id": "afterwards", "samples": [heart_rate(61, &ago(60))]});
    let (status, answer) = bridge.healthkit(&fresh).await;
    assert_eq!((status, &answer["events"]), (200, &json!(1)), "{answer}");
    assert_eq!(events(bridge, "afterwards").await.len(), 1);
    let folded = async |bridge: &Bridge| bridge.read("/v1/users/afterwards/state").await["state_seq"] == 1;
    bridge.until("folded", folded).await;
}

/// Nothing that is open to everybody tells of a person.
pub(crate) async fn assert_discreet(bridge: &Bridge) {
    // The sum of one reading is that reading, and a histogram has sums; its labels may not tell whose it was.
    let metrics = bridge.get("/metrics").await.text().await.expect("text");
    let metrics: Vec<&str> = metrics
        .lines()
        .map(|line| {
            line.strip_prefix("biometric_values_sum").and_then(|line| line.split(' ').next()).unwrap_or(line)
        })
        .collect();
    assert_nothing_personal("/metrics", &metrics.join("\n"));
    for path in ["/actors", "/actors/users", "/health", "/ready", "/"] {
        assert_nothing_personal(path, &bridge.get(path).await.text().await.expect("text"));
    }
    let summary = send(bridge.request(Method::GET, "/metrics").header("Accept", "application/json")).await;
    assert_nothing_personal("the summary", &summary.text());
}
