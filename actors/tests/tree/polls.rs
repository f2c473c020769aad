//! What vendors tell nothing of is asked for at intervals, over all bridges once, and leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actors::domain::account::{Account, Vendor, VendorUserId};
use actors::domain::time::Timestamp;
use actors::memory::{MemoryOAuth, MemoryVault, MemoryVendorApi, Reply};
use actors::ports::accounts::{Link, NewTokens};
use actors::ports::fetch_queue::FetchCounts;
use actors::ports::vendor_api::ApiError;
use actors::ports::{Accounts as _, Clock as _, FetchQueue as _, Vault as _};
use actors::vendor_fetch::RetryPolicy;

use crate::bridge::{Bridge, Setup, user, within};

/// Looked at every tenth of a second.
const INTERVAL: Duration = Duration::from_millis(1_500);
const HEART_RATE: &str = "/v2/usercollection/heartrate";
const EMPTY: &str = r#"{"data":[],"records":[]}"#;

fn start(vendor: Vendor) -> (Bridge, Arc<MemoryVendorApi>, Arc<MemoryOAuth>) {
    let oauth = Arc::new(MemoryOAuth::new(Duration::from_secs(3_600)));
    let api = Arc::new(MemoryVendorApi::behind(Arc::clone(&oauth)));
    let setup = Setup {
        oauth: Arc::clone(&oauth),
        api: Arc::clone(&api),
        poll_intervals: BTreeMap::from([(vendor, INTERVAL)]),
        vendor_retry: RetryPolicy { base: Duration::from_millis(1), attempts: 3 },
        ..Setup::default()
    };
    (Bridge::with(setup), api, oauth)
}

async fn connect(bridge: &Bridge, oauth: &MemoryOAuth, vendor: Vendor, name: &str) -> Account {
    let account = Account { vendor, id: VendorUserId::parse(name).unwrap() };
    let now = bridge.clock.now();
    let tokens = NewTokens {
        sealed: MemoryVault::default().seal(&account, &oauth.connect()).unwrap(),
        scope: None,
        obtained_at: now,
        expires_at: Some(now.plus_ms(3_600_000)),
    };
    let link = Link { account: account.clone(), user_id: user(name), timezone: None, key_hash: None };
    bridge.store.put_link(&link, Some(&tokens)).await.unwrap();
    account
}

/// The ends of the spans of so many hours that were asked for.
fn polled_until(api: &MemoryVendorApi, hours: i64) -> Vec<Timestamp> {
    let span = |target: String| {
        let query = target.strip_prefix(HEART_RATE)?.strip_prefix('?')?.to_owned();
        let (from, to) = query.strip_prefix("start_datetime=")?.split_once("&end_datetime=")?;
        let [from, to] = [from, to].map(|text| Timestamp::parse_rfc3339(text).unwrap());
        (to.ms_since(from) == hours * 3_600_000).then_some(to)
    };
    api.asked().into_iter().filter_map(span).collect()
}

async fn until_asked(bridge: &Bridge, api: &MemoryVendorApi, count: usize) {
    bridge.until("polled", |_| polled_until(api, 3).len() >= count).await;
}

async fn counts(bridge: &Bridge, vendor: Vendor) -> FetchCounts {
    let counts = bridge.store.count_fetches().await.unwrap();
    counts.into_iter().find(|(other, _)| *other == vendor).map(|(_, counts)| counts).unwrap_or_default()
}

