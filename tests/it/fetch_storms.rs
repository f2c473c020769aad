//! A vendor that allows less than the bridge believes: real answers 429, and what they ask for.

use std::time::{Duration, Instant};

use biometric_bridge::demo::cloud::{Config, FaultKind, Limit, Vendor};
use reqwest::Method;
use serde_json::Value;

use crate::answers::events;
use crate::bridge::{ADMIN_KEY, Bridge, answer};
use crate::cloud::VendorCloud;
use crate::fetching::{
    self, PLENTY, QUICK, all_events, bridge_at, connect, dead_letters, of_oura, of_whoop, tell, until_arrived,
};

/// Deliveries of the vendor that is well, each awaited before the next.
const LIVE: usize = 7;
/// What the machine may add to them while it works for the other vendor.
const SPARE: Duration = Duration::from_secs(2);

type Notifications = Vec<(&'static str, Value)>;

/// What both are told of at each vendor, from a cloud without the storm's limits.
async fn known(person: usize) -> (Notifications, Notifications) {
    let lists = VendorCloud::start(2, |_| {});
    let known = (of_oura(&lists, person, 12).await, of_whoop(&lists, person).await);
    lists.stop().await;
    known
}

/// How long each of these takes from the notification until it can be read, by itself: their median.
async fn median(bridge: &Bridge, user: &str, notifications: &[(&'static str, Value)]) -> Duration {
    let mut times = Vec::new();
    for notification in notifications {
        let (started, before) = (Instant::now(), events(bridge, user).await.len());
        tell(bridge, notification).await;
        bridge.until("it is there", async |bridge| events(bridge, user).await.len() > before).await;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Sends everything of one vendor, whose cloud takes less than the bridge believes, and some of the other's meanwhile.
async fn storm(many: Notifications, few: Notifications, change: impl FnOnce(&mut Config)) {
    let cloud = VendorCloud::start(2, change);
    let bridge = bridge_at(&cloud, &[QUICK, PLENTY[0], PLENTY[1]]).await;
    let (sick, well) = (many[0].0, few[0].0);
    connect(&bridge, &cloud, sick, 0, "ann").await;
    connect(&bridge, &cloud, well, 0, "bob").await;
    let (calm, stormy) = (&few[..LIVE], &few[LIVE..2 * LIVE]);
    let without = median(&bridge, "bob", calm).await;
    for notification in &many {
        tell(&bridge, notification).await;
    }
    let with = median(&bridge, "bob", stormy).await;
    assert!(all_events(&bridge, "ann").await.len() < many.len(), "it was over before it was measured");
    assert!(with <= 3 * without + SPARE, "{well} took {with:?} beside the storm, {without:?} without");
    until_arrived(&bridge, "ann", many.len()).await;
    let refused = cloud.stats().await["requests"][sick]["api"]["429"].as_u64().unwrap_or_default();
    assert!(refused > 0, "{sick} has never refused anything");
    assert!(dead_letters(&bridge).await < 0.5);
    cloud.stop().await;
}

#[actix_web::test]
async fn everything_of_a_rate_limited_oura_arrives_and_whoop_keeps_its_time() {
    let (oura, whoop) = known(0).await;
    let limit = Limit { requests: 10, window: Duration::from_secs(1) };
    storm(oura, whoop, |config| config.limits.oura = limit).await;
}

#[actix_web::test]
async fn everything_of_a_rate_limited_whoop_arrives_and_oura_keeps_its_time() {
    let (oura, whoop) = known(0).await;
    let limit = Limit { requests: 1, window: Duration::from_secs(1) };
    storm(whoop, oura, |config| config.limits.whoop = limit).await;
}

/// The state of WHOOP's breaker.
async fn breaker(bridge: &Bridge) -> String {
    let node: Value = bridge.get("/actors/fetch/whoop").await.json().await.expect("JSON");
    node["breaker"]["state"].as_str().expect("a breaker").to_owned()
}

#[actix_web::test]
async fn while_whoops_breaker_is_open_oura_keeps_its_time() {
    let (oura, whoop) = known(0).await;
    let cloud = VendorCloud::start(2, |_| {});
    let attempts = ("VENDOR_RETRY_ATTEMPTS", "100");
    let bridge = bridge_at(&cloud, &[QUICK, PLENTY[0], PLENTY[1], attempts]).await;
    connect(&bridge, &cloud, "whoop", 0, "ann").await;
    connect(&bridge, &cloud, "oura", 0, "bob").await;
    let without = median(&bridge, "bob", &oura[..LIVE]).await;
    fetching::storm(&cloud, FaultKind::ServerError, 1.0, Some(Vendor::Whoop)).await;
    for notification in &whoop {
        tell(&bridge, notification).await;
    }
    bridge.until("it is open", async |bridge| breaker(bridge).await == "open").await;
    let with = median(&bridge, "bob", &oura[LIVE..2 * LIVE]).await;
    assert_eq!(breaker(&bridge).await, "open", "it was over before it was measured");
    assert!(with <= 3 * without + SPARE, "oura took {with:?} beside it, {without:?} without");
    cloud.heal().await;
    let reset = bridge.request(Method::POST, "/admin/breakers/whoop/reset").bearer_auth(ADMIN_KEY);
    assert_eq!(answer(reset).await.0, 202);
    until_arrived(&bridge, "ann", whoop.len()).await;
    cloud.stop().await;
}
