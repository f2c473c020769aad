//! `kill -9` where it hurts most: while a token is being refreshed, and between a fetch and its commit.

use biometric_bridge::demo::cloud::{FaultKind, Route, Vendor};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::answers::log_read;
use crate::bridge::{ADMIN_KEY, Bridge};
use crate::cloud::VendorCloud;
use crate::fetching::{
    PLENTY, QUICK, all_events, bridge_at, connect, connect_stale, connected, dead_letters, fault,
    notifications, of_oura, tell, until_arrived,
};

/// How long the next process waits for a lease that nobody ends.
const LEASE: (&str, &str) = ("OAUTH_LOCK_TTL_SECONDS", "1");
/// Longer than a test takes.
const FOR_EVER_SECONDS: f64 = 600.0;

/// How often the cloud has answered so under these names.
async fn count(cloud: &VendorCloud, path: &[&str]) -> u64 {
    let stats = cloud.stats().await;
    path.iter().fold(&stats, |place, name| &place[*name]).as_u64().unwrap_or_default()
}

/// All requests for tokens of Oura's, whatever came of them.
async fn token_requests(cloud: &VendorCloud) -> u64 {
    let stats = cloud.stats().await;
    let statuses = stats["requests"]["oura"]["token"].as_object();
    statuses.map_or(0, |statuses| statuses.values().filter_map(Value::as_u64).sum())
}

async fn to_be_reconnected(bridge: &Bridge) -> Vec<String> {
    let request = bridge.request(reqwest::Method::GET, "/admin/links?state=needs_reconnection");
    let response = request.bearer_auth(ADMIN_KEY).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let listed: Value = response.json().await.expect("JSON");
    let links = listed["links"].as_array().unwrap_or_else(|| panic!("no links: {listed}"));
    links.iter().map(|link| link["vendor_user_id"].as_str().expect("an id").to_owned()).collect()
}

/// Kills a bridge while Oura's answer to a refresh is on its way, held by `held`; gives back the next process. Ann's
/// token has ended, and Bob's has not.
async fn killed_in_mid_refresh(cloud: &VendorCloud, held: FaultKind, status: &str) -> (Bridge, String) {
    let bridge = bridge_at(cloud, &[QUICK, PLENTY[0], PLENTY[1], LEASE]).await;
    let ann = connect_stale(&bridge, cloud, "oura", 0, "ann").await;
    connect(&bridge, cloud, "oura", 1, "bob").await;
    let hold = json!({
        "kind": held.name(), "route": Route::Token, "vendor": Vendor::Oura, "hold_seconds": FOR_EVER_SECONDS,
    });
    fault(cloud, hold).await;
    for notification in of_oura(cloud, 0, 4).await {
        tell(&bridge, &notification).await;
    }
    let begun = ["requests", "oura", "token", status];
    bridge.until("the refresh is under way", async |_| count(cloud, &begun).await > 0).await;
    let bridge = bridge.restart().await;
    cloud.heal().await;
    (bridge, ann)
}

/// Bob's records come as though nothing had happened, and his token is the one that he had.
async fn bob_is_untouched(bridge: &Bridge, cloud: &VendorCloud, refreshed: &[(&str, u64)]) {
    let of_bob = of_oura(cloud, 1, 4).await;
    for notification in &of_bob {
        tell(bridge, notification).await;
    }
    until_arrived(bridge, "bob", of_bob.len()).await;
    let refreshes = &cloud.stats().await["refreshes"]["oura"];
    let want: Value = refreshed.iter().map(|(id, count)| ((*id).to_owned(), json!(count))).collect();
    assert_eq!(refreshes, &want, "of nobody else");
}

