//! HealthKit's door: its keys, and what its samples become.

use reqwest::Method;
use serde_json::{Value, json};

use crate::aftermath::assert_unharmed;
use crate::answers::{ago, events, heart_rate, refused, send, to_healthkit};
use crate::bridge::{ADMIN_KEY, Bridge, HEALTHKIT_KEY, HEALTHKIT_SECRET};

/// The body and signature of vendors.md §4's vector.
const VECTOR: &str = r#"{"user_id":"user-81","samples":[{"type":"heartRate","value":61,"unit":"count/min","timestamp":"2026-09-10T06:42:11Z","source":"Apple Watch"}]}"#;
const VECTOR_SECRET: &str = "healthkit-secret-0a1b";
const VECTOR_SIGNATURE: &str = "b9a1fec666cb09f2c3876f589c2ab42176430e5498eb816248cdb0645cb34d8d";

#[actix_web::test]
async fn the_key_opens_in_each_of_its_forms() {
    let bridge = Bridge::start_with(&[("APPLE_HEALTHKIT_SECRET", VECTOR_SECRET)]).await;
    let post = || bridge.request(Method::POST, "/webhook/healthkit").body(VECTOR);
    let right = [
        ("Authorization", format!("Bearer {HEALTHKIT_KEY}")),
        ("authorization", format!("bearer {HEALTHKIT_KEY}")),
        ("X-API-Key", HEALTHKIT_KEY.to_owned()),
        ("Signature", VECTOR_SIGNATURE.to_owned()),
        ("signature", VECTOR_SIGNATURE.to_uppercase()),
    ];
    for (place, (name, value)) in right.iter().enumerate() {
        let answer = send(post().header(*name, value)).await;
        let expected = if place == 0 { "processed" } else { "duplicate" };
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!(expected)), "{name}");
    }
    let flipped = VECTOR_SIGNATURE.replacen('b', "c", 1);
    let wrong = [
        ("Authorization", "Bearer wrong".to_owned()),
        ("Authorization", HEALTHKIT_KEY.to_owned()),
        ("Authorization", format!("Basic {HEALTHKIT_KEY}")),
        ("Authorization", format!("Bearer {HEALTHKIT_KEY}x")),
        ("Authorization", "Bearer ".to_owned()),
        // With a key of its own the secret is a key no more.
        ("Authorization", format!("Bearer {VECTOR_SECRET}")),
        ("X-API-Key", VECTOR_SECRET.to_owned()),
        ("X-API-Key", HEALTHKIT_KEY.to_uppercase()),
        ("X-API-Key", String::new()),
        ("Signature", flipped),
        ("Signature", VECTOR_SIGNATURE[..62].to_owned()),
        ("Signature", HEALTHKIT_KEY.to_owned()),
    ];
    for (name, value) in wrong {
        refused(post().header(name, value), 401, "authentication_error").await;
    }
    refused(post(), 401, "authentication_error").await;
    for (name, value) in right {
        refused(post().header(name, &value).header(name, &value), 401, "authentication_error").await;
    }
    let in_the_url =
        format!("/webhook/healthkit?key={HEALTHKIT_KEY}&token={HEALTHKIT_KEY}&api_key={HEALTHKIT_KEY}");
    refused(bridge.request(Method::POST, &in_the_url).body(VECTOR), 401, "authentication_error").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn the_key_has_three_names_and_the_secret_stands_in_for_none() {
    let bearer = |bridge: &Bridge, key: &str, user: &str| {
        let body = json!({"user_id": user, "samples": [heart_rate(61, "2026-09-10T06:42:11Z")]}).to_string();
        bridge.request(Method::POST, "/webhook/healthkit").bearer_auth(key).body(body)
    };
    let other = [("HEALTHKIT_API_KEY", ""), ("HEALTHKIT_WEBHOOK_SECRET", "other-key")];
    let bridge = Bridge::start_with(&other).await;
    assert_eq!(send(bearer(&bridge, "other-key", "user-1")).await.status, 200);
    refused(bearer(&bridge, HEALTHKIT_SECRET, "user-1"), 401, "authentication_error").await;
    let neither = [("HEALTHKIT_API_KEY", ""), ("HEALTHKIT_WEBHOOK_SECRET", "")];
    let bridge = Bridge::start_with(&neither).await;
    assert_eq!(send(bearer(&bridge, HEALTHKIT_SECRET, "user-1")).await.status, 200);
}

