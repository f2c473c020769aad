//! `simulate`: sends real, signed webhooks of all devices to a bridge, and tells how they were answered.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actors::domain::time::MS_PER_SECOND;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::{Failure, conformance, print_line, read_settings};
use crate::settings::{Settings, Sources};
use crate::traffic::{
    self, End, IN_FLIGHT_MAX, Kind, Order, Pace, Plan, Progress, Report, Secrets, Tally, Target, TargetError,
};

const DEFAULT_CONNECTIONS: usize = 64;
const DEFAULT_SECONDS: f64 = 10.0;
const DEFAULT_USERS: usize = 1_000;
const RATE_MAX: f64 = 1_000_000.0;
const SECONDS_MAX: f64 = 86_400.0;
const USERS_MAX: usize = 10_000_000;
/// Of one push: its body stays under the 16 MiB that a bridge takes.
const BATCH_MAX: usize = 100_000;
const BAR_EVERY: Duration = Duration::from_millis(100);
const BAR: &str = "{bar:40} {percent:>3} %  {msg}";
const HEADER: [&str; 11] =
    ["device", "sent", "answered", "per s", "answers", "duplicates", "p50", "p90", "p99", "p99.9", "max"];
/// The column with words in it, besides the first.
const ANSWERS: usize = 4;

#[derive(Debug, Args)]
pub(super) struct SimulateArguments {
    /// The bridge's URL, without /webhook [default: BRIDGE_URL, or where the settings' bridge listens].
    #[arg(long)]
    url: Option<String>,
    /// Send golden deliveries to the deployment at this URL (without /webhook) instead, and tell which were answered as
    /// they must be: good, stale, replayed, tampered, out of order, duplicate, handshake. They are about a user of their own.
    /// Exit 1 if one was not.
    #[arg(long, value_name = "URL", conflicts_with_all = ["url", "rate", "connections", "count", "seconds", "users", "batch"])]
    conformance: Option<String>,
    /// Requests a second, whether or not they are answered in time (open loop).
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// So many connections, on each of which a request follows the answer before (closed loop) [default: 64].
    #[arg(long, value_name = "N", conflicts_with = "rate", value_parser = whole(1, IN_FLIGHT_MAX))]
    connections: Option<usize>,
    /// End after so many requests.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long [default: 10].
    #[arg(long, value_name = "N", conflicts_with = "count", value_parser = seconds)]
    seconds: Option<f64>,
    /// How many users the deliveries are about.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_USERS, value_parser = whole(1, USERS_MAX))]
    users: usize,
    /// Makes the same users and values again; other ones for each run unless given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Samples in each push of HealthKit.
    #[arg(long, value_name = "SAMPLES", default_value_t = 1, value_parser = whole(1, BATCH_MAX))]
    batch: usize,
    /// Whose webhooks.
    #[arg(long, value_enum, default_value_t = Device::All)]
    device: Device,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Device {
    /// Notifications with Oura's signature, and readings in the inline format.
    Oura,
    /// Notifications with WHOOP's signature; only with --conformance.
    Whoop,
    /// Pushes of samples.
    Healthkit,
    /// Terra's webhooks with their data; only with --conformance.
    Terra,
    /// All of these in turn.
    All,
}

impl Device {
    /// The last segments of their webhooks' paths.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Oura => &["oura"],
            Self::Whoop => &["whoop"],
            Self::Healthkit => &["healthkit"],
            Self::Terra => &["terra"],
            Self::All => &["oura", "whoop", "healthkit", "terra"],
        }
    }

    fn kinds(self) -> Vec<Kind> {
        let sends = |kind: &Kind| match self {
            Self::Oura => kind.device() == "oura",
            Self::Whoop | Self::Terra => false,
            Self::Healthkit => kind.device() == "healthkit",
            Self::All => true,
        };
        Kind::ALL.into_iter().filter(sends).collect()
    }
}

fn whole(min: usize, max: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let fits = text.parse().ok().filter(|number| (min..=max).contains(number));
        fits.ok_or_else(|| format!("must be a whole number from {min} to {max}"))
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let fits = text.parse().ok().filter(|rate| *rate > 0.0 && *rate <= RATE_MAX);
    fits.ok_or_else(|| format!("must be a number above 0, up to {RATE_MAX}"))
}

fn seconds(text: &str) -> Result<f64, String> {
    let fits = text.parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= SECONDS_MAX);
    fits.ok_or_else(|| format!("must be a number above 0, up to {SECONDS_MAX}"))
}

