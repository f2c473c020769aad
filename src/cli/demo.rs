//! `demo`: a bridge beside a vendor cloud whose people it hears of in real, signed webhooks, and then asks for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use clap::Args;
use serde_json::json;

use super::{Failure, print_line, read_settings};
use crate::app::Running;
use crate::demo::cloud::{self, Application, Cloud, Config, Keys, Limit, Limits, Summary, Vendor};
use crate::demo::story::{self, DEFAULT_PEOPLE, DEFAULT_SPEED};
use crate::demo::{links, secrets};
use crate::settings::{Settings, Sources};
use crate::telemetry::{Sink, init_logging};
use crate::traffic::plain_client;

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// How many people wear a ring and a watch.
    #[arg(long, default_value_t = DEFAULT_PEOPLE, value_parser = people)]
    people: usize,
    /// Makes the same people and days again; another one for each run unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// Simulated seconds per real second once the people's history has been sent (1 to 100).
    #[arg(long, default_value_t = DEFAULT_SPEED, value_parser = speed)]
    speed: f64,
}

const PEOPLE_MAX: usize = 10_000;
const SPEED_MAX: f64 = 100.0;
/// Of the bridge's application, with both vendors.
const CLIENT_ID: &str = "demo";
const METRICS_TIMEOUT: Duration = Duration::from_secs(15);

fn people(text: &str) -> Result<usize, String> {
    let fits = text.parse().ok().filter(|count| (1..=PEOPLE_MAX).contains(count));
    fits.ok_or_else(|| format!("must be a whole number from 1 to {PEOPLE_MAX}"))
}

fn speed(text: &str) -> Result<f64, String> {
    let fits = text.parse().ok().filter(|speed| (1.0..=SPEED_MAX).contains(speed));
    fits.ok_or_else(|| format!("must be a number from 1 to {SPEED_MAX}"))
}

pub(super) fn run(arguments: &DemoArguments, json: bool, started: Instant) -> Result<ExitCode, Failure> {
    let plan = Plan::new()?;
    // Its lines go beside what the demonstration tells.
    let _log_lines = init_logging("ERROR", Sink::Stderr);
    actix_rt::System::new().block_on(plan.perform(arguments, json, started))
}

/// What a demonstration stands on.
struct Plan {
    settings: Settings,
    secrets: BTreeMap<String, String>,
    folder: PathBuf,
    /// The port that it should have had.
    taken: Option<u16>,
    /// Where the vendors' cloud will be: the bridge must know it first.
    cloud: TcpListener,
}

impl Plan {
    fn new() -> Result<Self, Failure> {
        let sources = Sources::from_process();
        let given = read_settings(sources.clone())?;
        let folder = given.data_dir.join("demo");
        let secrets = secrets::in_folder(&folder)
            .map_err(|error| Failure::failed(format!("DATA_DIR {}: {error}", folder.display())))?;
        let bind_addr = given.server.bind_addr;
        let taken = is_taken(bind_addr).then_some(bind_addr.port());
        let port = if taken.is_some() { 0 } else { bind_addr.port() };
        let cloud = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(no_cloud)?;
        let own = [
            ("DATA_DIR", folder.display().to_string()),
            ("BIND_ADDR", SocketAddr::new(bind_addr.ip(), port).to_string()),
            ("OURA_ENABLED", "true".to_owned()),
            ("WHOOP_ENABLED", "true".to_owned()),
            ("HEALTHKIT_ENABLED", "true".to_owned()),
            ("ENABLE_INJECTION", "true".to_owned()),
        ];
        let own = own.into_iter().chain(vendors(cloud.local_addr().map_err(no_cloud)?, &secrets));
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let settings = read_settings(sources.over(own.chain(secrets.clone())))?;
        Ok(Self { settings, secrets, folder, taken, cloud })
    }

    async fn perform(
        self,
        arguments: &DemoArguments,
        json: bool,
        started: Instant,
    ) -> Result<ExitCode, Failure> {
        let base_path = self.settings.server.base_path.clone();
        let mut running = Running::start(self.settings.clone(), started).await?;
        let base_url = format!("http://{}{base_path}", reachable(running.address));
        let config = self.config(arguments, &base_url);
        let (cloud, serving) =
            cloud::serve_on(self.cloud.try_clone().map_err(no_cloud)?, config).map_err(no_cloud)?;
        self.tell(&base_url, &cloud, json)?;

        let admin_key = &self.secrets["ADMIN_API_KEY"];
        let mut showing = std::pin::pin!(async {
            // Whatever is told of an account before it is linked would be somebody else's.
            links::link_all(&cloud, &base_url, admin_key)
                .await
                .map_err(|error| format!("no links: {error}"))?;
            serving.await.map_err(|error| error.to_string())
        });
        let reason = tokio::select! {
            reason = running.wait() => Ok(reason),
            ended = &mut showing => Err(ended.err().unwrap_or_else(|| "it ended".to_owned())),
        };
        let reason = reason.map_err(|why| Failure::failed(format!("the vendor cloud: {why}")))?;
        let ending = async {
            let summary = cloud.fall_silent().await;
            let told = tell_summary(&summary, mode_switches(&base_url).await, json);
            // What is under way is still fetched: the cloud goes last.
            (told, running.stop(reason).await)
        };
        let (told, ending) = tokio::select! {
            ended = ending => ended,
            _ = &mut showing => return Err(Failure::failed("the vendor cloud ended")),
        };
        let _ = tokio::join!(cloud.stop(), showing);
        told.map(|()| ending.code())
    }