#[actix_web::test]
async fn a_samples_type_is_known_in_each_spelling() {
    let bridge = Bridge::start().await;
    let spellings = [
        "HKQuantityTypeIdentifierHeartRate",
        "heartRate",
        "heart_rate",
        "HeartRate",
        "HEART_RATE",
        "heartrate",
    ];
    for (place, spelling) in spellings.iter().enumerate() {
        let sample =
            json!({"type": spelling, "value": 61, "unit": "count/min", "timestamp": "2026-09-10T06:42:11Z"});
        let (_, answer) =
            bridge.healthkit(&json!({"user_id": format!("user-{place}"), "samples": [sample]})).await;
        assert_eq!(
            (&answer["events"], &answer["rejected_total"]),
            (&json!(1), &json!(0)),
            "{spelling}: {answer}"
        );
    }
}

#[actix_web::test]
async fn each_quantity_becomes_its_metric_in_its_unit() {
    let bridge = Bridge::start().await;
    let table = [
        ("HeartRate", 1.0, "count/s", "heart_rate", 60.0, "bpm"),
        ("HeartRate", 61.0, "bpm", "heart_rate", 61.0, "bpm"),
        ("RestingHeartRate", 52.0, "count/min", "resting_heart_rate", 52.0, "bpm"),
        ("HeartRateVariabilitySDNN", 45.5, "ms", "hrv", 45.5, "ms"),
        ("HeartRateVariabilitySDNN", 0.045, "s", "hrv", 45.0, "ms"),
        ("OxygenSaturation", 0.97, "%", "blood_oxygen", 97.0, "%"),
        ("OxygenSaturation", 97.0, "%", "blood_oxygen", 97.0, "%"),
        ("RespiratoryRate", 14.5, "count/min", "respiratory_rate", 14.5, "breaths/min"),
        ("BodyTemperature", 98.6, "degF", "body_temperature", 37.0, "degC"),
        ("BodyTemperature", 310.15, "K", "body_temperature", 37.0, "degC"),
        ("BodyTemperature", 36.6, "degC", "body_temperature", 36.6, "degC"),
        ("StepCount", 377.0, "count", "steps", 377.0, "count"),
        ("ActiveEnergyBurned", 418.4, "kJ", "active_calories", 100.0, "kcal"),
        ("ActiveEnergyBurned", 12.5, "Cal", "active_calories", 12.5, "kcal"),
        ("ActiveEnergyBurned", 12_500.0, "cal", "active_calories", 12.5, "kcal"),
        ("DistanceWalkingRunning", 2.0, "mi", "distance_meters", 3218.688, "m"),
        ("DistanceWalkingRunning", 1.5, "km", "distance_meters", 1500.0, "m"),
    ];
    for (place, (kind, value, unit, metric, canonical, canonical_unit)) in table.into_iter().enumerate() {
        let user = format!("user-{place}");
        let sample = json!({"type": kind, "value": value, "unit": unit, "timestamp": "2026-09-10T06:42:11Z"});
        let (_, answer) = bridge.healthkit(&json!({"user_id": user, "samples": [sample]})).await;
        assert_eq!(answer["readings"], 1, "{kind}: {answer}");
        let reading = events(&bridge, &user).await[0]["readings"][0].clone();
        assert_eq!(
            (&reading["metric"], &reading["unit"]),
            (&json!(metric), &json!(canonical_unit)),
            "{kind} in {unit}"
        );
        let got = reading["value"].as_f64().expect("a number");
        assert!((got - canonical).abs() < 1e-9, "{kind}: {value} {unit} became {got}");
        let method = if metric == "hrv" { json!("sdnn") } else { Value::Null };
        assert_eq!(reading["method"], method, "{kind}");
    }
    // Without a unit, more than 45 degrees are Fahrenheit.
    let sample = json!({"type": "BodyTemperature", "value": 98.6, "timestamp": "2026-09-10T06:42:11Z"});
    bridge.healthkit(&json!({"user_id": "warm", "samples": [sample]})).await;
    assert_eq!(events(&bridge, "warm").await[0]["readings"][0]["value"], 37.0);
}

