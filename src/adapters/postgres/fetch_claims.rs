//! Claims of what is due, and the budgets that they take from.

use actors::domain::account::Vendor;
use actors::domain::rate_budget::RateBudget;
use actors::domain::time::Timestamp;
use actors::ports::fetch_queue::{ClaimFetches, ClaimedFetches};
use sqlx::PgConnection;

use super::fault::Fault;
use super::instant::PgInstant;
use crate::adapters::stored::fetch_queue::{
    Claiming, DAMAGED, DueRow, Head, LeasedRow, budget, budget_text, duration_ms, heads,
};

/// A vendor's budget, locked until the end of the transaction, and what the server's clock shows now that it is.
pub(super) async fn lock_budget(
    connection: &mut PgConnection,
    vendor: Vendor,
) -> Result<(RateBudget, Timestamp), Fault> {
    loop {
        // The time is told outside of what waits for the lock. Rounded up, it is never before that of a row.
        let row: Option<(String, i64)> = sqlx::query_as(
            "SELECT budget, ceil(extract(epoch FROM clock_timestamp()) * 1000)::bigint \
             FROM (SELECT budget FROM vendor_budgets WHERE vendor = $1 FOR UPDATE) AS held",
        )
        .bind(vendor.name())
        .fetch_optional(&mut *connection)
        .await?;
        if let Some((text, now_ms)) = row {
            return Ok((budget(&text)?, Timestamp::from_ms(now_ms)));
        }
        sqlx::query(
            "INSERT INTO vendor_budgets (vendor, budget) VALUES ($1, $2) ON CONFLICT (vendor) DO NOTHING",
        )
        .bind(vendor.name())
        .bind(budget_text(&RateBudget::default())?)
        .execute(&mut *connection)
        .await?;
    }
}

pub(super) async fn write_budget(
    connection: &mut PgConnection,
    vendor: Vendor,
    budget: &RateBudget,
) -> Result<(), Fault> {
    sqlx::query("UPDATE vendor_budgets SET budget = $2 WHERE vendor = $1")
        .bind(vendor.name())
        .bind(budget_text(budget)?)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn claim(
    connection: &mut PgConnection,
    claim: &ClaimFetches,
) -> Result<ClaimedFetches, Fault> {
    let (budget, now) = lock_budget(connection, claim.vendor).await?;
    let mut claiming = Claiming::new(claim, now, budget);
    for is_backfill in [false, true] {
        // Those that ask the same are one: as long as there are more, a page may come to less than is wanted.
        while claiming.wants() > 0 {
            let page = due(connection, &claiming, is_backfill).await?;
            let is_last = page.len() < claiming.wants();
            let (heads, unreadable) = heads(page);
            bury(connection, &unreadable).await?;
            let heads = claiming.give(heads, is_backfill);
            let rows = lease(connection, &claiming, &heads, is_backfill).await?;
            for (head, rows) in heads.into_iter().zip(rows) {
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
        let next: Option<(i64,)> = sqlx::query_as(
            "SELECT ceil(extract(epoch FROM due_at) * 1000)::bigint FROM vendor_fetches \
             WHERE vendor = $1 AND is_backfill = $2 AND state <> 'dead' ORDER BY due_at, id LIMIT 1",
        )
        .bind(claim.vendor.name())
        .bind(is_backfill)
        .fetch_optional(&mut *connection)
        .await?;
        due_at.extend(next.map(|(due_at,)| due_at));
    }
    Ok(claiming.finish(&due_at))
}

/// Rows that are due, longest first, locked.
async fn due(
    connection: &mut PgConnection,
    claiming: &Claiming<'_>,
    is_backfill: bool,
) -> Result<Vec<DueRow>, Fault> {
    let rows = sqlx::query_as(
        "SELECT id, whose, question FROM vendor_fetches WHERE vendor = $1 AND is_backfill = $2 AND state <> 'dead' \
         AND due_at <= $3 ORDER BY due_at, id LIMIT $4 FOR UPDATE SKIP LOCKED",
    )
    .bind(claiming.claim.vendor.name())
    .bind(is_backfill)
    .bind(PgInstant(claiming.now))
    .bind(i64::try_from(claiming.wants()).unwrap_or(i64::MAX));
    Ok(rows.fetch_all(connection).await?)
}

/// Leases rows and those that ask the same: for each head, in order, all that are leased with it.
async fn lease(
    connection: &mut PgConnection,
    claiming: &Claiming<'_>,
    heads: &[Head],
    is_backfill: bool,
) -> Result<Vec<Vec<LeasedRow>>, Fault> {
    let mut leased = vec![Vec::new(); heads.len()];
    if heads.is_empty() {
        return Ok(leased);
    }
    // Written so that the planner has no choice, also while the table is empty: question by question, and each by whose
    // it is. The index of what is due, which it would walk from end to end, is of no use for `IS FALSE`.
    let until = claiming.now.plus_ms(duration_ms(claiming.claim.lease));
    let rows: Vec<PlacedRow> = sqlx::query_as(
        "WITH held AS (SELECT id, place FROM \
         unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (whose, question, place), \
         LATERAL (SELECT id FROM vendor_fetches AS other WHERE other.whose = asked.whose AND vendor = $3 \
         AND other.question = asked.question AND is_backfill = $4 AND (state = 'dead') IS FALSE \
         AND (lease_holder IS NULL OR due_at <= $5) FOR UPDATE SKIP LOCKED) AS same) \
         UPDATE vendor_fetches AS ours SET lease_holder = $6, due_at = $7, is_released = false FROM held \
         WHERE ours.id = held.id RETURNING ours.id, floor(extract(epoch FROM changed_at) * 1000)::bigint, \
         floor(extract(epoch FROM received_at) * 1000)::bigint, request_id, \
         floor(extract(epoch FROM created_at) * 1000)::bigint, attempts::bigint, looks::bigint, place",
    )
    .bind(heads.iter().map(|head| head.key.0.as_str()).collect::<Vec<_>>())
    .bind(heads.iter().map(|head| head.key.1.as_str()).collect::<Vec<_>>())
    .bind(claiming.claim.vendor.name())
    .bind(is_backfill)
    .bind(PgInstant(claiming.now))
    .bind(claiming.claim.holder)
    .bind(PgInstant(until))
    .fetch_all(connection)
    .await?;
    for (id, changed_at, received_at, request_id, created_at, attempts, looks, place) in rows {
        if let Some(of_head) = usize::try_from(place - 1).ok().and_then(|place| leased.get_mut(place)) {
            of_head.push((id, changed_at, received_at, request_id, created_at, attempts, looks));
        }
    }
    Ok(leased)
}

/// As [`LeasedRow`], and the place of its head, from 1 on.
type PlacedRow = (i64, i64, i64, String, i64, i64, i64, i64);

/// Gives up rows that cannot be read, so that they do not stand before those that can.
async fn bury(connection: &mut PgConnection, ids: &[i64]) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    let [error_type, error_message] = DAMAGED;
    sqlx::query(
        "UPDATE vendor_fetches SET state = 'dead', lease_holder = NULL, error_type = $2, error_message = $3, \
         failed_at = now() WHERE id = ANY($1)",
    )
    .bind(ids)
    .bind(error_type)
    .bind(error_message)
    .execute(connection)
    .await?;
    Ok(())
}
