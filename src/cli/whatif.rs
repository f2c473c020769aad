//! `whatif`: which mode switches other thresholds would have made of what is stored.

use std::path::PathBuf;
use std::process::ExitCode;

use actors::cognition::replay::{Comparison, Tally};
use actors::cognition::thresholds::Thresholds;
use actors::domain::time::{MS_PER_MINUTE, Timestamp};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{Failure, moment, print_line, read_settings};
use crate::app::{Comparisons, Shown, WhatifError, compare};
use crate::settings::{Settings, Sources, read_thresholds_file};

const BAR: &str = "{elapsed_precise} {wide_bar} {percent} % {eta}";

#[derive(Debug, Args)]
pub(super) struct WhatifArguments {
    /// The other thresholds: a file as BIOMETRIC_CONFIG names one.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Decide by them from that time on, as 2026-11-21T06:42:11Z or 2026-11-21; from the first event without it.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Count switches before that time only.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// A switch that the user's next one takes back within so many minutes is a flap.
    #[arg(long, default_value_t = 30, value_name = "MINUTES", value_parser = clap::value_parser!(i64).range(1..=1_440))]
    flap_minutes: i64,
    /// How many of the users who differ most are shown.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    top: u32,
    /// Show users by their ids. Else they are masked as in the logs, if LOG_MASK_KEY is set.
    #[arg(long)]
    show_ids: bool,
}

pub(super) fn run(arguments: &WhatifArguments, json: bool) -> Result<ExitCode, Failure> {
    let settings = read_settings(Sources::from_process())?;
    let comparison = comparison(arguments, &settings)?;
    let hashes = [&comparison.current, &comparison.candidate].map(|side| side.hash().to_owned());
    let shown = Shown { users: arguments.top as usize, ids: arguments.show_ids };
    let bar = bar(json);
    let compared = compare(&settings, comparison, shown, |done, length| {
        bar.set_length(length);
        bar.set_position(done);
    });
    let compared = actix_rt::System::new().block_on(compared);
    bar.finish_and_clear();
    let compared = compared?;
    match json {
        true => print_line(to_json(&compared, &hashes, arguments))?,
        false => tell(&compared, &hashes, arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn comparison(arguments: &WhatifArguments, settings: &Settings) -> Result<Comparison, Failure> {
    let WhatifArguments { config, from, to, flap_minutes, .. } = arguments;
    let wrong = |message: String| Failure { messages: vec![message], code: 2 };
    if from.zip(*to).is_some_and(|(from, to)| from >= to) {
        return Err(wrong("--to: a time after --from was expected".to_owned()));
    }
    let name = config.display();
    let text = read_thresholds_file(config)
        .map_err(|error| wrong(format!("--config: {name} cannot be read: {error}")))?;
    let candidate = Thresholds::parse(&text).map_err(|error| wrong(format!("--config: {name}: {error}")))?;
    let flap_ms = flap_minutes * MS_PER_MINUTE;
    Ok(Comparison { current: settings.thresholds.clone(), candidate, from: *from, to: *to, flap_ms })
}

/// Only on a terminal.
fn bar(is_hidden: bool) -> ProgressBar {
    if is_hidden {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    bar
}

/// Flaps of all switches; none without switches.
fn flapping_rate(tally: &Tally) -> f64 {
    if tally.switches == 0 { 0.0 } else { tally.flaps as f64 / tally.switches as f64 }
}

fn to_json(compared: &Comparisons, hashes: &[String; 2], arguments: &WhatifArguments) -> Value {
    let mut answer = json!(compared);
    for ((name, tally), hash) in
        [("current", compared.current), ("candidate", compared.candidate)].into_iter().zip(hashes)
    {
        answer[name]["flapping_rate"] = flapping_rate(&tally).into();
        answer[name]["thresholds_hash"] = hash.as_str().into();
    }
    answer["from"] = json!(arguments.from);
    answer["to"] = json!(arguments.to);
    answer["flap_minutes"] = arguments.flap_minutes.into();
    answer
}

fn tell(compared: &Comparisons, hashes: &[String; 2], arguments: &WhatifArguments) -> Result<(), Failure> {
    let Comparisons { users, events, unreadable, current, candidate, changed_users, most_changed } = compared;
    print_line(format_args!("{events} events of {users} users replayed; nothing was changed"))?;
    if *unreadable > 0 {
        print_line(format_args!("{unreadable} events could not be read, and were left out"))?;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "now", "candidate"]);
    table.add_row(["thresholds", &hashes[0], &hashes[1]]);
    let mut row = |title: String, shown: &dyn Fn(&Tally) -> String| {
        table.add_row([title, shown(current), shown(candidate)]);
    };
    row("switches".to_owned(), &|tally| tally.switches.to_string());
    row("per user".to_owned(), &|tally| format!("{:.2}", tally.switches as f64 / (*users).max(1) as f64));
    row("to REFLEX".to_owned(), &|tally| tally.to.reflex.to_string());
    row("to GUARDIAN".to_owned(), &|tally| tally.to.guardian.to_string());
    row("to PATTERN".to_owned(), &|tally| tally.to.pattern.to_string());
    row("to HYPOTHESIS".to_owned(), &|tally| tally.to.hypothesis.to_string());
    row(format!("taken back within {} min", arguments.flap_minutes), &|tally| {
        format!("{} ({:.1} %)", tally.flaps, flapping_rate(tally) * 100.0)
    });
    align(&mut table, 1..=2);
    print_line(table)?;
    print_line(format_args!("{changed_users} users would switch otherwise"))?;
    if most_changed.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    let header = ["user", "switches now", "candidate", "differing", "flaps now", "candidate"];
    table.load_style(presets::NOTHING).set_header(header);
    for user in most_changed {
        let (now, then) = (&user.current, &user.candidate);
        let numbers = [now.switches, then.switches, user.changed, now.flaps, then.flaps];
        table.add_row(std::iter::once(user.user.clone()).chain(numbers.iter().map(u64::to_string)));
    }
    align(&mut table, 1..=5);
    print_line(format_args!("\n{table}"))
}

fn align(table: &mut Table, numbers: std::ops::RangeInclusive<usize>) {
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

impl From<WhatifError> for Failure {
    fn from(error: WhatifError) -> Self {
        match error {
            WhatifError::Start(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}
