//! The same fact once, its newest version, and batches in events of bounded size.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::answers::{events, heart_rate, is_uuid, listed, log_read, to_healthkit, to_oura_inline};
use crate::bridge::Bridge;

const AT: &str = "2026-09-10T06:42:11Z";

fn counts(answer: &Value) -> (&str, u64, u64) {
    let count = |name: &str| answer[name].as_u64().unwrap_or(u64::MAX);
    (answer["status"].as_str().unwrap_or_default(), count("events"), count("readings"))
}

#[actix_web::test]
async fn a_delivery_sent_twenty_times_at_once_is_processed_once() {
    let bridge = Bridge::start().await;
    let body = json!({"user_id": "user-1", "samples": [heart_rate(61, AT)]}).to_string();
    let sends = (0..20).map(|_| crate::bridge::answer(to_healthkit(&bridge, "").body(body.clone())));
    let answers = join_all(sends).await;
    let count = |word: &str| answers.iter().filter(|(_, answer)| answer["status"] == word).count();
    assert_eq!((count("processed"), count("duplicate")), (1, 19), "{answers:?}");
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    let events_new: u64 = answers.iter().filter_map(|(_, answer)| answer["events"].as_u64()).sum();
    assert_eq!(events_new, 1);
    assert_eq!(events(&bridge, "user-1").await.len(), 1);
}

#[actix_web::test]
async fn one_fact_in_many_deliveries_at_once_is_counted_once() {
    let bridge = Bridge::start().await;
    // Twenty deliveries that differ in their bytes and share one sample.
    let sends = (0..20).map(|n| {
        let own = heart_rate(100 + n, &format!("2026-09-10T07:00:{n:02}Z"));
        let body = json!({"user_id": "user-1", "samples": [heart_rate(61, AT), own]}).to_string();
        crate::bridge::answer(to_healthkit(&bridge, "").body(body))
    });
    let answers = join_all(sends).await;
    let readings: u64 = answers.iter().filter_map(|(_, answer)| answer["readings"].as_u64()).sum();
    assert_eq!(readings, 21, "{answers:?}");
    let all = events(&bridge, "user-1").await;
    let shared =
        all.iter().flat_map(|event| listed(event, "readings")).filter(|reading| reading["timestamp"] == AT);
    assert_eq!((all.len(), shared.count()), (20, 1));
}

#[actix_web::test]
async fn duplicates_are_known_over_a_restart() {
    let bridge = Bridge::start().await;
    let notification =
        json!({"user_id": "A1", "event_type": "update", "data_type": "sleep", "object_id": "x"});
    let inline = json!({"user_id": "user-1", "timestamp": AT, "sleep": {"score": 80}});
    let batch = json!({"user_id": "user-1", "samples": [heart_rate(61, AT)]});
    assert_eq!(bridge.oura(&notification).await.0, 202);
    assert_eq!(counts(&bridge.oura_inline(&inline).await.1), ("processed", 1, 1));
    assert_eq!(counts(&bridge.healthkit(&batch).await.1), ("processed", 1, 1));
    let before = events(&bridge, "user-1").await;
    let bridge = bridge.restart().await;
    assert_eq!(counts(&bridge.oura(&notification).await.1), ("duplicate", 0, 0));
    assert_eq!(counts(&bridge.oura_inline(&inline).await.1), ("duplicate", 0, 0));
    assert_eq!(counts(&bridge.healthkit(&batch).await.1), ("duplicate", 0, 0));
    // Other bytes, the same fact.
    let spaced = format!(" {batch}");
    let (_, answer) = crate::bridge::answer(to_healthkit(&bridge, "").body(spaced)).await;
    assert_eq!(counts(&answer), ("processed", 0, 0));
    assert_eq!(events(&bridge, "user-1").await, before);
}

