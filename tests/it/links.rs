//! `/admin/links`: whose a vendor's account is, its tokens, and keys that are bound to one user.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::aftermath::assert_unharmed;
use crate::answers::{ago, log_read, refused};
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
    // The key of all still opens. The same again leaves the key as it is, and does not show it; another one ends it.
    let (status, _) = answer(send(HEALTHKIT_KEY, json!({"user_id": "bob", "samples": sample(5)}))).await;
    assert_eq!(status, 200);
    for body in [json!({}), json!({"user_id": "ada", "rotate": false, "timezone": "Europe/Berlin"})] {
        let (status, again) = answer(put(&bridge, "healthkit/ada", &body)).await;
        assert_eq!((status, again.get("key")), (200, Some(&Value::Null)), "{again}");
    }
    assert_eq!(answer(send(&key, json!({"samples": sample(5)}))).await.0, 200);
    let rotate = json!({"user_id": "ada", "rotate": true});
    let (_, again) = answer(put(&bridge, "healthkit/ada", &rotate)).await;
    refused(send(&key, json!({"samples": sample(6)})), 401, "authentication_error").await;
    let key = again["key"].as_str().expect("another key").to_owned();
    assert_eq!(answer(send(&key, json!({"samples": sample(6)}))).await.0, 200);
    // A key never comes to speak for somebody else.
    let (_, moved) = answer(put(&bridge, "healthkit/ada", &json!({"user_id": "cem"}))).await;
    refused(send(&key, json!({"samples": sample(7)})), 401, "authentication_error").await;
    let key = moved["key"].as_str().expect("a key of the other's").to_owned();
    assert_eq!(answer(send(&key, json!({"user_id": "cem", "samples": sample(7)}))).await.0, 200);
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
        json!(["ada"]),
        json!({"user_id": "ada", "rotate": "yes"}),
    ] {
        refused(put(&bridge, "oura/A1", &body), 400, "validation_error").await;
    }
    refused(
        put(&bridge, "oura/A1", &user).body("{\"user_id\":\"ada\",\"user_id\":\"bob\"}"),
        400,
        "validation_error",
    )
    .await;
    let tokens = json!({"access_token": "test-access"});
    refused(put(&bridge, "healthkit/ada", &tokens), 400, "validation_error").await;
    refused(delete(&bridge, "oura/A1"), 404, "not_found").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_token_that_no_header_field_could_carry_is_told_by_its_name_and_never_by_its_value() {
    let bridge = Bridge::start().await;
    let long = "a".repeat(8 * 1024 + 1);
    let bad = ["", " ", "hush hush", "hush\r\nX-Other: 1", "hush\u{7f}", "hüsch", "hush\u{0}", &long];
    for name in ["access_token", "refresh_token"] {
        for value in bad {
            let mut body = json!({"user_id": "ada", "access_token": "test-access"});
            body[name] = value.into();
            let told = refused(put(&bridge, "oura/A1", &body), 400, "validation_error").await.json();
            let detail = told["detail"].as_str().expect("a text");
            assert!(detail.contains(name), "{detail}");
            assert!(
                !detail.contains("hush") && !detail.contains("aaaa") && !detail.contains("hüsch"),
                "{detail}"
            );
        }
    }
    for (name, wrong) in
        [("access_token", json!(7)), ("timezone", json!(["Europe/Berlin"])), ("user_id", json!({}))]
    {
        let mut body = json!({"user_id": "ada"});
        body[name] = wrong;
        let told = refused(put(&bridge, "oura/A1", &body), 400, "validation_error").await.json();
        assert!(told["detail"].as_str().is_some_and(|detail| detail.contains(name)), "{told}");
    }
    refused(delete(&bridge, "oura/A1"), 404, "not_found").await;
    // What a client knows of and this build does not is left alone; null is as good as nothing.
    let longest = "a".repeat(8 * 1024);
    let body = json!({
        "user_id": "ada", "access_token": longest, "refresh_token": null, "nickname": {"a": [1]}, "rotate": null,
    });
    assert_eq!(answer(put(&bridge, "oura/A1", &body)).await.0, 200);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn each_key_that_is_offered_is_tried_and_two_of_two_users_contradict_each_other() {
    let bridge = Bridge::start().await;
    let key = async |name: &str| {
        let (_, linked) = answer(put(&bridge, &format!("healthkit/{name}"), &json!({}))).await;
        linked["key"].as_str().expect("a key").to_owned()
    };
    let (ada, bob) = (key("ada").await, key("bob").await);
    let wrong = format!("hk_{}", "A".repeat(43));
    let send = |header: &str, bearer: &str, minutes: i64| {
        let sample = json!({"type": "heartRate", "value": 61, "unit": "bpm", "timestamp": ago(minutes * 60)});
        let request = bridge.request(Method::POST, "/webhook/healthkit").header("X-API-Key", header);
        request.bearer_auth(bearer).json(&json!({"samples": [sample]}))
    };
    for (minutes, header, bearer) in [(1, &wrong, &ada), (2, &ada, &wrong), (3, &ada, &ada)] {
        let (status, taken) = answer(send(header, bearer, minutes)).await;
        assert_eq!((status, &taken["events"]), (200, &json!(1)), "{minutes}: {taken}");
    }
    refused(send(&ada, &bob, 4), 400, "validation_error").await;
    refused(send(&wrong, &wrong, 4), 401, "authentication_error").await;
    let events = bridge.read("/v1/users/ada/events").await;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(3));
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn what_a_vendor_tells_of_a_linked_account_is_its_users() {
    let bridge = Bridge::start().await;
    assert_eq!(answer(put(&bridge, "oura/A1", &json!({"user_id": "ada"}))).await.0, 200);
    let deletion = json!({
        "event_type": "delete", "data_type": "sleep", "user_id": "A1", "object_id": "6a5f",
        "event_time": "2026-09-10T12:00:00+00:00",
    });
    let (status, answered) = bridge.oura(&deletion).await;
    assert_eq!((status, &answered["events"]), (200, &json!(1)), "{answered}");
    let keys = || -> Vec<String> {
        let messages = log_read(&bridge, "biometric-events");
        messages.iter().filter_map(|message| message["key"].as_str().map(str::to_owned)).collect()
    };
    bridge.until("on the log", async |_| !keys().is_empty()).await;
    assert_eq!(keys(), ["ada"]);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn the_list_of_accounts_to_connect_again_is_the_admins() {
    let bridge = Bridge::start().await;
    let list = |query: &str| bridge.request(Method::GET, &format!("/admin/links{query}"));
    refused(list("?state=needs_reconnection"), 401, "authentication_error").await;
    refused(list("?state=needs_reconnection").bearer_auth(API_KEY), 401, "authentication_error").await;
    for query in
        ["", "?state=active", "?state=needs_reconnection&limit=0", "?state=needs_reconnection&cursor=x"]
    {
        refused(list(query).bearer_auth(ADMIN_KEY), 400, "validation_error").await;
    }
    let (status, page) = answer(list("?state=needs_reconnection").bearer_auth(ADMIN_KEY)).await;
    assert_eq!((status, page), (200, json!({"links": [], "next_cursor": null})));
    let post = bridge.request(Method::POST, "/admin/links").bearer_auth(ADMIN_KEY);
    refused(post, 405, "method_not_allowed").await;
    assert_unharmed(bridge).await;
}
