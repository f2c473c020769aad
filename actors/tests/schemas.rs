//! What other programs read of the log is told by JSON Schemas and an AsyncAPI document that are made from the types.
//!
//! `UPDATE_CATALOGUE=1 cargo test -p actors --test schemas` writes them anew. That real messages are what they say is
//! held by the tests of the program.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asyncapi;
mod written;

use actors::cognition::mode::{Mode, Rule};
use actors::cognition::triggers::Severity;
use actors::domain::event::{Context, DeviceType, HrvMethod};
use actors::domain::metric::Metric;
use serde_json::{Value, json};

use written::hold;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// The metrics that decide on a mode.
const DECIDING: [Metric; 4] = [Metric::Hrv, Metric::HeartRate, Metric::StressLevel, Metric::RecoveryScore];
const SEVERITIES: [Severity; 3] = [Severity::Medium, Severity::High, Severity::Critical];

/// A file as it is written.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

/// An object with these members and no others, each of which is there.
pub(crate) fn closed(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().unwrap().keys().collect();
    json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
}

/// A closed object of which these members may be missing.
pub(crate) fn closed_but(properties: Value, optional: &[&str]) -> Value {
    let mut schema = closed(properties);
    let required = schema["required"].as_array_mut().unwrap();
    required.retain(|name| !optional.iter().any(|optional| name == optional));
    schema
}

/// The same, or null.
fn or_null(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// A time as it is always written.
fn time() -> Value {
    json!({"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$"})
}

/// An id that may have come from outside.
pub(crate) fn id() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 128})
}

fn text() -> Value {
    json!({"type": "string", "minLength": 1})
}

fn uuid_v8() -> Value {
    json!({"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"})
}

fn share(least: f64) -> Value {
    json!({"type": "number", "minimum": least, "maximum": 1})
}

pub(crate) fn device_types() -> Value {
    json!({"enum": DeviceType::ALL.map(DeviceType::name)})
}

fn modes() -> Value {
    json!({"enum": Mode::ALL.map(Mode::name)})
}

fn methods() -> Value {
    let methods = [HrvMethod::Rmssd, HrvMethod::Sdnn].map(HrvMethod::name);
    json!({"enum": methods})
}

/// A value of a metric.
fn value_of(metric: Metric) -> Value {
    let (low, high) = metric.range();
    json!({"type": "number", "minimum": low, "maximum": high})
}

/// The schema of one metric's readings.
fn reading(metric: Metric) -> Value {
    let mut properties = json!({
        "metric": {"const": metric.name()},
        "value": value_of(metric),
        "unit": {"const": metric.unit()},
    });
    if metric == Metric::Hrv {
        properties["method"] = methods();
    }
    json!({"properties": properties})
}

fn event() -> Value {
    let contexts = [Context::Sleep, Context::Workout, Context::Daily].map(|context| json!(context));
    let of_reading = json!({
        "type": "object",
        "required": ["metric", "value", "unit", "timestamp"],
        "unevaluatedProperties": false,
        "properties": {
            "timestamp": {"$ref": "#/$defs/time"},
            "confidence": share(0.0),
            "context": {"enum": contexts},
            "label": text(),
            "start": {"$ref": "#/$defs/time"},
            "end": {"$ref": "#/$defs/time"},
            "source": text(),
            "utc_offset": {"type": "string", "pattern": r"^(Z|[+-]\d\d:\d\d)$"},
        },
        "oneOf": Metric::ALL.iter().map(|metric| reading(*metric)).collect::<Vec<_>>(),
    });
    let mut schema = closed(json!({
        "event_id": id(),
        "record_id": text(),
        "version": {"type": "integer"},
        "device_type": device_types(),
        "user_id": id(),
        "timestamp": {"$ref": "#/$defs/time"},
        "received_at": {"$ref": "#/$defs/time"},
        "kind": text(),
        "is_backfill": {"type": "boolean"},
        "deleted": {"type": "boolean"},
        "readings": {"type": "array", "maxItems": 1000, "items": {"$ref": "#/$defs/reading"}},
    }));
    schema["$schema"] = DRAFT.into();
    schema["title"] = actors::event_message::SCHEMA.into();
    schema["description"] = "The value of a message on the topic biometric-events.".into();
    schema["if"] = json!({"properties": {"deleted": {"const": true}}});
    schema["then"] = json!({"properties": {"readings": {"maxItems": 0}}});
    schema["$defs"] = json!({"time": time(), "reading": of_reading});
    schema
}