#[actix_web::test]
async fn a_sample_never_changes_and_its_first_arrival_wins() {
    let bridge = Bridge::start().await;
    let sample = |value: u32| {
        let mut sample = heart_rate(value, AT);
        sample["uuid"] = json!("0b1d7a52-33f5-4f0e-8a1c-0123456789ab");
        json!({"user_id": "user-1", "samples": [sample]})
    };
    assert_eq!(counts(&bridge.healthkit(&sample(61)).await.1), ("processed", 1, 1));
    assert_eq!(counts(&bridge.healthkit(&sample(99)).await.1), ("processed", 0, 0));
    let kept = events(&bridge, "user-1").await;
    assert_eq!((kept.len(), &kept[0]["readings"][0]["value"]), (1, &json!(61.0)));
    // Without a UUID the value is part of what makes it the same sample.
    for value in [70, 71, 70] {
        bridge.healthkit(&json!({"user_id": "user-2", "samples": [heart_rate(value, AT)]})).await;
    }
    assert_eq!(events(&bridge, "user-2").await.len(), 2);
    // Another user's sample is another sample.
    let same = json!({"user_id": "user-3", "samples": [heart_rate(70, AT)]});
    assert_eq!(counts(&bridge.healthkit(&same).await.1), ("processed", 1, 1));
}

#[actix_web::test]
async fn one_sample_in_another_spelling_is_the_same_sample() {
    let bridge = Bridge::start().await;
    let samples = [
        json!({"type": "heartRate", "value": 60, "unit": "bpm", "timestamp": "2026-09-10T06:42:11Z"}),
        json!({"type": "HKQuantityTypeIdentifierHeartRate", "value": 60.0, "unit": "count/min", "timestamp": "2026-09-10T08:42:11+02:00"}),
        json!({"type": "heart_rate", "value": 1, "unit": "count/s", "date": "2026-09-10 08:42:11 +0200"}),
    ];
    let (_, answer) = bridge.healthkit(&json!({"user_id": "user-1", "samples": samples})).await;
    assert_eq!(counts(&answer), ("processed", 1, 1), "{answer}");
}

#[actix_web::test]
async fn a_later_inline_record_is_a_newer_version_and_hides_the_older() {
    let bridge = Bridge::start().await;
    let record = |score: u32, rmssd: f64| json!({"user_id": "user-1", "timestamp": AT, "sleep": {"score": score}, "hrv_data": {"rmssd": rmssd}});
    assert_eq!(counts(&bridge.oura_inline(&record(80, 45.0)).await.1), ("processed", 1, 2));
    let first = events(&bridge, "user-1").await.remove(0);
    assert_eq!((&first["kind"], &first["device_type"]), (&json!("inline"), &json!("oura_ring")));
    assert_eq!(first["readings"][0]["confidence"], 0.95);
    assert_eq!(counts(&bridge.oura_inline(&record(70, 44.0)).await.1), ("processed", 1, 2));
    let now = events(&bridge, "user-1").await;
    assert_eq!(now.len(), 1, "{now:?}");
    assert_eq!(now[0]["record_id"], first["record_id"]);
    assert_ne!(now[0]["event_id"], first["event_id"]);
    assert!(now[0]["version"].as_i64() > first["version"].as_i64(), "{now:?}");
    let value = |metric: &str, latest: &Value| latest["readings"][metric]["value"].clone();
    let latest = bridge.read("/v1/users/user-1/latest").await;
    assert_eq!((value("sleep_score", &latest), value("hrv", &latest)), (json!(70.0), json!(44.0)));

    // One of the two readings anew: the other stays where it is.
    let (_, answer) =
        bridge.oura_inline(&json!({"user_id": "user-1", "timestamp": AT, "sleep": {"score": 60}})).await;
    assert_eq!(counts(&answer), ("processed", 1, 1));
    let now = events(&bridge, "user-1").await;
    let mut readings: Vec<(String, f64)> = now
        .iter()
        .flat_map(|event| listed(event, "readings"))
        .map(|reading| {
            (
                reading["metric"].as_str().unwrap_or_default().to_owned(),
                reading["value"].as_f64().unwrap_or(-1.0),
            )
        })
        .collect();
    readings.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(readings, [("hrv".to_owned(), 44.0), ("sleep_score".to_owned(), 60.0)]);

    // The log carries each version that was newest when it was committed.
    bridge.until("published", async |bridge| log_read(bridge, "biometric-events").len() == 3).await;
}

