//! The durable queue of what is to be fetched from vendors' APIs, and the budget of requests that all bridges share.
//!
//! A fetch comes into the queue with the commit of the delivery that asks for it, and leaves it with the commit of the
//! answer (`NewDelivery::fetches` and `NewDelivery::ends` of the store's port). In between it waits, or is in the
//! hands of one bridge for as long as a lease lasts.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::store::StoreError;
use crate::domain::account::Vendor;
use crate::domain::fetch::{Fetch, Whose};
use crate::domain::ids::RequestId;
use crate::domain::rate_budget::RateLimit;
use crate::domain::time::Timestamp;

/// What is to be fetched, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFetch {
    /// Whose data.
    pub whose: Whose,
    /// The question.
    pub fetch: Fetch,
    /// The plan's `changed_at`: the version of records that tell none of their own.
    pub changed_at: Timestamp,
    /// When the notification arrived.
    pub received_at: Timestamp,
    /// Of the request that brought it.
    pub request_id: RequestId,
    /// History that decides nothing, and that waits behind what is live.
    pub is_backfill: bool,
}

impl NewFetch {
    /// Whether the same is asked for again at an interval: then it is no loss if this one comes to nothing.
    pub const fn is_poll(&self) -> bool {
        self.fetch.is_polled() && !self.is_backfill
    }
}

/// A fetch in the caller's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedFetch {
    /// Its rows: the first is the one that was due, the others ask the same question about the same account (and are as
    /// much backfill), and came into the queue before this claim. One answer ends them all.
    pub ids: Vec<i64>,
    /// What to do: that of the first row, with the newest `changed_at` and the oldest `received_at` of them all.
    pub job: NewFetch,
    /// Tries that have failed; of rows that differ, the fewest, since the question was asked anew.
    pub attempts: u32,
    /// How often the record was not there or not computed yet; of rows that differ, the fewest.
    pub looks: u32,
    /// For how long the youngest of its rows has been in the queue: whoever asks anew has all the patience there is.
    pub waited: Duration,
}

/// Who wants how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimFetches {
    /// To whose API.
    pub vendor: Vendor,
    /// Who takes them.
    pub holder: Uuid,
    /// At most so many.
    pub limit: usize,
    /// For how long they are the holder's.
    pub lease: Duration,
    /// How many requests all bridges together may send.
    pub rate_limits: Vec<RateLimit>,
}

/// What a claim came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimedFetches {
    /// Live ones before backfill, in each the ones that are due longest first. Each has used up one request of the
    /// budget.
    pub fetches: Vec<ClaimedFetch>,
    /// When it is worth to ask again, as far as the queue knows: at once if zero, because more was due than `limit`; when
    /// the budget allows more, or the next one is due or its lease ends; none when nothing waits.
    pub next_in: Option<Duration>,
}

/// What becomes of a fetch that was not answered with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// Its rows, as they were claimed.
    pub ids: Vec<i64>,
    /// By whom. Rows that somebody else holds by now are left alone.
    pub holder: Uuid,
    /// What becomes of them.
    pub fate: FetchFate,
}

/// See [`PutBack`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchFate {
    /// It is due again.
    Again(Again),
    /// Its account has no tokens that are of use: it waits for [`FetchQueue::release_fetches`], and is due again when it
    /// has been in the queue for so long. If its account was released while it was in somebody's hands, it is due at
    /// once: who found no tokens had looked before there were some.
    AwaitAccount {
        /// Since it came into the queue.
        until_waited: Duration,
    },
    /// It leaves the queue: an answer that was committed for another fetch serves it.
    Answered,
    /// It is a dead letter, until somebody redrives it.
    GiveUp {
        /// An `error_type` of the contract's, as `rate_limit_error`.
        error_type: &'static str,
        /// For people; without ids or readings.
        error_message: String,
        /// How often it was tried.
        attempts: u32,
    },
}

/// When a fetch is due again, and what it has gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// From now on.
    pub delay: Duration,
    /// As in [`ClaimedFetch`].
    pub attempts: u32,
    /// As in [`ClaimedFetch`].
    pub looks: u32,
}

