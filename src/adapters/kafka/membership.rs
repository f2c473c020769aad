//! What the group and the member know of each other: the meeting place of the consumer's thread, which speaks to
//! librdkafka, and of the polls, which never wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use actors::ports::event_log::{LogError, LogRecord, Places, Polled};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::share::{Fetching, Room, Share};

/// Records that were fetched and not yet passed over, in all.
const BUFFER_RECORDS_MAX: usize = 20_000;
/// Their bytes, in all; a partition may go beyond its part of it by what one round of the thread brings.
const BUFFER_BYTES_MAX: usize = 64 << 20;
/// Records of one partition that are always worth holding.
const SHARE_RECORDS_MIN: usize = 16;

/// What the thread is to do with the consumer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Begin to fetch a partition here.
    Assign { partition: u32, place: i64 },
    /// Go on fetching it from here.
    Seek { partition: u32, place: i64 },
    /// Hold these back.
    Pause(Vec<u32>),
    /// Go on with these.
    Resume(Vec<u32>),
    /// Tell the group that a revocation is done; of its partitions, these were fetched.
    Unassign(Vec<u32>),
}

/// Partitions that the group takes away.
#[derive(Debug)]
struct Revocation {
    partitions: Vec<u32>,
    /// Those among them that librdkafka fetches.
    fetched: Vec<u32>,
    /// When the member is no longer waited for.
    deadline: Instant,
}

#[derive(Debug, Default)]
struct State {
    granted: BTreeMap<u32, Share>,
    /// Taken away, and not yet released by the member.
    owed: BTreeSet<u32>,
    revocation: Option<Revocation>,
    error: Option<LogError>,
    /// The partition that is served first next time.
    turn: u32,
    is_leaving: bool,
    is_gone: bool,
}

/// The shared state of a membership.
#[derive(Debug, Default)]
pub(super) struct Membership {
    state: Mutex<State>,
    /// Wakes polls.
    changed: Notify,
    /// Wakes the thread in its pauses.
    leaving: Condvar,
}

impl Membership {
    /// Waits until there is something to tell.
    pub(super) async fn poll(&self, held: &Places, limit: usize) -> Result<Polled, LogError> {
        loop {
            // Before the look, so that what changes in between wakes us.
            let changed = self.changed.notified();
            if let Some(answer) = self.state.lock().look(held, limit) {
                return answer;
            }
            changed.await;
        }
    }

