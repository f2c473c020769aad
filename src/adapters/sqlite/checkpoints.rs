//! States, positions, switches and what is published of them: one transaction a flush.

use std::collections::HashSet;

use actors::domain::ids::UserId;
use actors::domain::message::Message;
use actors::ports::event_log::Places;
use actors::ports::store::{
    Checkpoint, CheckpointBatch, Claim, DeadLetter, PositionMove, StoreError, SwitchRow,
};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, SqlitePool};

use super::outlet::{Outlet, Sent};
use crate::adapters::sqlite_file::rows::{Insert, ROWS_MAX, Rows, push_list, select_in};
use crate::adapters::sqlite_file::writer::Writer;
use crate::adapters::sqlite_file::{JobResult, store_error};
use crate::adapters::stored::{damaged, encode_headers};

/// Takes partitions over: the epoch of each grows.
pub(super) async fn claim(
    connection: &mut SqliteConnection,
    consumer: &str,
    partitions: &[u32],
) -> JobResult<Vec<Claim>> {
    let mut claims = Vec::with_capacity(partitions.len());
    for &partition in partitions {
        let (next_offset, epoch) = sqlx::query_as(
            "INSERT INTO positions (consumer, partition, next_offset, epoch) VALUES (?, ?, 0, 1) \
             ON CONFLICT (consumer, partition) DO UPDATE SET epoch = epoch + 1 RETURNING next_offset, epoch",
        )
        .bind(consumer)
        .bind(partition)
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
        claims.push(Claim { partition, next_offset, epoch });
    }
    Ok(claims)
}

/// Refuses what rests on a claim that is no longer the newest. Gives back the flush's switches that are not known yet.
async fn check<'b>(writer: &mut Writer, batch: &'b CheckpointBatch) -> JobResult<Vec<&'b SwitchRow>> {
    let ids: Vec<String> = batch.switches.iter().map(|switch| switch.switch_id.to_string()).collect();
    let (some_ids, more_ids) = ids.split_at(ids.len().min(ROWS_MAX));
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT '', partition, epoch FROM positions WHERE consumer = ");
    sql.push_bind(&*batch.consumer);
    sql.push(" UNION ALL SELECT switch_id, 0, 0 FROM mode_switches WHERE switch_id IN ");
    push_list(&mut sql, some_ids);
    let rows: Vec<(String, u32, i64)> = writer.fetch_all(sql).await?;
    let (mut held, mut known) = (Vec::new(), HashSet::new());
    for (switch_id, partition, epoch) in rows {
        match switch_id.is_empty() {
            true => held.push((partition, epoch)),
            false => drop(known.insert(switch_id)),
        }
    }
    if let Some((partition, _)) = batch.claims.iter().find(|claim| !held.contains(claim)) {
        return Err(StoreError::Fenced(format!("partition {partition} has a new owner")));
    }
    let head = "SELECT switch_id FROM mode_switches WHERE switch_id IN ";
    let more: Vec<(String,)> = select_in(writer.begun().await?, head, more_ids).await?;
    known.extend(more.into_iter().map(|(switch_id,)| switch_id));
    // Also one that the flush has twice is new once.
    Ok(batch.switches.iter().filter(|switch| known.insert(switch.switch_id.to_string())).collect())
}

pub(super) async fn positions(readers: &SqlitePool, consumer: &str, partitions: &[u32]) -> JobResult<Places> {
    let rows: Vec<(u32, i64)> =
        sqlx::query_as("SELECT partition, next_offset FROM positions WHERE consumer = ?")
            .bind(consumer)
            .fetch_all(readers)
            .await
            .map_err(store_error)?;
    let stored: Places = rows.into_iter().collect();
    let position = |partition| stored.get(&partition).copied().unwrap_or_default();
    Ok(partitions.iter().map(|&partition| (partition, position(partition))).collect())
}

pub(super) async fn load(readers: &SqlitePool, users: &[UserId]) -> JobResult<Vec<Checkpoint>> {
    let keys: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    let mut connection = readers.acquire().await.map_err(store_error)?;
    let rows: Vec<(String, i64, i64, Vec<u8>)> = select_in(
        &mut connection,
        "SELECT user_id, state_seq, next_offset, state FROM checkpoints WHERE user_id IN ",
        &keys,
    )
    .await?;
    rows.into_iter()
        .map(|(user_id, state_seq, next_offset, state)| {
            let user_id = UserId::parse(&user_id).map_err(damaged)?;
            Ok(Checkpoint { user_id, state_seq: state_seq.unsigned_abs(), next_offset, state })
        })
        .collect()
}

