//! The newest version wins, whatever the order of arrival.

use actors::domain::event::Event;
use actors::domain::message::Topic;
use actors::domain::metric::Metric;
use actors::ports::Store as _;
use actors::ports::store::{Committed, EventQuery};
use serde_json::json;

use crate::bridge::*;
use crate::judge::*;

/// One version of the record `sleep-1`.
fn version(version: i64, value: f64) -> serde_json::Value {
    let at = taken_at(1).to_string();
    json!({
        "event_id": format!("sleep-1/{version}"), "record_id": "sleep-1", "version": version,
        "device_type": "oura_ring", "user_id": "a", "timestamp": at, "kind": "sleep",
        "readings": [{ "metric": "sleep_score", "value": value, "unit": "score", "timestamp": at }],
    })
}

async fn inject(bridge: &Bridge, event: serde_json::Value) -> bool {
    match bridge.inject(event).await {
        Ok(Committed::Stored(receipts)) => receipts[0].is_new,
        other => panic!("{other:?}"),
    }
}

async fn shown(bridge: &Bridge) -> Vec<Event> {
    let query = EventQuery {
        user_id: user("a"),
        from: None,
        to: None,
        device: None,
        metric: None,
        kind: None,
        after: None,
        limit: 100,
    };
    bridge.store.events(&query).await.unwrap().into_iter().map(|stored| stored.event).collect()
}

async fn latest(bridge: &Bridge) -> Vec<(Metric, f64)> {
    let latest = bridge.store.latest(&user("a")).await.unwrap();
    latest.into_iter().map(|latest| (latest.reading.metric, latest.reading.value)).collect()
}

#[actix::test]
async fn an_older_version_that_comes_later_changes_nothing() {
    let bridge = Bridge::start();
    assert!(inject(&bridge, version(2, 80.0)).await);
    bridge.settle().await;
    let before = bridge.state("a").unwrap().0.encode();
    assert!(!inject(&bridge, version(1, 50.0)).await);
    assert!(!inject(&bridge, version(2, 80.0)).await);
    bridge.settle().await;
    assert!(bridge.state("a").unwrap().0.encode() == before);
    assert_eq!(shown(&bridge).await.len(), 1);
    assert_eq!(latest(&bridge).await, [(Metric::SleepScore, 80.0)]);
    assert_eq!(bridge.log.read(|topics| topics.records(Topic::BiometricEvents).count()), 1);
}

#[actix::test]
async fn a_newer_version_hides_the_older_and_both_are_on_the_log() {
    let bridge = Bridge::start();
    assert!(inject(&bridge, version(1, 80.0)).await);
    assert!(inject(&bridge, version(3, 50.0)).await);
    bridge.settle().await;
    let shown = shown(&bridge).await;
    assert_eq!((shown.len(), shown[0].version), (1, 3));
    assert_eq!(latest(&bridge).await, [(Metric::SleepScore, 50.0)]);
    let versions: Vec<i64> =
        first_appearances(&bridge)[&user("a")].iter().map(|event| event.version).collect();
    assert_eq!(versions, [1, 3]);
    assert_nothing_is_lost_or_counted_twice(&bridge);
}

#[actix::test]
async fn a_deletion_takes_its_record_out_of_the_read_api() {
    let bridge = Bridge::start();
    inject(&bridge, version(1, 80.0)).await;
    let mut deletion = version(2, 80.0);
    deletion["deleted"] = true.into();
    deletion["readings"] = json!([]);
    assert!(inject(&bridge, deletion).await);
    assert!(shown(&bridge).await.is_empty());
    assert!(latest(&bridge).await.is_empty());
    bridge.settle().await;
    assert_eq!(bridge.state_seq("a"), 2);
}

#[actix::test]
async fn two_records_of_one_moment_never_overwrite_each_other() {
    let bridge = Bridge::start();
    let mut readiness = version(1, 70.0);
    readiness["event_id"] = "readiness-1/1".into();
    readiness["record_id"] = "readiness-1".into();
    readiness["readings"][0]["metric"] = "recovery_score".into();
    inject(&bridge, version(1, 80.0)).await;
    inject(&bridge, readiness).await;
    assert_eq!(shown(&bridge).await.len(), 2);
    assert_eq!(latest(&bridge).await, [(Metric::RecoveryScore, 70.0), (Metric::SleepScore, 80.0)]);
}
