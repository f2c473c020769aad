//! Links and tokens of accounts, in the store in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::store::{MemoryStore, StoreCall};
use crate::domain::account::{Account, Vendor, VendorUserId};
use crate::domain::ids::UserId;
use crate::ports::accounts::{
    Accounts, LEASE_LONGEST, Leased, Link, MovedEvents, NewTokens, StoredTokens, TokenState,
};
use crate::ports::clock::{Clock as _, SystemClock};
use crate::ports::store::{EncodeEvent, StoreError};
use crate::ports::vault::SealedPair;

/// A pair and its lease.
#[derive(Debug, Clone)]
struct TokensRow {
    stored: StoredTokens,
    lease: Option<Lease>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    /// Nobody while the account rests.
    holder: Option<Uuid>,
    until: Instant,
}

impl TokensRow {
    fn is_held_by(&self, holder: Uuid) -> bool {
        self.lease.is_some_and(|lease| lease.holder == Some(holder))
    }
}

/// All rows of accounts.
#[derive(Debug, Clone, Default)]
pub struct AccountRows {
    links: BTreeMap<Account, Link>,
    tokens: BTreeMap<Account, TokensRow>,
    /// The largest version that was ever given.
    version: i64,
}

impl AccountRows {
    fn put(&mut self, link: &Link, tokens: Option<&NewTokens>) -> Result<(), StoreError> {
        let is_taken = |other: &Link| other.key_hash.is_some() && other.key_hash == link.key_hash;
        if self.links.values().any(|other| other.account != link.account && is_taken(other)) {
            return Err(StoreError::Refused("another account has this key".to_owned()));
        }
        let account = &link.account;
        self.links.insert(account.clone(), link.clone());
        if let Some(tokens) = tokens {
            let version = SystemClock.now().as_ms().saturating_mul(1_000).max(self.version + 1);
            self.store(account, version, tokens);
        }
        Ok(())
    }

    fn store(&mut self, account: &Account, version: i64, tokens: &NewTokens) {
        self.version = self.version.max(version);
        let stored = StoredTokens {
            account: account.clone(),
            version,
            state: TokenState::Active,
            tokens: tokens.clone(),
        };
        self.tokens.insert(account.clone(), TokensRow { stored, lease: None });
    }

    fn lease(&mut self, account: &Account, holder: Uuid, lasts: Duration) -> Leased {
        let (now, lasts) = (Instant::now(), lasts.min(LEASE_LONGEST));
        let Some(row) = self.tokens.get_mut(account) else { return Leased::Gone };
        match row.lease {
            Some(Lease { holder: None, until }) if until > now => Leased::Resting(until - now),
            Some(Lease { holder: Some(_), until }) if until > now => Leased::Busy,
            _ => {
                row.lease = Some(Lease { holder: Some(holder), until: now + lasts });
                Leased::Taken(row.stored.clone())
            }
        }
    }

    fn mark(&mut self, account: &Account, holder: Uuid, version: i64) -> bool {
        let row = self.tokens.get_mut(account);
        let row = row.filter(|row| row.is_held_by(holder) && row.stored.version == version);
        let Some(row) = row else { return false };
        row.lease = None;
        row.stored.state = TokenState::NeedsReconnection;
        true
    }

    /// Whether the lease was the holder's to extend.
    fn extend(&mut self, account: &Account, holder: Uuid, lasts: Duration) -> bool {
        let row = self.tokens.get_mut(account).filter(|row| row.is_held_by(holder));
        let Some(row) = row else { return false };
        row.lease = Some(Lease { holder: Some(holder), until: Instant::now() + lasts.min(LEASE_LONGEST) });
        true
    }

    fn pairs(&self) -> impl Iterator<Item = &StoredTokens> {
        self.tokens.values().map(|row| &row.stored)
    }

    fn sealed_otherwise(&self, key_id: &str) -> impl Iterator<Item = &StoredTokens> {
        self.pairs().filter(move |stored| &*stored.tokens.sealed.key_id != key_id)
    }
}

