//! Tokens at rest: nobody who reads a row can use them.

use std::sync::Arc;

use crate::domain::account::{Account, TokenPair};

/// A pair of tokens as it lies in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPair {
    /// The key that it is sealed with, both tokens with the same.
    pub key_id: Arc<str>,
    /// The access token.
    pub access: Vec<u8>,
    /// The refresh token.
    pub refresh: Option<Vec<u8>>,
}

/// Why a pair was not sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// There is no key at all.
    #[error(
        "TOKEN_ENCRYPTION_KEYS is not set, so no token can be stored: set it to id:base64 of 32 random bytes"
    )]
    NoKey,
    /// It was sealed with a key that is not there any more.
    #[error(
        "a stored token is sealed with the key {0}, which TOKEN_ENCRYPTION_KEYS does not hold: add it at the end"
    )]
    UnknownKey(Arc<str>),
    /// It is not what was once sealed for this account.
    #[error("a stored token cannot be opened: its row was changed, or is another account's")]
    Damaged,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Seals and opens tokens.
///
/// Promises: what is sealed is of no use without its key; a pair opens only for the account that it was sealed for, each
/// token only as what it was, and only if no bit of it has changed; sealing the same twice gives different bytes.
pub trait Vault: Send + Sync + 'static {
    /// Seals a pair with the first key.
    fn seal(&self, account: &Account, pair: &TokenPair) -> Result<SealedPair, VaultError>;

    /// Opens a pair with the key that it was sealed with.
    fn open(&self, account: &Account, sealed: &SealedPair) -> Result<TokenPair, VaultError>;

    /// The id of the key that seals.
    fn first_key(&self) -> Result<Arc<str>, VaultError>;
}
