//! The read API: who may ask, what is found, and in which order.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answers::{ago, events, heart_rate, listed, refused, send};
use crate::bridge::{ADMIN_KEY, API_KEY, Bridge};

const ROUTES: [&str; 4] = ["events", "latest", "state", "mode-switches"];

/// An injected event with one heart rate.
fn event(id: &str, user: &str, timestamp: &str) -> Value {
    json!({
        "event_id": id, "device_type": "garmin", "user_id": user, "timestamp": timestamp, "kind": "sample",
        "readings": [{"metric": "heart_rate", "value": 61, "unit": "bpm", "timestamp": timestamp, "confidence": 0.95}],
    })
}

fn ids(page: &Value) -> Vec<String> {
    listed(page, "events").iter().filter_map(|event| event["event_id"].as_str().map(str::to_owned)).collect()
}

#[actix_web::test]
async fn only_a_key_opens_it_and_the_admins_does_too() {
    let bridge = Bridge::start().await;
    for route in ROUTES {
        let get = || bridge.request(Method::GET, &format!("/v1/users/user-1/{route}"));
        let in_the_url = format!("/v1/users/user-1/{route}?key={API_KEY}&api_key={API_KEY}&token={API_KEY}");
        let wrong = [
            get(),
            get().bearer_auth("wrong"),
            get().bearer_auth(""),
            get().bearer_auth(format!("{API_KEY}x")),
            get().header("Authorization", API_KEY),
            get().header("Authorization", format!("Basic {API_KEY}")),
            get().header("X-API-Key", API_KEY),
            get().bearer_auth(API_KEY).bearer_auth("wrong"),
            bridge.request(Method::GET, &in_the_url),
        ];
        for request in wrong {
            let answer = refused(request, 401, "authentication_error").await;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{route}");
        }
        for right in [
            get().bearer_auth(API_KEY),
            get().bearer_auth(ADMIN_KEY),
            get().header("Authorization", format!("bearer {API_KEY}")),
        ] {
            assert_eq!(send(right).await.status, 200, "{route}");
        }
    }
    // The other way round it does not.
    let answer = refused(
        bridge.request(Method::POST, "/admin/inject").bearer_auth(API_KEY),
        401,
        "authentication_error",
    );
    assert_eq!(answer.await.header("www-authenticate"), Some("Bearer"));
}

#[actix_web::test]
async fn without_a_key_set_nothing_opens() {
    let bridge = Bridge::start_with(&[("API_KEY", ""), ("ADMIN_API_KEY", "")]).await;
    for request in [
        bridge.request(Method::GET, "/v1/users/user-1/events"),
        bridge.request(Method::GET, "/v1/users/user-1/events").bearer_auth(""),
        bridge.request(Method::POST, "/admin/inject").bearer_auth(""),
    ] {
        refused(request, 401, "authentication_error").await;
    }
    let health = bridge.get("/health").await.text().await.expect("text");
    for variable in ["ADMIN_API_KEY", "\"API_KEY"] {
        assert!(health.contains(variable), "{variable}: {health}");
    }
}

#[actix_web::test]
async fn an_unknown_user_is_no_error() {
    let bridge = Bridge::start().await;
    assert_eq!(bridge.read("/v1/users/nobody/events").await, json!({"events": [], "next_cursor": null}));
    assert_eq!(bridge.read("/v1/users/nobody/latest").await, json!({"user_id": "nobody", "readings": {}}));
    assert_eq!(
        bridge.read("/v1/users/nobody/mode-switches").await,
        json!({"mode_switches": [], "next_cursor": null})
    );
    let state = bridge.read("/v1/users/nobody/state").await;
    assert_eq!((&state["user_id"], &state["mode"]), (&json!("nobody"), &Value::Null), "{state}");
}

#[actix_web::test]
async fn an_event_shows_as_soon_as_it_was_answered() {
    let bridge = Bridge::start().await;
    for n in 0..50 {
        let user = format!("user-{n}");
        let (status, _) = bridge
            .healthkit(&json!({"user_id": user, "samples": [heart_rate(61, "2026-09-10T06:42:11Z")]}))
            .await;
        assert_eq!(status, 200);
        assert_eq!(events(&bridge, &user).await.len(), 1, "{user}");
        let latest = bridge.read(&format!("/v1/users/{user}/latest")).await;
        assert_eq!(latest["readings"]["heart_rate"]["value"], 61.0, "{user}");
    }
}

