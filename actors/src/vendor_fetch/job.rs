//! One fetch, from the token to the commit of the answer.
//!
//! If the process dies anywhere here, the fetch is in the queue until its answer is committed: the next bridge fetches it
//! again when the lease has ended, and what it brings twice counts once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::FetchParts;
use super::schedule::{RetryPolicy, Setback};
use crate::device_handler::commit;
use crate::domain::account::{Account, VendorUserId};
use crate::domain::api_request::ApiRequest;
use crate::domain::fetch::Whose;
use crate::domain::ids::UserId;
use crate::domain::rate_budget::RateLimit;
use crate::domain::time::{UtcOffset, offset_of_zone};
use crate::messages::{AccessToken, CommitError, GiveToken, TokenError};
use crate::ports::accounts::{Link, TokenState};
use crate::ports::fetch_queue::{ClaimedFetch, FetchEnd, FetchFate, NewFetch, PutBack};
use crate::ports::store::{Committed, DeliveryStatus, NewDelivery, StoreError};
use crate::ports::telemetry::FetchEvent;
use crate::ports::vendor_api::{ApiAnswer, ApiError, OAuthError};
use crate::supervision::{AskError, Backoff, CircuitOpen, Permit};
use crate::vendors::fetch::{read, request};
use crate::vendors::{Fetched, Owner};

/// How long a fetch may be in hand, tokens and commit included; shorter than its lease.
const PATIENCE: Duration = Duration::from_secs(75);
/// How long a fetch that is over is told to a store that is away. Then its lease ends.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// A request that is sent within this time is not late, however short the window: else a slow store, for which all are
/// late, would have the budget given out again and again without a request.
const LATE_MIN: Duration = Duration::from_millis(500);
/// What waits for the store or another part of this process is due again after so long.
const SOON: Duration = Duration::from_secs(1);
/// The largest answer that is kept raw; larger ones are kept as what they hold.
const RAW_MAX_BYTES: usize = 1 << 20;

/// Whose data is fetched.
struct Target {
    account: Account,
    user_id: UserId,
    zone: UtcOffset,
}

pub(super) struct Job {
    pub(super) parts: Arc<FetchParts>,
    pub(super) claimed: ClaimedFetch,
    /// Not after the budget has given its request.
    pub(super) begun: Instant,
}

impl Job {
    pub(super) async fn run(self) {
        let late = || Err(Setback::Failed("it takes too long".to_owned()));
        if let Err(setback) = timeout(PATIENCE, self.fetch()).await.unwrap_or_else(|_| late()) {
            self.put_back(setback).await;
        }
    }

    async fn fetch(&self) -> Result<(), Setback> {
        if self.parts.common.recent.lock().serves(&self.claimed.job) {
            return self.tell(FetchFate::Answered).await.map_err(|error| not_now(&error));
        }
        let account = self.target().await?.account;
        let token = self.token(&account, None).await?;
        // Not before: a link is made with its tokens, and what they open is that user's.
        let target = self.target().await?;
        let (answer, permit) = self.ask(&target, token).await?;
        let fetched = read(&self.claimed.job.fetch, &answer.body, &self.owner(&target));
        let fetched = match fetched {
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
            return Err(Setback::Failed(format!(
                "nothing in its answer can be used: {place} {}",
                refused.detail
            )));
        }
        self.commit(&target, answer.body, fetched).await
    }

    /// Whose account it is, and whose that is to us.
    async fn target(&self) -> Result<Target, Setback> {
        let Self { parts, claimed, .. } = self;
        let vendor = parts.vendor;
        let unheard = |error: StoreError| not_now(&error);
        let (account, link) = match &claimed.job.whose {
            Whose::Vendor(id) => {
                let account = Account { vendor, id: id.clone() };
                let link = parts.accounts.link(&account).await.map_err(unheard)?;
                (account, link)
            }
            Whose::User(user_id) => {
                let links = parts.accounts.links_of(user_id).await.map_err(unheard)?;
                match links.into_iter().find(|link| link.account.vendor == vendor) {
                    Some(link) => (link.account.clone(), Some(link)),
                    None => (Account { vendor, id: unlinked(vendor.name(), user_id)? }, None),
                }
            }
        };
        let user_id = match (&link, &claimed.job.whose) {
            (Some(link), _) => link.user_id.clone(),
            (None, Whose::User(user_id)) => user_id.clone(),
            (None, Whose::Vendor(id)) => {
                let text = format!("{}:{}", vendor.name(), id.as_str());
                UserId::parse(&text).map_err(|error| Setback::Refused(format!("the account's id {error}")))?
            }
        };
        let at = claimed.job.changed_at;
        let zone = link.and_then(|Link { timezone, .. }| offset_of_zone(&timezone?, at)).unwrap_or_default();
        Ok(Target { account, user_id, zone })
    }

