//! Which of a vendor's accounts is whose, and the tokens that open it.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::store::{EncodeEvent, StoreError};
use super::vault::SealedPair;
use crate::domain::account::{Account, Vendor};
use crate::domain::fetch::Whose;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

/// No lease and no rest lasts longer than this.
pub const LEASE_LONGEST: Duration = Duration::from_secs(3_600);

/// A vendor's account, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The account.
    pub account: Account,
    /// Our user.
    pub user_id: UserId,
    /// The user's time zone, by its IANA name.
    pub timezone: Option<String>,
    /// The SHA-256 of a key that speaks for this user alone.
    pub key_hash: Option<[u8; 32]>,
}

impl Link {
    /// Whose data the tokens of this link open, by every name that fetches have for them: the account, the user, and the
    /// account as a user of ours before it had a link.
    pub fn whose(&self) -> Vec<Whose> {
        let id = self.account.id.as_str();
        let unlinked = [format!("{}:{id}", self.account.vendor.name()), id.to_owned()];
        let unlinked = unlinked.iter().filter_map(|text| UserId::parse(text).ok()).map(Whose::User);
        let own = [Whose::Vendor(self.account.id.clone()), Whose::User(self.user_id.clone())];
        own.into_iter().chain(unlinked).collect()
    }
}

/// Whether an account's tokens are of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// They are, as far as is known.
    Active,
    /// The vendor takes them no more: only the person can connect the account again.
    NeedsReconnection,
}

impl TokenState {
    /// The word in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NeedsReconnection => "needs_reconnection",
        }
    }

    /// The state of this word.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Active, Self::NeedsReconnection].into_iter().find(|state| state.name() == name)
    }
}

/// Tokens as a vendor has just given them, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTokens {
    /// The pair.
    pub sealed: SealedPair,
    /// What they allow, in the vendor's words.
    pub scope: Option<String>,
    /// When they were given, by the bridge's clock.
    pub obtained_at: Timestamp,
    /// When the access token ends; none if nobody has said.
    pub expires_at: Option<Timestamp>,
}

/// Tokens as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTokens {
    /// Whose.
    pub account: Account,
    /// Which pair it is. It grows with each, and none that was there once comes back: not with another link either.
    pub version: i64,
    /// Whether they are of use.
    pub state: TokenState,
    /// The pair and its times.
    pub tokens: NewTokens,
}

/// What asking for the lease of an account's tokens came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    /// It is the caller's. The tokens as they are under it.
    Taken(StoredTokens),
    /// Somebody else is refreshing them.
    Busy,
    /// The vendor could not be asked a moment ago, and is left alone for so long.
    Resting(Duration),
    /// The account has no tokens.
    Gone,
}

/// What came of one call of [`Accounts::move_events`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MovedEvents {
    /// How many have moved.
    pub moved: usize,
    /// Whether there may be more.
    pub has_more: bool,
}

