//! What commands do with the store without running a bridge.

use std::sync::Arc;

use actors::event_message;
use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use actors::ports::store::EncodeEvent;

use super::build::StartError;
use super::data_dir::DataDir;
use super::engines::postgres_config;
use crate::adapters::postgres::python_import::{ImportReport, import_python};
use crate::adapters::postgres::{self, PostgresStore};
use crate::adapters::sqlite_file;
use crate::adapters::sqlite_file::migrations::{self, Status};
use crate::settings::Settings;

/// Where the schema should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaMove {
    /// To this build's version.
    Up,
    /// Down, as far as the highest migration that stays.
    Down {
        /// 0 removes everything.
        to: i64,
    },
    /// Nowhere.
    None,
}

/// Moves the store's schema, and tells where it is then: PostgreSQL's where its address is set, else the embedded one,
/// which is not moved under a running bridge.
pub async fn move_schema(settings: &Settings, schema_move: SchemaMove) -> Result<Vec<Status>, StartError> {
    if let Some(postgres) = &settings.postgres {
        let config = postgres_config(postgres, &settings.stream);
        let moved = match schema_move {
            SchemaMove::Up => postgres::migrations::up(&config).await,
            SchemaMove::Down { to } => postgres::migrations::down(&config, to).await,
            SchemaMove::None => postgres::migrations::status(&config).await,
        };
        return Ok(moved?);
    }
    let path = DataDir::database_in(&settings.data_dir);
    if schema_move == SchemaMove::None {
        let connection = if path.exists() { Some(sqlite_file::connect_to_read(&path).await?) } else { None };
        return Ok(migrations::status(connection).await?);
    }
    let _lock = DataDir::open(&settings.data_dir)?;
    let mut connection = sqlite_file::connect(&path).await?;
    match schema_move {
        SchemaMove::Up => migrations::up(&mut connection).await?,
        SchemaMove::Down { to } => migrations::down(&mut connection, to).await?,
        SchemaMove::None => {}
    }
    Ok(migrations::status(Some(connection)).await?)
}

/// Copies the Python system's events from `schema` of the same database into ours; `progress` is told as it goes on.
/// Nothing if the store is not PostgreSQL.
pub async fn import_from_python(
    settings: &Settings,
    schema: &str,
    progress: impl FnMut(&ImportReport),
) -> Result<Option<ImportReport>, StartError> {
    let Some(postgres) = &settings.postgres else { return Ok(None) };
    let config = postgres_config(postgres, &settings.stream);
    let store = PostgresStore::connect(config.clone()).map_err(StartError::Postgres)?;
    let thresholds = settings.thresholds.clone();
    let encode: EncodeEvent =
        Arc::new(move |event, request_id| event_message::encode(event, request_id, &thresholds));
    let now = SystemClock.now();
    Ok(Some(import_python(&store, &config, schema, &encode, now, progress).await?))
}