#[actix_web::test]
async fn killed_before_the_vendor_has_refreshed_the_next_process_goes_on() {
    let cloud = VendorCloud::start(2, |_| {});
    let (bridge, ann) = killed_in_mid_refresh(&cloud, FaultKind::TimeOut, "504").await;
    let of_ann = of_oura(&cloud, 0, 4).await;
    until_arrived(&bridge, "ann", of_ann.len()).await;
    assert!(to_be_reconnected(&bridge).await.is_empty());
    // The one that was held may have been two: the next process may have asked before the cloud was healed.
    let asked = token_requests(&cloud).await;
    assert!((2..=3).contains(&asked), "{asked} requests for tokens");
    bob_is_untouched(&bridge, &cloud, &[(&ann, 1)]).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn killed_when_the_vendor_had_refreshed_the_account_is_marked_and_not_asked_for_again() {
    let cloud = VendorCloud::start(2, |_| {});
    let (bridge, ann) = killed_in_mid_refresh(&cloud, FaultKind::SlowBody, "200").await;
    let marked = async |bridge: &Bridge| to_be_reconnected(bridge).await == [ann.clone()];
    bridge.until("it is marked", marked).await;
    // Whatever is told of the account from now on, the vendor hears nothing.
    let (told, of_ann) = (of_oura(&cloud, 0, 4).await, of_oura(&cloud, 0, 6).await);
    for notification in of_ann.iter().filter(|notification| !told.contains(notification)) {
        tell(&bridge, notification).await;
    }
    bob_is_untouched(&bridge, &cloud, &[(&ann, 1)]).await;
    assert_eq!(count(&cloud, &["refused_refreshes", "oura"]).await, 1, "one refusal is enough");
    assert_eq!(token_requests(&cloud).await, 2);
    assert!(all_events(&bridge, "ann").await.is_empty());
    assert!(dead_letters(&bridge).await < 0.5);
    // Connected again, everything comes that has waited.
    connect(&bridge, &cloud, "oura", 0, "ann").await;
    until_arrived(&bridge, "ann", of_ann.len()).await;
    assert!(to_be_reconnected(&bridge).await.is_empty());
    cloud.stop().await;
}

/// As often as it is killed in the midst of fetches.
const KILLS: usize = 8;

#[actix_web::test]
async fn killed_again_and_again_between_fetch_and_commit_everything_arrives_once() {
    let seed = std::env::var("BRIDGE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(23_u64);
    let mut dice = StdRng::seed_from_u64(seed);
    let cloud = VendorCloud::start(2, |_| {});
    let all = notifications(&cloud, 0).await;
    let listed = answered(&cloud).await;
    // Long enough on their way that there is always one between the vendor and the store.
    let slow =
        json!({"kind": FaultKind::SlowBody.name(), "route": Route::Api, "share": 0.5, "hold_seconds": 0.2});
    fault(&cloud, slow).await;
    let mut bridge = connected(&cloud, 0, "ann", &[]).await;
    for notification in &all {
        tell(&bridge, notification).await;
    }
    for _ in 0..KILLS {
        let (before, more) = (answered(&cloud).await, dice.random_range(1..all.len() as u64 / 8));
        let enough = async |bridge: &Bridge| {
            answered(&cloud).await >= before + more || all_events(bridge, "ann").await.len() == all.len()
        };
        bridge.until("some more were answered", enough).await;
        bridge = bridge.restart().await;
    }
    cloud.heal().await;
    until_arrived(&bridge, "ann", all.len()).await;
    let on_the_log = log_read(&bridge, "biometric-events");
    let mut ids: Vec<&str> =
        on_the_log.iter().filter_map(|record| record["value"]["event_id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), on_the_log.len(), "seed {seed}: each once on the log, too");
    let fetched = answered(&cloud).await - listed;
    assert!(fetched > all.len() as u64, "seed {seed}: no kill came between fetch and commit");
    cloud.stop().await;
}

/// How many records the cloud has given out at both vendors.
async fn answered(cloud: &VendorCloud) -> u64 {
    let stats = cloud.stats().await;
    let of = |vendor: &str| stats["requests"][vendor]["api"]["200"].as_u64().unwrap_or_default();
    of("oura") + of("whoop")
}
