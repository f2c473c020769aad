//! The whole bridge with its cache in Redis.

use reqwest::Method;
use serde_json::{Value, json};

use crate::bridge::{ADMIN_KEY, Bridge};
use crate::redis_server::{RedisServer, until};

async fn inject(bridge: &Bridge, record: &str, timestamp: &str) {
    let event = json!({
        "device_type": "oura_ring", "user_id": "oura:ann", "kind": "sample", "record_id": record, "timestamp": timestamp,
        "readings": [{"metric": "heart_rate", "value": 61.0, "timestamp": timestamp}],
    });
    let request = bridge.request(Method::POST, "/admin/inject").bearer_auth(ADMIN_KEY).json(&event);
    let status = request.send().await.expect("an answer").status();
    assert_eq!(status.as_u16(), 200);
}

async fn health(bridge: &Bridge) -> Value {
    bridge.get("/health").await.json().await.expect("JSON")
}

#[actix_web::test]
async fn other_programs_read_in_redis_what_was_delivered_and_its_outage_costs_nothing_else() {
    let Some(server) = RedisServer::optional() else { return };
    let mut server = server.await;
    let bridge = Bridge::start_with(&[("REDIS_URL", &server.url())]).await;
    let healthy = health(&bridge).await;
    assert_eq!(healthy["status"], "healthy");
    assert_eq!(
        (&healthy["dependencies"]["cache"]["kind"], &healthy["connections"]["redis"]),
        (&json!("redis"), &json!(true))
    );
    let key = "biometrics:oura%3Aann:latest";
    // Each put is best effort: on a busy machine one may be late, and the next one is not.
    let mut number = 0;
    until("an event is in Redis", async || {
        number += 1;
        inject(&bridge, &format!("r{number}"), &format!("2026-09-10T06:00:{:02}Z", number % 60)).await;
        server.run::<i64>(&format!("EXISTS {key}")).await == 1
    })
    .await;
    let held: Value =
        serde_json::from_slice(&server.run::<Vec<u8>>(&format!("GET {key}")).await).expect("JSON");
    assert_eq!(held["user_id"], "oura:ann");

    server.stop();
    until("the outage shows", async || health(&bridge).await["dependencies"]["cache"]["state"] == "down")
        .await;
    let degraded = health(&bridge).await;
    assert_eq!((&degraded["status"], &degraded["connections"]["redis"]), (&json!("degraded"), &json!(false)));
    assert!(degraded["dependencies"]["cache"]["detail"].is_string(), "{degraded}");
    assert_eq!(bridge.get("/ready").await.status(), 200);
    inject(&bridge, "while", "2026-09-10T07:00:00Z").await;
    let scrape = async || bridge.get("/metrics").await.text().await.expect("text");
    let failed = r#"auren_cache_requests_total{cache="events",outcome="failed"} "#;
    until("it is counted", async || {
        scrape().await.lines().any(|line| line.strip_prefix(failed).is_some_and(|count| count != "0"))
    })
    .await;

    server.start().await;
    until("an event is in Redis again", async || {
        number += 1;
        inject(&bridge, &format!("s{number}"), &format!("2026-09-10T08:00:{:02}Z", number % 60)).await;
        server.run::<i64>(&format!("EXISTS {key}")).await == 1
    })
    .await;
    until("the bridge is healthy", async || health(&bridge).await["status"] == "healthy").await;
}
