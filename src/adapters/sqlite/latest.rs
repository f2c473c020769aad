//! The newest reading of each metric of a user, kept beside the events so that `/latest` is one look-up.

use std::collections::BTreeMap;

use actors::domain::admission::Known;
use actors::domain::event::DeviceType;
use actors::domain::ids::UserId;
use actors::domain::metric::Metric;
use actors::ports::store::LatestReading;
use sqlx::{SqliteConnection, SqlitePool};

use super::reads::hidden_places;
use crate::adapters::sqlite_file::rows::{Insert, Rows, insert};
use crate::adapters::sqlite_file::{JobResult, store_error};
use crate::adapters::stored::newest::{Candidate, Newest};
use crate::adapters::stored::{damaged, damaged_json, metric_word, metrics_column, visible_part};

/// Events read at a time when a newest reading has to be found anew.
const SEARCH_PAGE: i64 = 100;

static LATEST: Insert = Insert {
    into: "latest (user_id, metric, timestamp, confidence, event_seq, device_type, reading)",
    columns: 7,
    tail: "ON CONFLICT (user_id, metric) DO UPDATE SET timestamp = excluded.timestamp, \
           confidence = excluded.confidence, event_seq = excluded.event_seq, device_type = excluded.device_type, \
           reading = excluded.reading WHERE (excluded.timestamp, excluded.confidence) >= (timestamp, confidence)",
};

/// The rows of what may be newest, each with its reading as JSON.
pub(super) fn candidates(newest: &Newest) -> JobResult<Vec<(String, &Candidate)>> {
    let json = |candidate: &Candidate| serde_json::to_string(&candidate.reading).map_err(damaged);
    newest.iter().map(|candidate| Ok((json(candidate)?, candidate))).collect()
}

/// What is newest of these takes its place.
pub(super) fn rows<'r>(candidates: &'r [(String, &Candidate)]) -> Rows<'r> {
    Rows::new(&LATEST, candidates, |(json, candidate), values| {
        let Candidate { user_id, event_seq, device_type, reading } = candidate;
        values.push(user_id.as_str()).push(reading.metric.name()).push(reading.timestamp.as_ms());
        values.push(candidate.confidence()).push(*event_seq).push(device_type.name()).push(json.as_str());
    })
}

/// Hides what newer versions have taken the place of, and finds what is newest without it.
pub(super) async fn hide_superseded(
    connection: &mut SqliteConnection,
    superseded: &[Known],
) -> JobResult<()> {
    let mut lost: BTreeMap<i64, Vec<Option<u32>>> = BTreeMap::new();
    for known in superseded {
        lost.entry(known.event_seq).or_default().push(known.reading);
    }
    for (event_seq, readings) in lost {
        hide(connection, event_seq, &readings).await?;
        let metrics: Vec<(String, String)> =
            sqlx::query_as(
                "DELETE FROM latest WHERE user_id = (SELECT user_id FROM events WHERE seq = ?1) AND event_seq = ?1 \
                 RETURNING user_id, metric",
            )
            .bind(event_seq)
            .fetch_all(&mut *connection)
            .await
            .map_err(store_error)?;
        for (user, metric) in metrics {
            let metric = Metric::from_name(&metric).ok_or_else(|| damaged("an unknown metric"))?;
            find_anew(connection, &user, metric).await?;
        }
    }
    Ok(())
}

/// Finds anew what was newest of `from` in events that have another user now, and takes in what is newest of these; their
/// numbers come as a JSON list.
pub(super) async fn hand_over(
    connection: &mut SqliteConnection,
    from: &UserId,
    seqs: &str,
    newest: &Newest,
) -> JobResult<()> {
    let metrics: Vec<(String,)> = sqlx::query_as(
        "DELETE FROM latest WHERE user_id = ? AND event_seq IN (SELECT value FROM json_each(?)) RETURNING metric",
    )
    .bind(from.as_str())
    .bind(seqs)
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    for (metric,) in metrics {
        let metric = Metric::from_name(&metric).ok_or_else(|| damaged("an unknown metric"))?;
        find_anew(connection, from.as_str(), metric).await?;
    }
    upsert(connection, newest).await
}

