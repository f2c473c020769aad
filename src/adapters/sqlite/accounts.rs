//! Links and tokens of accounts.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actors::domain::account::{Account, Vendor};
use actors::domain::ids::UserId;
use actors::ports::accounts::{Accounts, Leased, Link, MovedEvents, NewTokens, StoredTokens, TokenState};
use actors::ports::clock::{Clock as _, SystemClock};
use actors::ports::store::{EncodeEvent, StoreError};
use actors::ports::vault::SealedPair;
use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{FromRow, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{SqliteStore, fetch_queue, moves};
use crate::adapters::sqlite_file::{JobResult, store_error};
use crate::adapters::stored::accounts::{LinkRow, TokensRow, after, lease_ms, link, tokens};

type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// A statement about one account, whose vendor and id are its first two arguments.
fn of_account(sql: &'static str, account: &Account) -> Query {
    sqlx::query(sql).bind(account.vendor.name()).bind(account.id.as_str().to_owned())
}

impl SqliteStore {
    /// Runs one statement that changes rows, and tells how many it changed.
    pub(super) async fn change(&self, query: Query) -> JobResult<u64> {
        let run = async |connection: &mut SqliteConnection, query: Query| {
            query.execute(connection).await.map(|done| done.rows_affected()).map_err(store_error)
        };
        self.file.write(move |connection| Box::pin(async move { run(connection, query).await })).await
    }

    pub(super) async fn rows<R>(&self, query: Query) -> JobResult<Vec<R>>
    where
        R: for<'r> FromRow<'r, SqliteRow>,
    {
        // Not by the pipeline's: whoever offers a key is looked up before he is known.
        let rows = query.fetch_all(self.file.queries()).await.map_err(store_error)?;
        rows.iter().map(R::from_row).collect::<Result<_, _>>().map_err(store_error)
    }
}

/// Replaces tokens, and releases what waits for them if they were to be reconnected. Whether they were there.
async fn replace(connection: &mut SqliteConnection, query: Query, account: &Account) -> JobResult<bool> {
    let marked = of_account(
        "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM user_oauth_tokens \
         JOIN account_links USING (vendor, vendor_user_id) \
         WHERE vendor = ? AND vendor_user_id = ? AND state = 'needs_reconnection'",
        account,
    );
    let marked = marked.fetch_optional(&mut *connection).await.map_err(store_error)?;
    let is_done = query.execute(&mut *connection).await.map_err(store_error)?.rows_affected() > 0;
    if let Some(row) = marked.filter(|_| is_done) {
        let link = link(LinkRow::from_row(&row).map_err(store_error)?)?;
        fetch_queue::release(connection, account.vendor, &link.whose()).await?;
    }
    Ok(is_done)
}

async fn put(connection: &mut SqliteConnection, link: &Link, tokens: Option<&NewTokens>) -> JobResult<()> {
    of_account(
        "INSERT INTO account_links (vendor, vendor_user_id, user_id, timezone, key_hash) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (vendor, vendor_user_id) DO UPDATE SET user_id = excluded.user_id, \
         timezone = excluded.timezone, key_hash = excluded.key_hash",
        &link.account,
    )
    .bind(link.user_id.as_str().to_owned())
    .bind(link.timezone.clone())
    .bind(link.key_hash.map(Vec::from))
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    fetch_queue::release(connection, link.account.vendor, &link.whose()).await?;
    let Some(tokens) = tokens else { return Ok(()) };
    let query = of_account(
        "INSERT INTO user_oauth_tokens (vendor, vendor_user_id, key_id, access_token, refresh_token, scope, \
         obtained_at, expires_at, state_since, version, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'active') \
         ON CONFLICT (vendor, vendor_user_id) DO UPDATE SET key_id = excluded.key_id, \
         access_token = excluded.access_token, refresh_token = excluded.refresh_token, scope = excluded.scope, \
         obtained_at = excluded.obtained_at, expires_at = excluded.expires_at, state = excluded.state, \
         state_since = excluded.state_since, version = max(version + 1, excluded.version), lease_holder = NULL, \
         lease_until = NULL",
        &link.account,
    );
    let query = bind_tokens(query, tokens).bind(first_version());
    query.execute(&mut *connection).await.map(drop).map_err(store_error)
}

/// The version of a pair that follows no other.
fn first_version() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

/// The next six columns, and since when they are active.
fn bind_tokens(query: Query, tokens: &NewTokens) -> Query {
    query
        .bind(tokens.sealed.key_id.to_string())
        .bind(tokens.sealed.access.clone())
        .bind(tokens.sealed.refresh.clone())
        .bind(tokens.scope.clone())
        .bind(tokens.obtained_at.as_ms())
        .bind(tokens.expires_at.map(|at| at.as_ms()))
        .bind(SystemClock.now().as_ms())
}

async fn lease(
    connection: &mut SqliteConnection,
    of: &Account,
    holder: Uuid,
    lasts: Duration,
) -> JobResult<Leased> {
    let (now, lasts) = (SystemClock.now().as_ms(), lease_ms(lasts));
    let taken = of_account(
        "UPDATE user_oauth_tokens SET lease_holder = ?3, lease_until = ?4 + ?5 \
         WHERE vendor = ?1 AND vendor_user_id = ?2 AND (lease_until IS NULL OR lease_until <= ?4 \
         OR lease_until > ?4 + 3600000) \
         RETURNING vendor, vendor_user_id, version, state, key_id, access_token, refresh_token, scope, obtained_at, \
         expires_at",
        of,
    )
    .bind(holder.as_bytes().to_vec())
    .bind(now)
    .bind(lasts)
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error)?;
    if let Some(row) = taken {
        return Ok(Leased::Taken(tokens(TokensRow::from_row(&row).map_err(store_error)?)?));
    }
    let held = of_account(
        "SELECT lease_holder IS NULL, lease_until FROM user_oauth_tokens WHERE vendor = ? AND vendor_user_id = ?",
        of,
    )
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    let Some(row) = held else { return Ok(Leased::Gone) };
    let (is_rest, until) = <(bool, i64)>::from_row(&row).map_err(store_error)?;
    let rest = Duration::from_millis(until.saturating_sub(now).unsigned_abs());
    Ok(if is_rest { Leased::Resting(rest) } else { Leased::Busy })
}

