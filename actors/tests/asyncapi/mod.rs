//! The AsyncAPI document: the log's topics, and the streams over HTTP.

use actors::domain::message::{TERRA_SOURCE, Topic};
use actors::event_message::SCHEMA;
use actors::ports::follow::FOLLOWED;
use serde_json::{Value, json};

use crate::{closed, closed_but, device_types, id};

/// A value that is told by a file beside the document.
fn file(name: &str) -> Value {
    json!({
        "schemaFormat": "application/schema+json;version=draft-2020-12",
        "schema": {"$ref": format!("{name}.schema.json")},
    })
}

/// A message of the log under its key, the user's id. `headers` have all values as text.
fn message(title: &str, payload: Value, headers: Value) -> Value {
    json!({
        "title": title,
        "contentType": "application/json",
        "headers": headers,
        "payload": payload,
        "bindings": {"kafka": {"key": id(), "bindingVersion": "0.5.0"}},
    })
}

fn event_headers(is_terras: bool) -> Value {
    let mut properties = json!({
        "priority": {"enum": ["HIGH", "MEDIUM", "NORMAL"]},
        "user_id": id(),
        "device_type": device_types(),
        "triggers": {
            "description": "Empty, or JSON: {\"triggers\":[{\"type\",\"severity\",\"metric\",\"value\",\"recommendation\"}]}.",
            "type": "string", "pattern": "^(\\{\"triggers\":\\[\\{.+\\}\\]\\})?$",
        },
        "event_id": id(),
        "record_id": {"type": "string", "minLength": 1},
        "version": {"type": "string", "pattern": "^-?\\d+$"},
        "request_id": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "schema": {"const": SCHEMA},
        "source": {"const": TERRA_SOURCE.1},
    });
    if !is_terras {
        let mut headers = closed_but(properties, &["source"]);
        headers["if"] = json!({"properties": {"device_type": {"const": "terra"}}});
        headers["then"] = json!({
            "required": [TERRA_SOURCE.0], "properties": {"priority": {"enum": ["HIGH", "MEDIUM"]}},
        });
        headers["else"] = json!({"not": {"required": [TERRA_SOURCE.0]}});
        return headers;
    }
    properties["device_type"] = json!({"const": "terra"});
    properties["priority"] = json!({"enum": ["HIGH", "MEDIUM"]});
    closed(properties)
}

fn no_headers() -> Value {
    json!({"type": "object", "additionalProperties": false})
}

/// Of a message that was set aside: its own headers, and why it was.
fn reasons() -> Value {
    let topics: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    let mut headers = closed(json!({
        "original_topic": {"enum": topics},
        "error_message": {"type": "string", "minLength": 1},
        "error_type": {"enum": ["processing_error", "validation_error"]},
        "failed_at": {"type": "string", "format": "date-time"},
        "retry_count": {"type": "string", "pattern": "^\\d+$"},
    }));
    headers["additionalProperties"] = json!({"type": "string"});
    headers
}

/// A topic's message by its name in the document.
fn name_of(topic: Topic) -> &'static str {
    match topic {
        Topic::BiometricEvents => "event",
        Topic::DeadLetters => "dead_letter",
        Topic::ModeSwitches => "mode_switch",
        Topic::UserState => "user_state",
        Topic::TerraEvents => "terra_event",
    }
}

fn message_of(topic: Topic) -> Value {
    match topic {
        Topic::BiometricEvents => {
            message("What a wearable told of a user", file("biometric-event"), event_headers(false))
        }
        Topic::TerraEvents => message(
            "An event that came through Terra, once more",
            file("biometric-event"),
            event_headers(true),
        ),
        Topic::ModeSwitches => message("A change of a user's mode", file("mode-switch"), no_headers()),
        Topic::UserState => message("A user's newest state", file("user-state"), no_headers()),
        Topic::DeadLetters => {
            let mut message = message("A message that was set aside, as it was", json!(true), reasons());
            // Whoever wrote what cannot be read may have given it any key.
            message["bindings"]["kafka"]["key"] = json!({"type": "string"});
            message
        }
    }
}

fn summary_of(topic: Topic) -> &'static str {
    match topic {
        Topic::BiometricEvents => {
            "Every event of every user, in order of a user. Messages without the header `schema` are not ours."
        }
        Topic::TerraEvents => "Copies of Terra's events, which are on biometric-events like all others.",
        Topic::ModeSwitches => "Every change of a user's mode.",
        Topic::UserState => "The newest state of each user; state_seq only grows.",
        Topic::DeadLetters => {
            "Messages that could not be delivered or applied, with the reason in their headers."
        }
    }
}

fn channel_of(topic: Topic) -> Value {
    let name = name_of(topic);
    let mut binding = json!({"topic": topic.name(), "bindingVersion": "0.5.0"});
    if topic == Topic::UserState {
        binding["topicConfiguration"] = json!({"cleanup.policy": ["compact"]});
    }
    json!({
        "address": topic.name(),
        "summary": summary_of(topic),
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {name: {"$ref": format!("#/components/messages/{name}")}},
        "bindings": {"kafka": binding},
    })
}

/// `topic:partition:offset`
fn message_id(topic: Topic) -> Value {
    json!({"type": "string", "pattern": format!("^{}:\\d+:\\d+$", topic.name())})
}

