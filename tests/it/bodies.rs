//! Bodies that are empty, cut off, deep, large, of the wrong length, in no text, with everything twice and every type
//! in every field.

use std::net::Shutdown;

use actors::vendors::signing;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::aftermath::{
    ESCAPED, HEART_RATE, HRV, ID, SOURCE, WRONG, assert_at_rest, assert_nothing_personal, assert_unharmed,
    talkative,
};
use crate::answers::{
    ago, assert_problem, events, heart_rate, read_answer, refused, send, send_part, send_raw, to_healthkit,
    to_oura_inline,
};
use crate::bridge::{ADMIN_KEY, Bridge, HEALTHKIT_KEY, OURA_SECRET, now_ms};

const AT: &str = "2026-09-10T06:42:11Z";

fn to_oura_native(bridge: &Bridge, body: impl Into<Vec<u8>>) -> RequestBuilder {
    let (body, at_s) = (body.into(), now_ms() / 1000);
    let signature = signing::oura(OURA_SECRET, at_s, &body);
    let request = bridge.request(reqwest::Method::POST, "/webhook/oura").header("x-oura-timestamp", at_s);
    request.header("x-oura-signature", signature).body(body)
}

fn to_injection(bridge: &Bridge, body: impl Into<Vec<u8>>) -> RequestBuilder {
    bridge.request(reqwest::Method::POST, "/admin/inject").bearer_auth(ADMIN_KEY).body(body.into())
}

/// The same body at every door that reads one, signed where that is asked for.
fn at_every_door(bridge: &Bridge, body: &[u8]) -> [RequestBuilder; 4] {
    [
        to_healthkit(bridge, "").body(body.to_owned()),
        to_oura_inline(bridge, body),
        to_oura_native(bridge, body),
        to_injection(bridge, body),
    ]
}

/// A whole document of each format, in the order of the doors.
fn documents() -> [Value; 4] {
    let mut sample = heart_rate(HEART_RATE, AT);
    sample["source"] = json!(SOURCE);
    sample["uuid"] = json!("0b8a2c44-64a5-4f0e-a0a5-0d7a1f0e7c55");
    [
        json!([{"user_id": ID, "samples": [sample]}]),
        json!({
            "user_id": ID, "timestamp": AT, "hrv_data": {"rmssd": HRV}, "sleep": {"score": 81},
            "recovery": {"score": 70}, "stress": {"level": 0.25},
        }),
        json!({
            "event_type": "update", "data_type": "sleep", "object_id": "6a5f0c52-73b1-4c0e-9d55-6f2f3f0b7a11",
            "event_time": AT, "user_id": ID,
        }),
        json!([{
            "event_id": "e-1", "device_type": "terra", "user_id": ID, "timestamp": ago(30), "kind": "sample",
            "received_at": ago(30), "is_backfill": false, "readings": [{
                "metric": "heart_rate", "value": HEART_RATE, "unit": "bpm", "timestamp": ago(30),
                "confidence": 0.9, "source": SOURCE,
            }],
        }]),
    ]
}

