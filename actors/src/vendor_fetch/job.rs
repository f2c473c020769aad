//! One fetch, from the token to the commit of the answer.
//!
//! If the process dies anywhere here, the fetch is in the queue until its answer is committed: the next bridge fetches it
//! again when the lease has ended, and what it brings twice counts once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::FetchParts;
use super::schedule::{RetryPolicy, Setback};
use super::target::Target;
use crate::device_handler::commit;
use crate::domain::account::{Account, Token};
use crate::domain::api_request::ApiRequest;
use crate::domain::time::UtcOffset;
use crate::messages::{AccessToken, CommitError, GiveToken, TokenError};
use crate::ports::accounts::TokenState;
use crate::ports::fetch_queue::{ClaimedFetch, FetchEnd, FetchFate, NewFetch, PutBack};
use crate::ports::store::{Committed, DeliveryStatus, NewDelivery, StoreError};
use crate::ports::telemetry::FetchEvent;
use crate::ports::vendor_api::{ApiAnswer, ApiError};
use crate::supervision::{AskError, Backoff, CircuitOpen, Permit};
use crate::vendors::fetch::request;
use crate::vendors::{Fetched, Owner};

/// How long a fetch may take up to its answer, and then its commit.
const PATIENCE: Duration = Duration::from_secs(65);
const COMMIT_PATIENCE: Duration = Duration::from_secs(15);
/// How long a fetch that is over is told to a store that is away. Then its lease ends.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// What waits for the store or another part of this process is due again after so long …
const SOON: Duration = Duration::from_secs(1);
/// … and what the store has not taken in all its patience.
pub(super) const LATER: Duration = Duration::from_secs(30);
/// The longest list, in pages: ten thousand records, where a page has no fewer than twenty.
const PAGES_MAX: u32 = 500;
/// The largest answer that is kept raw; larger ones are kept as what they hold.
const RAW_MAX_BYTES: usize = 1 << 20;

/// A poll that could not be asked for so long is left to the one after it, which looks back further: after an outage
/// nobody asks for each interval of it.
const POLL_OUTDATED: Duration = Duration::from_secs(2 * 3_600);

pub(super) struct Job {
    pub(super) parts: Arc<FetchParts>,
    pub(super) claimed: ClaimedFetch,
    claimed_at: Instant,
    /// The request that came with the claim was sent or given back.
    is_settled: AtomicBool,
}

impl Job {
    /// A fetch that was claimed not before `claimed_at`.
    pub(super) fn new(parts: Arc<FetchParts>, claimed: ClaimedFetch, claimed_at: Instant) -> Self {
        Self { parts, claimed, claimed_at, is_settled: AtomicBool::new(false) }
    }

    pub(super) async fn run(self) {
        let fetched = self.fetch().await;
        // Those that nobody has connected must not use up what the others need.
        self.return_request().await;
        if let Err(setback) = fetched {
            self.put_back(setback).await;
        }
    }

    async fn fetch(&self) -> Result<(), Setback> {
        let is_outdated = self.claimed.job.is_poll() && self.claimed.waited > POLL_OUTDATED;
        if is_outdated || self.parts.common.recent.lock().serves(&self.claimed.job) {
            return self.tell(FetchFate::Answered).await.map_err(|error| not_now(&error));
        }
        let late = |_| Err(Setback::Failed("it takes too long".to_owned()));
        let (target, body, fetched) = timeout(PATIENCE, self.answer()).await.unwrap_or_else(late)?;
        // Nobody but us is to blame for a commit that takes long.
        let committed = timeout(COMMIT_PATIENCE, self.commit(&target, body, fetched)).await;
        committed.unwrap_or(Err(Setback::NotNow(LATER)))
    }

