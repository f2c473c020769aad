//! From a notification to its data, through the real HTTP client and a vendor cloud: every type of event, storms, and
//! whatever dies meanwhile.

use std::time::Duration;

use actors::domain::time::Timestamp;
use biometric_bridge::demo::cloud::{FaultKind, Limit, Limits, Vendor};
use reqwest::Method;
use serde_json::{Value, json};

use crate::answers::events;
use crate::bridge::{ADMIN_KEY, Bridge, answer};
use crate::cloud::{START_MS, VendorCloud};
use crate::family;
use crate::fetching::{
    PLENTY, QUICK, account, all_events, bridge_at, connect, connect_stale, connected, kinds, notifications,
    of_whoop, storm, tell, until_arrived,
};

#[actix_web::test]
async fn every_type_of_event_becomes_its_data_of_its_user() {
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = connected(&cloud, 0, "ann", &[]).await;
    let all = notifications(&cloud, 0).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    until_arrived(&bridge, "ann", all.len()).await;
    let stored = all_events(&bridge, "ann").await;
    for kind in ["sleep", "readiness", "activity", "spo2", "stress", "recovery", "workout"] {
        assert!(stored.iter().any(|event| event["kind"] == kind), "{kind} among {:?}", kinds(&stored));
    }
    let oura = account(&cloud, "oura", 0).await;
    assert!(events(&bridge, &format!("oura:{oura}")).await.is_empty(), "the link decides whose it is");
    let has_mode = async |bridge: &Bridge| bridge.read("/v1/users/ann/state").await["mode"].is_string();
    bridge.until("it was folded", has_mode).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn through_storms_of_every_kind_everything_arrives_in_the_end() {
    // Whom the storm rate-limits, this vendor asks to wait for the end of its window, and means it.
    let second = Limit { requests: 10_000, window: Duration::from_secs(1) };
    let cloud = VendorCloud::start(2, |config| {
        config.limits = Limits { oura: second, whoop: second, whoop_day: second };
    });
    let bridge = connected(&cloud, 1, "bob", &[("VENDOR_RETRY_ATTEMPTS", "100")]).await;
    let all = notifications(&cloud, 1).await;
    // Fewer failures than open a breaker, which is another test's.
    storm(&cloud, FaultKind::ServerError, 0.05, None).await;
    storm(&cloud, FaultKind::BrokenJson, 0.05, None).await;
    storm(&cloud, FaultKind::RateLimit, 0.04, None).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    until_arrived(&bridge, "bob", all.len()).await;
    let stats = cloud.stats().await;
    for kind in ["server_error", "broken_json", "rate_limit"] {
        assert!(stats["faults"][kind].as_u64().is_some_and(|count| count > 0), "{stats}");
    }
    cloud.stop().await;
}

#[actix_web::test]
async fn a_full_queue_outlives_kill_9_and_is_fetched_by_the_next_process() {
    let cloud = VendorCloud::start(2, |config| config.delay = Duration::from_millis(30));
    let mut bridge = connected(&cloud, 0, "ann", &[]).await;
    let all = notifications(&cloud, 0).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    // In the middle of it: some are stored, some are on their way.
    bridge.until("the first", async |bridge| !events(bridge, "ann").await.is_empty()).await;
    bridge.kill();
    family::pass_leases(&bridge.folder).await;
    let bridge = bridge.restart().await;
    until_arrived(&bridge, "ann", all.len()).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn a_vendor_that_is_down_opens_its_breaker_and_the_other_does_not_notice() {
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = connected(&cloud, 0, "ann", &[("VENDOR_RETRY_ATTEMPTS", "6")]).await;
    let all = notifications(&cloud, 0).await;
    storm(&cloud, FaultKind::ServerError, 1.0, Some(Vendor::Whoop)).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    let of_oura = all.iter().filter(|(vendor, _)| *vendor == "oura").count();
    bridge.until("all of Oura", async |bridge| all_events(bridge, "ann").await.len() == of_oura).await;
    let state = async |bridge: &Bridge| {
        let node: Value = bridge.get("/actors/fetch/whoop").await.json().await.expect("JSON");
        node["breaker"]["state"].as_str().expect("a breaker").to_owned()
    };
    bridge.until("it is open", async |bridge| state(bridge).await == "open").await;
    let metrics = bridge.get("/metrics").await.text().await.expect("text");
    for line in
        [r#"auren_circuit_breaker_state{name="whoop"} 2"#, r#"auren_circuit_breaker_state{name="oura"} 0"#]
    {
        assert!(metrics.lines().any(|other| other == line), "{line} in {metrics}");
    }
    // Mended, and an operator closes it: nothing was given up meanwhile.
    cloud.heal().await;
    let reset = bridge.request(Method::POST, "/admin/breakers/whoop/reset").bearer_auth(ADMIN_KEY);
    assert_eq!(answer(reset).await.0, 202);
    until_arrived(&bridge, "ann", all.len()).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn whoops_tokens_are_refreshed_with_the_scope_that_it_wants() {
    // This cloud takes no refresh without it, and gives no further refresh token.
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = bridge_at(&cloud, &[QUICK, PLENTY[0], PLENTY[1]]).await;
    let id = connect_stale(&bridge, &cloud, "whoop", 0, "ann").await;
    let all = of_whoop(&cloud, 0).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    until_arrived(&bridge, "ann", all.len()).await;
    let stats = cloud.stats().await;
    assert_eq!(stats["refreshes"]["whoop"], json!({id: 1}), "{stats}");
    assert_eq!(stats["requests"]["whoop"]["token"], json!({"200": 1}), "{stats}");
    cloud.stop().await;
}

#[actix_web::test]
async fn what_comes_before_its_account_waits_for_it() {
    let cloud = VendorCloud::start(2, |_| {});
    let mut bridge = bridge_at(&cloud, &[QUICK, PLENTY[0], PLENTY[1]]).await;
    let all = notifications(&cloud, 1).await;
    let of_oura: Vec<_> = all.iter().filter(|(vendor, _)| *vendor == "oura").take(5).collect();
    for notification in &of_oura {
        tell(&bridge, notification).await;
    }
    bridge.kill();
    family::pass_leases(&bridge.folder).await;
    let bridge = bridge.restart().await;
    connect(&bridge, &cloud, "oura", 1, "bob").await;
    until_arrived(&bridge, "bob", of_oura.len()).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn a_deletion_takes_the_record_away_and_a_late_answer_does_not_bring_it_back() {
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = connected(&cloud, 0, "ann", &[]).await;
    let all = notifications(&cloud, 0).await;
    let workouts = all.iter().filter(|(_, body)| body["data_type"] == "workout").take(2);
    let workouts: Vec<Value> = workouts.map(|(_, body)| body.clone()).collect();
    for workout in &workouts {
        tell(&bridge, &("oura", workout.clone())).await;
    }
    until_arrived(&bridge, "ann", workouts.len()).await;
    let mut deletion = workouts[0].clone();
    deletion["event_type"] = json!("delete");
    deletion["event_time"] = json!(Timestamp::from_ms(START_MS + 1_000).to_string());
    let (status, told) = bridge.oura(&deletion).await;
    assert_eq!((status, told["status"].as_str()), (200, Some("processed")), "{told}");
    assert_eq!(all_events(&bridge, "ann").await.len(), workouts.len() - 1, "of the linked user");
    // An update of before comes again, with other bytes: its answer is older than the deletion.
    let mut again = workouts[0].clone();
    again["trace"] = json!("another");
    tell(&bridge, &("oura", again)).await;
    let asked = async |_: &Bridge| {
        let stats = cloud.stats().await;
        stats["requests"]["oura"]["api"]["200"].as_u64().is_some_and(|count| count > 0)
    };
    bridge.until("it was asked", asked).await;
    assert_eq!(all_events(&bridge, "ann").await.len(), workouts.len() - 1);
    cloud.stop().await;
}

#[actix_web::test]
async fn the_python_systems_notifications_fetch_for_users_of_ours() {
    let cloud = VendorCloud::start(2, |config| config.start_ms = crate::bridge::now_ms());
    let bridge = connected(&cloud, 0, "ann", &[]).await;
    let told = bridge.oura_inline(&json!({"event_type": "sleep.updated", "user_id": "ann"})).await;
    assert_eq!((told.0, told.1["status"].as_str()), (202, Some("accepted")), "{}", told.1);
    let has = async |bridge: &Bridge| {
        let all = all_events(bridge, "ann").await;
        kinds(&all).get("sleep").is_some_and(|count| *count >= 2)
    };
    bridge.until("the night and its summary", has).await;
    cloud.stop().await;
}