#[actix::test]
async fn bridges_poll_an_account_once_an_interval_whatever_dies() {
    let (bridge, api, oauth) = start(Vendor::Oura);
    api.put(HEART_RATE, Reply::with(EMPTY));
    let other = bridge.beside();
    connect(&bridge, &oauth, Vendor::Oura, "ann").await;
    until_asked(&bridge, &api, 1).await;
    for round in 2..=5 {
        for bridge in [&bridge, &other] {
            bridge.clock.advance_ms(INTERVAL.as_millis() as i64);
        }
        until_asked(&bridge, &api, round).await;
    }
    // The process after a death knows nothing of what was polled, and somebody new tells that it has looked.
    let now = bridge.clock.now();
    other.tree.stop().await;
    let next = bridge.next_process().await;
    next.clock.advance_ms(now.ms_since(next.clock.now()));
    connect(&next, &oauth, Vendor::Oura, "bob").await;
    until_asked(&next, &api, 6).await;
    let mut ends = polled_until(&api, 3);
    assert_eq!(ends.len(), 6, "five intervals of one account, one of another");
    ends.truncate(5);
    assert!(ends.windows(2).all(|two| two[1].ms_since(two[0]) == INTERVAL.as_millis() as i64), "{ends:?}");
    // The rarer ones once each, unless their own interval has ended meanwhile.
    assert!(!polled_until(&api, 48).is_empty() && polled_until(&api, 48).len() <= 3);
    assert!(!polled_until(&api, 8 * 24).is_empty() && polled_until(&api, 8 * 24).len() <= 3);
    next.tree.stop().await;
}

#[actix::test]
async fn only_accounts_whose_tokens_are_of_use_are_polled() {
    let (bridge, api, oauth) = start(Vendor::Oura);
    api.put(HEART_RATE, Reply::with(EMPTY));
    for (name, has_tokens) in [("untokened", false), ("elsewhere", true), ("unlinked", true)] {
        let vendor = if name == "elsewhere" { Vendor::Whoop } else { Vendor::Oura };
        let account = Account { vendor, id: VendorUserId::parse(name).unwrap() };
        if has_tokens {
            connect(&bridge, &oauth, vendor, name).await;
        } else {
            let link = Link { account: account.clone(), user_id: user(name), timezone: None, key_hash: None };
            bridge.store.put_link(&link, None).await.unwrap();
        }
        if name == "unlinked" {
            bridge.store.delete_link(&account).await.unwrap();
        }
    }
    connect(&bridge, &oauth, Vendor::Oura, "zoe").await;
    until_asked(&bridge, &api, 1).await;
    let delivered = bridge.store.read(|contents| {
        let polls = contents.deliveries.iter().flat_map(|delivery| &delivery.fetches);
        polls.map(|poll| poll.whose.to_text()).collect::<Vec<String>>()
    });
    assert!(delivered.iter().all(|whose| whose == "vendor:zoe"), "{delivered:?}");
    assert_eq!(polled_until(&api, 3).len(), 1);
    bridge.tree.stop().await;
}

#[actix::test]
async fn a_poll_that_comes_to_nothing_is_no_dead_letter_and_opens_no_breaker() {
    let (bridge, api, oauth) = start(Vendor::Whoop);
    connect(&bridge, &oauth, Vendor::Whoop, "77").await;
    for path in ["/v2/cycle", "/v2/activity/sleep"] {
        api.put(path, Reply::with(EMPTY));
    }
    // Nobody has these (404), is let have these, or can read these.
    api.put("/v2/recovery", ApiError::Refused { status: 400 }.into());
    api.put("/v2/activity/workout", Reply::with(r#"{"records":[{"score_state":"PENDING_SCORE","id":"a"}]}"#));
    let targets = ["/v2/cycle", "/v2/activity/sleep", "/v2/recovery", "/v2/activity/workout"];
    let is_asked = |path: &&str| api.asked().iter().any(|target| target.starts_with(*path));
    bridge.until("polled", |_| targets.iter().all(is_asked) && is_asked(&"/v2/user/measurement/body")).await;
    let wait = async {
        let mut changes = bridge.store.changes();
        while counts(&bridge, Vendor::Whoop).await != FetchCounts::default() {
            changes.changed().await.unwrap();
        }
    };
    within("nothing is left behind", wait).await;
    let asked = api.asked();
    for path in ["/v2/user/measurement/body", "/v2/recovery", "/v2/activity/workout"] {
        let times = asked.iter().filter(|target| target.starts_with(path)).count();
        assert_eq!(times, 1, "{path} is left to the next poll");
    }
    bridge.tree.stop().await;
}
