//! One actor a vendor: takes fetches from the durable queue as far as the budget, the breaker and its own hands allow, and
//! has each done by a task of its own.
//!
//! What waits holds nothing here: it is in the queue, with its due time. If the process dies, the leases of what was in hand
//! end, and whoever claims next goes on; a new life of the actor takes them back at once.

mod job;
mod link;
mod pace;
mod reading;
mod recent;
mod schedule;
mod target;
mod token_owner;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};
use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use self::job::Job;
use self::pace::Pace;
use self::recent::Recent;
pub use self::schedule::RetryPolicy;
use self::schedule::Setback;
use crate::domain::account::{Vendor, VendorUserId};
use crate::domain::ids::Masker;
use crate::domain::rate_budget::{RateLimit, SLACK_PART};
use crate::event_writer::EventWriter;
use crate::messages::FetchesQueued;
use crate::ports::fetch_queue::{ClaimFetches, ClaimedFetch};
use crate::ports::store::StoreError;
use crate::ports::telemetry::{FetchEvent, PipelineEvent};
use crate::ports::{Accounts, Clock, FetchQueue, Telemetry, VendorApi};
use crate::supervision::{Backoff, Breaker, BreakerState, ChildRef, idle, waiting};
use crate::token_refresh::TokenRefresh;

/// Fetches of one vendor in hand at once: what one vendor may have of the usual `AIOHTTP_CONNECTOR_LIMIT` is more, so none
/// of them waits for a connection.
pub const IN_HAND_MAX: usize = 72;
/// A claim is a transaction: it waits until of the hands so many are free, one in so many …
const CLAIM_PART: usize = 4;
/// … or for so long, if one is.
const CLAIM_GATHERS: Duration = Duration::from_millis(10);
/// How long what a bridge had in hand is left alone when it is not heard of any more …
const LEASE: Duration = Duration::from_secs(20);
/// … and how often it is heard of.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
/// How often what is due too late is looked for: clocks are seldom set back.
const MEND_EVERY: Duration = Duration::from_secs(600);
/// How long the queue goes unwatched when nobody says that there is something in it: as another bridge's commits do not.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A request that is sent within this time is not late, however short the window: each that is late costs a transaction.
const LATE_MIN: Duration = Duration::from_millis(50);
/// A claim that has brought nothing is not repeated earlier.
const NEXT_MIN: Duration = Duration::from_millis(2);
/// How long a stop waits for a store that is away.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// After so long without a failure, delays begin with the shortest again.
const QUIET: Duration = Duration::from_secs(30);

/// What a fetcher works with; all of it outlives the fetcher.
pub struct FetchParts {
    /// Whose API it asks.
    pub vendor: Vendor,
    /// What is to be fetched.
    pub queue: Arc<dyn FetchQueue>,
    /// Whose accounts are whose.
    pub accounts: Arc<dyn Accounts>,
    /// Who is asked.
    pub api: Arc<dyn VendorApi>,
    /// Who gives out access tokens.
    pub tokens: ChildRef<TokenRefresh>,
    /// Who makes answers durable.
    pub writer: ChildRef<EventWriter>,
    /// By which answers are dated.
    pub clock: Arc<dyn Clock>,
    /// Who is told.
    pub telemetry: Arc<dyn Telemetry>,
    /// Masks users' ids.
    pub masker: Masker,
    /// Opens when the vendor fails.
    pub breaker: Breaker,
    /// How many requests all bridges together may send.
    pub rate_limits: Vec<RateLimit>,
    /// Fetches in hand at once; at least 1, at most [`IN_HAND_MAX`].
    pub in_hand_max: usize,
    /// How the vendor is asked again.
    pub retry: RetryPolicy,
    /// What its lives have in common.
    pub common: Common,
}

/// What the lives of one fetcher have in common.
pub struct Common {
    holder: Uuid,
    wake: Notify,
    recent: Mutex<Recent>,
    pace: Mutex<Pace>,
    /// None if the vendor does not say.
    token_owner: OnceCell<Option<VendorUserId>>,
}

