//! Signatures that are wrong, missing, doubled, cut off, written otherwise, too old or too new.

use actors::vendors::signing;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::aftermath::{HRV, ID, WRONG, assert_unharmed, talkative};
use crate::answers::{refused, send};
use crate::bridge::{Bridge, HEALTHKIT_KEY, HEALTHKIT_SECRET, OURA_SECRET, now_ms};

const AT: &str = "2026-09-10T06:42:11Z";

/// Ways to write a signature that are not the one agreed upon. Each tells the whole of it, or nearly.
fn written_otherwise(hex_digits: &str) -> Vec<Vec<u8>> {
    let bytes = hex::decode(hex_digits).expect("hex digits");
    let mut ways: Vec<Vec<u8>> = [
        STANDARD.encode(&bytes),
        URL_SAFE_NO_PAD.encode(&bytes),
        STANDARD.encode(hex_digits),
        hex::encode(hex_digits),
        format!("0x{hex_digits}"),
        format!("\"{hex_digits}\""),
        format!("{hex_digits},{hex_digits}"),
        format!("{hex_digits}, {WRONG}"),
        format!("{WRONG}, {hex_digits}"),
        format!("v1={hex_digits}"),
        format!("sha256={hex_digits}"),
        format!("t=1,v1={hex_digits}"),
        // Whatever digit is the first: one in sixty signatures holds no `a`.
        format!("%{:x}{}", hex_digits.as_bytes()[0], &hex_digits[1..]),
        hex_digits[..32].to_owned(),
        hex_digits[..63].to_owned(),
        hex_digits[1..].to_owned(),
        format!("{} {}", &hex_digits[..32], &hex_digits[32..]),
        hex_digits.chars().rev().collect(),
        format!("{hex_digits}0"),
        format!("0{hex_digits}"),
        "x".repeat(60_000),
        String::new(),
    ]
    .map(String::into_bytes)
    .into();
    // Digits of another script, and no text at all.
    ways.push(hex_digits.replace(|c: char| c.is_ascii_digit(), "１").into_bytes());
    ways.push(bytes.into_iter().map(|byte| byte | 0x80).collect());
    ways
}

fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).expect("a field's value")
}