    pub(super) fn release(&self, partitions: &[u32]) {
        let mut state = self.state.lock();
        for partition in partitions {
            state.owed.remove(partition);
            if let Some(share) = state.granted.get_mut(partition) {
                share.forget();
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The member wants to go.
    pub(super) fn leave(&self) {
        self.state.lock().is_leaving = true;
        self.leaving.notify_all();
        self.changed.notify_waiters();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.state.lock().is_leaving
    }

    /// The thread has ended.
    pub(super) fn gone(&self) {
        self.state.lock().is_gone = true;
        self.changed.notify_waiters();
    }

    /// Waits until the thread has ended.
    pub(super) async fn wait_gone(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state.lock().is_gone {
                return;
            }
            changed.await;
        }
    }

    /// Stops the thread for `pause`, or until the member wants to go.
    pub(super) fn pause(&self, pause: Duration) {
        let mut state = self.state.lock();
        if !state.is_leaving {
            self.leaving.wait_for(&mut state, pause);
        }
    }

    /// The group gives these to the member.
    pub(super) fn grant(&self, partitions: &[u32]) {
        let mut state = self.state.lock();
        for partition in partitions {
            state.granted.entry(*partition).or_insert_with(Share::new);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The group takes these away; the member is waited for until `deadline`.
    pub(super) fn revoke(&self, partitions: &[u32], deadline: Instant) {
        self.state.lock().revoke(partitions, deadline);
        self.changed.notify_waiters();
    }

    /// Everything is taken away, and nobody waits for anything.
    pub(super) fn revoke_all(&self) {
        let mut state = self.state.lock();
        let partitions: Vec<u32> = state.granted.keys().copied().collect();
        state.revoke(&partitions, Instant::now());
        state.revocation = None;
        drop(state);
        self.changed.notify_waiters();
    }

    /// What the consumer's thread has to do now.
    pub(super) fn steps(&self, now: Instant) -> Vec<Step> {
        self.state.lock().steps(now)
    }

    /// The open revocation is done at once. Gives back what of it was fetched.
    pub(super) fn end_revocation(&self) -> Option<Vec<u32>> {
        self.state.lock().revocation.take().map(|revocation| revocation.fetched)
    }

    /// Fetching of `partition` has begun at `place`.
    pub(super) fn begun(&self, partition: u32, place: i64) {
        if let Some(share) = self.state.lock().granted.get_mut(&partition) {
            share.begin(place);
        }
    }

    /// Records have come.
    pub(super) fn push(&self, records: Vec<LogRecord>) {
        let mut state = self.state.lock();
        for record in records {
            if let Some(share) = state.granted.get_mut(&record.partition) {
                share.push(record);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Something is wrong; the next poll that has nothing better to tell says so, once.
    pub(super) fn fail(&self, error: LogError) {
        self.state.lock().error = Some(error);
        self.changed.notify_waiters();
    }
}

impl State {
    fn look(&mut self, held: &Places, limit: usize) -> Option<Result<Polled, LogError>> {
        if self.is_leaving {
            return Some(Err(LogError::Unavailable("this member has left the group".to_owned())));
        }
        let lost = self.lost(held);
        if !lost.is_empty() {
            return Some(Ok(Polled::Lost(lost)));
        }
        let mut gained = Vec::new();
        for (partition, share) in &mut self.granted {
            match held.get(partition) {
                Some(place) => share.ask(*place),
                None => {
                    share.is_told = true;
                    gained.push(*partition);
                }
            }
        }
        if !gained.is_empty() {
            return Some(Ok(Polled::Gained(gained)));
        }
        let records = self.read(limit);
        if !records.is_empty() {
            return Some(Ok(Polled::Records(records)));
        }
        self.error.take().map(Err)
    }

    /// What was taken away and not released, and what the member believes to hold without having been told so.
    fn lost(&self, held: &Places) -> Vec<u32> {
        let is_ours = |partition: &u32| self.granted.get(partition).is_some_and(|share| share.is_told);
        let stale = held.keys().filter(|partition| !is_ours(partition));
        let lost: BTreeSet<u32> = self.owed.iter().chain(stale).copied().collect();
        lost.into_iter().collect()
    }

    /// Each partition that has something gets an equal part of `limit`, and another one is the first each time.
    fn read(&mut self, limit: usize) -> Vec<LogRecord> {
        let (before, from) = (self.granted.range(..self.turn), self.granted.range(self.turn..));
        let open: Vec<(&u32, &Share)> =
            from.chain(before).filter(|(_, share)| share.records().len() > 0).collect();
        let part = limit.div_ceil(open.len().max(1));
        let mut records = Vec::new();
        for (_, share) in &open {
            records.extend(share.records().take(part.min(limit - records.len())).cloned());
        }
        self.turn = open.first().map_or(0, |(partition, _)| **partition + 1);
        records
    }

    fn revoke(&mut self, partitions: &[u32], deadline: Instant) {
        let mut fetched = Vec::new();
        for partition in partitions {
            let Some(share) = self.granted.remove(partition) else { continue };
            if share.is_held {
                self.owed.insert(*partition);
            }
            if share.fetching != Fetching::No {
                fetched.push(*partition);
            }
        }
        let revocation = self.revocation.get_or_insert(Revocation {
            partitions: Vec::new(),
            fetched: Vec::new(),
            deadline,
        });
        revocation.partitions.extend(partitions);
        revocation.fetched.extend(fetched);
        revocation.deadline = revocation.deadline.min(deadline);
    }

    fn steps(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        let is_over = |revocation: &mut Revocation| {
            now >= revocation.deadline
                || !revocation.partitions.iter().any(|partition| self.owed.contains(partition))
        };
        if let Some(revocation) = self.revocation.take_if(is_over) {
            steps.push(Step::Unassign(revocation.fetched));
        }
        let room = self.room();
        let (mut full, mut drained) = (Vec::new(), Vec::new());
        for (&partition, share) in &mut self.granted {
            // One that is paused goes on before it is sent elsewhere: librdkafka keeps the pause.
            let goes_on =
                share.fetching == Fetching::Paused && (share.wanted.is_some() || share.is_drained(room));
            if goes_on {
                share.fetching = Fetching::Yes;
                drained.push(partition);
            } else if share.fetching == Fetching::Yes && share.is_full(room) {
                share.fetching = Fetching::Paused;
                full.push(partition);
            }
        }
        if !drained.is_empty() {
            steps.push(Step::Resume(drained));
        }
        if !full.is_empty() {
            steps.push(Step::Pause(full));
        }
        steps.extend(self.granted.iter().filter_map(|(&partition, share)| {
            let place = share.wanted?;
            Some(match share.fetching {
                Fetching::No => Step::Assign { partition, place },
                _ => Step::Seek { partition, place },
            })
        }));
        steps
    }

    fn room(&self) -> Room {
        let shares = self.granted.len().max(1);
        Room {
            records: (BUFFER_RECORDS_MAX / shares).max(SHARE_RECORDS_MIN),
            bytes: BUFFER_BYTES_MAX / shares,
        }
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