#[actix_web::test]
async fn a_body_that_is_cut_off_anywhere_is_a_bad_request() {
    let bridge = talkative(&[]).await;
    for (door, document) in documents().iter().enumerate() {
        let text = document.to_string();
        for cut in 0..text.len() {
            let request = at_every_door(&bridge, &text.as_bytes()[..cut]).into_iter().nth(door);
            refused(request.expect("a door"), 400, "validation_error").await;
        }
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_body_that_is_no_json_text_is_a_bad_request_at_every_door() {
    let bridge = talkative(&[]).await;
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut bodies: Vec<Vec<u8>> = vec![
        Vec::new(),
        b" ".to_vec(),
        b"\0".to_vec(),
        utf16,
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"user_id\":\"\xff\"}".to_vec(),
        b"{\"\xc3\x28\":1}".to_vec(),
        b"{\"user_id\":\"\xed\xa0\x80\"}".to_vec(),
        b"\x1f\x8b\x08".to_vec(),
        b"user_id=Quux&samples=1".to_vec(),
        b"<samples/>".to_vec(),
        b"{\"user_id\":\"Quux\n\"}".to_vec(),
    ];
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"samples\":", "}]")] {
        bodies.push(format!("{}1{}", open.repeat(10_000), close.repeat(10_000)).into_bytes());
        bodies.push(open.repeat(10_000).into_bytes());
    }
    for number in ["NaN", "Infinity", "-Infinity", "+1", "01", "1.", ".5", "0x10", "1e", "--1", "1_000", "∞"]
    {
        bodies.push(
            format!(r#"{{"user_id":"Quux","timestamp":"{AT}","hrv_data":{{"rmssd":{number}}}}}"#).into(),
        );
        bodies.push(format!(r#"[{{"user_id":"Quux","samples":[{{"value":{number}}}]}}]"#).into());
    }
    for body in bodies {
        let [healthkit, inline, native, injection] = at_every_door(&bridge, &body);
        for request in [healthkit, inline, native] {
            refused(request, 400, "validation_error").await;
        }
        // A list of events is read one by one: what is no event costs itself.
        let answer = send(injection).await;
        assert!(answer.status == 400 || answer.json()["rejected_total"] == 1, "{}", answer.text());
        assert_nothing_personal("an answer", &answer.text());
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_key_that_occurs_twice_is_never_read_as_one_of_the_two() {
    let bridge = talkative(&[]).await;
    let sample = heart_rate(HEART_RATE, AT);
    let healthkit = [
        format!(r#"{{"user_id":"{ID}","user_id":"other","samples":[{sample}]}}"#),
        format!(r#"{{"user_id":"{ID}","samples":[{sample}],"samples":[]}}"#),
        format!(r#"[{{"user_id":"{ID}","user_id":"{ID}","samples":[{sample}]}}]"#),
    ];
    for body in healthkit {
        refused(to_healthkit(&bridge, "").body(body), 400, "validation_error").await;
    }
    for body in [
        format!(r#"{{"user_id":"{ID}","user_id":"other","timestamp":"{AT}","sleep":{{"score":80}}}}"#),
        format!(r#"{{"user_id":"{ID}","timestamp":"{AT}","timestamp":"{AT}","sleep":{{"score":80}}}}"#),
        format!(r#"{{"user_id":"{ID}","timestamp":"{AT}","sleep":{{"score":80}},"sleep":{{"score":90}}}}"#),
    ] {
        let answer = send(to_oura_inline(&bridge, body)).await;
        // A field of the record that is there twice costs that field, and then nothing usable is left.
        assert_problem(&answer, 400, "validation_error");
    }
    for user in [ESCAPED, "other"] {
        assert_eq!(events(&bridge, user).await, Vec::<Value>::new(), "{user}");
    }
    assert_unharmed(bridge).await;
}

/// Every place in a document, as JSON pointers.
fn places(document: &Value, at: String, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match document {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    for (name, value) in children {
        places(value, format!("{at}/{name}"), found);
    }
    found.push(at);
}

#[actix_web::test]
async fn no_type_and_no_number_in_any_field_breaks_anything() {
    let bridge = talkative(&[]).await;
    let hostile = [
        "null",
        "\"\"",
        "\"text\"",
        "\"NaN\"",
        "\"61\"",
        "[]",
        "{}",
        "{\"a\":{}}",
        "0",
        "-0",
        "-1",
        "1e400",
        "-1e400",
        "9223372036854775808",
        "253402300800000",
        "\"\\u0000\"",
        "\"\\ud800\"",
    ];
    let long = format!("\"{}\"", "x".repeat(10_000));
    for (door, document) in documents().iter().enumerate() {
        let mut pointers = Vec::new();
        places(document, String::new(), &mut pointers);
        for pointer in pointers {
            let mut marked = document.clone();
            *marked.pointer_mut(&pointer).expect("a place") = json!("the place");
            let template = marked.to_string();
            for value in hostile.iter().chain([&long.as_str()]) {
                let body = template.replace("\"the place\"", value);
                let request = at_every_door(&bridge, body.as_bytes()).into_iter().nth(door).expect("a door");
                let answer = send(request).await;
                match answer.status {
                    200 | 202 => assert_nothing_personal("an answer", &answer.text()),
                    _ => assert_problem(&answer, 400, "validation_error"),
                }
            }
        }
    }
    // What was taken is numbers: nothing of it is negative, not even zero.
    for event in events(&bridge, ESCAPED).await {
        for reading in event["readings"].as_array().expect("a list") {
            let value = reading["value"].as_f64().expect("a number");
            assert!(value.is_finite() && value.is_sign_positive(), "{event}");
        }
    }
    assert_at_rest(&bridge).await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn numbers_at_the_edge_are_kept_as_numbers_or_refused_by_their_place() {
    let bridge = talkative(&[]).await;
    let sample = |value: &str| {
        format!(
            r#"{{"type":"stepCount","value":{value},"unit":"count","timestamp":"{AT}","source":"{SOURCE}"}}"#
        )
    };
    for (user, value, kept) in [
        ("zero", "0", Some(0.0)),
        ("minus-zero", "-0", Some(0.0)),
        ("minus-zero-point", "-0.0", Some(0.0)),
        ("plain", "61", Some(61.0)),
        ("exponent", "6.1e1", Some(61.0)),
        ("subnormal", "1e-400", Some(0.0)),
        ("infinite", "1e400", None),
        ("minus-infinite", "-1e400", None),
        ("two-to-63", "9223372036854775808", None),
        ("text", "\"61\"", None),
        ("nan", "\"NaN\"", None),
    ] {
        let body = format!(r#"{{"user_id":"{user}","samples":[{}]}}"#, sample(value));
        let answer = send(to_healthkit(&bridge, "").body(body)).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("processed")), "{user}");
        let refused: Vec<Value> =
            answer.json()["rejected"].as_array().expect("a list").iter().map(|r| r["path"].clone()).collect();
        let values: Vec<f64> = events(&bridge, user)
            .await
            .iter()
            .filter_map(|event| event["readings"][0]["value"].as_f64())
            .collect();
        match kept {
            Some(kept) => {
                assert_eq!(values, [kept], "{user}");
                assert!(values[0].is_sign_positive(), "{user}: a minus is left");
            }
            None => {
                assert_eq!((values, refused), (Vec::new(), vec![json!("/samples/0/value")]), "{user}");
            }
        }
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn ten_megabytes_of_anything_leave_nothing_behind() {
    const LEN: usize = 10_000_000;
    let bridge = talkative(&[]).await;
    let before_kib = bridge.memory_kib();
    let padded = |text: &str| format!("{text}{}", " ".repeat(LEN - text.len())).into_bytes();
    let empty = json!({"user_id": ID, "samples": []}).to_string();
    assert_eq!(send(to_healthkit(&bridge, "").body(padded(&empty))).await.json()["status"], "ignored");
    refused(to_oura_inline(&bridge, padded("{}")), 413, "payload_too_large").await;
    refused(to_injection(&bridge, padded("[]")), 413, "payload_too_large").await;
    let unsigned = bridge.request(reqwest::Method::POST, "/webhook/healthkit").bearer_auth(WRONG);
    refused(unsigned.body(padded(&empty)), 401, "authentication_error").await;
    let text = "x".repeat(LEN);
    let bodies: [Vec<u8>; 4] = [
        vec![b'['; LEN],
        "{\"a\":".repeat(LEN / 5).into_bytes(),
        format!("{{\"user_id\":\"{text}\",\"samples\":[{{}}]}}").into_bytes(),
        format!("{{\"user_id\":\"{ID}\",\"samples\":[{}1]", "1,".repeat(LEN / 2)).into_bytes(),
    ];
    for body in bodies {
        refused(to_healthkit(&bridge, "").body(body), 400, "validation_error").await;
    }
    let grown_kib = bridge.memory_kib().saturating_sub(before_kib);
    assert!(grown_kib < 200 * 1024, "{grown_kib} KiB more than before");
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_length_that_lies_is_told_or_cuts_what_is_too_much() {
    let bridge = talkative(&[]).await;
    let body = json!({"user_id": ID, "samples": [heart_rate(HEART_RATE, AT)]}).to_string();
    let request = |length: usize| {
        format!(
            "POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\nX-API-Key: {HEALTHKIT_KEY}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    // More announced than comes: the sender says that it is done …
    let half_closed = send_part(&bridge, request(body.len() + 1).as_bytes());
    half_closed.shutdown(Shutdown::Write).expect("half closed");
    let (status, text) = read_answer(half_closed);
    assert_eq!(status, 400, "{text}");
    // … or goes without a word.
    for length in [body.len() + 1, body.len() + 1000, 1 << 20, 10 << 20] {
        drop(send_part(&bridge, request(length).as_bytes()));
    }
    assert_at_rest(&bridge).await;
    // Less announced than comes: what is within the length is read, and the rest is no request.
    for length in [0, 1, body.len() - 1] {
        let (status, text) = send_raw(&bridge, request(length).as_bytes());
        assert_eq!(status, 400, "{length}: {text}");
    }
    assert_eq!(events(&bridge, ESCAPED).await, Vec::<Value>::new());
    let (status, text) = send_raw(&bridge, request(body.len()).as_bytes());
    assert_eq!(status, 200, "{text}");
    assert_unharmed(bridge).await;
}
