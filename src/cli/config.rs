//! `config check`: whether the settings would be taken.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{Failure, read_settings};
use crate::app;
use crate::settings::{Settings, Sources};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check every setting and list every mistake (exit 2), or show what is in force. Secrets are never shown.
    Check,
}

pub(super) fn run(command: &ConfigCommand, json: bool) -> Result<ExitCode, Failure> {
    let ConfigCommand::Check = command;
    let sources = Sources::from_process();
    let settings = read_settings(sources.clone())?;
    let thresholds = app::read_thresholds(&settings)?;
    let shown: Vec<(&str, String)> = Settings::variables()
        .into_iter()
        .map(|variable| {
            let value = sources.get(variable.name).unwrap_or_default();
            let is_set = !value.is_empty() || sources.get(&format!("{}_FILE", variable.name)).is_some();
            match (variable.is_secret, is_set) {
                (true, true) => (variable.name, "<set>".to_owned()),
                (true, false) => (variable.name, "<not set>".to_owned()),
                (false, _) => (variable.name, value.to_owned()),
            }
        })
        .collect();
    if json {
        let settings: serde_json::Map<_, _> =
            shown.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        println!("{}", json!({"ok": true, "settings": settings, "thresholds_hash": thresholds.hash()}));
        return Ok(ExitCode::SUCCESS);
    }
    for (name, value) in shown {
        println!("{name}={value}");
    }
    println!("The settings are in order (thresholds {}).", thresholds.hash());
    Ok(ExitCode::SUCCESS)
}
