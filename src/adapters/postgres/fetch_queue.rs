//! The queue of fetches.
//!
//! A claim holds its vendor's row of `vendor_budgets` until it is committed, so that a vendor has one at a time, over all
//! bridges. Whoever changes rows that are there locks them in the order of their ids, a claim only those that nobody has
//! locked; so nobody waits in a circle.

use std::time::Duration;

use actors::domain::account::Vendor;
use actors::domain::fetch::Whose;
use actors::domain::rate_budget::RateLimit;
use actors::ports::fetch_queue::{
    Again, ClaimFetches, ClaimedFetches, DeadFetch, FetchCounts, FetchEnd, FetchFate, FetchQueue, PutBack,
};
use actors::ports::store::StoreError;
use async_trait::async_trait;
use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use super::fault::Fault;
use super::fetch_claims::{claim, lock_budget, write_budget};
use super::instant::PgInstant;
use super::pool::{Lease, Share, within};
use super::{ANSWER_PATIENCE, PostgresStore};
use crate::adapters::stored::fetch_queue::{
    CountRow, DeadRow, QueueChange, columns, counts, dead, duration_ms, vendors,
};

/// Takes in what deliveries ask for, and lets go what they answer. Of nearly all batches there is nothing to do.
pub(super) async fn change(connection: &mut PgConnection, change: &QueueChange) -> Result<(), Fault> {
    let QueueChange { fetches, ends } = change;
    if !ends.is_empty() {
        let ids: Vec<i64> = ends.iter().flat_map(|end| &end.ids).copied().collect();
        lock(connection, &ids).await?;
    }
    for FetchEnd { ids, again } in ends {
        let query = match again {
            None => sqlx::query("DELETE FROM vendor_fetches WHERE id = ANY($1)").bind(ids),
            Some(Again { delay, attempts, looks }) => sqlx::query(
                "UPDATE vendor_fetches SET state = 'waiting', lease_holder = NULL, attempts = $3, looks = $4, \
                 due_at = now() + $2 * interval '1 millisecond' WHERE id = ANY($1)",
            )
            .bind(ids)
            .bind(duration_ms(*delay))
            .bind(attempts.cast_signed())
            .bind(looks.cast_signed()),
        };
        query.execute(&mut *connection).await?;
    }
    if fetches.is_empty() {
        return Ok(());
    }
    let rows = columns(fetches)?;
    sqlx::query(
        "INSERT INTO vendor_fetches (vendor, whose, question, changed_at, received_at, request_id, is_backfill) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], \
         $7::boolean[])",
    )
    .bind(rows.iter().map(|row| row.vendor).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.whose.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.fetch.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| PgInstant(row.job.changed_at)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| PgInstant(row.job.received_at)).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.job.request_id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.job.is_backfill).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn lock(connection: &mut PgConnection, ids: &[i64]) -> Result<(), Fault> {
    sqlx::query("SELECT FROM vendor_fetches WHERE id = ANY($1) ORDER BY id FOR UPDATE")
        .bind(ids)
        .execute(connection)
        .await?;
    Ok(())
}

/// What waits for one of these accounts is due, and what is in somebody's hands will be when it comes back.
///
/// The budget's row is locked until the commit. So a claim comes before, and is seen here, or after, and then it sees
/// the tokens that are committed with this.
pub(super) async fn release(
    connection: &mut PgConnection,
    vendor: Vendor,
    whose: &[Whose],
) -> Result<u64, Fault> {
    lock_budget(connection, vendor).await?;
    let whose: Vec<String> = whose.iter().map(Whose::to_text).collect();
    let rows: Vec<(i64,)> = sqlx::query_as(
        "SELECT id FROM vendor_fetches WHERE vendor = $1 AND whose = ANY($2) \
         AND (state = 'awaiting_account' OR lease_holder IS NOT NULL) ORDER BY id FOR UPDATE",
    )
    .bind(vendor.name())
    .bind(whose)
    .fetch_all(&mut *connection)
    .await?;
    let ids: Vec<i64> = rows.into_iter().map(|(id,)| id).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    // `IS TRUE`: or the index of what is due, in which the id is the last column, would do for the planner.
    let due = sqlx::query(
        "UPDATE vendor_fetches SET state = 'waiting', lease_holder = NULL, due_at = now() \
         WHERE id = ANY($1) AND (state = 'awaiting_account') IS TRUE AND (lease_holder IS NULL OR due_at <= now())",
    );
    let released = due.bind(&ids).execute(&mut *connection).await?.rows_affected();
    sqlx::query(
        "UPDATE vendor_fetches SET is_released = true WHERE id = ANY($1) AND lease_holder IS NOT NULL",
    )
    .bind(&ids)
    .execute(connection)
    .await?;
    Ok(released)
}

