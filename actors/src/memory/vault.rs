//! A vault that hides nothing: for tests of what is done with it.

use std::sync::Arc;

use crate::domain::account::{Account, Token, TokenPair};
use crate::ports::Vault;
use crate::ports::vault::{SealedPair, VaultError};

/// Binds tokens to their account as the real one does, in clear.
#[derive(Debug, Clone)]
pub struct MemoryVault {
    key_id: Arc<str>,
}

impl MemoryVault {
    /// A vault whose key has this name. It opens what others have sealed.
    pub fn new(key_id: &str) -> Self {
        Self { key_id: key_id.into() }
    }
}

impl Default for MemoryVault {
    fn default() -> Self {
        Self::new("memory")
    }
}

fn label(what: &str, account: &Account) -> String {
    format!("{what}\0{}\0{}\0", account.vendor.name(), account.id.as_str())
}

fn open(what: &str, account: &Account, sealed: &[u8]) -> Result<Token, VaultError> {
    let text = std::str::from_utf8(sealed).map_err(|_| VaultError::Damaged)?;
    let token = text.strip_prefix(&label(what, account)).ok_or(VaultError::Damaged)?;
    Ok(Token::new(token.to_owned()))
}

impl Vault for MemoryVault {
    fn seal(&self, account: &Account, pair: &TokenPair) -> Result<SealedPair, VaultError> {
        let seal = |what, token: &Token| (label(what, account) + token.expose()).into_bytes();
        Ok(SealedPair {
            key_id: Arc::clone(&self.key_id),
            access: seal("access", &pair.access),
            refresh: pair.refresh.as_ref().map(|token| seal("refresh", token)),
        })
    }

    fn open(&self, account: &Account, sealed: &SealedPair) -> Result<TokenPair, VaultError> {
        let refresh = sealed.refresh.as_ref().map(|sealed| open("refresh", account, sealed)).transpose()?;
        Ok(TokenPair { access: open("access", account, &sealed.access)?, refresh })
    }

    fn first_key(&self) -> Result<Arc<str>, VaultError> {
        Ok(Arc::clone(&self.key_id))
    }
}
