//! The order in which a webhook is checked: what breaks two rules is told of the first.

use std::io::Write;

use actors::vendors::signing;
use reqwest::Method;
use serde_json::json;

use crate::aftermath::assert_unharmed;
use crate::answers::{
    assert_problem, events, heart_rate, read_answer, refused, send, send_part, send_raw, to_healthkit,
    to_oura_inline,
};
use crate::bridge::{ADMIN_KEY, Bridge, HEALTHKIT_KEY, OURA_SECRET, OURA_TOKEN};

const NOT_JSON: &str = "{";

#[actix_web::test]
async fn an_unknown_or_disabled_device_is_told_before_the_method() {
    let bridge = Bridge::start_with(&[("HEALTHKIT_ENABLED", "false")]).await;
    for alias in ["webhook", "webhooks"] {
        for method in [Method::PUT, Method::POST, Method::GET] {
            for unknown in ["nobody", "Oura", "dexcom"] {
                let path = format!("/{alias}/{unknown}");
                refused(bridge.request(method.clone(), &path), 404, "not_found").await;
            }
            let path = format!("/{alias}/healthkit");
            refused(bridge.request(method.clone(), &path), 404, "device_disabled").await;
        }
    }
    let disabled = Bridge::start_with(&[("OURA_ENABLED", "false")]).await;
    refused(disabled.request(Method::PATCH, "/webhook/oura"), 404, "device_disabled").await;
}

#[actix_web::test]
async fn the_method_is_told_before_the_length() {
    let bridge = Bridge::start().await;
    for device in ["oura", "whoop", "healthkit", "test"] {
        for method in [Method::PUT, Method::DELETE, Method::PATCH] {
            let answer =
                refused(bridge.request(method, &format!("/webhook/{device}")), 405, "method_not_allowed")
                    .await;
            let allow = answer.header("allow").unwrap_or_default();
            assert!(allow.split(", ").any(|method| method == "POST"), "{device}: {allow:?}");
        }
        let head = format!(
            "PUT /webhook/{device} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 999999999\r\n\r\n"
        );
        let (status, text) = send_raw(&bridge, head.as_bytes());
        assert_eq!(status, 405, "{text}");
    }
    // A device without a handshake has nothing to answer to GET.
    for path in ["/webhook/whoop", "/webhook/healthkit", "/webhook/test"] {
        for method in [Method::GET, Method::HEAD] {
            let answer = send(bridge.request(method, path)).await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{path}");
        }
    }
}

