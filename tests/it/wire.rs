//! What is no clean HTTP/1.1: injections, smuggling, garbage behind requests, and HTTP/2.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use actors::vendors::signing;
use serde_json::{Value, json};

use crate::aftermath::{ESCAPED, HEART_RATE, ID, assert_nothing_personal, assert_unharmed, talkative};
use crate::answers::{ago, events, heart_rate, read_answer, send, send_part, send_raw, to_healthkit};
use crate::bridge::{Bridge, HEALTHKIT_KEY, OURA_SECRET};

const CLOSE: &str = "Host: x\r\nConnection: close\r\n";

/// Everything that is answered until the other side hangs up.
fn read_to_end(mut stream: TcpStream) -> String {
    let (mut told, mut buffer) = (Vec::new(), [0; 4096]);
    // A reset is an end, too: what was answered before it has been read.
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        told.extend_from_slice(&buffer[..len]);
    }
    let told = String::from_utf8_lossy(&told).into_owned();
    assert_nothing_personal("an answer", &told);
    told
}

/// Sends bytes as they are and nothing more: all that is answered.
fn exchange(bridge: &Bridge, bytes: &[u8]) -> String {
    let mut stream = send_part(bridge, b"");
    // Either fails for a connection that is closed already.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    read_to_end(stream)
}

fn statuses(told: &str) -> Vec<u16> {
    told.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)?.parse().ok()).collect()
}

