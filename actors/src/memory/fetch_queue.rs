//! The queue of fetches, in the store in memory.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::store::{MemoryStore, StoreCall};
use crate::domain::account::Vendor;
use crate::domain::fetch::Whose;
use crate::domain::rate_budget::{Given, RateBudget, RateLimit};
use crate::domain::time::Timestamp;
use crate::ports::fetch_queue::{
    Again, ClaimFetches, ClaimedFetch, ClaimedFetches, DeadFetch, FetchCounts, FetchEnd, FetchFate,
    FetchQueue, NewFetch, PutBack,
};
use crate::ports::store::StoreError;

/// What a store's clock shows at first: always the same, so that a run under a paused clock can be repeated.
const BEGINNING: Timestamp = Timestamp::from_ms(1_790_000_000_000);

#[derive(Debug, Clone)]
struct FetchRow {
    job: NewFetch,
    created_at: Timestamp,
    /// When it may be claimed; of a row in somebody's hands, when the lease ends.
    due_at: Timestamp,
    holder: Option<Uuid>,
    /// Its account was released after it had been claimed.
    is_released: bool,
    attempts: u32,
    looks: u32,
    state: FetchState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FetchState {
    Waiting,
    AwaitingAccount,
    Dead { error_type: &'static str, error_message: String, failed_at: Timestamp },
}

impl FetchRow {
    fn is_dead(&self) -> bool {
        matches!(self.state, FetchState::Dead { .. })
    }

    fn is_due(&self, now: Timestamp) -> bool {
        !self.is_dead() && self.due_at <= now
    }

    fn is_held(&self, now: Timestamp) -> bool {
        self.holder.is_some() && self.due_at > now
    }

    fn asks_the_same_as(&self, other: &NewFetch) -> bool {
        let job = &self.job;
        // First what differs most often: every row is looked at.
        job.fetch == other.fetch
            && job.whose == other.whose
            && job.is_backfill == other.is_backfill
            && !self.is_dead()
    }

    /// Due at `due_at`, in nobody's hands.
    fn wait(&mut self, due_at: Timestamp) {
        (self.state, self.holder, self.due_at) = (FetchState::Waiting, None, due_at);
    }

    fn wait_again(&mut self, again: Again, now: Timestamp) {
        self.wait(later(now, again.delay));
        (self.attempts, self.looks) = (again.attempts, again.looks);
    }
}

/// All fetches and budgets.
#[derive(Debug, Clone)]
pub struct FetchRows {
    rows: BTreeMap<i64, FetchRow>,
    budgets: HashMap<Vendor, RateBudget>,
    last_id: i64,
    begun: Instant,
}

impl Default for FetchRows {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), budgets: HashMap::new(), last_id: 0, begun: Instant::now() }
    }
}

