//! Two bridges over one PostgreSQL that fetch from one cloud: one refresh, one budget, and what a dead one leaves.

use std::path::Path;
use std::time::Duration;

use biometric_bridge::demo::cloud::{FaultKind, Limit, Route};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bridge::Bridge;
use crate::cloud::VendorCloud;
use crate::family;
use crate::fetching::{
    PLENTY, QUICK, all_events, connect, connect_stale, fault, of_oura, settings, tell_until_taken,
    until_arrived,
};

/// Notifications on their way at once.
const CALLERS: usize = 16;
/// What one bridge may have in hand (`IN_HAND_MAX`).
const IN_HAND: usize = actors::vendor_fetch::IN_HAND_MAX;

/// Two bridges on the same engines.
struct Pair {
    one: Bridge,
    other: Bridge,
    homes: [TempDir; 2],
}

impl Pair {
    /// `None`: there is no PostgreSQL to share.
    async fn start(cloud: &VendorCloud, more: &[(&str, &str)]) -> Option<Self> {
        let homes = [TempDir::new().expect("a folder"), TempDir::new().expect("a folder")];
        let engines = family::settings(homes[0].path(), &[]);
        engines.iter().find(|(name, _)| *name == "POSTGRES_URL")?;
        let own = settings(cloud);
        let mut shared: Vec<(&str, &str)> =
            engines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        shared.extend(own.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        shared.extend([QUICK]);
        shared.extend(more);
        let start = async |home: &Path| Bridge::start_in(home, &shared).await;
        let (one, other) = (start(homes[0].path()).await, start(homes[1].path()).await);
        Some(Self { one, other, homes })
    }

    /// Tells both in turn, many at once.
    async fn tell(&self, all: &[(&'static str, Value)]) {
        let telling = stream::iter(all.iter().enumerate()).map(|(number, notification)| {
            tell_until_taken(if number % 2 == 0 { &self.one } else { &self.other }, notification)
        });
        telling.buffer_unordered(CALLERS).for_each(|()| std::future::ready(())).await;
    }
}

/// A person's records, listed by a cloud of the same people: what is counted is what the bridges ask.
async fn records(count: usize) -> Vec<(&'static str, Value)> {
    let lists = VendorCloud::start(2, |_| {});
    let mut all = of_oura(&lists, 0, 100).await;
    lists.stop().await;
    assert!(all.len() >= count, "only {} records", all.len());
    all.truncate(count);
    all
}

#[actix_web::test]
async fn five_hundred_that_need_a_token_at_two_bridges_refresh_it_once() {
    let cloud = VendorCloud::start(2, |_| {});
    let Some(bridges) = Pair::start(&cloud, &PLENTY).await else { return };
    let id = connect_stale(&bridges.one, &cloud, "oura", 0, "ann").await;
    // Everybody is there before it is over.
    fault(&cloud, json!({"kind": FaultKind::SlowBody.name(), "route": Route::Token, "hold_seconds": 1.0}))
        .await;
    let all = records(500).await;
    bridges.tell(&all).await;
    until_arrived(&bridges.other, "ann", all.len()).await;
    let stats = cloud.stats().await;
    assert_eq!(stats["refreshes"], json!({"oura": {id: 1}}), "{stats}");
    assert_eq!(stats["requests"]["oura"]["token"], json!({"200": 1}), "{stats}");
    cloud.stop().await;
}

#[actix_web::test]
async fn what_a_bridge_had_in_hand_when_it_was_killed_the_other_fetches() {
    // Long enough that hands are full when all have been told of.
    let cloud = VendorCloud::start(2, |config| config.delay = Duration::from_secs(2));
    let Some(mut bridges) = Pair::start(&cloud, &PLENTY).await else { return };
    connect(&bridges.one, &cloud, "oura", 0, "ann").await;
    let all = records(400).await;
    bridges.tell(&all).await;
    let first = async |bridge: &Bridge| !all_events(bridge, "ann").await.is_empty();
    bridges.other.until("the first", first).await;
    bridges.one.kill();
    let there = async |bridge: &Bridge| all_events(bridge, "ann").await.len();
    let rest = async |bridge: &Bridge| there(bridge).await + IN_HAND >= all.len();
    bridges.other.until("all that was in nobody's hands", rest).await;
    // What is left is leased to a bridge that is no more, for 20 seconds: they pass now.
    assert!(there(&bridges.other).await < all.len(), "the dead bridge had nothing in hand");
    family::pass_leases(bridges.homes[0].path()).await;
    until_arrived(&bridges.other, "ann", all.len()).await;
    cloud.stop().await;
}

#[actix_web::test]
async fn two_bridges_together_ask_no_more_than_the_vendor_allows() {
    // The vendor's window is shorter than they are told: a machine that holds a request for less than those two seconds
    // changes nothing. Each for itself, they would ask for all in the first of them.
    let limit = Limit { requests: 100, window: Duration::from_secs(8) };
    let cloud = VendorCloud::start(2, |config| config.limits.oura = limit);
    let Some(bridges) = Pair::start(&cloud, &[("OURA_RATE_LIMIT", "100/10")]).await else { return };
    connect(&bridges.one, &cloud, "oura", 0, "ann").await;
    let all = records(150).await;
    bridges.tell(&all).await;
    until_arrived(&bridges.one, "ann", all.len()).await;
    let stats = cloud.stats().await;
    assert_eq!(stats["requests"]["oura"]["api"]["429"], Value::Null, "{stats}");
    let busiest = stats["busiest_window"]["oura"].as_u64().expect("a number");
    assert!(busiest <= 100, "{busiest} in a window: {stats}");
    cloud.stop().await;
}
