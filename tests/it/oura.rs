//! Oura's door: whose signature is believed.

use actors::vendors::signing;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sha2::Sha256;

use crate::aftermath::assert_unharmed;
use crate::answers::{refused, send};
use crate::bridge::{Bridge, OURA_SECRET, now_ms};

/// The body of vendors.md §2's vector.
const BODY: &str = r#"{"event_type":"update","data_type":"daily_readiness","object_id":"6a5f0c52-73b1-4c0e-9d55-6f2f3f0b7a11","event_time":"2026-09-10T12:00:00+00:00","user_id":"A1B2C3D4E5"}"#;

/// Written out here, so that it is not our code that says what is right.
fn hmac(secret: &str, parts: &[&str]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    hex::encode(mac.finalize().into_bytes())
}

fn post(bridge: &Bridge, body: &str) -> RequestBuilder {
    bridge.request(Method::POST, "/webhook/oura").body(body.to_owned())
}

fn signed(bridge: &Bridge, timestamp: &str, body: &str) -> RequestBuilder {
    let signature = hmac(OURA_SECRET, &[timestamp, body]).to_uppercase();
    post(bridge, body).header("x-oura-timestamp", timestamp).header("x-oura-signature", signature)
}

#[actix_web::test]
async fn ouras_own_vector_is_believed_while_it_is_not_too_old() {
    let (secret, timestamp) = ("oura-client-secret-4f1c", "1789041600");
    let signature = "EFECB537A9204DEE350DA59F42CD36A618DE708A7CF817B371C05F7150D1ACE7";
    assert_eq!(hmac(secret, &[timestamp, BODY]).to_uppercase(), signature);
    assert_eq!(signing::oura(secret, 1_789_041_600, BODY.as_bytes()), signature);
    let bridge = Bridge::start_with(&[("OURA_WEBHOOK_SECRET", secret)]).await;
    let send =
        post(&bridge, BODY).header("x-oura-timestamp", timestamp).header("x-oura-signature", signature);
    let answer = refused(send, 401, "authentication_error").await;
    assert!(answer.header("www-authenticate").is_some(), "RFC 9110 wants it on every 401");
    let signatures = bridge.get("/metrics").await.text().await.expect("text");
    let counted = r#"webhook_signatures_total{outcome="stale",source="oura"} 1"#;
    assert!(signatures.lines().any(|line| line == counted), "{signatures}");
    let patient = [("OURA_WEBHOOK_SECRET", secret), ("WEBHOOK_TOLERANCE_SECONDS", "4000000000")];
    let bridge = Bridge::start_with(&patient).await;
    let send =
        post(&bridge, BODY).header("x-oura-timestamp", timestamp).header("x-oura-signature", signature);
    assert_eq!(crate::bridge::answer(send).await.0, 202);
}

