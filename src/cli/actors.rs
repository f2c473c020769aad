//! `actors`: the supervision tree of a running bridge, as a table that lives.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;
use serde_json::Value;

use super::bridge::Bridge;
use super::{Failure, print_line, read_settings};
use crate::settings::Sources;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Moves to the upper left corner and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";
const HEADER: [&str; 9] =
    ["actor", "state", "restarts", "mailbox", "handled", "per s", "oldest", "breaker", "last failure"];
/// The columns with numbers in them.
const NUMBERS: std::ops::RangeInclusive<usize> = 2..=6;

#[derive(Debug, Args)]
pub(super) struct ActorsArguments {
    /// Only this actor and what is under it, as devices/oura.
    path: Option<String>,
    /// Print one table and end, as where the output is not a terminal.
    #[arg(long, conflicts_with = "follow")]
    once: bool,
    /// Go on until interrupted, as on a terminal.
    #[arg(long)]
    follow: bool,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    every: u64,
}

pub(super) fn run(arguments: &ActorsArguments, json: bool) -> Result<ExitCode, Failure> {
    let settings = read_settings(Sources::from_process())?;
    actix_rt::System::new().block_on(async {
        let bridge = Bridge::new(&settings, REQUEST_TIMEOUT)?;
        let path =
            arguments.path.as_ref().map_or_else(|| "/actors".to_owned(), |path| format!("/actors/{path}"));
        if json {
            print_line(bridge.get(&path).await?)?;
        } else if arguments.follow || (std::io::stdout().is_terminal() && !arguments.once) {
            watch(&bridge, &path, Duration::from_secs(arguments.every)).await?;
        } else {
            print_line(table(&read(bridge.get(&path).await?)?, None))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Shows the tree again and again, until interrupted. A bridge that does not answer may come back.
async fn watch(bridge: &Bridge, path: &str, every: Duration) -> Result<(), Failure> {
    let mut before: HashMap<String, u64> = HashMap::new();
    let mut looks = tokio::time::interval(every);
    loop {
        looks.tick().await;
        match bridge.get(path).await.and_then(read) {
            Ok(node) => {
                let rate = Rate { before: &before, every };
                let shown = table(&node, Some(&rate));
                before.clear();
                remember(&node, &mut before);
                print_line(format_args!("{CLEAR}{}{path} (Ctrl-C ends)\n{shown}", bridge.url()))?;
            }
            Err(failure) => {
                print_line(format_args!(
                    "{CLEAR}{}{path} (Ctrl-C ends)\n{}",
                    bridge.url(),
                    failure.messages.join("\n")
                ))?;
            }
        }
    }
}

/// A node of `/actors`, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Node {
    path: String,
    state: String,
    restarts: u64,
    last_failure: Option<LastFailure>,
    mailbox: Mailbox,
    handled: u64,
    oldest_ms: u64,
    breaker: Option<Breaker>,
    live: Option<u64>,
    children: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct LastFailure {
    at: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Mailbox {
    depth: u64,
    capacity: u64,
}

#[derive(Debug, Deserialize)]
struct Breaker {
    name: String,
    state: String,
    retry_in_ms: u64,
}

fn read(mut answer: Value) -> Result<Node, Failure> {
    // The whole tree is wrapped, a part of it is not.
    let node = if answer["root"].is_object() { answer["root"].take() } else { answer };
    serde_json::from_value(node)
        .map_err(|_| Failure::failed("what answers there is not a bridge of this version"))
}

/// How much was handled at the look before.
struct Rate<'a> {
    before: &'a HashMap<String, u64>,
    every: Duration,
}

fn remember(node: &Node, handled: &mut HashMap<String, u64>) {
    handled.insert(node.path.clone(), node.handled);
    node.children.iter().for_each(|child| remember(child, handled));
}

fn table(root: &Node, rate: Option<&Rate<'_>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER);
    add_rows(&mut table, root, 0, rate);
    for column in NUMBERS {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn add_rows(table: &mut Table, node: &Node, depth: usize, rate: Option<&Rate<'_>>) {
    let Node { path, state, restarts, handled, oldest_ms, .. } = node;
    let live = node.live.map_or_else(String::new, |live| format!(" ({live} live)"));
    let per_second = rate.and_then(|rate| {
        let since = handled.saturating_sub(*rate.before.get(path)?);
        Some(format!("{:.0}", since as f64 / rate.every.as_secs_f64()))
    });
    let breaker = node.breaker.as_ref().map_or_else(String::new, |breaker| match breaker.retry_in_ms {
        0 => format!("{} {}", breaker.name, breaker.state),
        ms => format!("{} {}, again in {} s", breaker.name, breaker.state, ms.div_ceil(1_000)),
    });
    let failure = node.last_failure.as_ref();
    table.add_row([
        format!("{:indent$}{path}{live}", "", indent = 2 * depth),
        state.clone(),
        restarts.to_string(),
        format!("{}/{}", node.mailbox.depth, node.mailbox.capacity),
        handled.to_string(),
        per_second.unwrap_or_default(),
        format!("{oldest_ms} ms"),
        breaker,
        failure.map_or_else(String::new, |failure| format!("{} {}", failure.at, failure.reason)),
    ]);
    node.children.iter().for_each(|child| add_rows(table, child, depth + 1, rate));
}
