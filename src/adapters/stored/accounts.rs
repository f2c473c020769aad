//! Rows of accounts.

use std::time::Duration;

use actors::domain::account::{Account, Vendor, VendorUserId};
use actors::domain::ids::UserId;
use actors::domain::time::Timestamp;
use actors::ports::accounts::{LEASE_LONGEST, Link, NewTokens, StoredTokens, TokenState};
use actors::ports::store::StoreError;
use actors::ports::vault::SealedPair;

use super::damaged;

/// `vendor, vendor_user_id, user_id, timezone, key_hash`.
pub(crate) type LinkRow = (String, String, String, Option<String>, Option<Vec<u8>>);
/// `vendor, vendor_user_id, version, state, key_id, access_token, refresh_token, scope, obtained_at, expires_at`, both
/// times in milliseconds.
pub(crate) type TokensRow =
    (String, String, i64, String, String, Vec<u8>, Option<Vec<u8>>, Option<String>, i64, Option<i64>);

/// A duration in a row, in milliseconds.
pub(crate) fn lease_ms(duration: Duration) -> i64 {
    duration.min(LEASE_LONGEST).as_millis() as i64
}

fn account(vendor: &str, id: &str) -> Result<Account, StoreError> {
    Ok(Account {
        vendor: Vendor::parse(vendor).ok_or_else(|| damaged("a vendor that this build does not know"))?,
        id: VendorUserId::parse(id).map_err(damaged)?,
    })
}

pub(crate) fn link((vendor, id, user_id, timezone, key_hash): LinkRow) -> Result<Link, StoreError> {
    let key_hash = key_hash.map(|hash| <[u8; 32]>::try_from(hash.as_slice())).transpose();
    Ok(Link {
        account: account(&vendor, &id)?,
        user_id: UserId::parse(&user_id).map_err(damaged)?,
        timezone,
        key_hash: key_hash.map_err(damaged)?,
    })
}

pub(crate) fn tokens(row: TokensRow) -> Result<StoredTokens, StoreError> {
    let (vendor, id, version, state, key_id, access, refresh, scope, obtained_at, expires_at) = row;
    let sealed = SealedPair { key_id: key_id.into(), access, refresh };
    Ok(StoredTokens {
        account: account(&vendor, &id)?,
        version,
        state: TokenState::parse(&state).ok_or_else(|| damaged("a state that this build does not know"))?,
        tokens: NewTokens {
            sealed,
            scope,
            obtained_at: Timestamp::from_ms(obtained_at),
            expires_at: expires_at.map(Timestamp::from_ms),
        },
    })
}

/// The account as two arguments: nothing comes before the empty texts.
pub(crate) fn after(account: Option<&Account>) -> (String, String) {
    account.map_or_else(Default::default, |account| {
        (account.vendor.name().to_owned(), account.id.as_str().to_owned())
    })
}
