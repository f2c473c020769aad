//! The schema's migrations, up and down, each in a transaction of its own, one bridge at a time.

use std::time::Duration;

use actors::ports::store::StoreError;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tokio::time::timeout;

use super::PostgresConfig;
use super::config::{self, Purpose};
use super::fault::Fault;
pub use crate::adapters::stored::Status;
use crate::adapters::stored::{statuses, unfit};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// Where the driver notes what it has applied; in our schema.
const TABLE: &str = "_sqlx_migrations";
/// How long a connection for migrations may take to open.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Brings the schema up to the newest version, and makes it if it is not there. Nothing happens if all is there.
pub async fn up(config: &PostgresConfig) -> Result<Vec<Status>, StoreError> {
    let mut connection = connect(config).await?;
    bring_up(&mut connection, &config.schema).await?;
    Ok(list(&mut connection).await?)
}

/// Takes the schema down to `target`, the highest version that stays (0: none). Bridges that run on it answer that the
/// store is unavailable until it is up again.
pub async fn down(config: &PostgresConfig, target: i64) -> Result<Vec<Status>, StoreError> {
    let mut connection = connect(config).await?;
    if has_migrations(&mut connection).await? {
        MIGRATOR.undo(&mut connection, target).await.map_err(migrate_fault)?;
    }
    Ok(list(&mut connection).await?)
}

/// Every migration of this build, in order, and whether the database has it. Changes nothing.
pub async fn status(config: &PostgresConfig) -> Result<Vec<Status>, StoreError> {
    Ok(list(&mut connect(config).await?).await?)
}

pub(super) async fn connect(config: &PostgresConfig) -> Result<PgConnection, StoreError> {
    let options = config::options(config, Purpose::Migrations)?;
    let connected = timeout(CONNECT_PATIENCE, options.connect()).await;
    Ok(connected.map_err(|_| Fault::late())?.map_err(Fault::from)?)
}

/// Brings the schema up over a connection for migrations.
pub(super) async fn bring_up(connection: &mut PgConnection, schema: &str) -> Result<(), Fault> {
    // The schema is made under the same lock as what is in it: two that make it at once would collide. The lock counts
    // how often it was taken; it ends with the connection at the latest.
    connection.lock().await.map_err(migrate_fault)?;
    // Looking first: the owner of the schema may not be allowed to make one.
    let (exists,): (bool,) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = current_setting('bridge.schema'))",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !exists {
        // The name was checked with the settings: letters, digits and underscores.
        let create = AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\""));
        sqlx::raw_sql(create).execute(&mut *connection).await?;
    }
    MIGRATOR.run_direct(None, connection, false).await.map_err(migrate_fault)?;
    connection.unlock().await.map_err(migrate_fault)
}

async fn has_migrations(connection: &mut PgConnection) -> Result<bool, Fault> {
    let (exists,): (bool,) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM pg_tables WHERE tablename = $1 AND schemaname = current_setting('bridge.schema'))",
    )
    .bind(TABLE)
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

async fn list(connection: &mut PgConnection) -> Result<Vec<Status>, Fault> {
    let applied: Vec<i64> = if has_migrations(connection).await? {
        let applied = connection.list_applied_migrations(TABLE).await.map_err(migrate_fault)?;
        applied.into_iter().map(|migration| migration.version).collect()
    } else {
        Vec::new()
    };
    Ok(statuses(&MIGRATOR, &applied))
}

fn migrate_fault(error: MigrateError) -> Fault {
    if let Some(reason) = unfit(&error) {
        return Fault::Refused(reason);
    }
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Fault::from(error),
        other => Fault::Declined(other.to_string()),
    }
}