    /// The vendor's answer, and the permit that has still to be told how it went.
    async fn ask(&self, target: &Target, token: AccessToken) -> Result<(ApiAnswer, Permit), Setback> {
        let question = &request(&self.claimed.job.fetch, target.zone);
        if self.is_late() {
            self.take_request().await?;
        }
        match self.ask_once(question, &token).await {
            Err(Asked::Refused) => {}
            Err(Asked::Setback(setback)) => return Err(setback),
            Ok(answered) => return Ok(answered),
        }
        // The token has ended before its time: one refresh, and one more request.
        let token = self.token(&target.account, Some(token.version)).await?;
        self.take_request().await?;
        self.ask_once(question, &token).await.map_err(|asked| match asked {
            Asked::Refused => Setback::Failed("it refuses a new access token, too".to_owned()),
            Asked::Setback(setback) => setback,
        })
    }

    /// Whether its request would reach the vendor later than the budget has counted with, as when it has waited for a
    /// token. Half of that time is left to the way.
    fn is_late(&self) -> bool {
        let slack = self.parts.rate_limits.iter().map(RateLimit::slack).min();
        slack.is_some_and(|slack| self.begun.elapsed() > (slack / 2).max(LATE_MIN))
    }

    /// One more request of the budget, to be sent at once.
    async fn take_request(&self) -> Result<(), Setback> {
        let parts = &self.parts;
        let taken = parts.queue.take_request(parts.vendor, &parts.rate_limits).await;
        if taken.map_err(|error| not_now(&error))? { Ok(()) } else { Err(Setback::NotNow(Duration::ZERO)) }
    }

    async fn token(&self, account: &Account, refused: Option<i64>) -> Result<AccessToken, Setback> {
        let ask = GiveToken { account: account.clone(), refused };
        match self.parts.tokens.ask(ask).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(TokenError::NoTokens | TokenError::NeedsReconnection)) => {
                Err(self.without_tokens(account).await)
            }
            Ok(Err(TokenError::Vendor { error, retry_in })) => match error {
                OAuthError::RateLimited { .. } => Err(Setback::NotNow(retry_in)),
                error => Err(Setback::Failed(error.to_string())),
            },
            Ok(Err(TokenError::Store(error))) => Err(not_now(&error)),
            Ok(Err(error @ TokenError::Vault(_))) => Err(Setback::Failed(error.to_string())),
            Err(AskError::Died { .. }) => Err(Setback::Failed("giving out its token failed".to_owned())),
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
        // Due at once: while the breaker is open nothing is claimed, and whoever closes it is not kept waiting.
        let refused = |_: CircuitOpen| Asked::Setback(Setback::NotNow(Duration::ZERO));
        let permit = parts.breaker.permit().map_err(refused)?;
        let error = match parts.api.get(parts.vendor, question, &token.token).await {
            Ok(answer) => {
                self.rest(answer.rest).await;
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
            ApiError::RateLimited { retry_after } => {
                let rest = parts.retry.rest(retry_after);
                self.rest(Some(rest)).await;
                Err(Asked::Setback(Setback::RateLimited(rest)))
            }
            ApiError::Unauthorized => {
                permit.succeeded();
                Err(Asked::Refused)
            }
            ApiError::Missing => {
                permit.succeeded();
                Err(Asked::Setback(Setback::Missing))
            }
            error @ ApiError::Refused { .. } => {
                permit.succeeded();
                Err(Asked::Setback(Setback::Refused(error.to_string())))
            }
        }
    }

    /// All bridges leave the vendor alone for so long.
    async fn rest(&self, rest: Option<Duration>) {
        let Some(rest) = rest else { return };
        // A store that is away lets nobody claim anything either.
        let _ = self.parts.queue.rest_vendor(self.parts.vendor, RetryPolicy::obeyed(rest)).await;
    }

    fn owner(&self, target: &Target) -> Owner {
        let NewFetch { changed_at, received_at, is_backfill, .. } = self.claimed.job;
        Owner {
            account: target.account.id.as_str().to_owned(),
            user_id: target.user_id.clone(),
            zone: target.zone,
            changed_at,
            received_at,
            fetched_at: self.parts.clock.now(),
            is_backfill,
        }
    }

    /// Makes the answer durable, in the transaction that takes the fetch out of the queue.
    async fn commit(&self, target: &Target, body: Bytes, fetched: Fetched) -> Result<(), Setback> {
        let Self { parts, claimed, .. } = self;
        let Fetched { drafts, rejected, next, is_pending } = fetched;
        let again = is_pending.then(|| parts.retry.look_again(claimed)).flatten();
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
                    return Err(Setback::Failed(format!("its data cannot be stored: {error}")));
                }
            }
        }
    }

    /// Gives the fetch back to the queue.
    pub(super) async fn put_back(&self, setback: Setback) {
        let Self { parts, claimed, .. } = self;
        let fate = parts.retry.fate(claimed, setback.clone());
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
    Refused,
    /// Anything else.
    Setback(Setback),
}

/// The account of a user of ours whom nobody has linked: ids of accounts without a link are `oura:A1B2`, and before there
/// were links the vendor's own id was the user's.
fn unlinked(vendor: &str, user_id: &UserId) -> Result<VendorUserId, Setback> {
    let text = user_id.as_str();
    let id = text.strip_prefix(vendor).and_then(|rest| rest.strip_prefix(':')).unwrap_or(text);
    VendorUserId::parse(id).map_err(|error| Setback::Refused(format!("the account's id {error}")))
}

fn not_now(_: &StoreError) -> Setback {
    Setback::NotNow(SOON)
}
