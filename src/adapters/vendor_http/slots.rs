//! How many requests to vendors are under way at once, and how much memory their answers take.
//!
//! Of the requests, half is shared out evenly, and the other half is whoever's comes first: a vendor that is slow has three
//! quarters of two vendors' at most, and the other one always finds its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actors::domain::account::Vendor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Answers up to this length only need a slot …
pub(super) const SMALL_MAX_BYTES: usize = 64 << 10;
/// … and of longer ones so many of each vendor are in memory at once, until they are committed.
const LARGE_MAX: usize = 4;
/// How long a long answer waits for its turn.
const LARGE_PATIENCE: Duration = Duration::from_secs(10);

/// The slots of all vendors.
#[derive(Debug)]
pub(super) struct Slots {
    own: BTreeMap<Vendor, Own>,
    common: Semaphore,
}

#[derive(Debug)]
struct Own {
    requests: Semaphore,
    large: Arc<Semaphore>,
}

/// What each of so many vendors has to itself.
fn own_part(requests_max: usize, vendors: usize) -> usize {
    match requests_max / (2 * vendors.max(1)) {
        0 if requests_max >= vendors => 1,
        part => part,
    }
}

/// How many requests to one of so many vendors may be under way at once, of `requests_max` in all.
pub fn most_of_one(requests_max: usize, vendors: usize) -> usize {
    requests_max - own_part(requests_max, vendors) * vendors.saturating_sub(1)
}

impl Slots {
    pub(super) fn new(vendors: impl Iterator<Item = Vendor> + Clone, requests_max: usize) -> Self {
        let part = own_part(requests_max, vendors.clone().count());
        let own = |vendor| {
            let large = Arc::new(Semaphore::new(LARGE_MAX));
            (vendor, Own { requests: Semaphore::new(part), large })
        };
        let own: BTreeMap<Vendor, Own> = vendors.map(own).collect();
        let common = Semaphore::new(requests_max - part * own.len());
        Self { own, common }
    }

    /// Waits for a request's turn; none for a vendor that there is not.
    pub(super) async fn request(&self, vendor: Vendor) -> Option<SemaphorePermit<'_>> {
        let own = &self.own.get(&vendor)?.requests;
        if let Ok(permit) = own.try_acquire().or_else(|_| self.common.try_acquire()) {
            return Some(permit);
        }
        // They are never closed.
        tokio::select! {
            permit = own.acquire() => permit.ok(),
            permit = self.common.acquire() => permit.ok(),
        }
    }

    /// Waits until there is memory for a long answer; none if that takes too long.
    pub(super) async fn large(&self, vendor: Vendor) -> Option<OwnedSemaphorePermit> {
        let large = Arc::clone(&self.own.get(&vendor)?.large);
        tokio::time::timeout(LARGE_PATIENCE, large.acquire_owned()).await.ok()?.ok()
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        let own: usize = self.own.values().map(|own| own.requests.available_permits()).sum();
        own + self.common.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_vendor_has_so_much_that_another_finds_nothing() {
        for (requests_max, most) in [(100, 75), (10, 8), (3, 2), (2, 1), (1, 1)] {
            assert_eq!(most_of_one(requests_max, 2), most, "of {requests_max}");
            let slots = Slots::new([Vendor::Oura, Vendor::Whoop].into_iter(), requests_max);
            assert_eq!(slots.free(), requests_max);
        }
    }
}
