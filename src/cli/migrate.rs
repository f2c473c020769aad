//! `migrate up|down|status`: the schema of the embedded store.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{Failure, print_line, read_settings};
use crate::app::{SchemaMove, move_schema};
use crate::settings::Sources;

#[derive(Debug, Subcommand)]
pub(super) enum MigrateCommand {
    /// Bring the schema up to this build's version. `serve` does it by itself.
    Up,
    /// Take the schema down. What the removed tables hold is lost.
    Down {
        /// The highest migration that stays; 0 removes everything.
        #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
        to: i64,
    },
    /// List the migrations and whether they are in force.
    Status,
}

pub(super) fn run(command: &MigrateCommand, json: bool) -> Result<ExitCode, Failure> {
    let settings = read_settings(Sources::from_process())?;
    let schema_move = match command {
        MigrateCommand::Up => SchemaMove::Up,
        MigrateCommand::Down { to } => SchemaMove::Down { to: *to },
        MigrateCommand::Status => SchemaMove::None,
    };
    let migrations = actix_rt::System::new().block_on(move_schema(&settings, schema_move))?;
    if json {
        print_line(format_args!("{}", json!({"migrations": migrations})))?;
        return Ok(ExitCode::SUCCESS);
    }
    for migration in migrations {
        let state = if migration.applied { "applied" } else { "pending" };
        print_line(format_args!("{:04}  {state}  {}", migration.version, migration.description))?;
    }
    Ok(ExitCode::SUCCESS)
}
