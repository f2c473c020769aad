//! What bodies and answers look like.

use std::path::{Path, PathBuf};

use actors::cognition::mode::Mode;
use actors::domain::event::{DeviceType, HrvMethod};
use actors::domain::metric::Metric;
use serde_json::{Map, Value, json};

use crate::http::problem::ErrorType;

pub(super) fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas")
}

/// A schema of messages, as a part of the document.
fn of_file(file: &str, name: &str) -> Value {
    let text = std::fs::read_to_string(documents().join(file)).unwrap();
    let text = text.replace("\"#/$defs/", &format!("\"#/components/schemas/{name}/$defs/"));
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    schema.as_object_mut().unwrap().remove("$schema");
    schema
}

pub(super) fn to(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// An object with these members and no others, each of which is there but the optional ones.
pub(super) fn closed(properties: Value, optional: &[&str]) -> Value {
    let names = properties.as_object().unwrap().keys();
    let required: Vec<&String> = names.filter(|name| !optional.contains(&name.as_str())).collect();
    json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties})
}

pub(super) fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn or_null(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

pub(super) fn text() -> Value {
    json!({"type": "string"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn time() -> Value {
    to("Event/$defs/time")
}

fn page(name: &str, items: Value) -> Value {
    closed(json!({name: list(items), "next_cursor": or_null(text())}), &[])
}

fn problem() -> Value {
    let kinds = ErrorType::ALL.map(|kind| {
        json!({"properties": {
            "type": {"const": format!("urn:biometric-bridge:{}", kind.name())},
            "title": {"const": kind.title()},
            "status": {"const": kind.status().as_u16()},
            "error_type": {"const": kind.name()},
        }})
    });
    let words = ErrorType::ALL.map(ErrorType::name);
    let mut problem = closed(
        json!({
            "type": text(), "title": text(), "status": {"type": "integer"},
            "detail": {"type": "string", "minLength": 1}, "error_type": {"enum": words}, "request_id": to("RequestId"),
        }),
        &[],
    );
    problem["oneOf"] = kinds.to_vec().into();
    problem
}

/// What deliveries and injected events are answered, with these members besides.
fn delivery(words: &[&str], more: Value, optional: &[&str]) -> Value {
    let mut properties = json!({
        "status": {"enum": words}, "device": text(), "events": count(), "readings": count(),
        "rejected": {"type": "array", "maxItems": 100, "items": to("Rejected")},
        "rejected_total": count(), "request_id": to("RequestId"), "reason": text(),
    });
    properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut schema = closed(properties, &[&["reason"], optional].concat());
    schema["if"] = json!({"properties": {"status": {"const": "ignored"}}});
    schema["then"] = json!({"required": ["reason"]});
    schema["else"] = json!({"not": {"required": ["reason"]}});
    schema
}

fn schemas_of_operators() -> Value {
    let state = json!({"enum": ["starting", "running", "restarting", "stopped", "failed"]});
    let failure = closed(json!({"at": text(), "reason": text()}), &[]);
    let breaker = closed(
        json!({"name": text(), "state": {"enum": ["closed", "open", "half_open"]}, "retry_in_ms": count()}),
        &[],
    );
    let node = json!({
        "path": text(), "kind": text(), "state": state, "restarts": count(), "last_failure": or_null(failure),
        "mailbox": closed(json!({"depth": count(), "capacity": count()}), &[]), "handled": count(),
        "oldest_ms": count(), "breaker": or_null(breaker), "live": count(), "children": list(to("Node")),
    });
    let mut one_node = node.clone();
    one_node["post_mortems"] = list(to("PostMortem"));
    let up = json!({"type": "boolean"});
    let dependency = closed(
        json!({
            "kind": text(), "state": {"enum": ["up", "down"]}, "latency_ms": {"type": "number"},
            "detail": or_null(text()),
        }),
        &[],
    );
    let refusal = closed(json!({"at": time(), "line": or_null(count()), "detail": text()}), &[]);
    let thresholds = closed(
        json!({"thresholds_hash": text(), "loaded_at": time(), "last_refusal": or_null(refusal)}),
        &[],
    );
    json!({
        "Node": closed(node, &["live"]),
        "OneNode": closed(one_node, &["live"]),
        "PostMortem": closed(json!({
            "path": text(), "kind": text(), "at": text(), "reason": text(), "lived_ms": count(),
            "cause": {"enum": ["panic", "answer_dropped", "hang", "stop", "cut", "request"]},
            "in_hand": list(text()), "waiting": count(), "restarts": count(),
            "sequel": {"enum": ["restart", "recovery", "end", "failure"]},
        }), &[]),
        "Health": closed(json!({
            "status": {"enum": ["healthy", "degraded"]}, "service": text(), "version": text(),
            "uptime_seconds": count(),
            "connections": closed(json!({"postgres": up, "redis": up, "kafka": up}), &[]),
            "dependencies": closed(json!({"store": dependency, "event_log": dependency, "cache": dependency}), &[]),
            "thresholds": thresholds, "warnings": list(text()),
        }), &[]),
        "Summary": closed(json!({
            "processed_webhooks_total": count(), "circuit_breaker_openings": count(), "kafka_events_sent": count(),
            "average_processing_time": {"type": "number"}, "active_connections": {"type": "integer"},
            "error_rate": {"type": "number"},
        }), &[]),
        "Accepted": closed(json!({"status": {"const": "accepted"}, "request_id": to("RequestId")}), &[]),
    })
}

fn schemas_of_readers() -> Value {
    let metrics: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    let methods = [HrvMethod::Rmssd, HrvMethod::Sdnn].map(HrvMethod::name);
    let latest = closed(
        json!({
            "value": {"type": "number"}, "unit": text(), "timestamp": time(),
            "device_type": {"enum": DeviceType::ALL.map(DeviceType::name)},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1}, "method": {"enum": methods},
        }),
        &["method"],
    );
    // Events of the read API have their headers beside what is on the topic.
    let mut listed = of_file("biometric-event.schema.json", "Event");
    listed.as_object_mut().unwrap().remove("$defs");
    listed["properties"]["headers"] = json!({"type": "object", "additionalProperties": text()});
    listed["required"].as_array_mut().unwrap().push("headers".into());
    listed["title"] = "An event with its headers as sent".into();
    listed.as_object_mut().unwrap().remove("description");
    let readings =
        json!({"type": "object", "propertyNames": {"enum": metrics}, "additionalProperties": latest});
    let point =
        closed(json!({"t": time(), "v": {"type": "number"}, "n": {"type": "integer", "minimum": 1}}), &[]);
    json!({
        "Event": of_file("biometric-event.schema.json", "Event"),
        "ListedEvent": listed,
        "ModeSwitch": of_file("mode-switch.schema.json", "ModeSwitch"),
        "State": of_file("user-state.schema.json", "State"),
        "Events": page("events", to("ListedEvent")),
        "ModeSwitches": page("mode_switches", to("ModeSwitch")),
        "Latest": closed(json!({"user_id": text(), "readings": readings}), &[]),
        "Timeseries": closed(json!({
            "metric": {"enum": metrics}, "unit": text(), "points": list(point), "next_cursor": or_null(text()),
        }), &[]),
    })
}

fn schemas_of_deliveries_and_admin() -> Value {
    let link = json!({"vendor": text(), "vendor_user_id": text(), "user_id": text()});
    let (mut linked, mut to_reconnect) = (link.clone(), link);
    linked["moved_events"] = count();
    linked["key"] = or_null(text());
    to_reconnect["state"] = json!({"const": "needs_reconnection"});
    let dead = closed(
        json!({
            "id": text(), "topic": text(), "error_type": text(), "error_message": text(), "failed_at": time(),
            "retry_count": count(), "user": {"type": "string", "pattern": "^([0-9a-f]{8}|unknown)$"},
        }),
        &[],
    );
    let mode = or_null(json!({"enum": Mode::ALL.map(Mode::name)}));
    json!({
        "RequestId": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "Problem": problem(),
        "Rejected": closed(json!({
            "index": count(), "path": {"type": "string", "pattern": "^(/.*)?$"},
            "error_type": {"enum": ErrorType::ALL.map(ErrorType::name)}, "detail": text(),
        }), &[]),
        "Delivered": delivery(&["processed", "duplicate", "ignored"], json!({}), &[]),
        "Notified": delivery(&["accepted"], json!({}), &[]),
        "Injected": delivery(
            &["processed", "duplicate", "ignored"], json!({"event_ids": list(text()), "mode": mode}), &["mode"],
        ),
        "Linked": closed(linked, &["key"]),
        "Links": page("links", closed(to_reconnect, &[])),
        "DeadLetters": page("items", dead),
        "Redriven": closed(json!({"redriven": count(), "failed": count()}), &[]),
    })
}

pub(super) fn schemas() -> Map<String, Value> {
    let parts = [schemas_of_operators(), schemas_of_readers(), schemas_of_deliveries_and_admin()];
    parts.into_iter().flat_map(|part| part.as_object().unwrap().clone()).collect()
}
