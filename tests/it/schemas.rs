//! What is published is what the schemas say.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use actors::domain::message::{Message, Topic};
use actors::domain::time::Timestamp;
use actors::ports::store::DeadLetter;
use jsonschema::{Retrieve, Uri, Validator};
use serde_json::{Value, json};

use crate::answers::{ago, log_read};
use crate::bridge::Bridge;
use crate::cloud::VendorCloud;
use crate::fetching::{all_events, connected, notifications, tell, until_arrived};
use crate::streaming::{EventSource, Frame, Socket};

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas")
}

/// A document.
pub(crate) fn document(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(documents().join(name)).expect("the document")).expect("JSON")
}

/// Finds what documents refer to where a reader finds it: beside them.
struct Beside;

impl Retrieve for Beside {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let name = uri.path().as_str().trim_start_matches('/');
        Ok(serde_json::from_slice(&std::fs::read(documents().join(name))?)?)
    }
}

/// The schema at a place of a document, as `asyncapi.json#/components/…`.
pub(crate) fn schema_at(place: &str) -> Validator {
    let options = jsonschema::options().with_base_uri("json-schema:///").with_retriever(Beside);
    options.build(&json!({"$ref": place})).unwrap_or_else(|error| panic!("{place}: {error}"))
}

/// Holds a value to a schema.
#[track_caller]
pub(crate) fn assert_valid(schema: &Validator, value: &Value) {
    let wrong: Vec<String> = schema.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{value}: {wrong:?}");
}

fn schema_of_events() -> Validator {
    schema_at("biometric-event.schema.json")
}

