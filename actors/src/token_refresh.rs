//! Gives out access tokens, and refreshes them: one refresh an account however many ask, over all bridges.
//!
//! A refresh is made under a lease in the tokens' row. The vendor's refresh tokens are single use (vendors.md §2, §3),
//! so the new pair is stored before it is used; who finds the lease taken waits, and finds the pair that the holder has
//! stored. A request that is under way is never given up, since its answer may be the only pair there is: as long as the
//! vendor takes for it, the lease is extended.
//!
//! If the process dies with the lease, it ends by itself, and the next who asks goes on: with the same refresh token if
//! the vendor had not answered; else that is dead, its pair is lost, and the vendor's one refusal marks the account for
//! reconnection. Nobody asks the vendor about a marked account.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Context, Handler, ResponseActFuture, WrapFuture};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::domain::account::{Account, Token, TokenPair, Vendor};
use crate::messages::{AccessToken, GiveToken, TokenError};
use crate::ports::accounts::{LEASE_LONGEST, Leased, NewTokens, StoredTokens, TokenState};
use crate::ports::store::StoreError;
use crate::ports::telemetry::{PipelineEvent, RefreshOutcome};
use crate::ports::vendor_api::{Grant, OAuthError};
use crate::ports::{Accounts, Clock, OAuth, Telemetry, Vault};
use crate::supervision::{Backoff, Delays, waiting};
use crate::token_limits::TokenLimits;

/// Who finds the lease taken, or the store away with a new pair in hand, looks again after so long.
const LOOK_AGAIN: Backoff =
    Backoff { initial: Duration::from_millis(50), max: Duration::from_secs(2), jitter: 0.1 };
/// Longer than anybody waits here: the delays grow to their end.
const NEVER_QUIET: Duration = Duration::from_secs(3_600);
/// Beyond the longest lease that somebody else may have.
const WAIT_SPARE: Duration = Duration::from_secs(5);
/// An access token is refreshed when less is left of it, or a tenth of its time.
const MARGIN_MAX_MS: i64 = 60_000;
/// How long a new pair is held for a store that is away. There is no other: it is not given up lightly.
const STORE_PATIENCE: Duration = Duration::from_secs(120);
/// How long the vendor is left alone about an account when it could not be asked …
const REST: Duration = Duration::from_secs(5);
/// … and when it has refused our application, or asked for patience without saying how much.
const LONG_REST: Duration = Duration::from_secs(60);

/// What token refresh stands on.
pub struct TokenParts {
    /// Links and tokens.
    pub accounts: Arc<dyn Accounts>,
    /// Seals and opens them.
    pub vault: Arc<dyn Vault>,
    /// Where they are refreshed.
    pub oauth: Arc<dyn OAuth>,
    /// By which tokens end.
    pub clock: Arc<dyn Clock>,
    /// Who is told.
    pub telemetry: Arc<dyn Telemetry>,
    /// `OURA_ACCESS_TOKEN`: serves Oura accounts without tokens of their own.
    pub oura_token: Option<Token>,
    /// How long a lease lasts (`OAUTH_LOCK_TTL_SECONDS`) unless it is extended: how long the others wait for a bridge that
    /// has died with it.
    pub lease: Duration,
    /// What it must not do to others.
    pub limits: TokenLimits,
}

type Answer = Result<AccessToken, TokenError>;
/// One account's token on its way, for all who ask for it meanwhile.
type Asking = Shared<BoxFuture<'static, Answer>>;

/// The actor: everybody who asks for the same is answered by the same.
pub struct TokenRefresh {
    parts: Arc<TokenParts>,
    asking: HashMap<GiveToken, Asking>,
}

impl TokenRefresh {
    /// An actor on `parts`.
    pub fn new(parts: Arc<TokenParts>) -> Self {
        Self { parts, asking: HashMap::new() }
    }
}

impl Actor for TokenRefresh {
    type Context = Context<Self>;
}

impl Handler<GiveToken> for TokenRefresh {
    type Result = ResponseActFuture<Self, Answer>;

