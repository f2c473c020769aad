//! Claims of what is due, and the budgets that they take from.

use actors::domain::account::Vendor;
use actors::domain::rate_budget::RateBudget;
use actors::ports::clock::{Clock as _, SystemClock};
use actors::ports::fetch_queue::{ClaimFetches, ClaimedFetches};
use sqlx::SqliteConnection;

use super::fetch_queue::{holder_bytes, list};
use crate::adapters::sqlite_file::{JobResult, store_error};
use crate::adapters::stored::fetch_queue::{
    Claiming, DAMAGED, DueRow, Head, LeasedRow, budget, budget_text, duration_ms, heads,
};

pub(super) async fn read_budget(connection: &mut SqliteConnection, vendor: Vendor) -> JobResult<RateBudget> {
    let row: Option<(String,)> = sqlx::query_as("SELECT budget FROM vendor_budgets WHERE vendor = ?")
        .bind(vendor.name())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    row.map_or_else(|| Ok(RateBudget::default()), |(text,)| budget(&text))
}

pub(super) async fn write_budget(
    connection: &mut SqliteConnection,
    vendor: Vendor,
    budget: &RateBudget,
) -> JobResult<()> {
    sqlx::query(
        "INSERT INTO vendor_budgets (vendor, budget) VALUES (?, ?) \
         ON CONFLICT (vendor) DO UPDATE SET budget = excluded.budget",
    )
    .bind(vendor.name())
    .bind(budget_text(budget)?)
    .execute(connection)
    .await
    .map(drop)
    .map_err(store_error)
}

pub(super) async fn claim(
    connection: &mut SqliteConnection,
    claim: &ClaimFetches,
) -> JobResult<ClaimedFetches> {
    let budget = read_budget(connection, claim.vendor).await?;
    let mut claiming = Claiming::new(claim, SystemClock.now(), budget);
    for is_backfill in [false, true] {
        // Those that ask the same are one: as long as there are more, a page may come to less than is wanted.
        while claiming.wants() > 0 {
            let page = due(connection, &claiming, is_backfill).await?;
            let is_last = page.len() < claiming.wants();
            let (heads, unreadable) = heads(page);
            bury(connection, &unreadable).await?;
            for head in claiming.give(heads, is_backfill) {
                let rows = lease(connection, &claiming, &head, is_backfill).await?;
                claiming.hand_out(head, is_backfill, &rows)?;
            }
            if is_last {
                break;
            }
        }
    }
    if let Some(budget) = claiming.changed_budget() {
        write_budget(connection, claim.vendor, budget).await?;
    }
    let mut due_at = Vec::new();
    for is_backfill in claiming.looks_ahead() {
        let next: (Option<i64>,) = sqlx::query_as(
            "SELECT min(due_at) FROM vendor_fetches WHERE vendor = ? AND is_backfill = ? AND state <> 'dead'",
        )
        .bind(claim.vendor.name())
        .bind(is_backfill)
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
        due_at.extend(next.0);
    }
    Ok(claiming.finish(&due_at))
}

/// Rows that are due, longest first.
async fn due(
    connection: &mut SqliteConnection,
    claiming: &Claiming<'_>,
    is_backfill: bool,
) -> JobResult<Vec<DueRow>> {
    sqlx::query_as(
        "SELECT id, whose, question FROM vendor_fetches WHERE vendor = ? AND is_backfill = ? AND state <> 'dead' \
         AND due_at <= ? ORDER BY due_at, id LIMIT ?",
    )
    .bind(claiming.claim.vendor.name())
    .bind(is_backfill)
    .bind(claiming.now.as_ms())
    .bind(i64::try_from(claiming.wants()).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
    .map_err(store_error)
}

/// Leases a row and those that ask the same.
async fn lease(
    connection: &mut SqliteConnection,
    claiming: &Claiming<'_>,
    head: &Head,
    is_backfill: bool,
) -> JobResult<Vec<LeasedRow>> {
    let (whose, fetch) = &head.key;
    let now_ms = claiming.now.as_ms();
    // The plus keeps SQLite from walking all that is live or backfill: the rows of one account are fewer.
    sqlx::query_as(
        "UPDATE vendor_fetches SET lease_holder = ?1, due_at = ?2, is_released = 0 \
         WHERE vendor = ?3 AND whose = ?4 AND question = ?5 AND +is_backfill = ?6 AND state <> 'dead' \
         AND (lease_holder IS NULL OR due_at <= ?7) \
         RETURNING id, changed_at, received_at, request_id, created_at, attempts, looks",
    )
    .bind(holder_bytes(claiming.claim.holder))
    .bind(now_ms + duration_ms(claiming.claim.lease))
    .bind(claiming.claim.vendor.name())
    .bind(whose)
    .bind(fetch)
    .bind(is_backfill)
    .bind(now_ms)
    .fetch_all(connection)
    .await
    .map_err(store_error)
}

/// Gives up rows that cannot be read, so that they do not stand before those that can.
async fn bury(connection: &mut SqliteConnection, ids: &[i64]) -> JobResult<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let [error_type, error_message] = DAMAGED;
    sqlx::query(
        "UPDATE vendor_fetches SET state = 'dead', lease_holder = NULL, error_type = ?, error_message = ?, \
         failed_at = ? WHERE id IN (SELECT value FROM json_each(?))",
    )
    .bind(error_type)
    .bind(error_message)
    .bind(SystemClock.now().as_ms())
    .bind(list(ids)?)
    .execute(connection)
    .await
    .map(drop)
    .map_err(store_error)
}
