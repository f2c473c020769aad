//! Users' ids: any text that is not blank, short enough and without control characters, kept as it is.

use std::fmt::Write;

use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::aftermath::assert_unharmed;
use crate::answers::{events, heart_rate, refused, send, to_healthkit, to_oura_inline};
use crate::bridge::Bridge;

const AT: &str = "2026-09-10T06:42:11Z";

/// Every byte escaped: what is not escaped cannot hide a mistake.
fn escaped(id: &str) -> String {
    id.bytes().fold(String::new(), |mut escaped, byte| {
        let _ = write!(escaped, "%{byte:02X}");
        escaped
    })
}

fn delivery(id: &str) -> Value {
    json!({"user_id": id, "samples": [heart_rate(61, AT)]})
}

#[actix_web::test]
async fn an_id_is_kept_as_it_is() {
    let bridge = Bridge::start().await;
    let longest = "x".repeat(128);
    let longest_in_bytes = "é".repeat(64);
    let ids = [
        "a",
        " blank at both ends ",
        "a/b",
        "50%",
        "%2F",
        "a+b",
        "a?b#c&d=e",
        "a..b",
        "%00",
        "Ω≈ç√∫",
        "用户",
        "👩🏽‍🚀",
        "\u{202f}narrow",
        "\"quoted\\",
        "e\u{301}",
        "\u{e9}",
        &longest,
        &longest_in_bytes,
    ];
    for id in ids {
        let (status, answer) = bridge.healthkit(&delivery(id)).await;
        assert_eq!((status, &answer["events"]), (200, &json!(1)), "{id:?}: {answer}");
        let found = events(&bridge, &escaped(id)).await;
        assert_eq!(found.len(), 1, "{id:?}");
        assert_eq!((&found[0]["user_id"], &found[0]["headers"]["user_id"]), (&json!(id), &json!(id)));
        let latest = bridge.read(&format!("/v1/users/{}/latest", escaped(id))).await;
        assert_eq!(latest["user_id"], id);
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_path_may_hold_an_ids_plain_characters_as_they_are() {
    let bridge = Bridge::start().await;
    for id in ["a+b", "a@b.c", "a:b", "a,b;c=d", "a!$&'()*", "a~b-c_d.e"] {
        bridge.healthkit(&delivery(id)).await;
        assert_eq!(events(&bridge, id).await.len(), 1, "{id}");
    }
}

#[actix_web::test]
async fn what_is_no_id_is_refused_wherever_it_stands() {
    let bridge = Bridge::start().await;
    let too_long = "x".repeat(129);
    let too_long_in_bytes = format!("{}x", "é".repeat(64));
    let no_ids = [
        "",
        " ",
        "\u{a0}\u{3000}",
        "a\u{0}",
        "a\tb",
        "a\nb",
        "a\u{1f}",
        "\u{7f}",
        "\u{80}",
        "\u{9f}a",
        "a\u{2028}",
        "\u{2029}a",
        &too_long,
        &too_long_in_bytes,
    ];
    for id in no_ids {
        refused(to_healthkit(&bridge, "").body(delivery(id).to_string()), 400, "validation_error").await;
        let inline = json!({"user_id": id, "timestamp": AT, "sleep": {"score": 80}});
        refused(to_oura_inline(&bridge, inline.to_string()), 400, "validation_error").await;
        let native = json!({"user_id": id, "event_type": "update", "data_type": "sleep", "object_id": "x"});
        let (status, answer) = bridge.oura(&native).await;
        assert_eq!((status, &answer["error_type"]), (400, &json!("validation_error")), "{id:?}");
        let query = format!("?user_id={}", escaped(id));
        let anonymous = json!({"samples": [heart_rate(61, AT)]}).to_string();
        refused(to_healthkit(&bridge, &query).body(anonymous), 400, "validation_error").await;
        if !id.is_empty() {
            let read = bridge.request(reqwest::Method::GET, &format!("/v1/users/{}/state", escaped(id)));
            refused(read.bearer_auth(crate::bridge::API_KEY), 400, "validation_error").await;
        }
    }
    let not_utf8 = bridge.request(reqwest::Method::GET, "/v1/users/%FF%FE/events");
    refused(not_utf8.bearer_auth(crate::bridge::API_KEY), 400, "validation_error").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn healthkits_user_comes_from_the_body_the_header_or_the_query() {
    let bridge = Bridge::start().await;
    let anonymous = |value: f64| json!({"samples": [heart_rate(value, AT)]}).to_string();
    let named = |id: &str, value: f64| json!({"user_id": id, "samples": [heart_rate(value, AT)]}).to_string();
    let sends = [
        (to_healthkit(&bridge, "").body(named("in-body", 61.0)), "in-body"),
        (to_healthkit(&bridge, "").header("X-User-Id", "in-header").body(anonymous(61.0)), "in-header"),
        (to_healthkit(&bridge, "?user_id=in%20query").body(anonymous(61.0)), "in%20query"),
        (to_healthkit(&bridge, "?user_id=all").header("X-User-Id", "all").body(named("all", 61.0)), "all"),
        (to_healthkit(&bridge, "?user_id=same&user_id=same").body(anonymous(61.0)), "same"),
    ];
    for (request, user) in sends {
        let answer = send(request).await;
        assert_eq!((answer.status, &answer.json()["events"]), (200, &json!(1)), "{user}: {}", answer.text());
        assert_eq!(events(&bridge, user).await.len(), 1, "{user}");
    }
    // A header field holds bytes; those of an id are UTF-8.
    let id = HeaderValue::from_bytes("José/用户".as_bytes()).expect("a field's value");
    let answer = send(to_healthkit(&bridge, "").header("X-User-Id", id).body(anonymous(61.0))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(events(&bridge, &escaped("José/用户")).await.len(), 1);

    let not_utf8 = HeaderValue::from_bytes(b"caf\xe9").expect("a field's value");
    let refusals = [
        to_healthkit(&bridge, "").body(anonymous(62.0)),
        to_healthkit(&bridge, "").header("X-User-Id", "other").body(named("user-1", 62.0)),
        to_healthkit(&bridge, "?user_id=other").body(named("user-1", 62.0)),
        to_healthkit(&bridge, "?user_id=other").header("X-User-Id", "user-1").body(anonymous(62.0)),
        to_healthkit(&bridge, "?user_id=user-1&user_id=other").body(anonymous(62.0)),
        to_healthkit(&bridge, "")
            .header("X-User-Id", "user-1")
            .header("X-User-Id", "other")
            .body(anonymous(62.0)),
        to_healthkit(&bridge, "").header("X-User-Id", not_utf8).body(anonymous(62.0)),
        to_healthkit(&bridge, "?user_id=user-1").body(
            json!([{"samples": [heart_rate(62, AT)]}, {"user_id": "other", "samples": []}]).to_string(),
        ),
    ];
    for request in refusals {
        refused(request, 400, "validation_error").await;
    }
    for user in ["user-1", "other"] {
        assert_eq!(events(&bridge, user).await, Vec::<Value>::new(), "{user}");
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn each_envelope_has_its_own_user() {
    let bridge = Bridge::start().await;
    let body = json!([
        {"user_id": "user-1", "samples": [heart_rate(61, AT)]},
        {"user_id": "user-2", "samples": [heart_rate(62, AT)]},
        {"user_id": "user-1", "samples": [heart_rate(63, "2026-09-10T06:43:11Z")]},
    ]);
    let (_, answer) = bridge.healthkit(&body).await;
    // One event per user, source and kind.
    assert_eq!((&answer["events"], &answer["readings"]), (&json!(2), &json!(3)), "{answer}");
    let (one, two) = (events(&bridge, "user-1").await, events(&bridge, "user-2").await);
    assert_eq!((one.len(), two.len()), (1, 1));
    assert_eq!(one[0]["timestamp"], "2026-09-10T06:43:11Z", "a batch has the newest time of its readings");
    assert_eq!(one[0]["readings"].as_array().map(Vec::len), Some(2));
    assert_ne!(one[0]["event_id"], two[0]["event_id"]);
}

#[actix_web::test]
async fn an_oura_account_has_an_id_that_names_its_vendor() {
    let bridge = Bridge::start().await;
    // Under Oura's own signature the id is Oura's, under `Signature` it is ours; neither notification holds data,
    // so what can be seen is that both are taken and neither is the other's duplicate.
    let native = json!({"user_id": "A1", "event_type": "update", "data_type": "sleep", "object_id": "x"});
    let python = json!({"user_id": "A1", "event_type": "sleep.updated"});
    assert_eq!(bridge.oura(&native).await.0, 202);
    assert_eq!(bridge.oura_inline(&python).await.0, 202);
    assert_eq!(bridge.oura(&native).await.1["status"], "duplicate");
    assert_eq!(bridge.oura_inline(&python).await.1["status"], "duplicate");
}
