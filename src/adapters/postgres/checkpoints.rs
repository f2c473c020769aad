//! States, positions, switches and what is published of them: one transaction a flush.

use std::collections::{BTreeMap, HashMap, HashSet};

use actors::domain::ids::UserId;
use actors::domain::message::Message;
use actors::ports::event_log::Places;
use actors::ports::store::{Checkpoint, CheckpointBatch, Claim, DeadLetter, SwitchRow};
use sqlx::PgConnection;

use super::fault::Fault;
use super::instant::PgInstant;
use super::pool::Lease;
use super::{dead_letters, outbox};
use crate::adapters::stored::damaged;

/// Rows in one statement of a flush: enough to cost little, few enough to be sent at once.
const ROWS_MAX: usize = 2_000;

/// Takes partitions over: the epoch of each grows.
pub(super) async fn claim(
    connection: &mut PgConnection,
    consumer: &str,
    partitions: &[u32],
) -> Result<Vec<Claim>, Fault> {
    let mut wanted = column(partitions);
    wanted.sort_unstable();
    wanted.dedup();
    let rows: Vec<(i32, i64, i64)> = sqlx::query_as(
        "INSERT INTO positions (consumer, partition, next_offset, epoch) \
         SELECT $1, partition, 0, 1 FROM unnest($2::integer[]) AS wanted (partition) \
         ON CONFLICT (consumer, partition) DO UPDATE SET epoch = positions.epoch + 1 \
         RETURNING partition, next_offset, epoch",
    )
    .bind(consumer)
    .bind(wanted)
    .fetch_all(connection)
    .await?;
    let claims: HashMap<u32, Claim> = rows
        .into_iter()
        .map(|(partition, next_offset, epoch)| (partition.cast_unsigned(), next_offset, epoch))
        .map(|(partition, next_offset, epoch)| (partition, Claim { partition, next_offset, epoch }))
        .collect();
    let claim = |partition| claims.get(partition).copied().ok_or_else(|| damaged("a partition is missing"));
    Ok(partitions.iter().map(claim).collect::<Result<_, _>>()?)
}

/// Numbers of partitions as the database has them.
fn column(partitions: &[u32]) -> Vec<i32> {
    partitions.iter().map(|partition| partition.cast_signed()).collect()
}

/// The consumer's next offsets.
pub(super) async fn positions(
    connection: &mut PgConnection,
    consumer: &str,
    partitions: &[u32],
) -> Result<Places, Fault> {
    let rows: Vec<(i32, i64)> = sqlx::query_as(
        "SELECT partition, next_offset FROM positions WHERE consumer = $1 AND partition = ANY($2)",
    )
    .bind(consumer)
    .bind(column(partitions))
    .fetch_all(connection)
    .await?;
    let mut places: Places = partitions.iter().map(|partition| (*partition, 0)).collect();
    places.extend(rows.into_iter().map(|(partition, next_offset)| (partition.cast_unsigned(), next_offset)));
    Ok(places)
}