    /// What the vendor says, read, and whose it is.
    async fn answer(&self) -> Result<(Target, Bytes, Fetched), Setback> {
        if self.claimed.job.fetch.pages_turned() >= PAGES_MAX {
            let reason = format!("a list of more than {PAGES_MAX} pages is not followed any further");
            return Err(Setback::Refused(reason));
        }
        let (account, link) = self.account().await?;
        let token = self.token(&account, None).await?;
        // Before the request: it is what the records will be known by.
        let known_as = if link.is_none() { self.owner_of(&token).await? } else { None };
        // Not before: a link is made with its tokens.
        let offset = self.target(&account).await?.offset;
        let asked = self.ask(&account, offset, token).await;
        let (answer, permit) = asked.map_err(|setback| self.or_expired(setback))?;
        // Not before: whose the account is now, when its data is stored, and not when it was asked.
        let target = self.target(&account).await?;
        let owner = match known_as {
            Some(account) => Owner { account, ..self.owner(&target) },
            None => self.owner(&target),
        };
        let fetched = match self.read(&answer.body, owner).await? {
            Ok(fetched) => {
                permit.succeeded();
                fetched
            }
            Err(error) => {
                permit.failed();
                return Err(Setback::Failed(format!("its answer cannot be read: {error}")));
            }
        };
        let has_nothing = fetched.drafts.is_empty() && fetched.next.is_none();
        if fetched.is_pending && has_nothing {
            return Err(Setback::Pending);
        }
        if let Some(refused) = fetched.rejected.listed.first().filter(|_| has_nothing) {
            let place = if refused.path.is_empty() { "the answer" } else { &refused.path };
            let reason = format!("nothing in its answer can be used: {place} {}", refused.detail);
            return Err(Setback::Failed(reason));
        }
        Ok((target, answer.body, fetched))
    }

    /// The vendor's answer, and the permit that has still to be told how it went.
    async fn ask(
        &self,
        account: &Account,
        offset: UtcOffset,
        token: AccessToken,
    ) -> Result<(ApiAnswer, Permit), Setback> {
        let question = &request(&self.claimed.job.fetch, offset);
        self.wait_for_rest()?;
        let held = self.claimed_at.elapsed();
        if held > self.parts.budget_slack() {
            // It was counted when it was claimed: the vendor would count it in another window.
            self.is_settled.store(true, Ordering::Relaxed);
            self.take_request(Some(held)).await?;
        }
        match self.ask_once(question, &token).await {
            Err(Asked::Refused(permit)) => permit.succeeded(),
            Err(Asked::Setback(setback)) => return Err(setback),
            Ok(answered) => return Ok(answered),
        }
        // The token has ended before its time: one refresh, and one more request.
        let token = self.token(account, Some(token.version)).await?;
        self.take_request(None).await?;
        self.ask_once(question, &token).await.map_err(|asked| match asked {
            Asked::Refused(permit) => {
                // Tokens are not to be refreshed on and on for a vendor that takes none.
                permit.failed();
                Setback::Failed("it refuses a new access token, too".to_owned())
            }
            Asked::Setback(setback) => setback,
        })
    }

    /// While the vendor rests nothing of what is in hand is sent: its request goes back to the budget.
    pub(super) fn wait_for_rest(&self) -> Result<(), Setback> {
        self.parts.common.pace.lock().rests_for().map_or(Ok(()), |rest| Err(Setback::NotNow(rest)))
    }

    pub(super) async fn take_request(&self, instead: Option<Duration>) -> Result<(), Setback> {
        let Self { parts, .. } = self;
        let taken = parts.queue.take_request(parts.vendor, &parts.rate_limits, instead).await;
        // Without one it is due at once, and is claimed when the budget allows.
        if taken.map_err(|error| not_now(&error))? { Ok(()) } else { Err(Setback::NotNow(Duration::ZERO)) }
    }

    /// Gives back what came with the claim. If it fails, that much of the budget goes unused.
    async fn return_request(&self) {
        if !self.is_settled.swap(true, Ordering::Relaxed) {
            let _ = self.parts.queue.return_request(self.parts.vendor, self.claimed_at.elapsed()).await;
        }
    }

