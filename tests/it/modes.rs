//! Modes, from a signed delivery to the published switch.

use serde_json::{Value, json};

use crate::answers::{Past, ago, events, heart_rate, is_uuid, listed, log_read, to_oura_inline};
use crate::bridge::Bridge;

/// One inline delivery of so many seconds ago.
fn record(past: &Past, user: &str, seconds_ago: i64, section: &str, field: &str, value: f64) -> Value {
    json!({"user_id": user, "timestamp": past.ago(seconds_ago), section: {field: value}})
}

async fn deliver(bridge: &Bridge, record: &Value) {
    let (status, answer) = bridge.oura_inline(record).await;
    assert_eq!((status, &answer["status"]), (200, &json!("processed")), "{answer}");
}

/// The state once the user has applied so many events.
async fn state_after(bridge: &Bridge, user: &str, events: u64) -> Value {
    let path = format!("/v1/users/{user}/state");
    bridge.until("applied", async |bridge| bridge.read(&path).await["state_seq"] == events).await;
    bridge.read(&path).await
}

async fn switches_after(bridge: &Bridge, user: &str, count: usize) -> Vec<Value> {
    let path = format!("/v1/users/{user}/mode-switches");
    bridge
        .until("switched", async |bridge| listed(&bridge.read(&path).await, "mode_switches").len() >= count)
        .await;
    listed(&bridge.read(&path).await, "mode_switches")
}

#[actix_web::test]
async fn a_drop_of_the_hrv_is_reflex() {
    let past = Past::new();
    let bridge = Bridge::start().await;
    deliver(&bridge, &record(&past, "u", 60, "hrv_data", "rmssd", 20.0)).await;
    let state = state_after(&bridge, "u", 1).await;
    let told = [&state["mode"], &state["reason"], &state["confidence"]];
    assert_eq!(told, [&json!("REFLEX"), &json!("reflex.hrv_drop"), &json!(0.95)]);
    let event = events(&bridge, "u").await.remove(0);
    assert_eq!(event["headers"]["priority"], "HIGH");
    let triggers: Value =
        serde_json::from_str(event["headers"]["triggers"].as_str().expect("text")).expect("JSON");
    let expected = json!({"triggers": [{
        "type": "URGENT_INTERVENTION", "severity": "CRITICAL", "metric": "hrv", "value": 20.0,
        "recommendation": "immediate_stress_protocol",
    }]});
    assert_eq!(triggers, expected);
}

#[actix_web::test]
async fn a_low_recovery_is_guardian_until_it_is_well_again() {
    let past = Past::new();
    let bridge = Bridge::start().await;
    deliver(&bridge, &record(&past, "u", 3600, "recovery", "score", 39.0)).await;
    let state = state_after(&bridge, "u", 1).await;
    assert_eq!((&state["mode"], &state["reason"]), (&json!("GUARDIAN"), &json!("guardian.recovery")));
    assert!((state["confidence"].as_f64().expect("a number") - 0.61).abs() < 1e-9, "{state}");
    // 40 is no longer low, but under 60 GUARDIAN does not end.
    for (seconds_ago, score, mode) in
        [(3000, 40.0, "GUARDIAN"), (2400, 59.0, "GUARDIAN"), (1800, 60.0, "PATTERN")]
    {
        deliver(&bridge, &record(&past, "u", seconds_ago, "recovery", "score", score)).await;
        let seq = [3000, 2400, 1800].iter().position(|ago| *ago == seconds_ago).expect("listed") as u64 + 2;
        assert_eq!(state_after(&bridge, "u", seq).await["mode"], mode, "recovery {score}");
    }
    let state = bridge.read("/v1/users/u/state").await;
    assert_eq!((&state["reason"], &state["confidence"]), (&json!("pattern.normal"), &json!(0.8)));
}

#[actix_web::test]
async fn within_the_cooldown_only_a_more_urgent_row_switches() {
    let past = Past::new();
    let bridge = Bridge::start().await;
    deliver(&bridge, &record(&past, "u", 2000, "recovery", "score", 30.0)).await;
    assert_eq!(state_after(&bridge, "u", 1).await["mode"], "GUARDIAN");
    // 299 s later well again: not yet.
    deliver(&bridge, &record(&past, "u", 1701, "recovery", "score", 90.0)).await;
    assert_eq!(state_after(&bridge, "u", 2).await["mode"], "GUARDIAN");
    // REFLEX goes before GUARDIAN, with 0.7 of its confidence.
    deliver(&bridge, &record(&past, "u", 1701, "hrv_data", "rmssd", 10.0)).await;
    let state = state_after(&bridge, "u", 3).await;
    assert_eq!(state["mode"], "REFLEX");
    assert!((state["confidence"].as_f64().expect("a number") - 0.665).abs() < 1e-9, "{state}");
    // 299 s after the second switch nothing goes before REFLEX; at 300 s the cooldown is over.
    deliver(&bridge, &record(&past, "u", 1402, "hrv_data", "rmssd", 60.0)).await;
    assert_eq!(state_after(&bridge, "u", 4).await["mode"], "REFLEX");
    deliver(&bridge, &record(&past, "u", 1401, "hrv_data", "rmssd", 61.0)).await;
    assert_eq!(state_after(&bridge, "u", 5).await["mode"], "PATTERN");
    let modes: Vec<Value> =
        switches_after(&bridge, "u", 3).await.iter().map(|switch| switch["to_mode"].clone()).collect();
    assert_eq!(modes, ["PATTERN", "REFLEX", "GUARDIAN"], "newest first");
}