/// The rows that an answer ends, in the transaction that commits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchEnd {
    /// They leave the queue, whoever holds them by now.
    pub ids: Vec<i64>,
    /// Not yet: a part of the answer was not computed. They are due again.
    pub again: Option<Again>,
}

/// A fetch that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadFetch {
    /// Its row.
    pub id: i64,
    /// To whose API it went.
    pub vendor: Vendor,
    /// Whom it was for; none if this build cannot read that.
    pub whose: Option<Whose>,
    /// What it asked for; its `Debug` names the kind alone. None if this build cannot read that.
    pub fetch: Option<Fetch>,
    /// As in [`FetchFate::GiveUp`].
    pub error_type: String,
    /// As in [`FetchFate::GiveUp`].
    pub error_message: String,
    /// When, by the store's clock.
    pub failed_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
}

/// How many fetches of a vendor there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchCounts {
    /// Waiting, or in somebody's hands.
    pub waiting: u64,
    /// Waiting for an account.
    pub awaiting_account: u64,
    /// Given up.
    pub dead: u64,
}

/// The queue.
///
/// Promises: what a call returned `Ok` for survives `kill -9`; each call is one transaction; of all bridges one at a time
/// holds a row whose lease has not ended; over all bridges and restarts no more requests are given out than the limits
/// allow; delays, leases and ages are measured by the store's clock.
#[async_trait]
pub trait FetchQueue: Send + Sync + 'static {
    /// Takes what is due, as far as the budget allows. Backfill leaves a tenth of each limit to what is live.
    async fn claim_fetches(&self, claim: &ClaimFetches) -> Result<ClaimedFetches, StoreError>;

    /// Takes one more request from the budget, for a fetch that is in the caller's hands; `instead` of one that came with
    /// a claim so long ago and was not sent, and that is gone in any case. Whether there was one.
    async fn take_request(
        &self,
        vendor: Vendor,
        rate_limits: &[RateLimit],
        instead: Option<Duration>,
    ) -> Result<bool, StoreError>;

    /// Gives a request back to the budget that came with a claim `held` ago and was not sent.
    async fn return_request(&self, vendor: Vendor, held: Duration) -> Result<(), StoreError>;

    /// Nobody sends the vendor a request before `rest` is over: it has asked for that.
    async fn rest_vendor(&self, vendor: Vendor, rest: Duration) -> Result<(), StoreError>;

    /// Puts fetches back that were not answered with their data.
    async fn put_back(&self, fetches: &[PutBack]) -> Result<(), StoreError>;

    /// Those of these rows that `holder` still has are its own for `lease` from now on.
    async fn extend_leases(&self, ids: &[i64], holder: Uuid, lease: Duration) -> Result<(), StoreError>;

    /// Everything of a vendor that `holder` has in its hands is due again at once: it has died and come back.
    async fn drop_leases(&self, vendor: Vendor, holder: Uuid) -> Result<(), StoreError>;

    /// What is due later than any delay would have it is due now: the store's clock has been set back since. Of what waits,
    /// hands included, no delay is longer than `longest`; an account is awaited for as long as it takes in all.
    async fn mend_due_times(&self, vendor: Vendor, longest: Duration) -> Result<(), StoreError>;

    /// What waits for one of these accounts is due at once. How much there was. What is in somebody's hands just then
    /// does not begin to wait for it ([`FetchFate::AwaitAccount`]).
    async fn release_fetches(&self, vendor: Vendor, whose: &[Whose]) -> Result<u64, StoreError>;

    /// How many were given up; cheap, however many wait.
    async fn dead_fetches_len(&self) -> Result<u64, StoreError>;

    /// How many there are of each vendor that has any. It looks at all of them.
    async fn count_fetches(&self) -> Result<Vec<(Vendor, FetchCounts)>, StoreError>;

    /// What was given up, newest first, with ids below `before`.
    async fn dead_fetches(&self, before: Option<i64>, limit: usize) -> Result<Vec<DeadFetch>, StoreError>;

    /// Those of `ids` that were given up are due at once, as if they were new. Whose API they go to, one each.
    async fn redrive_fetches(&self, ids: &[i64]) -> Result<Vec<Vendor>, StoreError>;
}
