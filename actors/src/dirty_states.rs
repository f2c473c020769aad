//! What the flusher has still to make durable, and what it has made so.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cognition::state::Vitals;
use crate::cognition::switch::ModeSwitch;
use crate::domain::ids::UserId;
use crate::domain::message::partition_of;
use crate::messages::Changes;
use crate::ports::event_log::Places;
use crate::ports::store::{Claim, DeadLetter, PositionMove};
use crate::user_state::LiveState;

/// States in one transaction: large enough for speed, small enough to let webhooks' commits in between.
pub const FLUSH_MAX_STATES: usize = 200;
/// A significant change is not flushed sooner than this after the user's last flush; a mode switch is.
const SIGNIFICANT_CHANGE_REST: Duration = Duration::from_secs(5);

/// Significant changes in one transaction: few, so that a mode switch behind it waits for little, unless more are due than
/// a transaction may hold.
const CHANGED_AT_ONCE: usize = 16;

/// Why states do not wait for the interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// A mode switch.
    Switched,
    /// A significant change of readings.
    Changed,
}

/// What one transaction takes.
#[derive(Default)]
pub struct Taken {
    /// Newest states.
    pub states: Vec<(UserId, Arc<LiveState>)>,
    /// Switches of these users.
    pub switches: Vec<ModeSwitch>,
    /// Messages that were set aside.
    pub dead_letters: Vec<DeadLetter>,
}

/// What later states of a user are compared with.
struct Saved {
    /// As of the last checkpoint; before a user's very first, as first seen.
    vitals: Vitals,
    at: Option<Instant>,
}

/// What is dirty. Taking the same changes in twice is the same as once.
#[derive(Default)]
pub struct DirtyStates {
    states: HashMap<UserId, Arc<LiveState>>,
    /// Users with a mode switch.
    switched: HashSet<UserId>,
    /// Users with a significant change, those first whose last flush is the longest ago.
    changed: BTreeSet<(Option<Instant>, UserId)>,
    /// Users whose states are in an urgent flush.
    in_hand: HashSet<UserId>,
    switches: HashMap<UserId, Vec<ModeSwitch>>,
    dead_letters: BTreeMap<Arc<str>, DeadLetter>,
    saved: HashMap<UserId, Saved>,
    next_offsets: BTreeMap<u32, i64>,
    claims: BTreeMap<u32, Claimed>,
}

/// A partition of ours.
#[derive(Clone, Copy)]
struct Claimed {
    epoch: i64,
    /// Where the store has the position; `None` when a flush has left that unknown.
    stored_offset: Option<i64>,
}

impl DirtyStates {
    /// Takes changes in.
    pub fn take_in(&mut self, changes: &Changes) {
        for (user, vitals) in &changes.restored {
            self.saved.entry(user.clone()).or_insert(Saved { vitals: *vitals, at: None });
        }
        for (user, live) in &changes.states {
            let first_seen = || Saved { vitals: Vitals::of(&live.state), at: None };
            let saved = self.saved.entry(user.clone()).or_insert_with(first_seen);
            if saved.vitals.differ_from(&live.state) {
                self.changed.insert((saved.at, user.clone()));
            }
            self.states.insert(user.clone(), Arc::clone(live));
        }
        for switch in &changes.switches {
            let of_user = self.switches.entry(switch.user_id.clone()).or_default();
            if of_user.iter().all(|held| held.switch_id != switch.switch_id) {
                of_user.push(switch.clone());
            }
            self.switched.insert(switch.user_id.clone());
        }
        for letter in &changes.dead_letters {
            self.dead_letters.insert(Arc::clone(&letter.id), letter.clone());
        }
        let claims = &self.claims;
        for &(partition, next_offset) in
            changes.next_offsets.iter().filter(|(partition, _)| claims.contains_key(partition))
        {
            let held = self.next_offsets.entry(partition).or_insert(next_offset);
            *held = (*held).max(next_offset);
        }
    }

    /// Users whose states should not wait for the interval, and who are in no urgent flush.
    fn urgent(&self, urgency: Urgency) -> impl Iterator<Item = &UserId> {
        let is_due = |at: &Option<Instant>| at.is_none_or(|at| at.elapsed() >= SIGNIFICANT_CHANGE_REST);
        let due = self.changed.iter().take_while(move |(at, _)| is_due(at)).map(|(_, user)| user);
        let (switched, changed) = match urgency {
            Urgency::Switched => (Some(&self.switched), None),
            Urgency::Changed => (None, Some(due.filter(|user| !self.switched.contains(*user)))),
        };
        let is_free = |user: &&UserId| self.states.contains_key(*user) && !self.in_hand.contains(*user);
        switched.into_iter().flatten().chain(changed.into_iter().flatten()).filter(is_free)
    }

    /// Whether something should be flushed at once.
    pub fn is_urgent(&self, urgency: Urgency) -> bool {
        self.urgent(urgency).next().is_some()
    }

    /// Takes those in hand whom the next flush is to take.
    pub fn take_in_hand(&mut self, urgency: Urgency) -> Vec<UserId> {
        let mut users: Vec<UserId> = self.urgent(urgency).take(FLUSH_MAX_STATES).cloned().collect();
        if urgency == Urgency::Changed && users.len() < FLUSH_MAX_STATES {
            users.truncate(CHANGED_AT_ONCE);
        }
        self.in_hand.extend(users.iter().cloned());
        users
    }

    /// The flush of these users has ended.
    pub fn let_go(&mut self, users: &[UserId]) {
        for user in users {
            self.in_hand.remove(user);
        }
    }

