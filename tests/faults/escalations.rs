//! What the tree cannot bear any more ends the process with 70, and loses nothing.

use std::cell::Cell;
use std::collections::BTreeSet;

use futures_util::future::join;
use reqwest::Method;
use serde_json::{Value, json};

use crate::bridge::{ADMIN_KEY, Bridge, now_ms};

/// Sends reading `number`; whether it was acknowledged. Waits no longer than a bridge that ends.
async fn deliver(bridge: &Bridge, number: u32) -> bool {
    let sample = json!({"type": "respiratoryRate", "value": 14, "timestamp": now_ms() - 600_000 + i64::from(number) * 1_000});
    let body = json!({"user_id": "u", "samples": [sample]}).to_string();
    let request =
        bridge.request(Method::POST, "/webhook/healthkit").bearer_auth(crate::bridge::HEALTHKIT_KEY);
    request.body(body).send().await.is_ok_and(|response| response.status() == 200)
}

/// Whether the actor is there to be hurt.
async fn hurt(bridge: &Bridge, path: &str, kind: &str) -> bool {
    let fault = bridge.request(Method::POST, &format!("/admin/actors/{path}/fault")).bearer_auth(ADMIN_KEY);
    fault.body(json!({"kind": kind}).to_string()).send().await.is_ok_and(|response| response.status() == 202)
}

async fn assert_kept(bridge: &Bridge, acknowledged: usize) {
    let applied = async |bridge: &Bridge| {
        let state = bridge.read("/v1/users/u/state").await;
        let events = bridge.read("/v1/users/u/events?limit=1000").await;
        let stored = events["events"].as_array().map_or(0, Vec::len);
        stored >= acknowledged && state["state_seq"].as_u64() == Some(stored as u64)
    };
    bridge.until("as acknowledged", applied).await;
}

#[actix_web::test]
async fn a_stage_that_keeps_failing_is_restarted_by_the_root_and_then_ends_the_process_with_70() {
    let mut bridge = Bridge::start_with(&[("SHUTDOWN_TIMEOUT_SECONDS", "5")]).await;
    let is_over = Cell::new(false);
    // Each death is one message's first, so the message is handled in the end and counts.
    let hurting = async {
        let (mut acknowledged, mut sent) = (0, 0);
        while hurt(&bridge, "writer", "panic").await {
            acknowledged += usize::from(deliver(&bridge, sent).await);
            sent += 1;
            assert!(sent < 100, "it never ends");
        }
        is_over.set(true);
        acknowledged
    };
    let looking = async {
        let mut reasons = BTreeSet::new();
        while !is_over.get() {
            let Ok(ready) = bridge.request(Method::GET, "/ready").send().await else { break };
            let answer: Value = ready.json().await.unwrap_or_default();
            reasons.extend(answer["reasons"].as_array().into_iter().flatten().map(ToString::to_string));
        }
        reasons
    };
    let (acknowledged, reasons) = join(hurting, looking).await;
    let (status, lines) = bridge.wait();
    assert_eq!(status.code(), Some(70), "{}", lines.join("\n"));
    // 5 deaths of its own in each of 4 lives, 3 of the root's.
    assert_eq!(acknowledged, 23);
    assert!(lines.iter().any(|line| line.contains("actors are restarted together")));
    let bridge = bridge.restart().await;
    assert_kept(&bridge, acknowledged).await;
    assert!(reasons.iter().any(|reason| reason.contains("being restarted")), "{reasons:?}");
}

#[actix_web::test]
async fn a_thread_that_is_never_given_back_ends_the_process_with_70_and_loses_nothing() {
    let mut bridge = Bridge::start_with(&[("SHUTDOWN_TIMEOUT_SECONDS", "2")]).await;
    for number in 0..20 {
        assert!(deliver(&bridge, number).await);
    }
    assert!(hurt(&bridge, "router", "block").await);
    // The way up to the commit shares no thread with it.
    for number in 20..40 {
        assert!(deliver(&bridge, number).await);
    }
    let (status, lines) = bridge.wait();
    assert_eq!(status.code(), Some(70), "{}", lines.join("\n"));
    assert!(
        lines.iter().any(|line| line.contains("Blocked") && line.contains("router")),
        "{}",
        lines.join("\n")
    );
    let bridge = bridge.restart().await;
    assert_kept(&bridge, 40).await;
}
