//! The embedded schema's migrations, up and down, each in a transaction of its own.

use actors::ports::store::StoreError;
use sqlx::SqliteConnection;
use sqlx::migrate::{Migrate, MigrateError, Migrator};

use super::{JobResult, store_error};
pub use crate::adapters::stored::Status;
use crate::adapters::stored::{statuses, unfit};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Where the engine notes what it has applied.
const TABLE: &str = "_sqlx_migrations";

/// Brings the schema up to the newest version. Nothing happens if it is there.
pub async fn up(connection: &mut SqliteConnection) -> JobResult<()> {
    MIGRATOR.run_direct(None, connection, false).await.map_err(migrate_error)
}

/// Takes the schema down to `target`, the highest version that stays (0: none).
pub async fn down(connection: &mut SqliteConnection, target: i64) -> JobResult<()> {
    MIGRATOR.undo(connection, target).await.map_err(migrate_error)
}

/// Every migration of this build, in order, and whether the database has it; `None` if there is no database.
pub async fn status(connection: Option<SqliteConnection>) -> JobResult<Vec<Status>> {
    let applied = match connection {
        None => Vec::new(),
        Some(mut connection) => applied(&mut connection).await?,
    };
    Ok(statuses(&MIGRATOR, &applied))
}

async fn applied(connection: &mut SqliteConnection) -> JobResult<Vec<i64>> {
    let table: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?")
            .bind(TABLE)
            .fetch_optional(&mut *connection)
            .await
            .map_err(store_error)?;
    if table.is_none() {
        return Ok(Vec::new());
    }
    let applied = connection.list_applied_migrations(TABLE).await.map_err(migrate_error)?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

fn migrate_error(error: MigrateError) -> StoreError {
    match unfit(&error) {
        Some(reason) => StoreError::Refused(reason),
        None => StoreError::Unavailable(error.to_string()),
    }
}