async fn upsert(connection: &mut SqliteConnection, newest: &Newest) -> JobResult<()> {
    insert(connection, &[rows(&candidates(newest)?)]).await
}

/// Hides readings of an event, or the whole of it (`None`), from the read API.
async fn hide(connection: &mut SqliteConnection, event_seq: i64, readings: &[Option<u32>]) -> JobResult<()> {
    let Some(readings) = readings.iter().copied().collect::<Option<Vec<u32>>>() else {
        return sqlx::query("UPDATE events SET visible = 0 WHERE seq = ?")
            .bind(event_seq)
            .execute(connection)
            .await
            .map(drop)
            .map_err(store_error);
    };
    let (hidden, value): (Option<String>, Vec<u8>) =
        sqlx::query_as("SELECT hidden, value FROM events WHERE seq = ?")
            .bind(event_seq)
            .fetch_one(&mut *connection)
            .await
            .map_err(store_error)?;
    let mut hidden = hidden_places(hidden.as_deref())?;
    hidden.extend(readings);
    let rest = visible_part(&value, &hidden)?;
    let hidden = serde_json::to_string(&hidden).map_err(damaged)?;
    // With its last reading hidden the event is hidden.
    sqlx::query("UPDATE events SET hidden = ?, metrics = ?, visible = ? WHERE seq = ?")
        .bind(&hidden)
        .bind(metrics_column(&rest))
        .bind(!rest.readings.is_empty())
        .bind(event_seq)
        .execute(connection)
        .await
        .map(drop)
        .map_err(store_error)
}

/// Finds the newest visible reading of a metric by walking a user's events back in time.
async fn find_anew(connection: &mut SqliteConnection, user: &str, metric: Metric) -> JobResult<()> {
    let mut newest = Newest::default();
    let mut before = (i64::MAX, i64::MAX);
    loop {
        let rows: Vec<(i64, i64, Option<String>, Vec<u8>)> = sqlx::query_as(
            "SELECT seq, timestamp, hidden, value FROM events WHERE user_id = ? AND visible = 1 \
             AND (timestamp, seq) < (?, ?) AND instr(metrics, ?) > 0 ORDER BY timestamp DESC, seq DESC LIMIT ?",
        )
        .bind(user)
        .bind(before.0)
        .bind(before.1)
        .bind(metric_word(metric))
        .bind(SEARCH_PAGE)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
        let is_last_page = rows.len() < SEARCH_PAGE as usize;
        for (seq, timestamp, hidden, value) in rows {
            before = (timestamp, seq);
            // No reading is newer than its event, so once one is found no older event can better it.
            if newest.iter().any(|found| found.reading.timestamp.as_ms() > timestamp) {
                return upsert(connection, &newest).await;
            }
            let event = visible_part(&value, &hidden_places(hidden.as_deref())?)?;
            newest.offer(seq, &event, |reading| reading.metric == metric);
        }
        if is_last_page {
            return upsert(connection, &newest).await;
        }
    }
}

pub(super) async fn read(readers: &SqlitePool, user: &UserId) -> JobResult<Vec<LatestReading>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT device_type, reading FROM latest WHERE user_id = ? ORDER BY metric")
            .bind(user.as_str())
            .fetch_all(readers)
            .await
            .map_err(store_error)?;
    rows.into_iter()
        .map(|(device_type, json)| {
            let device_type =
                DeviceType::from_name(&device_type).ok_or_else(|| damaged("an unknown device type"))?;
            Ok(LatestReading {
                reading: serde_json::from_str(&json).map_err(|error| damaged_json(&error))?,
                device_type,
            })
        })
        .collect()
}
