//! What operators and orchestrators ask.

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::answers::{heart_rate, listed, refused, send};
use crate::bridge::Bridge;

/// The first 8 hex digits of HMAC-SHA256(`LOG_MASK_KEY`, id), worked out beside the product.
pub(crate) fn mask(id: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"test-mask-key").expect("HMAC takes keys of every length");
    mac.update(id.as_bytes());
    hex::encode(mac.finalize().into_bytes())[..8].to_owned()
}

#[actix_web::test]
async fn health_says_what_the_bridge_stands_on() {
    let bridge = Bridge::start_with(&[("SERVICE_NAME", "my bridge")]).await;
    let answer = send(bridge.request(Method::GET, "/health")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let health = answer.json();
    assert_eq!((&health["status"], &health["service"]), (&json!("healthy"), &json!("my bridge")));
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        health["uptime_seconds"].as_f64().is_some_and(|seconds| (0.0..60.0).contains(&seconds)),
        "{health}"
    );
    assert_eq!(health["connections"], json!({"postgres": true, "redis": true, "kafka": true}));
    let dependencies = health["dependencies"].as_object().expect("an object");
    assert!(!dependencies.is_empty());
    for (name, dependency) in dependencies {
        let members: Vec<&str> =
            dependency.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(members, ["detail", "kind", "latency_ms", "state"], "{name}");
    }
    let thresholds = &health["thresholds"];
    assert!(thresholds["thresholds_hash"].as_str().is_some_and(|hash| !hash.is_empty()), "{health}");
    assert!(thresholds["loaded_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{health}");
    assert_eq!(thresholds.get("last_refusal"), Some(&Value::Null));
}

#[actix_web::test]
async fn health_names_what_an_operator_should_set() {
    for (variable, device) in [
        ("OURA_WEBHOOK_SECRET", "oura"),
        ("WHOOP_WEBHOOK_SECRET", "whoop"),
        ("API_KEY", "read"),
        ("ADMIN_API_KEY", "admin"),
    ] {
        let bridge = Bridge::start_with(&[(variable, "")]).await;
        let answer = send(bridge.request(Method::GET, "/health")).await;
        assert_eq!(answer.status, 200, "{device}");
        assert!(answer.text().contains(variable), "{variable}: {}", answer.text());
        // What is not set is no reason to take nothing in.
        assert_eq!(bridge.get("/ready").await.status(), 200, "{device}");
    }
}

#[actix_web::test]
async fn a_ready_bridge_says_so() {
    let bridge = Bridge::start().await;
    let answer = send(bridge.request(Method::GET, "/ready")).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"status": "ready"})));
    assert_eq!(send(bridge.request(Method::HEAD, "/ready")).await.status, 200);
}

#[actix_web::test]
async fn the_tree_shows_every_actor_by_its_path() {
    let bridge = Bridge::start().await;
    let (_, answer) = bridge
        .healthkit(&json!({"user_id": "user-1", "samples": [heart_rate(61, "2026-09-10T06:42:11Z")]}))
        .await;
    assert_eq!(answer["events"], 1);
    let mask = format!("users/{}", mask("user-1"));
    bridge.until("active", async |bridge| bridge.get(&format!("/actors/{mask}")).await.status() == 200).await;

    let tree: Value = bridge.get("/actors").await.json().await.expect("JSON");
    let mut nodes = Vec::new();
    walk(&tree["root"], &mut nodes);
    let paths: Vec<&str> = nodes.iter().filter_map(|node| node["path"].as_str()).collect();
    for path in [
        "devices",
        "devices/oura",
        "devices/whoop",
        "devices/healthkit",
        "writer",
        "publisher",
        "consumer",
        "router",
        "flusher",
        "users",
        &mask,
    ] {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
    }
    for node in &nodes {
        let mut members: Vec<&str> =
            node.as_object().expect("an object").keys().map(String::as_str).collect();
        members.retain(|member| *member != "live");
        let expected = [
            "breaker",
            "children",
            "handled",
            "kind",
            "last_failure",
            "mailbox",
            "oldest_ms",
            "path",
            "restarts",
            "state",
        ];
        assert_eq!(members, expected, "{node}");
        assert_eq!(
            (&node["state"], &node["restarts"], &node["last_failure"]),
            (&json!("running"), &json!(0), &Value::Null),
            "{node}"
        );
        let vendor = node["path"].as_str().and_then(|path| path.strip_prefix("fetch/"));
        let closed = |name| json!({"name": name, "state": "closed", "retry_in_ms": 0});
        assert_eq!(node["breaker"], vendor.map_or(Value::Null, closed), "{node}");
        assert!(node["mailbox"]["depth"].is_u64() && node["mailbox"]["capacity"].is_u64(), "{node}");
        assert!(node["kind"].is_string() && node["handled"].is_u64() && node["oldest_ms"].is_u64(), "{node}");
        assert_eq!(node.get("live").is_some(), node["path"] == "users", "{node}");
    }
    // Every path that is shown can be asked for.
    for path in paths.iter().filter(|path| **path != tree["root"]["path"]) {
        let answer = send(bridge.request(Method::GET, &format!("/actors/{path}"))).await;
        assert_eq!((answer.status, &answer.json()["path"]), (200, &json!(path)), "{path}");
    }
    let users: Value = bridge.get("/actors/users").await.json().await.expect("JSON");
    assert_eq!((&users["live"], listed(&users, "children").len()), (&json!(1), 1));
    let writer: Value = bridge.get("/actors/writer").await.json().await.expect("JSON");
    assert!(writer["handled"].as_u64() >= Some(1), "{writer}");
}

