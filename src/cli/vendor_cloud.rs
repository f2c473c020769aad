//! `vendor-cloud`: Oura's and WHOOP's clouds on one's own machine.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use actors::domain::time::{MS_PER_DAY, Timestamp};
use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, print_line};
use crate::demo::cloud::{self, Application, Config, Fault, Keys, Limit, Vendor};
use crate::settings::Sources;

const DEFAULT_PEOPLE: usize = 60;
const PEOPLE_MAX: usize = 100_000;
const SPEED_MAX: f64 = 1e6;

#[derive(Debug, Args)]
pub(super) struct VendorCloudArguments {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8890")]
    listen: SocketAddr,
    /// Makes the same people and records again; other ones for each run unless given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many people have accounts with the vendors.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PEOPLE, value_parser = people)]
    people: usize,
    /// Simulated seconds a second, until simulated time has caught up with the clock; 0: time stands still.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// The simulated time of the beginning, RFC 3339 [default: now, or a day ago if the speed is above 1].
    #[arg(long, value_name = "TIME", value_parser = time)]
    start: Option<i64>,
    /// How long each answer of the APIs takes at least.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay_ms: u64,
    /// How many requests Oura takes in 5 minutes.
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    oura_per_5_minutes: u32,
    /// How many requests WHOOP takes in a minute.
    #[arg(long, value_name = "N", default_value_t = 100)]
    whoop_per_minute: u32,
    /// How many requests WHOOP takes in a day.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    whoop_per_day: u32,
    /// How many seconds access tokens live [default: a day for Oura, an hour for WHOOP].
    #[arg(long, value_name = "N")]
    token_seconds: Option<u64>,
    /// What goes wrong, as kind[:share[:seconds]]; may be given more than once. Kinds: rate_limit, server_error, time_out,
    /// slow_body, broken_json, duplicate, out_of_order, clock_skew.
    #[arg(long, value_name = "FAULT", value_parser = Fault::parse)]
    fault: Vec<Fault>,
    /// A bridge's URL, without /webhook: signed webhooks are sent to it.
    #[arg(long, value_name = "URL", value_parser = target)]
    target: Option<String>,
    /// Whose webhooks are sent to the target: oura, whoop, healthkit, terra [default: all].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = vendor)]
    vendors: Vec<Vendor>,
}

fn people(text: &str) -> Result<usize, String> {
    let fits = text.parse().ok().filter(|count| (1..=PEOPLE_MAX).contains(count));
    fits.ok_or_else(|| format!("must be a whole number from 1 to {PEOPLE_MAX}"))
}

fn speed(text: &str) -> Result<f64, String> {
    let fits = text.parse().ok().filter(|speed| (0.0..=SPEED_MAX).contains(speed));
    fits.ok_or_else(|| format!("must be a number from 0 to {SPEED_MAX}"))
}

fn target(text: &str) -> Result<String, String> {
    let is_http = reqwest::Url::parse(text).is_ok_and(|url| url.scheme() == "http" && url.has_host());
    is_http
        .then(|| text.trim_end_matches('/').to_owned())
        .ok_or_else(|| "must be a URL like http://127.0.0.1:8889".to_owned())
}

fn vendor(text: &str) -> Result<Vendor, String> {
    let found = Vendor::ALL.into_iter().find(|vendor| vendor.name() == text);
    found.ok_or_else(|| "must be oura, whoop, healthkit or terra".to_owned())
}

fn time(text: &str) -> Result<i64, String> {
    let time = Timestamp::parse_rfc3339(text).map(Timestamp::as_ms);
    time.ok_or_else(|| "must be a time like 2026-09-10T12:00:00Z".to_owned())
}

pub(super) fn run(arguments: &VendorCloudArguments, json: bool) -> Result<ExitCode, Failure> {
    let config = config(arguments, &Sources::from_process());
    actix_rt::System::new().block_on(serve(config, json))
}

