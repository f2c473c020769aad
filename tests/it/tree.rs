//! The supervision tree from outside: restarts and faults on request, and what is told of them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answers::{ago, heart_rate, refused, send};
use crate::bridge::{ADMIN_KEY, API_KEY, Bridge, answer};
use crate::operators::mask;

const USER: &str = "someone@example.org";

async fn command(bridge: &Bridge, path: &str, body: &Value) -> (u16, Value) {
    answer(bridge.request(Method::POST, path).bearer_auth(ADMIN_KEY).body(body.to_string())).await
}

async fn hurt(bridge: &Bridge, path: &str, kind: &str) -> (u16, Value) {
    command(bridge, &format!("/admin/actors/{path}/fault"), &json!({"kind": kind})).await
}

async fn node(bridge: &Bridge, path: &str) -> Value {
    send(bridge.request(Method::GET, &format!("/actors/{path}"))).await.json()
}

/// Sends one heart rate and waits until it is in its user's state.
async fn deliver(bridge: &Bridge, bpm: u32) {
    let sample = heart_rate(bpm, &ago(60 - i64::from(bpm % 50)));
    let (status, answer) = bridge.healthkit(&json!({"user_id": USER, "samples": [sample]})).await;
    assert_eq!((status, &answer["events"]), (200, &json!(1)), "{answer}");
    let path = "/v1/users/someone%40example.org";
    let events = bridge.read(&format!("{path}/events?limit=1000")).await["events"].as_array().map(Vec::len);
    bridge
        .until("applied", async |bridge| {
            bridge.read(&format!("{path}/state")).await["state_seq"].as_u64() == events.map(|n| n as u64)
        })
        .await;
}

#[actix_web::test]
async fn an_actor_hit_by_a_fault_lives_again_and_its_message_is_handled() {
    let bridge = Bridge::start().await;
    deliver(&bridge, 60).await;
    let user = format!("users/{}", mask(USER));
    let paths = ["devices/healthkit", "writer", "publisher", "consumer", "router", "flusher", &user];
    let mut bpm = 61;
    for path in paths {
        for (deaths, (kind, cause)) in (1..).zip([("panic", "panic"), ("stop", "stop")]) {
            let (status, answer) = hurt(&bridge, path, kind).await;
            assert_eq!((status, &answer["status"]), (202, &json!("accepted")), "{path} {kind}: {answer}");
            deliver(&bridge, bpm).await;
            bpm += 1;
            let told = async |bridge: &Bridge| {
                node(bridge, path).await["post_mortems"].as_array().is_some_and(|dead| dead.len() == deaths)
            };
            bridge.until("told", told).await;
            let node = node(&bridge, path).await;
            let dead = node["post_mortems"].as_array().and_then(|dead| dead.last()).expect("a post-mortem");
            assert_eq!((&dead["cause"], &dead["sequel"]), (&json!(cause), &json!("restart")), "{node}");
        }
    }
    let metrics = bridge.get("/metrics").await.text().await.expect("text");
    for actor in ["devices/healthkit", "writer", "consumer", "router", "users"] {
        let line = format!("auren_actor_restarts_total{{actor=\"{actor}\"}} 2");
        assert!(metrics.lines().any(|told| told == line), "{line}");
    }
    let told = [node(&bridge, "root").await.to_string(), node(&bridge, "users").await.to_string(), metrics];
    assert!(told.iter().all(|text| !text.contains(USER) && !text.contains("someone")));
    assert_eq!(send(bridge.request(Method::GET, "/ready")).await.status, 200);
}