/// By name, as in the engines, and not by the place in the list of vendors.
fn place(account: &Account) -> (&'static str, &VendorUserId) {
    (account.vendor.name(), &account.id)
}

fn is_after(stored: &StoredTokens, previous: Option<&Account>) -> bool {
    previous.is_none_or(|previous| place(&stored.account) > place(previous))
}

/// In order of their accounts, after one of them.
fn page<'r>(
    pairs: impl Iterator<Item = &'r StoredTokens>,
    previous: Option<&Account>,
    limit: usize,
) -> Vec<StoredTokens> {
    let mut page: Vec<StoredTokens> = pairs.filter(|stored| is_after(stored, previous)).cloned().collect();
    page.sort_by(|one, two| place(&one.account).cmp(&place(&two.account)));
    page.truncate(limit);
    page
}

#[async_trait]
impl Accounts for MemoryStore {
    async fn put_link(&self, link: &Link, tokens: Option<&NewTokens>) -> Result<(), StoreError> {
        self.transact(StoreCall::PutLink, |contents| {
            contents.accounts.put(link, tokens)?;
            contents.fetches.release(link.account.vendor, &link.whose());
            Ok(())
        })
        .await
    }

    async fn delete_link(&self, account: &Account) -> Result<bool, StoreError> {
        self.transact(StoreCall::DeleteLink, |contents| {
            contents.accounts.tokens.remove(account);
            Ok(contents.accounts.links.remove(account).is_some())
        })
        .await
    }

    async fn move_events(
        &self,
        from: &UserId,
        to: &UserId,
        limit: usize,
        encode: &EncodeEvent,
    ) -> Result<MovedEvents, StoreError> {
        self.transact(StoreCall::MoveEvents, |contents| contents.move_events(from, to, limit, encode)).await
    }

    async fn link(&self, account: &Account) -> Result<Option<Link>, StoreError> {
        self.look(StoreCall::Link, |contents| contents.accounts.links.get(account).cloned()).await
    }

    async fn links_of(&self, user_id: &UserId) -> Result<Vec<Link>, StoreError> {
        self.look(StoreCall::LinksOf, |contents| {
            let of_user = contents.accounts.links.values().filter(|link| link.user_id == *user_id);
            let mut links: Vec<Link> = of_user.cloned().collect();
            links.sort_by(|one, two| place(&one.account).cmp(&place(&two.account)));
            links
        })
        .await
    }

    async fn link_by_key(&self, key_hash: &[u8; 32]) -> Result<Option<Link>, StoreError> {
        self.look(StoreCall::LinkByKey, |contents| {
            contents.accounts.links.values().find(|link| link.key_hash == Some(*key_hash)).cloned()
        })
        .await
    }

    async fn tokens(&self, account: &Account) -> Result<Option<StoredTokens>, StoreError> {
        self.look(StoreCall::Tokens, |contents| {
            contents.accounts.tokens.get(account).map(|row| row.stored.clone())
        })
        .await
    }

    async fn lease_tokens(
        &self,
        account: &Account,
        holder: Uuid,
        lasts: Duration,
    ) -> Result<Leased, StoreError> {
        self.transact(StoreCall::LeaseTokens, |contents| Ok(contents.accounts.lease(account, holder, lasts)))
            .await
    }

    async fn extend_lease(
        &self,
        account: &Account,
        holder: Uuid,
        lasts: Duration,
    ) -> Result<bool, StoreError> {
        self.transact(StoreCall::ExtendLease, |contents| Ok(contents.accounts.extend(account, holder, lasts)))
            .await
    }