/// Links and tokens of accounts.
///
/// Promises: what a call returned `Ok` for survives `kill -9`; each call is one transaction; of all who change a pair from
/// one version, over all bridges, one succeeds; leases and rests are measured by the store's clock, and one holder at a
/// time has a lease that has not ended.
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// Links an account, in place of the link that it had; with tokens, these take the place of those that it had, and are
    /// active. What the fetch queue keeps for this account or this user until there are tokens is released in the same
    /// transaction ([`release_fetches`]), also without tokens: those that are there may be good. Their version is the microsecond of the store's clock, or one more than the
    /// version they replace if that is more: a link that was deleted and put anew has no version that a refresh under way
    /// may still know.
    ///
    /// [`release_fetches`]: super::fetch_queue::FetchQueue::release_fetches
    ///
    /// # Errors
    /// [`StoreError::Refused`] if another account has the same key.
    async fn put_link(&self, link: &Link, tokens: Option<&NewTokens>) -> Result<(), StoreError>;

    /// Removes a link with its tokens. Whether there was one.
    async fn delete_link(&self, account: &Account) -> Result<bool, StoreError>;

    /// Moves what is visible of the events of `from` to `to`, oldest first, at most `limit` of them and few enough for one
    /// transaction. Each keeps its id and its place: versions and deletions that come later find it, and one that is sent
    /// again is known, under whichever user. It is a backfill from then on, and goes out once more as that of `to`, less
    /// the readings that newer versions hide. The newest readings of both users are brought up to date.
    async fn move_events(
        &self,
        from: &UserId,
        to: &UserId,
        limit: usize,
        encode: &EncodeEvent,
    ) -> Result<MovedEvents, StoreError>;

    /// The link of an account.
    async fn link(&self, account: &Account) -> Result<Option<Link>, StoreError>;

    /// The same for a fetch, which takes nothing of what webhooks have for themselves.
    async fn link_of_fetch(&self, account: &Account) -> Result<Option<Link>, StoreError> {
        self.link(account).await
    }

    /// The accounts that are linked to a user of ours, in order.
    async fn links_of(&self, user_id: &UserId) -> Result<Vec<Link>, StoreError>;

    /// The link whose key has this hash. The caller compares the whole hash, in constant time.
    async fn link_by_key(&self, key_hash: &[u8; 32]) -> Result<Option<Link>, StoreError>;

    /// The tokens of an account.
    async fn tokens(&self, account: &Account) -> Result<Option<StoredTokens>, StoreError>;

    /// Takes the lease of an account's tokens for `lasts`, if nobody has it and nothing rests. A lease or rest that has
    /// ended is nobody's, and so is one that seems to last longer than [`LEASE_LONGEST`]: its clock has been set back.
    async fn lease_tokens(
        &self,
        account: &Account,
        holder: Uuid,
        lasts: Duration,
    ) -> Result<Leased, StoreError>;

    /// Lets the holder's lease last for `lasts` from now on. False, and nothing is changed, if it is not the holder's any
    /// more: one that has ended still is, until somebody else takes it.
    async fn extend_lease(
        &self,
        account: &Account,
        holder: Uuid,
        lasts: Duration,
    ) -> Result<bool, StoreError>;

    /// Gives the lease back if it is still the holder's. The next one can take it after `rest`.
    async fn end_lease(&self, account: &Account, holder: Uuid, rest: Duration) -> Result<(), StoreError>;

    /// Stores the pair that follows version `from`, makes it active and ends any lease. False, and nothing is changed, if
    /// there is another version by now, or none. Whose the lease is does not matter: the vendor has given this pair in
    /// place of that one, and there is no other.
    async fn replace_tokens(
        &self,
        account: &Account,
        from: i64,
        tokens: &NewTokens,
    ) -> Result<bool, StoreError>;

    /// Marks an account for reconnection and ends the lease, if that is still the holder's and the version is still this
    /// one. Whether it was.
    async fn mark_for_reconnection(
        &self,
        account: &Account,
        holder: Uuid,
        version: i64,
    ) -> Result<bool, StoreError>;

    /// The links of accounts that are marked for reconnection, in order of their accounts, after one of these.
    async fn to_reconnect(&self, after: Option<&Account>, limit: usize) -> Result<Vec<Link>, StoreError>;

    /// The links of a vendor's accounts whose tokens are of use, in order of their accounts, after one of these; where
    /// there is a token for those without one, theirs too.
    async fn to_poll(
        &self,
        vendor: Vendor,
        has_common_token: bool,
        after: Option<&Account>,
        limit: usize,
    ) -> Result<Vec<Link>, StoreError>;

    /// How many pairs there are that are sealed with another key.
    async fn count_sealed_otherwise(&self, key_id: &str) -> Result<u64, StoreError>;

    /// Pairs that are sealed with another key, in order of their accounts, after one of these.
    async fn sealed_otherwise(
        &self,
        key_id: &str,
        after: Option<&Account>,
        limit: usize,
    ) -> Result<Vec<StoredTokens>, StoreError>;

    /// Puts the same pair, sealed anew, in place of `held`. False, and nothing is changed, if that is not what is there.
    async fn reseal(&self, held: &StoredTokens, sealed: &SealedPair) -> Result<bool, StoreError>;
}