pub(super) fn run(arguments: &SimulateArguments, json: bool) -> Result<ExitCode, Failure> {
    let settings = read_settings(Sources::from_process())?;
    let seed = arguments.seed.unwrap_or_else(rand::random);
    if let Some(url) = &arguments.conformance {
        return conformance::run(url, &settings, secrets(&settings), arguments.device.names(), seed, json);
    }
    let unsent = match arguments.device {
        Device::Whoop => Some("--device whoop: only --conformance sends WHOOP's notifications"),
        Device::Terra => Some("--device terra: only --conformance sends Terra's webhooks"),
        Device::Oura | Device::Healthkit | Device::All => None,
    };
    if let Some(message) = unsent.map(str::to_owned) {
        return Err(Failure { messages: vec![message], code: 2 });
    }
    let url = arguments.url.as_deref().unwrap_or(&settings.bridge_url);
    let target = Target::new(url, secrets(&settings)).map_err(|error| Failure {
        code: if matches!(error, TargetError::Url(_)) { 2 } else { 1 },
        messages: vec![error.to_string()],
    })?;
    let connections = arguments.connections.unwrap_or(DEFAULT_CONNECTIONS);
    let time = Duration::from_secs_f64(arguments.seconds.unwrap_or(DEFAULT_SECONDS));
    let order = Order {
        target,
        plan: Plan {
            seed,
            users: arguments.users,
            kinds: arguments.device.kinds(),
            batch: arguments.batch,
            sample_every_ms: MS_PER_SECOND,
        },
        pace: arguments.rate.map_or(Pace::Closed { connections }, |per_second| Pace::Open { per_second }),
        end: arguments.count.map_or(End::After(time), End::Count),
    };
    let report = actix_rt::System::new().block_on(watch(order, json))?;
    if json {
        let mut told = report.as_json();
        told["target"] = url.into();
        told["seed"] = seed.into();
        print_line(told)?;
    } else {
        print_line(table(&report))?;
        print_line(format_args!("\n{}", summary(&report, url, seed)))?;
    }
    Ok(ExitCode::from(u8::from(report.total().answered() == 0)))
}

fn secrets(settings: &Settings) -> Secrets {
    let found = [
        (Kind::OuraReading.setting(), settings.oura.webhook_secret.as_ref()),
        (Kind::HealthKit.setting(), settings.healthkit.api_keys.first()),
    ];
    found.into_iter().filter_map(|(name, secret)| Some((name, secret?.expose()))).collect()
}

/// Sends, and shows how far it has come. Ctrl-C ends it early.
async fn watch(order: Order, json: bool) -> Result<Report, Failure> {
    let progress = Arc::new(Progress::default());
    let (stop, stopping) = watch::channel(false);
    let bar = bar(&order, json);
    let mut sending = {
        let progress = Arc::clone(&progress);
        tokio::task::spawn_blocking({
            let order = order.clone();
            move || traffic::send(&order, &progress, &stopping)
        })
    };
    let started = tokio::time::Instant::now();
    let mut looks = tokio::time::interval(BAR_EVERY);
    let sent = loop {
        tokio::select! {
            sent = &mut sending => break sent,
            _ = tokio::signal::ctrl_c() => {
                stop.send_replace(true);
            }
            _ = looks.tick() => show(&bar, &order, progress.done(), started.elapsed()),
        }
    };
    bar.finish_and_clear();
    let sent = sent.map_err(|_| Failure::failed("the sender crashed"))?;
    sent.map_err(|error| Failure { messages: vec![error.to_string()], code: 2 })
}

/// Only on a terminal.
fn bar(order: &Order, json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let length = match order.end {
        End::Count(count) => count,
        End::After(time) => time.as_millis() as u64,
    };
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, order: &Order, done: u64, elapsed: Duration) {
    bar.set_position(match order.end {
        End::Count(_) => done,
        End::After(time) => elapsed.min(time).as_millis() as u64,
    });
    bar.set_message(format!("{done} requests, {:.0}/s", per_second(done, elapsed)));
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::EPSILON)
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER);
    for (kind, tally) in &report.kinds {
        table.add_row(row(kind.name(), tally, report.elapsed));
    }
    table.add_row(row("all", &report.total(), report.elapsed));
    for column in (1..HEADER.len()).filter(|column| *column != ANSWERS) {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn row(name: &str, tally: &Tally, elapsed: Duration) -> [String; HEADER.len()] {
    let Tally { sent, duplicates, latencies, .. } = tally;
    let answered = tally.answered();
    let quantile = |q| ms(latencies.quantile(q));
    [
        name.to_owned(),
        sent.to_string(),
        answered.to_string(),
        format!("{:.0}", per_second(answered, elapsed)),
        answers(tally),
        duplicates.to_string(),
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(0.999),
        ms(latencies.max()),
    ]
}

fn ms(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| format!("{:.2} ms", time.as_secs_f64() * 1e3))
}

/// `200: 190, 503: 10`, and what got no answer.
fn answers(tally: &Tally) -> String {
    let mut told: Vec<String> =
        tally.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    for (count, what) in [(tally.connection_errors, "connection errors"), (tally.unanswered(), "interrupted")]
    {
        if count > 0 {
            told.push(format!("{what}: {count}"));
        }
    }
    told.join(", ")
}

fn summary(report: &Report, url: &str, seed: u64) -> String {
    let total = report.total();
    let (seconds, events, readings) = (report.elapsed.as_secs_f64(), total.events, total.readings);
    let mut told = format!(
        "{url}, seed {seed}: {events} events with {readings} readings in {seconds:.1} s ({:.0} readings/s)",
        per_second(readings, report.elapsed)
    );
    if let Some(scheduled) = report.scheduled {
        let overflow = report.overflow;
        told += &format!(
            "\n{scheduled} requests were due; {overflow} of them were not sent, because {IN_FLIGHT_MAX} were under way"
        );
    }
    told
}
