//! What webhooks are answered.

use serde_json::json;

use crate::bridge::Bridge;

#[actix_web::test]
async fn a_delivery_is_durable_when_it_is_answered() {
    let bridge = Bridge::start().await;
    let body = json!({
        "user_id": "user-1",
        "samples": [{"type": "heartRate", "value": 72, "unit": "bpm", "timestamp": "2026-09-10T06:42:11Z", "source": "Apple Watch"}],
    });
    let (status, answer) = bridge.healthkit(&body).await;
    assert_eq!((status, &answer["status"], &answer["events"]), (200, &json!("processed"), &json!(1)));
    let bridge = bridge.restart().await;
    let events = bridge.read("/v1/users/user-1/events").await;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(1), "{events}");
    let (status, again) = bridge.healthkit(&body).await;
    assert_eq!((status, &again["status"], &again["events"]), (200, &json!("duplicate"), &json!(0)));
}
