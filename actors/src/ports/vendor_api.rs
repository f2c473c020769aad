//! Vendors' sides of the net: where access tokens are refreshed.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::account::{Token, TokenPair, Vendor};

/// What a vendor gives for a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The new pair; without a refresh token the old one stays good.
    pub pair: TokenPair,
    /// How long the access token is good, if the vendor says.
    pub lasts: Option<Duration>,
    /// What it allows, if the vendor says.
    pub scope: Option<String>,
}

/// Why a vendor gave no tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OAuthError {
    /// It takes this refresh token no more, or never has.
    #[error("the vendor takes the refresh token no more")]
    InvalidGrant,
    /// It does not take our application's id, secret or address; the person can do nothing about it.
    #[error("{0}")]
    Misconfigured(String),
    /// It asks for patience.
    #[error("the vendor limits how often tokens are refreshed")]
    RateLimited {
        /// How long, if it says.
        retry_after: Option<Duration>,
    },
    /// It could not be reached, or answered something else. Whether it has changed the tokens nobody knows.
    #[error("the vendor gives no tokens: {0}")]
    Unavailable(String),
}

/// Vendors' OAuth servers.
///
/// Promises: a call ends by itself within a time of its own; no error holds a token.
#[async_trait]
pub trait OAuth: Send + Sync + 'static {
    /// Asks for the next pair. Where refresh tokens are single use (vendors.md §2, §3), the pair before it is dead once
    /// the vendor has answered, whether or not the answer comes through.
    async fn refresh(&self, vendor: Vendor, refresh: &Token) -> Result<Grant, OAuthError>;
}