    fn config(&self, arguments: &DemoArguments, base_url: &str) -> Config {
        let seed = arguments.seed.unwrap_or_else(rand::random);
        let secret = |name: &str| self.secrets[name].clone();
        let config = story::config(seed, arguments.people, SystemClock.now().as_ms(), arguments.speed);
        Config {
            target: Some(base_url.to_owned()),
            oura: Application { id: CLIENT_ID.to_owned(), secret: secret("OURA_WEBHOOK_SECRET") },
            whoop: Application { id: CLIENT_ID.to_owned(), secret: secret("WHOOP_WEBHOOK_SECRET") },
            keys: Keys {
                oura: secret("OURA_WEBHOOK_SECRET"),
                oura_verification_token: secret("OURA_VERIFICATION_TOKEN"),
                whoop: secret("WHOOP_WEBHOOK_SECRET"),
                healthkit: secret("HEALTHKIT_API_KEY"),
                ..config.keys
            },
            ..config
        }
    }

    fn tell(&self, base_url: &str, cloud: &Cloud, json: bool) -> Result<(), Failure> {
        let key = &self.secrets["API_KEY"];
        let (user, count) = (cloud.account(Vendor::HealthKit, 0), cloud.people());
        let curl = format!("curl -s -H 'Authorization: Bearer {key}' {base_url}/v1/users/{user}/state");
        let folder = self.folder.display().to_string();
        let cloud = cloud.url();
        if json {
            let address = format!("{base_url}/");
            return print_line(json!({
                "address": address, "people": count, "curl": curl, "data_dir": folder, "vendor_cloud": cloud,
            }));
        }
        if let Some(port) = self.taken {
            print_line(format_args!("Port {port} is taken, so this demonstration has another one.\n"))?;
        }
        print_line(format_args!(
            "Oura, WHOOP and the phones of {count} people tell a bridge with real storage, in signed webhooks, what it\n\
             then asks their clouds for. All of them are simulated, in this process.\n\n  \
             Dashboard  {base_url}/\n  \
             A user     {curl}\n  \
             Vendors    {cloud}/stats (a minute of their rate limits takes a second here)\n  \
             Data       {folder} (with the keys of this demonstration; delete it to forget them)\n\n\
             Their last day and a half takes 20 seconds; then modes come and go. Ctrl-C stops and sums up."
        ))
    }
}

/// The settings by which a bridge finds the cloud at `address`. A vendor signs its webhooks with the application's secret.
fn vendors(
    address: SocketAddr,
    secrets: &BTreeMap<String, String>,
) -> impl Iterator<Item = (&'static str, String)> {
    let at = |path: &str| format!("http://{address}{path}");
    let limit = |limit: &Limit| format!("{}/{}", limit.requests, limit.window.as_secs());
    let Limits { oura, whoop, whoop_day } = &story::LIMITS;
    [
        ("OURA_API_BASE", at("")),
        ("OURA_TOKEN_URL", at("/oauth/token")),
        ("OURA_CLIENT_ID", CLIENT_ID.to_owned()),
        ("OURA_CLIENT_SECRET", secrets["OURA_WEBHOOK_SECRET"].clone()),
        // A real one must not go to a cloud that is none.
        ("OURA_ACCESS_TOKEN", String::new()),
        ("OURA_RATE_LIMIT", limit(oura)),
        ("WHOOP_API_BASE", at("/developer")),
        ("WHOOP_TOKEN_URL", at("/oauth/oauth2/token")),
        ("WHOOP_CLIENT_ID", CLIENT_ID.to_owned()),
        ("WHOOP_CLIENT_SECRET", secrets["WHOOP_WEBHOOK_SECRET"].clone()),
        ("WHOOP_RATE_LIMIT", format!("{},{}", limit(whoop), limit(whoop_day))),
    ]
    .into_iter()
}

fn no_cloud(error: std::io::Error) -> Failure {
    Failure::failed(format!("the vendor cloud: {error}"))
}

/// How often modes have switched, as the bridge's metrics tell; `None` if it does not answer.
async fn mode_switches(base_url: &str) -> Option<u64> {
    let client = plain_client().timeout(METRICS_TIMEOUT).build().ok()?;
    let text = client.get(format!("{base_url}/metrics")).send().await.ok()?.text().await.ok()?;
    // Whatever METRICS_NAMESPACE has put before the name.
    let counts = text.lines().filter(|line| !line.starts_with('#') && line.contains("mode_switches_total{"));
    counts.map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn is_taken(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// An address that a client on this machine can use, also for one that listens everywhere.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn tell_summary(summary: &Summary, mode_switches: Option<u64>, json: bool) -> Result<(), Failure> {
    if json {
        let mut told = summary.as_json();
        told["mode_switches"] = mode_switches.into();
        return print_line(told);
    }
    let switches = mode_switches.map_or_else(|| "–".to_owned(), |count| count.to_string());
    print_line(format_args!("\n{summary}\nmode switches        {switches}"))
}
