//! What webhooks are answered, and what of a delivery is kept.

use reqwest::Method;
use serde_json::{Value, json};

use crate::aftermath::assert_unharmed;
use crate::answers::{
    ago, assert_problem, events, heart_rate, is_uuid, refused, send, to_healthkit, to_oura_inline,
};
use crate::bridge::Bridge;

#[actix_web::test]
async fn a_delivery_is_durable_when_it_is_answered() {
    let bridge = Bridge::start().await;
    let body = json!({
        "user_id": "user-1",
        "samples": [{"type": "heartRate", "value": 72, "unit": "bpm", "timestamp": "2026-09-10T06:42:11Z", "source": "Apple Watch"}],
    });
    let (status, answer) = bridge.healthkit(&body).await;
    assert_eq!((status, &answer["status"], &answer["events"]), (200, &json!("processed"), &json!(1)));
    let bridge = bridge.restart().await;
    let events = bridge.read("/v1/users/user-1/events").await;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(1), "{events}");
    let (status, again) = bridge.healthkit(&body).await;
    assert_eq!((status, &again["status"], &again["events"]), (200, &json!("duplicate"), &json!(0)));
}

#[actix_web::test]
async fn each_success_has_the_contracts_form() {
    let bridge = Bridge::start().await;
    let inline = json!({
        "user_id": "user-1", "timestamp": "2026-09-10T06:00:00Z",
        "hrv_data": {"rmssd": 45.0}, "sleep": {"score": 81}, "recovery": {"score": 70}, "stress": {"level": 0.25},
    });
    let answer = send(to_oura_inline(&bridge, inline.to_string()).header("X-Request-ID", "a.B_9-z")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let mut body = answer.json();
    assert!(body["rejected_total"].take().as_u64().unwrap_or_default() == 0);
    body.as_object_mut().expect("an object").remove("rejected_total");
    let expected = json!({
        "status": "processed", "device": "oura", "events": 1, "readings": 4, "rejected": [], "request_id": "a.B_9-z",
    });
    assert_eq!(body, expected);

    let (status, answer) = bridge.oura_inline(&inline).await;
    assert_eq!((status, &answer["status"], &answer["events"]), (200, &json!("duplicate"), &json!(0)));
    assert_eq!((&answer["device"], &answer["readings"]), (&json!("oura"), &json!(0)));

    let notification = json!({
        "event_type": "update", "data_type": "daily_readiness", "object_id": "6a5f0c52-73b1-4c0e-9d55-6f2f3f0b7a11",
        "event_time": "2026-09-10T12:00:00+00:00", "user_id": "A1B2C3D4E5",
    });
    let (status, answer) = bridge.oura(&notification).await;
    assert_eq!((status, &answer["status"], &answer["events"]), (202, &json!("accepted"), &json!(0)));
    assert_eq!(answer["device"], "oura");
    let (status, answer) = bridge.oura(&notification).await;
    assert_eq!((status, &answer["status"]), (200, &json!("duplicate")));
    let (status, answer) =
        bridge.oura_inline(&json!({"event_type": "sleep.updated", "user_id": "user-1"})).await;
    assert_eq!((status, &answer["status"]), (202, &json!("accepted")));
    // A notification holds no data.
    assert_eq!(events(&bridge, "oura:A1B2C3D4E5").await, Vec::<Value>::new());
}

#[actix_web::test]
async fn nothing_for_us_is_ignored_with_a_reason_and_not_stored() {
    let bridge = Bridge::start().await;
    let bodies = [
        ("healthkit", json!({"user_id": "user-1", "samples": []})),
        ("healthkit", json!([{"user_id": "user-1", "samples": []}, {"user_id": "user-2", "samples": []}])),
        ("healthkit", json!([])),
        ("oura inline", json!({"user_id": "user-1", "event_type": "ring.lost"})),
        ("oura", json!({"user_id": "A1", "event_type": "update", "data_type": "tag", "object_id": "x"})),
        (
            "oura",
            json!({"user_id": "A1", "event_type": "update", "data_type": "not yet known", "object_id": "x"}),
        ),
        ("oura", json!({"user_id": "A1", "event_type": "merge", "data_type": "sleep", "object_id": "x"})),
    ];
    // Twice: what is not stored is no duplicate.
    for (device, body) in bodies.iter().chain(&bodies) {
        let (status, answer) = match *device {
            "healthkit" => bridge.healthkit(body).await,
            "oura" => bridge.oura(body).await,
            _ => bridge.oura_inline(body).await,
        };
        assert_eq!(
            (status, &answer["status"], &answer["events"]),
            (200, &json!("ignored"), &json!(0)),
            "{body}"
        );
        assert!(answer["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{answer}");
    }
    for user in ["user-1", "user-2", "oura:A1"] {
        assert_eq!(events(&bridge, user).await, Vec::<Value>::new());
    }
}

#[actix_web::test]
async fn the_test_device_ignores_any_json_without_a_key() {
    let bridge = Bridge::start().await;
    for path in ["/webhook/test", "/webhooks/test"] {
        for body in ["{}", "[]", "null", "7", r#"{"user_id":"user-1","samples":[{}]}"#] {
            let answer = send(bridge.request(Method::POST, path).body(body)).await;
            let json = answer.json();
            assert_eq!(
                (answer.status, &json["status"], &json["device"]),
                (200, &json!("ignored"), &json!("test"))
            );
            assert!(json["reason"].is_string(), "{json}");
        }
        for body in ["", "{", "no"] {
            refused(bridge.request(Method::POST, path).body(body), 400, "validation_error").await;
        }
    }
}

#[actix_web::test]
async fn both_spellings_of_a_webhooks_path_are_one_door() {
    let bridge = Bridge::start().await;
    let body = json!({"user_id": "user-1", "samples": [heart_rate(61, "2026-09-10T06:42:11Z")]}).to_string();
    let post = |path| {
        bridge.request(Method::POST, path).bearer_auth(crate::bridge::HEALTHKIT_KEY).body(body.clone())
    };
    assert_eq!(send(post("/webhooks/healthkit")).await.json()["status"], "processed");
    assert_eq!(send(post("/webhook/healthkit")).await.json()["status"], "duplicate");
}

#[actix_web::test]
async fn a_bad_sample_is_refused_by_its_place_and_no_other_is() {
    let bridge = Bridge::start().await;
    let at = "2026-09-10T06:42:11Z";
    let body = json!([
        {"user_id": "user-1", "samples": [heart_rate(61, at), heart_rate(5000, at), heart_rate(0, at)]},
        {"user_id": "user-2", "samples": []},
        {"user_id": "user-2", "samples": [
            heart_rate("61", at),
            heart_rate(62, at),
            heart_rate(63, "no time"),
            {"type": "heartRate", "value": 64, "unit": "furlong", "timestamp": at},
            {"type": "telepathy", "value": 64, "timestamp": at},
            heart_rate(Value::Null, at),
            heart_rate(true, at),
            7,
        ]},
    ]);
    let (status, answer) = bridge.healthkit(&body).await;
    assert_eq!((status, &answer["status"]), (200, &json!("processed")), "{answer}");
    assert_eq!((&answer["events"], &answer["readings"]), (&json!(2), &json!(2)), "{answer}");
    let places: Vec<(u64, &str)> = answer["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|rejection| {
            let members: Vec<&str> =
                rejection.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(members, ["detail", "error_type", "index", "path"], "{rejection}");
            assert_eq!(rejection["error_type"], "validation_error");
            assert!(rejection["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{rejection}");
            (rejection["index"].as_u64().expect("a number"), rejection["path"].as_str().expect("a text"))
        })
        .collect();
    let expected = [
        (1, "/0/samples/1/value"),
        (2, "/0/samples/2/value"),
        (3, "/2/samples/0/value"),
        (5, "/2/samples/2/timestamp"),
        (6, "/2/samples/3/unit"),
        (7, "/2/samples/4/type"),
        (8, "/2/samples/5/value"),
        (9, "/2/samples/6/value"),
        (10, "/2/samples/7"),
    ];
    assert_eq!(places, expected);
    assert_eq!(answer["rejected_total"], expected.len());
    // Every pointer leads to the value that it names.
    for (_, path) in expected {
        assert!(body.pointer(path).is_some(), "{path}");
    }
    let values = |events: Vec<Value>| -> Vec<Value> {
        events.iter().map(|event| event["readings"][0]["value"].clone()).collect()
    };
    assert_eq!(values(events(&bridge, "user-1").await), [json!(61.0)]);
    assert_eq!(values(events(&bridge, "user-2").await), [json!(62.0)]);
}

#[actix_web::test]
async fn a_batch_of_nothing_but_bad_samples_is_processed_and_names_a_hundred() {
    let bridge = Bridge::start().await;
    let samples: Vec<Value> = (0..250).map(|_| heart_rate(-1, "2026-09-10T06:42:11Z")).collect();
    let (status, answer) = bridge.healthkit(&json!({"user_id": "user-1", "samples": samples})).await;
    assert_eq!((status, &answer["status"]), (200, &json!("processed")));
    assert_eq!((&answer["events"], &answer["readings"]), (&json!(0), &json!(0)));
    assert_eq!(answer["rejected"].as_array().map(Vec::len), Some(100));
    assert_eq!(answer["rejected_total"], 250);
    assert_eq!(answer["rejected"][99]["index"], 99);
    assert_eq!(answer["rejected"][99]["path"], "/samples/99/value");
}

#[actix_web::test]
async fn a_records_bad_field_is_refused_and_the_rest_is_kept() {
    let bridge = Bridge::start().await;
    let record = json!({
        "user_id": "user-1", "timestamp": "2026-09-10T06:00:00Z",
        "hrv_data": {"rmssd": "45"}, "sleep": {"score": 101}, "recovery": {"score": 70}, "stress": [],
    });
    let (status, answer) = bridge.oura_inline(&record).await;
    assert_eq!(
        (status, &answer["status"], &answer["readings"]),
        (200, &json!("processed"), &json!(1)),
        "{answer}"
    );
    let rejected = answer["rejected"].as_array().expect("a list");
    let mut paths: Vec<&str> = rejected.iter().filter_map(|rejection| rejection["path"].as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/hrv_data/rmssd", "/sleep/score", "/stress"]);
    assert!(rejected.iter().all(|rejection| rejection["index"] == 0), "{answer}");
    let kept = events(&bridge, "user-1").await;
    assert_eq!((kept.len(), &kept[0]["readings"][0]["metric"]), (1, &json!("recovery_score")), "{kept:?}");
}

#[actix_web::test]
async fn a_record_with_nothing_usable_is_refused_whole() {
    let bridge = Bridge::start().await;
    let at = "2026-09-10T06:00:00Z";
    let unusable = [
        json!({"user_id": "user-1", "timestamp": at}),
        json!({"user_id": "user-1", "timestamp": at, "sleep": {"score": 101}}),
        json!({"user_id": "user-1", "timestamp": at, "sleep": {}}),
        json!({"user_id": "user-1", "timestamp": at, "sleep": null}),
        json!({"user_id": "user-1", "timestamp": "soon", "sleep": {"score": 80}}),
        json!({"user_id": "user-1", "timestamp": "1999-12-31T23:59:59Z", "sleep": {"score": 80}}),
        json!({"user_id": "user-1", "timestamp": ago(-2 * 86_400), "sleep": {"score": 80}}),
        json!({"timestamp": at, "sleep": {"score": 80}}),
        json!({"user_id": null, "timestamp": at, "sleep": {"score": 80}}),
        json!({"user_id": 7, "timestamp": at, "sleep": {"score": 80}}),
        json!([]),
        json!("sleep"),
    ];
    for body in unusable {
        refused(to_oura_inline(&bridge, body.to_string()), 400, "validation_error").await;
    }
    for text in ["", "{", "{}}", "nul", "\u{feff}{}", r#"{"user_id":"user-1","sleep":{"score":NaN}}"#] {
        refused(to_oura_inline(&bridge, text), 400, "validation_error").await;
        refused(to_healthkit(&bridge, "").body(text), 400, "validation_error").await;
    }
    refused(to_oura_inline(&bridge, b"{\"user_id\":\"\xff\"}".to_vec()), 400, "validation_error").await;
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(to_oura_inline(&bridge, nested.clone()), 400, "validation_error").await;
    refused(to_healthkit(&bridge, "").body(nested), 400, "validation_error").await;
    assert_eq!(events(&bridge, "user-1").await, Vec::<Value>::new());
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_refusal_repeats_nothing_of_the_body() {
    let bridge = Bridge::start().await;
    let body = json!({"user_id": "user-1", "timestamp": "Kathmandu", "sleep": {"score": 1234.5}});
    let answer = send(to_oura_inline(&bridge, body.to_string())).await;
    assert_problem(&answer, 400, "validation_error");
    for personal in ["Kathmandu", "1234.5", "user-1"] {
        assert!(!answer.text().contains(personal), "{}", answer.text());
    }
    let (_, answer) =
        bridge.healthkit(&json!({"user_id": "user-1", "samples": [heart_rate(1234.5, "Kathmandu")]})).await;
    for personal in ["Kathmandu", "1234.5", "user-1"] {
        assert!(!answer.to_string().contains(personal), "{answer}");
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_request_id_is_kept_when_it_is_plain_and_made_otherwise() {
    let bridge = Bridge::start().await;
    let long = "x".repeat(64);
    for kept in ["a", "A.b_c-9", "0", &long] {
        let answer = refused(
            bridge.request(Method::POST, "/webhook/oura").header("X-Request-ID", kept),
            401,
            "authentication_error",
        );
        assert_eq!(answer.await.header("x-request-id"), Some(kept));
        let health = send(bridge.request(Method::GET, "/health").header("X-Request-ID", kept)).await;
        assert_eq!(health.header("x-request-id"), Some(kept));
    }
    let too_long = "x".repeat(65);
    for made_anew in ["", "a b", "ä", "a/b", "a,b", "a\"b", &too_long] {
        let request =
            bridge.request(Method::POST, "/webhook/test").body("{}").header("X-Request-ID", made_anew);
        let answer = send(request).await;
        let id = json!(answer.header("x-request-id"));
        assert!(is_uuid(&id, 7), "{made_anew:?} became {id}");
        assert_eq!(answer.json()["request_id"], id);
    }
    let first = bridge.get("/nothing").await.headers()["x-request-id"].clone();
    assert_ne!(first, bridge.get("/nothing").await.headers()["x-request-id"], "two requests have two ids");
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn what_is_not_there_is_a_problem_too() {
    let bridge = Bridge::start().await;
    for path in ["/nothing", "/webhook", "/webhook/", "/webhook/oura/x", "/v1", "/v1/users", "/admin/nothing"]
    {
        refused(bridge.request(Method::GET, path), 404, "not_found").await;
    }
    for path in ["/health", "/ready", "/metrics", "/actors", "/actors/writer", "/v1/users/u/events", "/"] {
        let answer = refused(bridge.request(Method::POST, path), 405, "method_not_allowed").await;
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")), "{path}");
    }
    let answer = refused(bridge.request(Method::GET, "/admin/inject"), 405, "method_not_allowed").await;
    assert_eq!(answer.header("allow"), Some("POST"));
}