#[actix_web::test]
async fn events_ascend_by_time_and_then_by_id_over_pages() {
    let bridge = Bridge::start().await;
    // Seven of one moment between two of others, in no order.
    let (before, at, after) = ("2026-09-10T06:00:00Z", "2026-09-10T06:00:00.500Z", "2026-09-10T06:00:01Z");
    let list = json!([
        event("d", "user-1", at),
        event("z", "user-1", before),
        event("b", "user-1", at),
        event("g", "user-1", at),
        event("a", "user-1", after),
        event("c", "user-1", at),
        event("f", "user-1", at),
        event("e", "user-1", at),
        event("A", "user-1", at),
        event("x", "user-2", at),
    ]);
    let (status, _) = bridge.inject("", &list).await;
    assert_eq!(status, 200);
    let all = ["z", "A", "b", "c", "d", "e", "f", "g", "a"];
    let whole = bridge.read("/v1/users/user-1/events").await;
    assert_eq!((ids(&whole), &whole["next_cursor"]), (all.map(str::to_owned).to_vec(), &Value::Null));
    for limit in 1..=10 {
        let mut found = Vec::new();
        let mut cursor = String::new();
        let mut pages = 0;
        loop {
            let page = bridge.read(&format!("/v1/users/user-1/events?limit={limit}{cursor}")).await;
            found.extend(ids(&page));
            pages += 1;
            assert!(pages <= all.len(), "the pages have no end");
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(
            (found, pages),
            (all.map(str::to_owned).to_vec(), all.len().div_ceil(limit)),
            "limit {limit}"
        );
    }
}

#[actix_web::test]
async fn a_cursor_holds_while_events_come() {
    let bridge = Bridge::start().await;
    let at = |second: u32| format!("2026-09-10T06:00:{second:02}Z");
    bridge
        .inject("", &json!([event("a", "u", &at(1)), event("b", "u", &at(3)), event("c", "u", &at(5))]))
        .await;
    let page = bridge.read("/v1/users/u/events?limit=2").await;
    let cursor = page["next_cursor"].as_str().expect("a cursor").to_owned();
    bridge.inject("", &json!([event("early", "u", &at(2)), event("late", "u", &at(4))])).await;
    let page = bridge.read(&format!("/v1/users/u/events?limit=2&cursor={cursor}")).await;
    assert_eq!(ids(&page), ["late", "c"]);
}

#[actix_web::test]
async fn filters_leave_out_what_does_not_fit() {
    let bridge = Bridge::start().await;
    let t = |minute: u32| format!("2026-09-10T06:{minute:02}:00Z");
    bridge.healthkit(&json!({"user_id": "u", "samples": [heart_rate(61, &t(1))]})).await;
    bridge
        .oura_inline(
            &json!({"user_id": "u", "timestamp": t(2), "sleep": {"score": 80}, "hrv_data": {"rmssd": 45}}),
        )
        .await;
    let mut workout = event("w", "u", &t(3));
    workout["kind"] = json!("workout");
    bridge.inject("", &workout).await;
    let minutes = async |query: &str| -> Vec<String> {
        let page = bridge.read(&format!("/v1/users/u/events?{query}")).await;
        let times = listed(&page, "events");
        times
            .iter()
            .filter_map(|event| event["timestamp"].as_str())
            .map(|time| time[14..16].to_owned())
            .collect()
    };
    assert_eq!(minutes("").await, ["01", "02", "03"]);
    assert_eq!(minutes("device=apple_health").await, ["01"]);
    assert_eq!(minutes("device=oura_ring").await, ["02"]);
    // By the name of its webhook, too.
    assert_eq!(minutes("device=healthkit").await, ["01"]);
    assert_eq!(minutes("device=oura").await, ["02"]);
    assert_eq!(minutes("device=garmin").await, ["03"]);
    assert_eq!(minutes("device=whoop_band").await, Vec::<String>::new());
    assert_eq!(minutes("metric=heart_rate").await, ["01", "03"]);
    assert_eq!(minutes("metric=hrv").await, ["02"]);
    assert_eq!(minutes("metric=hrv_balance").await, Vec::<String>::new());
    assert_eq!(minutes("kind=sample").await, ["01"]);
    assert_eq!(minutes("kind=inline").await, ["02"]);
    assert_eq!(minutes("kind=workout&metric=heart_rate&device=garmin").await, ["03"]);
    assert_eq!(minutes("kind=nothing").await, Vec::<String>::new());
    // `from` ≤ t < `to`.
    assert_eq!(minutes(&format!("from={}", t(2))).await, ["02", "03"]);
    assert_eq!(minutes(&format!("to={}", t(2))).await, ["01"]);
    assert_eq!(minutes(&format!("from={}&to={}", t(2), t(3))).await, ["02"]);
    assert_eq!(minutes(&format!("from={}&to={}", t(2), t(2))).await, Vec::<String>::new());
    assert_eq!(minutes("from=2026-09-10T08:02:00%2B02:00").await, ["02", "03"]);
    assert_eq!(minutes("from=2026-09-10T06:01:00.001Z").await, ["02", "03"]);
}

#[actix_web::test]
async fn what_cannot_be_asked_is_told() {
    let bridge = Bridge::start().await;
    let bad = [
        "events?limit=0",
        "events?limit=1001",
        "events?limit=-1",
        "events?limit=ten",
        "events?limit=",
        "events?limit=1.5",
        "events?from=yesterday",
        "events?to=2026-13-01T00:00:00Z",
        "events?from=",
        "events?device=toaster",
        "events?metric=telepathy",
        "events?cursor=no",
        "events?cursor=",
        "events?limit=1&limit=2",
        "mode-switches?limit=0",
        "mode-switches?limit=1001",
        "mode-switches?cursor=no",
    ];
    for query in bad {
        let request = bridge.request(Method::GET, &format!("/v1/users/u/{query}")).bearer_auth(API_KEY);
        refused(request, 400, "validation_error").await;
    }
    for limit in [1, 1000] {
        for route in ["events", "mode-switches"] {
            bridge.read(&format!("/v1/users/u/{route}?limit={limit}")).await;
        }
    }
    // What is not known is passed over, and who has no key learns nothing else.
    bridge.read("/v1/users/u/events?unknown=1").await;
    refused(bridge.request(Method::GET, "/v1/users/u/events?limit=0"), 401, "authentication_error").await;
    refused(bridge.request(Method::GET, "/v1/users/u/events?limit=1&limit=2"), 401, "authentication_error")
        .await;
}

#[actix_web::test]
async fn a_page_has_a_hundred_events_unless_another_number_is_asked_for() {
    let bridge = Bridge::start().await;
    let list: Vec<Value> = (0..101)
        .map(|n| event(&format!("event-{n:03}"), "u", &format!("2026-09-10T06:{:02}:{:02}Z", n / 60, n % 60)))
        .collect();
    bridge.inject("", &json!(list)).await;
    let page = bridge.read("/v1/users/u/events").await;
    assert_eq!((ids(&page).len(), page["next_cursor"].is_string()), (100, true));
    assert_eq!(ids(&bridge.read("/v1/users/u/events?limit=1000").await).len(), 101);
}

#[actix_web::test]
async fn the_latest_reading_is_the_newest_by_its_own_time() {
    let bridge = Bridge::start().await;
    let from = |source: &str, value: u32, at: &str| json!({"user_id": "u", "samples": [{"type": "heartRate", "value": value, "unit": "bpm", "timestamp": at, "source": source}]});
    let heart_rate = async || bridge.read("/v1/users/u/latest").await["readings"]["heart_rate"].clone();
    let at = "2026-09-10T06:42:11Z";
    bridge.healthkit(&from("iPhone", 70, at)).await;
    let expected = json!({"value": 70.0, "unit": "bpm", "timestamp": at, "device_type": "apple_health", "confidence": 0.8});
    assert_eq!(heart_rate().await, expected);
    // Of equal times the higher confidence, whichever came first.
    bridge.healthkit(&from("Apple Watch", 71, at)).await;
    assert_eq!(heart_rate().await["value"], 71.0);
    bridge.healthkit(&from("Some App", 72, at)).await;
    assert_eq!(heart_rate().await["value"], 71.0);
    // An older one that comes later changes nothing, a newer one of less confidence does.
    bridge.healthkit(&from("Apple Watch", 73, "2026-09-10T06:42:10Z")).await;
    assert_eq!(heart_rate().await["value"], 71.0);
    bridge.healthkit(&from("Some App", 74, "2026-09-10T06:42:12Z")).await;
    assert_eq!(heart_rate().await["value"], 74.0);
    // Over all devices, and with its method where it has one.
    bridge.oura_inline(&json!({"user_id": "u", "timestamp": at, "hrv_data": {"rmssd": 45}})).await;
    let latest = bridge.read("/v1/users/u/latest").await;
    let expected = json!({"value": 45.0, "unit": "ms", "timestamp": at, "device_type": "oura_ring", "confidence": 0.95, "method": "rmssd"});
    assert_eq!(latest["readings"]["hrv"], expected);
}

#[actix_web::test]
async fn a_deleted_record_is_gone_from_the_read_api() {
    let bridge = Bridge::start().await;
    let mut first = event("first", "u", "2026-09-10T06:00:00Z");
    first["record_id"] = json!("record-1");
    first["version"] = json!(1);
    let mut older = event("older", "u", "2026-09-10T05:00:00Z");
    older["readings"][0]["value"] = json!(55);
    bridge.inject("", &json!([older, first])).await;
    let deletion = json!({
        "event_id": "deletion", "record_id": "record-1", "version": 2, "device_type": "garmin", "user_id": "u",
        "timestamp": "2026-09-10T06:00:00Z", "kind": "sample", "deleted": true, "readings": [],
    });
    let (status, answer) = bridge.inject("", &deletion).await;
    assert_eq!((status, &answer["events"]), (200, &json!(1)), "{answer}");
    assert_eq!(ids(&bridge.read("/v1/users/u/events").await), ["older"]);
    assert_eq!(bridge.read("/v1/users/u/latest").await["readings"]["heart_rate"]["value"], 55.0);
    // An older version does not bring it back.
    let mut late = event("late", "u", "2026-09-10T06:00:00Z");
    late["record_id"] = json!("record-1");
    late["version"] = json!(1);
    bridge.inject("", &late).await;
    assert_eq!(ids(&bridge.read("/v1/users/u/events").await), ["older"]);
}

#[actix_web::test]
async fn the_state_has_every_member_of_the_contract() {
    let bridge = Bridge::start().await;
    let members = [
        "as_of",
        "baselines",
        "borderline_triggers",
        "confidence",
        "cooldown_until",
        "inputs",
        "last_event_id",
        "last_trigger",
        "mode",
        "reason",
        "since",
        "stale",
        "state_seq",
        "switch_id",
        "user_id",
        "valid_until",
    ];
    let keys =
        |state: &Value| -> Vec<String> { state.as_object().expect("an object").keys().cloned().collect() };
    assert_eq!(keys(&bridge.read("/v1/users/nobody/state").await), members);

    let at = ago(60);
    let reading = |metric: &str, value: f64, unit: &str| json!({"metric": metric, "value": value, "unit": unit, "timestamp": at, "confidence": 0.95});
    let mut hrv = reading("hrv", 20.0, "ms");
    hrv["method"] = json!("rmssd");
    let event = json!({
        "event_id": "event-1", "device_type": "oura_ring", "user_id": "u", "timestamp": at, "kind": "inline",
        "readings": [hrv, reading("recovery_score", 55.0, "score")],
    });
    let (_, answer) = bridge.inject("?wait=applied", &event).await;
    assert_eq!(answer["mode"], "REFLEX", "{answer}");
    let state = bridge.read("/v1/users/u/state").await;
    assert_eq!(keys(&state), members);
    let expected = json!({
        "user_id": "u", "mode": "REFLEX", "confidence": 0.95, "since": at, "reason": "reflex.hrv_drop",
        "stale": false, "last_event_id": "event-1", "state_seq": 1, "borderline_triggers": [],
        "inputs": {
            "hrv": {"value": 20.0, "timestamp": at, "device_type": "oura_ring", "confidence": 0.95},
            "recovery_score": {"value": 55.0, "timestamp": at, "device_type": "oura_ring", "confidence": 0.95},
        },
        "baselines": {
            "hrv": {"value": 60.0, "samples": 0, "method": "rmssd"},
            "recovery_score": {"value": 75.0, "samples": 0},
        },
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&state[name], value, "{name}");
    }
    assert_eq!(state["cooldown_until"], ago_of(&at, 300));
    // The HRV counts for 6 h outside of GUARDIAN.
    assert_eq!(state["valid_until"], ago_of(&at, 6 * 3600));
    let trigger = &state["last_trigger"];
    let told = [&trigger["type"], &trigger["severity"], &trigger["metric"], &trigger["value"]];
    assert_eq!(told, [&json!("URGENT_INTERVENTION"), &json!("CRITICAL"), &json!("hrv"), &json!(20.0)]);
    assert!(crate::answers::is_uuid(&state["switch_id"], 8), "{state}");
    assert!(state["as_of"].as_str() >= Some(at.as_str()), "{state}");
}

/// The time so many seconds after `time`.
fn ago_of(time: &str, seconds: i64) -> String {
    let time = actors::domain::time::Timestamp::parse_rfc3339(time).expect("a time");
    time.plus_ms(seconds * 1000).to_string()
}

#[actix_web::test]
async fn head_is_answered_as_get_without_a_body() {
    let bridge = Bridge::start().await;
    for route in ROUTES {
        let head = bridge.request(Method::HEAD, &format!("/v1/users/u/{route}")).bearer_auth(API_KEY);
        let answer = send(head).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{route}");
    }
}
