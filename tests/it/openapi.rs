//! Real answers of every route are what the OpenAPI document says, refusals among them.

use std::collections::BTreeSet;

use actors::vendors::signing;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::answers::{Answer, ago, heart_rate, send};
use crate::bridge::{ADMIN_KEY, API_KEY, Bridge, HEALTHKIT_KEY, OURA_SECRET, OURA_TOKEN, now_ms};
use crate::schemas::{assert_valid, document, schema_at};
use crate::streaming::{EventSource, Socket};

/// A bridge, the document, and what of it has been asked.
struct Reader {
    bridge: Bridge,
    document: Value,
    asked: BTreeSet<(String, String)>,
}

/// A part of a pointer into the document, as a URI has it.
fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1").replace('{', "%7B").replace('}', "%7D")
}

impl Reader {
    async fn start() -> Self {
        let bridge = Bridge::start().await;
        Self { bridge, document: document("openapi.json"), asked: BTreeSet::new() }
    }

    fn request(&self, method: &str, path: &str, key: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let request = self.bridge.request(method, path);
        if key.is_empty() { request } else { request.bearer_auth(key) }
    }

    /// What the document says of a status; panics if it says nothing.
    fn described(&mut self, method: &str, route: &str, status: u16) -> Value {
        self.asked.insert((route.to_owned(), method.to_owned()));
        let response = &self.document["paths"][route][method]["responses"][status.to_string()];
        assert!(response.is_object(), "{method} {route}: {status} is not in the document");
        response.clone()
    }

    /// Holds an answer to the document, and gives its JSON.
    fn hold(&mut self, method: &str, route: &str, status: u16, answer: &Answer) -> Value {
        assert_eq!(answer.status, status, "{method} {route}: {}", answer.text());
        let response = self.described(method, route, status);
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            assert_eq!((header["required"] == true, answer.header(name).is_some()), (true, true), "{name}");
        }
        let Some(content) = response["content"].as_object() else {
            assert!(answer.body.is_empty(), "{method} {route}: {}", answer.text());
            return Value::Null;
        };
        let media = answer.header("content-type").unwrap_or_else(|| panic!("{method} {route}: no type"));
        assert!(content.contains_key(media) || content.contains_key("*/*"), "{method} {route}: {media}");
        if !media.ends_with("json") {
            return Value::Null;
        }
        let (route, media) = (escaped(route), escaped(media));
        let place = format!("openapi.json#/paths/{route}/{method}/responses/{status}/content/{media}/schema");
        assert_valid(&schema_at(&place), &answer.json());
        answer.json()
    }

    /// Asks without a body.
    async fn ask(&mut self, method: &str, route: &str, path: &str, key: &str, status: u16) -> Value {
        let answer = send(self.request(method, path, key)).await;
        self.hold(method, route, status, &answer)
    }

    /// Sends a body.
    async fn tell(
        &mut self,
        method: &str,
        (route, path): (&str, &str),
        key: &str,
        body: &Value,
        status: u16,
    ) -> Value {
        let answer = send(self.request(method, path, key).body(body.to_string())).await;
        self.hold(method, route, status, &answer)
    }

    /// The same by `GET` and `HEAD`, with the right key and, if there is one, without.
    async fn read(&mut self, route: &str, path: &str, key: &str) -> Value {
        self.ask("head", route, path, key, 200).await;
        if !key.is_empty() {
            self.ask("get", route, path, "", 401).await;
            self.ask("head", route, path, "wrong", 401).await;
        }
        self.ask("get", route, path, key, 200).await
    }
}