#[actix_web::test]
async fn a_switch_is_published_as_the_read_api_shows_it() {
    let past = Past::new();
    let bridge = Bridge::start().await;
    deliver(&bridge, &record(&past, "u", 60, "hrv_data", "rmssd", 20.0)).await;
    let switches = switches_after(&bridge, "u", 1).await;
    let switch = &switches[0];
    let members: Vec<&str> = switch.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "confidence",
        "event_id",
        "explanation",
        "from_mode",
        "reason",
        "rule",
        "state_seq",
        "switch_id",
        "timestamp",
        "to_mode",
        "user_id",
    ];
    assert_eq!(members, expected);
    let state = bridge.read("/v1/users/u/state").await;
    let event = events(&bridge, "u").await.remove(0);
    assert_eq!((&switch["switch_id"], &switch["timestamp"]), (&state["switch_id"], &state["since"]));
    assert!(is_uuid(&switch["switch_id"], 8), "{switch}");
    assert_eq!(
        (&switch["event_id"], &switch["user_id"], &switch["state_seq"]),
        (&event["event_id"], &json!("u"), &json!(1))
    );
    assert_eq!((&switch["from_mode"], &switch["to_mode"]), (&json!("PATTERN"), &json!("REFLEX")));
    assert_eq!((&switch["reason"], &switch["rule"]), (&json!("reflex.hrv_drop"), &json!("reflex.hrv_drop")));
    let explanation = &switch["explanation"];
    let input = json!({
        "metric": "hrv", "value": 20.0, "timestamp": event["timestamp"], "age_s": explanation["inputs"][0]["age_s"],
        "device_type": "oura_ring", "confidence": 0.95, "baseline": 60.0,
    });
    assert_eq!(explanation["inputs"], json!([input]));
    let age_s = explanation["inputs"][0]["age_s"].as_i64().expect("a number");
    assert!((60..120).contains(&age_s), "ages run from the arrival: {explanation}");
    let nearest = &explanation["nearest"];
    assert_eq!(
        (&nearest["input"], &nearest["value"], &nearest["would_be"]),
        (&json!("hrv"), &json!(20.0), &json!("PATTERN"))
    );
    let health: Value = bridge.get("/health").await.json().await.expect("JSON");
    assert_eq!(explanation["thresholds_hash"], health["thresholds"]["thresholds_hash"]);

    bridge.until("published", async |bridge| !log_read(bridge, "neuros-mode-switches").is_empty()).await;
    let records = log_read(&bridge, "neuros-mode-switches");
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["value"], &records[0]["key"]), (switch, &json!("u")));
}

#[actix_web::test]
async fn a_users_switches_come_newest_first_on_pages() {
    let past = Past::new();
    let bridge = Bridge::start().await;
    let scores = [30.0, 90.0, 30.0, 90.0, 30.0];
    for (place, score) in scores.into_iter().enumerate() {
        deliver(&bridge, &record(&past, "u", 3600 - 600 * place as i64, "recovery", "score", score)).await;
    }
    let all = switches_after(&bridge, "u", 5).await;
    let modes: Vec<&str> = all.iter().filter_map(|switch| switch["to_mode"].as_str()).collect();
    assert_eq!(modes, ["GUARDIAN", "PATTERN", "GUARDIAN", "PATTERN", "GUARDIAN"]);
    assert!(all.is_sorted_by(|newer, older| newer["timestamp"].as_str() > older["timestamp"].as_str()));
    for limit in 1..=6_usize {
        let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = bridge.read(&format!("/v1/users/u/mode-switches?limit={limit}{cursor}")).await;
            found.extend(listed(&page, "mode_switches"));
            pages += 1;
            assert!(pages <= 5, "the pages have no end");
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!((&found, pages), (&all, 5_usize.div_ceil(limit)), "limit {limit}");
    }
    // Over a restart, too.
    let bridge = bridge.restart().await;
    assert_eq!(switches_after(&bridge, "u", 5).await, all);
}

/// A trigger's type and severity.
type Told = (&'static str, &'static str);

