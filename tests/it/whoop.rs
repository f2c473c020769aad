//! WHOOP's door: whose signature is believed, and what becomes of what came through it.

use actors::vendors::signing;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sha2::Sha256;

use crate::aftermath::assert_unharmed;
use crate::answers::{events, log_read, refused, send};
use crate::bridge::{Bridge, WHOOP_SECRET, now_ms};

/// The body of vendors.md §3's vector.
const BODY: &str = r#"{"user_id":456789,"id":"3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10","type":"recovery.updated","trace_id":"0d9f2a1c-6a54-4a3e-8a54-2f0c7d1e4b55"}"#;

/// Written out here, so that it is not our code that says what is right.
fn hmac(secret: &str, parts: &[&str]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac.finalize().into_bytes().to_vec()
}

fn post(bridge: &Bridge, body: &str) -> RequestBuilder {
    bridge.request(Method::POST, "/webhook/whoop").body(body.to_owned())
}

fn signed(bridge: &Bridge, timestamp_ms: i64, body: &str) -> RequestBuilder {
    let timestamp = timestamp_ms.to_string();
    let signature = STANDARD.encode(hmac(WHOOP_SECRET, &[&timestamp, body]));
    post(bridge, body).header("X-WHOOP-Signature-Timestamp", timestamp).header("X-WHOOP-Signature", signature)
}

fn inline(bridge: &Bridge, body: &str) -> RequestBuilder {
    post(bridge, body).header("Signature", hex::encode(hmac(WHOOP_SECRET, &[body])))
}

#[actix_web::test]
async fn whoops_own_vector_is_believed_while_it_is_not_too_old() {
    let (secret, timestamp) = ("whoop-client-secret-9e27", "1789041600123");
    let signature = "bSyxuEGDo07uhILGgNy59Lz0pCm+LHl5A+GzKPaStCE=";
    assert_eq!(STANDARD.encode(hmac(secret, &[timestamp, BODY])), signature);
    assert_eq!(signing::whoop(secret, 1_789_041_600_123, BODY.as_bytes()), signature);
    let send_to = |bridge: &Bridge| {
        post(bridge, BODY)
            .header("X-WHOOP-Signature-Timestamp", timestamp)
            .header("X-WHOOP-Signature", signature)
    };
    let bridge = Bridge::start_with(&[("WHOOP_WEBHOOK_SECRET", secret)]).await;
    refused(send_to(&bridge), 401, "authentication_error").await;
    let signatures = bridge.get("/metrics").await.text().await.expect("text");
    let counted = r#"webhook_signatures_total{outcome="stale",source="whoop"} 1"#;
    assert!(signatures.lines().any(|line| line == counted), "{signatures}");
    let patient = [("WHOOP_WEBHOOK_SECRET", secret), ("WEBHOOK_TOLERANCE_SECONDS", "4000000000")];
    let bridge = Bridge::start_with(&patient).await;
    assert_eq!(send(send_to(&bridge)).await.status, 202);
}

