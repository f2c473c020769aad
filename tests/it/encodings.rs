//! Bodies in one layer of gzip: signed as they came, read as they were, and never inflated without a limit.

use std::io::Write;

use actors::vendors::signing;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::aftermath::assert_unharmed;
use crate::answers::{heart_rate, refused, send, to_healthkit, to_oura_inline};
use crate::bridge::{Bridge, OURA_SECRET};

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

fn inline(user: &str) -> String {
    json!({"user_id": user, "timestamp": "2026-09-10T06:00:00Z", "sleep": {"score": 80}}).to_string()
}

fn to_oura(bridge: &Bridge, wire: Vec<u8>) -> RequestBuilder {
    to_oura_inline(bridge, wire).header("Content-Encoding", "gzip")
}

#[actix_web::test]
async fn a_signature_is_over_the_bytes_on_the_wire() {
    let bridge = Bridge::start().await;
    let (plain, wire) = (inline("user-1"), gzip(inline("user-1").as_bytes()));
    let over_plain = signing::inline(OURA_SECRET, plain.as_bytes());
    let request = bridge.request(Method::POST, "/webhook/oura").header("Content-Encoding", "gzip");
    refused(request.header("Signature", over_plain).body(wire.clone()), 401, "authentication_error").await;
    let answer = send(to_oura(&bridge, wire)).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("processed")));
    // The same words without their wrapping are the same delivery.
    assert_eq!(send(to_oura_inline(&bridge, plain)).await.json()["status"], "duplicate");
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn gzip_is_known_in_either_case_and_identity_is_nothing() {
    let bridge = Bridge::start().await;
    let wire = gzip(inline("user-1").as_bytes());
    let post =
        |encoding: &str, wire: Vec<u8>| to_oura_inline(&bridge, wire).header("Content-Encoding", encoding);
    assert_eq!(send(post("GZIP", wire)).await.status, 200);
    assert_eq!(send(post("identity", inline("user-2").into_bytes())).await.status, 200);
    let test =
        bridge.request(Method::POST, "/webhook/test").header("Content-Encoding", "gzip").body(gzip(b"{}"));
    assert_eq!(send(test).await.json()["status"], "ignored");
}

#[actix_web::test]
async fn every_member_of_a_gzip_body_is_read() {
    let bridge = Bridge::start().await;
    let plain = inline("user-1");
    let (head, tail) = plain.as_bytes().split_at(20);
    // RFC 1952, 2.2: a file is a series of members; what they hold is one text.
    let answer = send(to_oura(&bridge, [gzip(head), gzip(tail)].concat())).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("processed")), "{}", answer.text());
    // So what follows a whole document is not passed over either.
    let two = [gzip(inline("user-2").as_bytes()), gzip(inline("user-3").as_bytes())].concat();
    refused(to_oura(&bridge, two), 400, "validation_error").await;
}

#[actix_web::test]
async fn what_is_not_gzip_or_cut_off_is_a_bad_request() {
    let bridge = Bridge::start().await;
    let whole = gzip(inline("user-1").as_bytes());
    let mut damaged = whole.clone();
    let place = damaged.len() - 6;
    damaged[place] ^= 1;
    let cases = [
        Vec::new(),
        b"{}".to_vec(),
        whole[..5].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        damaged,
    ];
    for wire in cases {
        refused(to_oura(&bridge, wire), 400, "validation_error").await;
    }
    // Wrapped twice, with one layer named: the inner layer is not JSON.
    refused(to_oura(&bridge, gzip(&whole)), 400, "validation_error").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn another_or_a_second_encoding_is_not_read() {
    let bridge = Bridge::start().await;
    let wire = gzip(inline("user-1").as_bytes());
    for encoding in ["br", "deflate", "zstd", "compress", "gzip, gzip", "gzip,gzip", "br, gzip", "x"] {
        let request = to_oura_inline(&bridge, wire.clone()).header("Content-Encoding", encoding);
        refused(request, 415, "unsupported_media_type").await;
    }
    refused(to_oura(&bridge, wire).header("Content-Encoding", "gzip"), 415, "unsupported_media_type").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_body_may_inflate_to_the_limit_and_not_beyond() {
    let bridge = Bridge::start().await;
    let padded = |user: &str, length: usize| {
        let plain = inline(user);
        gzip(format!("{plain}{}", " ".repeat(length - plain.len())).as_bytes())
    };
    assert_eq!(send(to_oura(&bridge, padded("user-1", 1 << 20))).await.status, 200);
    refused(to_oura(&bridge, padded("user-2", (1 << 20) + 1)), 413, "payload_too_large").await;
    refused(to_oura(&bridge, padded("user-3", 50 << 20)), 413, "payload_too_large").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn beyond_a_mebibyte_a_body_may_not_inflate_more_than_a_hundredfold() {
    let bridge = Bridge::start().await;
    let post = |wire: Vec<u8>| to_healthkit(&bridge, "").header("Content-Encoding", "gzip").body(wire);
    // 2 MiB of blanks come in some 2 kB.
    let body = json!({"user_id": "user-1", "samples": []}).to_string();
    let bomb = gzip(format!("{body}{}", " ".repeat(2 << 20)).as_bytes());
    assert!(bomb.len() * 100 < 2 << 20, "{} bytes are no bomb", bomb.len());
    refused(post(bomb), 413, "payload_too_large").await;
    // The first MiB may be as thin as it likes, and plain data is as large as it is.
    let thin = gzip(format!("{body}{}", " ".repeat((1 << 20) - body.len())).as_bytes());
    assert_eq!(send(post(thin)).await.status, 200);
    let samples: Vec<Value> = (0..20_000)
        .map(|n| {
            heart_rate(
                40 + n % 100,
                &format!(
                    "2026-09-{:02}T{:02}:{:02}:{:02}Z",
                    1 + n / 3600 / 24,
                    n / 3600 % 24,
                    n / 60 % 60,
                    n % 60
                ),
            )
        })
        .collect();
    let plain = json!({"user_id": "user-1", "samples": samples}).to_string();
    let wire = gzip(plain.as_bytes());
    assert!(plain.len() > 1 << 20 && wire.len() * 100 > plain.len(), "{} of {}", wire.len(), plain.len());
    let answer = send(post(wire)).await;
    assert_eq!((answer.status, &answer.json()["readings"]), (200, &json!(20_000)), "{}", answer.text());
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_body_may_come_in_chunks() {
    let bridge = Bridge::start().await;
    let plain = inline("user-1");
    let signature = signing::inline(OURA_SECRET, plain.as_bytes());
    let chunks: String =
        plain.as_bytes().chunks(1).map(|byte| format!("1\r\n{}\r\n", byte[0] as char)).collect();
    let request = format!(
        "POST /webhook/oura HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Signature: {signature}\r\n\r\n{chunks}0\r\n\r\n"
    );
    let (status, text) = crate::answers::send_raw(&bridge, request.as_bytes());
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("\"status\":\"processed\""), "{text}");
}