#[actix_web::test]
async fn a_path_leads_nowhere_but_to_its_route() {
    let bridge = talkative(&[]).await;
    let targets = [
        "/webhook/..",
        "/webhook/../health%00",
        "/webhook/%2e%2e/admin/inject",
        "/webhook/oura%2f..%2fhealthkit",
        "/webhook/oura%00",
        "/webhook/oura%0d%0aX-Quux:%20Quux",
        "/webhook/oura;Quux",
        "/webhook//oura",
        "/webhook/%6f%75%72%61/Quux",
        "/webhook/oura%ff%fe",
        "/webhook/\u{ff0f}oura",
        "/webhook/' OR 1=1--",
        "/dashboard/../Cargo.toml",
        "/dashboard/%2e%2e%2fCargo.toml",
        "/dashboard/..%5c..%5cQuux",
        "/dashboard/%252e%252e%252fQuux",
        "/dashboard//etc/passwd",
        "/dashboard/%00dashboard.js",
        "/actors/../health/Quux",
        "/actors/%2e%2e",
        "/actors/users/../../Quux",
        "/actors/%0a",
        "/actors/\u{1F680}",
        "/v1/users/../../health/Quux",
        "/v1/users/%00/events",
        "/v1/users/%0d%0a/events",
        "/v1/users//events",
        "/admin/../Quux",
        "/admin/inject/..",
        "/.env",
        "/.git/config",
        "/data/bridge.sqlite3",
        "//Quux//",
        "/%",
        "/%zz",
        "/%c0%ae%c0%ae/",
        "/Quux?user_id=Quux&user_id=%ff",
        "/\\..\\Quux",
        "/~root",
        "http://evil.example/Quux",
        "Quux",
        "?Quux",
        "*",
    ];
    let long = format!("/webhook/{}", "Quux".repeat(8_000));
    for target in targets.into_iter().chain([long.as_str()]) {
        for method in ["GET", "POST", "DELETE", "CONNECT", "TRACE", "OPTIONS", "QUUX"] {
            let request = format!("{method} {target} HTTP/1.1\r\n{CLOSE}Content-Length: 0\r\n\r\n");
            let told = exchange(&bridge, request.as_bytes());
            let statuses = statuses(&told);
            // A target without a path is that of the page, which is one slash further.
            let is_page = statuses == [308] && told.contains("location: /\r\n");
            assert!(
                is_page || statuses.iter().all(|status| (400..500).contains(status)),
                "{method} {target}: {told}"
            );
            assert!(
                statuses.len() <= 1 && !told.to_ascii_lowercase().contains("x-quux"),
                "{method} {target}: {told}"
            );
        }
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_header_field_cannot_add_another_one_or_a_line_to_the_log() {
    let bridge = talkative(&[]).await;
    let long = "Quux".repeat(10_000);
    let fields = [
        "X-Request-ID: a\u{0}b",
        "X-Request-ID: a\rX-Quux: Quux",
        "X-Request-ID: a\nX-Quux: Quux",
        "X-Request-ID: a\r\n X-Quux: Quux",
        "X-Request-ID: \u{2028}{\"level\":\"ERROR\",\"message\":\"Quux\"}",
        "X-Request-ID: a%0d%0aX-Quux:Quux",
        "X-Request-ID: \u{1b}[31mQuux",
        &format!("X-Request-ID: {long}"),
        "X-User-Id: Quux\u{0}",
        "X-User-Id: Quux\rQuux",
        "Authorization: Bearer Quux\u{7f}",
        "Authorization: Bearer",
        "Content-Type: application/json\u{0}",
        "Content-Type: text/Quux",
        "Accept: Quux\u{7f}",
        ": Quux",
        "Quux",
        "Quux Quux: Quux",
        "Quux\u{0}: Quux",
        " Quux: Quux",
        "Quu\u{e9}x: Quux",
        "Cookie: Quux",
        "Host: Quux",
        "Forwarded: for=\"Quux\";proto=Quux",
        "X-Forwarded-For: Quux",
        "Expect: Quux",
        "Upgrade: Quux",
        "Range: bytes=0-0,0-0,0-0",
        "X-HTTP-Method-Override: DELETE",
        &format!("X-Long: {long}"),
        &format!("X-{long}: a"),
    ];
    for field in fields {
        for request in ["GET /ready", "GET /actors/Quux", "POST /webhook/healthkit", "POST /webhook/test"] {
            let told = exchange(&bridge, format!("{request} HTTP/1.1\r\n{CLOSE}{field}\r\n\r\n").as_bytes());
            assert!(statuses(&told).iter().all(|status| *status < 500), "{field:?}: {told}");
            // A name that is repeated could have been put there.
            assert!(!told.to_ascii_lowercase().contains("x-quux"), "{field:?}: {told}");
        }
    }
    // Many fields, and many bytes of them.
    for (count, value) in [(95, "Quux"), (200, "Quux"), (10_000, "Quux"), (50, &long[..]), (3, &long[..])] {
        let many: String = (0..count).map(|n| format!("X-Field-{n}: {value}\r\n")).collect();
        let told = exchange(&bridge, format!("GET /ready HTTP/1.1\r\n{CLOSE}{many}\r\n").as_bytes());
        assert!(statuses(&told).iter().all(|status| [200, 400, 431].contains(status)), "{count}: {told}");
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn no_request_hides_in_the_body_of_another() {
    let bridge = talkative(&[]).await;
    let hidden = json!({"user_id": ID, "samples": [heart_rate(HEART_RATE, &ago(60))]}).to_string();
    let hidden = format!(
        "POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\nX-API-Key: {HEALTHKIT_KEY}\r\nContent-Length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    let length = hidden.len();
    let framings = [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
        format!("Content-Length: {length}\r\nContent-Length: 0"),
        format!("Content-Length: 0\r\nContent-Length: {length}"),
        format!("Content-Length: {length}, {length}"),
        format!("Content-Length: +{length}"),
        format!("Content-Length: -{length}"),
        format!("Content-Length: 0x{length:x}"),
        format!("Content-Length: {length} {length}"),
        format!("Content-Length : {length}"),
        "Content-Length: 18446744073709551616".to_owned(),
        "Content-Length:".to_owned(),
        "Transfer-Encoding: xchunked".to_owned(),
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(),
        "Transfer-Encoding: \u{b}chunked".to_owned(),
        "Transfer-Encoding : chunked".to_owned(),
        "X: y\r\n Transfer-Encoding: chunked".to_owned(),
    ];
    for framing in framings {
        for body in [hidden.clone(), format!("0\r\n\r\n{hidden}")] {
            let request = format!("POST /webhook/test HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{body}");
            let told = exchange(&bridge, request.as_bytes());
            assert!(!told.contains("\"device\":\"healthkit\""), "{framing:?} hid a request: {told}");
            assert!(statuses(&told).iter().all(|status| (400..500).contains(status)), "{framing:?}: {told}");
        }
    }
    let chunked = |chunks: &str| {
        exchange(
            &bridge,
            format!("POST /webhook/test HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
                .as_bytes(),
        )
    };
    for chunks in [
        "ffffffffffffffff\r\nQuux",
        "fffffffffffffffff\r\nQuux",
        "-1\r\nQuux\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2 \r\nQ{}\r\n",
        "\r\n{}",
        "g\r\n{}\r\n",
        "2\n{}\n0\n\n",
        "2\r\n{}Quux\r\n0\r\n\r\n",
        "2\r\n{}",
        "2;\u{0}\r\n{}\r\n0\r\n\r\n",
    ] {
        let told = chunked(chunks);
        assert!(statuses(&told).iter().all(|status| *status == 400), "{chunks:?}: {told}");
    }
    assert_eq!(events(&bridge, ESCAPED).await, Vec::<Value>::new());
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn garbage_behind_a_request_costs_its_connection_and_not_the_request() {
    let bridge = talkative(&[]).await;
    let body = r#"{"user_id":"piped","timestamp":"2026-09-10T06:00:00Z","sleep":{"score":80}}"#;
    let signature = signing::inline(OURA_SECRET, body.as_bytes());
    let request = format!(
        "POST /webhook/oura HTTP/1.1\r\nHost: x\r\nSignature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let zeros = vec![0; 200_000];
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03Quux".as_slice();
    let garbage: [&[u8]; 8] = [
        b"Quux",
        b"Quux\r\n\r\n",
        b"\r\n\r\nQuux\r\n",
        &zeros,
        &noise,
        tls,
        b"GET / HTTP/9.9\r\n\r\n",
        b"{\"user_id\":\"Quux\"}\r\n\r\n",
    ];
    for garbage in garbage {
        let told = exchange(&bridge, &[request.as_bytes(), garbage].concat());
        let statuses = statuses(&told);
        assert_eq!(statuses.first(), Some(&200), "{told}");
        assert!(statuses[1..].iter().all(|status| [400, 408, 431].contains(status)), "{told}");
        let alone = exchange(&bridge, garbage);
        assert!(self::statuses(&alone).iter().all(|status| [400, 408, 431, 505].contains(status)), "{alone}");
    }
    assert_eq!(events(&bridge, "piped").await.len(), 1);
    // Clean requests in one go are answered each, in order.
    let mut stream = send_part(&bridge, b"");
    let mut writer = stream.try_clone().expect("the same connection");
    let writing = std::thread::spawn(move || writer.write_all(request.repeat(500).as_bytes()));
    let mut told = String::new();
    let mut buffer = [0; 65_536];
    while statuses(&told).len() < 500 || !told.ends_with('}') {
        let len = stream.read(&mut buffer).expect("answers");
        assert_ne!(len, 0, "{} of 500", statuses(&told).len());
        told.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
    writing.join().expect("no panic").expect("sent");
    assert_eq!(told.matches("\"status\":\"duplicate\"").count(), 500);
    assert_unharmed(bridge).await;
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[actix_web::test]
async fn a_flood_of_http_2_is_closed_before_a_frame_of_it_is_read() {
    let (data, headers, reset, settings, ping, window, continuation) = (0, 1, 3, 4, 6, 8, 9);
    let bridge = talkative(&[]).await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(settings, 0, 0, &[])].concat();
    // POST, http, and /webhook/test as a literal (RFC 7541).
    let block = [b"\x83\x86\x00\x05:path\x0d/webhook/test".as_slice(), b"\x00\x04quux\x04Quux"].concat();
    let streams =
        |each: &dyn Fn(u32) -> Vec<u8>| (0..2_000).flat_map(|n| each(1 + 2 * n)).collect::<Vec<u8>>();
    let floods = [
        streams(&|id| frame(headers, 4, id, &block)),
        streams(&|id| [frame(headers, 5, id, &block), frame(reset, 0, id, &8_u32.to_be_bytes())].concat()),
        streams(&|_| frame(ping, 0, 0, b"12345678")),
        streams(&|_| frame(settings, 0, 0, &[0, 3, 0, 0, 0, 1])),
        streams(&|_| frame(window, 0, 0, &1_u32.to_be_bytes())),
        [frame(headers, 0, 1, &block), streams(&|_| frame(continuation, 0, 1, &block))].concat(),
        [frame(headers, 4, 1, &block), streams(&|_| frame(data, 0, 1, &[]))].concat(),
        frame(headers, 4, 1, &[0x3f, 0xe1, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        vec![0xff; 100_000],
    ];
    let before_kib = bridge.memory_kib();
    for _ in 0..10 {
        let connections: Vec<TcpStream> = floods
            .iter()
            .map(|flood| {
                let mut stream = send_part(&bridge, &preface);
                // Broken off by the other side as soon as it has seen the first line.
                stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a time-out");
                let _ = stream.write_all(flood);
                stream
            })
            .collect();
        for connection in connections {
            let told = read_to_end(connection);
            assert!(told.is_empty() || statuses(&told) == [400], "{told}");
        }
    }
    // Undisturbed, the answer is seen to be one in HTTP/1.1.
    assert_eq!(statuses(&exchange(&bridge, &preface)), [400]);
    assert!(bridge.memory_kib() < before_kib + 50_000);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn an_upgrade_to_http_2_is_answered_in_http_1() {
    let bridge = talkative(&[]).await;
    let upgrade =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let (status, text) =
        send_raw(&bridge, format!("GET /ready HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n").as_bytes());
    assert_eq!(status, 200, "{text}");
    assert!(!text.contains("101 Switching"), "{text}");
    let body = json!({"user_id": ID, "samples": []}).to_string();
    let request = format!(
        "POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\n{upgrade}X-API-Key: {HEALTHKIT_KEY}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let stream = send_part(&bridge, request.as_bytes());
    let (status, text) = read_answer(stream);
    assert_eq!(status, 200, "{text}");
    assert_eq!(send(to_healthkit(&bridge, "").body(body)).await.status, 200);
    // What follows another upgrade has no length, but it has the limits of every body.
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: Quux\r\n";
    for request in ["GET /ready", "GET /v1/users/Quux/state", "POST /webhook/healthkit", "POST /webhook/test"]
    {
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n");
        let told = exchange(&bridge, &[head.as_bytes(), &vec![b'Q'; 2 << 20]].concat());
        assert!(
            statuses(&told).iter().all(|status| [200, 400, 401, 413].contains(status)),
            "{request}: {told}"
        );
    }
    assert_unharmed(bridge).await;
}