async fn put_back(connection: &mut PgConnection, fetch: &PutBack) -> Result<(), Fault> {
    let of_holder = |sql: &'static str| sqlx::query(sql).bind(&fetch.ids).bind(fetch.holder);
    let query = match &fetch.fate {
        FetchFate::Again(Again { delay, attempts, looks }) => of_holder(
            "UPDATE vendor_fetches SET state = 'waiting', lease_holder = NULL, attempts = $4, looks = $5, \
             due_at = now() + $3 * interval '1 millisecond' WHERE id = ANY($1) AND lease_holder = $2",
        )
        .bind(duration_ms(*delay))
        .bind(attempts.cast_signed())
        .bind(looks.cast_signed()),
        FetchFate::AwaitAccount { until_waited } => of_holder(
            "UPDATE vendor_fetches SET lease_holder = NULL, \
             state = CASE WHEN is_released THEN 'waiting' ELSE 'awaiting_account' END, \
             due_at = CASE WHEN is_released THEN now() ELSE created_at + $3 * interval '1 millisecond' END \
             WHERE id = ANY($1) AND lease_holder = $2",
        )
        .bind(duration_ms(*until_waited)),
        FetchFate::Answered => {
            of_holder("DELETE FROM vendor_fetches WHERE id = ANY($1) AND lease_holder = $2")
        }
        FetchFate::GiveUp { error_type, error_message, attempts } => of_holder(
            "UPDATE vendor_fetches SET state = 'dead', lease_holder = NULL, failed_at = now(), error_type = $3, \
             error_message = $4, attempts = $5 WHERE id = ANY($1) AND lease_holder = $2",
        )
        .bind(*error_type)
        .bind(error_message.as_str())
        .bind(attempts.cast_signed()),
    };
    query.execute(connection).await?;
    Ok(())
}

/// Walks through the table: in the order of an index that would take ten times as long.
async fn count(connection: &mut PgConnection) -> Result<Vec<CountRow>, Fault> {
    sqlx::raw_sql("SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off")
        .execute(&mut *connection)
        .await?;
    let count = sqlx::query_as("SELECT vendor, state, count(*) FROM vendor_fetches GROUP BY vendor, state");
    Ok(count.fetch_all(connection).await?)
}

impl PostgresStore {
    /// Runs `work` in a transaction of the pipeline's.
    async fn in_transaction<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Pipeline, deadline).await?;
        let outcome = within(deadline, run(&mut lease, work)).await;
        Ok(lease.finish(outcome).await?)
    }
}

async fn run<T>(
    lease: &mut Lease,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    lease.begin().await?;
    let came_to = work(lease).await?;
    lease.commit().await?;
    Ok(came_to)
}

#[async_trait]
impl FetchQueue for PostgresStore {
    async fn claim_fetches(&self, wanted: &ClaimFetches) -> Result<ClaimedFetches, StoreError> {
        self.in_transaction(async |connection| claim(connection, wanted).await).await
    }

    async fn take_request(
        &self,
        vendor: Vendor,
        rate_limits: &[RateLimit],
        instead: Option<Duration>,
    ) -> Result<bool, StoreError> {
        self.in_transaction(async |connection| {
            let (mut budget, now) = lock_budget(connection, vendor).await?;
            let is_given = budget.take_one(rate_limits, now, instead);
            write_budget(connection, vendor, &budget).await?;
            Ok(is_given)
        })
        .await
    }

    async fn return_request(&self, vendor: Vendor, held: Duration) -> Result<(), StoreError> {
        self.in_transaction(async |connection| {
            let (mut budget, now) = lock_budget(connection, vendor).await?;
            budget.give_back(now, held);
            write_budget(connection, vendor, &budget).await
        })
        .await
    }

    async fn rest_vendor(&self, vendor: Vendor, rest: Duration) -> Result<(), StoreError> {
        self.in_transaction(async |connection| {
            let (mut budget, now) = lock_budget(connection, vendor).await?;
            budget.rest(now.plus_ms(duration_ms(rest)));
            write_budget(connection, vendor, &budget).await
        })
        .await
    }