fn config(arguments: &VendorCloudArguments, sources: &Sources) -> Config {
    let now_ms = SystemClock.now().as_ms();
    let default_start_ms = if arguments.speed > 1.0 { now_ms - MS_PER_DAY } else { now_ms };
    let start_ms = arguments.start.unwrap_or(default_start_ms).min(now_ms);
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut config = Config { listen: arguments.listen, ..Config::new(seed, arguments.people, start_ms) };
    let set = |name: &str| sources.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let application = |vendor: &str, default: &Application| Application {
        id: set(&format!("{vendor}_CLIENT_ID")).unwrap_or_else(|| default.id.clone()),
        secret: set(&format!("{vendor}_CLIENT_SECRET")).unwrap_or_else(|| default.secret.clone()),
    };
    config.oura = application("OURA", &config.oura);
    config.whoop = application("WHOOP", &config.whoop);
    let key = |name: &str, default: &str| set(name).unwrap_or_else(|| default.to_owned());
    config.keys = Keys {
        oura: key("OURA_WEBHOOK_SECRET", &config.oura.secret),
        oura_verification_token: key("OURA_VERIFICATION_TOKEN", &config.keys.oura_verification_token),
        whoop: key("WHOOP_WEBHOOK_SECRET", &config.whoop.secret),
        healthkit: key("HEALTHKIT_API_KEY", &config.keys.healthkit),
        terra: key("TERRA_WEBHOOK_SECRET", &config.keys.terra),
    };
    config.target.clone_from(&arguments.target);
    if !arguments.vendors.is_empty() {
        config.vendors.clone_from(&arguments.vendors);
    }
    config.speed = arguments.speed;
    config.delay = Duration::from_millis(arguments.delay_ms);
    config.limits.oura.requests = arguments.oura_per_5_minutes;
    config.limits.whoop.requests = arguments.whoop_per_minute;
    config.limits.whoop_day = Limit { requests: arguments.whoop_per_day, ..config.limits.whoop_day };
    if let Some(lives) = arguments.token_seconds.map(Duration::from_secs) {
        (config.lifetimes.oura, config.lifetimes.whoop) = (lives, lives);
    }
    config.faults.clone_from(&arguments.fault);
    config
}

async fn serve(config: Config, json: bool) -> Result<ExitCode, Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Failure::failed(format!("{what}: {error}"))
    };
    let mut terminated = signal(SignalKind::terminate()).map_err(failed("SIGTERM cannot be listened for"))?;
    let (told, listen) = (config.clone(), config.listen);
    let (cloud, server) = cloud::serve(config).map_err(failed(&format!("--listen {listen}")))?;
    let serving = actix_rt::spawn(server);
    tell(&cloud.url(), &told, json)?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    cloud.stop().await;
    let _ = serving.await;
    Ok(ExitCode::SUCCESS)
}

fn tell(url: &str, config: &Config, json: bool) -> Result<(), Failure> {
    let Config { seed, people, .. } = config;
    let (oura, whoop) = (&config.oura.id, &config.whoop.id);
    if json {
        return print_line(json!({
            "address": url, "seed": seed, "people": people,
            "oura": {"client_id": oura, "authorize": format!("{url}/oauth/authorize"),
                "token": format!("{url}/oauth/token"), "api": format!("{url}/v2/usercollection")},
            "whoop": {"client_id": whoop, "authorize": format!("{url}/oauth/oauth2/auth"),
                "token": format!("{url}/oauth/oauth2/token"), "api": format!("{url}/developer")},
        }));
    }
    print_line(format_args!(
        "The accounts of {people} people with Oura and WHOOP, seed {seed}.\n\n  \
         Oura    authorize {url}/oauth/authorize, token {url}/oauth/token,\n          \
         API {url}/v2/usercollection, client {oura}\n  \
         WHOOP   authorize {url}/oauth/oauth2/auth, token {url}/oauth/oauth2/token,\n          \
         API {url}/developer, client {whoop}\n  \
         People  {url}/people\n  \
         Tokens  curl -d '{{\"vendor\": \"oura\", \"person\": 0}}' {url}/grants\n  \
         Faults  curl -d '{{\"kind\": \"rate_limit\", \"seconds\": 30}}' {url}/faults\n  \
         Counts  {url}/stats\n\nCtrl-C ends it."
    ))
}
