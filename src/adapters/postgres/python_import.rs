//! `migrate import-python`: the Python system's table `biometric_events` into our own.
//!
//! Rows become drafts of events that decide nothing any more (`is_backfill`), and are committed as deliveries are. So
//! an import that was interrupted, or is run again, makes no event twice: it begins at the beginning and passes over
//! what it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actors::domain::admission::EventDraft;
use actors::domain::ids::RequestId;
use actors::domain::time::Timestamp;
use actors::ports::Store;
use actors::ports::store::{Committed, DeliveryStatus, EncodeEvent, NewDelivery, StoreError};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, PgConnection};

use super::PostgresConfig;
use super::fault::Fault;
use super::migrations;
use super::python_rows::{Flaw, JSON_COLUMNS, draft};

/// Rows in one delivery.
const BATCH_ROWS: usize = 500;
/// Without these columns a table is another one.
const COLUMNS: [&str; 3] = ["user_id", "device_type", "timestamp"];
/// The Python system's tables.
const EVENTS: &str = "biometric_events";
const TOKENS: &str = "user_oauth_tokens";
/// The rows of a large table may have to be sorted before the first one comes.
const SORT_PATIENCE: &str =
    "SET statement_timeout = '30min'; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What an import has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ImportReport {
    /// Rows read.
    pub rows: u64,
    /// Events made.
    pub events: u64,
    /// Readings in them.
    pub readings: u64,
    /// Rows in which nothing was new: of an earlier run, or of what came as webhooks meanwhile.
    pub known: u64,
    /// Rows and readings that were left out, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Whether there are tokens. They are not copied.
    pub has_tokens: bool,
}

impl ImportReport {
    fn reject(&mut self, flaw: Flaw) {
        *self.rejected.entry(flaw.name()).or_default() += 1;
    }
}

/// Copies the table in `schema` into `store`, whose tables are in another. `progress` is told after each batch.
///
/// # Errors
/// [`StoreError::Refused`]: there is no such table, and what is missing. [`StoreError::Unavailable`]: what has been
/// imported so far stays, and another run goes on.
pub async fn import_python(
    store: &dyn Store,
    config: &PostgresConfig,
    schema: &str,
    encode: &EncodeEvent,
    now: Timestamp,
    mut progress: impl FnMut(&ImportReport),
) -> Result<ImportReport, StoreError> {
    if schema == config.schema {
        return Err(StoreError::Refused(format!(
            "{schema} is where our own tables are: keep POSTGRES_SCHEMA and --schema apart"
        )));
    }
    let mut connection = migrations::connect(config).await?;
    let mut report = ImportReport {
        has_tokens: has_columns(&mut connection, schema, TOKENS).await?,
        ..Default::default()
    };
    check_source(&mut connection, schema).await?;
    open_cursor(&mut connection, schema).await?;
    loop {
        let rows: Vec<(String,)> = sqlx::query_as("FETCH 500 FROM python_rows")
            .fetch_all(&mut connection)
            .await
            .map_err(Fault::from)?;
        let (Some((first,)), Some((last,))) = (rows.first(), rows.last()) else { break };
        let key = batch_key(schema, first, last, rows.len());
        let drafts = read_rows(&rows, now, &mut report);
        commit(store, key, drafts, encode, now, &mut report).await?;
        progress(&report);
        if rows.len() < BATCH_ROWS {
            break;
        }
    }
    Ok(report)
}

async fn columns(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<BTreeSet<String>, Fault> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT column_name::text FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

async fn has_columns(connection: &mut PgConnection, schema: &str, table: &str) -> Result<bool, Fault> {
    Ok(!columns(connection, schema, table).await?.is_empty())
}

/// Makes sure that there is something to import.
async fn check_source(connection: &mut PgConnection, schema: &str) -> Result<(), Fault> {
    let columns = columns(connection, schema, EVENTS).await?;
    if columns.is_empty() {
        return Err(Fault::Refused(format!(
            "there is no table {EVENTS} in schema {schema} that this role may read: name its schema with --schema"
        )));
    }
    let missing: Vec<&str> = COLUMNS.into_iter().filter(|name| !columns.contains(*name)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Fault::Refused(format!(
            "{schema}.{EVENTS} has no column {missing}: it is another table"
        )));
    }
    let has_readings = columns.iter().any(|name| {
        JSON_COLUMNS.contains(&name.as_str()) || actors::domain::metric::Metric::from_name(name).is_some()
    });
    match has_readings {
        true => Ok(()),
        false => Err(Fault::Refused(format!(
            "{schema}.{EVENTS} has no readings: a column {}, or columns named like metrics (hrv, heart_rate …), were \
             expected",
            JSON_COLUMNS.join(", ")
        ))),
    }
}

