//! `demo`: a bridge with a small population that sends it real, signed webhooks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use clap::Args;
use serde_json::json;
use tokio::sync::watch;

use super::{Failure, print_line, read_settings};
use crate::app::Running;
use crate::demo::pace::{DEFAULT_SPEED, Pace};
use crate::demo::people::{DEFAULT_COUNT, Population};
use crate::demo::secrets;
use crate::demo::sender::{self, Summary, Target};
use crate::settings::{Settings, Sources};
use crate::telemetry::{Sink, init_logging};

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// How many people wear a ring and a watch.
    #[arg(long, default_value_t = DEFAULT_COUNT, value_parser = people)]
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
        let own = [
            ("DATA_DIR", folder.display().to_string()),
            ("BIND_ADDR", SocketAddr::new(bind_addr.ip(), port).to_string()),
            ("OURA_ENABLED", "true".to_owned()),
            // Nobody of the demonstration wears a WHOOP.
            ("WHOOP_ENABLED", "false".to_owned()),
            ("HEALTHKIT_ENABLED", "true".to_owned()),
            ("ENABLE_INJECTION", "true".to_owned()),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
        let settings = read_settings(sources.over(own.chain(secrets.clone())))?;
        Ok(Self { settings, secrets, folder, taken })
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
        let people = Population::new(arguments.seed.unwrap_or_else(rand::random), arguments.people);
        self.tell(&base_url, &people, json)?;

        let pace = Pace::new(SystemClock.now().as_ms(), arguments.speed);
        let (stop, stopping) = watch::channel(false);
        let target = Target { base_url, secrets: self.secrets.clone().into_iter().collect() };
        let sending =
            actix_rt::spawn(sender::send(target.clone(), people.deliveries(pace.start_ms()), pace, stopping));
        let reason = running.wait().await;
        let _ = stop.send(true);
        let sent = match sending.await {
            Ok(Ok(summary)) => tell_summary(&summary, sender::mode_switches(&target).await, json),
            Ok(Err(error)) => Err(Failure::failed(format!("nothing could be sent: {error}"))),
            Err(_) => Err(Failure::failed("the sender crashed")),
        };
        let ending = running.stop(reason).await;
        sent.map(|()| ending.code())
    }

    fn tell(&self, base_url: &str, people: &Population, json: bool) -> Result<(), Failure> {
        let key = &self.secrets["API_KEY"];
        let user = people.user_ids().next().unwrap_or_default();
        let count = people.user_ids().count();
        let curl = format!("curl -s -H 'Authorization: Bearer {key}' {base_url}/v1/users/{user}/state");
        let folder = self.folder.display().to_string();
        if json {
            let address = format!("{base_url}/");
            return print_line(
                json!({"address": address, "people": count, "curl": curl, "data_dir": folder}),
            );
        }
        if let Some(port) = self.taken {
            print_line(format_args!("Port {port} is taken, so this demonstration has another one.\n"))?;
        }
        print_line(format_args!(
            "The wearables of {count} people send signed webhooks to a bridge with real storage.\n\n  \
             Dashboard  {base_url}/\n  \
             A user     {curl}\n  \
             Data       {folder} (with the keys of this demonstration; delete it to forget them)\n\n\
             Their last day and a half takes 20 seconds; then modes come and go. Ctrl-C stops and sums up."
        ))
    }
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