async fn webhooks(reader: &mut Reader, route: &str) {
    let to = |device: &str| route.replace("{device}", device);
    let healthkit = to("healthkit");
    let place = (route, healthkit.as_str());
    let user = format!("user of {route}").replace(['/', '{', '}', ' '], "-");
    let (good, bad) = (heart_rate(61, &ago(60)), heart_rate(1_000, &ago(60)));
    let body = json!({"user_id": user, "samples": [good, bad]});
    let told = reader.tell("post", place, HEALTHKIT_KEY, &body, 200).await;
    assert_eq!((&told["status"], &told["rejected_total"]), (&json!("processed"), &json!(1)));
    let told = reader.tell("post", place, HEALTHKIT_KEY, &body, 200).await;
    assert_eq!(told["status"], "duplicate");
    let none = json!({"user_id": "u", "samples": []});
    let told = reader.tell("post", place, HEALTHKIT_KEY, &none, 200).await;
    assert_eq!(told["status"], "ignored");
    reader.tell("post", place, HEALTHKIT_KEY, &json!({"samples": [1]}), 400).await;
    reader.tell("post", place, "wrong", &body, 401).await;
    reader.tell("post", (route, &to("nothing")), "", &body, 404).await;
    let request = reader.request("post", &healthkit, HEALTHKIT_KEY).header("Content-Type", "text/plain");
    let answer = send(request.body(body.to_string())).await;
    reader.hold("post", route, 415, &answer);
    let notification = json!({
        "event_type": "update", "data_type": "daily_readiness", "object_id": user, "user_id": "an-account",
        "event_time": ago(60),
    });
    let (text, at) = (notification.to_string(), now_ms() / 1000);
    let signature = signing::oura(OURA_SECRET, at, text.as_bytes());
    let request = reader.request("post", &to("oura"), "").header("x-oura-timestamp", at);
    let answer = send(request.header("x-oura-signature", signature).body(text)).await;
    assert_eq!(reader.hold("post", route, 202, &answer)["status"], "accepted");
    let handshake = format!("{}?verification_token={OURA_TOKEN}&challenge=abc", to("oura"));
    assert_eq!(reader.ask("get", route, &handshake, "", 200).await, json!({"challenge": "abc"}));
    reader.ask("head", route, &handshake, "", 200).await;
    reader.ask("get", route, &to("oura"), "", 401).await;
    reader.ask("get", route, &healthkit, "", 405).await;
    reader.ask("get", route, &to("nothing"), "", 404).await;
}

async fn operators(reader: &mut Reader) {
    for route in ["/", "/health", "/ready", "/metrics", "/actors"] {
        reader.read(route, route, "").await;
    }
    let summary = reader.request("get", "/metrics", "").header("Accept", "application/json");
    let summary = send(summary).await;
    assert!(reader.hold("get", "/metrics", 200, &summary).is_object());
    let script = "/dashboard/{name}";
    reader.read(script, "/dashboard/dashboard.js", "").await;
    reader.ask("get", script, "/dashboard/nothing", "", 404).await;
    for path in ["root", "devices/oura", "users"] {
        reader.read("/actors/{path}", &format!("/actors/{path}"), "").await;
    }
    reader.ask("get", "/actors/{path}", "/actors/nothing", "", 404).await;
}

/// Of a user with a mode, and of one of whom nothing is known.
async fn users(reader: &mut Reader) {
    let routes = [
        ("events", "limit"),
        ("latest", ""),
        ("timeseries", "limit"),
        ("state", ""),
        ("mode-switches", "limit"),
    ];
    for (name, wrong) in routes {
        let route = format!("/v1/users/{{id}}/{name}");
        for user in ["ann", "nobody"] {
            let query = if name == "timeseries" { "?metric=hrv" } else { "" };
            let answer = reader.read(&route, &format!("/v1/users/{user}/{name}{query}"), API_KEY).await;
            let list = ["events", "points", "mode_switches"].iter().find_map(|list| answer[list].as_array());
            assert!(list.is_none_or(|list| list.is_empty() == (user == "nobody")), "{answer}");
        }
        if !wrong.is_empty() {
            reader.ask("get", &route, &format!("/v1/users/ann/{name}?{wrong}=0"), API_KEY, 400).await;
        }
        reader.ask("get", &route, &format!("/v1/users/%20/{name}"), API_KEY, 400).await;
    }
}

async fn streams(reader: &mut Reader) {
    EventSource::open(&reader.bridge, "", "").await;
    let told = reader.described("get", "/v1/stream", 200);
    assert!(told["content"]["text/event-stream"].is_object());
    reader.ask("head", "/v1/stream", "/v1/stream", API_KEY, 200).await;
    let socket = Socket::open(&reader.bridge, "", &[("Authorization", "Bearer test-api-key")]).await;
    assert!(socket.head.starts_with("HTTP/1.1 101 "), "{}", socket.head);
    reader.described("get", "/ws", 101);
    for route in ["/v1/stream", "/ws"] {
        reader.ask("get", route, &format!("{route}?type=all"), API_KEY, 400).await;
        reader.ask("get", route, route, "", 401).await;
    }
}

