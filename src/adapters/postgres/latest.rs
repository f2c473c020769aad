//! The newest reading of each metric of a user, kept beside the events so that `/latest` is one look-up.

use actors::domain::event::DeviceType;
use actors::domain::ids::UserId;
use actors::domain::metric::Metric;
use actors::ports::store::LatestReading;
use sqlx::PgConnection;

use super::events::Lost;
use super::fault::Fault;
use super::instant::PgInstant;
use crate::adapters::stored::newest::Newest;
use crate::adapters::stored::{damaged, damaged_json, metric_word, visible_part};

/// Events read at a time when a newest reading has to be found anew.
const SEARCH_PAGE: i64 = 100;

/// Takes in what is newest of some events, and finds anew what stood in events of which something is lost to their user
/// now.
pub(super) async fn bring_up_to_date(
    connection: &mut PgConnection,
    newest: &Newest,
    lost: &[Lost],
) -> Result<(), Fault> {
    if lost.is_empty() {
        return upsert(connection, newest).await;
    }
    // What is newest of these users is found anew below, and another bridge may be doing the same with what this one
    // hides or finds: one after the other, so that the second sees what the first has left.
    sqlx::query("SELECT FROM latest WHERE user_id = ANY($1) ORDER BY user_id, metric FOR UPDATE")
        .bind(lost.iter().map(|lost| lost.user_id.as_str()).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    upsert(connection, newest).await?;
    let gone: Vec<(String, String)> = sqlx::query_as(
        "DELETE FROM latest USING unnest($1::text[], $2::bigint[]) AS lost (user_id, event_seq) \
         WHERE latest.user_id = lost.user_id AND latest.event_seq = lost.event_seq \
         RETURNING latest.user_id, latest.metric",
    )
    .bind(lost.iter().map(|lost| lost.user_id.as_str()).collect::<Vec<_>>())
    .bind(lost.iter().map(|lost| lost.seq).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    for (user, metric) in gone {
        let metric = Metric::from_name(&metric).ok_or_else(|| damaged("an unknown metric"))?;
        find_anew(connection, &user, metric).await?;
    }
    Ok(())
}

async fn upsert(connection: &mut PgConnection, newest: &Newest) -> Result<(), Fault> {
    if newest.is_empty() {
        return Ok(());
    }
    let readings = newest
        .iter()
        .map(|candidate| serde_json::to_string(&candidate.reading))
        .collect::<Result<Vec<String>, _>>()
        .map_err(damaged)?;
    sqlx::query(
        "INSERT INTO latest (user_id, metric, timestamp, confidence, event_seq, device_type, reading) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::double precision[], $5::bigint[], \
         $6::text[], $7::text[]) \
         ON CONFLICT (user_id, metric) DO UPDATE SET timestamp = excluded.timestamp, \
         confidence = excluded.confidence, event_seq = excluded.event_seq, device_type = excluded.device_type, \
         reading = excluded.reading \
         WHERE (excluded.timestamp, excluded.confidence) >= (latest.timestamp, latest.confidence)",
    )
    .bind(newest.iter().map(|candidate| candidate.user_id.as_str()).collect::<Vec<_>>())
    .bind(newest.iter().map(|candidate| candidate.reading.metric.name()).collect::<Vec<_>>())
    .bind(newest.iter().map(|candidate| PgInstant(candidate.reading.timestamp)).collect::<Vec<_>>())
    .bind(newest.iter().map(|candidate| candidate.confidence()).collect::<Vec<_>>())
    .bind(newest.iter().map(|candidate| candidate.event_seq).collect::<Vec<_>>())
    .bind(newest.iter().map(|candidate| candidate.device_type.name()).collect::<Vec<_>>())
    .bind(readings)
    .execute(connection)
    .await?;
    Ok(())
}

/// Its columns: seq, hidden, value.
type SearchRow = (i64, Option<Vec<i32>>, Vec<u8>);

/// Finds the newest visible reading of a metric by walking a user's events back in time.
async fn find_anew(connection: &mut PgConnection, user: &str, metric: Metric) -> Result<(), Fault> {
    let mut newest = Newest::default();
    let mut before = None;
    loop {
        // The first page has no end; that of the others is the last event seen.
        let sql = match before {
            None => {
                "SELECT seq, hidden, value FROM biometric_events WHERE user_id = $1 AND visible \
                 AND strpos(metrics, $2) > 0 ORDER BY timestamp DESC, seq DESC LIMIT $3"
            }
            Some(_) => {
                "SELECT seq, hidden, value FROM biometric_events WHERE user_id = $1 AND visible \
                 AND strpos(metrics, $2) > 0 AND timestamp <= $4 AND (timestamp, seq) < ($4, $5) \
                 ORDER BY timestamp DESC, seq DESC LIMIT $3"
            }
        };
        let mut query =
            sqlx::query_as::<_, SearchRow>(sql).bind(user).bind(metric_word(metric)).bind(SEARCH_PAGE);
        if let Some((timestamp, seq)) = before {
            query = query.bind(PgInstant(timestamp)).bind(seq);
        }
        let rows = query.fetch_all(&mut *connection).await?;
        let is_last_page = rows.len() < SEARCH_PAGE as usize;
        for (seq, hidden, value) in rows {
            let hidden: Vec<u32> = hidden.unwrap_or_default().into_iter().map(i32::cast_unsigned).collect();
            let event = visible_part(&value, &hidden)?;
            before = Some((event.timestamp, seq));
            // No reading is newer than its event, so once one is found no older event can better it.
            if newest.iter().any(|found| found.reading.timestamp > event.timestamp) {
                return upsert(connection, &newest).await;
            }
            newest.offer(seq, &event, |reading| reading.metric == metric);
        }
        if is_last_page {
            return upsert(connection, &newest).await;
        }
    }
}

/// The newest readings of a user, in order of their metrics' names.
pub(super) async fn read(connection: &mut PgConnection, user: &UserId) -> Result<Vec<LatestReading>, Fault> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT device_type, reading FROM latest WHERE user_id = $1 ORDER BY metric")
            .bind(user.as_str())
            .fetch_all(connection)
            .await?;
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
