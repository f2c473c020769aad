//! Nothing personal leaves by a side door: not by a log line, a label, a tree or an error's text, at any level.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::aftermath::{
    ESCAPED, HEART_RATE, HRV, ID, SOURCE, assert_discreet, assert_nothing_personal, talkative,
};
use crate::answers::{Answer, ago, heart_rate, send, to_healthkit, to_oura_inline};
use crate::bridge::{API_KEY, Bridge};

/// Personal strings at every place where a request can hold them.
async fn send_everything(bridge: &Bridge) -> Vec<Answer> {
    let mut sample = heart_rate(HEART_RATE, "2026-09-10T06:42:11Z");
    sample["source"] = json!(SOURCE);
    let good = json!({"user_id": ID, "samples": [sample]});
    let inline = json!({"user_id": ID, "timestamp": ago(60), "hrv_data": {"rmssd": HRV}});
    let event = json!({
        "event_id": "Vogon-1", "device_type": "terra", "user_id": ID, "timestamp": ago(30), "kind": "Vogon",
        "readings": [{"metric": "recovery_score", "value": 17.654_321, "unit": "score", "timestamp": ago(30), "source": SOURCE}],
    });
    assert_eq!(bridge.healthkit(&good).await.0, 200);
    assert_eq!(bridge.healthkit(&good).await.0, 200);
    assert_eq!(bridge.oura_inline(&inline).await.0, 200);
    assert_eq!(
        bridge
            .oura(&json!({"user_id": ID, "event_type": "update", "data_type": "sleep", "object_id": "Vogon"}))
            .await
            .0,
        202
    );
    assert_eq!(bridge.inject("?wait=applied", &event).await.0, 200);
    assert_eq!(bridge.inject("?to=user_state", &json!([event])).await.0, 200);
    bridge.read(&format!("/v1/users/{ESCAPED}/state")).await;

    let get = |path: &str| bridge.request(Method::GET, path).bearer_auth(API_KEY);
    let header = HeaderValue::from_bytes(ID.as_bytes()).expect("a field's value");
    let long = format!("{ESCAPED}{}", "x".repeat(128));
    let bad_sample = |sample: Value| {
        to_healthkit(bridge, "").body(json!({"user_id": ID, "samples": [sample]}).to_string())
    };
    let refusals = [
        get(&format!("/v1/users/{long}/state")),
        get(&format!("/v1/users/{ESCAPED}/events?from=Vogon")),
        get(&format!("/v1/users/{ESCAPED}/events?device=Vogon")),
        get(&format!("/v1/users/{ESCAPED}/events?cursor=Vogon&metric=Vogon")),
        get(&format!("/v1/users/{ESCAPED}/nothing")),
        bridge.request(Method::GET, &format!("/v1/users/{ESCAPED}/events")).bearer_auth("Vogon"),
        get(&format!("/actors/users/{ESCAPED}")),
        get(&format!("/{ESCAPED}")),
        bridge.request(Method::POST, &format!("/webhook/{ESCAPED}")).body("{}"),
        to_healthkit(bridge, "?user_id=Vogon").header("X-User-Id", header.clone()).body(good.to_string()),
        to_healthkit(bridge, &format!("?user_id={long}")).body(r#"{"samples":[{}]}"#),
        to_healthkit(bridge, "").body(format!("{{\"user_id\":\"{ID}\",Vogon")),
        to_oura_inline(bridge, json!({"user_id": format!("{ID}\u{7}"), "timestamp": "Vogon"}).to_string()),
        to_oura_inline(
            bridge,
            json!({"user_id": ID, "timestamp": "Vogon", "sleep": {"score": 17.654_321}}).to_string(),
        ),
        to_oura_inline(
            bridge,
            json!({"user_id": ID, "timestamp": ago(60), "sleep": {"score": 17654.321}}).to_string(),
        ),
        bridge.request(Method::POST, "/webhook/oura").header("Signature", "Vogon").body(inline.to_string()),
        to_oura_inline(bridge, inline.to_string()).header("Content-Type", "text/Vogon"),
    ];
    let mut answers = Vec::new();
    for request in refusals {
        let answer = send(request.header("X-Request-ID", "Zaphod Quux")).await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
        answers.push(answer);
    }
    let rejections = [
        heart_rate("Vogon", "Vogon"),
        heart_rate(HEART_RATE, "Vogon"),
        json!({"type": "Vogon", "value": HEART_RATE, "unit": "Vogon", "timestamp": ago(60), "source": SOURCE}),
        json!({"type": "heartRate", "value": 6123.4567, "unit": "bpm", "timestamp": ago(60), "source": SOURCE}),
    ];
    for sample in rejections {
        let answer = send(bad_sample(sample)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answers.push(answer);
    }
    answers
}

#[actix_web::test]
async fn no_id_and_no_reading_shows_in_answers_metrics_trees_and_logs() {
    let mut bridge = talkative(&[]).await;
    for answer in send_everything(&bridge).await {
        assert_nothing_personal("an answer", &answer.text());
        assert_nothing_personal("a header field", &format!("{:?}", answer.headers));
    }
    assert_discreet(&bridge).await;
    bridge.terminate();
    let (status, lines) = bridge.wait();
    assert!(status.success(), "{status}");
    assert!(lines.len() > 50, "at TRACE there is more to tell: {lines:?}");
    for line in lines {
        assert_nothing_personal("a log line", &line);
    }
}