    async fn end_lease(&self, account: &Account, holder: Uuid, rest: Duration) -> Result<(), StoreError> {
        self.transact(StoreCall::EndLease, |contents| {
            let until = Instant::now() + rest.min(LEASE_LONGEST);
            let row = contents.accounts.tokens.get_mut(account).filter(|row| row.is_held_by(holder));
            if let Some(row) = row {
                row.lease = Some(Lease { holder: None, until });
            }
            Ok(())
        })
        .await
    }

    async fn replace_tokens(
        &self,
        account: &Account,
        from: i64,
        tokens: &NewTokens,
    ) -> Result<bool, StoreError> {
        self.transact(StoreCall::ReplaceTokens, |contents| {
            let held = contents.accounts.tokens.get(account).map(|row| row.stored.version);
            if held != Some(from) {
                return Ok(false);
            }
            let was_marked = contents
                .accounts
                .tokens
                .get(account)
                .is_some_and(|row| row.stored.state == TokenState::NeedsReconnection);
            contents.accounts.store(account, from + 1, tokens);
            if let Some(link) = contents.accounts.links.get(account).filter(|_| was_marked) {
                contents.fetches.release(account.vendor, &link.whose());
            }
            Ok(true)
        })
        .await
    }

    async fn mark_for_reconnection(
        &self,
        account: &Account,
        holder: Uuid,
        version: i64,
    ) -> Result<bool, StoreError> {
        self.transact(StoreCall::MarkForReconnection, |contents| {
            Ok(contents.accounts.mark(account, holder, version))
        })
        .await
    }

    async fn to_reconnect(&self, previous: Option<&Account>, limit: usize) -> Result<Vec<Link>, StoreError> {
        self.look(StoreCall::ToReconnect, |contents| {
            let marked = contents.accounts.pairs().filter(|row| row.state == TokenState::NeedsReconnection);
            let marked = page(marked, previous, limit).into_iter();
            marked.filter_map(|stored| contents.accounts.links.get(&stored.account).cloned()).collect()
        })
        .await
    }

    async fn to_poll(
        &self,
        vendor: Vendor,
        has_common_token: bool,
        previous: Option<&Account>,
        limit: usize,
    ) -> Result<Vec<Link>, StoreError> {
        self.look(StoreCall::ToPoll, |contents| {
            let accounts = &contents.accounts;
            let is_of_use = |link: &&Link| match accounts.tokens.get(&link.account) {
                Some(row) => row.stored.state == TokenState::Active,
                None => has_common_token,
            };
            let of_vendor = accounts.links.values().filter(|link| link.account.vendor == vendor);
            let is_after = |link: &&Link| previous.is_none_or(|previous| link.account.id > previous.id);
            let mut links: Vec<Link> = of_vendor.filter(is_of_use).filter(is_after).cloned().collect();
            links.sort_by(|one, two| one.account.id.cmp(&two.account.id));
            links.truncate(limit);
            links
        })
        .await
    }

    async fn count_sealed_otherwise(&self, key_id: &str) -> Result<u64, StoreError> {
        self.look(StoreCall::SealedOtherwise, |contents| {
            contents.accounts.sealed_otherwise(key_id).count() as u64
        })
        .await
    }

    async fn sealed_otherwise(
        &self,
        key_id: &str,
        previous: Option<&Account>,
        limit: usize,
    ) -> Result<Vec<StoredTokens>, StoreError> {
        self.look(StoreCall::SealedOtherwise, |contents| {
            page(contents.accounts.sealed_otherwise(key_id), previous, limit)
        })
        .await
    }

    async fn reseal(&self, held: &StoredTokens, sealed: &SealedPair) -> Result<bool, StoreError> {
        self.transact(StoreCall::Reseal, |contents| {
            let row = contents.accounts.tokens.get_mut(&held.account).filter(|row| {
                let key_id = &row.stored.tokens.sealed.key_id;
                row.stored.version == held.version && *key_id == held.tokens.sealed.key_id
            });
            let Some(row) = row else { return Ok(false) };
            row.stored.tokens.sealed = sealed.clone();
            Ok(true)
        })
        .await
    }
}