impl Common {
    /// For a fetcher that asks nothing twice within `shared_for` that has the same answer.
    pub fn new(shared_for: Duration) -> Self {
        let (recent, pace) = (Mutex::new(Recent::new(shared_for)), Mutex::default());
        Self { holder: Uuid::now_v7(), wake: Notify::new(), recent, pace, token_owner: OnceCell::new() }
    }
}

/// The fetches in hand. Dropped, they are aborted, wherever they are.
#[derive(Default)]
struct Hands {
    tasks: JoinSet<()>,
    held: HashMap<Id, ClaimedFetch>,
}

impl Hands {
    fn take(&mut self, parts: &Arc<FetchParts>, claimed: ClaimedFetch, claimed_at: Instant) {
        let job = Job::new(Arc::clone(parts), claimed.clone(), claimed_at);
        self.held.insert(self.tasks.spawn(job.run()).id(), claimed);
    }

    /// Waits for the next end of a fetch, for ever when there is none; gives back one that panicked.
    async fn ended(&mut self) -> Option<ClaimedFetch> {
        match self.tasks.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, ()))) => {
                self.held.remove(&id);
                None
            }
            Some(Err(error)) => self.held.remove(&error.id()).filter(|_| JoinError::is_panic(&error)),
        }
    }
}

/// When to look into the queue again.
struct Look {
    /// At the latest.
    at: Instant,
    /// Or when a fetch has ended: what is in hand decides whether there may be more.
    when_one_ends: bool,
}

impl Look {
    fn at(at: Instant) -> Self {
        Self { at, when_one_ends: false }
    }

    /// When to claim with these hands; none while all are full.
    fn claim_at(&self, free: usize, in_all: usize) -> Option<Instant> {
        let gathers = if free * CLAIM_PART >= in_all { Duration::ZERO } else { CLAIM_GATHERS };
        (free > 0).then_some(self.at + gathers)
    }
}

impl FetchParts {
    /// How long after its claim a request may be sent without being counted anew: half of what the budget bears.
    fn budget_slack(&self) -> Duration {
        let shortest = self.rate_limits.iter().map(|limit| limit.window).min();
        shortest.map_or(Duration::MAX, |window| (window / SLACK_PART / 2).max(LATE_MIN))
    }

    /// Lets others have at once what is in hand, when nothing is in hand any more: the bridge is stopping.
    pub async fn give_back_leases(&self) {
        let dropping = self.queue.drop_leases(self.vendor, self.common.holder);
        // Otherwise they end by themselves.
        let _ = timeout(STOP_PATIENCE, dropping).await;
    }

    fn tell(&self, event: FetchEvent<'_>) {
        self.telemetry.emit(PipelineEvent::Fetch { vendor: self.vendor, event });
    }

    async fn run(self: Arc<Self>) {
        let mut delays = Backoff::default().delays(QUIET);
        let mut hands = Hands::default();
        // What an earlier life has left.
        while let Err(error) = waiting(self.queue.drop_leases(self.vendor, self.common.holder)).await {
            self.retry_after(&error);
            idle(sleep(delays.next(Instant::now()))).await;
        }
        let mut look = Look::at(Instant::now());
        let mut extend_at = Instant::now() + EXTEND_EVERY;
        let mut mend_at = Instant::now();
        loop {
            if mend_at <= Instant::now() {
                mend_at = Instant::now() + MEND_EVERY;
                let mending = self.queue.mend_due_times(self.vendor, self.retry.longest());
                waiting(mending).await.unwrap_or_else(|error| self.retry_after(&error));
            }
            if extend_at <= Instant::now() {
                extend_at = Instant::now() + EXTEND_EVERY;
                self.extend_leases(&hands).await;
            }
            let claim_at = self.claim_at(&hands, &look);
            if claim_at.is_some_and(|at| at <= Instant::now()) {
                look = match self.claim(&mut hands).await {
                    Ok(look) => look,
                    Err(error) => {
                        self.retry_after(&error);
                        Look::at(Instant::now() + delays.next(Instant::now()))
                    }
                };
            }
            self.await_work(&mut hands, &mut look, extend_at).await;
        }
    }

