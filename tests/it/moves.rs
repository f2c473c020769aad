//! What was stored of an account before it was linked goes to its user.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::aftermath::assert_unharmed;
use crate::answers::{Past, events, log_read, refused};
use crate::bridge::{ADMIN_KEY, Bridge, answer};
use crate::family::LOGS_WITH_THE_COMMIT;

fn link(bridge: &Bridge, account: &str, user: &str) -> RequestBuilder {
    let request = bridge.request(Method::PUT, &format!("/admin/links/{account}")).bearer_auth(ADMIN_KEY);
    request.json(&json!({"user_id": user}))
}

/// Links an account, and tells how many events have moved.
async fn linked(bridge: &Bridge, account: &str, user: &str) -> u64 {
    let (status, answered) = answer(link(bridge, account, user)).await;
    assert_eq!(status, 200, "{answered}");
    answered["moved_events"].as_u64().expect("a number")
}

/// A night so many minutes ago, as Oura's of this user.
fn night(past: &Past, user: &str, minutes: i64, hrv: f64) -> Value {
    let at = past.ago(minutes * 60);
    json!({
        "device_type": "oura_ring", "user_id": user, "timestamp": at, "kind": "sleep",
        "readings": [{"metric": "hrv", "value": hrv, "unit": "ms", "timestamp": at, "confidence": 0.95}],
    })
}

/// The users and ids of the events on the log, one user's in order, and whether each is a backfill.
fn on_log(bridge: &Bridge) -> Vec<(String, String, bool)> {
    let messages = log_read(bridge, "biometric-events");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    messages
        .iter()
        .map(|message| {
            let event = &message["value"];
            assert_eq!(event["user_id"], message["key"]);
            (text(&message["key"]), text(&event["event_id"]), event["is_backfill"] == true)
        })
        .collect()
}

async fn until_applied(bridge: &Bridge, user: &str, count: u64) {
    let path = format!("/v1/users/{user}/state");
    bridge.until("applied", async |bridge| bridge.read(&path).await["state_seq"] == count).await;
}

#[actix_web::test]
async fn events_of_an_account_become_its_users_when_it_is_linked() {
    let (bridge, past) = (Bridge::start().await, Past::new());
    let nights = json!([
        night(&past, "oura:A1", 90, 41.0),
        night(&past, "oura:A1", 60, 42.0),
        night(&past, "oura:A10", 60, 99.0),
        night(&past, "ada", 30, 43.0),
    ]);
    assert_eq!(bridge.inject("", &nights).await.0, 200);
    let ids = async |user: &str| -> Vec<Value> {
        events(&bridge, user).await.iter().map(|event| event["event_id"].clone()).collect()
    };
    let (moving, own) = (ids("oura:A1").await, ids("ada").await);
    assert_eq!((moving.len(), own.len()), (2, 1));
    until_applied(&bridge, "ada", 1).await;
    assert_eq!(linked(&bridge, "oura/A1", "oura:A1").await, 0, "there is nothing to move");
    assert_eq!(linked(&bridge, "oura/A2", "ada").await, 0, "and nothing of this one");
    assert_eq!(linked(&bridge, "oura/A1", "ada").await, 2);
    assert_eq!(linked(&bridge, "oura/A1", "ada").await, 0, "it may be repeated");

    assert_eq!(ids("ada").await, [moving.clone(), own.clone()].concat());
    assert_eq!(ids("oura:A1").await, Vec::<Value>::new());
    assert_eq!(ids("oura:A10").await.len(), 1);
    let latest = bridge.read("/v1/users/ada/latest").await;
    assert_eq!(latest["readings"]["hrv"]["value"], 43.0, "{latest}");
    assert_eq!(bridge.read("/v1/users/oura:A1/latest").await["readings"], json!({}));
    until_applied(&bridge, "ada", 3).await;
    let told = on_log(&bridge);
    let told: Vec<_> =
        told.iter().filter(|(key, ..)| key == "ada").map(|(_, id, history)| (json!(id), *history)).collect();
    let expected = [(&own[0], false), (&moving[0], true), (&moving[1], true)];
    assert_eq!(told, expected.map(|(id, history)| (id.clone(), history)));

    // What was recorded for a user stays with the user, whoever has the account later.
    assert_eq!(linked(&bridge, "oura/A1", "bob").await, 0);
    assert_eq!((ids("ada").await.len(), ids("bob").await.len()), (3, 0));
    // What was on its way when the account was linked comes with the next request.
    assert_eq!(bridge.inject("", &night(&past, "oura:A1", 20, 44.0)).await.0, 200);
    assert_eq!(linked(&bridge, "oura/A1", "ada").await, 1);
    assert_eq!(bridge.read("/v1/users/ada/latest").await["readings"]["hrv"]["value"], 44.0);
    refused(link(&bridge, "oura/A1", " "), 400, "validation_error").await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_move_that_was_killed_is_ended_by_the_next_request() {
    const COUNT: usize = 3_000;
    let (mut bridge, past) = (Bridge::start().await, Past::new());
    let nights: Vec<Value> =
        (1..=COUNT).map(|minutes| night(&past, "oura:A1", minutes as i64, 40.0)).collect();
    for some in nights.chunks(500) {
        assert_eq!(bridge.inject("", &json!(some)).await.0, 200);
    }
    let request = link(&bridge, "oura/A1", "ada");
    let moving = actix_web::rt::spawn(async move { request.send().await.is_ok() });
    let has_begun = async |bridge: &Bridge| !events(bridge, "ada").await.is_empty();
    bridge.until("begun", has_begun).await;
    bridge.kill();
    let _ = moving.await;
    let bridge = bridge.restart().await;
    let left = linked(&bridge, "oura/A1", "ada").await;
    assert!(left > 0, "nothing was left, so this test shows nothing");
    assert!(left < COUNT as u64, "nothing had moved before the kill");
    assert_eq!(events(&bridge, "oura:A1").await, Vec::<Value>::new());
    until_applied(&bridge, "ada", COUNT as u64).await;
    let told = on_log(&bridge);
    let of = |user: &str| -> BTreeSet<&String> {
        told.iter().filter(|(key, ..)| key == user).map(|(_, id, _)| id).collect()
    };
    assert_eq!((of("ada").len(), of("ada") == of("oura:A1")), (COUNT, true));
    if LOGS_WITH_THE_COMMIT {
        assert_eq!(told.len(), 2 * COUNT, "each event once for the account and once for the user");
    }
    assert_unharmed(bridge).await;
}