/// Saves one flush and gives back how many messages go out with it.
pub(super) async fn save(
    writer: &mut Writer,
    outlet: &Outlet,
    batch: &CheckpointBatch,
) -> JobResult<(usize, Sent)> {
    let switches = check(writer, batch).await?;
    let connection = writer.begun().await?;
    for position in &batch.positions {
        move_position(connection, &batch.consumer, position).await?;
    }
    let mut messages: Vec<&Message> = switches.iter().map(|switch| &switch.message).collect();
    messages.extend(&batch.states);
    let mut dead = Vec::new();
    for letter in &batch.dead_letters {
        if save_dead_letter(connection, letter).await? {
            dead.push(letter.to_message());
        }
    }
    messages.extend(&dead);
    let outgoing = outlet.place(writer, messages.iter().copied()).await?;
    let mut tables = vec![state_rows(&batch.checkpoints), switch_rows(&switches)];
    tables.extend(outgoing.tables());
    writer.insert_last(&tables).await?;
    drop(tables);
    Ok((messages.len(), outgoing.sent()))
}

/// Moves a position, if it is where the caller read it: whoever lost its partition must not overwrite.
async fn move_position(
    connection: &mut SqliteConnection,
    consumer: &str,
    position: &PositionMove,
) -> JobResult<()> {
    let moved = sqlx::query(
        "INSERT INTO positions (consumer, partition, next_offset) SELECT ?1, ?2, ?4 WHERE ?3 = 0 \
         OR EXISTS (SELECT 1 FROM positions WHERE consumer = ?1 AND partition = ?2) \
         ON CONFLICT (consumer, partition) DO UPDATE SET next_offset = excluded.next_offset WHERE next_offset = ?3",
    )
    .bind(consumer)
    .bind(position.partition)
    .bind(position.from)
    .bind(position.to)
    .execute(connection)
    .await
    .map_err(store_error)?;
    if moved.rows_affected() == 0 {
        let (partition, from) = (position.partition, position.from);
        return Err(StoreError::Fenced(format!("partition {partition} is no longer at {from}")));
    }
    Ok(())
}

static CHECKPOINTS: Insert = Insert {
    into: "checkpoints (user_id, state_seq, next_offset, state)",
    columns: 4,
    tail: "ON CONFLICT (user_id) DO UPDATE SET state_seq = excluded.state_seq, next_offset = excluded.next_offset, \
           state = excluded.state WHERE (excluded.state_seq, excluded.next_offset) >= (state_seq, next_offset)",
};

fn state_rows(checkpoints: &[Checkpoint]) -> Rows<'_> {
    Rows::new(&CHECKPOINTS, checkpoints, |checkpoint, values| {
        values.push(checkpoint.user_id.as_str());
        values.push(i64::try_from(checkpoint.state_seq).unwrap_or(i64::MAX));
        values.push(checkpoint.next_offset).push(checkpoint.state.as_slice());
    })
}

static SWITCHES: Insert =
    Insert { into: "mode_switches (switch_id, user_id, timestamp, value)", columns: 4, tail: "" };

fn switch_rows<'r>(switches: &'r [&SwitchRow]) -> Rows<'r> {
    Rows::new(&SWITCHES, switches, |switch, values| {
        values.push(&*switch.switch_id).push(switch.user_id.as_str());
        values.push(switch.timestamp.as_ms()).push(switch.message.value.as_slice());
    })
}

pub(super) async fn save_dead_letter(
    connection: &mut SqliteConnection,
    letter: &DeadLetter,
) -> JobResult<bool> {
    sqlx::query(
        "INSERT INTO kafka_dlq (id, original_topic, error_type, error_message, failed_at, retry_count, key, value, \
         headers) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )
    .bind(&*letter.id)
    .bind(letter.original_topic.name())
    .bind(letter.error_type)
    .bind(&letter.error_message)
    .bind(letter.failed_at.as_ms())
    .bind(letter.retry_count)
    .bind(&*letter.message.key)
    .bind(&letter.message.value)
    .bind(encode_headers(&letter.message.headers)?)
    .execute(connection)
    .await
    .map(|done| done.rows_affected() > 0)
    .map_err(store_error)
}
