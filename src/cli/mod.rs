//! The command line: one file a command.

#![allow(clippy::print_stderr, reason = "a command's complaints are for people")]

mod actors;
mod bridge;
mod config;
mod conformance;
mod demo;
mod dlq;
mod explain;
mod keys;
mod log;
mod migrate;
mod serve;
mod simulate;
mod topics;
mod users;
mod vendor_cloud;
mod whatif;

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Instant;

use ::actors::domain::time::Timestamp;
use clap::{Parser, Subcommand};

use crate::app::StartError;
use crate::settings::{Problem, Settings, Sources};

/// Takes wearables' webhooks, loses nothing, publishes events and keeps a cognitive mode for every user.
#[derive(Debug, Parser)]
#[command(name = "biometric-bridge", version, about, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Write what the command tells as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge until SIGTERM.
    Serve,
    /// Run a bridge on a folder of its own, with a built-in sender of real, signed webhooks.
    Demo(demo::DemoArguments),
    /// Send real, signed webhooks of all devices to a bridge, and tell how they were answered.
    Simulate(simulate::SimulateArguments),
    /// Run the clouds of wearables' vendors on this machine: OAuth, APIs, webhooks and simulated people.
    VendorCloud(vendor_cloud::VendorCloudArguments),
    /// Show the actors of a running bridge, live.
    Actors(actors::ActorsArguments),
    /// Say whose vendors' accounts are, to a running bridge.
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// Tell why a user is in a mode, or was at some time, as a running bridge knows it.
    Explain(explain::ExplainArguments),
    /// Replay stored events with other thresholds, and tell which switches they would change. Changes nothing.
    Whatif(whatif::WhatifArguments),
    /// Look at what a running bridge has set aside for good, and put it on its way again.
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Look at the settings.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Bring the database's schema up or down.
    #[command(subcommand)]
    Migrate(migrate::MigrateCommand),
    /// Look at the event log.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Look after the keys that tokens are encrypted with.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Look after Kafka's topics.
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
}

/// A command that failed: what to say, and the exit code.
#[derive(Debug)]
struct Failure {
    messages: Vec<String>,
    code: u8,
}

impl Failure {
    /// Something went wrong (exit 1).
    fn failed(message: impl Into<String>) -> Self {
        Self { messages: vec![message.into()], code: 1 }
    }

    /// The settings or arguments are wrong (exit 2).
    fn settings(problems: &[Problem]) -> Self {
        Self { messages: problems.iter().map(ToString::to_string).collect(), code: 2 }
    }
}

/// Writes a line of the command's output. Who reads it no more (`| head`) has had enough: that ends the command well.
fn print_line(line: impl Display) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure { messages: Vec::new(), code: 0 },
        _ => Failure::failed(format!("the output cannot be written: {error}")),
    })
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match error {
            StartError::Partitions { .. }
            | StartError::Postgres(_)
            | StartError::Kafka(_)
            | StartError::Redis(_) => 2,
            _ => 1,
        };
        Self { messages: vec![error.to_string()], code }
    }
}

/// A moment as people write it: RFC 3339, or a day for its beginning in UTC.
fn moment(text: &str) -> Result<Timestamp, String> {
    let at =
        Timestamp::parse_rfc3339(text).or_else(|| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")));
    at.ok_or_else(|| "a time as 2026-11-21T06:42:11Z or a day as 2026-11-21 was expected".to_owned())
}

fn read_settings(sources: Sources) -> Result<Settings, Failure> {
    Settings::read(sources).map_err(|problems| Failure::settings(&problems))
}

/// Runs the command that the arguments name, and gives back the process's exit code.
pub fn run(started: Instant) -> ExitCode {
    let Arguments { command, json } = Arguments::parse();
    let result = match command {
        Command::Serve => serve::run(started),
        Command::Demo(arguments) => demo::run(&arguments, json, started),
        Command::Simulate(arguments) => simulate::run(&arguments, json),
        Command::VendorCloud(arguments) => vendor_cloud::run(&arguments, json),
        Command::Actors(arguments) => actors::run(&arguments, json),
        Command::Users(command) => users::run(&command, json),
        Command::Dlq(command) => dlq::run(&command, json),
        Command::Explain(arguments) => explain::run(&arguments, json),
        Command::Whatif(arguments) => whatif::run(&arguments, json),
        Command::Config(command) => config::run(&command, json),
        Command::Migrate(command) => migrate::run(&command, json),
        Command::Log(command) => log::run(&command, json),
        Command::Keys(command) => keys::run(&command, json),
        Command::Topics(command) => topics::run(&command, json),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            if failure.messages.is_empty() {
                // It ended early, and well.
            } else if json {
                eprintln!("{}", serde_json::json!({"errors": failure.messages}));
            } else {
                failure.messages.iter().for_each(|message| eprintln!("error: {message}"));
            }
            ExitCode::from(failure.code)
        }
    }
}
