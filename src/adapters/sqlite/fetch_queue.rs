//! The queue of fetches.

use std::time::Duration;

use actors::domain::account::Vendor;
use actors::domain::fetch::Whose;
use actors::domain::rate_budget::{RateBudget, RateLimit};
use actors::domain::time::Timestamp;
use actors::ports::clock::{Clock as _, SystemClock};
use actors::ports::fetch_queue::{
    Again, ClaimFetches, ClaimedFetches, DeadFetch, FetchCounts, FetchEnd, FetchFate, FetchQueue, PutBack,
};
use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::SqliteStore;
use super::fetch_claims::{claim, read_budget, write_budget};
use crate::adapters::sqlite_file::rows::{Insert, Rows};
use crate::adapters::sqlite_file::{JobResult, SqliteFile, store_error};
use crate::adapters::stored::damaged_json;
use crate::adapters::stored::fetch_queue::{
    CountRow, DeadRow, FetchColumns, counts, dead, duration_ms, vendors,
};

static FETCHES: Insert = Insert {
    into: "vendor_fetches (vendor, whose, question, changed_at, received_at, request_id, is_backfill, created_at, due_at)",
    columns: 9,
    tail: "",
};

/// New fetches, due at once.
pub(super) fn rows<'r>(fetches: &'r [FetchColumns<'r>]) -> Rows<'r> {
    let now_ms = SystemClock.now().as_ms();
    Rows::new(&FETCHES, fetches, move |FetchColumns { job, vendor, whose, fetch }, values| {
        values.push(*vendor).push(whose.as_str()).push(fetch.as_str());
        values.push(job.changed_at.as_ms()).push(job.received_at.as_ms()).push(job.request_id.as_str());
        values.push(job.is_backfill).push(now_ms).push(now_ms);
    })
}

pub(super) fn holder_bytes(holder: Uuid) -> Vec<u8> {
    holder.as_bytes().to_vec()
}

/// Numbers as one argument.
pub(super) fn list(ids: &[i64]) -> JobResult<String> {
    serde_json::to_string(ids).map_err(|error| damaged_json(&error))
}

/// Lets go what deliveries answer.
pub(super) async fn end(connection: &mut SqliteConnection, ends: &[FetchEnd]) -> JobResult<()> {
    let now_ms = SystemClock.now().as_ms();
    for FetchEnd { ids, again } in ends {
        let ids = list(ids)?;
        let of_ids = |sql: &'static str| sqlx::query(sql).bind(&ids);
        let query = match again {
            None => of_ids("DELETE FROM vendor_fetches WHERE id IN (SELECT value FROM json_each(?1))"),
            Some(Again { delay, attempts, looks }) => of_ids(
                "UPDATE vendor_fetches SET state = 'waiting', lease_holder = NULL, due_at = ?2, attempts = ?3, \
                 looks = ?4 WHERE id IN (SELECT value FROM json_each(?1))",
            )
            .bind(now_ms + duration_ms(*delay))
            .bind(attempts)
            .bind(looks),
        };
        query.execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(())
}

/// One process has the file: what was in the hands of the one before is in nobody's.
pub(super) async fn drop_all_leases(file: &SqliteFile) -> JobResult<()> {
    file.write(|connection| {
        Box::pin(async move {
            sqlx::query(
                "UPDATE vendor_fetches SET lease_holder = NULL, due_at = min(due_at, ?) \
                 WHERE lease_holder IS NOT NULL",
            )
            .bind(SystemClock.now().as_ms())
            .execute(connection)
            .await
            .map(drop)
            .map_err(store_error)
        })
    })
    .await
}

/// What waits for one of these accounts is due, and what is in somebody's hands will be when it comes back.
pub(super) async fn release(
    connection: &mut SqliteConnection,
    vendor: Vendor,
    whose: &[Whose],
) -> JobResult<u64> {
    let (now_ms, mut released) = (SystemClock.now().as_ms(), 0);
    for whose in whose.iter().map(Whose::to_text) {
        let due = sqlx::query(
            "UPDATE vendor_fetches SET state = 'waiting', lease_holder = NULL, due_at = ?3 \
             WHERE vendor = ?1 AND whose = ?2 AND state = 'awaiting_account' \
             AND (lease_holder IS NULL OR due_at <= ?3)",
        );
        let due = due.bind(vendor.name()).bind(&whose).bind(now_ms);
        released += due.execute(&mut *connection).await.map_err(store_error)?.rows_affected();
        let held = sqlx::query(
            "UPDATE vendor_fetches SET is_released = 1 WHERE vendor = ? AND whose = ? AND lease_holder IS NOT NULL",
        );
        held.bind(vendor.name()).bind(whose).execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(released)
}

async fn put_back(connection: &mut SqliteConnection, fetch: &PutBack) -> JobResult<()> {
    let now_ms = SystemClock.now().as_ms();
    let (ids, holder) = (list(&fetch.ids)?, holder_bytes(fetch.holder));
    let of_holder = |sql: &'static str| sqlx::query(sql).bind(&ids).bind(&holder);
    let query = match &fetch.fate {
        FetchFate::Again(Again { delay, attempts, looks }) => of_holder(
            "UPDATE vendor_fetches SET state = 'waiting', lease_holder = NULL, due_at = ?3, attempts = ?4, looks = ?5 \
             WHERE id IN (SELECT value FROM json_each(?1)) AND lease_holder = ?2",
        )
        .bind(now_ms + duration_ms(*delay))
        .bind(attempts)
        .bind(looks),
        FetchFate::AwaitAccount { until_waited } => of_holder(
            "UPDATE vendor_fetches SET lease_holder = NULL, \
             state = CASE WHEN is_released THEN 'waiting' ELSE 'awaiting_account' END, \
             due_at = CASE WHEN is_released THEN ?3 ELSE created_at + ?4 END \
             WHERE id IN (SELECT value FROM json_each(?1)) AND lease_holder = ?2",
        )
        .bind(now_ms)
        .bind(duration_ms(*until_waited)),
        FetchFate::Answered => of_holder(
            "DELETE FROM vendor_fetches WHERE id IN (SELECT value FROM json_each(?1)) AND lease_holder = ?2",
        ),
        FetchFate::GiveUp { error_type, error_message, attempts } => of_holder(
            "UPDATE vendor_fetches SET state = 'dead', lease_holder = NULL, failed_at = ?3, error_type = ?4, \
             error_message = ?5, attempts = ?6 WHERE id IN (SELECT value FROM json_each(?1)) AND lease_holder = ?2",
        )
        .bind(now_ms)
        .bind(*error_type)
        .bind(error_message.as_str())
        .bind(attempts),
    };
    query.execute(connection).await.map(drop).map_err(store_error)
}

/// Changes a vendor's budget.
async fn with_budget<T>(
    connection: &mut SqliteConnection,
    vendor: Vendor,
    change: impl FnOnce(&mut RateBudget, Timestamp) -> T,
) -> JobResult<T> {
    let mut budget = read_budget(connection, vendor).await?;
    let came_to = change(&mut budget, SystemClock.now());
    write_budget(connection, vendor, &budget).await?;
    Ok(came_to)
}

async fn redrive(connection: &mut SqliteConnection, ids: &[i64]) -> JobResult<Vec<Vendor>> {
    let rows = sqlx::query_as(
        "UPDATE vendor_fetches SET state = 'waiting', attempts = 0, looks = 0, created_at = ?2, due_at = ?2 \
         WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'dead' RETURNING id, vendor",
    );
    let rows = rows.bind(list(ids)?).bind(SystemClock.now().as_ms()).fetch_all(connection).await;
    rows.map(vendors).map_err(store_error)
}

impl SqliteStore {
    async fn change_budget<T: Send + 'static>(
        &self,
        vendor: Vendor,
        change: impl FnOnce(&mut RateBudget, Timestamp) -> T + Send + 'static,
    ) -> JobResult<T> {
        self.file.write(move |connection| Box::pin(with_budget(connection, vendor, change))).await
    }
}

#[async_trait]
impl FetchQueue for SqliteStore {
    async fn claim_fetches(&self, wanted: &ClaimFetches) -> JobResult<ClaimedFetches> {
        let wanted = wanted.clone();
        self.file.write(move |connection| Box::pin(async move { claim(connection, &wanted).await })).await
    }

    async fn take_request(
        &self,
        vendor: Vendor,
        rate_limits: &[RateLimit],
        instead: Option<Duration>,
    ) -> JobResult<bool> {
        let limits = rate_limits.to_vec();
        self.change_budget(vendor, move |budget, now| budget.take_one(&limits, now, instead)).await
    }

    async fn return_request(&self, vendor: Vendor, held: Duration) -> JobResult<()> {
        self.change_budget(vendor, move |budget, now| budget.give_back(now, held)).await
    }

    async fn rest_vendor(&self, vendor: Vendor, rest: Duration) -> JobResult<()> {
        self.change_budget(vendor, move |budget, now| budget.rest(now.plus_ms(duration_ms(rest)))).await
    }

    async fn put_back(&self, fetches: &[PutBack]) -> JobResult<()> {
        let fetches = fetches.to_vec();
        self.file
            .write(move |connection| {
                Box::pin(async move {
                    for fetch in &fetches {
                        put_back(connection, fetch).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn extend_leases(&self, ids: &[i64], holder: Uuid, lease: Duration) -> JobResult<()> {
        let query = sqlx::query(
            "UPDATE vendor_fetches SET due_at = ?3 \
             WHERE id IN (SELECT value FROM json_each(?1)) AND lease_holder = ?2",
        );
        let until_ms = SystemClock.now().as_ms() + duration_ms(lease);
        self.change(query.bind(list(ids)?).bind(holder_bytes(holder)).bind(until_ms)).await.map(drop)
    }

    async fn drop_leases(&self, vendor: Vendor, holder: Uuid) -> JobResult<()> {
        let query = sqlx::query(
            "UPDATE vendor_fetches SET lease_holder = NULL, due_at = min(due_at, ?3) \
             WHERE vendor = ?1 AND lease_holder = ?2 AND state <> 'dead'",
        );
        let query = query.bind(vendor.name()).bind(holder_bytes(holder)).bind(SystemClock.now().as_ms());
        self.change(query).await.map(drop)
    }

    async fn mend_due_times(&self, vendor: Vendor, longest: Duration) -> JobResult<()> {
        let query = sqlx::query(
            "UPDATE vendor_fetches SET due_at = min(due_at, ?2), created_at = min(created_at, ?2), lease_holder = NULL \
             WHERE vendor = ?1 AND is_backfill IN (0, 1) AND state <> 'dead' AND due_at > ?3 \
             AND (state = 'waiting' OR lease_holder IS NOT NULL OR created_at > ?2)",
        );
        let now_ms = SystemClock.now().as_ms();
        let query = query.bind(vendor.name()).bind(now_ms).bind(now_ms + duration_ms(longest));
        self.change(query).await.map(drop)
    }

    async fn release_fetches(&self, vendor: Vendor, whose: &[Whose]) -> JobResult<u64> {
        let whose = whose.to_vec();
        self.file
            .write(move |connection| Box::pin(async move { release(connection, vendor, &whose).await }))
            .await
    }

    async fn dead_fetches_len(&self) -> JobResult<u64> {
        let query = sqlx::query("SELECT count(*) FROM vendor_fetches WHERE state = 'dead'");
        let rows = self.rows::<(i64,)>(query).await?;
        Ok(rows.first().map_or(0, |(count,)| count.unsigned_abs()))
    }

    async fn count_fetches(&self) -> JobResult<Vec<(Vendor, FetchCounts)>> {
        let query = sqlx::query("SELECT vendor, state, count(*) FROM vendor_fetches GROUP BY vendor, state");
        Ok(counts(self.rows::<CountRow>(query).await?))
    }

    async fn dead_fetches(&self, before: Option<i64>, limit: usize) -> JobResult<Vec<DeadFetch>> {
        let query = sqlx::query(
            "SELECT id, vendor, whose, question, error_type, error_message, failed_at, attempts FROM vendor_fetches \
             WHERE state = 'dead' AND id < ? ORDER BY id DESC LIMIT ?",
        );
        let query = query.bind(before.unwrap_or(i64::MAX)).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        Ok(self.rows::<DeadRow>(query).await?.into_iter().filter_map(dead).collect())
    }

    async fn redrive_fetches(&self, ids: &[i64]) -> JobResult<Vec<Vendor>> {
        let ids = ids.to_vec();
        self.file.write(move |connection| Box::pin(async move { redrive(connection, &ids).await })).await
    }
}