/// Holds events, as the read API gives them, to the schema of messages.
fn hold(schema: &Validator, events: Vec<Value>) {
    for mut event in events {
        event.as_object_mut().expect("an object").remove("headers");
        assert_valid(schema, &event);
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

/// The message that the AsyncAPI document has on a channel.
struct Described {
    headers: Validator,
    payload: Validator,
    key: Validator,
}

impl Described {
    fn on(document: &Value, topic: &str) -> Self {
        let channel = topic.replace('.', "-");
        assert_eq!(document["channels"][&channel]["address"], topic);
        let messages = document["channels"][&channel]["messages"].as_object().expect("messages");
        let (name, reference) = messages.iter().next().expect("a message");
        let place = format!("/components/messages/{name}");
        assert_eq!(reference["$ref"], format!("#{place}"));
        let message = document.pointer(&place).expect("the message");
        let payload = if message["payload"]["schema"].is_null() { "payload" } else { "payload/schema" };
        let at = |part: &str| schema_at(&format!("asyncapi.json#{place}/{part}"));
        Self { headers: at("headers"), payload: at(payload), key: at("bindings/kafka/key") }
    }

    fn hold(&self, record: &Value) {
        assert_valid(&self.key, &record["key"]);
        assert_valid(&self.headers, &record["headers"]);
        assert_valid(&self.payload, &record["value"]);
    }
}

/// An injected event of one reading of so many seconds ago.
fn one(user: &str, seconds_ago: i64, device: &str, (metric, value, unit): (&str, f64, &str)) -> Value {
    let at = ago(seconds_ago);
    let mut reading =
        json!({"metric": metric, "value": value, "unit": unit, "timestamp": at, "confidence": 0.95});
    if metric == "hrv" {
        reading["method"] = json!("rmssd");
    }
    json!({"device_type": device, "user_id": user, "timestamp": at, "readings": [reading]})
}

/// Events that lead their users through all four modes, one near REFLEX, and Terra's.
fn events_of_all_modes() -> Value {
    let (hrv, pulse, recovery, stress) = (
        |value| ("hrv", value, "ms"),
        |value| ("heart_rate", value, "bpm"),
        |value| ("recovery_score", value, "score"),
        |value| ("stress_level", value, "fraction"),
    );
    json!([
        one("reflex", 60, "oura_ring", hrv(20.0)),
        one("guardian", 7200, "whoop_band", recovery(30.0)),
        one("guardian", 60, "whoop_band", recovery(90.0)),
        one("hypothesis", 90, "oura_ring", pulse(55.0)),
        one("hypothesis", 60, "apple_health", pulse(95.0)),
        one("near", 90, "oura_ring", pulse(99.0)),
        one("near", 60, "oura_ring", stress(0.8)),
        one("terra", 60, "terra", ("steps", 40.0, "count")),
    ])
}

/// Waits until as many records are on a topic, and gives them.
async fn records(bridge: &Bridge, topic: Topic, least: usize) -> Vec<Value> {
    bridge.until("on the topic", async |bridge| log_read(bridge, topic.name()).len() >= least).await;
    log_read(bridge, topic.name())
}

#[actix_web::test]
async fn every_message_of_every_topic_is_what_the_asyncapi_document_says() {
    let document = document("asyncapi.json");
    let settings = [("CHECKPOINT_INTERVAL_SECONDS", "1")];
    let bridge = Bridge::start_with(&settings).await;
    let (status, told) = bridge.inject("?wait=applied", &events_of_all_modes()).await;
    assert_eq!((status, &told["events"]), (200, &json!(8)), "{told}");
    let least = [
        (Topic::BiometricEvents, 8),
        (Topic::TerraEvents, 1),
        (Topic::ModeSwitches, 4),
        (Topic::UserState, 5),
    ];
    let mut all = Vec::new();
    for (topic, least) in least {
        let described = Described::on(&document, topic.name());
        let records = records(&bridge, topic, least).await;
        for record in &records {
            described.hold(record);
            assert_eq!(record["value"]["user_id"], record["key"]);
        }
        all.push(records);
    }
    let words = |records: &[Value], name: &str| -> BTreeSet<String> {
        records.iter().map(|record| record["value"][name].to_string()).collect()
    };
    assert_eq!(words(&all[2], "to_mode").len(), 4, "{:?}", all[2]);
    assert!(all[3].iter().any(|record| record["value"]["borderline_triggers"] != json!([])), "{:?}", all[3]);
    assert!(all[3].iter().any(|record| !record["value"]["last_trigger"].is_null()), "{:?}", all[3]);
    let topics: BTreeSet<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    let channels = document["channels"].as_object().expect("channels").values();
    let addresses: BTreeSet<&str> = channels.filter_map(|channel| channel["address"].as_str()).collect();
    assert_eq!(addresses, topics.into_iter().chain(["/v1/stream", "/ws"]).collect());
}

#[actix_web::test]
async fn what_streams_tell_is_what_the_asyncapi_document_says() {
    let bridge = Bridge::start().await;
    let at = |name: &str, part: &str| schema_at(&format!("asyncapi.json#/components/messages/{name}/{part}"));
    let key = [("Authorization", "Bearer test-api-key")];
    for (kind, last) in [("event", "biometric-events:0:999"), ("mode_switch", "neuros-mode-switches:0:999")] {
        let user = format!("user of {kind}").replace(' ', "-");
        let query = format!("?type={kind}&user_id={user}");
        let mut reader = EventSource::open(&bridge, &query, "").await;
        bridge.inject("?wait=applied", &one(&user, 60, "oura_ring", ("hrv", 20.0, "ms"))).await;
        let told = reader.take(1).await.remove(0);
        assert_valid(&at(&format!("sse_{kind}"), "headers"), &json!({"id": told.id, "event": told.kind}));
        assert_valid(&at(&format!("sse_{kind}"), "payload/schema"), &told.data);
        let mut socket = Socket::open(&bridge, &format!("{query}&last_event_id={last}"), &key).await;
        let (Frame::Text(gap), Frame::Text(text)) = (socket.next().await, socket.next().await) else {
            panic!("no texts");
        };
        assert_valid(&at("ws_gap", "payload"), &gap);
        assert_valid(&at(&format!("ws_{kind}"), "payload/schema"), &text);
        let mut again = EventSource::open(&bridge, &query, last).await;
        let gap = again.next().await.expect("an open stream");
        assert_valid(&at("sse_gap", "headers"), &json!({"event": gap.kind}));
        assert_valid(&at("sse_gap", "payload"), &gap.data);
    }
}

#[test]
fn what_is_set_aside_is_announced_as_the_asyncapi_document_says() {
    let described = Described::on(&document("asyncapi.json"), Topic::DeadLetters.name());
    let letter = |error_type: &'static str| DeadLetter {
        id: "biometric-events:3:17".into(),
        original_topic: Topic::BiometricEvents,
        place: Some((3, 17)),
        error_type,
        error_message: "the event's fold failed twice".to_owned(),
        failed_at: Timestamp::from_ms(1_790_000_000_000),
        retry_count: 2,
        message: Message {
            topic: Topic::BiometricEvents,
            key: "u".into(),
            value: b"{}".to_vec(),
            headers: vec![("schema".into(), b"biometric-event/1".to_vec())],
        },
    };
    for (error_type, is_told) in
        [("processing_error", true), ("validation_error", true), ("duplicate_event", false)]
    {
        let message = letter(error_type).to_message();
        let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
        let headers: serde_json::Map<String, Value> =
            message.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let headers = Value::from(headers);
        assert_eq!(described.headers.is_valid(&headers), is_told, "{headers}");
        let mut less = headers.clone();
        less.as_object_mut().expect("an object").remove("failed_at");
        assert!(!described.headers.is_valid(&less));
        assert_eq!(
            message.topic.name(),
            document("asyncapi.json")["channels"]["biometric-events-dlq"]["address"]
        );
    }
}

#[test]
fn the_schemas_of_modes_refuse_what_is_none() {
    let at = "2026-09-10T06:42:11Z";
    let id = "362eb43e-9599-89d3-a1b1-23eb77f0211f";
    let switch = json!({
        "switch_id": id, "user_id": "u", "from_mode": "PATTERN", "to_mode": "GUARDIAN", "reason": "guardian.recovery",
        "rule": "guardian.recovery", "confidence": 0.7, "timestamp": at, "event_id": "e", "state_seq": 1,
        "explanation": {
            "rule": "guardian.recovery", "thresholds_hash": "6a883240af51",
            "inputs": [{
                "metric": "recovery_score", "value": 30.0, "timestamp": at, "age_s": 0, "device_type": "whoop_band",
                "confidence": 0.95,
            }],
            "nearest": {"input": "recovery_score", "value": 30.0, "would_be": "PATTERN"},
        },
    });
    let state = json!({
        "user_id": "u", "mode": "GUARDIAN", "confidence": 0.7, "since": at, "reason": "guardian.recovery",
        "switch_id": id, "inputs": {"recovery_score": {
            "value": 30.0, "timestamp": at, "device_type": "whoop_band", "confidence": 0.95,
        }},
        "baselines": {"recovery_score": {"value": 50.0, "samples": 0}}, "borderline_triggers": [],
        "last_trigger": null, "cooldown_until": at, "valid_until": at, "stale": false, "last_event_id": "e",
        "state_seq": 1, "as_of": at,
    });
    let wrong = [
        ("mode-switch", &switch, "/to_mode", json!("REFLEX")),
        ("mode-switch", &switch, "/explanation/rule", json!("pattern.normal")),
        ("mode-switch", &switch, "/explanation/thresholds_hash", json!("x")),
        ("mode-switch", &switch, "/explanation/inputs/0/metric", json!("steps")),
        ("mode-switch", &switch, "/explanation/inputs/0/value", json!(101)),
        ("mode-switch", &switch, "/explanation/nearest/input", json!("steps")),
        ("mode-switch", &switch, "/confidence", json!(0.4)),
        ("mode-switch", &switch, "/switch_id", json!("e")),
        ("user-state", &state, "/mode", json!("guardian")),
        ("user-state", &state, "/mode", Value::Null),
        ("user-state", &state, "/confidence", Value::Null),
        ("user-state", &state, "/inputs/recovery_score/value", json!(101)),
        ("user-state", &state, "/as_of", json!("2026-09-10T06:42:11+02:00")),
    ];
    for (name, right, at, value) in wrong {
        let schema = schema_at(&format!("{name}.schema.json"));
        assert_valid(&schema, right);
        let mut changed = right.clone();
        *changed.pointer_mut(at).expect("it is there") = value;
        assert!(!schema.is_valid(&changed), "{name}: {at}: {changed}");
        let mut more = right.clone();
        more["further"] = json!(1);
        assert!(!schema.is_valid(&more), "{name}: a further member");
        for member in right.as_object().expect("an object").keys() {
            let mut less = right.clone();
            less.as_object_mut().expect("an object").remove(member);
            assert!(!schema.is_valid(&less), "{name}: without {member}");
        }
    }
}