    async fn token(&self, account: &Account, refused: Option<i64>) -> Result<AccessToken, Setback> {
        if !self.claimed.job.fetch.needs_token() {
            return Ok(AccessToken { token: Token::new(String::new()), version: 0, expires_at: None });
        }
        let ask = GiveToken { account: account.clone(), refused };
        match self.parts.tokens.ask(ask).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(TokenError::NoTokens | TokenError::NeedsReconnection)) => {
                Err(self.without_tokens(account).await)
            }
            // It rests, for this account or for all: that is no fault of this fetch.
            Ok(Err(TokenError::Vendor { retry_in, .. })) => Err(Setback::NotNow(retry_in.max(SOON))),
            Ok(Err(TokenError::Store(error))) => Err(not_now(&error)),
            Ok(Err(error @ TokenError::Vault(_))) => Err(Setback::Crashed(error.to_string())),
            Err(AskError::Died { .. }) => Err(Setback::Crashed("giving out its token failed".to_owned())),
            Err(_) => Err(Setback::NotNow(SOON)),
        }
    }

    /// The answer may have been for somebody who asked before us: a link that was made since has released nothing of ours,
    /// because we have claimed it after that.
    async fn without_tokens(&self, account: &Account) -> Setback {
        match self.parts.accounts.tokens(account).await {
            Ok(Some(tokens)) if tokens.state == TokenState::Active => Setback::NotNow(Duration::ZERO),
            Ok(_) => Setback::NoAccount,
            Err(error) => not_now(&error),
        }
    }

    async fn ask_once(
        &self,
        question: &ApiRequest,
        token: &AccessToken,
    ) -> Result<(ApiAnswer, Permit), Asked> {
        let parts = &self.parts;
        self.wait_for_rest().map_err(Asked::Setback)?;
        // Due at once: while the breaker is open nothing is claimed, and whoever closes it is not kept waiting.
        let refused = |_: CircuitOpen| Asked::Setback(Setback::NotNow(Duration::ZERO));
        let permit = parts.breaker.permit().map_err(refused)?;
        self.is_settled.store(true, Ordering::Relaxed);
        let error = match parts.api.get(parts.vendor, question, &token.token).await {
            Ok(answer) => {
                parts.common.pace.lock().answered();
                if let Some(rest) = answer.rest.map(RetryPolicy::obeyed) {
                    parts.common.pace.lock().rest(rest);
                    self.rest(rest).await;
                }
                return Ok((answer, permit));
            }
            Err(error) => error,
        };
        match error {
            ApiError::Unavailable(reason) => {
                permit.failed();
                Err(Asked::Setback(Setback::Failed(reason)))
            }
            // Says nothing about its health.
            ApiError::RateLimited { retry_after } => Err(Asked::Setback(self.limited(retry_after).await)),
            ApiError::Overloaded { retry_after } => {
                permit.failed();
                Err(Asked::Setback(Setback::Overloaded(retry_after)))
            }
            ApiError::Crowded => {
                permit.succeeded();
                Err(Asked::Setback(Setback::NotNow(SOON)))
            }
            ApiError::Unauthorized => Err(Asked::Refused(permit)),
            // A list is never missing: somebody else has answered.
            ApiError::Missing if self.claimed.job.fetch.is_list() && !self.claimed.job.is_poll() => {
                permit.failed();
                Err(Asked::Setback(Setback::Failed(
                    "it has no such list: is {VENDOR}_API_BASE right?".to_owned(),
                )))
            }
            ApiError::Missing => {
                permit.succeeded();
                Err(Asked::Setback(Setback::Missing))
            }
            // The member's subscription, or something in between that lets nobody through for a while.
            error @ ApiError::Refused { status: 403 } => {
                permit.succeeded();
                Err(Asked::Setback(Setback::Failed(error.to_string())))
            }
            ApiError::Expired => {
                permit.succeeded();
                Err(Asked::Setback(self.expired()))
            }
            error @ (ApiError::Refused { .. } | ApiError::Elsewhere { .. }) => {
                permit.succeeded();
                Err(Asked::Setback(Setback::Refused(error.to_string())))
            }
        }
    }

    /// The vendor asks for patience.
    pub(super) async fn limited(&self, retry_after: Option<Duration>) -> Setback {
        let rest = self.parts.retry.rest(retry_after);
        self.parts.common.pace.lock().refused(RetryPolicy::obeyed(rest));
        self.rest(RetryPolicy::obeyed(rest)).await;
        Setback::RateLimited(rest)
    }

    /// All bridges leave the vendor alone for so long.
    async fn rest(&self, rest: Duration) {
        // A store that is away lets nobody claim anything either.
        let _ = self.parts.queue.rest_vendor(self.parts.vendor, rest).await;
    }

    /// Makes the answer durable, in the transaction that takes the fetch out of the queue.
    async fn commit(&self, target: &Target, body: Bytes, fetched: Fetched) -> Result<(), Setback> {
        let Self { parts, claimed, .. } = self;
        let Fetched { drafts, rejected, next, is_pending, .. } = fetched;
        let is_looked_for = is_pending && !claimed.job.is_poll();
        let again = is_looked_for.then(|| parts.retry.look_again(claimed)).flatten();
        let follow_up = next.map(|fetch| NewFetch { fetch, ..claimed.job.clone() });
        let delivery = NewDelivery {
            // Each answer is a delivery of its own: what it holds is told apart by its facts.
            key: NewDelivery::key_of_its_own(),
            device: parts.vendor.name(),
            request_id: claimed.job.request_id.clone(),
            received_at: parts.clock.now(),
            status: DeliveryStatus::Processed,
            body: if body.len() <= RAW_MAX_BYTES { body } else { Bytes::new() },
            drafts,
            fetches: follow_up.iter().cloned().collect(),
            ends: Some(FetchEnd { ids: claimed.ids.clone(), again }),
        };
        let committed = self.commit_patiently(delivery).await?;
        if again.is_none() {
            parts.common.recent.lock().add(&claimed.job);
        }
        let receipts = match &committed {
            Committed::Stored(receipts) => receipts.as_slice(),
            Committed::Duplicate => &[],
        };
        self.parts.tell(FetchEvent::Fetched {
            request_id: &claimed.job.request_id,
            user: parts.masker.mask(&target.user_id),
            events: receipts.iter().filter(|receipt| receipt.is_new).count(),
            readings: receipts.iter().map(|receipt| receipt.readings).sum(),
            rejected: rejected.total,
        });
        if follow_up.is_some() {
            parts.common.wake.notify_one();
        }
        Ok(())
    }

    /// A store that is away is no reason to ask the vendor again.
    async fn commit_patiently(&self, delivery: NewDelivery) -> Result<Committed, Setback> {
        let mut delays = Backoff::default().delays(PATIENCE);
        loop {
            match commit(&self.parts.writer, delivery.clone()).await {
                Ok(committed) => return Ok(committed),
                Err(CommitError::Backlog | CommitError::Store(StoreError::Unavailable(_))) => {
                    sleep(delays.next(Instant::now())).await;
                }
                Err(CommitError::Stopping) => return Err(Setback::NotNow(SOON)),
                Err(error @ (CommitError::Store(_) | CommitError::Crashed)) => {
                    return Err(Setback::Crashed(format!("its data cannot be stored: {error}")));
                }
            }
        }
    }

    /// Gives the fetch back to the queue.
    pub(super) async fn put_back(&self, setback: Setback) {
        let Self { parts, claimed, .. } = self;
        let fate = match (parts.retry.fate(claimed, setback.clone()), &setback) {
            // The next poll asks for the same: it is no dead letter, and not looked for meanwhile.
            (FetchFate::GiveUp { .. }, _) | (_, Setback::Missing | Setback::Pending)
                if claimed.job.is_poll() =>
            {
                FetchFate::Answered
            }
            (fate, _) => fate,
        };
        let (request_id, why) = (&claimed.job.request_id, &setback.to_string());
        parts.tell(match &fate {
            FetchFate::Again(again) => FetchEvent::Waits { request_id, why, again_in: Some(again.delay) },
            FetchFate::GiveUp { error_type, .. } => FetchEvent::GivenUp { request_id, why, error_type },
            FetchFate::AwaitAccount { .. } | FetchFate::Answered => {
                FetchEvent::Waits { request_id, why, again_in: None }
            }
        });
        // What cannot be told now is due again when the lease ends.
        let _ = self.tell(fate).await;
    }

    /// Tells the queue what has become of the fetch.
    async fn tell(&self, fate: FetchFate) -> Result<(), StoreError> {
        let Self { parts, claimed, .. } = self;
        let put_back = [PutBack { ids: claimed.ids.clone(), holder: parts.common.holder, fate }];
        let (mut delays, until) =
            (Backoff::default().delays(STORE_PATIENCE), Instant::now() + STORE_PATIENCE);
        loop {
            match parts.queue.put_back(&put_back).await {
                Err(StoreError::Unavailable(_)) if Instant::now() < until => {
                    sleep(delays.next(Instant::now())).await;
                }
                told => return told,
            }
        }
    }
}

/// How one request went that brought no data.
enum Asked {
    /// The access token was refused.
    Refused(Permit),
    /// Anything else.
    Setback(Setback),
}

pub(super) fn not_now(_: &StoreError) -> Setback {
    Setback::NotNow(SOON)
}