/// All rows, as of one moment and in an order that is the same in each run.
async fn open_cursor(connection: &mut PgConnection, schema: &str) -> Result<(), Fault> {
    sqlx::raw_sql(SORT_PATIENCE).execute(&mut *connection).await?;
    let schema = schema.replace('"', "\"\"");
    let declare = format!(
        "DECLARE python_rows NO SCROLL CURSOR FOR SELECT row_to_json(source)::text FROM \"{schema}\".{EVENTS} AS source \
         ORDER BY source.user_id, source.timestamp, source.device_type, source::text"
    );
    sqlx::raw_sql(AssertSqlSafe(declare)).execute(connection).await?;
    Ok(())
}

fn batch_key(schema: &str, first: &str, last: &str, rows: usize) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in ["import-python", schema, EVENTS, first, last, &rows.to_string()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn read_rows(rows: &[(String,)], now: Timestamp, report: &mut ImportReport) -> Vec<EventDraft> {
    let mut drafts = Vec::with_capacity(rows.len());
    for (row,) in rows {
        report.rows += 1;
        let read = serde_json::from_str(row).map_err(|_| Flaw::Refused).and_then(|row| draft(&row, now));
        match read {
            Ok((draft, flaws)) => {
                flaws.into_iter().for_each(|flaw| report.reject(flaw));
                drafts.push(draft);
            }
            Err(flaw) => report.reject(flaw),
        }
    }
    drafts
}

/// Commits one batch; if it is refused, draft by draft.
async fn commit(
    store: &dyn Store,
    key: [u8; 32],
    drafts: Vec<EventDraft>,
    encode: &EncodeEvent,
    now: Timestamp,
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    if drafts.is_empty() {
        return Ok(());
    }
    let whole = delivery(key, drafts.clone(), now);
    match store.commit_deliveries(&[whole], encode).await?.pop() {
        Some(Ok(committed)) => {
            take(report, committed, drafts.len());
            return Ok(());
        }
        Some(Err(StoreError::Refused(_))) => {}
        Some(Err(error)) => return Err(error),
        None => return Ok(()),
    }
    let single = |(place, draft): (usize, EventDraft)| {
        let key = batch_key("single", &hex::encode(key), "", place);
        delivery(key, vec![draft], now)
    };
    let singles: Vec<Arc<NewDelivery>> = drafts.into_iter().enumerate().map(single).collect();
    for result in store.commit_deliveries(&singles, encode).await? {
        match result {
            Ok(committed) => take(report, committed, 1),
            Err(StoreError::Refused(_)) => report.reject(Flaw::Refused),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn take(report: &mut ImportReport, committed: Committed, drafts: usize) {
    match committed {
        Committed::Duplicate => report.known += drafts as u64,
        Committed::Stored(receipts) => {
            for receipt in receipts {
                report.events += u64::from(receipt.is_new);
                report.known += u64::from(!receipt.is_new);
                report.readings += receipt.readings as u64;
            }
        }
    }
}

fn delivery(key: [u8; 32], drafts: Vec<EventDraft>, now: Timestamp) -> Arc<NewDelivery> {
    Arc::new(NewDelivery {
        key,
        device: "import",
        request_id: RequestId::generate(),
        received_at: now,
        status: DeliveryStatus::Processed,
        body: bytes::Bytes::from_static(br#"{"import":"biometric_events"}"#),
        drafts,
        fetches: Vec::new(),
        ends: None,
    })
}
