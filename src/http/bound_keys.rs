//! Keys that are bound to one user, looked up before anybody knows who asks.
//!
//! Whoever offers something in the form of such a key makes the bridge ask its store. So that nobody takes the store from
//! others by that: few are looked up at once; keys that were good before have slots of their own, which wrong ones cannot
//! fill; and a key that was nobody's a moment ago is not looked up again.

use std::collections::{HashMap, HashSet};

use actix_web::HttpRequest;
use actors::domain::delivery::{DecodeError, Headers, VerifyError};
use actors::domain::ids::UserId;
use actors::ports::Accounts;
use actors::ports::accounts::Link;
use actors::ports::store::StoreError;
use actors::vendors::long::Head;
use actors::vendors::{Device, RawDelivery, Verified};
use parking_lot::Mutex;
use std::time::Instant;

use super::admission::{Lane, NoRoom};
use super::problem::{ErrorType, Problem};
use super::read_api::store_down;
use super::state::Doors;
use crate::settings::{
    KEY_LOOKUP_QUEUE_MAX, KEY_LOOKUP_WAIT, KEY_LOOKUPS_MAX, KEYS_REMEMBERED_MAX, UNKNOWN_KEY_FOR,
};

type KeyHash = [u8; 32];

/// What is known of keys, and the way to the store for those of which nothing is.
pub struct BoundKeys {
    good: Lane,
    others: Lane,
    memory: Mutex<Memory>,
}

/// Both are emptied when they are full: all that is lost is that keys are looked up once more.
#[derive(Default)]
struct Memory {
    /// They were somebody's when they were last looked up.
    good: HashSet<KeyHash>,
    /// They were nobody's, and since when.
    unknown: HashMap<KeyHash, Instant>,
}

/// Why nobody knows whose a key is.
enum NotFound {
    NoRoom(NoRoom),
    Store(StoreError),
}

impl Default for BoundKeys {
    fn default() -> Self {
        let lane = || Lane::new(KEY_LOOKUPS_MAX, KEY_LOOKUP_QUEUE_MAX, KEY_LOOKUP_WAIT);
        Self { good: lane(), others: lane(), memory: Mutex::default() }
    }
}

impl Memory {
    /// A key is never made with a hash that was tried before, save in a database that was put back.
    fn is_unknown(&self, hash: &KeyHash) -> bool {
        self.unknown.get(hash).is_some_and(|since| since.elapsed() < UNKNOWN_KEY_FOR)
    }

    fn remember(&mut self, hash: KeyHash, is_good: bool) {
        if is_good {
            if self.good.len() >= KEYS_REMEMBERED_MAX {
                self.good.clear();
            }
            self.good.insert(hash);
            return;
        }
        self.good.remove(&hash);
        if self.unknown.len() >= KEYS_REMEMBERED_MAX {
            self.unknown.clear();
        }
        self.unknown.insert(hash, Instant::now());
    }
}

impl BoundKeys {
    /// Whose a key is. A good one is looked up each time: it may have been taken back on another bridge.
    async fn find(&self, accounts: &dyn Accounts, hash: &KeyHash) -> Result<Option<Link>, NotFound> {
        let lane = {
            let memory = self.memory.lock();
            if memory.is_unknown(hash) {
                return Ok(None);
            }
            if memory.good.contains(hash) { &self.good } else { &self.others }
        };
        let _slot = lane.slot().await.map_err(NotFound::NoRoom)?;
        let link = accounts.link_by_key(hash).await.map_err(NotFound::Store)?;
        self.memory.lock().remember(*hash, link.is_some());
        Ok(link)
    }
}

/// Has the device believe a delivery; by a key that is bound to one user if it came with one. Keys of two users contradict
/// each other.
pub(super) async fn verify(
    request: &HttpRequest,
    doors: &Doors,
    device: &dyn Device,
    raw: RawDelivery<'_>,
) -> Result<Result<Verified, VerifyError>, Problem> {
    Ok(match find_bound(request, doors, device, raw.headers).await? {
        Some((held, user)) => device.verify_bound(raw, &held, &user),
        None => device.verify(raw),
    })
}

