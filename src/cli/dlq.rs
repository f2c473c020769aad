//! `dlq`: what a running bridge has set aside for good, and its way back.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bridge::Bridge;
use super::{Failure, print_line, read_settings};
use crate::settings::{PAGE_MAX, REDRIVE_RATE_MAX, Sources};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const BAR: &str = "{elapsed_precise} {wide_bar} {pos}/{len} {msg}";
const COLUMNS: [(&str, &str); 7] = [
    ("id", "id"),
    ("failed", "failed_at"),
    ("topic", "topic"),
    ("user", "user"),
    ("tries", "retry_count"),
    ("error", "error_type"),
    ("what", "error_message"),
];

#[derive(Debug, Subcommand)]
pub(super) enum DlqCommand {
    /// List dead letters, newest first: messages that could not be delivered or applied, fetches that were given up.
    List(ListArguments),
    /// Put dead letters on their way again: messages on the log, fetches in their queue. Exit 1 if one of them could not
    /// be.
    Redrive(RedriveArguments),
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// How many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=PAGE_MAX as u64))]
    limit: u64,
    /// Go on where a list ended: its next_cursor.
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RedriveArguments {
    /// Those with these ids, as `dlq list` shows them.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All that there are now, oldest first.
    #[arg(long)]
    all: bool,
    /// With --all: at most so many a second.
    #[arg(long, conflicts_with = "ids", value_parser = clap::value_parser!(u32).range(1..=i64::from(REDRIVE_RATE_MAX)))]
    rate: Option<u32>,
}

pub(super) fn run(command: &DlqCommand, json: bool) -> Result<ExitCode, Failure> {
    let settings = read_settings(Sources::from_process())?;
    actix_rt::System::new().block_on(async {
        let bridge = Bridge::new(&settings, REQUEST_TIMEOUT)?;
        match command {
            DlqCommand::List(arguments) => list(&bridge, arguments, json).await,
            DlqCommand::Redrive(arguments) => redrive(&bridge, arguments, json).await,
        }
    })
}

async fn list(bridge: &Bridge, arguments: &ListArguments, json: bool) -> Result<ExitCode, Failure> {
    let page = page(bridge, arguments.limit, arguments.cursor.as_deref()).await?;
    if json {
        print_line(&page)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(COLUMNS.map(|(title, _)| title));
    for item in items(&page)? {
        table.add_row(COLUMNS.map(|(_, member)| match &item[member] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }));
    }
    print_line(table)?;
    if let Some(cursor) = page["next_cursor"].as_str() {
        print_line(format_args!("There are more: --cursor {cursor}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn page(bridge: &Bridge, limit: u64, cursor: Option<&str>) -> Result<Value, Failure> {
    // A cursor of ours needs no escapes; of another one the bridge says that it is none.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let cursor = cursor.map(|cursor| cursor.replace(|c| !is_plain(c), "."));
    let cursor = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
    bridge.get(&format!("/admin/dlq?limit={limit}{cursor}")).await
}

fn items(page: &Value) -> Result<&Vec<Value>, Failure> {
    let strange = || Failure::failed("what answers there is not a bridge of this version");
    page["items"].as_array().ok_or_else(strange)
}

async fn redrive(bridge: &Bridge, arguments: &RedriveArguments, json: bool) -> Result<ExitCode, Failure> {
    let ids = if arguments.all { all(bridge).await? } else { arguments.ids.clone() };
    let bar = bar(ids.len() as u64, json || !arguments.all);
    let (mut redriven, mut failed) = (0, 0);
    let chunk_len = arguments.rate.map_or(PAGE_MAX, |rate| (rate as usize).min(PAGE_MAX));
    let takes = arguments.rate.map(|rate| Duration::from_secs_f64(chunk_len as f64 / f64::from(rate)));
    let mut next = Instant::now();
    for chunk in ids.chunks(chunk_len) {
        tokio::time::sleep_until(next).await;
        next = Instant::now() + takes.unwrap_or_default();
        let answer = bridge.post("/admin/dlq/redrive", &json!({"ids": chunk})).await;
        let answer = answer.map_err(|failure| told_with(failure, redriven))?;
        redriven += answer["redriven"].as_u64().unwrap_or_default();
        failed += answer["failed"].as_u64().unwrap_or_default();
        bar.set_position(redriven + failed);
    }
    bar.finish_and_clear();
    if json {
        print_line(json!({"redriven": redriven, "failed": failed}))?;
    } else {
        print_line(format_args!("{redriven} redriven, {failed} not: they are no dead letters any more"))?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What went wrong in the middle, and what was done by then.
fn told_with(mut failure: Failure, redriven: u64) -> Failure {
    if redriven > 0 {
        failure.messages.push(format!("{redriven} were redriven before"));
    }
    failure
}

/// The ids of all that there are, oldest first. What comes meanwhile is before the first page, and is none of them.
async fn all(bridge: &Bridge) -> Result<Vec<String>, Failure> {
    let (mut ids, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = page(bridge, PAGE_MAX as u64, cursor.as_deref()).await?;
        ids.extend(items(&page)?.iter().filter_map(|item| item["id"].as_str()).map(str::to_owned));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    ids.reverse();
    Ok(ids)
}

/// Only on a terminal.
fn bar(length: u64, is_hidden: bool) -> ProgressBar {
    if is_hidden {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    bar
}