    fn handle(&mut self, message: GiveToken, _: &mut Context<Self>) -> Self::Result {
        let parts = &self.parts;
        let begin = || in_a_task(give(Arc::clone(parts), message.clone())).boxed().shared();
        let asking = self.asking.entry(message.clone()).or_insert_with(begin).clone();
        // Store, vendor and timers have time limits of their own.
        let answer = waiting(asking).into_actor(self).map(move |answer, actor, _| {
            // Who asks from now on looks anew.
            if actor.asking.get(&message).is_some_and(|asking| asking.peek().is_some()) {
                actor.asking.remove(&message);
            }
            answer
        });
        Box::pin(answer)
    }
}

/// Runs apart from the actor's life: a vendor that has answered has given the only pair there is.
async fn in_a_task(giving: impl Future<Output = Answer> + Send + 'static) -> Answer {
    let panicked = |_| StoreError::Unavailable("giving out a token panicked".to_owned());
    tokio::spawn(giving).await.map_err(panicked)?
}

async fn give(parts: Arc<TokenParts>, GiveToken { account, refused }: GiveToken) -> Answer {
    let (mut delays, deadline) = (LOOK_AGAIN.delays(NEVER_QUIET), Instant::now() + parts.lease + WAIT_SPARE);
    let mut has_waited = false;
    loop {
        let Some(stored) = parts.limits.looks.pass(parts.accounts.tokens(&account)).await? else {
            return parts.without_tokens(&account, refused);
        };
        if stored.state == TokenState::NeedsReconnection {
            return Err(TokenError::NeedsReconnection);
        }
        if parts.is_fresh(&stored, refused) {
            if has_waited {
                parts.tell(account.vendor, RefreshOutcome::Reused);
            }
            return parts.open(&stored).map(|pair| given(pair.access, &stored));
        }
        if let Some(rest) = parts.limits.endpoints.rest(account.vendor) {
            return parts.resting(&stored, refused, rest);
        }
        let (holder, begun) = (Uuid::now_v7(), Instant::now());
        let lease = parts.accounts.lease_tokens(&account, holder, parts.lease);
        match parts.limits.looks.pass(lease).await? {
            Leased::Taken(stored) => {
                let turn = Turn { parts: &parts, stored: &stored, holder, begun, refused };
                if let Some(token) = turn.run().await? {
                    return Ok(token);
                }
            }
            Leased::Resting(rest) => return parts.resting(&stored, refused, rest),
            Leased::Busy | Leased::Gone => {}
        }
        if Instant::now() >= deadline {
            let busy =
                OAuthError::Unavailable("another refresh of the same account takes too long".to_owned());
            return Err(TokenError::Vendor { error: busy, retry_in: REST });
        }
        has_waited = true;
        sleep(delays.next(Instant::now())).await;
    }
}

fn given(token: Token, stored: &StoredTokens) -> AccessToken {
    AccessToken { token, version: stored.version, expires_at: stored.tokens.expires_at }
}

impl TokenParts {
    fn tell(&self, vendor: Vendor, outcome: RefreshOutcome) {
        self.telemetry.emit(PipelineEvent::TokenRefresh { vendor, outcome });
    }

    fn without_tokens(&self, account: &Account, refused: Option<i64>) -> Answer {
        let token = self.oura_token.clone().filter(|_| account.vendor == Vendor::Oura);
        let token = token.ok_or(TokenError::NoTokens)?;
        if refused == Some(0) {
            let error =
                OAuthError::Misconfigured("OURA_ACCESS_TOKEN is refused by Oura: set another".to_owned());
            return Err(TokenError::Vendor { error, retry_in: LONG_REST });
        }
        Ok(AccessToken { token, version: 0, expires_at: None })
    }

    fn open(&self, stored: &StoredTokens) -> Result<TokenPair, TokenError> {
        Ok(self.vault.open(&stored.account, &stored.tokens.sealed)?)
    }

