//! What is published is what the schemas say.

use std::path::Path;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::bridge::Bridge;
use crate::cloud::VendorCloud;
use crate::fetching::{all_events, connected, notifications, tell, until_arrived};

fn schema_of_events() -> Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/biometric-event.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(path).expect("the schema")).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

/// Holds events, as the read API gives them, to the schema of messages.
fn hold(schema: &Validator, events: Vec<Value>) {
    for mut event in events {
        event.as_object_mut().expect("an object").remove("headers");
        let wrong: Vec<String> = schema.iter_errors(&event).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{event}: {wrong:?}");
    }
}

#[actix_web::test]
async fn every_event_is_of_the_published_schema() {
    let schema = schema_of_events();
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = connected(&cloud, 0, "ann", &[]).await;
    let all = notifications(&cloud, 0).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    until_arrived(&bridge, "ann", all.len()).await;
    let samples = json!({"user_id": "eve", "samples": [
        {"type": "heartRate", "value": 61, "unit": "bpm", "timestamp": "2026-09-10T06:42:11.5+02:00", "source": "Apple Watch"},
        {"type": "heartRateVariabilitySDNN", "value": 0.04, "unit": "s", "timestamp": "2026-09-10T06:42:11Z"},
        {"type": "stepCount", "value": 40, "startDate": "2026-09-10T06:00:00Z", "endDate": "2026-09-10T06:05:00Z"},
    ]});
    let (status, told) = bridge.healthkit(&samples).await;
    assert_eq!((status, &told["readings"]), (200, &json!(3)), "{told}");
    for user in ["ann", "eve"] {
        hold(&schema, all_events(&bridge, user).await);
    }
    cloud.stop().await;
}

#[actix_web::test]
async fn the_schema_of_events_refuses_what_is_none() {
    let schema = schema_of_events();
    let bridge = Bridge::start().await;
    let samples = json!({"user_id": "eve", "samples": [
        {"type": "heartRate", "value": 61, "unit": "bpm", "timestamp": "2026-09-10T06:42:11Z", "source": "Apple Watch"},
    ]});
    assert_eq!(bridge.healthkit(&samples).await.0, 200);
    let mut event = all_events(&bridge, "eve").await.remove(0);
    event.as_object_mut().expect("an object").remove("headers");
    assert!(schema.is_valid(&event), "{event}");
    let wrong: [(&str, Value); 8] = [
        ("/readings/0/value", json!(251)),
        ("/readings/0/value", json!("61")),
        ("/readings/0/unit", json!("count/min")),
        ("/readings/0/metric", json!("pulse")),
        ("/readings/0/timestamp", json!("2026-09-10T06:42:11+02:00")),
        ("/device_type", json!("oura")),
        ("/version", json!("1")),
        ("/deleted", json!(true)),
    ];
    for (at, value) in wrong {
        let mut changed = event.clone();
        *changed.pointer_mut(at).expect("it is there") = value;
        assert!(!schema.is_valid(&changed), "{at}: {changed}");
    }
    for at in ["", "/readings/0"] {
        let mut more = event.clone();
        more.pointer_mut(at).expect("it is there")["further"] = json!(1);
        assert!(!schema.is_valid(&more), "{at}: a further member");
    }
    for member in ["event_id", "received_at", "readings"] {
        let mut less = event.clone();
        less.as_object_mut().expect("an object").remove(member);
        assert!(!schema.is_valid(&less), "without {member}");
    }
}
