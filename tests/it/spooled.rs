//! HealthKit bodies that are too long for memory: believed, read and stored as others are, in bounded memory, and
//! whole in the end whatever dies in between.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;

use actors::vendors::signing;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::aftermath::assert_unharmed;
use crate::answers::{Past, events, read_answer, refused, send, send_part, to_healthkit};
use crate::bridge::{Bridge, HEALTHKIT_KEY, HEALTHKIT_SECRET};

const MEBIBYTE: usize = 1 << 20;

/// A delivery of `user` with so many samples, each with so much besides that nobody reads; a piece at a time.
fn pieces(user: &str, samples: usize, padding: usize) -> impl Iterator<Item = String> {
    let past = Past::new();
    let head = "{\"samples\":[".to_owned();
    let tail = format!("],\n\"user_id\":\"{user}\"}}");
    let blocks = (0..samples).step_by(1_000).map(move |from| {
        let sample = |n: usize| {
            let comma = if n == 0 { "" } else { "," };
            let at = past.ago(samples as i64 - n as i64);
            format!(
                "{comma}{{\"type\":\"heartRate\",\"value\":{},\"unit\":\"bpm\",\"timestamp\":\"{at}\",\
                 \"source\":\"Apple Watch\",\"metadata\":{{\"note\":\"{}\"}}}}",
                60 + n % 50,
                "x".repeat(padding)
            )
        };
        (from..samples.min(from + 1_000)).map(sample).collect::<String>()
    });
    [head].into_iter().chain(blocks).chain([tail])
}