#[actix_web::test]
async fn of_many_versions_at_once_one_is_the_newest_for_everybody() {
    let bridge = Bridge::start().await;
    let sends = (0..20).map(|score| {
        let body = json!({"user_id": "u", "timestamp": AT, "sleep": {"score": score}}).to_string();
        crate::bridge::answer(to_oura_inline(&bridge, body))
    });
    for (status, answer) in join_all(sends).await {
        assert_eq!((status, counts(&answer)), (200, ("processed", 1, 1)));
    }
    let now = events(&bridge, "u").await;
    assert_eq!(now.len(), 1, "{now:?}");
    let latest = bridge.read("/v1/users/u/latest").await;
    assert_eq!(latest["readings"]["sleep_score"]["value"], now[0]["readings"][0]["value"]);
    bridge.until("published", async |bridge| log_read(bridge, "biometric-events").len() == 20).await;
    let records = log_read(&bridge, "biometric-events");
    let versions: Vec<i64> =
        records.iter().filter_map(|record| record["value"]["version"].as_i64()).collect();
    assert!(versions.is_sorted_by(|older, newer| older < newer), "{versions:?}");
    assert_eq!(versions.last(), now[0]["version"].as_i64().as_ref());
    assert!(records.iter().all(|record| record["value"]["record_id"] == now[0]["record_id"]));
}

#[actix_web::test]
async fn two_records_of_one_moment_stand_beside_each_other() {
    let bridge = Bridge::start().await;
    bridge.oura_inline(&json!({"user_id": "user-1", "timestamp": AT, "sleep": {"score": 80}})).await;
    bridge.oura_inline(&json!({"user_id": "user-1", "timestamp": AT, "recovery": {"score": 70}})).await;
    assert_eq!(events(&bridge, "user-1").await.len(), 2);
    let latest = bridge.read("/v1/users/user-1/latest").await;
    let metrics: Vec<&str> =
        latest["readings"].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(metrics, ["recovery_score", "sleep_score"]);
}