/// A message as a server-sent event: its `data` is the payload, its other fields are the headers.
fn sse(topic: Topic) -> Value {
    let fields = closed(json!({"id": message_id(topic), "event": {"const": name_of(topic)}}));
    json!({
        "title": format!("A message of {}", topic.name()),
        "contentType": "application/json",
        "headers": fields,
        "payload": message_of(topic)["payload"],
    })
}

/// A message as a WebSocket's text.
fn ws(topic: Topic) -> Value {
    let data = message_of(topic)["payload"]["schema"].clone();
    let text = closed(json!({"id": message_id(topic), "type": {"const": name_of(topic)}, "data": data}));
    json!({
        "title": format!("A message of {}", topic.name()),
        "contentType": "application/json",
        "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": text},
    })
}

/// Messages under their names, each with `prefix`.
fn named(prefix: &str, gap: Value, of: impl Fn(Topic) -> Value) -> Vec<(String, Value)> {
    let messages = FOLLOWED.map(|topic| (format!("{prefix}_{}", name_of(topic)), of(topic)));
    messages.into_iter().chain([(format!("{prefix}_gap"), gap)]).collect()
}

fn stream_messages() -> Vec<(String, Value)> {
    let title = "The id that the reader came back with is no longer there: all that is follows";
    let sse_gap = json!({
        "title": title, "contentType": "application/json",
        "headers": closed(json!({"event": {"const": "gap"}})), "payload": closed(json!({})),
    });
    let ws_gap = json!({
        "title": title, "contentType": "application/json", "payload": closed(json!({"type": {"const": "gap"}})),
    });
    named("sse", sse_gap, sse).into_iter().chain(named("ws", ws_gap, ws)).collect()
}

fn stream_channel(address: &str, prefix: &str, summary: &str) -> Value {
    let references =
        stream_messages().into_iter().map(|(name, _)| name).filter(|name| name.starts_with(prefix));
    let references: serde_json::Map<String, Value> = references
        .map(|name| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")})))
        .collect();
    json!({
        "address": address, "summary": summary,
        "servers": [{"$ref": "#/servers/bridge"}], "messages": references,
    })
}

/// What a reader of a stream may ask for.
fn query() -> Value {
    let types: Vec<&str> = FOLLOWED.map(name_of).to_vec();
    json!({
        "type": "object",
        "properties": {
            "user_id": id(),
            "type": {"enum": types},
            "last_event_id": {
                "description": "As the header Last-Event-ID: the last id, or the last of each partition, separated by commas.",
                "type": "string",
            },
        },
    })
}

fn operation(action: &str, channel: &str, summary: &str) -> Value {
    json!({"action": action, "channel": {"$ref": format!("#/channels/{channel}")}, "summary": summary})
}

fn operations() -> Value {
    let mut operations = serde_json::Map::new();
    for topic in Topic::ALL {
        let channel = topic.name().replace('.', "-");
        operations.insert(format!("send_{}", name_of(topic)), operation("send", &channel, summary_of(topic)));
    }
    let folding = "The bridges, as one group of consumers, fold each event into its user's state.";
    operations
        .insert("receive_event".to_owned(), operation("receive", Topic::BiometricEvents.name(), folding));
    let security = json!([{"$ref": "#/components/securitySchemes/reader"}]);
    for (name, protocol) in [("stream", "http"), ("ws", "ws")] {
        let mut streaming =
            operation("send", name, "What comes onto the log, as it comes, of all users or of one.");
        streaming["security"] = security.clone();
        let version = if protocol == "http" { "0.3.0" } else { "0.1.0" };
        streaming["bindings"] = json!({protocol: {"bindingVersion": version}});
        if protocol == "http" {
            streaming["bindings"][protocol]["method"] = "GET".into();
            streaming["bindings"][protocol]["query"] = query();
        }
        operations.insert(format!("send_{name}"), streaming);
    }
    operations.into()
}

pub(crate) fn document() -> Value {
    let mut channels: serde_json::Map<String, Value> =
        Topic::ALL.iter().map(|topic| (topic.name().replace('.', "-"), channel_of(*topic))).collect();
    channels.insert("stream".into(), stream_channel("/v1/stream", "sse", "Server-sent events."));
    let mut ws = stream_channel("/ws", "ws", "The same by WebSocket. What a client sends is not read.");
    ws["bindings"] = json!({"ws": {"method": "GET", "query": query(), "bindingVersion": "0.1.0"}});
    channels.insert("ws".into(), ws);
    let messages = Topic::ALL.iter().map(|topic| (name_of(*topic).to_owned(), message_of(*topic)));
    let messages: serde_json::Map<String, Value> = messages.chain(stream_messages()).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Biometric Bridge",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What comes out of the bridge: the topics of the event log, on Kafka or embedded, and the \
                            streams over HTTP. Payloads are JSON Schemas of draft 2020-12 in files beside this one.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{brokers}", "protocol": "kafka",
                "description": "KAFKA_BOOTSTRAP_SERVERS. Without it the log is embedded, and read by `log read`.",
                "variables": {"brokers": {"default": "localhost:9092"}},
            },
            "bridge": {
                "host": "{address}", "protocol": "http",
                "variables": {"address": {"default": "127.0.0.1:8889"}},
            },
        },
        "channels": channels,
        "operations": operations(),
        "components": {
            "messages": messages,
            "securitySchemes": {"reader": {
                "type": "http", "scheme": "bearer",
                "description": "API_KEY, or ADMIN_API_KEY. A WebSocket may give it as its second protocol: bearer, <key>.",
            }},
        },
    })
}
