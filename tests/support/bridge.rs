//! A bridge as its users have it: the built program as a process of its own, on a free port and in a folder of its
//! own, spoken to over HTTP.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actors::vendors::signing;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::family;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_biometric-bridge");
/// Longer than anything that is waited for takes on a slow machine; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const OURA_SECRET: &str = "test-oura-secret";
pub(crate) const OURA_TOKEN: &str = "test-oura-verification-token";
pub(crate) const WHOOP_SECRET: &str = "test-whoop-secret";
pub(crate) const TERRA_SECRET: &str = "test-terra-secret";
pub(crate) const HEALTHKIT_KEY: &str = "test-healthkit-key";
pub(crate) const HEALTHKIT_SECRET: &str = "test-healthkit-secret";
pub(crate) const API_KEY: &str = "test-api-key";
pub(crate) const ADMIN_KEY: &str = "test-admin-key";

/// What every bridge is started with unless a test says otherwise.
pub(crate) const SETTINGS: [(&str, &str); 11] = [
    ("BIND_ADDR", "127.0.0.1:0"),
    ("OURA_WEBHOOK_SECRET", OURA_SECRET),
    ("OURA_VERIFICATION_TOKEN", OURA_TOKEN),
    ("WHOOP_WEBHOOK_SECRET", WHOOP_SECRET),
    ("TERRA_WEBHOOK_SECRET", TERRA_SECRET),
    ("HEALTHKIT_API_KEY", HEALTHKIT_KEY),
    ("APPLE_HEALTHKIT_SECRET", HEALTHKIT_SECRET),
    ("API_KEY", API_KEY),
    ("ADMIN_API_KEY", ADMIN_KEY),
    ("LOG_MASK_KEY", "test-mask-key"),
    ("ENABLE_INJECTION", "true"),
];

/// A command of the program with these settings and no others, in a folder without configuration.
pub(crate) fn program(folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).env_clear();
    command.env("DATA_DIR", folder.join("data"));
    command.envs(SETTINGS).envs(family::settings(folder, settings)).envs(settings.iter().copied());
    command
}

