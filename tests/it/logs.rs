//! Log lines, as operators and their tools read them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answers::{ago, heart_rate, refused, send, to_healthkit, to_oura_inline};
use crate::bridge::{Bridge, HEALTHKIT_KEY};
use crate::operators::mask;

/// Ends the bridge: every line that it wrote.
fn lines_of(bridge: &mut Bridge) -> Vec<Value> {
    bridge.terminate();
    let (status, lines) = bridge.wait();
    assert!(status.success(), "{status}");
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect()
}

/// The lines of one request, in order.
fn of_request<'l>(lines: &'l [Value], id: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["request_id"] == id).collect()
}

#[actix_web::test]
async fn a_webhook_has_one_line_when_it_is_taken_up_and_one_when_it_is_done() {
    let mut bridge = Bridge::start().await;
    let body = json!({"user_id": "user-1", "samples": [heart_rate(61, "2026-09-10T06:42:11Z"), heart_rate(-1, "x")]}).to_string();
    for id in ["first", "again"] {
        send(to_healthkit(&bridge, "").header("X-Request-ID", id).body(body.clone())).await;
    }
    let inline = json!({"user_id": "user-2", "timestamp": ago(60), "sleep": {"score": 80}}).to_string();
    send(to_oura_inline(&bridge, inline).header("X-Request-ID", "inline")).await;
    let wrong = bridge.request(Method::POST, "/webhook/oura").header("X-Request-ID", "wrong");
    refused(wrong, 401, "authentication_error").await;
    refused(to_oura_inline(&bridge, "{").header("X-Request-ID", "broken"), 400, "validation_error").await;

    let lines = lines_of(&mut bridge);
    for (id, level, status, masked) in [
        ("first", "INFO", 200, mask("user-1")),
        ("again", "WARN", 200, mask("user-1")),
        ("inline", "INFO", 200, mask("user-2")),
        ("wrong", "WARN", 401, "unknown".to_owned()),
        ("broken", "WARN", 400, "unknown".to_owned()),
    ] {
        let own = of_request(&lines, id);
        let [taken_up, done] = own.as_slice() else { panic!("{id}: {own:?}") };
        assert_eq!(taken_up["level"], "INFO", "{id}: {taken_up}");
        assert!(taken_up.get("duration_ms").is_none(), "{taken_up}");
        assert_eq!((&done["level"], &done["status"]), (&json!(level), &json!(status)), "{id}: {done}");
        assert_eq!(done["masked_user_id"], masked, "{id}: {done}");
        assert!(done["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{id}: {done}");
        assert_eq!(done["device"], taken_up["device"], "{id}");
    }
    let done = of_request(&lines, "first")[1];
    assert_eq!(
        (&done["events"], &done["readings"], &done["rejected"]),
        (&json!(1), &json!(1), &json!(1)),
        "{done}"
    );
}

#[actix_web::test]
async fn every_line_has_a_request_id_and_only_masked_users() {
    // Without a setting for the secret of a device there is a warning, too.
    let mut bridge = Bridge::start_with(&[("LOG_LEVEL", "TRACE"), ("OURA_WEBHOOK_SECRET", "")]).await;
    bridge
        .healthkit(&json!({"user_id": "user-1", "samples": [heart_rate(61, "2026-09-10T06:42:11Z")]}))
        .await;
    bridge.inject("?wait=applied", &json!({
        "device_type": "terra", "user_id": "user-1", "timestamp": ago(60),
        "readings": [{"metric": "recovery_score", "value": 10, "unit": "score", "timestamp": ago(60)}],
    })).await;
    bridge.read("/v1/users/user-1/state").await;
    let lines = lines_of(&mut bridge);
    assert!(lines.len() > 10, "{lines:?}");
    for line in &lines {
        let fields = line.as_object().expect("an object");
        for (name, value) in fields {
            assert!(!name.contains("user_id") || name == "masked_user_id", "{line}");
            if name == "masked_user_id" {
                assert!([json!(mask("user-1")), json!("unknown")].contains(value), "{line}");
            }
        }
        assert!(line["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        assert!(
            ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].iter().any(|level| line["level"] == *level),
            "{line}"
        );
    }
    let switched = lines.iter().find(|line| line["to"] == "GUARDIAN").expect("a line of the switch");
    assert_eq!(switched["masked_user_id"], mask("user-1"), "{switched}");
    assert!(
        lines.iter().any(|line| line["level"] == "WARN" && line.to_string().contains("OURA_WEBHOOK_SECRET")),
        "{lines:?}"
    );
}

#[actix_web::test]
async fn a_request_is_logged_by_its_routes_pattern_and_never_by_its_path() {
    let mut bridge = Bridge::start_with(&[("DEBUG", "true")]).await;
    bridge.read("/v1/users/somebody/events?from=2026-09-10T06:42:11Z").await;
    bridge.get("/somewhere/somebody").await;
    bridge.get("/actors/somebody").await;
    let lines = lines_of(&mut bridge);
    let routes: Vec<&str> = lines.iter().filter_map(|line| line["route"].as_str()).collect();
    assert!(routes.contains(&"/v1/users/{id}/events"), "{routes:?}");
    for line in lines {
        assert!(!line.to_string().contains("somebody") && !line.to_string().contains("2026-09-10"), "{line}");
    }
}

#[actix_web::test]
async fn shutdown_has_a_line_at_its_start_its_counts_and_its_end() {
    let mut bridge = Bridge::start().await;
    bridge
        .healthkit(&json!({"user_id": "user-1", "samples": [heart_rate(61, "2026-09-10T06:42:11Z")]}))
        .await;
    let lines = lines_of(&mut bridge);
    let place = |text: &str| {
        let says = |line: &&Value| line["message"].as_str().is_some_and(|message| message.contains(text));
        lines.iter().find(says).unwrap_or_else(|| panic!("no line says {text:?}: {lines:?}"))
    };
    assert_eq!(place("shutdown started")["signal"], "SIGTERM");
    let ended = place("shutdown ended");
    assert_eq!((&ended["outbox_left"], &ended["is_flushed"]), (&json!(0), &json!(true)), "{ended}");
    assert!(ended["duration_ms"].is_number(), "{ended}");
    assert_eq!(lines.last().map(|line| &line["message"]), Some(&json!("shutdown ended")));
}

#[actix_web::test]
async fn the_level_decides_what_is_written() {
    let count = async |level: &str| {
        let mut bridge = Bridge::start_with(&[("LOG_LEVEL", level)]).await;
        bridge
            .healthkit(&json!({"user_id": "user-1", "samples": [heart_rate(61, "2026-09-10T06:42:11Z")]}))
            .await;
        // A bridge that writes no line of its address is found by none: it is started at INFO at least.
        lines_of(&mut bridge)
            .iter()
            .map(|line| line["level"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(count("INFO").await.iter().all(|level| level != "DEBUG" && level != "TRACE"));
    assert!(count("debug").await.iter().any(|level| level == "DEBUG"));
}

#[actix_web::test]
async fn secrets_are_in_no_line() {
    let mut bridge = Bridge::start_with(&[("LOG_LEVEL", "TRACE")]).await;
    bridge
        .request(Method::POST, "/webhook/healthkit")
        .bearer_auth("a-wrong-key-4711")
        .send()
        .await
        .expect("an answer");
    bridge
        .request(Method::GET, "/v1/users/u/state")
        .bearer_auth("a-wrong-key-4711")
        .send()
        .await
        .expect("an answer");
    send(to_healthkit(&bridge, "").body("{")).await;
    for line in lines_of(&mut bridge) {
        for secret in [
            HEALTHKIT_KEY,
            "a-wrong-key-4711",
            "test-api-key",
            "test-admin-key",
            "test-mask-key",
            "test-oura-secret",
            "test-whoop-secret",
        ] {
            assert!(!line.to_string().contains(secret), "{line}");
        }
    }
}