#[actix_web::test]
async fn a_source_decides_how_far_its_readings_are_trusted() {
    let bridge = Bridge::start().await;
    let sources = [
        (json!({"source": "Irvin’s Apple\u{a0}Watch"}), 1.0),
        (json!({"source": "iPhone"}), 0.8),
        (json!({"source": "Some App"}), 0.7),
        (json!({}), 0.7),
        (json!({"source": {"name": "Health", "bundleIdentifier": "x", "productType": "Watch7,5"}}), 1.0),
        (json!({"source": {"name": "Health", "productType": "iPhone15,2"}}), 0.8),
        (json!({"sourceRevision": {"productType": "Watch7,5", "source": {"name": "Health"}}}), 1.0),
        (json!({"device": {"name": "Apple Watch"}}), 1.0),
    ];
    for (place, (source, confidence)) in sources.into_iter().enumerate() {
        let user = format!("user-{place}");
        let mut sample =
            json!({"type": "heartRate", "value": 61, "unit": "bpm", "timestamp": "2026-09-10T06:42:11Z"});
        let fields = source.as_object().expect("an object").clone();
        sample.as_object_mut().expect("an object").extend(fields);
        bridge.healthkit(&json!({"user_id": user, "samples": [sample]})).await;
        let reading = events(&bridge, &user).await[0]["readings"][0].clone();
        assert_eq!(reading["confidence"], confidence, "{source}");
    }
}

#[actix_web::test]
async fn an_interval_has_the_time_of_its_end() {
    let bridge = Bridge::start().await;
    let steps = |start: &str, end: &str| json!({"type": "stepCount", "value": 10, "unit": "count", "startDate": start, "endDate": end});
    let samples = [
        steps("2026-09-10T06:00:00Z", "2026-09-10T06:05:00.250Z"),
        json!({"type": "stepCount", "value": 11, "start": "2026-09-10 08:05:00 +0200", "end": "2026-09-10 08:10:00 +0200"}),
        steps("2026-09-10T06:05:00Z", "2026-09-10T06:00:00Z"),
    ];
    let (_, answer) = bridge.healthkit(&json!({"user_id": "user-1", "samples": samples})).await;
    assert_eq!((&answer["readings"], &answer["rejected"][0]["index"]), (&json!(2), &json!(2)), "{answer}");
    let event = &events(&bridge, "user-1").await[0];
    assert_eq!(event["timestamp"], "2026-09-10T06:10:00Z");
    let (first, second) = (&event["readings"][0], &event["readings"][1]);
    assert_eq!(
        (&first["timestamp"], &first["end"]),
        (&json!("2026-09-10T06:05:00.250Z"), &json!("2026-09-10T06:05:00.250Z"))
    );
    assert_eq!(first["start"], "2026-09-10T06:00:00Z");
    assert_eq!(
        (&second["timestamp"], &second["utc_offset"]),
        (&json!("2026-09-10T06:10:00Z"), &json!("+02:00"))
    );
}

#[actix_web::test]
async fn a_time_that_cannot_be_is_its_samples_fault_alone() {
    let bridge = Bridge::start().await;
    let times = [
        "1999-12-31T23:59:59Z",
        &ago(-90_000),
        "2026-02-30T00:00:00Z",
        "2026-09-10T25:00:00Z",
        "yesterday",
        "",
    ];
    let mut samples: Vec<Value> = times.iter().map(|time| heart_rate(61, time)).collect();
    samples.push(heart_rate(61, "2026-09-10T06:42:11Z"));
    let (_, answer) = bridge.healthkit(&json!({"user_id": "user-1", "samples": samples})).await;
    assert_eq!(
        (&answer["readings"], &answer["rejected_total"]),
        (&json!(1), &json!(times.len())),
        "{answer}"
    );
}

