//! The OpenAPI document is made here, from the routes, the kinds of refusals and the schemas of messages.
//!
//! `UPDATE_CATALOGUE=1 cargo test --lib openapi` writes it anew. That real answers are what it says is held by the tests
//! of the program.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its documents fails")]

mod schemas;

use std::collections::{BTreeMap, BTreeSet};

use actors::domain::metric::Metric;
use serde_json::{Map, Value, json};

use super::problem::ErrorType::{self, *};
use super::routes::ROUTES;
use crate::settings::{PAGE_DEFAULT, PAGE_MAX, POINTS_DEFAULT, POINTS_MAX, REDRIVE_RATE_MAX};
use schemas::{closed, documents, list, schemas, text, to};

/// Who may ask.
#[derive(Clone, Copy, PartialEq)]
enum Key {
    None,
    Vendor,
    Reader,
    Admin,
}

/// What one path is asked by one method.
struct Operation {
    methods: &'static [&'static str],
    path: &'static str,
    summary: &'static str,
    key: Key,
    query: Vec<(&'static str, bool, Value)>,
    body: Option<Value>,
    /// Status, media type (none for no body) and schema.
    answers: Vec<(u16, &'static str, Value)>,
    refusals: Vec<ErrorType>,
}

const JSON: &str = "application/json";
const READ: &[&str] = &["get", "head"];

fn operation(methods: &'static [&'static str], path: &'static str, summary: &'static str) -> Operation {
    let (query, answers, refusals) = (Vec::new(), Vec::new(), vec![InternalError]);
    Operation { methods, path, summary, key: Key::None, query, body: None, answers, refusals }
}

impl Operation {
    fn answers(mut self, status: u16, media: &'static str, schema: Value) -> Self {
        self.answers.push((status, media, schema));
        self
    }

    fn key(mut self, key: Key) -> Self {
        self.key = key;
        if key != Key::None {
            self.refusals.push(AuthenticationError);
        }
        self
    }

    fn refuses(mut self, kinds: &[ErrorType]) -> Self {
        self.refusals.extend(kinds);
        self
    }

    fn query(mut self, name: &'static str, is_required: bool, schema: Value) -> Self {
        self.query.push((name, is_required, schema));
        self
    }

    /// A JSON body of this form, read under the limits of all bodies.
    fn body(mut self, schema: Value) -> Self {
        self.body = Some(schema);
        self.refuses(&[ValidationError, PayloadTooLarge, RequestTimeout, BackPressure])
    }

