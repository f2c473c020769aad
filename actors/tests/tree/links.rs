//! Whose a delivery in a vendor's own words is: the links decide, or nothing is committed.

use std::sync::Arc;

use actors::domain::account::{Account, Vendor, VendorUserId};
use actors::domain::delivery::{Header, Headers};
use actors::domain::ids::RequestId;
use actors::linked_users::LinkedUsers;
use actors::memory::{Fate, MemoryStore, Moment, StoreCall};
use actors::messages::{CommitError, HandleDelivery, Outcome};
use actors::ports::accounts::Link;
use actors::ports::store::StoreError;
use actors::ports::{Accounts as _, Clock as _};
use actors::vendors::oura::{Oura, OuraConfig};
use actors::vendors::terra::{Terra, TerraConfig};
use actors::vendors::{Device, RawDelivery, signing};

use crate::bridge::*;

const SECRET: &str = "test-oura-secret";

/// The fields that Oura's door looks at.
struct Signed([(&'static str, String); 2]);

impl Headers for Signed {
    fn get(&self, name: &str) -> Header<'_> {
        let field = self.0.iter().find(|(field, _)| *field == name);
        field.map_or(Header::Missing, |(_, value)| Header::One(value))
    }
}

fn oura() -> Arc<dyn Device> {
    let (webhook_secret, verification_token) = (SECRET.to_owned(), String::new());
    Arc::new(Oura::new(&OuraConfig { webhook_secret, verification_token, tolerance_s: 300 }))
}

fn bridge() -> Bridge {
    Bridge::with(Setup { device: oura(), ..Setup::default() })
}

async fn link(store: &MemoryStore, vendor: Vendor, id: &str, user_id: &str) {
    let account = Account { vendor, id: VendorUserId::parse(id).unwrap() };
    let link = Link { account, user_id: user(user_id), timezone: None, key_hash: None };
    store.put_link(&link, None).await.unwrap();
}

fn away() -> StoreError {
    StoreError::Unavailable("a fault of the test".to_owned())
}

async fn send(bridge: &Bridge, headers: &Signed, body: &str) -> Outcome {
    send_to(bridge, &*oura(), headers, body).await
}

async fn send_to(bridge: &Bridge, device: &dyn Device, headers: &Signed, body: &str) -> Outcome {
    let (body, received_at) = (body.to_owned().into(), bridge.clock.now());
    let verified = device.verify(RawDelivery { headers, query_user: None, body, received_at }).unwrap();
    let request_id = RequestId::generate();
    let message = HandleDelivery { verified: Arc::new(verified), received_at, request_id };
    within("an outcome", async { bridge.tree.devices[device.name()].ask(message).await.unwrap().await }).await
}

fn terra() -> Arc<dyn Device> {
    let config =
        TerraConfig { webhook_secret: SECRET.to_owned(), tolerance_s: 300, ..TerraConfig::default() };
    Arc::new(Terra::new(&config))
}

/// A message of Terra's.
async fn tell(bridge: &Bridge, body: serde_json::Value) -> Outcome {
    let body = body.to_string();
    let signature = signing::terra(SECRET, bridge.clock.now().as_ms() / 1_000, body.as_bytes());
    let headers = Signed([("x-terra-signature", signature), ("x-nothing", String::new())]);
    send_to(bridge, &*terra(), &headers, &body).await
}

/// Terra's user with this id.
fn of(id: &str) -> serde_json::Value {
    serde_json::json!({"user_id": id, "provider": "OURA"})
}

/// A day of theirs.
fn day(id: &str, day: u32) -> serde_json::Value {
    let metadata = serde_json::json!({"start_time": format!("2026-02-{day:02}T00:00:00Z")});
    let record = serde_json::json!({"metadata": metadata, "distance_data": {"steps": 100 + day}});
    serde_json::json!({"type": "daily", "user": of(id), "data": [record]})
}

/// In Oura's own words.
async fn native(bridge: &Bridge, body: &str) -> Outcome {
    let now_s = bridge.clock.now().as_ms() / 1_000;
    let signature = signing::oura(SECRET, now_s, body.as_bytes());
    send(bridge, &Signed([("x-oura-timestamp", now_s.to_string()), ("x-oura-signature", signature)]), body)
        .await
}

/// In the Python system's.
async fn inline(bridge: &Bridge, body: &str) -> Outcome {
    let signature = signing::inline(SECRET, body.as_bytes());
    send(bridge, &Signed([("signature", signature), ("x-nothing", String::new())]), body).await
}

fn deletion(of: &str, id: &str) -> String {
    let body = serde_json::json!({
        "event_type": "delete", "data_type": "sleep", "user_id": of, "object_id": id,
        "event_time": taken_at(1).to_string(),
    });
    body.to_string()
}

/// Whose the stored events are.
fn users(bridge: &Bridge) -> Vec<String> {
    bridge
        .store
        .read(|contents| contents.events.iter().map(|row| row.event.user_id.as_str().to_owned()).collect())
}

#[actix::test]
async fn what_a_vendor_tells_of_a_linked_account_is_its_users() {
    let bridge = bridge();
    link(&bridge.store, Vendor::Oura, "A1", "ada").await;
    link(&bridge.store, Vendor::Whoop, "B2", "somebody else").await;
    for (account, id) in [("A1", "record-1"), ("B2", "record-2")] {
        let outcome = native(&bridge, &deletion(account, id)).await;
        assert!(matches!(outcome, Outcome::Processed { .. }), "{outcome:?}");
    }
    assert_eq!(users(&bridge), ["ada", "oura:B2"], "a link is of one vendor alone");
    let again = native(&bridge, &deletion("A1", "record-1")).await;
    assert_eq!(again, Outcome::Duplicate { user: Some(user("ada")) });
    let notification = deletion("A1", "record-3").replace("\"delete\"", "\"update\"");
    assert_eq!(native(&bridge, &notification).await, Outcome::Accepted { user: user("ada") });
}

#[actix::test]
async fn nothing_is_committed_while_nobody_can_tell_whose_it_is() {
    let bridge = bridge();
    link(&bridge.store, Vendor::Oura, "A1", "ada").await;
    bridge.store.faults().fail(StoreCall::Link, 1, away());
    let lost = native(&bridge, &deletion("A1", "record-1")).await;
    assert_eq!(lost, Outcome::NotCommitted(CommitError::Store(away())));
    assert_eq!(users(&bridge), [""; 0]);
    let again = native(&bridge, &deletion("A1", "record-1")).await;
    assert!(matches!(again, Outcome::Processed { .. }), "{again:?}");
    assert_eq!(users(&bridge), ["ada"]);
}

#[actix::test]
async fn an_id_of_ours_is_ours_whatever_it_looks_like() {
    let bridge = bridge();
    link(&bridge.store, Vendor::Oura, "A1", "ada").await;
    // It would fail if anybody asked.
    bridge.store.faults().fail(StoreCall::Link, 1_000, away());
    let body = serde_json::json!({
        "user_id": "oura:A1", "timestamp": taken_at(1).to_string(), "hrv_data": {"rmssd": 45.0},
    });
    let outcome = inline(&bridge, &body.to_string()).await;
    assert!(matches!(outcome, Outcome::Processed { .. }), "{outcome:?}");
    assert_eq!(users(&bridge), ["oura:A1"]);
}

#[actix::test]
async fn healthkits_deliveries_ask_for_no_links() {
    let bridge = Bridge::start();
    link(&bridge.store, Vendor::HealthKit, "ann", "ada").await;
    bridge.store.faults().fail(StoreCall::Link, 1_000, away());
    for name in ["ann", "healthkit:ann"] {
        let outcome = bridge.deliver(heart_rate(name, 1)).await;
        assert!(matches!(outcome, Outcome::Processed { .. }), "{outcome:?}");
    }
    assert_eq!(users(&bridge), ["ann", "healthkit:ann"]);
}

#[actix::test]
async fn what_came_under_an_accounts_new_id_before_that_was_known_is_the_users_too() {
    let bridge = Bridge::with(Setup { device: terra(), ..Setup::default() });
    link(&bridge.store, Vendor::Terra, "old", "ada").await;
    for (id, on) in [("old", 1), ("new", 2), ("new", 3), ("other", 4)] {
        let outcome = tell(&bridge, day(id, on)).await;
        assert!(matches!(outcome, Outcome::Processed { .. }), "{outcome:?}");
    }
    assert_eq!(users(&bridge), ["ada", "terra:new", "terra:new", "terra:other"]);
    let reauth = serde_json::json!({"type": "user_reauth", "old_user": of("old"), "new_user": of("new")});
    // What cannot be done now is told, and is done when Terra tells again.
    bridge.store.faults().fail(StoreCall::MoveEvents, 1, away());
    assert_eq!(tell(&bridge, reauth.clone()).await, Outcome::NotCommitted(CommitError::Store(away())));
    assert_eq!(users(&bridge), ["ada", "terra:new", "terra:new", "terra:other"]);
    for _ in 0..2 {
        let outcome = tell(&bridge, reauth.clone()).await;
        assert!(matches!(outcome, Outcome::Ignored { .. }), "{outcome:?}");
        assert_eq!(users(&bridge), ["ada", "ada", "ada", "terra:other"]);
    }
    // They go out once more, as the user's history.
    let moved = bridge.store.read(|contents| {
        let of_ada = contents.events.iter().filter(|row| row.event.user_id == user("ada"));
        of_ada.map(|row| row.event.is_backfill).collect::<Vec<bool>>()
    });
    assert_eq!(moved, [false, true, true]);
    bridge.tree.stop().await;
}

#[actix::test]
async fn what_is_on_its_way_while_its_account_is_linked_is_the_users() {
    let bridge = Bridge::with(Setup { device: terra(), ..Setup::default() });
    let during_its_commit = async |id: &str, user: &str| {
        let mut held = bridge.store.faults().hold(StoreCall::CommitDeliveries, Moment::Before);
        let linking = async {
            within("its commit", held.reached()).await;
            link(&bridge.store, Vendor::Terra, id, user).await;
            held.release();
        };
        tokio::join!(tell(&bridge, day(id, 1)), linking).0
    };
    let outcome = during_its_commit("a-1", "ada").await;
    assert!(matches!(outcome, Outcome::Processed { .. }), "{outcome:?}");
    assert_eq!(users(&bridge), ["ada"]);
    // If that fails Terra hears of it, and what comes again is moved.
    bridge.store.faults().fail(StoreCall::MoveEvents, 1, away());
    let outcome = during_its_commit("b-2", "bob").await;
    assert_eq!(outcome, Outcome::NotCommitted(CommitError::Store(away())));
    assert_eq!(tell(&bridge, day("b-2", 1)).await, Outcome::Duplicate { user: Some(user("bob")) });
    assert_eq!(users(&bridge), ["ada", "bob"]);
    bridge.tree.stop().await;
}

#[actix::test]
async fn an_account_that_a_delivery_names_often_is_looked_up_once() {
    let store = Arc::new(MemoryStore::default());
    link(&store, Vendor::Oura, "A1", "ada").await;
    store.faults().script(StoreCall::Link, [Fate::Pass, Fate::Pass, Fate::FailBefore(away())]);
    let mut users = LinkedUsers::new(Arc::clone(&store) as _, Some(Vendor::Oura));
    for (named, expected) in [
        ("oura:A1", "ada"),
        ("oura:A1", "ada"),
        ("oura:B2", "oura:B2"),
        ("oura:B2", "oura:B2"),
        ("ada", "ada"),
    ] {
        let mut resolved = user(named);
        users.resolve(&mut resolved).await.unwrap();
        assert_eq!(resolved, user(expected));
    }
    assert!(users.resolve(&mut user("oura:C3")).await.is_err(), "the third look-up fails");
}