#[actix_web::test]
async fn triggers_and_priority_are_in_the_headers_as_sent() {
    let bridge = Bridge::start().await;
    let table: [(Value, &str, &[Told]); 7] = [
        (json!({"hrv_data": {"rmssd": 24.9}}), "HIGH", &[("URGENT_INTERVENTION", "CRITICAL")]),
        (json!({"hrv_data": {"rmssd": 25}}), "MEDIUM", &[("STRESS_INTERVENTION", "HIGH")]),
        (json!({"hrv_data": {"rmssd": 40}}), "NORMAL", &[]),
        (json!({"sleep": {"score": 69}}), "NORMAL", &[("RECOVERY_INTERVENTION", "MEDIUM")]),
        (json!({"sleep": {"score": 70}}), "NORMAL", &[]),
        (
            json!({"recovery": {"score": 49}, "stress": {"level": 1}}),
            "NORMAL",
            &[("RECOVERY_INTERVENTION", "MEDIUM")],
        ),
        (
            json!({"recovery": {"score": 49}, "sleep": {"score": 10}, "hrv_data": {"rmssd": 39}}),
            "MEDIUM",
            &[
                ("STRESS_INTERVENTION", "HIGH"),
                ("RECOVERY_INTERVENTION", "MEDIUM"),
                ("RECOVERY_INTERVENTION", "MEDIUM"),
            ],
        ),
    ];
    for (place, (sections, priority, expected)) in table.into_iter().enumerate() {
        let user = format!("user-{place}");
        let mut body = json!({"user_id": user, "timestamp": ago(60)});
        body.as_object_mut().expect("an object").extend(sections.as_object().expect("an object").clone());
        crate::answers::send(to_oura_inline(&bridge, body.to_string())).await;
        let headers = events(&bridge, &user).await[0]["headers"].clone();
        assert_eq!(headers["priority"], priority, "{sections}");
        let text = headers["triggers"].as_str().expect("text");
        assert_eq!(text.is_empty(), expected.is_empty(), "{sections}: {text}");
        if !text.is_empty() {
            let triggers: Value = serde_json::from_str(text).expect("JSON");
            let told: Vec<(&str, &str)> = listed_ref(&triggers, "triggers")
                .iter()
                .filter_map(|trigger| Some((trigger["type"].as_str()?, trigger["severity"].as_str()?)))
                .collect();
            assert_eq!(told, expected, "{sections}");
        }
    }
}

fn listed_ref<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

#[actix_web::test]
async fn terras_events_say_that_they_are_and_are_at_least_medium() {
    let bridge = Bridge::start().await;
    for (user, is_backfill) in [("live", false), ("history", true)] {
        let at = ago(60);
        let event = json!({
            "device_type": "terra", "user_id": user, "timestamp": at, "is_backfill": is_backfill,
            "readings": [{"metric": "steps", "value": 1, "unit": "count", "timestamp": at}],
        });
        bridge.inject("", &event).await;
        let headers = events(&bridge, user).await[0]["headers"].clone();
        assert_eq!(
            (&headers["priority"], &headers["source"]),
            (&json!("MEDIUM"), &json!("terra_api")),
            "{headers}"
        );
    }
}

#[actix_web::test]
async fn a_sustained_high_heart_rate_is_reflex_and_a_single_one_is_not() {
    let bridge = Bridge::start().await;
    let past = Past::new();
    let send = async |user: &str, ages: &[i64]| {
        let samples: Vec<Value> = ages.iter().map(|age| heart_rate(120, &past.ago(*age))).collect();
        let (status, _) = bridge.healthkit(&json!({"user_id": user, "samples": samples})).await;
        assert_eq!(status, 200);
        state_after(&bridge, user, 1).await
    };
    assert_eq!(send("single", &[30]).await["mode"], "PATTERN");
    assert_eq!(send("short", &[329, 200, 30]).await["mode"], "PATTERN", "a second less than five minutes");
    let state = send("sustained", &[330, 200, 30]).await;
    assert_eq!(
        (&state["mode"], &state["reason"], &state["confidence"]),
        (&json!("REFLEX"), &json!("reflex.heart_rate"), &json!(1.0))
    );
}

#[actix_web::test]
async fn a_users_state_outlives_the_process() {
    let past = Past::new();
    let bridge = Bridge::start().await;
    deliver(&bridge, &record(&past, "u", 60, "recovery", "score", 30.0)).await;
    let mut before = state_after(&bridge, "u", 1).await;
    let bridge = bridge.restart().await;
    let mut after = state_after(&bridge, "u", 1).await;
    for state in [&mut before, &mut after] {
        state["as_of"] = Value::Null;
    }
    assert_eq!(after, before);
    // The next event goes on from there.
    deliver(&bridge, &record(&past, "u", 30, "recovery", "score", 90.0)).await;
    let state = state_after(&bridge, "u", 2).await;
    assert_eq!(state["mode"], "GUARDIAN", "still cooling down");
    assert_eq!(state["switch_id"], before["switch_id"]);
}

#[actix_web::test]
async fn backfilled_events_decide_nothing() {
    let bridge = Bridge::start().await;
    let at = ago(60);
    let event = json!({
        "device_type": "oura_ring", "user_id": "u", "timestamp": at, "is_backfill": true,
        "readings": [{"metric": "recovery_score", "value": 10, "unit": "score", "timestamp": at, "confidence": 0.95}],
    });
    let (_, answer) = bridge.inject("?wait=applied", &event).await;
    assert_eq!(answer["mode"], "PATTERN", "{answer}");
    let headers = events(&bridge, "u").await[0]["headers"].clone();
    assert_eq!((&headers["triggers"], &headers["priority"]), (&json!(""), &json!("NORMAL")));
}