#[actix_web::test]
async fn an_event_is_as_the_contract_writes_it() {
    let bridge = Bridge::start().await;
    let request = to_healthkit(&bridge, "").header("X-Request-ID", "request-7").body(VECTOR);
    send(request).await;
    let mut event = events(&bridge, "user-81").await.remove(0);
    for made in ["event_id", "record_id"] {
        assert!(crate::answers::is_uuid(&event[made], 8), "{made}: {event}");
    }
    let headers = event["headers"].take();
    let received_at = event["received_at"].take();
    assert!(received_at.as_str().is_some_and(|time| time.ends_with('Z')), "{received_at}");
    let (event_id, record_id, version) =
        (event["event_id"].clone(), event["record_id"].clone(), event["version"].clone());
    let expected = json!({
        "event_id": event_id, "record_id": record_id, "version": version, "device_type": "apple_health",
        "user_id": "user-81", "timestamp": "2026-09-10T06:42:11Z", "received_at": null, "kind": "sample",
        "is_backfill": false, "deleted": false, "headers": null,
        "readings": [{
            "metric": "heart_rate", "value": 61.0, "unit": "bpm", "timestamp": "2026-09-10T06:42:11Z",
            "confidence": 1.0, "source": "Apple Watch",
        }],
    });
    assert_eq!(event, expected);
    let expected = json!({
        "priority": "NORMAL", "user_id": "user-81", "device_type": "apple_health", "triggers": "",
        "event_id": event_id, "record_id": record_id, "version": version.to_string(), "request_id": "request-7",
        "schema": "biometric-event/1",
    });
    assert_eq!(headers, expected);
}

#[actix_web::test]
async fn a_night_of_two_devices_is_told_by_state_and_summed_up_once() {
    let bridge = Bridge::start().await;
    let sleep = |value: Value, from: &str, to: &str, source: &str| {
        json!({"type": "HKCategoryTypeIdentifierSleepAnalysis", "value": value, "source": source,
            "startDate": format!("2026-09-{from}:00+02:00"), "endDate": format!("2026-09-{to}:00+02:00")})
    };
    let samples = json!([
        sleep(json!(0), "09T22:45", "10T06:30", "iPhone"),
        sleep(json!("asleep"), "09T23:00", "10T06:00", "iPhone"),
        sleep(json!("HKCategoryValueSleepAnalysisAsleepCore"), "09T23:00", "10T01:00", "Apple Watch"),
        sleep(json!(4), "10T01:00", "10T02:00", "Apple Watch"),
        sleep(json!("REM"), "10T02:00", "10T03:00", "Apple Watch"),
        sleep(json!("Awake"), "10T03:00", "10T03:10", "Apple Watch"),
        sleep(json!("core"), "10T03:10", "10T06:00", "Apple Watch"),
    ]);
    // First what the watch has by two, then all of the night, and then the first part once more.
    let part = json!(samples.as_array().expect("a list")[2..4]);
    bridge.healthkit(&json!({"user_id": "user-1", "samples": part})).await;
    let (_, answer) = bridge.healthkit(&json!({"user_id": "user-1", "samples": samples})).await;
    assert_eq!(answer["rejected_total"], 0, "{answer}");
    let part = json!({"user_id": "user-1", "samples": part, "again": true});
    let (_, answer) = bridge.healthkit(&part).await;
    assert_eq!((&answer["events"], &answer["readings"]), (&json!(0), &json!(0)), "{answer}");

    let events = events(&bridge, "user-1").await;
    assert!(events.iter().all(|event| event["kind"] == "sleep"));
    let readings: Vec<&Value> =
        events.iter().flat_map(|event| event["readings"].as_array().expect("readings")).collect();
    let states = readings.iter().filter(|reading| reading["metric"] == "sleep_state").count();
    assert_eq!(states, 7, "{readings:?}");
    let total = |metric: &str| {
        let mut found = readings.iter().filter(|reading| reading["metric"] == metric);
        let reading = found.next().unwrap_or_else(|| panic!("{metric}: {readings:?}"));
        assert!(found.next().is_none(), "{metric} twice");
        assert_eq!((&reading["confidence"], &reading["source"]), (&json!(0.8), &json!("derived")));
        reading["value"].as_f64().expect("a number")
    };
    assert_eq!(total("total_sleep_minutes"), 410.0);
    assert_eq!(total("light_sleep_minutes"), 290.0);
    assert_eq!(total("deep_sleep_minutes"), 60.0);
    assert_eq!(total("rem_sleep_minutes"), 60.0);
    assert_eq!(total("awake_minutes"), 10.0);
    assert_eq!(total("time_in_bed_minutes"), 465.0);
}

