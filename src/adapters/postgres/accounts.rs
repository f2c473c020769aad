//! Links and tokens of accounts.

use std::time::Duration;

use actors::domain::account::{Account, Vendor};
use actors::domain::ids::UserId;
use actors::ports::accounts::{Accounts, Leased, Link, MovedEvents, NewTokens, StoredTokens, TokenState};
use actors::ports::store::{EncodeEvent, StoreError};
use actors::ports::vault::SealedPair;
use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{FromRow, PgConnection, Postgres};
use tokio::time::Instant;
use uuid::Uuid;

use super::fault::Fault;
use super::instant::PgInstant;
use super::pool::{Lease, Share, within};
use super::{ANSWER_PATIENCE, PostgresStore, fetch_queue, moves};
use crate::adapters::stored::accounts::{LinkRow, TokensRow, after, lease_ms, link, tokens};

type Query = sqlx::query::Query<'static, Postgres, PgArguments>;

/// A statement about one account, whose vendor and id are its first two arguments.
fn of_account(sql: &'static str, account: &Account) -> Query {
    sqlx::query(sql).bind(account.vendor.name()).bind(account.id.as_str().to_owned())
}

fn link_of(account: &Account) -> Query {
    of_account(
        "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM account_links \
         WHERE vendor = $1 AND vendor_user_id = $2",
        account,
    )
}

impl PostgresStore {
    /// Runs one statement that changes rows, and tells how many it changed.
    async fn change(&self, query: Query) -> Result<u64, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let change = async { Ok(query.execute(&mut *lease).await?.rows_affected()) };
        let outcome = within(deadline, change).await;
        Ok(lease.finish(outcome).await?)
    }

    pub(super) async fn rows<R>(&self, share: Share, query: Query) -> Result<Vec<R>, StoreError>
    where
        R: for<'r> FromRow<'r, PgRow> + Send,
    {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(share, deadline).await?;
        let outcome = within(deadline, select(&mut lease, query)).await;
        Ok(lease.finish(outcome).await?)
    }
}

pub(super) async fn select<R>(connection: &mut PgConnection, query: Query) -> Result<Vec<R>, Fault>
where
    R: for<'r> FromRow<'r, PgRow>,
{
    let rows = query.fetch_all(connection).await?;
    Ok(rows.iter().map(R::from_row).collect::<Result<_, _>>()?)
}

async fn put(lease: &mut Lease, link: &Link, tokens: Option<&NewTokens>) -> Result<(), Fault> {
    lease.begin().await?;
    of_account(
        "INSERT INTO account_links (vendor, vendor_user_id, user_id, timezone, key_hash) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (vendor, vendor_user_id) DO UPDATE SET \
         user_id = excluded.user_id, timezone = excluded.timezone, key_hash = excluded.key_hash",
        &link.account,
    )
    .bind(link.user_id.as_str().to_owned())
    .bind(link.timezone.clone())
    .bind(link.key_hash.map(Vec::from))
    .execute(&mut **lease)
    .await?;
    if let Some(tokens) = tokens {
        let query = of_account(
            "INSERT INTO user_oauth_tokens AS held (vendor, vendor_user_id, key_id, access_token, refresh_token, \
             scope, obtained_at, expires_at, version, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, \
             (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 'active') \
             ON CONFLICT (vendor, vendor_user_id) DO UPDATE SET key_id = excluded.key_id, \
             access_token = excluded.access_token, refresh_token = excluded.refresh_token, \
             scope = excluded.scope, obtained_at = excluded.obtained_at, expires_at = excluded.expires_at, \
             state = excluded.state, state_since = now(), lease_holder = NULL, lease_until = NULL, \
             version = greatest(held.version + 1, excluded.version)",
            &link.account,
        );
        bind_tokens(query, tokens).execute(&mut **lease).await?;
    }
    fetch_queue::release(lease, link.account.vendor, &link.whose()).await?;
    lease.commit().await
}

