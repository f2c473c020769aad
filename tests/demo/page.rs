//! The operators' page, as a browser shows it.

use std::process::Command;

use serde_json::json;

use crate::bridge::{Bridge, now_ms};
use crate::services::{Service, optional};

/// How much of the page's time passes before it is looked at: a few of its looks at the bridge, a second apart.
const PAGE_TIME_MS: u32 = 4_000;

#[actix_web::test]
async fn the_page_shows_the_tree_and_the_counters_live() {
    let Some(chromium) = optional(Service::Chromium) else { return };
    let bridge = Bridge::start().await;
    let timestamp = actors::domain::time::Timestamp::from_ms(now_ms()).to_string();
    let sample = json!({"type": "heartRate", "value": 72, "unit": "bpm", "timestamp": timestamp});
    let (status, _) = bridge.healthkit(&json!({"user_id": "somebody", "samples": [sample]})).await;
    assert_eq!(status, 200);
    let applied = r#"auren_kafka_messages_processed_total{status="applied"} 1"#;
    bridge
        .until("applied", async |bridge| {
            let metrics = bridge.get("/metrics").await.text().await.expect("text");
            metrics.lines().any(|line| line == applied)
        })
        .await;

    let profile = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--virtual-time-budget={PAGE_TIME_MS}"))
        .arg(format!("{}/", bridge.url))
        .output()
        .expect("the browser runs");
    let page = String::from_utf8_lossy(&output.stdout);
    let shown = |name: &str| {
        let value =
            page.split(&format!("data-text=\"{name}\">")).nth(1).and_then(|rest| rest.split('<').next());
        value.unwrap_or_else(|| panic!("no {name} on the page:\n{page}")).to_owned()
    };
    assert_eq!((shown("deliveries"), shown("applied"), shown("dead")), ("1".into(), "1".into(), "0".into()));
    for actor in ["healthkit", "oura", "writer", "publisher", "consumer", "router", "flusher", "users"] {
        assert!(page.contains(actor), "no {actor} on the page:\n{page}");
    }
    assert!(!page.contains("somebody"), "the page names no user");
}
