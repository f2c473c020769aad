//! Who is active: the users' actors and states, readable without asking anybody, and who was needed least lately.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::domain::ids::{EventId, UserId};
use crate::supervision::{ChildRef, StateCell};
use crate::user_state::{LiveState, UserStateActor};

/// A user's actor, and the cell that outlives its lives.
#[derive(Clone)]
pub struct Resident {
    /// The actor.
    pub child: ChildRef<UserStateActor>,
    /// Its state.
    pub cell: StateCell<LiveState>,
    /// Where the user's events are on the log.
    pub partition: u32,
}

/// How many users may be active, and for how long without an event.
#[derive(Debug, Clone, Copy)]
pub struct Residence {
    /// Beyond so many, those whose last event was applied longest ago are put away (`USERS_LIVE_MAX`). Only one batch
    /// with events of more users than this has more.
    pub live_max: usize,
    /// A user without an event for so long is put away (`USER_IDLE_SECONDS`).
    pub idle_after: Duration,
}

impl Default for Residence {
    /// As `config/bridge.toml` has it.
    fn default() -> Self {
        Self { live_max: 100_000, idle_after: Duration::from_secs(600) }
    }
}

/// A resident and what decides how long it stays.
struct Entry {
    resident: Resident,
    called_at: Instant,
    /// What came of its last call is not with the flusher yet.
    is_in_hand: bool,
}

impl Entry {
    fn of(resident: Resident) -> Self {
        Self { resident, called_at: Instant::now(), is_in_hand: true }
    }
}

/// The active users of this bridge. It outlives the router's lives.
pub struct UserDirectory {
    /// In the order of their last calls.
    residents: RwLock<LruCache<UserId, Entry>>,
    waiting: Mutex<HashMap<EventId, Vec<oneshot::Sender<Arc<LiveState>>>>>,
}

impl Default for UserDirectory {
    fn default() -> Self {
        Self { residents: RwLock::new(LruCache::unbounded()), waiting: Mutex::default() }
    }
}

impl UserDirectory {
    /// The state of an active user, as of the last fold.
    pub fn live(&self, user: &UserId) -> Option<Arc<LiveState>> {
        self.residents.read().peek(user).map(|entry| entry.resident.cell.get())
    }

    /// Tells when its user's state has applied each event. To be asked for before the events are committed; the
    /// answer is dropped when the event could not be applied.
    pub fn when_applied(
        &self,
        event_ids: impl IntoIterator<Item = EventId>,
    ) -> Vec<oneshot::Receiver<Arc<LiveState>>> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        let mut wait_for = |event_id| {
            let (reply, applied) = oneshot::channel();
            waiting.entry(event_id).or_default().push(reply);
            applied
        };
        event_ids.into_iter().map(&mut wait_for).collect()
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiting.lock().is_empty()
    }

    /// Answers those who wait for this event; `None` when it was set aside.
    pub(crate) fn tell_applied(&self, event_id: &EventId, live: Option<&Arc<LiveState>>) {
        let waiters = self.waiting.lock().remove(event_id).unwrap_or_default();
        for (waiter, live) in waiters.into_iter().zip(std::iter::repeat(live)) {
            if let Some(live) = live {
                let _ = waiter.send(Arc::clone(live));
            }
        }
    }

    /// An active user's actor and its cell.
    pub fn resident(&self, user: &UserId) -> Option<Resident> {
        self.residents.read().peek(user).map(|entry| entry.resident.clone())
    }

    /// How many users are active.
    pub fn len(&self) -> usize {
        self.residents.read().len()
    }

    /// Whether nobody is active.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As [`UserDirectory::resident`], for somebody who is needed now: whoever was not called for longer goes first.
    pub(crate) fn call(&self, user: &UserId) -> Option<Resident> {
        let mut residents = self.residents.write();
        let entry = residents.get_mut(user)?;
        *entry = Entry::of(entry.resident.clone());
        Some(entry.resident.clone())
    }

    /// Whether the flusher may not know what this user's last call came to.
    pub(crate) fn is_in_hand(&self, user: &UserId) -> bool {
        self.residents.read().peek(user).is_some_and(|entry| entry.is_in_hand)
    }

    /// What the last calls of these users came to is with the flusher.
    pub(crate) fn hand_on<'a>(&self, users: impl Iterator<Item = &'a UserId>) {
        let mut residents = self.residents.write();
        for user in users {
            if let Some(entry) = residents.peek_mut(user) {
                entry.is_in_hand = false;
            }
        }
    }

    /// Up to `limit` users who have not been called since `moment`, the longest first.
    pub(crate) fn not_called_since(&self, moment: Instant, limit: usize) -> Vec<UserId> {
        let residents = self.residents.read();
        let idle = residents.iter().rev().take_while(|(_, entry)| entry.called_at <= moment);
        idle.take(limit).map(|(user, _)| user.clone()).collect()
    }

    /// Up to `limit` of the users who must go so that no more than `stay` are left, those not called for longest first.
    /// Never those of whom the flusher does not know all: they are in hand, or will be told again.
    pub(crate) fn beyond(&self, stay: usize, limit: usize) -> Vec<UserId> {
        let residents = self.residents.read();
        let excess = residents.len().saturating_sub(stay).min(limit);
        let settled = residents.iter().rev().filter(|(_, entry)| !entry.is_in_hand);
        settled.take(excess).map(|(user, _)| user.clone()).collect()
    }

    pub(crate) fn move_in(&self, user: UserId, resident: Resident) {
        self.residents.write().put(user, Entry::of(resident));
    }

    /// Takes these users out.
    pub(crate) fn move_out(&self, users: &[UserId]) -> Vec<Resident> {
        let mut residents = self.residents.write();
        users.iter().filter_map(|user| residents.pop(user)).map(|entry| entry.resident).collect()
    }

    /// The users of these partitions.
    pub(crate) fn of_partitions(&self, partitions: &[u32]) -> Vec<UserId> {
        let residents = self.residents.read();
        let of_them = residents.iter().filter(|(_, entry)| partitions.contains(&entry.resident.partition));
        of_them.map(|(user, _)| user.clone()).collect()
    }
}
