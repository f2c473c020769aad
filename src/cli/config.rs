//! `config check`: whether the settings would be taken.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{Failure, print_line, read_settings};
use crate::settings::{Settings, Sources};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check every setting and list every mistake (exit 2), or show what is in force. Secrets are never shown.
    Check,
}

pub(super) fn run(command: &ConfigCommand, json: bool) -> Result<ExitCode, Failure> {
    let ConfigCommand::Check = command;
    let sources = Sources::from_process();
    let thresholds_hash = read_settings(sources.clone())?.thresholds.hash().to_owned();
    let shown: Vec<(&str, String)> = Settings::variables(sources)
        .into_iter()
        .map(|variable| {
            let value = match (variable.is_secret, variable.is_set) {
                (true, true) => "<set>".to_owned(),
                (true, false) => "<not set>".to_owned(),
                (false, _) => variable.value,
            };
            (variable.name, value)
        })
        .collect();
    if json {
        let settings: serde_json::Map<_, _> =
            shown.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        print_line(format_args!(
            "{}",
            json!({"ok": true, "settings": settings, "thresholds_hash": thresholds_hash})
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, value) in shown {
        print_line(format_args!("{name}={value}"))?;
    }
    print_line(format_args!("The settings are in order (thresholds {thresholds_hash})."))?;
    Ok(ExitCode::SUCCESS)
}