async fn admin(reader: &mut Reader) {
    let links = "/admin/links";
    reader.read(links, "/admin/links?state=needs_reconnection", ADMIN_KEY).await;
    reader.ask("get", links, links, ADMIN_KEY, 400).await;
    let link = "/admin/links/{vendor}/{vendor_user_id}";
    for account in ["oura/an-account", "healthkit/ann", "healthkit/ann"] {
        let path = format!("{links}/{account}");
        reader.tell("put", (link, &path), ADMIN_KEY, &json!({"user_id": "ann"}), 200).await;
        reader.tell("put", (link, &path), ADMIN_KEY, &json!({"user_id": 7}), 400).await;
        reader.tell("put", (link, &path), API_KEY, &json!({}), 401).await;
    }
    reader.ask("delete", link, "/admin/links/oura/an-account", ADMIN_KEY, 204).await;
    for (path, status) in [("oura/an-account", 404), ("nothing/x", 404), ("oura/%20", 400)] {
        reader.ask("delete", link, &format!("{links}/{path}"), ADMIN_KEY, status).await;
    }
    reader.ask("delete", link, "/admin/links/oura/x", "", 401).await;
    reader.read("/admin/dlq", "/admin/dlq", ADMIN_KEY).await;
    reader.ask("get", "/admin/dlq", "/admin/dlq?limit=0", ADMIN_KEY, 400).await;
    let redrive = ("/admin/dlq/redrive", "/admin/dlq/redrive");
    for (key, body, status) in [
        (ADMIN_KEY, json!({"ids": ["x"]}), 200),
        (ADMIN_KEY, json!({"all": 1}), 400),
        ("", json!({"all": true}), 401),
    ] {
        reader.tell("post", redrive, key, &body, status).await;
    }
    commands(reader).await;
}

async fn commands(reader: &mut Reader) {
    let restart = "/admin/actors/{path}/restart";
    for (path, key, status) in
        [("devices/oura", ADMIN_KEY, 202), ("nothing", ADMIN_KEY, 404), ("devices/oura", API_KEY, 401)]
    {
        reader.ask("post", restart, &format!("/admin/actors/{path}/restart"), key, status).await;
    }
    let fault = "/admin/actors/{path}/fault";
    let panic = json!({"kind": "panic"});
    for (path, key, body, status) in [
        ("devices/whoop", ADMIN_KEY, &panic, 202),
        ("devices", ADMIN_KEY, &panic, 400),
        ("nothing", ADMIN_KEY, &panic, 404),
        ("devices/whoop", ADMIN_KEY, &json!({"kind": "kindness"}), 400),
        ("devices/whoop", "", &panic, 401),
    ] {
        reader.tell("post", (fault, &format!("/admin/actors/{path}/fault")), key, body, status).await;
    }
    let tree = reader.ask("get", "/actors", "/actors", "", 200).await;
    let name = breaker_in(&tree["root"]).expect("a breaker");
    let reset = "/admin/breakers/{name}/reset";
    for (name, key, status) in
        [(name.as_str(), ADMIN_KEY, 202), ("nothing", ADMIN_KEY, 404), ("nothing", "", 401)]
    {
        reader.ask("post", reset, &format!("/admin/breakers/{name}/reset"), key, status).await;
    }
}

fn breaker_in(node: &Value) -> Option<String> {
    let own = node["breaker"]["name"].as_str().map(str::to_owned);
    own.or_else(|| node["children"].as_array()?.iter().find_map(breaker_in))
}

#[actix_web::test]
async fn every_answer_of_every_route_is_what_the_openapi_document_says() {
    let mut reader = Reader::start().await;
    let (at, inject) = (ago(60), "/admin/inject");
    let low = json!({
        "event_id": "once", "device_type": "oura_ring", "user_id": "ann", "timestamp": at,
        "readings": [{
            "metric": "hrv", "value": 20, "unit": "ms", "timestamp": at, "confidence": 0.95, "method": "rmssd",
        }],
    });
    for word in ["processed", "duplicate"] {
        let told = reader.tell("post", (inject, "/admin/inject?wait=applied"), ADMIN_KEY, &low, 200).await;
        assert_eq!((&told["status"], &told["mode"]), (&json!(word), &json!("REFLEX")), "{told}");
    }
    let switches = "/v1/users/ann/mode-switches";
    reader
        .bridge
        .until("switched", async |bridge| bridge.read(switches).await["mode_switches"] != json!([]))
        .await;
    reader.tell("post", (inject, inject), ADMIN_KEY, &json!([]), 200).await;
    reader.tell("post", (inject, inject), ADMIN_KEY, &json!(7), 400).await;
    reader.tell("post", (inject, inject), API_KEY, &low, 401).await;
    webhooks(&mut reader, "/webhook/{device}").await;
    webhooks(&mut reader, "/webhooks/{device}").await;
    operators(&mut reader).await;
    users(&mut reader).await;
    streams(&mut reader).await;
    admin(&mut reader).await;
    let served = reader.read("/openapi.json", "/openapi.json", "").await;
    assert!(served == reader.document, "another document is served");
    // Nothing that the document has was left out.
    let paths = reader.document["paths"].as_object().expect("paths");
    let described = paths.iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().expect("operations").keys();
        methods.map(move |method| (path.clone(), method.clone()))
    });
    assert_eq!(reader.asked, described.collect());
}
