//! Hostile deliveries: a typed refusal, nothing kept that was not believed, and nothing broken.

use reqwest::Method;
use serde_json::{Value, json};

use crate::aftermath::assert_unharmed;
use crate::answers::{events, heart_rate, refused, send, to_healthkit, to_oura_inline};
use crate::bridge::Bridge;

const AT: &str = "2026-09-10T06:42:11Z";

#[actix_web::test]
async fn a_hostile_value_costs_its_sample_and_nothing_else() {
    let bridge = Bridge::start().await;
    let values = [
        "1e999",
        "-1e999",
        "1e-999",
        "-0",
        "0",
        "-1",
        "9223372036854775808",
        "123456789012345678901234567890",
        "\"61\"",
        "\"NaN\"",
        "null",
        "true",
        "[]",
        "[61]",
        "{}",
        "{\"value\":61}",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "0.0000000000000000000000000000000000000000001",
    ];
    let bad = values.iter().map(|value| {
        format!(r#"{{"type":"heartRate","value":{value},"unit":"bpm","timestamp":"{AT}","source":"Watch"}}"#)
    });
    let fields = [
        r#""type":"heartRate","type":"heartRate","value":61,"unit":"bpm""#,
        r#""type":"heartRate","value":61,"value":62,"unit":"bpm""#,
        r#""type":"heartRate","value":61,"unit":"\ud800""#,
        r#""type":"heartRate","value":61,"unit":7"#,
        r#""type":["heartRate"],"value":61"#,
        r#""type":"heartRate","value":61,"unit":"bpm","source":7"#,
        r#""type":"heartRate","value":61,"unit":"bpm","source":"\udfff""#,
        r#""type":"heartRate","value":61,"unit":"bpm","uuid":7"#,
    ];
    let bad = bad.chain(fields.iter().map(|fields| format!(r#"{{{fields},"timestamp":"{AT}"}}"#)));
    let times = [
        "1e300",
        "-1",
        "0",
        "\"\"",
        "\"2026-09-10\\u0000\"",
        "\"99999-01-01T00:00:00Z\"",
        "{}",
        "1e18",
        "null",
    ];
    let bad = bad
        .chain(times.iter().map(|time| format!(r#"{{"type":"heartRate","value":61,"timestamp":{time}}}"#)));
    let bad: Vec<String> = bad.collect();
    let good = heart_rate(61, AT).to_string();
    let samples: Vec<&str> = std::iter::once(good.as_str()).chain(bad.iter().map(String::as_str)).collect();
    let body = format!(r#"{{"user_id":"u","samples":[{}]}}"#, samples.join(","));
    let answer = send(to_healthkit(&bridge, "").body(body)).await;
    let answer = (answer.status, answer.json());
    let refused: Vec<u64> = answer.1["rejected"].as_array().map_or_else(Vec::new, |rejected| {
        rejected.iter().filter_map(|rejection| rejection["index"].as_u64()).collect()
    });
    assert_eq!((answer.0, &answer.1["readings"]), (200, &json!(1)), "{}", answer.1);
    assert_eq!(refused, (1..=bad.len() as u64).collect::<Vec<_>>(), "{}", answer.1);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn what_we_do_not_read_may_be_anything() {
    let bridge = Bridge::start().await;
    let deep = format!("{}{}", "[".repeat(50), "]".repeat(50));
    let long = "x".repeat(500_000);
    let more = ["{\"a\":{\"b\":[null]}}", &deep, &format!("\"{long}\""), "1e400", "\"\\ud800\""];
    for (place, metadata) in more.iter().enumerate() {
        let body = format!(
            r#"{{"user_id":"user-{place}","extra":{metadata},"samples":[{{"type":"heartRate","value":61,"unit":"bpm","timestamp":"{AT}","metadata":{metadata}}}]}}"#
        );
        let answer = send(to_healthkit(&bridge, "").body(body)).await;
        assert_eq!(
            (answer.status, &answer.json()["readings"]),
            (200, &json!(1)),
            "{place}: {}",
            answer.text()
        );
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_hostile_body_is_a_bad_request_at_every_door() {
    let bridge = Bridge::start().await;
    let deep = format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    let bodies: Vec<Vec<u8>> = vec![
        deep.into_bytes(),
        b"\xff\xfe{\x00}\x00".to_vec(),
        b"{\"user_id\":\"\\ud800\",\"samples\":[{}],\"timestamp\":\"2026-09-10T06:42:11Z\"}".to_vec(),
        b"{\"user_id\":\"a\",\"user_id\":\"b\",\"samples\":[{}]}".to_vec(),
        b"{\"user_id\":{\"$ne\":null},\"samples\":[{}]}".to_vec(),
        b"{\"user_id\":\"a\",\"samples\":{\"length\":1}}".to_vec(),
        b"\"\\u0000\"".to_vec(),
        vec![b'['; 60],
        vec![0; 1000],
        b"'{}'".to_vec(),
        b"{}\n{}".to_vec(),
    ];
    for body in bodies {
        refused(to_healthkit(&bridge, "").body(body.clone()), 400, "validation_error").await;
        refused(to_oura_inline(&bridge, body.clone()), 400, "validation_error").await;
    }
    assert_eq!(bridge.get("/ready").await.status(), 200);
    let tree: Value = bridge.get("/actors").await.json().await.expect("JSON");
    assert_eq!(tree["root"]["restarts"], 0, "{tree}");
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn only_what_is_believed_reaches_the_disk() {
    let mut bridge = Bridge::start().await;
    let unbelieved = json!({"user_id": "unbelieved-4711", "samples": [heart_rate(61, AT)]}).to_string();
    let post = bridge.request(Method::POST, "/webhook/healthkit").bearer_auth("wrong").body(unbelieved);
    refused(post, 401, "authentication_error").await;
    let (_, answer) = bridge.healthkit(&json!({"user_id": "ignored-4711", "samples": []})).await;
    assert_eq!(answer["status"], "ignored");
    // Believed and not readable: kept for a replay, but never as an event.
    refused(to_oura_inline(&bridge, "{\"user_id\":\"unreadable-4711\""), 400, "validation_error").await;
    assert_eq!(events(&bridge, "unreadable-4711").await, Vec::<Value>::new());
    bridge.healthkit(&json!({"user_id": "believed-4711", "samples": [heart_rate(61, AT)]})).await;
    bridge.terminate();
    bridge.wait();
    let files = std::fs::read_dir(bridge.folder.join("data")).expect("the data folder");
    let on_disk: Vec<u8> =
        files.flat_map(|file| std::fs::read(file.expect("a file").path()).unwrap_or_default()).collect();
    let holds = |text: &str| on_disk.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("believed-4711") && holds("unreadable-4711"));
    assert!(!holds("unbelieved-4711") && !holds("ignored-4711"));
}