fn walk(node: &Value, nodes: &mut Vec<Value>) {
    nodes.push(node.clone());
    listed(node, "children").iter().for_each(|child| walk(child, nodes));
}

#[actix_web::test]
async fn the_users_pool_shows_its_ten_worst_and_finds_each() {
    let bridge = Bridge::start().await;
    let list: Vec<Value> = (0..25).map(|n| json!({
        "device_type": "terra", "user_id": format!("user-{n}"), "timestamp": "2026-09-10T06:42:11Z",
        "readings": [{"metric": "steps", "value": 1, "unit": "count", "timestamp": "2026-09-10T06:42:11Z"}],
    })).collect();
    let (_, answer) = bridge.inject("?wait=applied", &json!(list)).await;
    assert_eq!(answer["mode"], "PATTERN", "{answer}");
    let users: Value = bridge.get("/actors/users").await.json().await.expect("JSON");
    assert_eq!((&users["live"], listed(&users, "children").len()), (&json!(25), 10), "{users}");
    for n in 0..25 {
        let path = format!("/actors/users/{}", mask(&format!("user-{n}")));
        assert_eq!(bridge.get(&path).await.status(), 200, "{path}");
    }
}

#[actix_web::test]
async fn an_actor_that_is_not_there_is_not_found() {
    let bridge = Bridge::start().await;
    for path in ["nobody", "devices/nobody", "users/00000000", "users/user-1", "writer/x", "%00"] {
        refused(bridge.request(Method::GET, &format!("/actors/{path}")), 404, "not_found").await;
    }
}

#[actix_web::test]
async fn the_page_loads_with_all_that_it_names() {
    let bridge = Bridge::start().await;
    let page = send(bridge.request(Method::GET, "/")).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let text = page.text();
    let named: Vec<&str> = text.split(['"', '\'']).filter(|part| part.starts_with("dashboard/")).collect();
    assert!(named.len() >= 2, "{text}");
    for name in named {
        let asset = send(bridge.request(Method::GET, &format!("/{name}"))).await;
        assert_eq!(asset.status, 200, "{name}");
        assert!(!asset.body.is_empty(), "{name}");
        let expected = match name.rsplit('.').next() {
            Some("js") => "text/javascript",
            Some("css") => "text/css",
            _ => "image/svg+xml",
        };
        assert!(asset.header("content-type").is_some_and(|kind| kind.starts_with(expected)), "{name}");
    }
    refused(bridge.request(Method::GET, "/dashboard/nothing.js"), 404, "not_found").await;
}

#[actix_web::test]
async fn every_route_stands_behind_the_base_path() {
    let settings = [("BASE_PATH", "/bridge")];
    let home = tempfile::TempDir::new().expect("a temporary folder");
    let bridge = Bridge::start_behind("/bridge", home.path(), &settings).await;
    for path in [
        "/bridge/",
        "/bridge/health",
        "/bridge/ready",
        "/bridge/metrics",
        "/bridge/actors",
        "/bridge/actors/writer",
        "/bridge/dashboard/dashboard.js",
    ] {
        assert_eq!(bridge.get(path).await.status(), 200, "{path}");
    }
    let test = bridge.request(Method::POST, "/bridge/webhook/test").body("{}");
    assert_eq!(send(test).await.json()["status"], "ignored");
    refused(bridge.request(Method::GET, "/bridge/v1/users/u/events"), 401, "authentication_error").await;
    for path in ["/health", "/webhook/test", "/bridgehealth"] {
        refused(bridge.request(Method::GET, path), 404, "not_found").await;
    }
}

#[actix_web::test]
async fn operators_need_no_key() {
    let bridge = Bridge::start_with(&[("API_KEY", ""), ("ADMIN_API_KEY", "")]).await;
    for path in
        ["/", "/health", "/ready", "/metrics", "/actors", "/actors/writer", "/dashboard/dashboard.css"]
    {
        assert_eq!(bridge.get(path).await.status(), 200, "{path}");
    }
}