/// The same command, started by a shell's `script`, which calls it by `"$0" "$@"`.
pub(crate) fn in_shell(command: &Command, script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(command.get_program()).args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

/// A running bridge. It is killed when it goes out of scope, so that no test leaves one behind.
pub(crate) struct Bridge {
    /// `http://127.0.0.1:<port>`, without `BASE_PATH`.
    pub(crate) url: String,
    /// Where it runs; its `DATA_DIR` is `data` in it.
    pub(crate) folder: PathBuf,
    settings: Vec<(String, String)>,
    client: Client,
    process: Process,
    // Dropped last: the process writes to it.
    home: Option<TempDir>,
}

impl Bridge {
    /// Starts one with the common settings, and waits until it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with `settings` over the common ones, and waits until it is ready.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let home = TempDir::new().expect("a temporary folder");
        let mut bridge = Self::start_in(home.path(), settings).await;
        bridge.home = Some(home);
        bridge
    }

    /// The same in a folder that outlives it.
    pub(crate) async fn start_in(folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_by(program(folder, &["serve"], settings), "", folder, settings).await
    }

    /// The same, and waits only until it listens: what it stands on may be away.
    pub(crate) async fn start_unready_in(folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::listening(program(folder, &["serve"], settings), folder, settings)
    }

    /// The same where `settings` put every route behind `base_path`.
    pub(crate) async fn start_behind(base_path: &str, folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_by(program(folder, &["serve"], settings), base_path, folder, settings).await
    }

    /// The same by a command that becomes a `serve` in `folder` with `settings`.
    pub(crate) async fn start_by(
        command: Command,
        base_path: &str,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> Self {
        let bridge = Self::listening(command, folder, settings);
        let ready = format!("{base_path}/ready");
        bridge.until("ready", async |bridge| bridge.get(&ready).await.status() == StatusCode::OK).await;
        bridge
    }

    fn listening(command: Command, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let (process, url) = Process::start(command);
        let client =
            biometric_bridge::traffic::plain_client().timeout(PATIENCE).build().expect("an HTTP client");
        let settings = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Self { url, folder: folder.to_owned(), settings, client, process, home: None }
    }

    /// The next process in the same folder with the same settings. Kills the present one if it still runs.
    pub(crate) async fn restart(mut self) -> Self {
        self.kill();
        let home = self.home.take();
        let settings = std::mem::take(&mut self.settings);
        let settings: Vec<_> = settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let mut next = Self::start_in(&self.folder, &settings).await;
        next.home = home;
        next
    }

    /// `kill -9`, and waits until the process is gone. Gives back the log lines that were read by then.
    pub(crate) fn kill(&mut self) -> Vec<String> {
        self.process.kill();
        self.process.lines()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// Waits for the process to end by itself: how it ended, and every log line.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Vec<String>) {
        let status = self.process.child.wait().expect("the process can be waited for");
        (status, self.process.lines())
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What it holds of the machine's memory, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most that it has ever held, in KiB.
    pub(crate) fn memory_max_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a live process");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Asks until `holds`, looking again at once: for what becomes true by itself. Panics after [`PATIENCE`].
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let asking = async {
            while !holds(self).await {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, asking).await;
        assert!(waited.is_ok(), "not {what} after {PATIENCE:?}");
    }

    /// A request to `path`, which begins with a slash.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// `GET`, without a key.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    /// `GET` of the read API's JSON; panics at any answer but 200.
    pub(crate) async fn read(&self, path: &str) -> Value {
        let response = self.request(Method::GET, path).bearer_auth(API_KEY).send().await.expect("an answer");
        let status = response.status();
        let body = response.bytes().await.expect("a body");
        assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }

    /// Sends a HealthKit delivery with its key: status and answer.
    pub(crate) async fn healthkit(&self, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        answer(self.request(Method::POST, "/webhook/healthkit").bearer_auth(HEALTHKIT_KEY).body(body)).await
    }

    /// Sends an Oura delivery in the Python system's inline format, signed: status and answer.
    pub(crate) async fn oura_inline(&self, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let signature = signing::inline(OURA_SECRET, body.as_bytes());
        answer(self.request(Method::POST, "/webhook/oura").header("Signature", signature).body(body)).await
    }

    /// Sends an Oura notification in Oura's own format, signed now: status and answer.
    pub(crate) async fn oura(&self, body: &Value) -> (u16, Value) {
        let (body, timestamp_s) = (body.to_string(), now_ms() / 1000);
        let signature = signing::oura(OURA_SECRET, timestamp_s, body.as_bytes());
        let request = self
            .request(Method::POST, "/webhook/oura")
            .header("x-oura-timestamp", timestamp_s)
            .header("x-oura-signature", signature);
        answer(request.body(body)).await
    }

    /// Sends a WHOOP notification in WHOOP's own format, signed now: status and answer.
    pub(crate) async fn whoop(&self, body: &Value) -> (u16, Value) {
        let (body, timestamp_ms) = (body.to_string(), now_ms());
        let signature = signing::whoop(WHOOP_SECRET, timestamp_ms, body.as_bytes());
        let request = self
            .request(Method::POST, "/webhook/whoop")
            .header("x-whoop-signature-timestamp", timestamp_ms)
            .header("x-whoop-signature", signature);
        answer(request.body(body)).await
    }

    /// Sends a delivery of Terra's, signed now, with these header fields beside the signature: status and answer.
    pub(crate) async fn terra(&self, told: &[(&str, &str)], body: &Value) -> (u16, Value) {
        let (body, timestamp_s) = (body.to_string(), now_ms() / 1000);
        let signature = signing::terra(TERRA_SECRET, timestamp_s, body.as_bytes());
        let mut request = self.request(Method::POST, "/webhook/terra").header("x-terra-signature", signature);
        for (name, value) in told {
            request = request.header(*name, *value);
        }
        answer(request.body(body)).await
    }

    /// Injects events; `query` is empty or begins with a question mark.
    pub(crate) async fn inject(&self, query: &str, events: &Value) -> (u16, Value) {
        let path = format!("/admin/inject{query}");
        answer(self.request(Method::POST, &path).bearer_auth(ADMIN_KEY).body(events.to_string())).await
    }
}

/// Sends a request: status and JSON body (`null` for none).
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("a body");
    let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
    (status, json)
}

/// The wall clock, Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since_epoch.as_millis()).expect("a clock before the year 292 million")
}

/// A started program whose log lines are read as they come.
struct Process {
    child: Child,
    output: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Process {
    /// Starts a `serve`, and waits for the line that tells its address.
    fn start(mut command: Command) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (told, listening) = mpsc::channel();
        let output = std::thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines
                .inspect(|line| {
                    if let Some(address) = address_in(line) {
                        // Nobody listens to a second one.
                        let _ = told.send(format!("http://{address}"));
                    }
                })
                .collect()
        });
        let mut process = Self { child, output: Some(output) };
        match listening.recv_timeout(PATIENCE) {
            Ok(url) => (process, url),
            Err(_) => {
                process.kill();
                panic!("the bridge did not start:\n{}", process.lines().join("\n"));
            }
        }
    }

    fn kill(&mut self) {
        // Fails only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &line]).status().expect("a shell");
        assert!(status.success(), "{line}");
    }

    fn lines(&mut self) -> Vec<String> {
        self.output.take().map_or_else(Vec::new, |output| output.join().expect("log lines"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn address_in(line: &str) -> Option<&str> {
    line.split_once("listening on ")?.1.split_whitespace().next()
}
