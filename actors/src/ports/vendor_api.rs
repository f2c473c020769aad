//! Vendors' sides of the net: where access tokens are refreshed, and where data is fetched.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::account::{Token, TokenPair, Vendor};
use crate::domain::api_request::ApiRequest;

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

/// A vendor's answer with data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAnswer {
    /// What it said, up to a size that the adapter bounds.
    pub body: Bytes,
    /// It has told that this was the last request it takes for so long.
    pub rest: Option<Duration>,
}

/// Why a vendor answered without data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 401: the token has ended, or is good no more.
    #[error("the vendor does not take the access token")]
    Unauthorized,
    /// 404: the record is not there, or not yet.
    #[error("the vendor has no such record")]
    Missing,
    /// 429: it asks for patience. Not a failure of its own.
    #[error("the vendor limits how often it is asked")]
    RateLimited {
        /// How long, if it says.
        retry_after: Option<Duration>,
    },
    /// 5xx, with the word when to come again.
    #[error("the vendor gives no data, and asks for patience")]
    Overloaded {
        /// For so long.
        retry_after: Duration,
    },
    /// Another 4xx: the same request would be answered the same again.
    #[error("the vendor refuses the request: it answers {status}")]
    Refused {
        /// Its status.
        status: u16,
    },
    /// The address that it has given is not on the host of its API, and was not asked.
    #[error("the address that it has given is not on the host of {}_API_BASE", vendor.name().to_ascii_uppercase())]
    Elsewhere {
        /// Who has given it.
        vendor: Vendor,
    },
    /// The address that it has given was good for a while only, and the answer says that this is over.
    #[error("the address that it has given has expired")]
    Expired,
    /// It has answered, and there is no memory for its answer beside others: nobody is to blame.
    #[error("there is no memory for the answer now")]
    Crowded,
    /// It could not be reached, was too slow, answered 5xx, 3xx or too much.
    #[error("the vendor gives no data: {0}")]
    Unavailable(String),
}

/// Vendors' APIs.
///
/// Promises: a call ends by itself within a time of its own; redirects are not followed; an address that a vendor has given
/// is asked only on the host that is configured; no error holds a token, an id
/// or a reading.
#[async_trait]
pub trait VendorApi: Send + Sync + 'static {
    /// Asks a vendor's API, with the access token of the account that it is about.
    async fn get(&self, vendor: Vendor, request: &ApiRequest, token: &Token) -> Result<ApiAnswer, ApiError>;
}