    fn pages(self) -> Self {
        let limit = json!({"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT});
        self.query("limit", false, limit).query("cursor", false, text())
    }

    fn within(self) -> Self {
        let moment = || json!({"type": "string", "format": "date-time"});
        self.query("from", false, moment()).query("to", false, moment())
    }

    fn to_json(&self, method: &str) -> Value {
        let names = self.path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
        let in_path =
            names.map(|(name, _)| json!({"name": name, "in": "path", "required": true, "schema": text()}));
        let in_query = self.query.iter().map(|(name, is_required, schema)| {
            json!({"name": name, "in": "query", "required": is_required, "schema": schema})
        });
        let mut operation = json!({
            "summary": self.summary,
            "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
            "responses": self.responses(method == "head"),
            "security": match self.key {
                Key::None => json!([]),
                Key::Vendor => json!([{}, {"healthkit": []}]),
                Key::Reader => json!([{"reader": []}, {"admin": []}]),
                Key::Admin => json!([{"admin": []}]),
            },
        });
        if let Some(body) = &self.body {
            operation["requestBody"] = json!({"content": {JSON: {"schema": body}}});
        }
        operation
    }

    fn responses(&self, is_head: bool) -> Value {
        let mut responses: BTreeMap<String, Value> = BTreeMap::new();
        for (status, media, schema) in &self.answers {
            let response =
                responses.entry(status.to_string()).or_insert_with(|| json!({"description": "Done."}));
            if !media.is_empty() && !is_head {
                response["content"][media] = json!({"schema": schema});
            }
        }
        let statuses: BTreeSet<u16> = self.refusals.iter().map(|kind| kind.status().as_u16()).collect();
        for status in statuses {
            let kinds = self.refusals.iter().filter(|kind| kind.status().as_u16() == status);
            let words: BTreeSet<&str> = kinds.map(|kind| kind.name()).collect();
            let response =
                responses.entry(status.to_string()).or_insert_with(|| json!({"description": "Refused."}));
            if !is_head {
                let these =
                    json!({"allOf": [to("Problem"), {"properties": {"error_type": {"enum": words}}}]});
                response["content"]["application/problem+json"] = json!({"schema": these});
            }
            let header = match status {
                401 => "WWW-Authenticate",
                405 => "Allow",
                503 => "Retry-After",
                _ => continue,
            };
            response["headers"] = json!({header: {"required": true, "schema": text()}});
        }
        json!(responses)
    }
}

fn webhooks(path: &'static str) -> [Operation; 2] {
    let any = json!({"description": "As the vendor sends it; with Content-Encoding: gzip if it likes."});
    let mut delivery = operation(&["post"], path, "Takes a vendor's delivery, signed as the vendor signs.")
        .key(Key::Vendor)
        .body(any)
        .query("user_id", false, text())
        .answers(200, JSON, to("Delivered"))
        .answers(202, JSON, to("Notified"));
    delivery = delivery.refuses(&[
        NotFound,
        DeviceDisabled,
        UnsupportedMediaType,
        StoreUnavailable,
        ProcessingError,
    ]);
    let handshake = operation(READ, path, "The vendor's handshake, where it has one.")
        .key(Key::None)
        .answers(200, JSON, json!({"type": "object"}))
        .refuses(&[AuthenticationError, NotFound, DeviceDisabled, MethodNotAllowed, BackPressure]);
    [delivery, handshake]
}

fn operators() -> Vec<Operation> {
    let ready = closed(json!({"status": {"const": "ready"}}), &[]);
    let not_ready = closed(json!({"status": {"const": "not_ready"}, "reasons": list(text())}), &[]);
    vec![
        operation(READ, "/", "The dashboard.").answers(200, "text/html; charset=utf-8", text()),
        operation(READ, "/dashboard/{name}", "What the dashboard loads.")
            .answers(200, "*/*", json!(true))
            .refuses(&[NotFound]),
        operation(READ, "/openapi.json", "This document.").answers(200, JSON, json!({"type": "object"})),
        operation(READ, "/health", "200 while the process lives.").answers(200, JSON, to("Health")),
        operation(READ, "/ready", "Whether deliveries can be taken in now.")
            .answers(200, JSON, ready)
            .answers(503, JSON, not_ready),
        operation(READ, "/metrics", "For Prometheus; a summary for Accept: application/json.")
            .answers(200, "text/plain; version=0.0.4; charset=utf-8", text())
            .answers(200, JSON, to("Summary")),
        operation(READ, "/actors", "The supervision tree.").answers(
            200,
            JSON,
            closed(json!({"root": to("Node")}), &[]),
        ),
        operation(READ, "/actors/{path}", "One node of it, by its path with slashes.")
            .answers(200, JSON, to("OneNode"))
            .refuses(&[NotFound]),
    ]
}

fn readers() -> Vec<Operation> {
    let of_user = |path, summary, answer: &str| {
        let operation = operation(READ, path, summary).key(Key::Reader).answers(200, JSON, to(answer));
        operation.refuses(&[ValidationError, StoreUnavailable])
    };
    let metrics: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    let points = json!({"type": "integer", "minimum": 1, "maximum": POINTS_MAX, "default": POINTS_DEFAULT});
    let kinds = json!({"enum": ["event", "mode_switch"]});
    let following = |operation: Operation| {
        let operation =
            operation.key(Key::Reader).query("user_id", false, text()).query("type", false, kinds.clone());
        let operation = operation.query("last_event_id", false, text());
        operation.refuses(&[ValidationError, BackPressure, StoreUnavailable])
    };
    vec![
        of_user("/v1/users/{id}/events", "The newest version of each record, by time.", "Events")
            .within()
            .query("device", false, text())
            .query("metric", false, json!({"enum": metrics}))
            .query("kind", false, text())
            .pages(),
        of_user("/v1/users/{id}/latest", "The newest reading of each metric.", "Latest"),
        of_user("/v1/users/{id}/timeseries", "One metric's readings, each or by hour or day.", "Timeseries")
            .query("metric", true, json!({"enum": metrics}))
            .query("method", false, json!({"enum": ["rmssd", "sdnn"]}))
            .within()
            .query("bucket", false, json!({"enum": ["raw", "1h", "1d"], "default": "raw"}))
            .query(
                "agg",
                false,
                json!({"enum": ["mean", "min", "max", "sum", "count", "last"], "default": "mean"}),
            )
            .query("limit", false, points)
            .query("cursor", false, text()),
        of_user("/v1/users/{id}/state", "The user's mode, and what it rests on.", "State"),
        of_user(
            "/v1/users/{id}/mode-switches",
            "The changes of the user's mode, newest first.",
            "ModeSwitches",
        )
        .pages(),
        following(operation(
            READ,
            "/v1/stream",
            "What comes onto the log, as server-sent events: see asyncapi.json.",
        ))
        .answers(200, "text/event-stream", text()),
        following(operation(&["get"], "/ws", "The same by WebSocket; the key may be its second protocol."))
            .answers(101, "", json!(true)),
    ]
}

fn links() -> [Operation; 3] {
    let body = json!({"type": "object", "properties": {
        "user_id": text(), "timezone": text(), "access_token": text(), "refresh_token": text(),
        "expires_at": {"type": "string", "format": "date-time"}, "rotate": {"type": "boolean"},
    }});
    const PATH: &str = "/admin/links/{vendor}/{vendor_user_id}";
    [
        operation(READ, "/admin/links", "The accounts that must be connected again.")
            .key(Key::Admin)
            .query("state", true, json!({"const": "needs_reconnection"}))
            .pages()
            .answers(200, JSON, to("Links"))
            .refuses(&[ValidationError, StoreUnavailable]),
        operation(&["put"], PATH, "Says whose an account is. At HealthKit makes a key.")
            .key(Key::Admin)
            .body(body)
            .answers(200, JSON, to("Linked"))
            .refuses(&[NotFound, StoreUnavailable]),
        operation(&["delete"], PATH, "Forgets it.").key(Key::Admin).answers(204, "", json!(true)).refuses(&[
            ValidationError,
            NotFound,
            BackPressure,
            StoreUnavailable,
        ]),
    ]
}

fn admin() -> Vec<Operation> {
    let command = |path, summary| {
        operation(&["post"], path, summary)
            .key(Key::Admin)
            .answers(202, JSON, to("Accepted"))
            .refuses(&[NotFound])
    };
    let redrive = json!({"oneOf": [
        closed(json!({"ids": {"type": "array", "maxItems": PAGE_MAX, "items": text()}}), &[]),
        closed(json!({
            "all": {"const": true}, "rate": {"type": "integer", "minimum": 1, "maximum": REDRIVE_RATE_MAX},
        }), &["rate"]),
    ]});
    let events = json!({
        "description": "One event or a list of them as on the topic; event_id and received_at may be missing.",
        "type": ["object", "array"],
    });
    vec![
        operation(READ, "/admin/dlq", "What was set aside, newest first.")
            .key(Key::Admin)
            .pages()
            .answers(200, JSON, to("DeadLetters"))
            .refuses(&[ValidationError, StoreUnavailable]),
        operation(&["post"], "/admin/dlq/redrive", "Puts it on its way again.")
            .key(Key::Admin)
            .body(redrive)
            .answers(200, JSON, to("Redriven"))
            .refuses(&[StoreUnavailable]),
        operation(&["post"], "/admin/inject", "Takes events by hand, with ENABLE_INJECTION.")
            .key(Key::Admin)
            .query("wait", false, json!({"const": "applied"}))
            .query("to", false, json!({"const": "user_state"}))
            .body(events)
            .answers(200, JSON, to("Injected"))
            .refuses(&[NotFound, UnsupportedMediaType, StoreUnavailable, ProcessingError]),
        command("/admin/actors/{path}/restart", "Gives an actor, or each of a group, another life.")
            .refuses(&[ValidationError, Conflict]),
        command("/admin/actors/{path}/fault", "Hurts an actor at its next message, with ENABLE_INJECTION.")
            .body(closed(json!({"kind": {"enum": ["panic", "hang", "stop", "block"]}}), &[]))
            .refuses(&[Conflict]),
        command("/admin/breakers/{name}/reset", "Closes a circuit breaker."),
    ]
}

fn operations() -> Vec<Operation> {
    let doors = ["/webhook/{device}", "/webhooks/{device}"].into_iter().flat_map(webhooks);
    doors.chain(operators()).chain(readers()).chain(links()).chain(admin()).collect()
}

fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations() {
        for method in operation.methods {
            let path = paths.entry(operation.path).or_default();
            let twice = path.insert((*method).to_owned(), operation.to_json(method));
            assert!(twice.is_none(), "{method} {} twice", operation.path);
        }
    }
    let bearer = |description: &str| json!({"type": "http", "scheme": "bearer", "description": description});
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Biometric Bridge",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Any other method on a path is answered 405 method_not_allowed, any other path 404 not_found. \
                            X-Request-ID is kept when it can be, and is in every answer. What is on the log and in the \
                            streams is told by asyncapi.json.",
        },
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": schemas(), "securitySchemes": {
            "reader": bearer("API_KEY"),
            "admin": bearer("ADMIN_API_KEY"),
            "healthkit": bearer("HEALTHKIT_API_KEY, or a key that is bound to a user. Other vendors sign."),
        }},
    })
}

#[test]
fn the_openapi_document_is_what_the_code_says() {
    let (path, wanted) = (documents().join("openapi.json"), document());
    let wanted = format!("{}\n", serde_json::to_string_pretty(&wanted).unwrap());
    if std::env::var_os("UPDATE_CATALOGUE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        wanted,
        "see the head of this file for how to write it anew"
    );
}

#[test]
fn every_route_is_in_the_openapi_document_and_nothing_else_is() {
    let document = document();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, operations)| {
            operations.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase()))
        })
        .collect();
    // The redirect from BASE_PATH without its slash has no path of its own.
    let routes = ROUTES.iter().filter(|route| !route.path.is_empty());
    let served = routes.flat_map(|route| {
        let path = route.path.replace(":.*}", "}");
        route.methods.split(", ").map(move |method| (path.clone(), method.to_owned()))
    });
    assert_eq!(described, served.collect());
}