#[actix_web::test]
async fn a_notification_is_accepted_once_and_its_retry_is_a_duplicate() {
    let bridge = Bridge::start().await;
    for (alias, kind) in [("webhook", "sleep"), ("webhooks", "workout"), ("webhook", "recovery")] {
        let body = BODY.replace("recovery.updated", &format!("{kind}.updated"));
        let send = async |timestamp_ms: i64| {
            let signature = signing::whoop(WHOOP_SECRET, timestamp_ms, body.as_bytes());
            let request = bridge
                .request(Method::POST, &format!("/{alias}/whoop"))
                .header("X-WHOOP-Signature-Timestamp", timestamp_ms)
                .header("X-WHOOP-Signature", signature);
            send(request.body(body.clone())).await
        };
        let answer = send(now_ms()).await;
        assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("accepted")), "{kind}");
        assert_eq!(answer.json()["device"], "whoop");
        // A retry may be signed anew.
        let again = send(now_ms() - 1_000).await;
        assert_eq!((again.status, &again.json()["status"]), (200, &json!("duplicate")), "{kind}");
    }
    let next = BODY.replace("0d9f2a1c", "1d9f2a1c");
    assert_eq!(
        send(signed(&bridge, now_ms(), &next)).await.status,
        202,
        "another trace is another notification"
    );
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn what_is_stale_tampered_or_doubled_is_not_believed() {
    let bridge = Bridge::start().await;
    let now = now_ms();
    for wrong_ms in [now - 360_000, now + 360_000, now / 1000, 0] {
        refused(signed(&bridge, wrong_ms, BODY), 401, "authentication_error").await;
    }
    let timestamp = now.to_string();
    let right = STANDARD.encode(hmac(WHOOP_SECRET, &[&timestamp, BODY]));
    let wrong = [
        STANDARD.encode(hmac("another secret", &[&timestamp, BODY])),
        STANDARD.encode(hmac(WHOOP_SECRET, &[BODY])),
        STANDARD.encode(hmac(WHOOP_SECRET, &[&timestamp, ".", BODY])),
        hex::encode(hmac(WHOOP_SECRET, &[&timestamp, BODY])),
        right.trim_end_matches('=').to_owned(),
        format!("{right}="),
        "A".repeat(44),
        String::new(),
    ];
    for signature in wrong {
        let request = post(&bridge, BODY).header("X-WHOOP-Signature-Timestamp", &timestamp);
        refused(request.header("X-WHOOP-Signature", signature), 401, "authentication_error").await;
    }
    let tampered = post(&bridge, &BODY.replace("456789", "456780"))
        .header("X-WHOOP-Signature-Timestamp", &timestamp)
        .header("X-WHOOP-Signature", &right);
    refused(tampered, 401, "authentication_error").await;
    let twice = signed(&bridge, now, BODY).header("X-WHOOP-Signature", &right);
    refused(twice, 401, "authentication_error").await;
    let twice = signed(&bridge, now, BODY).header("X-WHOOP-Signature-Timestamp", &timestamp);
    refused(twice, 401, "authentication_error").await;
    refused(post(&bridge, BODY).header("X-WHOOP-Signature", &right), 401, "authentication_error").await;
    refused(post(&bridge, BODY), 401, "authentication_error").await;
    assert_eq!(send(signed(&bridge, now, BODY)).await.status, 202);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn inline_readings_of_a_whoop_are_processed() {
    let bridge = Bridge::start().await;
    let body = r#"{"user_id":"user-1","timestamp":"2026-09-10T06:00:00Z","hrv_data":{"rmssd":45},"recovery":{"score":70}}"#;
    let answer = send(inline(&bridge, body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        (&answer.json()["status"], &answer.json()["device"], &answer.json()["readings"]),
        (&json!("processed"), &json!("whoop"), &json!(2))
    );
    assert_eq!(send(inline(&bridge, body)).await.json()["status"], "duplicate");
    let held = events(&bridge, "user-1").await;
    assert_eq!((held.len(), &held[0]["device_type"]), (1, &json!("whoop_band")));
    assert_eq!(held[0]["readings"][0]["method"], "rmssd");
    let latest = bridge.read("/v1/users/user-1/latest").await;
    assert_eq!(latest["readings"]["recovery_score"]["value"], 70.0);

    let notification = r#"{"type":"recovery.updated","user_id":"user-1","id":"3c6f","trace_id":"t"}"#;
    assert_eq!(send(inline(&bridge, notification)).await.json()["status"], "accepted");
    for ignored in ["cycle.updated", "sleep.deleted"] {
        let body = notification.replace("recovery.updated", ignored);
        let answer = send(inline(&bridge, &body)).await;
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("ignored")), "{ignored}");
    }
    refused(inline(&bridge, "{"), 400, "validation_error").await;
}

#[actix_web::test]
async fn a_whoop_door_can_be_shut() {
    let bridge = Bridge::start_with(&[("WHOOP_ENABLED", "false")]).await;
    refused(signed(&bridge, now_ms(), BODY), 404, "device_disabled").await;
}

#[actix_web::test]
async fn a_deletion_is_processed_at_once_and_is_an_event_of_its_own() {
    let bridge = Bridge::start().await;
    let body = BODY.replace("recovery.updated", "sleep.deleted");
    let answer = send(signed(&bridge, now_ms(), &body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        (&answer.json()["status"], &answer.json()["events"], &answer.json()["readings"]),
        (&json!("processed"), &json!(1), &json!(0))
    );
    assert_eq!(send(signed(&bridge, now_ms(), &body)).await.json()["status"], "duplicate");
    let on_log = async || {
        log_read(&bridge, "biometric-events").into_iter().find(|message| message["key"] == "whoop:456789")
    };
    bridge.until("on the log", async |_| on_log().await.is_some()).await;
    let message = on_log().await.expect("a message");
    let event = &message["value"];
    assert_eq!((&event["deleted"], &event["kind"]), (&json!(true), &json!("sleep")), "{message}");
    assert_eq!(event["readings"], json!([]));
    assert_eq!(events(&bridge, "whoop:456789").await, Vec::<serde_json::Value>::new());
}
