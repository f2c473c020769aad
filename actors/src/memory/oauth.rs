//! A vendor's OAuth server in memory, as strict as the vendors are.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::faults::Faults;
use crate::domain::account::{Token, TokenPair, Vendor};
use crate::ports::OAuth;
use crate::ports::vendor_api::{Grant, OAuthError};

/// The operation of the server, for its [`Faults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OAuthCall {
    /// A refresh.
    Refresh,
}

/// One server for all vendors: refresh tokens are single use, and each refresh kills the pair before it (vendors.md §2,
/// §3).
#[derive(Debug)]
pub struct MemoryOAuth {
    grants: Mutex<Grants>,
    lasts: Duration,
    faults: Faults<OAuthCall, OAuthError>,
}

#[derive(Debug, Default)]
struct Grants {
    /// How often each grant was refreshed, by its number.
    rounds: HashMap<u64, u64>,
    calls: usize,
}

impl MemoryOAuth {
    /// A server whose access tokens are good for `lasts`.
    pub fn new(lasts: Duration) -> Self {
        Self { grants: Mutex::default(), lasts, faults: Faults::default() }
    }

    /// What is to befall its calls. What is scripted to fail after its effect has changed the tokens all the same.
    pub fn faults(&self) -> &Faults<OAuthCall, OAuthError> {
        &self.faults
    }

    /// The first pair of a person who has just given consent.
    pub fn connect(&self) -> TokenPair {
        let mut grants = self.grants.lock();
        let number = grants.rounds.len() as u64;
        grants.rounds.insert(number, 0);
        pair(number, 0)
    }

    /// Takes back the consent behind a pair.
    pub fn revoke(&self, pair: &TokenPair) {
        if let Some((number, _)) = parse(&pair.access, "access") {
            self.grants.lock().rounds.remove(&number);
        }
    }

    /// Whether an access token opens the API now.
    pub fn opens(&self, access: &Token) -> bool {
        let parsed = parse(access, "access");
        parsed.is_some_and(|(number, round)| self.grants.lock().rounds.get(&number) == Some(&round))
    }

    /// How often it was asked for a refresh so far, with whatever answer.
    pub fn calls(&self) -> usize {
        self.grants.lock().calls
    }

    fn turn(&self, refresh: &Token) -> Result<Grant, OAuthError> {
        let (number, round) = parse(refresh, "refresh").ok_or(OAuthError::InvalidGrant)?;
        let mut grants = self.grants.lock();
        match grants.rounds.get_mut(&number) {
            Some(held) if *held == round => *held += 1,
            _ => return Err(OAuthError::InvalidGrant),
        }
        Ok(Grant { pair: pair(number, round + 1), lasts: Some(self.lasts), scope: None })
    }
}

fn pair(number: u64, round: u64) -> TokenPair {
    let token = |what| Token::new(format!("test-{what}-{number}-{round}"));
    TokenPair { access: token("access"), refresh: Some(token("refresh")) }
}

/// The grant's number, and how often it had been refreshed before.
fn parse(token: &Token, what: &str) -> Option<(u64, u64)> {
    let rest = token.expose().strip_prefix("test-")?.strip_prefix(what)?.strip_prefix('-')?;
    let (number, round) = rest.split_once('-')?;
    Some((number.parse().ok()?, round.parse().ok()?))
}

#[async_trait]
impl OAuth for MemoryOAuth {
    async fn refresh(&self, _: Vendor, refresh: &Token) -> Result<Grant, OAuthError> {
        self.grants.lock().calls += 1;
        let rest = self.faults.before(OAuthCall::Refresh).await?;
        let answer = self.turn(refresh);
        self.faults.after(rest).await.and(answer)
    }
}
