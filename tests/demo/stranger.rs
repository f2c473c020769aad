//! `demo`, as somebody runs it who has configured nothing.

use std::io::{BufRead, BufReader, Lines, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::bridge::{PATIENCE, PROGRAM};

/// A demonstration that runs. Killed when it goes out of scope.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Demo {
    /// In `folder`, at `address`, with nothing else configured.
    fn start(folder: &Path, address: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.arg("demo").args(arguments).current_dir(folder).env_clear().env("BIND_ADDR", address);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// The next lines up to the one that holds `text`.
    fn until(&mut self, text: &str) -> Vec<String> {
        let mut read = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.expect("a line of text");
            let is_last = line.contains(text);
            read.push(line);
            if is_last {
                return read;
            }
        }
        panic!("no {text:?} in {read:#?}");
    }

    /// Ctrl-C: how it ended, what it still said, and what it complained of.
    fn interrupt(mut self) -> (ExitStatus, Vec<String>, String) {
        let line = format!("kill -INT {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().expect("a shell").success());
        let rest = self.lines.by_ref().map(|line| line.expect("a line of text")).collect();
        let mut complaints = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut complaints).expect("text");
        (self.child.wait().expect("an end"), rest, complaints)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Fails only for one that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The word behind a label at the beginning of a line.
fn after<'l>(lines: &'l [String], label: &str) -> &'l str {
    let labelled = lines.iter().find_map(|line| line.trim_start().strip_prefix(label));
    labelled.unwrap_or_else(|| panic!("no {label:?} in {lines:#?}")).trim()
}

/// Runs the line that it offers, as a shell does.
fn run(line: &str) -> Value {
    let output = Command::new("sh").args(["-c", line]).output().expect("a shell");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[actix_web::test]
async fn one_command_shows_modes_that_switch_and_sums_up_when_it_is_stopped() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut demo = Demo::start(home.path(), "127.0.0.1:0", &["--people", "6", "--seed", "1"]);
    let told = demo.until("Ctrl-C");
    let address = after(&told, "Dashboard").to_owned();
    let client = biometric_bridge::traffic::plain_client().timeout(PATIENCE).build().expect("an HTTP client");
    let page = client.get(&address).send().await.expect("the page");
    assert!(page.status().is_success());

    // The offered request, without a need for curl: its key and its address are in it.
    let line = after(&told, "A user").to_owned();
    let key = line.split("Bearer ").nth(1).and_then(|rest| rest.split('\'').next()).expect("a key");
    let url = line.split_whitespace().last().expect("an address");
    let state = async || -> Value {
        let response = client.get(url).bearer_auth(key).send().await.expect("an answer");
        serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON")
    };
    let switched = async {
        while state().await["switch_id"].is_null() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, switched).await.expect("a mode switch within a minute");
    // Of records that vendors had only told of, in the vendors' own formats.
    let events = url.replace("/state", "/events?limit=100");
    for (device, kind) in [("oura_ring", "readiness"), ("whoop_band", "recovery")] {
        let has_come = async || {
            let listed = client.get(format!("{events}&device={device}")).bearer_auth(key).send().await;
            let listed = listed.expect("an answer").bytes().await.expect("a body");
            let listed: Value = serde_json::from_slice(&listed).expect("JSON");
            listed["events"].as_array().expect("events").iter().any(|event| event["kind"] == kind)
        };
        let fetched = async {
            while !has_come().await {
                tokio::task::yield_now().await;
            }
        };
        let fetched = tokio::time::timeout(PATIENCE, fetched).await;
        fetched.unwrap_or_else(|_| panic!("no {kind} of {device} within a minute"));
    }
    if Command::new("curl").arg("--version").output().is_ok() {
        assert_eq!(run(&line)["user_id"], state().await["user_id"]);
    }

    let folder = home.path().join("data/demo");
    let secrets = std::fs::metadata(folder.join("secrets.json")).expect("secrets").permissions().mode();
    assert_eq!(secrets & 0o777, 0o600);
    let (status, rest, complaints) = demo.interrupt();
    assert!(status.success(), "{status}: {complaints}");
    let number = |label: &str| -> u64 {
        let word = after(&rest, label).split_whitespace().next().expect("a number");
        word.parse().unwrap_or_else(|_| panic!("{label} {word}"))
    };
    assert!(number("deliveries answered") > 0 && number("mode switches") > 0, "{rest:#?}");
    assert!(number("to be fetched") > 0 && number("records fetched") > 0, "{rest:#?}");
    assert_eq!(number("left unanswered"), 0, "{rest:#?}");
    assert!(after(&rest, "answer time").contains("p99"), "{rest:#?}");
    assert!(!rest.iter().any(|line| line.contains("refused")), "{rest:#?}");
    assert_eq!(complaints, "", "nothing to complain of");
}

#[actix_web::test]
async fn a_port_that_is_taken_is_told_and_another_one_is_used() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut demo = Demo::start(home.path(), &address, &["--people", "1"]);
    let told = demo.until("Ctrl-C");
    let port = address.rsplit(':').next().expect("a port");
    assert!(told.iter().any(|line| line.contains(&format!("Port {port} is taken"))), "{told:#?}");
    assert!(!after(&told, "Dashboard").contains(&address), "{told:#?}");
    assert!(demo.interrupt().0.success());
}

#[actix_web::test]
async fn programs_are_told_the_same_as_people() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut demo = Demo::start(home.path(), "127.0.0.1:0", &["--people", "1", "--json"]);
    let told = demo.until("vendor_cloud");
    let told: Value = serde_json::from_str(&told[0]).expect("JSON");
    let client = biometric_bridge::traffic::plain_client().timeout(PATIENCE).build().expect("an HTTP client");
    let stats = format!("{}/stats", told["vendor_cloud"].as_str().expect("an address"));
    let sent = async {
        loop {
            let stats = client.get(&stats).send().await.expect("an answer").bytes().await.expect("a body");
            let stats: Value = serde_json::from_slice(&stats).expect("JSON");
            if !stats["webhooks"]["healthkit"]["accepted"].is_null() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, sent).await.expect("a push within a minute");
    let (status, rest, complaints) = demo.interrupt();
    assert!(status.success(), "{status}: {complaints}");
    let sums: Value = serde_json::from_str(&rest[0]).expect("JSON");
    assert!(sums["answered"].as_u64() > Some(0) && sums["people"] == 1 && sums["unanswered"] == 0, "{sums}");
    assert!(sums["fetched"]["oura"].is_u64() && sums["mode_switches"].is_u64(), "{sums}");
}