    async fn put_back(&self, fetches: &[PutBack]) -> Result<(), StoreError> {
        self.in_transaction(async |connection| {
            let ids: Vec<i64> = fetches.iter().flat_map(|fetch| &fetch.ids).copied().collect();
            lock(connection, &ids).await?;
            for fetch in fetches {
                put_back(connection, fetch).await?;
            }
            Ok(())
        })
        .await
    }

    async fn extend_leases(&self, ids: &[i64], holder: Uuid, lease: Duration) -> Result<(), StoreError> {
        self.in_transaction(async |connection| {
            lock(connection, ids).await?;
            sqlx::query(
                "UPDATE vendor_fetches SET due_at = now() + $3 * interval '1 millisecond' \
                 WHERE id = ANY($1) AND lease_holder = $2",
            )
            .bind(ids)
            .bind(holder)
            .bind(duration_ms(lease))
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    async fn drop_leases(&self, vendor: Vendor, holder: Uuid) -> Result<(), StoreError> {
        self.in_transaction(async |connection| {
            sqlx::query(
                "WITH held AS (SELECT id FROM vendor_fetches WHERE vendor = $1 AND lease_holder = $2 \
                 AND state <> 'dead' AND due_at > now() ORDER BY id FOR UPDATE) \
                 UPDATE vendor_fetches AS ours SET lease_holder = NULL, due_at = least(due_at, now()) \
                 FROM held WHERE ours.id = held.id",
            )
            .bind(vendor.name())
            .bind(holder)
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    async fn mend_due_times(&self, vendor: Vendor, longest: Duration) -> Result<(), StoreError> {
        self.in_transaction(async |connection| {
            sqlx::query(
                "WITH late AS (SELECT id FROM vendor_fetches WHERE vendor = $1 AND is_backfill IN (false, true) \
                 AND state <> 'dead' AND due_at > now() + $2 * interval '1 millisecond' \
                 AND (state = 'waiting' OR lease_holder IS NOT NULL OR created_at > now()) ORDER BY id FOR UPDATE) \
                 UPDATE vendor_fetches AS ours SET due_at = least(due_at, now()), \
                 created_at = least(created_at, now()), lease_holder = NULL FROM late WHERE ours.id = late.id",
            )
            .bind(vendor.name())
            .bind(duration_ms(longest))
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    async fn release_fetches(&self, vendor: Vendor, whose: &[Whose]) -> Result<u64, StoreError> {
        self.in_transaction(async |connection| release(connection, vendor, whose).await).await
    }

    async fn dead_fetches_len(&self) -> Result<u64, StoreError> {
        let query = sqlx::query("SELECT count(*) FROM vendor_fetches WHERE state = 'dead'");
        let rows = self.rows::<(i64,)>(Share::Queries, query).await?;
        Ok(rows.first().map_or(0, |(count,)| count.unsigned_abs()))
    }

    async fn count_fetches(&self) -> Result<Vec<(Vendor, FetchCounts)>, StoreError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        let mut lease = self.lease(Share::Queries, deadline).await?;
        let outcome = within(deadline, run(&mut lease, count)).await;
        Ok(counts(lease.finish(outcome).await?))
    }

    async fn dead_fetches(&self, before: Option<i64>, limit: usize) -> Result<Vec<DeadFetch>, StoreError> {
        let query = sqlx::query(
            "SELECT id, vendor, whose, question, error_type, error_message, \
             floor(extract(epoch FROM failed_at) * 1000)::bigint, attempts::bigint FROM vendor_fetches \
             WHERE state = 'dead' AND id < $1 ORDER BY id DESC LIMIT $2",
        );
        let query = query.bind(before.unwrap_or(i64::MAX)).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = self.rows::<DeadRow>(Share::Queries, query).await?;
        Ok(rows.into_iter().filter_map(dead).collect())
    }

    async fn redrive_fetches(&self, ids: &[i64]) -> Result<Vec<Vendor>, StoreError> {
        let query = sqlx::query(
            "WITH held AS (SELECT id FROM vendor_fetches WHERE id = ANY($1) AND state = 'dead' ORDER BY id FOR UPDATE) \
             UPDATE vendor_fetches AS ours SET state = 'waiting', attempts = 0, looks = 0, created_at = now(), \
             due_at = now() FROM held WHERE ours.id = held.id RETURNING ours.id, vendor",
        );
        self.rows(Share::Queries, query.bind(ids.to_vec())).await.map(vendors)
    }
}
