//! Events by hand.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answers::{ago, events, is_uuid, log_read, refused};
use crate::bridge::{ADMIN_KEY, Bridge, PATIENCE};

fn recovery(user: &str, score: u32) -> Value {
    let at = ago(30);
    json!({
        "device_type": "whoop_band", "user_id": user, "timestamp": at,
        "readings": [{"metric": "recovery_score", "value": score, "unit": "score", "timestamp": at, "confidence": 0.95}],
    })
}

fn with(event: &Value, name: &str, value: Value) -> Value {
    let mut event = event.clone();
    event[name] = value;
    event
}

#[actix_web::test]
async fn an_event_goes_the_way_of_all_events() {
    let bridge = Bridge::start().await;
    let (status, answer) = bridge.inject("", &recovery("u", 80)).await;
    assert_eq!(
        (status, &answer["status"], &answer["events"], &answer["readings"]),
        (200, &json!("processed"), &json!(1), &json!(1))
    );
    assert_eq!((&answer["rejected"], &answer["mode"]), (&json!([]), &Value::Null));
    assert!(answer["request_id"].is_string(), "{answer}");
    let found = events(&bridge, "u").await;
    assert_eq!(answer["event_ids"], json!([found[0]["event_id"]]));
    assert!(found[0]["event_id"].as_str().is_some_and(|id| !id.is_empty()));
    assert_eq!(
        (&found[0]["device_type"], &found[0]["readings"][0]["value"]),
        (&json!("whoop_band"), &json!(80.0))
    );
    bridge.until("published", async |bridge| log_read(bridge, "biometric-events").len() == 1).await;
    assert_eq!(log_read(&bridge, "biometric-events")[0]["value"]["event_id"], found[0]["event_id"]);
}

#[actix_web::test]
async fn what_is_given_is_kept_and_what_is_not_is_made() {
    let bridge = Bridge::start().await;
    let given = json!({
        "event_id": "my own id", "record_id": "my record", "version": 42, "device_type": "terra", "user_id": "u",
        "timestamp": "2026-09-10T06:00:00Z", "received_at": "2026-09-10T06:00:01.250Z", "kind": "any word",
        "is_backfill": true, "deleted": false,
        "readings": [{
            "metric": "heart_rate", "value": 61.5, "unit": "bpm", "timestamp": "2026-09-10T06:00:00Z", "confidence": 0.5,
            "context": "workout", "label": "running", "start": "2026-09-10T05:00:00Z", "end": "2026-09-10T06:00:00Z",
            "source": "chest strap", "utc_offset": "+05:45",
        }],
    });
    let (_, answer) = bridge.inject("", &given).await;
    assert_eq!(answer["event_ids"], json!(["my own id"]));
    let mut found = events(&bridge, "u").await.remove(0);
    let headers = found.as_object_mut().and_then(|event| event.remove("headers")).expect("headers");
    assert_eq!(found, given);
    assert_eq!((&headers["event_id"], &headers["version"]), (&json!("my own id"), &json!("42")));
    let (_, answer) = bridge.inject("", &recovery("made", 80)).await;
    let found = events(&bridge, "made").await.remove(0);
    assert!(found["event_id"] == answer["event_ids"][0] && is_uuid(&found["record_id"], 8), "{found}");
    assert!(found["received_at"].as_str().is_some_and(|time| time >= ago(60).as_str()), "{found}");
    assert_eq!((&found["is_backfill"], &found["deleted"]), (&json!(false), &json!(false)));
}