    /// Everybody of whom something is dirty.
    pub fn users(&self) -> Vec<UserId> {
        self.states.keys().cloned().collect()
    }

    /// Takes these users' states and switches out for a transaction, and all dead letters if it is to have them.
    pub fn take(&mut self, users: &[UserId], with_dead_letters: bool) -> Taken {
        let mut taken = Taken::default();
        for user in users {
            if let Some(live) = self.states.get(user) {
                taken.states.push((user.clone(), Arc::clone(live)));
            }
            taken.switches.extend(self.switches.get(user).into_iter().flatten().cloned());
        }
        if with_dead_letters {
            taken.dead_letters.extend(self.dead_letters.values().cloned());
        }
        taken
    }

    /// Notes that what was taken is durable. What has changed since stays dirty.
    pub fn settle(&mut self, taken: Taken) {
        for switch in &taken.switches {
            if let Some(held) = self.switches.get_mut(&switch.user_id) {
                held.retain(|held| held.switch_id != switch.switch_id);
            }
        }
        for letter in &taken.dead_letters {
            self.dead_letters.remove(&letter.id);
        }
        for (user, live) in taken.states {
            if self.switches.get(&user).is_some_and(Vec::is_empty) {
                self.switches.remove(&user);
                self.switched.remove(&user);
            }
            // Absent only if the user's partition was given up during the flush.
            let Some(saved) = self.saved.get_mut(&user) else { continue };
            let now = Saved { vitals: Vitals::of(&live.state), at: Some(Instant::now()) };
            let before = std::mem::replace(saved, now);
            let key = (before.at, user);
            self.changed.remove(&key);
            let (_, user) = key;
            match self.states.get(&user) {
                Some(held) if Arc::ptr_eq(held, &live) => drop(self.states.remove(&user)),
                Some(held) if saved.vitals.differ_from(&held.state) => {
                    self.changed.insert((saved.at, user));
                }
                _ => {}
            }
        }
    }

    /// Those of `users` of whom something is dirty.
    pub fn dirty_of(&self, users: &[UserId]) -> Vec<UserId> {
        let is_dirty = |user: &&UserId| self.states.contains_key(*user) || self.switches.contains_key(*user);
        users.iter().filter(is_dirty).cloned().collect()
    }

    /// Forgets what is known of users who are put away, unless something of them has become dirty since.
    pub fn forget(&mut self, users: &[UserId]) {
        for user in users.iter().filter(|user| !self.states.contains_key(*user)) {
            self.saved.remove(user);
        }
    }

    /// Whether messages wait that were set aside.
    pub fn has_dead_letters(&self) -> bool {
        !self.dead_letters.is_empty()
    }

    /// Takes note of partitions that are ours from now on.
    pub fn claim(&mut self, claims: &[Claim]) {
        for &Claim { partition, next_offset, epoch } in claims {
            self.next_offsets.remove(&partition);
            self.claims.insert(partition, Claimed { epoch, stored_offset: Some(next_offset) });
        }
    }

    /// Forgets partitions, of so many in all, that are ours no more, with their users' states.
    pub fn give_up(&mut self, partitions: &[u32], of_all: u32) {
        let is_theirs = |user: &UserId| partitions.contains(&partition_of(user.as_str(), of_all));
        for partition in partitions {
            self.next_offsets.remove(partition);
            self.claims.remove(partition);
        }
        self.states.retain(|user, _| !is_theirs(user));
        self.switched.retain(|user| !is_theirs(user));
        self.changed.retain(|(_, user)| !is_theirs(user));
        self.switches.retain(|user, _| !is_theirs(user));
        self.saved.retain(|user, _| !is_theirs(user));
        let is_of_them =
            |letter: &DeadLetter| letter.place.is_some_and(|place| partitions.contains(&place.0));
        self.dead_letters.retain(|_, letter| !is_of_them(letter));
    }

    /// Whether this is still our newest claim.
    pub fn is_claimed(&self, partition: u32, epoch: i64) -> bool {
        self.claims.get(&partition).is_some_and(|claimed| claimed.epoch == epoch)
    }

    /// Our partitions with the epochs of our claims.
    pub fn claims(&self) -> Vec<(u32, i64)> {
        self.claims.iter().map(|(&partition, claimed)| (partition, claimed.epoch)).collect()
    }

    /// Our partitions of which it is not known where the store has the position.
    pub fn unknown_positions(&self) -> Vec<u32> {
        let unknown = self.claims.iter().filter(|(_, claimed)| claimed.stored_offset.is_none());
        unknown.map(|(&partition, _)| partition).collect()
    }

    /// Where the store has these positions.
    pub fn set_stored_positions(&mut self, stored: &Places) {
        for (partition, &offset) in stored {
            if let Some(claimed) = self.claims.get_mut(partition) {
                claimed.stored_offset = Some(offset);
            }
        }
    }

    /// Whether these moves took place is unknown: the store must be asked.
    pub fn doubt_positions(&mut self, moved: &[PositionMove]) {
        for position in moved {
            if let Some(claimed) = self.claims.get_mut(&position.partition) {
                claimed.stored_offset = None;
            }
        }
    }

    /// The moves that a flush of everything dirty now would cover, each with the epoch of the claim that it rests on.
    pub fn positions_to_move(&self) -> Vec<(PositionMove, i64)> {
        let to_move = |(&partition, &to): (&u32, &i64)| {
            let Claimed { epoch, stored_offset } = *self.claims.get(&partition)?;
            let from = stored_offset?;
            (to > from).then_some((PositionMove { partition, from, to }, epoch))
        };
        self.next_offsets.iter().filter_map(to_move).collect()
    }
}
