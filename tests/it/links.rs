//! `/admin/links`: whose a vendor's account is, its tokens, and keys that are bound to one user.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::aftermath::assert_unharmed;
use crate::answers::{ago, refused};
use crate::bridge::{ADMIN_KEY, API_KEY, Bridge, HEALTHKIT_KEY, answer};

fn put(bridge: &Bridge, path: &str, body: &Value) -> RequestBuilder {
    bridge.request(Method::PUT, &format!("/admin/links/{path}")).bearer_auth(ADMIN_KEY).json(body)
}

fn delete(bridge: &Bridge, path: &str) -> RequestBuilder {
    bridge.request(Method::DELETE, &format!("/admin/links/{path}")).bearer_auth(ADMIN_KEY)
}

/// Everything that the bridge has written.
fn files(bridge: &Bridge) -> Vec<u8> {
    let entries = std::fs::read_dir(bridge.folder.join("data")).expect("a folder");
    entries.flat_map(|entry| std::fs::read(entry.expect("an entry").path()).unwrap_or_default()).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[actix_web::test]
async fn an_account_is_linked_with_its_tokens_as_often_as_one_likes() {
    let bridge = Bridge::start().await;
    let body = json!({
        "user_id": "ada", "timezone": "Europe/Berlin", "access_token": "test-access-token-of-ada",
        "refresh_token": "test-refresh-token-of-ada", "expires_at": "2026-11-21T06:42:11Z",
    });
    let linked = json!({"vendor": "oura", "vendor_user_id": "A1:B2", "user_id": "ada", "moved_events": 0});
    for _ in 0..2 {
        assert_eq!(answer(put(&bridge, "oura/A1%3AB2", &body)).await, (200, linked.clone()));
    }
    let written = files(&bridge);
    assert!(holds(&written, "A1:B2") && holds(&written, "Europe/Berlin"), "the link is in the file");
    assert!(!holds(&written, "token-of-ada"), "and the tokens are sealed");
    let gone = delete(&bridge, "oura/A1%3AB2").send().await.expect("an answer");
    assert_eq!(gone.status(), 204);
    refused(delete(&bridge, "oura/A1%3AB2"), 404, "not_found").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_bound_key_speaks_for_its_user_alone() {
    let bridge = Bridge::start().await;
    let (status, linked) = answer(put(&bridge, "healthkit/ada", &json!({}))).await;
    assert_eq!((status, &linked["user_id"], &linked["moved_events"]), (200, &json!("ada"), &json!(0)));
    let key = linked["key"].as_str().expect("a key").to_owned();
    let sample = |minutes: i64| json!([{"type": "heartRate", "value": 61, "unit": "bpm", "timestamp": ago(minutes * 60)}]);
    let send = |key: &str, body: Value| {
        bridge.request(Method::POST, "/webhook/healthkit").header("X-API-Key", key).json(&body)
    };
    let (status, taken) = answer(send(&key, json!({"samples": sample(1)}))).await;
    assert_eq!((status, &taken["events"]), (200, &json!(1)), "{taken}");
    let bearer = bridge.request(Method::POST, "/webhook/healthkit").bearer_auth(&key);
    let (status, taken) = answer(bearer.json(&json!({"user_id": "ada", "samples": sample(2)}))).await;
    assert_eq!((status, &taken["events"]), (200, &json!(1)), "{taken}");
    let events = bridge.read("/v1/users/ada/events").await;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(2));
    // Another user's name with this key is a contradiction, wherever it stands.
    refused(send(&key, json!({"user_id": "bob", "samples": sample(3)})), 400, "validation_error").await;
    let elsewhere = send(&key, json!({"samples": sample(3)})).header("X-User-Id", "bob");
    refused(elsewhere, 400, "validation_error").await;
    assert_eq!(bridge.read("/v1/users/bob/events").await["events"], json!([]));
    // One that differs in one letter is no key, and two are none either.
    let last = if key.ends_with('A') { "B" } else { "A" };
    let wrong = format!("{}{last}", &key[..key.len() - 1]);
    refused(send(&wrong, json!({"samples": sample(4)})), 401, "authentication_error").await;
    let twice = send(&key, json!({"samples": sample(4)})).header("X-API-Key", &key);
    refused(twice, 401, "authentication_error").await;
    assert!(!holds(&files(&bridge), &key), "only its hash is stored");
    // The key of all still opens, and a new key ends the old one.
    let (status, _) = answer(send(HEALTHKIT_KEY, json!({"user_id": "bob", "samples": sample(5)}))).await;
    assert_eq!(status, 200);
    let (_, again) = answer(put(&bridge, "healthkit/ada", &json!({"user_id": "ada"}))).await;
    refused(send(&key, json!({"samples": sample(6)})), 401, "authentication_error").await;
    let key = again["key"].as_str().expect("another key").to_owned();
    assert_eq!(answer(send(&key, json!({"samples": sample(6)}))).await.0, 200);
    assert_eq!(delete(&bridge, "healthkit/ada").send().await.expect("an answer").status(), 204);
    refused(send(&key, json!({"samples": sample(7)})), 401, "authentication_error").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn what_cannot_be_linked_is_told_why() {
    let bridge = Bridge::start().await;
    let user = json!({"user_id": "ada"});
    let route = |method: Method| bridge.request(method, "/admin/links/oura/A1");
    refused(route(Method::PUT).json(&user), 401, "authentication_error").await;
    refused(route(Method::PUT).bearer_auth(API_KEY).json(&user), 401, "authentication_error").await;
    refused(route(Method::DELETE).bearer_auth(API_KEY), 401, "authentication_error").await;
    refused(route(Method::GET).bearer_auth(ADMIN_KEY), 405, "method_not_allowed").await;
    refused(put(&bridge, "nobody/A1", &user), 404, "not_found").await;
    refused(put(&bridge, "oura/%20", &user), 400, "validation_error").await;
    refused(put(&bridge, "oura/%FF", &user), 400, "validation_error").await;
    for body in [
        json!({}),
        json!([]),
        json!({"user_id": 7}),
        json!({"user_id": " "}),
        json!({"user_id": "ada", "timezone": "over there"}),
        json!({"user_id": "ada", "refresh_token": "test-refresh"}),
        json!({"user_id": "ada", "access_token": " "}),
        json!({"user_id": "ada", "access_token": "test-access", "expires_at": "soon"}),
        json!({"user_id": "ada", "acess_token": "test-access"}),
    ] {
        refused(put(&bridge, "oura/A1", &body), 400, "validation_error").await;
    }
    let tokens = json!({"access_token": "test-access"});
    refused(put(&bridge, "healthkit/ada", &tokens), 400, "validation_error").await;
    refused(delete(&bridge, "oura/A1"), 404, "not_found").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn an_account_with_stored_events_is_not_linked_behind_their_back() {
    let bridge = Bridge::start_with(&[("ENABLE_INJECTION", "true")]).await;
    let event = json!({
        "device_type": "oura_ring", "user_id": "oura:A1", "timestamp": ago(60), "kind": "sleep",
        "readings": [{"metric": "hrv", "value": 45.0, "unit": "ms", "timestamp": ago(60), "confidence": 0.95}],
    });
    let (status, injected) = bridge.inject("", &event).await;
    assert_eq!((status, &injected["events"]), (200, &json!(1)), "{injected}");
    refused(put(&bridge, "oura/A1", &json!({"user_id": "ada"})), 409, "conflict").await;
    let (status, _) = answer(put(&bridge, "oura/A1", &json!({"user_id": "oura:A1"}))).await;
    assert_eq!(status, 200, "there is nothing to move");
    assert_eq!(answer(put(&bridge, "oura/A2", &json!({"user_id": "ada"}))).await.0, 200);
    assert_unharmed(bridge).await;
}
