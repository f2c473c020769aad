//! Health Auto Export at the endpoint: whose it is, what it becomes, and windows that overlap.

use serde_json::{Value, json};

use crate::answers::{events, refused, send, to_healthkit};
use crate::bridge::{ADMIN_KEY, Bridge};

/// An export of these metrics for a user given in the header.
async fn export(bridge: &Bridge, user: &str, data: Value) -> Value {
    let body = json!({ "data": data }).to_string();
    let answer = send(to_healthkit(bridge, "").header("X-User-Id", user).body(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn metric(name: &str, units: &str, points: Value) -> Value {
    json!({"name": name, "units": units, "data": points})
}

/// Metric and value of all readings of a user's events.
async fn readings(bridge: &Bridge, user: &str) -> Vec<(String, f64)> {
    let events = events(bridge, user).await;
    let readings = events.iter().flat_map(|event| event["readings"].as_array().cloned().unwrap_or_default());
    readings
        .map(|reading| {
            (
                reading["metric"].as_str().expect("a name").to_owned(),
                reading["value"].as_f64().expect("a number"),
            )
        })
        .collect()
}

#[actix_web::test]
async fn an_export_of_everything_is_read_in_one_delivery() {
    let bridge = Bridge::start().await;
    let date = "2026-09-10 6:00:00\u{202f}AM +0200";
    let answer = export(
        &bridge,
        "user-1",
        json!({
            "metrics": [
                metric("step_count", "count", json!([{"date": date, "qty": 377, "source": "Watch|iPhone"}])),
                metric("heart_rate", "bpm", json!([{"date": date, "Min": 58, "Avg": 61, "Max": 70, "source": "Irvin’s Apple\u{a0}Watch"}])),
                metric("weight_body_mass", "lb", json!([{"date": date, "qty": 150, "source": "Scale"}])),
                metric("blood_pressure", "mmHg", json!([{"date": date, "systolic": 121, "diastolic": 79, "source": "Cuff"}])),
                metric("sleep_analysis", "hr", json!([{"date": "2026-09-10 00:00:00 +0200", "totalSleep": 7.25, "asleep": 0,
                    "core": 4.5, "deep": 1.25, "rem": 1.5, "awake": 0.25, "inBed": 7.75, "source": "Watch",
                    "sleepStart": "2026-09-09 23:00:00 +0200", "sleepEnd": "2026-09-10 06:30:00 +0200"}])),
                metric("dietary_water", "mL", json!([{"date": date, "qty": 1}])),
                metric("step_count", "count", json!([{"date": date, "qty": -1}])),
                metric("flights_climbed", "count", Value::Null),
            ],
            "workouts": [{"id": "7A1C", "name": "Outdoor Run", "start": "2026-09-10 06:00:00 +0200",
                "end": "2026-09-10 06:45:00 +0200", "duration": 2700, "avgHeartRate": {"qty": 142, "units": "bpm"},
                "heartRateData": [{"date": "2026-09-10 06:00:00 +0200", "Min": 110, "Avg": 120, "Max": 130, "units": "bpm"}]}],
            "stateOfMind": [{"id": "x"}], "ecg": [{"x": [1, 2]}],
        }),
    )
    .await;
    assert_eq!((&answer["status"], &answer["rejected_total"]), (&json!("processed"), &json!(1)), "{answer}");
    let refused = &answer["rejected"][0];
    assert_eq!((&refused["index"], &refused["path"]), (&json!(6), &json!("/data/metrics/6/data/0/qty")));
    let mut found = readings(&bridge, "user-1").await;
    found.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    let expected = [
        ("awake_minutes", 15.0),
        ("blood_pressure_diastolic", 79.0),
        ("blood_pressure_systolic", 121.0),
        ("deep_sleep_minutes", 75.0),
        ("heart_rate", 61.0),
        ("heart_rate", 120.0),
        ("light_sleep_minutes", 270.0),
        ("rem_sleep_minutes", 90.0),
        ("steps", 377.0),
        ("time_in_bed_minutes", 465.0),
        ("total_sleep_minutes", 435.0),
        ("weight", 68.0388555),
        ("workout_duration_minutes", 45.0),
        ("workout_heart_rate_average", 142.0),
    ];
    assert_eq!(found, expected.map(|(metric, value)| (metric.to_owned(), value)));
    let kinds: Vec<Value> =
        events(&bridge, "user-1").await.iter().map(|event| event["kind"].clone()).collect();
    for kind in ["sample", "body", "sleep", "workout"] {
        assert!(kinds.contains(&json!(kind)), "{kind}: {kinds:?}");
    }
    let latest = bridge.read("/v1/users/user-1/latest").await;
    assert_eq!(latest["readings"]["steps"]["confidence"], 1.0, "{latest}");
}

#[actix_web::test]
async fn windows_that_overlap_count_once_and_a_larger_total_is_newer() {
    let bridge = Bridge::start().await;
    let window = |minutes: &[(u8, u32)]| {
        let points: Vec<Value> = minutes
            .iter()
            .map(|(minute, qty)| json!({"date": format!("2026-09-10 06:0{minute}:00 +0200"), "qty": qty, "source": "iPhone"}))
            .collect();
        json!({"metrics": [metric("step_count", "count", json!(points))]})
    };
    let first = export(&bridge, "user-1", window(&[(0, 50), (1, 20)])).await;
    assert_eq!((&first["events"], &first["readings"]), (&json!(1), &json!(2)));
    let grown = export(&bridge, "user-1", window(&[(0, 50), (1, 64), (2, 10)])).await;
    assert_eq!((&grown["events"], &grown["readings"]), (&json!(1), &json!(2)), "{grown}");
    let late = export(&bridge, "user-1", window(&[(1, 33), (0, 50)])).await;
    assert_eq!((&late["events"], &late["readings"]), (&json!(0), &json!(0)), "{late}");
    let mut steps = readings(&bridge, "user-1").await;
    steps.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    assert_eq!(steps, [10.0, 50.0, 64.0].map(|value| ("steps".to_owned(), value)));

    // What does not add up is replaced by what the later export says, if that is something else.
    let weight = |qty: f64| json!({"metrics": [metric("weight_body_mass", "kg", json!([{"date": "2026-09-10 07:00:00 +0200", "qty": qty}]))], "workouts": []});
    for (qty, readings) in [(72.4, 1), (72.1, 1)] {
        assert_eq!(export(&bridge, "user-2", weight(qty)).await["readings"], readings);
    }
    let beside = json!({"metrics": weight(72.1)["metrics"]});
    assert_eq!(export(&bridge, "user-2", beside).await["readings"], 0, "the same again in another window");
    assert_eq!(readings_of_one(&bridge, "user-2").await, 72.1);
}

async fn readings_of_one(bridge: &Bridge, user: &str) -> f64 {
    match readings(bridge, user).await.as_slice() {
        [(_, value)] => *value,
        several => panic!("{several:?}"),
    }
}

#[actix_web::test]
async fn an_exports_user_is_told_beside_it() {
    let bridge = Bridge::start().await;
    let body = json!({"data": {"metrics": [metric("step_count", "count", json!([{"date": "2026-09-10 06:00:00 +0200", "qty": 5}]))]}}).to_string();
    refused(to_healthkit(&bridge, "").body(body.clone()), 400, "validation_error").await;
    let by_query = send(to_healthkit(&bridge, "?user_id=user-2").body(body.clone())).await;
    assert_eq!(by_query.json()["readings"], 1);
    let link = bridge
        .request(reqwest::Method::PUT, "/admin/links/healthkit/annas-phone")
        .bearer_auth(ADMIN_KEY)
        .json(&json!({"user_id": "user-3"}));
    let key = send(link).await.json()["key"].as_str().expect("a key").to_owned();
    let bound =
        bridge.request(reqwest::Method::POST, "/webhook/healthkit").header("X-API-Key", key).body(body);
    assert_eq!(send(bound).await.json()["readings"], 1);
    assert_eq!(readings_of_one(&bridge, "user-3").await, 5.0);
}

#[actix_web::test]
async fn an_empty_export_is_ignored() {
    let bridge = Bridge::start().await;
    for data in [
        json!({}),
        Value::Null,
        json!([]),
        json!({"metrics": [], "workouts": []}),
        json!({"metrics": [metric("step_count", "count", json!([])), metric("active_energy", "kJ", Value::Null)]}),
        json!({"stateOfMind": [{"id": "x"}], "medications": [{}], "symptoms": [{}], "cycleTracking": [{}], "heartRateNotifications": [{}]}),
    ] {
        let answer = export(&bridge, "user-1", data.clone()).await;
        assert_eq!(
            (&answer["status"], answer["reason"].is_string()),
            (&json!("ignored"), true),
            "{data}: {answer}"
        );
    }
}

#[actix_web::test]
async fn a_days_total_takes_no_minutes_place() {
    let bridge = Bridge::start().await;
    let export = async |aggregation: &str, qty: u32| {
        let points = json!([{"date": "2026-09-10 00:00:00 +0200", "qty": qty, "source": "Watch"}]);
        let body = json!({"data": {"metrics": [metric("step_count", "count", points)]}}).to_string();
        let request = to_healthkit(&bridge, "?user_id=user-1").header("automation-aggregation", aggregation);
        send(request.body(body)).await.json()["readings"].clone()
    };
    assert_eq!(export("days", 8_000).await, 1);
    assert_eq!(export("minutes", 12).await, 1);
    assert_eq!(export("minutes", 40).await, 1, "it has grown");
    assert_eq!(export("days", 7_000).await, 0, "and this is an older one");
    let mut steps = readings(&bridge, "user-1").await;
    steps.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    assert_eq!(steps, [40.0, 8_000.0].map(|value| ("steps".to_owned(), value)));
}
