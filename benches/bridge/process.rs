//! A bridge, or a floor, as a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actors::domain::time::MS_PER_SECOND;
use biometric_bridge::traffic::{self, End, Kind, Order, Pace, Plan, Progress, Report, Target};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::machine;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The bridge's program.
pub(crate) const BRIDGE: &str = env!("CARGO_BIN_EXE_biometric-bridge");
/// All its keys and secrets.
pub(crate) const SECRET: &str = "benchmark-secret";
/// What every server has.
const SETTINGS: [(&str, &str); 7] = [
    ("BIND_ADDR", "127.0.0.1:0"),
    ("MAX_CONCURRENT_WEBHOOKS", "1000"),
    ("OURA_WEBHOOK_SECRET", SECRET),
    ("OURA_VERIFICATION_TOKEN", SECRET),
    ("HEALTHKIT_API_KEY", SECRET),
    ("API_KEY", SECRET),
    ("ADMIN_API_KEY", SECRET),
];

/// What is sent: both kinds whose data comes with them. A notification alone makes no event.
pub(crate) const KINDS: [Kind; 2] = [Kind::HealthKit, Kind::OuraReading];

/// A running server. It is killed when it goes out of scope.
pub(crate) struct Server {
    pub(crate) url: String,
    child: Child,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

/// A folder for servers, which outlives them.
pub(crate) fn folder() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

/// `program` with `argument`, to be run in `folder`.
pub(crate) fn command(
    program: &Path,
    argument: &str,
    folder: &Path,
    settings: &[(String, String)],
) -> Command {
    let mut command = Command::new(program);
    command.arg(argument).current_dir(folder).env_clear().envs(SETTINGS);
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

impl Server {
    /// Starts `program` with `arguments` in `folder`, and waits until it is ready.
    pub(crate) fn start(
        program: &Path,
        argument: &str,
        folder: &Path,
        settings: &[(String, String)],
    ) -> Self {
        let lines = folder.join("log");
        let mut command = command(program, argument, folder, settings);
        let file = File::create(&lines).expect("a file for log lines");
        command.stdin(Stdio::null()).stderr(file.try_clone().expect("a file")).stdout(file);
        let child = command.spawn().expect("the program starts");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // No connection is kept: nobody looks whether the server has closed it while this program sends.
        let client = biometric_bridge::traffic::plain_client().pool_max_idle_per_host(0);
        let client = client.build().expect("a client");
        let mut server = Self { url: String::new(), child, client, runtime };
        server.until("listening", |server| {
            server.url = address(&lines).map(|address| format!("http://{address}")).unwrap_or_default();
            !server.url.is_empty()
        });
        server.until("ready", |server| server.get("/ready").is_some());
        server
    }

    /// The bridge itself.
    pub(crate) fn bridge(folder: &Path, settings: &[(String, String)]) -> Self {
        Self::start(BRIDGE.as_ref(), "serve", folder, settings)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The text of a 200.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let request = self.client.get(format!("{}{path}", self.url)).send();
        self.runtime.block_on(async {
            let response = request.await.ok().filter(|response| response.status().is_success())?;
            response.text().await.ok()
        })
    }

    /// Runs what talks to it in its own way.
    pub(crate) fn block_on<T>(&self, talk: impl Future<Output = T>) -> T {
        self.runtime.block_on(talk)
    }

    /// The sum of a metric over all its labels that `labels` is a part of.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.get("/metrics").expect("metrics");
        let counts = text.lines().filter(|line| !line.starts_with('#'));
        let ours = counts.filter(|line| {
            let (series, _) = line.rsplit_once(' ').unwrap_or_default();
            series.split('{').next().is_some_and(|own| own.ends_with(name)) && series.contains(labels)
        });
        ours.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Waits until so many messages have been applied to states, since the process began.
    pub(crate) fn until_applied(&mut self, messages: u64) {
        self.until("applied", |server| {
            let applied = server.metric("kafka_messages_processed_total", "status=\"applied\"");
            applied >= messages as f64
        });
    }

    /// Looks again and again, without taking much from who is looked at.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < PATIENCE, "{} is not {what} after {PATIENCE:?}", self.url);
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the server ended with {status} before it was {what}");
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(told.success(), "it still runs");
        self.child.wait().expect("a child");
    }

    /// Sends to it, and waits for the answers.
    pub(crate) fn send(&self, plan: &Plan, pace: Pace, end: End) -> Report {
        let secrets = Kind::ALL.map(|kind| (kind.setting(), SECRET)).into_iter().collect();
        let target = Target::new(&self.url, secrets).expect("a URL");
        let order = Order { target, plan: plan.clone(), pace, end };
        let (_run, stop) = watch::channel(false);
        traffic::send(&order, &Progress::default(), &stop).expect("every kind has its secret")
    }
}

/// A thousand users who send both kinds, unless changed.
pub(crate) fn plan() -> Plan {
    let seed = rand::random();
    Plan { seed, users: 1_000, kinds: KINDS.to_vec(), batch: 1, sample_every_ms: MS_PER_SECOND }
}

fn address(lines: &PathBuf) -> Option<String> {
    let text = std::fs::read_to_string(lines).ok()?;
    let (_, rest) = text.split_once("listening on ")?;
    Some(rest.split_once(' ')?.0.to_owned())
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time of several processes at one moment.
pub(crate) struct Cpu(Vec<(&'static str, u32, Duration)>);

impl Cpu {
    /// From now on, of these processes and of this one.
    pub(crate) fn start(processes: &[(&'static str, u32)]) -> Self {
        let used = |&(name, pid): &(&'static str, u32)| (name, pid, machine::cpu(pid));
        let mut all: Vec<_> = processes.iter().map(used).collect();
        all.push(("this program", std::process::id(), machine::own_cpu()));
        Self(all)
    }

    /// Microseconds per `events` that each has used since.
    pub(crate) fn per_event(&self, events: u64) -> Vec<(&'static str, f64)> {
        let used = |&(name, pid, before): &(&'static str, u32, Duration)| {
            let now = if pid == std::process::id() { machine::own_cpu() } else { machine::cpu(pid) };
            (name, now.saturating_sub(before).as_secs_f64() * 1e6 / events.max(1) as f64)
        };
        self.0.iter().map(used).collect()
    }
}