#[actix_web::test]
async fn a_batch_becomes_events_of_at_most_a_thousand_readings() {
    let bridge = Bridge::start().await;
    let time = |n: usize| format!("2026-09-10T{:02}:{:02}:{:02}Z", n / 3600, n / 60 % 60, n % 60);
    let samples: Vec<Value> = (0..2_500).map(|n| heart_rate(40 + n % 100, &time(n))).collect();
    let (_, answer) = bridge.healthkit(&json!({"user_id": "user-1", "samples": samples})).await;
    assert_eq!(counts(&answer), ("processed", 3, 2_500));
    let all = events(&bridge, "user-1").await;
    let sizes: Vec<usize> = all.iter().map(|event| listed(event, "readings").len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
    for event in &all {
        let readings = listed(event, "readings");
        let newest = readings.iter().filter_map(|reading| reading["timestamp"].as_str()).max();
        assert_eq!(event["timestamp"].as_str(), newest);
    }
    let all_values: usize = all.iter().map(|event| listed(event, "readings").len()).sum();
    assert_eq!(all_values, 2_500);
    // A second batch that overlaps brings only what is new.
    let overlapping: Vec<Value> = (2_400..2_600).map(|n| heart_rate(40 + n % 100, &time(n))).collect();
    let (_, answer) = bridge.healthkit(&json!({"user_id": "user-1", "samples": overlapping})).await;
    assert_eq!(counts(&answer), ("processed", 1, 100));
}

#[actix_web::test]
async fn a_batch_becomes_one_event_for_each_source() {
    let bridge = Bridge::start().await;
    let from = |source: &str, second: usize| json!({"type": "heartRate", "value": 61, "unit": "bpm", "timestamp": format!("2026-09-10T06:00:{second:02}Z"), "source": source});
    let samples = [from("Watch", 0), from("iPhone", 1), from("Watch", 2), from("Scale", 3)];
    let (_, answer) = bridge.healthkit(&json!({"user_id": "user-1", "samples": samples})).await;
    assert_eq!(counts(&answer), ("processed", 3, 4));
    for event in events(&bridge, "user-1").await {
        let mut sources: Vec<Value> =
            listed(&event, "readings").iter().map(|reading| reading["source"].clone()).collect();
        sources.dedup();
        assert_eq!(sources.len(), 1, "{event}");
    }
}

#[actix_web::test]
async fn the_same_fact_has_the_same_event_id_on_every_bridge() {
    let (one, other) = (Bridge::start().await, Bridge::start().await);
    let body =
        json!({"user_id": "user-1", "samples": [heart_rate(61, AT), heart_rate(62, "2026-09-10T06:43:11Z")]});
    // Another wrapping of the same facts.
    let wrapped = json!([{"samples": body["samples"], "user_id": "user-1"}]);
    one.healthkit(&body).await;
    other.healthkit(&wrapped).await;
    let (one, other) = (events(&one, "user-1").await, events(&other, "user-1").await);
    assert!(is_uuid(&one[0]["event_id"], 8), "{one:?}");
    for name in ["event_id", "record_id", "version", "readings", "timestamp"] {
        assert_eq!(one[0][name], other[0][name], "{name}");
    }
}

#[actix_web::test]
async fn the_log_holds_each_event_as_the_read_api_shows_it() {
    let bridge = Bridge::start().await;
    bridge.healthkit(&json!({"user_id": "user-1", "samples": [heart_rate(61, AT)]})).await;
    let signed = to_oura_inline(
        &bridge,
        json!({"user_id": "user-1", "timestamp": AT, "hrv_data": {"rmssd": 20}}).to_string(),
    );
    crate::answers::send(signed.header("X-Request-ID", "request-7")).await;
    bridge.until("published", async |bridge| log_read(bridge, "biometric-events").len() == 2).await;
    let records = log_read(&bridge, "biometric-events");
    // One user, one partition: first the first.
    assert_eq!(records[0]["partition"], records[1]["partition"]);
    assert_eq!((&records[0]["offset"], &records[1]["offset"]), (&json!(0), &json!(1)));
    assert_eq!(records[1]["headers"]["request_id"], "request-7");
    for mut event in events(&bridge, "user-1").await {
        let headers = event.as_object_mut().and_then(|event| event.remove("headers")).expect("headers");
        let record = records.iter().find(|record| record["value"]["event_id"] == event["event_id"]);
        let record = record.expect("the event is on the log");
        assert_eq!(
            (&record["value"], &record["headers"], &record["key"]),
            (&event, &headers, &json!("user-1"))
        );
    }
}

#[actix_web::test]
async fn a_users_deliveries_are_on_the_log_in_the_order_of_their_answers() {
    let bridge = Bridge::start().await;
    let users = ["user-1", "user-2", "user-3"];
    for n in 0..30 {
        let user = users[n % users.len()];
        // Times run backwards: it is the answers' order that counts.
        let at = format!("2026-09-10T06:{:02}:00Z", 59 - n);
        let (status, _) =
            bridge.healthkit(&json!({"user_id": user, "samples": [heart_rate(60 + n, &at)]})).await;
        assert_eq!(status, 200);
    }
    bridge.until("published", async |bridge| log_read(bridge, "biometric-events").len() == 30).await;
    let records = log_read(&bridge, "biometric-events");
    for (place, user) in users.iter().enumerate() {
        let own = records.iter().filter(|record| record["key"] == *user);
        let values: Vec<f64> =
            own.filter_map(|record| record["value"]["readings"][0]["value"].as_f64()).collect();
        let expected: Vec<f64> =
            (0..30).filter(|n| n % users.len() == place).map(|n| 60.0 + n as f64).collect();
        assert_eq!(values, expected, "{user}");
    }
}