#[actix_web::test]
async fn a_repeated_event_id_is_a_duplicate_whatever_it_holds() {
    let bridge = Bridge::start().await;
    let event = with(&recovery("u", 80), "event_id", json!("once"));
    assert_eq!(bridge.inject("", &event).await.1["status"], "processed");
    let (status, answer) = bridge.inject("", &event).await;
    assert_eq!((status, &answer["status"], &answer["events"]), (200, &json!("duplicate"), &json!(0)));
    let other = with(&recovery("someone else", 12), "event_id", json!("once"));
    assert_eq!(bridge.inject("", &other).await.1["status"], "duplicate");
    let bridge = bridge.restart().await;
    assert_eq!(bridge.inject("", &event).await.1["status"], "duplicate");
    assert_eq!((events(&bridge, "u").await.len(), events(&bridge, "someone else").await.len()), (1, 0));
    // In one list, too: the second is left out, and the others are taken.
    let twice = with(&recovery("u", 81), "event_id", json!("twice"));
    let (_, answer) = bridge.inject("", &json!([twice, twice, event, recovery("u", 82)])).await;
    assert_eq!((&answer["status"], &answer["events"]), (&json!("processed"), &json!(2)), "{answer}");
}

#[actix_web::test]
async fn an_event_that_comes_back_from_the_topic_is_a_duplicate() {
    let bridge = Bridge::start().await;
    let samples: Vec<_> =
        (1..=3).map(|n| json!({"type": "heartRate", "value": 60 + n, "timestamp": ago(n * 60)})).collect();
    let sent = bridge.healthkit(&json!({"user_id": "u", "samples": samples})).await;
    assert_eq!((sent.0, &sent.1["events"]), (200, &json!(1)));
    let stored = events(&bridge, "u").await;
    let (status, answer) = bridge.inject("", &json!(stored)).await;
    assert_eq!((status, &answer["status"], &answer["events"]), (200, &json!("duplicate"), &json!(0)));
    assert_eq!(events(&bridge, "u").await, stored);
}

#[actix_web::test]
async fn nothing_to_inject_is_ignored_and_a_deleted_record_takes_no_readings() {
    let bridge = Bridge::start().await;
    let (status, answer) = bridge.inject("", &json!([])).await;
    assert_eq!((status, &answer["status"]), (200, &json!("ignored")), "{answer}");
    let deleted = with(&recovery("u", 80), "deleted", json!(true));
    let (status, answer) = bridge.inject("", &deleted).await;
    assert_eq!((status, &answer["readings"], &answer["rejected_total"]), (200, &json!(0), &json!(1)));
    let latest = bridge.read("/v1/users/u/latest").await;
    assert_eq!(latest["readings"], json!({}));
}

#[actix_web::test]
async fn a_kind_is_any_word_and_no_other_text() {
    let bridge = Bridge::start().await;
    let of_kind = |kind: &str| with(&recovery("u", 80), "kind", json!(kind));
    for kind in ["", " ", "a\0b", "a\nb", "\u{2028}", &"k".repeat(129)] {
        let (status, answer) = bridge.inject("", &of_kind(kind)).await;
        assert_eq!((status, &answer["error_type"]), (400, &json!("validation_error")), "{kind:?}: {answer}");
    }
    let list = json!([of_kind("a\0b"), of_kind("Schlaf, zwei")]);
    let (status, answer) = bridge.inject("", &list).await;
    assert_eq!(
        (status, &answer["events"], &answer["rejected_total"]),
        (200, &json!(1), &json!(1)),
        "{answer}"
    );
    assert_eq!(
        (&answer["rejected"][0]["index"], &answer["rejected"][0]["path"]),
        (&json!(0), &json!("/0/kind"))
    );
}