#[actix_web::test]
async fn an_announced_length_is_refused_before_anything_is_read_or_believed() {
    let bridge = Bridge::start().await;
    for (device, allowed) in [("oura", 1_u64 << 20), ("test", 1 << 20), ("healthkit", 256 << 20)] {
        for length in [allowed + 1, u64::from(u32::MAX) + 1, u64::MAX] {
            // Nothing follows the head: the answer must come without it.
            let head = format!(
                "POST /webhook/{device} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/xml\r\n\
                 Content-Length: {length}\r\n\r\n"
            );
            let (status, text) = send_raw(&bridge, head.as_bytes());
            assert_eq!(status, 413, "{device} {length}: {text}");
            assert!(text.contains("\"error_type\":\"payload_too_large\""), "{text}");
        }
    }
    // One byte less is read, and then not believed.
    let body = vec![b' '; 1 << 20];
    refused(bridge.request(Method::POST, "/webhook/oura").body(body), 401, "authentication_error").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_body_without_a_length_is_cut_off_at_the_limit() {
    let bridge = Bridge::start_with(&[("MAX_BODY_BYTES", "2048")]).await;
    let signed = |body: &str| {
        let signature = signing::inline(OURA_SECRET, body.as_bytes());
        let chunks: String = body
            .as_bytes()
            .chunks(700)
            .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
            .collect();
        format!(
            "POST /webhook/oura HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
             Signature: {signature}\r\n\r\n{chunks}0\r\n\r\n"
        )
    };
    let inline = |length: usize| {
        let body = r#"{"user_id":"user-1","timestamp":"2026-09-10T06:00:00Z","sleep":{"score":80}}"#;
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    let (status, text) = send_raw(&bridge, signed(&inline(2048)).as_bytes());
    assert_eq!(status, 200, "{text}");
    let (status, text) = send_raw(&bridge, signed(&inline(2049)).as_bytes());
    assert_eq!(status, 413, "{text}");
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn bodies_beyond_their_memory_are_told_to_come_again_before_they_are_judged() {
    let bridge = Bridge::start_with(&[("BODY_BUDGET_BYTES", "1048576")]).await;
    let full = vec![b' '; 1 << 20];
    let post = || bridge.request(Method::POST, "/webhook/oura").body(full.clone());
    refused(post(), 401, "authentication_error").await;
    // What is announced and does not come holds no room.
    let head = "POST /webhook/oura HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n";
    let idle: Vec<_> = (0..4).map(|_| send_part(&bridge, head.as_bytes())).collect();
    refused(post(), 401, "authentication_error").await;
    drop(idle);
    // What has come holds its room, and gives it back when its sender hangs up.
    let slow = send_part(&bridge, &[head.as_bytes(), &full[1..]].concat());
    // Asked by one that announces as much and brings nothing, and so takes no room from the slow one.
    let ask = || {
        let asking = send_part(&bridge, head.as_bytes());
        asking.shutdown(std::net::Shutdown::Write).expect("half closed");
        read_answer(asking).0
    };
    bridge.until("full", async |_| ask() == 503).await;
    let answer = refused(post(), 503, "back_pressure").await;
    let retry_after = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
    assert!(retry_after >= Some(1), "{answer:?}");
    refused(bridge.request(Method::POST, "/webhook/test").body(full.clone()), 503, "back_pressure").await;
    // What is longer than any body may be is told so all the same.
    let (status, text) = send_raw(&bridge, head.replace("1048576", "1048577").as_bytes());
    assert_eq!(status, 413, "{text}");
    drop(slow);
    bridge.until("free", async |_| send(post()).await.status == 401).await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_body_that_does_not_come_in_time_is_given_up() {
    let bridge = Bridge::start().await;
    let head = "POST /webhook/oura HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{";
    let (status, text) = send_raw(&bridge, head.as_bytes());
    assert_eq!(status, 408, "{text}");
    assert!(text.contains("\"error_type\":\"request_timeout\""), "{text}");
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn what_finds_no_slot_is_told_to_come_again_and_is_not_kept() {
    let settings = [("MAX_CONCURRENT_WEBHOOKS", "1"), ("WEBHOOK_QUEUE_MAX", "0")];
    let bridge = Bridge::start_with(&settings).await;
    let sends = (0..100).map(|n| {
        let sample = heart_rate(60, &format!("2026-09-10T06:{:02}:{:02}Z", n / 60, n % 60));
        send(to_healthkit(&bridge, "").body(json!({"user_id": "u", "samples": [sample]}).to_string()))
    });
    let mut kept = 0;
    for answer in futures_util::future::join_all(sends).await {
        match answer.status {
            200 => kept += 1,
            _ => assert_problem(&answer, 503, "back_pressure"),
        }
    }
    assert!(kept >= 1, "one at a time finds its slot");
    assert_eq!(events(&bridge, "u").await.len(), kept);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_stopping_bridge_says_so_after_the_method_and_before_the_length() {
    let bridge = Bridge::start().await;
    // A delivery that is half here keeps the doors from going; it is answered like any other.
    let half = format!(
        "POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\nX-API-Key: {HEALTHKIT_KEY}\r\nContent-Length: 29\r\n\r\n"
    );
    let mut half = send_part(&bridge, half.as_bytes());
    bridge
        .until("taken up", async |bridge| {
            bridge.get("/metrics").await.text().await.expect("text").contains("\nactive_webhook_tasks 1\n")
        })
        .await;
    bridge.terminate();
    bridge.until("not ready", async |bridge| bridge.get("/ready").await.status() == 503).await;
    refused(bridge.request(Method::PUT, "/webhook/oura"), 405, "method_not_allowed").await;
    for device in ["oura", "healthkit", "test"] {
        let path = format!("/webhook/{device}");
        refused(bridge.request(Method::POST, &path).body("{"), 503, "back_pressure").await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", u64::MAX);
        let (status, text) = send_raw(&bridge, head.as_bytes());
        assert_eq!(status, 503, "{device}: {text}");
    }
    let inject = bridge.request(Method::POST, "/admin/inject").bearer_auth(ADMIN_KEY).body("[]");
    refused(inject, 503, "back_pressure").await;
    half.write_all(br#"{"user_id":"u", "samples":[]}"#).expect("the rest goes out");
    let (status, text) = read_answer(half);
    assert_eq!(status, 200, "{text}");
}

#[actix_web::test]
async fn nothing_of_a_body_is_judged_before_it_is_believed() {
    let bridge = Bridge::start().await;
    let unsigned = |device: &str| bridge.request(Method::POST, &format!("/webhook/{device}")).body(NOT_JSON);
    for device in ["oura", "whoop", "healthkit"] {
        let (xml, brotli) = (("Content-Type", "text/xml"), ("Content-Encoding", "br"));
        for (name, value) in [xml, brotli] {
            refused(unsigned(device).header(name, value), 401, "authentication_error").await;
        }
        refused(unsigned(device), 401, "authentication_error").await;
    }
}

#[actix_web::test]
async fn the_type_and_encoding_are_told_before_the_syntax() {
    let bridge = Bridge::start().await;
    for wrong in
        ["text/xml", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
    {
        let signed = to_oura_inline(&bridge, NOT_JSON).header("Content-Type", wrong);
        refused(signed, 415, "unsupported_media_type").await;
        let keyed = to_healthkit(&bridge, "").body(NOT_JSON).header("Content-Type", wrong);
        refused(keyed, 415, "unsupported_media_type").await;
        let test = bridge.request(Method::POST, "/webhook/test").body("{}").header("Content-Type", wrong);
        refused(test, 415, "unsupported_media_type").await;
    }
    for wrong in ["br", "deflate", "zstd", "gzip, gzip", "gzip, br"] {
        let signed = to_oura_inline(&bridge, NOT_JSON).header("Content-Encoding", wrong);
        refused(signed, 415, "unsupported_media_type").await;
    }
    refused(to_oura_inline(&bridge, NOT_JSON), 400, "validation_error").await;
}

#[actix_web::test]
async fn every_json_type_and_none_is_json() {
    let bridge = Bridge::start().await;
    refused(to_oura_inline(&bridge, NOT_JSON), 400, "validation_error").await;
    for json in
        ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"]
    {
        let signed = to_oura_inline(&bridge, NOT_JSON).header("Content-Type", json);
        refused(signed, 400, "validation_error").await;
    }
}

#[actix_web::test]
async fn a_vendors_question_is_answered_by_get_and_head_to_whoever_has_the_token() {
    let bridge = Bridge::start().await;
    for alias in ["/webhook/oura", "/webhooks/oura"] {
        let ask = |method, query: &str| bridge.request(method, &format!("{alias}?{query}"));
        let right = format!("verification_token={OURA_TOKEN}&challenge=c%20h%22%C3%BC");
        let answer = send(ask(Method::GET, &right)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json(), json!({"challenge": "c h\"ü"}));
        let answer = send(ask(Method::HEAD, &right)).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        for wrong in [
            "verification_token=wrong&challenge=c",
            "verification_token=&challenge=c",
            "challenge=c",
            &format!("verification_token={OURA_TOKEN}"),
            &format!("verification_token={OURA_TOKEN}&verification_token={OURA_TOKEN}&challenge=c"),
            "",
        ] {
            let answer = send(ask(Method::GET, wrong)).await;
            assert_problem(&answer, 401, "authentication_error");
        }
    }
    // Without a token of ours nobody's is right.
    let bridge = Bridge::start_with(&[("OURA_VERIFICATION_TOKEN", "")]).await;
    let ask = bridge.request(Method::GET, "/webhook/oura?verification_token=&challenge=c");
    refused(ask, 401, "authentication_error").await;
}

#[actix_web::test]
async fn a_device_without_its_secret_believes_nobody() {
    let settings =
        ["OURA_WEBHOOK_SECRET", "WHOOP_WEBHOOK_SECRET", "HEALTHKIT_API_KEY", "APPLE_HEALTHKIT_SECRET"]
            .map(|name| (name, ""));
    let bridge = Bridge::start_with(&settings).await;
    let empty_key = signing::inline("", b"{}");
    for device in ["oura", "whoop", "healthkit"] {
        let request = || bridge.request(Method::POST, &format!("/webhook/{device}")).body("{}");
        refused(request(), 401, "authentication_error").await;
        refused(request().header("Signature", &empty_key), 401, "authentication_error").await;
        refused(request().header("Authorization", "Bearer "), 401, "authentication_error").await;
        refused(request().header("X-API-Key", ""), 401, "authentication_error").await;
    }
}