#[actix_web::test]
async fn an_actor_that_hangs_is_aborted_and_its_message_is_handled() {
    let bridge = Bridge::start().await;
    deliver(&bridge, 60).await;
    let user = format!("users/{}", mask(USER));
    // Each at another place of the same way: the delivery goes through all of them.
    for path in ["devices/healthkit", "router", &user] {
        assert_eq!(hurt(&bridge, path, "hang").await.0, 202);
    }
    deliver(&bridge, 61).await;
    for path in ["devices/healthkit", "router", &user] {
        let node = node(&bridge, path).await;
        assert_eq!(
            (&node["restarts"], &node["post_mortems"][0]["cause"]),
            (&json!(1), &json!("hang")),
            "{node}"
        );
    }
    // Who waited for them has not hung.
    assert_eq!(node(&bridge, "consumer").await["restarts"], 0);
    // Nobody sends to it: its loop hangs.
    assert_eq!(hurt(&bridge, "consumer", "hang").await.0, 202);
    deliver(&bridge, 62).await;
    assert_eq!(node(&bridge, "consumer").await["post_mortems"][0]["cause"], "hang");
}

#[actix_web::test]
async fn an_actor_or_a_group_is_restarted_on_request() {
    let bridge = Bridge::start().await;
    deliver(&bridge, 60).await;
    for (path, restarted) in
        [("writer", vec!["writer"]), ("devices", vec!["devices/oura", "devices/healthkit"])]
    {
        let (status, answer) = command(&bridge, &format!("/admin/actors/{path}/restart"), &Value::Null).await;
        assert_eq!((status, &answer["status"]), (202, &json!("accepted")), "{answer}");
        for path in restarted {
            bridge.until("restarted", async |bridge| node(bridge, path).await["restarts"] == 1).await;
            assert_eq!(node(&bridge, path).await["last_failure"], Value::Null);
        }
    }
    let user = format!("users/{}", mask(USER));
    assert_eq!(command(&bridge, "/admin/actors/users/restart", &Value::Null).await.0, 202);
    bridge.until("restarted", async |bridge| node(bridge, &user).await["restarts"] == 1).await;
    deliver(&bridge, 61).await;
}

#[actix_web::test]
async fn commands_to_the_tree_are_for_admins_and_say_what_is_wrong() {
    let bridge = Bridge::start().await;
    let post = |path: &str| bridge.request(Method::POST, path);
    for path in ["/admin/actors/writer/restart", "/admin/actors/writer/fault", "/admin/breakers/oura/reset"] {
        refused(post(path), 401, "authentication_error").await;
        refused(post(path).bearer_auth(API_KEY), 401, "authentication_error").await;
        refused(bridge.request(Method::GET, path), 405, "method_not_allowed").await;
    }
    let fault = |path: &str| post(&format!("/admin/actors/{path}/fault")).bearer_auth(ADMIN_KEY);
    for path in ["nobody", "devices/nobody", "users/ffffffff", "writer/writer"] {
        refused(fault(path).body(r#"{"kind":"panic"}"#), 404, "not_found").await;
        let restart = post(&format!("/admin/actors/{path}/restart")).bearer_auth(ADMIN_KEY);
        refused(restart, 404, "not_found").await;
    }
    for path in ["devices", "users"] {
        refused(fault(path).body(r#"{"kind":"panic"}"#), 400, "validation_error").await;
    }
    for body in ["", "{}", "[]", r#"{"kind":"explode"}"#, r#"{"kind":"panic","more":1}"#, r#"{"kind":7}"#] {
        refused(fault("writer").body(body), 400, "validation_error").await;
    }
    refused(fault("writer").body(" ".repeat(5_000)), 413, "payload_too_large").await;
    refused(post("/admin/breakers/nothing/reset").bearer_auth(ADMIN_KEY), 404, "not_found").await;
    assert_eq!(node(&bridge, "root").await["restarts"], 0);
}

#[actix_web::test]
async fn nobody_is_hurt_where_injection_is_switched_off() {
    let bridge = Bridge::start_with(&[("ENABLE_INJECTION", "false")]).await;
    let fault = bridge.request(Method::POST, "/admin/actors/writer/fault").bearer_auth(ADMIN_KEY);
    refused(fault.body(r#"{"kind":"panic"}"#), 404, "not_found").await;
    let restart = bridge.request(Method::POST, "/admin/actors/writer/restart").bearer_auth(ADMIN_KEY);
    assert_eq!(send(restart).await.status, 202);
}