fn later(now: Timestamp, delay: Duration) -> Timestamp {
    now.plus_ms(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(at.ms_since(now).max(0).unsigned_abs())
}

impl FetchRows {
    fn now(&self) -> Timestamp {
        later(BEGINNING, self.begun.elapsed())
    }

    /// Takes in what a delivery asks for.
    pub(super) fn add(&mut self, fetches: &[NewFetch]) {
        let now = self.now();
        for job in fetches {
            self.last_id += 1;
            let row = FetchRow {
                job: job.clone(),
                created_at: now,
                due_at: now,
                holder: None,
                is_released: false,
                attempts: 0,
                looks: 0,
                state: FetchState::Waiting,
            };
            self.rows.insert(self.last_id, row);
        }
    }

    /// Lets go what a delivery answers.
    pub(super) fn end(&mut self, end: &FetchEnd) {
        let now = self.now();
        for id in &end.ids {
            match end.again {
                None => drop(self.rows.remove(id)),
                Some(again) => {
                    self.rows.get_mut(id).into_iter().for_each(|row| row.wait_again(again, now));
                }
            }
        }
    }

    /// What waits for one of these accounts is due, and what is in somebody's hands will be when it comes back.
    pub(super) fn release(&mut self, vendor: Vendor, whose: &[Whose]) -> u64 {
        let (now, mut released) = (self.now(), 0);
        for row in self.of_vendor(vendor).filter(|row| whose.contains(&row.job.whose)) {
            if row.state == FetchState::AwaitingAccount && !row.is_held(now) {
                row.wait(now);
                released += 1;
            }
            row.is_released = row.holder.is_some();
        }
        released
    }

    fn of_vendor(&mut self, vendor: Vendor) -> impl Iterator<Item = &mut FetchRow> {
        self.rows.values_mut().filter(move |row| row.job.fetch.vendor() == vendor)
    }

    fn take(&mut self, vendor: Vendor, limits: &[RateLimit], wanted: usize, is_backfill: bool) -> Given {
        let (now, wanted) = (self.now(), u32::try_from(wanted).unwrap_or(u32::MAX));
        self.budgets.entry(vendor).or_default().take(limits, now, wanted, is_backfill)
    }

    fn claim(&mut self, claim: &ClaimFetches) -> ClaimedFetches {
        let (now, mut fetches) = (self.now(), Vec::new());
        for is_backfill in [false, true] {
            let heads = self.heads(claim.vendor, is_backfill, claim.limit - fetches.len(), now);
            if heads.is_empty() {
                continue;
            }
            let given = self.take(claim.vendor, &claim.rate_limits, heads.len(), is_backfill);
            let heads = heads.into_iter().take(given.requests as usize);
            fetches.extend(heads.map(|head| self.lease(head, claim, now)));
            if let Some(more_in) = given.more_in {
                // Only for backfill there may be something left to what is live.
                let live_in = self.next_in(claim.vendor, now, true).filter(|_| is_backfill);
                return ClaimedFetches { fetches, next_in: live_in.into_iter().chain([more_in]).min() };
            }
        }
        ClaimedFetches { fetches, next_in: self.next_in(claim.vendor, now, false) }
    }

    /// Rows that are due, longest first, one for each question.
    fn heads(&self, vendor: Vendor, is_backfill: bool, limit: usize, now: Timestamp) -> Vec<i64> {
        let is_due = |row: &FetchRow| {
            row.job.fetch.vendor() == vendor && row.job.is_backfill == is_backfill && row.is_due(now)
        };
        let mut due: Vec<(&i64, &FetchRow)> = self.rows.iter().filter(|(_, row)| is_due(row)).collect();
        due.sort_by_key(|(id, row)| (row.due_at, **id));
        let mut heads: Vec<(&i64, &FetchRow)> = Vec::new();
        for (id, row) in due {
            if heads.len() < limit && heads.iter().all(|(_, head)| !head.asks_the_same_as(&row.job)) {
                heads.push((id, row));
            }
        }
        heads.into_iter().map(|(id, _)| *id).collect()
    }

    /// Hands out a row and those that ask the same.
    fn lease(&mut self, head: i64, claim: &ClaimFetches, now: Timestamp) -> ClaimedFetch {
        let mut job = self.rows[&head].job.clone();
        let (mut ids, mut attempts, mut looks, mut created_at) = (vec![head], u32::MAX, u32::MAX, BEGINNING);
        for (id, row) in &mut self.rows {
            if !row.asks_the_same_as(&job) || row.is_held(now) {
                continue;
            }
            row.holder = Some(claim.holder);
            row.due_at = later(now, claim.lease);
            row.is_released = false;
            ids.extend(Some(*id).filter(|id| *id != head));
            job.changed_at = job.changed_at.max(row.job.changed_at);
            job.received_at = job.received_at.min(row.job.received_at);
            (attempts, looks) = (attempts.min(row.attempts), looks.min(row.looks));
            created_at = created_at.max(row.created_at);
        }
        ClaimedFetch { ids, job, attempts, looks, waited: until(now, created_at) }
    }

    /// When the next row can be claimed.
    fn next_in(&self, vendor: Vendor, now: Timestamp, only_live: bool) -> Option<Duration> {
        let is_next = |row: &&FetchRow| {
            row.job.fetch.vendor() == vendor && !row.is_dead() && !(only_live && row.job.is_backfill)
        };
        self.rows.values().filter(is_next).map(|row| until(row.due_at, now)).min()
    }

    fn put_back(&mut self, fetch: &PutBack) {
        let now = self.now();
        for id in &fetch.ids {
            let row = self.rows.get_mut(id).filter(|row| row.holder == Some(fetch.holder));
            let Some(row) = row else { continue };
            match &fetch.fate {
                FetchFate::Answered => drop(self.rows.remove(id)),
                FetchFate::Again(again) => row.wait_again(*again, now),
                FetchFate::AwaitAccount { .. } if row.is_released => row.wait(now),
                FetchFate::AwaitAccount { until_waited } => {
                    row.wait(later(row.created_at, *until_waited));
                    row.state = FetchState::AwaitingAccount;
                }
                FetchFate::GiveUp { error_type, error_message, attempts } => {
                    let error_message = error_message.clone();
                    row.wait(now);
                    row.attempts = *attempts;
                    row.state = FetchState::Dead { error_type, error_message, failed_at: now };
                }
            }
        }
    }

    fn count(&self) -> Vec<(Vendor, FetchCounts)> {
        let mut counts: BTreeMap<Vendor, FetchCounts> = BTreeMap::new();
        for row in self.rows.values() {
            let counts = counts.entry(row.job.fetch.vendor()).or_default();
            match row.state {
                FetchState::Waiting => counts.waiting += 1,
                FetchState::AwaitingAccount => counts.awaiting_account += 1,
                FetchState::Dead { .. } => counts.dead += 1,
            }
        }
        counts.into_iter().collect()
    }

    fn dead(&self, before: Option<i64>, limit: usize) -> Vec<DeadFetch> {
        let dead = self.rows.iter().rev().filter_map(|(id, row)| {
            let FetchState::Dead { error_type, error_message, failed_at } = &row.state else { return None };
            Some(DeadFetch {
                id: *id,
                vendor: row.job.fetch.vendor(),
                whose: Some(row.job.whose.clone()),
                fetch: Some(row.job.fetch.clone()),
                error_type: (*error_type).to_owned(),
                error_message: error_message.clone(),
                failed_at: *failed_at,
                attempts: row.attempts,
            })
        });
        dead.filter(|dead| before.is_none_or(|before| dead.id < before)).take(limit).collect()
    }

    fn redrive(&mut self, ids: &[i64]) -> Vec<Vendor> {
        let now = self.now();
        let dead = self.rows.iter_mut().filter(|(id, row)| ids.contains(id) && row.is_dead());
        let redriven = dead.map(|(_, row)| {
            row.wait_again(Again { delay: Duration::ZERO, attempts: 0, looks: 0 }, now);
            row.created_at = now;
            row.job.fetch.vendor()
        });
        redriven.collect()
    }
}

#[async_trait]
impl FetchQueue for MemoryStore {
    async fn claim_fetches(&self, claim: &ClaimFetches) -> Result<ClaimedFetches, StoreError> {
        self.transact(StoreCall::ClaimFetches, |contents| Ok(contents.fetches.claim(claim))).await
    }

    async fn take_request(
        &self,
        vendor: Vendor,
        rate_limits: &[RateLimit],
        instead: Option<Duration>,
    ) -> Result<bool, StoreError> {
        self.transact(StoreCall::TakeRequest, |contents| {
            let now = contents.fetches.now();
            Ok(contents.fetches.budgets.entry(vendor).or_default().take_one(rate_limits, now, instead))
        })
        .await
    }

    async fn return_request(&self, vendor: Vendor, held: Duration) -> Result<(), StoreError> {
        self.transact(StoreCall::ReturnRequest, |contents| {
            let now = contents.fetches.now();
            contents.fetches.budgets.entry(vendor).or_default().give_back(now, held);
            Ok(())
        })
        .await
    }

    async fn rest_vendor(&self, vendor: Vendor, rest: Duration) -> Result<(), StoreError> {
        self.transact(StoreCall::RestVendor, |contents| {
            let until = later(contents.fetches.now(), rest);
            contents.fetches.budgets.entry(vendor).or_default().rest(until);
            Ok(())
        })
        .await
    }

    async fn put_back(&self, fetches: &[PutBack]) -> Result<(), StoreError> {
        self.transact(StoreCall::PutBack, |contents| {
            fetches.iter().for_each(|fetch| contents.fetches.put_back(fetch));
            Ok(())
        })
        .await
    }

    async fn extend_leases(&self, ids: &[i64], holder: Uuid, lease: Duration) -> Result<(), StoreError> {
        self.transact(StoreCall::ExtendLeases, |contents| {
            let until = later(contents.fetches.now(), lease);
            let rows = contents.fetches.rows.iter_mut().filter(|(id, _)| ids.contains(id));
            rows.filter(|(_, row)| row.holder == Some(holder)).for_each(|(_, row)| row.due_at = until);
            Ok(())
        })
        .await
    }

    async fn drop_leases(&self, vendor: Vendor, holder: Uuid) -> Result<(), StoreError> {
        self.transact(StoreCall::DropLeases, |contents| {
            let now = contents.fetches.now();
            for row in contents.fetches.of_vendor(vendor).filter(|row| row.holder == Some(holder)) {
                (row.holder, row.due_at) = (None, row.due_at.min(now));
            }
            Ok(())
        })
        .await
    }

    async fn mend_due_times(&self, _: Vendor, _: Duration) -> Result<(), StoreError> {
        // Its clock is never set back.
        Ok(())
    }

    async fn release_fetches(&self, vendor: Vendor, whose: &[Whose]) -> Result<u64, StoreError> {
        self.transact(StoreCall::ReleaseFetches, |contents| Ok(contents.fetches.release(vendor, whose))).await
    }

    async fn dead_fetches_len(&self) -> Result<u64, StoreError> {
        self.look(StoreCall::CountFetches, |contents| {
            contents.fetches.rows.values().filter(|row| row.is_dead()).count() as u64
        })
        .await
    }

    async fn count_fetches(&self) -> Result<Vec<(Vendor, FetchCounts)>, StoreError> {
        self.look(StoreCall::CountFetches, |contents| contents.fetches.count()).await
    }

    async fn dead_fetches(&self, before: Option<i64>, limit: usize) -> Result<Vec<DeadFetch>, StoreError> {
        self.look(StoreCall::DeadFetches, |contents| contents.fetches.dead(before, limit)).await
    }

    async fn redrive_fetches(&self, ids: &[i64]) -> Result<Vec<Vendor>, StoreError> {
        self.transact(StoreCall::RedriveFetches, |contents| Ok(contents.fetches.redrive(ids))).await
    }
}