async fn delete(connection: &mut SqliteConnection, account: &Account) -> JobResult<bool> {
    // Its tokens go with it.
    let link = of_account("DELETE FROM account_links WHERE vendor = ? AND vendor_user_id = ?", account);
    link.execute(connection).await.map(|done| done.rows_affected() > 0).map_err(store_error)
}

#[async_trait]
impl Accounts for SqliteStore {
    async fn put_link(&self, link: &Link, tokens: Option<&NewTokens>) -> JobResult<()> {
        let (link, tokens) = (link.clone(), tokens.cloned());
        self.file
            .write(move |connection| Box::pin(async move { put(connection, &link, tokens.as_ref()).await }))
            .await
    }

    async fn delete_link(&self, account: &Account) -> JobResult<bool> {
        let account = account.clone();
        self.file.write(move |connection| Box::pin(async move { delete(connection, &account).await })).await
    }

    async fn move_events(
        &self,
        from: &UserId,
        to: &UserId,
        limit: usize,
        encode: &EncodeEvent,
    ) -> JobResult<MovedEvents> {
        if from == to {
            return Ok(MovedEvents::default());
        }
        let (from, to, encode) = (from.clone(), to.clone(), Arc::clone(encode));
        let (outlet, store) = (self.outlet.clone(), self.clone());
        self.file
            .write_by(
                move |writer| {
                    Box::pin(async move {
                        moves::move_events(writer, &outlet, (&from, &to), limit, &encode).await
                    })
                },
                move |(moved, sent)| {
                    store.account(sent);
                    moved
                },
            )
            .await
    }

    async fn link(&self, account: &Account) -> JobResult<Option<Link>> {
        let query = of_account(
            "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM account_links \
             WHERE vendor = ? AND vendor_user_id = ?",
            account,
        );
        self.rows::<LinkRow>(query).await?.pop().map(link).transpose()
    }

    async fn links_of(&self, user_id: &UserId) -> JobResult<Vec<Link>> {
        let query = sqlx::query(
            "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM account_links WHERE user_id = ? \
             ORDER BY vendor, vendor_user_id",
        );
        let links = self.rows::<LinkRow>(query.bind(user_id.as_str().to_owned())).await?;
        links.into_iter().map(link).collect()
    }

    async fn link_by_key(&self, key_hash: &[u8; 32]) -> JobResult<Option<Link>> {
        let query = sqlx::query(
            "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM account_links WHERE key_hash = ?",
        );
        self.rows::<LinkRow>(query.bind(key_hash.to_vec())).await?.pop().map(link).transpose()
    }

    async fn tokens(&self, account: &Account) -> JobResult<Option<StoredTokens>> {
        let query = of_account(
            "SELECT vendor, vendor_user_id, version, state, key_id, access_token, refresh_token, scope, obtained_at, \
             expires_at FROM user_oauth_tokens WHERE vendor = ? AND vendor_user_id = ?",
            account,
        );
        self.rows::<TokensRow>(query).await?.pop().map(tokens).transpose()
    }

    async fn lease_tokens(&self, account: &Account, holder: Uuid, lasts: Duration) -> JobResult<Leased> {
        let account = account.clone();
        self.file
            .write(move |connection| {
                Box::pin(async move { lease(connection, &account, holder, lasts).await })
            })
            .await
    }

    async fn extend_lease(&self, account: &Account, holder: Uuid, lasts: Duration) -> JobResult<bool> {
        let query = of_account(
            "UPDATE user_oauth_tokens SET lease_until = ?4 \
             WHERE vendor = ?1 AND vendor_user_id = ?2 AND lease_holder = ?3",
            account,
        );
        let until = SystemClock.now().as_ms() + lease_ms(lasts);
        Ok(self.change(query.bind(holder.as_bytes().to_vec()).bind(until)).await? > 0)
    }