/// The checkpoints of those users that have one.
pub(super) async fn load(connection: &mut PgConnection, users: &[UserId]) -> Result<Vec<Checkpoint>, Fault> {
    let mut checkpoints = Vec::with_capacity(users.len());
    for part in users.chunks(ROWS_MAX) {
        let rows: Vec<(String, i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT user_id, state_seq, next_offset, state FROM checkpoints WHERE user_id = ANY($1)",
        )
        .bind(part.iter().map(UserId::as_str).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
        for (user_id, state_seq, next_offset, state) in rows {
            let user_id = UserId::parse(&user_id).map_err(damaged)?;
            checkpoints.push(Checkpoint {
                user_id,
                state_seq: state_seq.cast_unsigned(),
                next_offset,
                state,
            });
        }
    }
    Ok(checkpoints)
}

/// Saves one flush in a transaction of at most `patience`, and gives back how many messages went to the outbox.
pub(super) async fn save(
    lease: &mut Lease,
    batch: &CheckpointBatch,
    patience: &'static str,
) -> Result<usize, Fault> {
    lease.begin().await?;
    lease.run(patience).await?;
    move_positions(lease, batch).await?;
    save_states(lease, &batch.checkpoints).await?;
    let letters: Vec<&DeadLetter> = batch.dead_letters.iter().collect();
    let mut messages: Vec<&Message> = save_switches(lease, &batch.switches).await?;
    messages.extend(&batch.states);
    let dead = dead_letters::insert(lease, &letters).await?;
    messages.extend(&dead);
    for part in messages.chunks(ROWS_MAX) {
        outbox::insert(lease, part.iter().copied()).await?;
    }
    lease.commit().await?;
    Ok(messages.len())
}

/// Moves positions, if they are where the caller read them and if its claims are the newest: whoever has lost its
/// partitions must not overwrite. Both stay true until the end of the transaction.
async fn move_positions(connection: &mut PgConnection, batch: &CheckpointBatch) -> Result<(), Fault> {
    let claimed = batch.claims.iter().map(|(partition, _)| *partition);
    let partitions: Vec<u32> = claimed.chain(batch.positions.iter().map(|moved| moved.partition)).collect();
    if partitions.is_empty() {
        return Ok(());
    }
    let rows: Vec<(i32, i64, i64)> = sqlx::query_as(
        "SELECT partition, next_offset, epoch FROM positions WHERE consumer = $1 AND partition = ANY($2) \
         ORDER BY partition FOR UPDATE",
    )
    .bind(&*batch.consumer)
    .bind(column(&partitions))
    .fetch_all(&mut *connection)
    .await?;
    let held: HashMap<u32, (i64, i64)> =
        rows.into_iter().map(|(partition, at, epoch)| (partition.cast_unsigned(), (at, epoch))).collect();
    for (partition, epoch) in &batch.claims {
        if held.get(partition).is_none_or(|(_, newest)| newest != epoch) {
            return Err(Fault::Fenced(format!("partition {partition} has a new owner")));
        }
    }
    let mut moved: BTreeMap<u32, i64> = BTreeMap::new();
    for position in &batch.positions {
        let stored = held.get(&position.partition).map_or(0, |(at, _)| *at);
        let at = moved.entry(position.partition).or_insert(stored);
        if *at != position.from {
            return Err(no_longer_at(position.partition, position.from));
        }
        *at = position.to;
    }
    write_positions(connection, &batch.consumer, &moved, &held).await
}

async fn write_positions(
    connection: &mut PgConnection,
    consumer: &str,
    moved: &BTreeMap<u32, i64>,
    held: &HashMap<u32, (i64, i64)>,
) -> Result<(), Fault> {
    let (known, made): (Vec<_>, Vec<_>) =
        moved.iter().partition(|(partition, _)| held.contains_key(*partition));
    let update = "UPDATE positions SET next_offset = moved.next_offset \
        FROM unnest($2::integer[], $3::bigint[]) AS moved (partition, next_offset) \
        WHERE positions.consumer = $1 AND positions.partition = moved.partition";
    let insert = "INSERT INTO positions (consumer, partition, next_offset) \
        SELECT $1, partition, next_offset FROM unnest($2::integer[], $3::bigint[]) AS made (partition, next_offset) \
        ON CONFLICT (consumer, partition) DO NOTHING";
    for (sql, rows) in [(update, known), (insert, made)] {
        let Some((first, _)) = rows.first() else { continue };
        let done = sqlx::query(sql)
            .bind(consumer)
            .bind(rows.iter().map(|(partition, _)| partition.cast_signed()).collect::<Vec<_>>())
            .bind(rows.iter().map(|(_, next_offset)| **next_offset).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
        if done.rows_affected() < rows.len() as u64 {
            return Err(no_longer_at(**first, 0));
        }
    }
    Ok(())
}

fn no_longer_at(partition: u32, from: i64) -> Fault {
    Fault::Fenced(format!("partition {partition} is no longer at {from}"))
}

async fn save_states(connection: &mut PgConnection, checkpoints: &[Checkpoint]) -> Result<(), Fault> {
    // One row a user, the newest, in order of users: so two flushes wait for each other and do not deadlock.
    let mut newest: BTreeMap<&UserId, &Checkpoint> = BTreeMap::new();
    for checkpoint in checkpoints {
        let progress = |checkpoint: &Checkpoint| (checkpoint.state_seq, checkpoint.next_offset);
        let held = newest.entry(&checkpoint.user_id).or_insert(checkpoint);
        if progress(checkpoint) >= progress(held) {
            *held = checkpoint;
        }
    }
    let newest: Vec<&Checkpoint> = newest.into_values().collect();
    for part in newest.chunks(ROWS_MAX) {
        let seq = |checkpoint: &&Checkpoint| i64::try_from(checkpoint.state_seq).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO checkpoints (user_id, state_seq, next_offset, state) \
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[]) \
             ON CONFLICT (user_id) DO UPDATE SET state_seq = excluded.state_seq, \
             next_offset = excluded.next_offset, state = excluded.state \
             WHERE (excluded.state_seq, excluded.next_offset) >= (checkpoints.state_seq, checkpoints.next_offset)",
        )
        .bind(part.iter().map(|checkpoint| checkpoint.user_id.as_str()).collect::<Vec<_>>())
        .bind(part.iter().map(seq).collect::<Vec<_>>())
        .bind(part.iter().map(|checkpoint| checkpoint.next_offset).collect::<Vec<_>>())
        .bind(part.iter().map(|checkpoint| checkpoint.state.as_slice()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Keeps switches, and gives back the messages of those that were not kept before.
async fn save_switches<'b>(
    connection: &mut PgConnection,
    switches: &'b [SwitchRow],
) -> Result<Vec<&'b Message>, Fault> {
    if switches.is_empty() {
        return Ok(Vec::new());
    }
    let made: Vec<(String,)> = sqlx::query_as(
        "INSERT INTO mode_switches (switch_id, user_id, timestamp, value) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bytea[]) \
         ON CONFLICT (switch_id) DO NOTHING RETURNING switch_id",
    )
    .bind(switches.iter().map(|switch| &*switch.switch_id).collect::<Vec<&str>>())
    .bind(switches.iter().map(|switch| switch.user_id.as_str()).collect::<Vec<_>>())
    .bind(switches.iter().map(|switch| PgInstant(switch.timestamp)).collect::<Vec<_>>())
    .bind(switches.iter().map(|switch| switch.message.value.as_slice()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut made: HashSet<String> = made.into_iter().map(|(id,)| id).collect();
    let fresh = switches.iter().filter(|switch| made.remove(&*switch.switch_id));
    Ok(fresh.map(|switch| &switch.message).collect())
}