    /// While the vendor is left alone: what is there, or how long to wait.
    fn resting(&self, stored: &StoredTokens, refused: Option<i64>, retry_in: Duration) -> Answer {
        let error = OAuthError::Unavailable("it could not be asked a moment ago".to_owned());
        self.meanwhile(stored, refused).ok_or(TokenError::Vendor { error, retry_in })
    }

    /// Whether the access token is good for some time, as far as is known; one that nobody can refresh, until it ends.
    fn is_fresh(&self, stored: &StoredTokens, refused: Option<i64>) -> bool {
        let NewTokens { obtained_at, expires_at, .. } = &stored.tokens;
        let left = expires_at.map(|at| at.as_ms().saturating_sub(self.clock.now().as_ms()));
        let lasts = expires_at.map_or(0, |at| at.as_ms().saturating_sub(obtained_at.as_ms()));
        let can_refresh = stored.tokens.sealed.refresh.is_some();
        let margin = if can_refresh { (lasts / 10).clamp(0, MARGIN_MAX_MS) } else { 0 };
        refused.is_none_or(|refused| stored.version > refused) && left.is_none_or(|left| left > margin)
    }

    /// The access token that is there, if it has not ended yet: better than none while the vendor gives no other.
    fn meanwhile(&self, stored: &StoredTokens, refused: Option<i64>) -> Option<AccessToken> {
        let is_good = stored.tokens.expires_at.is_none_or(|at| at > self.clock.now())
            && refused.is_none_or(|refused| stored.version > refused);
        let pair = is_good.then(|| self.open(stored).ok()).flatten()?;
        Some(given(pair.access, stored))
    }
}

/// One refresh, under the lease.
struct Turn<'t> {
    parts: &'t TokenParts,
    /// As they are under the lease.
    stored: &'t StoredTokens,
    holder: Uuid,
    /// Before the lease was asked for: it has ended by then plus its time at the earliest.
    begun: Instant,
    refused: Option<i64>,
}