    /// How many more may be in hand.
    fn free(&self, hands: &Hands) -> usize {
        self.common.pace.lock().at_once(self.in_hand_max).saturating_sub(hands.held.len())
    }

    fn claim_at(&self, hands: &Hands, look: &Look) -> Option<Instant> {
        let free = self.free(hands);
        look.claim_at(free, free + hands.held.len())
    }

    /// What is still in hand is not for others. If that cannot be said they fetch it, too, and it counts once.
    async fn extend_leases(&self, hands: &Hands) {
        let ids: Vec<i64> = hands.held.values().flat_map(|claimed| &claimed.ids).copied().collect();
        if ids.is_empty() {
            return;
        }
        if let Err(error) = waiting(self.queue.extend_leases(&ids, self.common.holder, LEASE)).await {
            self.retry_after(&error);
        }
    }

    fn retry_after(&self, error: &StoreError) {
        let error = error.to_string();
        self.telemetry.emit(PipelineEvent::Retrying { actor: "fetch", error });
    }

    /// Claims what may be asked now, and begins with it.
    async fn claim(self: &Arc<Self>, hands: &mut Hands) -> Result<Look, StoreError> {
        let now = Instant::now();
        let breaker = self.breaker.snapshot();
        let limit = match breaker.state {
            BreakerState::Closed => self.free(hands),
            // One at a time finds out whether it works again.
            BreakerState::HalfOpen if hands.held.is_empty() => 1,
            BreakerState::HalfOpen => return Ok(Look { at: now + LOOK_AGAIN, when_one_ends: true }),
            BreakerState::Open => {
                let open_for = Duration::from_millis(breaker.retry_in_ms.max(1));
                return Ok(Look::at(now + open_for.min(LOOK_AGAIN)));
            }
        };
        let claim = ClaimFetches {
            vendor: self.vendor,
            holder: self.common.holder,
            limit,
            lease: LEASE,
            rate_limits: self.rate_limits.clone(),
        };
        let claimed = waiting(self.queue.claim_fetches(&claim)).await?;
        let shortest = if claimed.fetches.is_empty() { NEXT_MIN } else { Duration::ZERO };
        claimed.fetches.into_iter().for_each(|fetch| hands.take(self, fetch, now));
        let next_in = claimed.next_in.unwrap_or(LOOK_AGAIN).clamp(shortest, LOOK_AGAIN);
        Ok(Look::at(now + next_in))
    }

    /// Waits until there may be something to do.
    async fn await_work(self: &Arc<Self>, hands: &mut Hands, look: &mut Look, extend_at: Instant) {
        let (claim_at, has_ended) = (self.claim_at(hands, look), Cell::new(false));
        let died = idle(async {
            tokio::select! {
                () = self.common.wake.notified() => {
                    look.at = Instant::now();
                    None
                }
                died = hands.ended() => {
                    has_ended.set(true);
                    died
                }
                () = until(claim_at) => None,
                () = tokio::time::sleep_until(extend_at), if !hands.held.is_empty() => None,
            }
        })
        .await;
        if has_ended.get() && look.when_one_ends {
            look.at = Instant::now();
        }
        if let Some(claimed) = died {
            // A task of its own like every fetch: it may wait for the store.
            let job = Job::new(Arc::clone(self), claimed.clone(), Instant::now());
            let failed = Setback::Crashed("processing its answer panicked".to_owned());
            let id = hands.tasks.spawn(async move { job.put_back(failed).await }).id();
            hands.held.insert(id, claimed);
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The fetcher of one vendor.
pub struct VendorFetch {
    parts: Arc<FetchParts>,
}

impl VendorFetch {
    /// A fetcher over `parts`.
    pub fn new(parts: Arc<FetchParts>) -> Self {
        Self { parts }
    }
}

impl Actor for VendorFetch {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.spawn(Arc::clone(&self.parts).run().into_actor(self));
    }
}

impl Handler<FetchesQueued> for VendorFetch {
    type Result = ();

    fn handle(&mut self, FetchesQueued: FetchesQueued, _: &mut Self::Context) {
        self.parts.common.wake.notify_one();
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod budget_tests;
