//! `migrate up|down|status`: the schema of the store, in PostgreSQL or embedded; and the Python system's data into it.

use std::process::ExitCode;

use clap::Subcommand;
use indicatif::ProgressBar;
use serde_json::json;

use super::{Failure, print_line, read_settings};
use crate::app::{SchemaMove, import_from_python, move_schema};
use crate::settings::{Settings, Sources};

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
    /// Copy the Python system's events out of its table `biometric_events`, which stays as it is. They are published,
    /// as history that decides nothing. Can be run again: what is known is passed over.
    ImportPython {
        /// The schema, of the database in POSTGRES_URL, in which the Python system's tables are.
        #[arg(long, default_value = "public")]
        schema: String,
    },
}

pub(super) fn run(command: &MigrateCommand, json: bool) -> Result<ExitCode, Failure> {
    let settings = read_settings(Sources::from_process())?;
    let schema_move = match command {
        MigrateCommand::Up => SchemaMove::Up,
        MigrateCommand::Down { to } => SchemaMove::Down { to: *to },
        MigrateCommand::Status => SchemaMove::None,
        MigrateCommand::ImportPython { schema } => return import(&settings, schema, json),
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

fn import(settings: &Settings, schema: &str, json: bool) -> Result<ExitCode, Failure> {
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let import = import_from_python(settings, schema, |so_far| {
        bar.set_message(format!("{} rows read, {} events made", so_far.rows, so_far.events));
        bar.tick();
    });
    let report = actix_rt::System::new().block_on(import)?;
    bar.finish_and_clear();
    let unset = || Failure {
        messages: vec![
            "POSTGRES_URL: set it to the database that holds the Python system's tables".to_owned(),
        ],
        code: 2,
    };
    let report = report.ok_or_else(unset)?;
    if json {
        print_line(json!(report))?;
        return Ok(ExitCode::SUCCESS);
    }
    print_line(format_args!("{} rows read, {} of them known before", report.rows, report.known))?;
    print_line(format_args!("{} events made, with {} readings", report.events, report.readings))?;
    for (reason, count) in &report.rejected {
        print_line(format_args!("{count} left out: {reason}"))?;
    }
    if report.has_tokens {
        print_line("user_oauth_tokens was not copied: its users connect their accounts anew")?;
    }
    Ok(ExitCode::SUCCESS)
}