/// Replaces tokens, and releases what waits for them if they were to be reconnected. Whether they were there.
async fn replace(lease: &mut Lease, query: Query, account: &Account) -> Result<bool, Fault> {
    lease.begin().await?;
    let marked = of_account(
        "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM user_oauth_tokens \
         JOIN account_links USING (vendor, vendor_user_id) WHERE vendor = $1 AND vendor_user_id = $2 \
         AND state = 'needs_reconnection' FOR UPDATE OF user_oauth_tokens",
        account,
    );
    let marked = select::<LinkRow>(&mut *lease, marked).await?.pop().map(link).transpose()?;
    let is_done = query.execute(&mut **lease).await?.rows_affected() > 0;
    if let Some(link) = marked.filter(|_| is_done) {
        fetch_queue::release(lease, account.vendor, &link.whose()).await?;
    }
    lease.commit().await?;
    Ok(is_done)
}

/// The next six columns.
fn bind_tokens(query: Query, tokens: &NewTokens) -> Query {
    query
        .bind(tokens.sealed.key_id.to_string())
        .bind(tokens.sealed.access.clone())
        .bind(tokens.sealed.refresh.clone())
        .bind(tokens.scope.clone())
        .bind(PgInstant(tokens.obtained_at))
        .bind(tokens.expires_at.map(PgInstant))
}

async fn take_lease(
    connection: &mut PgConnection,
    of: &Account,
    holder: Uuid,
    lasts: Duration,
) -> Result<Leased, Fault> {
    let taken = of_account(
        "UPDATE user_oauth_tokens SET lease_holder = $3, lease_until = now() + $4 * interval '1 millisecond' \
         WHERE vendor = $1 AND vendor_user_id = $2 AND (lease_until IS NULL OR lease_until <= now() \
         OR lease_until > now() + interval '1 hour') \
         RETURNING vendor, vendor_user_id, version, state, key_id, access_token, refresh_token, scope, \
         floor(extract(epoch FROM obtained_at) * 1000)::bigint, floor(extract(epoch FROM expires_at) * 1000)::bigint",
        of,
    );
    let taken = taken.bind(holder).bind(lease_ms(lasts));
    if let Some(row) = select::<TokensRow>(&mut *connection, taken).await?.pop() {
        return Ok(Leased::Taken(tokens(row)?));
    }
    let held = of_account(
        "SELECT lease_holder IS NULL, ceil(extract(epoch FROM lease_until - now()) * 1000)::bigint \
         FROM user_oauth_tokens WHERE vendor = $1 AND vendor_user_id = $2",
        of,
    );
    Ok(match select::<(bool, Option<i64>)>(connection, held).await?.pop() {
        None => Leased::Gone,
        // Between the two statements it may have been given back: then it is asked for again.
        Some((true, Some(rest))) if rest > 0 => Leased::Resting(Duration::from_millis(rest.unsigned_abs())),
        Some(_) => Leased::Busy,
    })
}