#[actix_web::test]
async fn a_signature_holds_inside_the_tolerance_on_both_sides() {
    let bridge = Bridge::start_with(&[("WEBHOOK_TOLERANCE_SECONDS", "600")]).await;
    let now_s = now_ms() / 1000;
    // 30 s are left for the test to be slow in.
    for (offset_s, status) in [(0, 202), (-570, 202), (570, 202), (-630, 401), (630, 401), (-86_400, 401)] {
        let body = BODY.replace("A1B2", &format!("{offset_s}"));
        let seconds = (now_s + offset_s).to_string();
        assert_eq!(send(signed(&bridge, &seconds, &body)).await.status, status, "{offset_s} s");
        let body = BODY.replace("A1B2", &format!("{offset_s} in ms"));
        let milliseconds = format!("{seconds}250");
        assert_eq!(send(signed(&bridge, &milliseconds, &body)).await.status, status, "{offset_s} s in ms");
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn hex_digits_of_either_case_are_one_signature() {
    let bridge = Bridge::start().await;
    let timestamp = (now_ms() / 1000).to_string();
    for (case, to_case) in [("upper", str::to_uppercase as fn(&str) -> String), ("lower", str::to_lowercase)]
    {
        let native = BODY.replace("A1B2", case);
        let signature = to_case(&hmac(OURA_SECRET, &[&timestamp, &native]));
        let request = post(&bridge, &native).header("X-Oura-Timestamp", &timestamp);
        assert_eq!(send(request.header("X-OURA-SIGNATURE", signature)).await.status, 202, "{case}");
        let inline =
            json!({"user_id": case, "timestamp": "2026-09-10T06:00:00Z", "sleep": {"score": 80}}).to_string();
        let signature = to_case(&hmac(OURA_SECRET, &[&inline]));
        assert_eq!(send(post(&bridge, &inline).header("Signature", signature)).await.status, 200, "{case}");
    }
}

#[actix_web::test]
async fn what_is_not_signed_to_the_byte_is_not_believed() {
    let bridge = Bridge::start().await;
    let timestamp = (now_ms() / 1000).to_string();
    let right = hmac(OURA_SECRET, &[&timestamp, BODY]);
    let with = |signature: &str| {
        post(&bridge, BODY).header("x-oura-timestamp", &timestamp).header("x-oura-signature", signature)
    };
    let wrong = [
        hmac("another secret", &[&timestamp, BODY]),
        hmac(OURA_SECRET, &[BODY]),
        hmac(OURA_SECRET, &[&timestamp, ".", BODY]),
        hmac(OURA_SECRET, &[BODY, &timestamp]),
        hmac(OURA_SECRET, &[&timestamp, &BODY.replace(':', ": ")]),
        right[..62].to_owned(),
        format!("{right}00"),
        format!("{right} {right}"),
        format!("sha256={right}"),
        "0".repeat(64),
        "g".repeat(64),
        String::new(),
    ];
    for signature in wrong {
        refused(with(&signature), 401, "authentication_error").await;
    }
    let spaced = format!("{BODY} ");
    let other_body =
        post(&bridge, &spaced).header("x-oura-timestamp", &timestamp).header("x-oura-signature", &right);
    refused(other_body, 401, "authentication_error").await;
    let other_time = format!("{timestamp}000");
    let other_time =
        post(&bridge, BODY).header("x-oura-timestamp", other_time).header("x-oura-signature", &right);
    refused(other_time, 401, "authentication_error").await;
    refused(post(&bridge, BODY).header("x-oura-signature", &right), 401, "authentication_error").await;
    refused(post(&bridge, BODY).header("x-oura-timestamp", &timestamp), 401, "authentication_error").await;
    refused(post(&bridge, BODY), 401, "authentication_error").await;
    for malformed in ["", "now", "-1", "1e9", "１７８９０４１６００", "99999999999999999999"] {
        let signature = hmac(OURA_SECRET, &[malformed, BODY]);
        let request = post(&bridge, BODY).header("x-oura-signature", signature);
        let value = reqwest::header::HeaderValue::from_bytes(malformed.as_bytes()).expect("a field's value");
        refused(request.header("x-oura-timestamp", value), 401, "authentication_error").await;
    }
    // The same bytes with the right signature are believed: none of the above was refused for another reason.
    assert_eq!(send(with(&right)).await.status, 202);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_signed_field_that_occurs_twice_is_refused() {
    let bridge = Bridge::start().await;
    let timestamp = (now_ms() / 1000).to_string();
    let signature = hmac(OURA_SECRET, &[&timestamp, BODY]);
    let twice = signed(&bridge, &timestamp, BODY).header("x-oura-signature", &signature);
    refused(twice, 401, "authentication_error").await;
    let twice = signed(&bridge, &timestamp, BODY).header("x-oura-timestamp", &timestamp);
    refused(twice, 401, "authentication_error").await;
    let inline = hmac(OURA_SECRET, &[BODY]);
    let twice = post(&bridge, BODY).header("Signature", &inline).header("Signature", &inline);
    refused(twice, 401, "authentication_error").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn the_inline_signature_covers_the_body_alone_and_knows_no_time() {
    let bridge = Bridge::start().await;
    let body = r#"{"user_id":"user-1","timestamp":"2026-09-10T06:00:00Z","sleep":{"score":80}}"#;
    let right = hmac(OURA_SECRET, &[body]);
    for wrong in [hmac("another secret", &[body]), hmac(OURA_SECRET, &[body, " "]), right[1..].to_owned()] {
        refused(post(&bridge, body).header("Signature", wrong), 401, "authentication_error").await;
    }
    assert_eq!(send(post(&bridge, body).header("Signature", &right)).await.json()["status"], "processed");
    assert_eq!(send(post(&bridge, body).header("Signature", &right)).await.json()["status"], "duplicate");
}

#[actix_web::test]
async fn a_retry_signed_anew_is_the_same_delivery() {
    let bridge = Bridge::start().await;
    let now_s = now_ms() / 1000;
    assert_eq!(send(signed(&bridge, &now_s.to_string(), BODY)).await.status, 202);
    let again = send(signed(&bridge, &(now_s - 1).to_string(), BODY)).await;
    assert_eq!((again.status, &again.json()["status"]), (200, &json!("duplicate")));
}

#[actix_web::test]
async fn every_data_type_with_metrics_is_accepted() {
    let bridge = Bridge::start().await;
    for data_type in [
        "sleep",
        "daily_sleep",
        "daily_readiness",
        "daily_activity",
        "daily_spo2",
        "daily_stress",
        "vo2_max",
        "workout",
    ] {
        for event_type in ["create", "update", "delete"] {
            // `object_id` and `event_time` may be missing.
            let body = json!({"event_type": event_type, "data_type": data_type, "user_id": "A1"});
            let (status, answer) = bridge.oura(&body).await;
            assert_eq!((status, &answer["status"]), (202, &json!("accepted")), "{body}");
        }
    }
    for event_type in ["sleep.updated", "readiness.updated", "activity.updated"] {
        let (status, answer) =
            bridge.oura_inline(&json!({"event_type": event_type, "user_id": "user-1"})).await;
        assert_eq!((status, &answer["status"]), (202, &json!("accepted")), "{event_type}");
    }
}

#[actix_web::test]
async fn a_deletion_that_names_its_record_is_processed_at_once() {
    let bridge = Bridge::start().await;
    let body = json!({"event_type": "delete", "data_type": "sleep", "user_id": "A1", "object_id": "6a5f",
        "event_time": "2026-09-10T12:00:00+00:00"});
    let (status, answer) = bridge.oura(&body).await;
    assert_eq!(
        (status, &answer["status"], &answer["events"]),
        (200, &json!("processed"), &json!(1)),
        "{answer}"
    );
    // Told once more in other words, it is still the same deletion.
    let mut again = body.clone();
    again["trace"] = json!(2);
    let (status, answer) = bridge.oura(&again).await;
    assert_eq!(
        (status, &answer["status"], &answer["events"]),
        (200, &json!("processed"), &json!(0)),
        "{answer}"
    );
    let (status, answer) = bridge.oura(&body).await;
    assert_eq!((status, &answer["status"]), (200, &json!("duplicate")));
}