fn whole(user: &str, samples: usize, padding: usize) -> String {
    pieces(user, samples, padding).collect()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

/// The head of a chunked upload, sent.
fn begin(bridge: &Bridge, credential: &str) -> TcpStream {
    let head = format!(
        "POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{credential}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    send_part(bridge, head.as_bytes())
}

/// Sends a body in chunks: the status and the answer.
fn upload(bridge: &Bridge, credential: &str, pieces: impl Iterator<Item = String>) -> (u16, String) {
    let mut stream = begin(bridge, credential);
    for piece in pieces {
        write!(stream, "{:x}\r\n{piece}\r\n", piece.len()).expect("it is taken");
    }
    stream.write_all(b"0\r\n\r\n").expect("it is taken");
    read_answer(stream)
}

fn bearer() -> String {
    format!("Authorization: Bearer {HEALTHKIT_KEY}")
}

fn body_of(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

/// The spool holds nothing that has a name.
fn assert_no_leftovers(bridge: &Bridge) {
    let spool = bridge.folder.join("data/spool");
    let left: Vec<_> = std::fs::read_dir(&spool).expect("the folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The times of all the user's readings, each once, and how many there are.
async fn times(bridge: &Bridge, user: &str) -> (BTreeSet<String>, usize) {
    let events = events(bridge, user).await;
    let readings = events.iter().flat_map(|event| event["readings"].as_array().cloned().unwrap_or_default());
    let all: Vec<String> = readings.map(|reading| reading["timestamp"].to_string()).collect();
    (all.iter().cloned().collect(), all.len())
}

#[actix_web::test]
async fn a_long_body_is_taken_in_as_a_short_one_is() {
    let bridge = Bridge::start().await;
    let body = whole("ann", 12_001, 100);
    let bad = body.replacen("\"value\":60", "\"value\":9999", 1);
    assert!(body.len() > 2 * MEBIBYTE);
    let (status, answer) = upload(&bridge, &bearer(), [bad.clone()].into_iter());
    let answer_json = body_of(&answer);
    assert_eq!((status, &answer_json["status"]), (200, &json!("processed")), "{answer}");
    assert_eq!((&answer_json["events"], &answer_json["readings"]), (&json!(12), &json!(12_000)), "{answer}");
    assert_eq!(
        (&answer_json["rejected_total"], &answer_json["rejected"][0]["path"]),
        (&json!(1), &json!("/samples/0/value"))
    );
    let (distinct, all) = times(&bridge, "ann").await;
    assert_eq!((distinct.len(), all), (12_000, 12_000));
    // The same again, and the same with a length and in gzip.
    let again = send(to_healthkit(&bridge, "").body(bad.clone())).await;
    assert_eq!((again.status, &again.json()["status"]), (200, &json!("duplicate")), "{}", again.text());
    let wire = gzip(bad.as_bytes());
    let again = send(to_healthkit(&bridge, "").header("Content-Encoding", "gzip").body(wire)).await;
    assert_eq!((again.status, &again.json()["status"]), (200, &json!("duplicate")), "{}", again.text());
    // What was bad is new when it is good; the rest is known.
    let mended = send(to_healthkit(&bridge, "").body(body)).await.json();
    assert_eq!((&mended["events"], &mended["readings"]), (&json!(1), &json!(1)), "{mended}");
    assert_no_leftovers(&bridge);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_long_body_is_believed_by_its_signature_over_the_wire() {
    let bridge = Bridge::start().await;
    let plain = whole("ann", 3_000, 2_000);
    let wire = gzip(plain.as_bytes());
    let post = |signature: String, body: Vec<u8>| {
        let request = bridge.request(reqwest::Method::POST, "/webhook/healthkit");
        request.header("Signature", signature).body(body)
    };
    let wrong = signing::inline(HEALTHKIT_SECRET, &plain.as_bytes()[1..]);
    refused(post(wrong, plain.clone().into_bytes()), 401, "authentication_error").await;
    let over_plain = signing::inline(HEALTHKIT_SECRET, plain.as_bytes());
    let request = post(over_plain.clone(), wire.clone()).header("Content-Encoding", "gzip");
    refused(request, 401, "authentication_error").await;
    assert!(events(&bridge, "ann").await.is_empty(), "nothing of what is not believed is stored");
    let over_wire = signing::inline(HEALTHKIT_SECRET, &wire);
    let answer = send(post(over_wire, wire).header("Content-Encoding", "gzip")).await;
    assert_eq!((answer.status, &answer.json()["readings"]), (200, &json!(3_000)), "{}", answer.text());
    let answer = send(post(over_plain, plain.into_bytes())).await;
    assert_eq!(answer.json()["status"], "duplicate", "{}", answer.text());
    assert_no_leftovers(&bridge);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_long_body_of_nobody_is_refused_before_it_is_sent() {
    let bridge = Bridge::start().await;
    for credential in ["Authorization: Bearer wrong", "X-API-Key: wrong", "X-Nothing: 1", "Signature: zz"] {
        let head = format!(
            "POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{credential}\r\n\
             Content-Length: 104857600\r\n\r\n"
        );
        let (status, text) = read_answer(send_part(&bridge, head.as_bytes()));
        assert_eq!(status, 401, "{credential}: {text}");
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn of_a_long_body_with_a_mistake_at_its_end_nothing_is_stored() {
    let bridge = Bridge::start().await;
    let good = whole("ann", 12_000, 100);
    let cases = [
        (good[..good.len() - 1].to_owned(), "line 2, column 15"),
        (format!("{good}]"), "line 2, column 17"),
        (good.replace("\"user_id\":\"ann\"", "\"user_id\":7"), "/user_id"),
        (good.replace("\"user_id\":\"ann\"", "\"user_id\":\"ann\",\"samples\":[]"), "twice"),
    ];
    for (body, told) in cases {
        let answer = refused(to_healthkit(&bridge, "").body(body), 400, "validation_error").await;
        assert!(answer.text().contains(told), "{told}: {}", answer.text());
    }
    let mut not_text = good.clone().into_bytes();
    let place = not_text.len() - 4;
    not_text[place] = 0xff;
    refused(to_healthkit(&bridge, "").body(not_text), 400, "validation_error").await;
    let wire = gzip(good.as_bytes());
    let cut_off = wire[..wire.len() - 9].to_vec();
    let request = to_healthkit(&bridge, "").header("Content-Encoding", "gzip").body(cut_off);
    refused(request, 400, "validation_error").await;
    assert!(events(&bridge, "ann").await.is_empty());
    let answer = send(to_healthkit(&bridge, "").body(good)).await;
    assert_eq!((answer.status, &answer.json()["readings"]), (200, &json!(12_000)), "{}", answer.text());
    assert_no_leftovers(&bridge);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_long_body_that_inflates_beyond_its_limit_is_too_large_and_nothing_of_it_is_stored() {
    const MAX_BYTES: usize = 3 * MEBIBYTE;
    let bridge = Bridge::start_with(&[("HEALTHKIT_MAX_BODY_BYTES", &MAX_BYTES.to_string())]).await;
    let body = |bytes: usize, noise_bytes: usize| {
        // Noise that hardly deflates, and blanks that do.
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:016x}", state ^ (state >> 29))
        };
        let noise: String = (0..noise_bytes / 16).map(|_| next()).collect();
        let body = whole("ann", 100, 0).replacen('{', &format!("{{\"noise\":\"{noise}\","), 1);
        let blanks = " ".repeat(bytes - body.len());
        gzip(format!("{body}{blanks}").as_bytes())
    };
    let post = |wire: Vec<u8>| to_healthkit(&bridge, "").header("Content-Encoding", "gzip").body(wire);
    // From a file, and from memory; one byte less is fine.
    for noise_bytes in [2_400_000, 600_000] {
        let wire = body(MAX_BYTES + 1, noise_bytes);
        assert_eq!(wire.len() > MEBIBYTE, noise_bytes > 2_000_000, "{}", wire.len());
        let answer = refused(post(wire), 413, "payload_too_large").await;
        assert!(answer.text().contains(&MAX_BYTES.to_string()), "{}", answer.text());
        assert!(events(&bridge, "ann").await.is_empty());
    }
    let answer = send(post(body(MAX_BYTES, 2_400_000))).await;
    assert_eq!((answer.status, &answer.json()["readings"]), (200, &json!(100)), "{}", answer.text());
    // More than a hundred to one is no export either, however little it is.
    refused(post(body(MAX_BYTES - 1, 0)), 413, "payload_too_large").await;
    assert_no_leftovers(&bridge);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_long_body_that_dies_in_the_middle_is_completed_by_its_senders_retry() {
    const SAMPLES: usize = 40_000;
    let mut bridge = Bridge::start().await;
    let body = whole("ann", SAMPLES, 10);
    let request = to_healthkit(&bridge, "").body(body.clone());
    let sent = actix_web::rt::spawn(request.send());
    bridge.until("stored in part", async |bridge| !events(bridge, "ann").await.is_empty()).await;
    // Others are not kept waiting by it.
    let other = json!({"user_id": "bob", "samples": []});
    assert_eq!(bridge.healthkit(&other).await.0, 200);
    bridge.kill();
    assert!(sent.await.expect("no panic").is_err(), "it was answered before it was killed");
    // A name that a file had when its process died.
    std::fs::write(bridge.folder.join("data/spool/left"), "{").expect("a file");
    let bridge = bridge.restart().await;
    assert_no_leftovers(&bridge);
    let (before, all) = times(&bridge, "ann").await;
    assert!(!before.is_empty() && before.len() < SAMPLES, "{} of {SAMPLES}", before.len());
    assert_eq!(before.len(), all);
    let answer = send(to_healthkit(&bridge, "").body(body.clone())).await;
    let json = answer.json();
    assert_eq!((answer.status, &json["status"]), (200, &json!("processed")), "{}", answer.text());
    assert_eq!(json["readings"], SAMPLES - before.len(), "{json}");
    let (distinct, all) = times(&bridge, "ann").await;
    assert_eq!((distinct.len(), all), (SAMPLES, SAMPLES));
    let again = send(to_healthkit(&bridge, "").body(body)).await;
    assert_eq!(again.json()["status"], "duplicate", "{}", again.text());
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_long_body_that_stops_coming_gives_its_room_back() {
    let bridge = Bridge::start_with(&[("HEALTHKIT_CONCURRENT", "1")]).await;
    let part = whole("ann", 2_000, 1_000);
    let stalled: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = begin(&bridge, &bearer());
            write!(stream, "{:x}\r\n{part}\r\n", part.len()).expect("it is taken");
            stream
        })
        .collect();
    // One slot may have two files.
    let mut told: Vec<u16> = stalled.into_iter().map(|stream| read_answer(stream).0).collect();
    told.sort_unstable();
    assert_eq!(told, [408, 408, 503, 503]);
    let answer = send(to_healthkit(&bridge, "").body(part)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_no_leftovers(&bridge);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn the_memory_for_a_long_body_does_not_grow_with_it() {
    const ABOVE_IDLE_MAX_KIB: u64 = 36 << 10;
    let bridge = Bridge::start().await;
    // So that what every delivery needs once is there.
    let (status, answer) = upload(&bridge, &bearer(), pieces("warm", 6_000, 200));
    assert_eq!(status, 200, "{answer}");
    let idle_kib = bridge.memory_kib();
    // 50 MB of which little is read, so that a debug build is done with it in time.
    let (status, answer) = upload(&bridge, &bearer(), pieces("ann", 7_000, 7_000));
    assert_eq!((status, &body_of(&answer)["readings"]), (200, &json!(7_000)), "{answer}");
    // One copy of it would be more.
    let above_kib = bridge.memory_max_kib().saturating_sub(idle_kib);
    assert!(above_kib <= ABOVE_IDLE_MAX_KIB, "{above_kib} KiB above idle");
    assert_unharmed(bridge).await;
}