#[async_trait]
impl Accounts for PostgresStore {
    async fn put_link(&self, link: &Link, tokens: Option<&NewTokens>) -> Result<(), StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Queries, deadline).await?;
        let outcome = within(deadline, put(&mut lease, link, tokens)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn delete_link(&self, account: &Account) -> Result<bool, StoreError> {
        // Its tokens go with it.
        let query =
            of_account("DELETE FROM account_links WHERE vendor = $1 AND vendor_user_id = $2", account);
        Ok(self.change(query).await? > 0)
    }

    async fn move_events(
        &self,
        from: &UserId,
        to: &UserId,
        limit: usize,
        encode: &EncodeEvent,
    ) -> Result<MovedEvents, StoreError> {
        if from == to {
            return Ok(MovedEvents::default());
        }
        let _changing = self.inner.depth.changing();
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome = within(deadline, moves::move_events(&mut lease, from, to, limit, encode)).await;
        let moved = lease.finish(outcome).await?;
        self.inner.depth.grow(moved.moved as u64);
        Ok(moved)
    }

    async fn link(&self, account: &Account) -> Result<Option<Link>, StoreError> {
        // By the webhooks': deliveries in vendors' own words ask it before they are committed.
        Ok(self.rows::<LinkRow>(Share::Webhooks, link_of(account)).await?.pop().map(link).transpose()?)
    }

    async fn link_of_fetch(&self, account: &Account) -> Result<Option<Link>, StoreError> {
        Ok(self.rows::<LinkRow>(Share::Pipeline, link_of(account)).await?.pop().map(link).transpose()?)
    }

    async fn links_of(&self, user_id: &UserId) -> Result<Vec<Link>, StoreError> {
        let query = sqlx::query(
            "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM account_links WHERE user_id = $1 \
             ORDER BY vendor, vendor_user_id",
        );
        let links = self.rows::<LinkRow>(Share::Queries, query.bind(user_id.as_str().to_owned())).await?;
        links.into_iter().map(link).collect()
    }

    async fn link_by_key(&self, key_hash: &[u8; 32]) -> Result<Option<Link>, StoreError> {
        let query = sqlx::query(
            "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM account_links WHERE key_hash = $1",
        );
        Ok(self
            .rows::<LinkRow>(Share::Queries, query.bind(key_hash.to_vec()))
            .await?
            .pop()
            .map(link)
            .transpose()?)
    }

    async fn tokens(&self, account: &Account) -> Result<Option<StoredTokens>, StoreError> {
        let query = of_account(
            "SELECT vendor, vendor_user_id, version, state, key_id, access_token, refresh_token, scope, \
             floor(extract(epoch FROM obtained_at) * 1000)::bigint, \
             floor(extract(epoch FROM expires_at) * 1000)::bigint \
             FROM user_oauth_tokens WHERE vendor = $1 AND vendor_user_id = $2",
            account,
        );
        Ok(self.rows::<TokensRow>(Share::Pipeline, query).await?.pop().map(tokens).transpose()?)
    }

    async fn lease_tokens(
        &self,
        account: &Account,
        holder: Uuid,
        lasts: Duration,
    ) -> Result<Leased, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome = within(deadline, take_lease(&mut lease, account, holder, lasts)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn extend_lease(
        &self,
        account: &Account,
        holder: Uuid,
        lasts: Duration,
    ) -> Result<bool, StoreError> {
        let query = of_account(
            "UPDATE user_oauth_tokens SET lease_until = now() + $4 * interval '1 millisecond' \
             WHERE vendor = $1 AND vendor_user_id = $2 AND lease_holder = $3",
            account,
        );
        Ok(self.change(query.bind(holder).bind(lease_ms(lasts))).await? > 0)
    }

    async fn end_lease(&self, account: &Account, holder: Uuid, rest: Duration) -> Result<(), StoreError> {
        let query = of_account(
            "UPDATE user_oauth_tokens SET lease_holder = NULL, lease_until = now() + $4 * interval '1 millisecond' \
             WHERE vendor = $1 AND vendor_user_id = $2 AND lease_holder = $3",
            account,
        );
        self.change(query.bind(holder).bind(lease_ms(rest))).await.map(drop)
    }

    async fn replace_tokens(
        &self,
        account: &Account,
        from: i64,
        tokens: &NewTokens,
    ) -> Result<bool, StoreError> {
        let query = of_account(
            "UPDATE user_oauth_tokens SET key_id = $3, access_token = $4, refresh_token = $5, scope = $6, \
             obtained_at = $7, expires_at = $8, state = 'active', state_since = now(), version = version + 1, \
             lease_holder = NULL, lease_until = NULL WHERE vendor = $1 AND vendor_user_id = $2 AND version = $9",
            account,
        );
        let query = bind_tokens(query, tokens).bind(from);
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome = within(deadline, replace(&mut lease, query, account)).await;
        Ok(lease.finish(outcome).await?)
    }

    async fn mark_for_reconnection(
        &self,
        account: &Account,
        holder: Uuid,
        version: i64,
    ) -> Result<bool, StoreError> {
        let query = of_account(
            "UPDATE user_oauth_tokens SET state = $3, state_since = now(), lease_holder = NULL, lease_until = NULL \
             WHERE vendor = $1 AND vendor_user_id = $2 AND lease_holder = $4 AND version = $5",
            account,
        );
        let query = query.bind(TokenState::NeedsReconnection.name()).bind(holder).bind(version);
        Ok(self.change(query).await? > 0)
    }

    async fn to_reconnect(&self, previous: Option<&Account>, limit: usize) -> Result<Vec<Link>, StoreError> {
        let (vendor, id) = after(previous);
        let query = sqlx::query(
            "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM user_oauth_tokens \
             JOIN account_links USING (vendor, vendor_user_id) WHERE (vendor, vendor_user_id) > ($1, $2) \
             AND state = 'needs_reconnection' ORDER BY vendor, vendor_user_id LIMIT $3",
        );
        let query = query.bind(vendor).bind(id).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.rows::<LinkRow>(Share::Queries, query).await?.into_iter().map(link).collect()
    }

    async fn to_poll(
        &self,
        vendor: Vendor,
        has_common_token: bool,
        previous: Option<&Account>,
        limit: usize,
    ) -> Result<Vec<Link>, StoreError> {
        let query = sqlx::query(
            "SELECT vendor, vendor_user_id, user_id, timezone, key_hash FROM account_links \
             LEFT JOIN user_oauth_tokens USING (vendor, vendor_user_id) WHERE vendor = $1 AND vendor_user_id > $2 \
             AND coalesce(state = 'active', $3) ORDER BY vendor_user_id LIMIT $4",
        );
        let query = query.bind(vendor.name()).bind(after(previous).1).bind(has_common_token);
        let query = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.rows::<LinkRow>(Share::Queries, query).await?.into_iter().map(link).collect()
    }

    async fn count_sealed_otherwise(&self, key_id: &str) -> Result<u64, StoreError> {
        let query = sqlx::query("SELECT count(*) FROM user_oauth_tokens WHERE key_id <> $1");
        let counts: Vec<(i64,)> = self.rows(Share::Queries, query.bind(key_id.to_owned())).await?;
        Ok(counts.iter().map(|(count,)| count.unsigned_abs()).sum())
    }

    async fn sealed_otherwise(
        &self,
        key_id: &str,
        previous: Option<&Account>,
        limit: usize,
    ) -> Result<Vec<StoredTokens>, StoreError> {
        let (vendor, id) = after(previous);
        let query = sqlx::query(
            "SELECT vendor, vendor_user_id, version, state, key_id, access_token, refresh_token, scope, \
             floor(extract(epoch FROM obtained_at) * 1000)::bigint, \
             floor(extract(epoch FROM expires_at) * 1000)::bigint \
             FROM user_oauth_tokens WHERE (vendor, vendor_user_id) > ($1, $2) AND key_id <> $3 \
             ORDER BY vendor, vendor_user_id LIMIT $4",
        );
        let query = query.bind(vendor).bind(id).bind(key_id.to_owned());
        let query = query.bind(i64::try_from(limit).unwrap_or(i64::MAX));
        self.rows::<TokensRow>(Share::Pipeline, query).await?.into_iter().map(tokens).collect()
    }

    async fn reseal(&self, held: &StoredTokens, sealed: &SealedPair) -> Result<bool, StoreError> {
        let query = of_account(
            "UPDATE user_oauth_tokens SET key_id = $3, access_token = $4, refresh_token = $5 \
             WHERE vendor = $1 AND vendor_user_id = $2 AND version = $6 AND key_id = $7",
            &held.account,
        );
        let query =
            query.bind(sealed.key_id.to_string()).bind(sealed.access.clone()).bind(sealed.refresh.clone());
        Ok(self.change(query.bind(held.version).bind(held.tokens.sealed.key_id.to_string())).await? > 0)
    }
}