#[actix_web::test]
async fn a_list_keeps_its_order_and_refuses_only_what_is_bad() {
    let bridge = Bridge::start().await;
    let good = |id: &str| with(&recovery("u", 80), "event_id", json!(id));
    let half = json!({
        "event_id": "half", "device_type": "terra", "user_id": "u", "timestamp": ago(20),
        "readings": [
            {"metric": "heart_rate", "value": 61, "unit": "bpm", "timestamp": ago(20)},
            {"metric": "heart_rate", "value": 6100, "unit": "bpm", "timestamp": ago(20)},
        ],
    });
    let list = json!([
        good("a"),
        with(&good("x"), "user_id", json!(" ")),
        half,
        with(&good("y"), "device_type", json!("toaster")),
        good("b")
    ]);
    let (status, answer) = bridge.inject("", &list).await;
    assert_eq!((status, &answer["status"]), (200, &json!("processed")), "{answer}");
    assert_eq!(answer["event_ids"], json!(["a", "half", "b"]));
    assert_eq!(
        (&answer["events"], &answer["readings"], &answer["rejected_total"]),
        (&json!(3), &json!(3), &json!(3)),
        "{answer}"
    );
    let rejected: Vec<u64> = answer["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|rejection| rejection["index"].as_u64())
        .collect();
    assert_eq!(rejected, [1, 2, 3], "{answer}");
    assert_eq!(answer["rejected"][1]["path"], "/2/readings/1");
}

#[actix_web::test]
async fn a_bad_event_is_refused_without_repeating_it() {
    let bridge = Bridge::start().await;
    let good = recovery("u", 80);
    let reading = |name: &str, value: Value| {
        let mut event = good.clone();
        event["readings"][0][name] = value;
        event
    };
    let bad = [
        json!({}),
        json!(7),
        json!("event"),
        Value::Null,
        with(&good, "user_id", json!("")),
        with(&good, "user_id", json!("secret\u{7}")),
        with(&good, "user_id", json!("x".repeat(129))),
        with(&good, "user_id", json!(4711)),
        with(&good, "device_type", json!("secret")),
        with(&good, "timestamp", json!("secret")),
        with(&good, "event_id", json!(" ")),
        with(&good, "event_id", json!("secret\u{2028}")),
        with(&good, "readings", json!([])),
        with(&good, "readings", json!("secret")),
        with(&good, "version", json!("secret")),
        reading("metric", json!("secret")),
        reading("value", json!("secret")),
        reading("value", json!(4711)),
        reading("unit", json!("secret")),
        reading("timestamp", json!("secret")),
        reading("confidence", json!(4711)),
        reading("method", json!("secret")),
        reading("context", json!("secret")),
    ];
    for event in bad {
        let request =
            bridge.request(Method::POST, "/admin/inject").bearer_auth(ADMIN_KEY).body(event.to_string());
        let answer = refused(request, 400, "validation_error").await;
        // An id may hold any digits.
        let mut problem = answer.json();
        problem["request_id"].take();
        let told = problem.to_string();
        assert!(!told.contains("secret") && !told.contains("4711"), "{told}");
    }
    for text in ["", "{", "[{}", "nul"] {
        let request = bridge.request(Method::POST, "/admin/inject").bearer_auth(ADMIN_KEY).body(text);
        refused(request, 400, "validation_error").await;
    }
    for query in ["?wait=forever", "?wait=", "?to=nowhere", "?wait=applied&wait=applied"] {
        let request = bridge.request(Method::POST, &format!("/admin/inject{query}")).bearer_auth(ADMIN_KEY);
        refused(request.body(good.to_string()), 400, "validation_error").await;
    }
    assert_eq!(events(&bridge, "u").await, Vec::<Value>::new());
}

#[actix_web::test]
async fn waiting_tells_the_mode_that_the_event_made() {
    let bridge = Bridge::start().await;
    let (status, answer) = bridge.inject("?wait=applied", &recovery("u", 30)).await;
    assert_eq!(
        (status, &answer["mode"], &answer["events"]),
        (200, &json!("GUARDIAN"), &json!(1)),
        "{answer}"
    );
    // It has been applied: the state says so without any waiting.
    let state = bridge.read("/v1/users/u/state").await;
    assert_eq!((&state["mode"], &state["last_event_id"]), (&json!("GUARDIAN"), &answer["event_ids"][0]));
    let list = json!([recovery("v", 90), recovery("w", 30)]);
    let (_, answer) = bridge.inject("?wait=applied", &list).await;
    assert_eq!(
        (&answer["mode"], &answer["events"]),
        (&json!("GUARDIAN"), &json!(2)),
        "the last event's user's"
    );
    assert_eq!(bridge.read("/v1/users/v/state").await["mode"], "PATTERN");
}

#[actix_web::test]
async fn waiting_for_a_duplicate_tells_the_mode_too() {
    let bridge = Bridge::start().await;
    let event = with(&recovery("u", 30), "event_id", json!("once"));
    bridge.inject("?wait=applied", &event).await;
    let (_, answer) = bridge.inject("?wait=applied", &event).await;
    assert_eq!((&answer["status"], &answer["mode"]), (&json!("duplicate"), &json!("GUARDIAN")));
    // Also when the user has not been active since the start: the state is where it was.
    let mut bridge = bridge;
    bridge.terminate();
    bridge.wait();
    let bridge = bridge.restart().await;
    let (_, answer) = bridge.inject("?wait=applied", &event).await;
    assert_eq!((&answer["status"], &answer["mode"]), (&json!("duplicate"), &json!("GUARDIAN")), "{answer}");
}

#[actix_web::test]
async fn waiting_for_an_event_that_was_sent_before_waits_for_it() {
    let bridge = Bridge::start().await;
    for n in 0..20 {
        let event = with(&recovery(&format!("user-{n}"), 30), "event_id", json!(format!("event-{n}")));
        bridge.inject("", &event).await;
        let (_, answer) = bridge.inject("?wait=applied", &event).await;
        assert_eq!((&answer["status"], &answer["mode"]), (&json!("duplicate"), &json!("GUARDIAN")), "{n}");
    }
}

/// Past the log, as soon as the log has given the bridge its users: until then it is told to come again.
async fn inject_directly(bridge: &Bridge, event: &Value) -> (u16, Value) {
    let answered = async {
        loop {
            let answer = bridge.inject("?to=user_state", event).await;
            if answer.0 != 503 {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("the bridge is given its users")
}

#[actix_web::test]
async fn what_goes_straight_to_the_state_is_checkpointed_and_never_logged() {
    let mut bridge = Bridge::start().await;
    let event = with(&recovery("u", 30), "event_id", json!("direct"));
    let (status, answer) = inject_directly(&bridge, &event).await;
    assert_eq!(
        (status, &answer["status"], &answer["events"]),
        (200, &json!("processed"), &json!(1)),
        "{answer}"
    );
    assert_eq!((&answer["mode"], &answer["event_ids"]), (&json!("GUARDIAN"), &json!(["direct"])));
    assert_eq!(events(&bridge, "u").await, Vec::<Value>::new());
    let before = bridge.read("/v1/users/u/state").await;
    assert_eq!(
        (&before["mode"], &before["last_event_id"], &before["state_seq"]),
        (&json!("GUARDIAN"), &json!("direct"), &json!(1))
    );
    bridge.terminate();
    let (status, _) = bridge.wait();
    assert!(status.success(), "{status}");
    let bridge = bridge.restart().await;
    let mut after = bridge.read("/v1/users/u/state").await;
    after["as_of"] = before["as_of"].clone();
    assert_eq!(after, before);
    // The switch is published all the same; the event is not.
    assert_eq!(log_read(&bridge, "biometric-events"), Vec::<Value>::new());
    assert_eq!(log_read(&bridge, "neuros-mode-switches").len(), 1);
    assert_eq!(log_read(&bridge, "neuros-user-state").len(), 1);
    // And its event is known to the state.
    let (_, answer) = inject_directly(&bridge, &event).await;
    assert_eq!(
        (&answer["status"], &answer["events"], &answer["mode"]),
        (&json!("duplicate"), &json!(0), &json!("GUARDIAN"))
    );
    assert_eq!(bridge.read("/v1/users/u/state").await["state_seq"], 1);
}

#[actix_web::test]
async fn injection_is_off_unless_it_is_switched_on() {
    for off in ["false", ""] {
        let bridge = Bridge::start_with(&[("ENABLE_INJECTION", off)]).await;
        let request = || bridge.request(Method::POST, "/admin/inject").body(recovery("u", 30).to_string());
        refused(request().bearer_auth(ADMIN_KEY), 404, "not_found").await;
        refused(request(), 401, "authentication_error").await;
        assert_eq!(events(&bridge, "u").await, Vec::<Value>::new());
    }
}