/// The same, by the head of a delivery of a device that takes long bodies.
pub(super) async fn verify_head(
    request: &HttpRequest,
    doors: &Doors,
    device: &dyn Device,
    raw: RawDelivery<'_>,
) -> Result<Result<Head, VerifyError>, Problem> {
    Ok(match (find_bound(request, doors, device, raw.headers).await?, device.long_bodies()) {
        (Some((held, user)), _) => device.verify_bound(raw, &held, &user).map(Head::Proven),
        (None, Some(long_bodies)) => long_bodies.verify_head(raw),
        (None, None) => Err(VerifyError::NoSecret),
    })
}

/// Whose key a delivery came with, if it is one user's.
async fn find_bound(
    request: &HttpRequest,
    doors: &Doors,
    device: &dyn Device,
    headers: &dyn Headers,
) -> Result<Option<(KeyHash, UserId)>, Problem> {
    let mut bound: Option<(KeyHash, UserId)> = None;
    for hash in device.bound_keys(headers) {
        let link = doors.bound_keys.find(&*doors.accounts, &hash).await.map_err(|error| match error {
            NotFound::NoRoom(error) => Problem::no_room(request, error),
            NotFound::Store(error) => store_down(request, &error),
        })?;
        let Some((held, user)) = link.and_then(|link| Some((link.key_hash?, link.user_id))) else { continue };
        match &bound {
            Some((_, other)) if *other != user => {
                let detail = DecodeError::UsersDiffer.to_string();
                return Err(Problem::new(request, ErrorType::ValidationError, detail));
            }
            Some(_) => {}
            None => bound = Some((held, user)),
        }
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actors::domain::account::{Account, Vendor, VendorUserId};
    use actors::memory::{MemoryStore, Moment, StoreCall};
    use futures_util::FutureExt;

    use super::*;

    fn found(result: Result<Option<Link>, NotFound>) -> Option<Link> {
        result.unwrap_or_else(|_| panic!("it was not looked up"))
    }

    async fn with_key(store: &MemoryStore, hash: KeyHash) -> Link {
        let account = Account { vendor: Vendor::HealthKit, id: VendorUserId::parse("ann").unwrap() };
        let user_id = UserId::parse("ann").unwrap();
        let link = Link { account, user_id, timezone: None, key_hash: Some(hash) };
        store.put_link(&link, None).await.unwrap();
        link
    }

    #[tokio::test]
    async fn wrong_keys_do_not_keep_good_ones_waiting() {
        let (keys, store) = (Arc::new(BoundKeys::default()), Arc::new(MemoryStore::default()));
        let good = with_key(&store, [0; 32]).await;
        assert_eq!(found(keys.find(&*store, &[0; 32]).await), Some(good.clone()));
        let mut held: Vec<_> =
            (0..KEY_LOOKUPS_MAX).map(|_| store.faults().hold(StoreCall::LinkByKey, Moment::Before)).collect();
        for wrong in 1..=100_u8 {
            let (keys, store) = (Arc::clone(&keys), Arc::clone(&store));
            tokio::spawn(async move { found(keys.find(&*store, &[wrong; 32]).await) });
        }
        for held in &mut held {
            held.reached().await;
        }
        assert_eq!(found(keys.find(&*store, &[0; 32]).await), Some(good));
        let one_more = keys.find(&*store, &[200; 32]).now_or_never();
        assert!(one_more.is_none(), "what is not known to be good waits");
    }

    #[tokio::test]
    async fn a_wrong_key_is_looked_up_once_and_a_good_one_each_time() {
        let (keys, store) = (BoundKeys::default(), MemoryStore::default());
        let good = with_key(&store, [0; 32]).await;
        assert_eq!(found(keys.find(&store, &[1; 32]).await), None);
        assert_eq!(found(keys.find(&store, &[0; 32]).await), Some(good.clone()));
        let away = || StoreError::Unavailable("a fault of the test".to_owned());
        store.faults().go_down(away());
        assert_eq!(found(keys.find(&store, &[1; 32]).await), None, "as it was");
        assert!(keys.find(&store, &[0; 32]).await.is_err());
        store.faults().come_up();
        store.delete_link(&good.account).await.unwrap();
        assert_eq!(found(keys.find(&store, &[0; 32]).await), None, "it was taken back");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        for number in 0..3 * KEYS_REMEMBERED_MAX as u64 {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            memory.remember(hash, number % 2 == 0);
            assert_eq!(memory.is_unknown(&hash), number % 2 == 1);
        }
        assert!(memory.good.len() <= KEYS_REMEMBERED_MAX && memory.unknown.len() <= KEYS_REMEMBERED_MAX);
    }
}
