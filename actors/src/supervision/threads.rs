//! Threads that a child does not let go of. Nobody can take a thread from a busy loop; it can only be told.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use super::events::Tree;
use super::progress::{LOOKS, Seat};

/// The threads on which a tree's children live.
#[derive(Default)]
pub(super) struct Threads(Mutex<Vec<Arc<Seat>>>);

impl Threads {
    /// Takes note of the thread that calls.
    pub(super) fn add_this(&self) {
        let seat = Seat::of_this_thread();
        let mut seats = self.0.lock();
        if !seats.iter().any(|known| Arc::ptr_eq(known, &seat)) {
            seats.push(seat);
        }
    }

    fn look(&self) {
        let blocked: Vec<_> = self.0.lock().iter().filter_map(|seat| seat.look()).collect();
        for (blocked, occupant) in blocked {
            occupant.blocks_its_thread(blocked);
        }
    }
}

/// Looks at the threads of `tree` as long as it is there, and tells of each child that has kept one for `limit`.
pub(super) async fn watch(tree: Weak<Tree>, limit: Duration) {
    let mut looks = tokio::time::interval(limit / LOOKS);
    // A process that slept has looked once, not many times.
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match tree.upgrade() {
            Some(tree) => tree.threads.look(),
            None => return,
        }
    }
}