#[actix_web::test]
async fn a_signature_that_is_not_written_as_agreed_opens_no_door() {
    let bridge = talkative(&[]).await;
    let inline = json!({"user_id": ID, "timestamp": AT, "hrv_data": {"rmssd": HRV}}).to_string();
    let native = json!({"user_id": ID, "event_type": "update", "data_type": "sleep"}).to_string();
    let samples = json!({"user_id": ID, "samples": []}).to_string();
    let now_s = now_ms() / 1000;
    let to = |device: &str, body: &str| {
        bridge.request(Method::POST, &format!("/webhook/{device}")).body(body.to_owned())
    };
    type Door<'a> = (&'a str, String, &'a dyn Fn() -> RequestBuilder);
    let doors: [Door<'_>; 3] = [
        ("Signature", signing::inline(OURA_SECRET, inline.as_bytes()), &|| to("oura", &inline)),
        ("Signature", signing::inline(HEALTHKIT_SECRET, samples.as_bytes()), &|| to("healthkit", &samples)),
        ("x-oura-signature", signing::oura(OURA_SECRET, now_s, native.as_bytes()).to_lowercase(), &|| {
            to("oura", &native).header("x-oura-timestamp", now_s)
        }),
    ];
    for (field, right, request) in doors {
        refused(request(), 401, "authentication_error").await;
        for wrong in written_otherwise(&right) {
            refused(request().header(field, value(&wrong)), 401, "authentication_error").await;
        }
        for second in [right.as_str(), "", WRONG] {
            let twice = request().header(field, &right).header(field, second);
            refused(twice, 401, "authentication_error").await;
        }
        let answer = send(request().header(field, &right)).await;
        assert!([200, 202].contains(&answer.status), "{field}: {}", answer.text());
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_signature_over_other_bytes_opens_no_door() {
    let bridge = talkative(&[]).await;
    let sent = format!("{{\"user_id\": \"{ID}\", \"timestamp\": \"{AT}\", \"sleep\": {{\"score\": 80.0}}}}");
    let compact = sent.replace(": ", ":").replace(", ", ",");
    let escaped = sent.replace('ë', "\\u00eb");
    let others = [
        compact,
        escaped,
        format!("{sent}\n"),
        format!("\u{feff}{sent}"),
        sent.to_uppercase(),
        String::new(),
    ];
    let post = |signature: String| {
        bridge.request(Method::POST, "/webhook/oura").header("Signature", signature).body(sent.clone())
    };
    for other in others {
        refused(post(signing::inline(OURA_SECRET, other.as_bytes())), 401, "authentication_error").await;
    }
    for secret in [HEALTHKIT_SECRET, HEALTHKIT_KEY, "", &OURA_SECRET.to_uppercase(), &OURA_SECRET[1..]] {
        refused(post(signing::inline(secret, sent.as_bytes())), 401, "authentication_error").await;
    }
    assert_eq!(send(post(signing::inline(OURA_SECRET, sent.as_bytes()))).await.status, 200);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_signature_that_is_stale_or_of_the_future_opens_no_door() {
    let bridge = talkative(&[]).await;
    let now_s = now_ms() / 1000;
    let native = json!({"user_id": ID, "event_type": "update", "data_type": "sleep"}).to_string();
    let signed = |at_s: i64| {
        bridge
            .request(Method::POST, "/webhook/oura")
            .header("x-oura-timestamp", at_s)
            .header("x-oura-signature", signing::oura(OURA_SECRET, at_s, native.as_bytes()))
            .body(native.clone())
    };
    // The tolerance is 300 s; 60 s are for the test to be slow in.
    for at_s in [
        now_s - 301,
        now_s - 86_400,
        now_s + 360,
        now_s + 86_400,
        0,
        1,
        -1,
        i64::from(i32::MAX) * 2,
        i64::MAX,
    ] {
        refused(signed(at_s), 401, "authentication_error").await;
    }
    let metrics = bridge.get("/metrics").await.text().await.expect("text");
    assert!(metrics.contains("webhook_signatures_total{outcome=\"stale\",source=\"oura\"}"), "{metrics}");
    assert_eq!(send(signed(now_s)).await.status, 202);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_key_that_is_not_the_key_opens_no_door() {
    let bridge: Bridge = talkative(&[]).await;
    let body = json!({"user_id": ID, "samples": []}).to_string();
    let post = || bridge.request(Method::POST, "/webhook/healthkit").body(body.clone());
    let (long, cut) = (HEALTHKIT_KEY.repeat(3_000), &HEALTHKIT_KEY[..HEALTHKIT_KEY.len() - 1]);
    let wrong = [
        STANDARD.encode(HEALTHKIT_KEY),
        hex::encode(HEALTHKIT_KEY),
        HEALTHKIT_KEY.replace('-', "%2D"),
        format!("\"{HEALTHKIT_KEY}\""),
        format!("{HEALTHKIT_KEY},{HEALTHKIT_KEY}"),
        format!("{HEALTHKIT_KEY} {HEALTHKIT_KEY}"),
        cut.to_owned(),
        long,
        WRONG.to_owned(),
        String::new(),
    ];
    for wrong in wrong {
        refused(post().header("X-API-Key", &wrong), 401, "authentication_error").await;
        refused(post().header("Authorization", format!("Bearer {wrong}")), 401, "authentication_error").await;
        refused(post().header("Authorization", wrong), 401, "authentication_error").await;
    }
    let twice = post().header("X-API-Key", HEALTHKIT_KEY).header("X-API-Key", WRONG);
    refused(twice, 401, "authentication_error").await;
    let not_text = [HEALTHKIT_KEY.as_bytes(), b"\xff"].concat();
    refused(post().header("X-API-Key", value(&not_text)), 401, "authentication_error").await;
    assert_eq!(send(post().header("X-API-Key", HEALTHKIT_KEY)).await.status, 200);
    assert_unharmed(bridge).await;
}