#[actix_web::test]
async fn an_sdks_sync_has_records_sleep_and_workouts() {
    let bridge = Bridge::start().await;
    let (start, end) = ("2026-09-10T06:00:00+02:00", "2026-09-10T06:45:00+02:00");
    let body = json!({"provider": "apple", "sdkVersion": "1.0.0", "syncTimestamp": "2026-09-10T07:00:00Z", "data": {
        "records": [
            {"id": "r-1", "type": "HKQuantityTypeIdentifierBodyMass", "value": 72.4, "unit": "kg", "startDate": start, "endDate": start,
                "source": {"name": "Scale", "bundleIdentifier": "x"}},
            {"id": "r-2", "type": "HKQuantityTypeIdentifierAtrialFibrillationBurden", "value": 0.1, "unit": "%", "startDate": start, "endDate": end},
            {"id": "r-3", "type": "HKCorrelationTypeIdentifierBloodPressure", "systolic": 121, "diastolic": 79, "startDate": start, "endDate": start},
        ],
        "sleep": [{"id": "s-1", "stage": "deep", "startDate": "2026-09-10T00:00:00Z", "endDate": "2026-09-10T01:00:00Z",
            "device": {"name": "Apple Watch", "productType": "Watch7,5"}}],
        "workouts": [{"id": "w-1", "type": "RUNNING", "startDate": start, "endDate": end,
            "values": [{"type": "meanHeartRate", "value": 142, "unit": "bpm"}, {"type": "distance", "value": 5.2, "unit": "km"}]}],
    }});
    let answer = send(to_healthkit(&bridge, "?user_id=user-1").body(body.to_string())).await.json();
    assert_eq!((&answer["status"], &answer["rejected_total"]), (&json!("processed"), &json!(0)), "{answer}");
    let latest = bridge.read("/v1/users/user-1/latest").await;
    let value = |metric: &str| latest["readings"][metric]["value"].as_f64();
    assert_eq!(value("weight"), Some(72.4), "{latest}");
    assert_eq!(value("blood_pressure_systolic"), Some(121.0));
    assert_eq!(value("sleep_state"), Some(3.0));
    assert_eq!(value("total_sleep_minutes"), Some(60.0));
    assert_eq!((value("workout_heart_rate_average"), value("heart_rate")), (Some(142.0), None));
    assert_eq!(
        (value("workout_distance_meters"), value("workout_duration_minutes")),
        (Some(5200.0), Some(45.0))
    );
}

#[actix_web::test]
async fn a_time_without_an_offset_is_in_the_zone_of_the_users_link() {
    let bridge = Bridge::start().await;
    let link = async |path: &str, body: Value| {
        let request = bridge.request(Method::PUT, &format!("/admin/links/{path}"));
        send(request.bearer_auth(ADMIN_KEY).json(&body)).await.json()
    };
    let linked = link("healthkit/phone", json!({"user_id": "ada", "timezone": "America/New_York"})).await;
    let key = linked["key"].as_str().expect("a key").to_owned();
    link("oura/A1", json!({"user_id": "bob", "timezone": "Asia/Tokyo"})).await;
    let sample =
        |value: u32| json!({"type": "heartRate", "value": value, "timestamp": "2024-07-01 06:42:11"});
    let post = |body: String| bridge.request(Method::POST, "/webhook/healthkit").body(body);
    let of_ada = |value: u32| json!({"samples": [sample(value)]}).to_string();
    // In memory, and from a file.
    for (value, padding) in [(61, 0), (62, 1 << 20)] {
        let answer = send(post(of_ada(value) + &" ".repeat(padding)).header("X-API-Key", &key)).await;
        assert_eq!((answer.status, &answer.json()["readings"]), (200, &json!(1)), "{}", answer.text());
    }
    let of_all = json!([
        {"user_id": "bob", "samples": [sample(61)]}, {"user_id": "cem", "samples": [sample(61)]},
    ]);
    assert_eq!(send(post(of_all.to_string()).bearer_auth(HEALTHKIT_KEY)).await.status, 200);
    for (user, at, offset) in [
        ("ada", "2024-07-01T10:42:11Z", json!("-04:00")),
        ("bob", "2024-06-30T21:42:11Z", json!("+09:00")),
        ("cem", "2024-07-01T06:42:11Z", Value::Null),
    ] {
        let events = events(&bridge, user).await;
        assert_eq!(events.len(), if user == "ada" { 2 } else { 1 }, "{user}: {events:?}");
        for event in events {
            let reading = &event["readings"][0];
            assert_eq!((&reading["timestamp"], &reading["utc_offset"]), (&json!(at), &offset), "{event}");
        }
    }
    assert_unharmed(bridge).await;
}