fn mode_switch() -> Value {
    let of_metric = |metric: &Metric| json!({"properties": {"metric": {"const": metric.name()}, "value": value_of(*metric)}});
    let deciding = DECIDING.map(Metric::name);
    let mut input = closed_but(
        json!({
            "metric": {"enum": deciding},
            "value": {"type": "number"},
            "timestamp": {"$ref": "#/$defs/time"},
            "age_s": {"type": "integer", "minimum": 0},
            "device_type": device_types(),
            "confidence": share(0.0),
            "baseline": {"type": "number"},
        }),
        &["baseline"],
    );
    input["oneOf"] = DECIDING.iter().map(of_metric).collect();
    let nearest = closed(json!({
        "input": {"enum": deciding.into_iter().chain(["local_days"]).collect::<Vec<_>>()},
        "value": {"type": "number"},
        "would_be": modes(),
    }));
    let explanation = closed(json!({
        "rule": {"enum": Rule::ALL.map(Rule::name)},
        "thresholds_hash": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
        "inputs": {"type": "array", "items": {"$ref": "#/$defs/input"}},
        "nearest": or_null(&nearest),
    }));
    let by_rule = |rule: &Rule| {
        let word = json!({"const": rule.name()});
        json!({"properties": {
            "reason": word,
            "rule": word,
            "to_mode": {"const": rule.mode().name()},
            "explanation": {"properties": {"rule": word}},
        }})
    };
    let mut schema = closed(json!({
        "switch_id": uuid_v8(),
        "user_id": id(),
        "from_mode": modes(),
        "to_mode": modes(),
        "reason": {"enum": Rule::ALL.map(Rule::name)},
        "rule": {"enum": Rule::ALL.map(Rule::name)},
        "confidence": share(0.5),
        "timestamp": {"$ref": "#/$defs/time"},
        "event_id": id(),
        "state_seq": {"type": "integer", "minimum": 1},
        "explanation": explanation,
    }));
    schema["$schema"] = DRAFT.into();
    schema["title"] = "A change of a user's mode".into();
    schema["description"] = "The value of a message on the topic neuros-mode-switches.".into();
    schema["oneOf"] = Rule::ALL.iter().map(by_rule).collect();
    schema["$defs"] = json!({"time": time(), "input": input});
    schema
}

/// Members by the metrics' names, of which any may be missing.
fn by_metric(metrics: &[Metric], of: impl Fn(Metric) -> Value) -> Value {
    let properties: serde_json::Map<String, Value> =
        metrics.iter().map(|metric| (metric.name().to_owned(), of(*metric))).collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn held(metric: Metric) -> Value {
    closed(json!({
        "value": value_of(metric),
        "timestamp": {"$ref": "#/$defs/time"},
        "device_type": device_types(),
        "confidence": share(0.0),
    }))
}

fn baseline(metric: Metric) -> Value {
    let mut properties = json!({"value": {"type": "number"}, "samples": {"type": "integer", "minimum": 0}});
    if metric == Metric::Hrv {
        properties["method"] = methods();
    }
    closed_but(properties, &["method"])
}

fn user_state() -> Value {
    let near = closed(json!({
        "event_id": id(),
        "timestamp": {"$ref": "#/$defs/time"},
        "inputs": {
            "type": "array", "minItems": 2, "uniqueItems": true,
            "items": {"enum": DECIDING[..3].iter().map(|metric| metric.name()).collect::<Vec<_>>()},
        },
    }));
    let trigger = closed(json!({
        "type": text(),
        "severity": {"enum": SEVERITIES},
        "metric": {"enum": Metric::ALL.iter().map(|metric| metric.name()).collect::<Vec<_>>()},
        "value": {"type": "number"},
        "recommendation": {"type": "string"},
        "event_id": id(),
        "timestamp": {"$ref": "#/$defs/time"},
    }));
    let maybe_time = or_null(&json!({"$ref": "#/$defs/time"}));
    let mut schema = closed(json!({
        "user_id": id(),
        "mode": or_null(&modes()),
        "confidence": or_null(&share(0.5)),
        "since": maybe_time,
        "reason": {"enum": Rule::ALL.iter().map(|rule| json!(rule)).chain([Value::Null]).collect::<Vec<_>>()},
        "switch_id": or_null(&uuid_v8()),
        "inputs": by_metric(&DECIDING, held),
        "baselines": by_metric(&[Metric::Hrv, Metric::HeartRate, Metric::RecoveryScore], baseline),
        "borderline_triggers": {"type": "array", "items": near},
        "last_trigger": or_null(&trigger),
        "cooldown_until": maybe_time,
        "valid_until": maybe_time,
        "stale": {"type": "boolean"},
        "last_event_id": or_null(&id()),
        "state_seq": {"type": "integer", "minimum": 0},
        "as_of": {"$ref": "#/$defs/time"},
    }));
    schema["$schema"] = DRAFT.into();
    schema["title"] = "A user's state".into();
    schema["description"] =
        "The value of a message on the topic neuros-user-state, and the answer of /v1/users/{id}/state, where a user of \
         whom nothing is known has no mode."
            .into();
    schema["if"] = json!({"properties": {"mode": {"type": "null"}}});
    schema["then"] = json!({"properties": {
        "confidence": {"type": "null"}, "last_event_id": {"type": "null"}, "state_seq": {"const": 0},
    }});
    schema["else"] = json!({"properties": {"confidence": {"type": "number"}}});
    schema["$defs"] = json!({"time": time()});
    schema
}

#[test]
fn the_schema_of_events_is_the_catalogue() {
    hold("schemas/biometric-event.schema.json", &pretty(&event()));
}

#[test]
fn the_schemas_of_modes_are_what_the_types_say() {
    hold("schemas/mode-switch.schema.json", &pretty(&mode_switch()));
    hold("schemas/user-state.schema.json", &pretty(&user_state()));
}

#[test]
fn the_asyncapi_document_has_every_topic() {
    hold("schemas/asyncapi.json", &pretty(&asyncapi::document()));
}