impl Turn<'_> {
    /// The new access token; none if the row has changed meanwhile, and is to be looked at again.
    async fn run(&self) -> Result<Option<AccessToken>, TokenError> {
        let Self { parts, stored, refused, .. } = *self;
        let vendor = stored.account.vendor;
        // Somebody else has had the lease before.
        if stored.state != TokenState::Active || parts.is_fresh(stored, refused) {
            self.end(Duration::ZERO).await?;
            return Ok(None);
        }
        let pair = match parts.open(stored) {
            Ok(pair) => pair,
            Err(error) => {
                self.end(Duration::ZERO).await?;
                return Err(error);
            }
        };
        let Some(refresh) = pair.refresh else { return self.mark().await };
        // Who has waited so long for the lease may not have it any more: somebody else is asking the vendor by now.
        if self.begun.elapsed() >= self.extend_after() && !self.extend().await? {
            return Ok(None);
        }
        match self.ask(&refresh).await {
            Ok(grant) => {
                parts.limits.endpoints.answered(vendor);
                self.keep(grant, refresh).await
            }
            Err(OAuthError::InvalidGrant) => {
                parts.limits.endpoints.answered(vendor);
                self.mark().await
            }
            Err(error) => {
                let retry_in = rest_after(&error);
                match error {
                    OAuthError::Unavailable(_) => parts.limits.endpoints.failed(&stored.account, retry_in),
                    _ => parts.limits.endpoints.begin_rest(vendor, retry_in),
                }
                self.end(retry_in).await?;
                parts.tell(vendor, RefreshOutcome::Failed);
                let meanwhile = parts.meanwhile(stored, refused);
                meanwhile.map(Some).ok_or(TokenError::Vendor { error, retry_in })
            }
        }
    }

    /// Asks the vendor, which ends by itself, and keeps the lease meanwhile. If it is lost all the same, the answer is
    /// waited for: it may be the only pair there is, and its version tells whether it may be stored.
    async fn ask(&self, refresh: &Token) -> Result<Grant, OAuthError> {
        let mut asking = pin!(self.parts.oauth.refresh(self.stored.account.vendor, refresh));
        let mut next = self.extend_after().saturating_sub(self.begun.elapsed());
        loop {
            let keeping = async {
                sleep(next).await;
                // A store that is away may be back before the lease ends.
                !matches!(self.extend().await, Ok(false))
            };
            tokio::select! {
                biased;
                answer = &mut asking => return answer,
                is_ours = keeping => if !is_ours {
                    return asking.await;
                },
            }
            next = self.extend_after();
        }
    }

    /// A third of the lease: one call may fail and the next one still comes in time.
    fn extend_after(&self) -> Duration {
        self.parts.lease / 3
    }

    async fn extend(&self) -> Result<bool, StoreError> {
        let Self { parts, stored, holder, .. } = *self;
        parts.limits.ends.pass(parts.accounts.extend_lease(&stored.account, holder, parts.lease)).await
    }

    async fn end(&self, rest: Duration) -> Result<(), StoreError> {
        let Self { parts, stored, holder, .. } = *self;
        parts.limits.ends.pass(parts.accounts.end_lease(&stored.account, holder, rest)).await
    }

    /// The vendor takes these tokens no more: marks them, unless they are no longer those that are stored, or somebody
    /// else is refreshing them: then that explains it.
    async fn mark(&self) -> Result<Option<AccessToken>, TokenError> {
        let Self { parts, stored, holder, .. } = *self;
        let marking = parts.accounts.mark_for_reconnection(&stored.account, holder, stored.version);
        if !parts.limits.ends.pass(marking).await? {
            return Ok(None);
        }
        parts.tell(stored.account.vendor, RefreshOutcome::Reconnect);
        Err(TokenError::NeedsReconnection)
    }

    /// Stores a new pair, in place of the one that it was given for.
    async fn keep(&self, grant: Grant, refresh: Token) -> Result<Option<AccessToken>, TokenError> {
        let Self { parts, stored, .. } = *self;
        let (account, now) = (&stored.account, parts.clock.now());
        // Without a new refresh token the old one stays good.
        let pair = TokenPair { refresh: grant.pair.refresh.or(Some(refresh)), ..grant.pair };
        let lasts_ms = grant.lasts.map(|lasts| i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX));
        let expires_at = lasts_ms.map(|ms| now.plus_ms(ms));
        let tokens = NewTokens {
            sealed: parts.vault.seal(account, &pair)?,
            scope: grant.scope.or_else(|| stored.tokens.scope.clone()),
            obtained_at: now,
            expires_at,
        };
        let mut delays = LOOK_AGAIN.delays(NEVER_QUIET);
        if !self.store(&tokens, &mut delays).await? {
            return Ok(None);
        }
        parts.tell(account.vendor, RefreshOutcome::Refreshed);
        Ok(Some(AccessToken { token: pair.access, version: stored.version + 1, expires_at }))
    }

    /// Whether the pair is stored. It is tried for as long as it may help: also when the lease has ended, since the
    /// vendor takes no other pair.
    async fn store(&self, tokens: &NewTokens, delays: &mut Delays) -> Result<bool, StoreError> {
        let Self { parts, stored, .. } = *self;
        let deadline = Instant::now() + STORE_PATIENCE;
        loop {
            let replacing = parts.accounts.replace_tokens(&stored.account, stored.version, tokens);
            match parts.limits.ends.pass(replacing).await {
                Err(StoreError::Unavailable(reason)) if Instant::now() < deadline => {
                    parts.telemetry.emit(PipelineEvent::Retrying { actor: "tokens", error: reason });
                    sleep(delays.next(Instant::now())).await;
                }
                outcome => return outcome,
            }
        }
    }
}

fn rest_after(error: &OAuthError) -> Duration {
    match error {
        // Not at once, and not for ever, whatever it says.
        OAuthError::RateLimited { retry_after } => {
            retry_after.unwrap_or(LONG_REST).clamp(REST, LEASE_LONGEST)
        }
        OAuthError::Misconfigured(_) => LONG_REST,
        OAuthError::InvalidGrant | OAuthError::Unavailable(_) => REST,
    }
}