    async fn end_lease(&self, account: &Account, holder: Uuid, rest: Duration) -> JobResult<()> {
        let query = of_account(
            "UPDATE user_oauth_tokens SET lease_holder = NULL, lease_until = ?4 \
             WHERE vendor = ?1 AND vendor_user_id = ?2 AND lease_holder = ?3",
            account,
        );
        let until = SystemClock.now().as_ms() + lease_ms(rest);
        self.change(query.bind(holder.as_bytes().to_vec()).bind(until)).await.map(drop)
    }

    async fn replace_tokens(&self, account: &Account, from: i64, tokens: &NewTokens) -> JobResult<bool> {
        let query = of_account(
            "UPDATE user_oauth_tokens SET key_id = ?3, access_token = ?4, refresh_token = ?5, scope = ?6, \
             obtained_at = ?7, expires_at = ?8, state_since = ?9, state = 'active', version = version + 1, \
             lease_holder = NULL, lease_until = NULL WHERE vendor = ?1 AND vendor_user_id = ?2 AND version = ?10",
            account,
        );
        let (query, account) = (bind_tokens(query, tokens).bind(from), account.clone());
        self.file
            .write(move |connection| Box::pin(async move { replace(connection, query, &account).await }))
            .await
    }

    async fn mark_for_reconnection(&self, account: &Account, holder: Uuid, version: i64) -> JobResult<bool> {
        let query = of_account(
            "UPDATE user_oauth_tokens SET state = ?3, state_since = ?4, lease_holder = NULL, lease_until = NULL \
             WHERE vendor = ?1 AND vendor_user_id = ?2 AND lease_holder = ?5 AND version = ?6",
            account,
        );
        let query = query.bind(TokenState::NeedsReconnection.name()).bind(SystemClock.now().as_ms());
        Ok(self.change(query.bind(holder.as_bytes().to_vec()).bind(version)).await? > 0)
    }

    async fn to_reconnect(&self, previous: Option<&Account>, limit: usize) -> JobResult<Vec<Link>> {
        let (vendor, id) = after(previous);
        let query = sqlx::query(
            "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM user_oauth_tokens \
             JOIN account_links USING (vendor, vendor_user_id) WHERE (vendor, vendor_user_id) > (?, ?) \
             AND state = 'needs_reconnection' ORDER BY vendor, vendor_user_id LIMIT ?",
        );
        let query = query.bind(vendor).bind(id).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.rows::<LinkRow>(query).await?.into_iter().map(link).collect()
    }

    async fn to_poll(
        &self,
        vendor: Vendor,
        has_common_token: bool,
        previous: Option<&Account>,
        limit: usize,
    ) -> JobResult<Vec<Link>> {
        let query = sqlx::query(
            "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM account_links \
             LEFT JOIN user_oauth_tokens USING (vendor, vendor_user_id) WHERE vendor = ? AND vendor_user_id > ? \
             AND coalesce(state = 'active', ?) ORDER BY vendor_user_id LIMIT ?",
        );
        let query = query.bind(vendor.name()).bind(after(previous).1).bind(has_common_token);
        let query = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.rows::<LinkRow>(query).await?.into_iter().map(link).collect()
    }

    async fn count_sealed_otherwise(&self, key_id: &str) -> JobResult<u64> {
        let query = sqlx::query("SELECT count(*) FROM user_oauth_tokens WHERE key_id <> ?");
        let counts: Vec<(i64,)> = self.rows(query.bind(key_id.to_owned())).await?;
        Ok(counts.iter().map(|(count,)| count.unsigned_abs()).sum())
    }

    async fn sealed_otherwise(
        &self,
        key_id: &str,
        previous: Option<&Account>,
        limit: usize,
    ) -> JobResult<Vec<StoredTokens>> {
        let (vendor, id) = after(previous);
        let query = sqlx::query(
            "SELECT vendor, vendor_user_id, version, state, key_id, access_token, refresh_token, scope, obtained_at, \
             expires_at FROM user_oauth_tokens WHERE (vendor, vendor_user_id) > (?, ?) AND key_id <> ? \
             ORDER BY vendor, vendor_user_id LIMIT ?",
        );
        let query = query.bind(vendor).bind(id).bind(key_id.to_owned());
        let query = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.rows::<TokensRow>(query).await?.into_iter().map(tokens).collect()
    }

    async fn reseal(&self, held: &StoredTokens, sealed: &SealedPair) -> Result<bool, StoreError> {
        let query = of_account(
            "UPDATE user_oauth_tokens SET key_id = ?3, access_token = ?4, refresh_token = ?5 \
             WHERE vendor = ?1 AND vendor_user_id = ?2 AND version = ?6 AND key_id = ?7",
            &held.account,
        );
        let query =
            query.bind(sealed.key_id.to_string()).bind(sealed.access.clone()).bind(sealed.refresh.clone());
        Ok(self.change(query.bind(held.version).bind(held.tokens.sealed.key_id.to_string())).await? > 0)
    }
}
