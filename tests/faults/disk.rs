//! A disk that takes no more, and one that loses what it has taken.

use std::path::Path;
use std::process::Command;

use futures_util::future::join;
use reqwest::Method;
use serde_json::Value;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;

use crate::bridge::{Bridge, HEALTHKIT_KEY, PATIENCE, in_shell, program};
use crate::load::{Answer, Load, Target, Traffic, seeds};
use crate::oracle::judge;

/// No file grows beyond this many blocks (of 512 or 1,024 bytes, as the shell has it): soon reached under load.
const FILE_MAX_BLOCKS: u32 = 2_000;
/// So many refusals show that it stays up while it can store nothing.
const REFUSALS: usize = 50;

/// A `serve` whose writes beyond the limit fail, as on a full disk.
fn serve_on_a_small_disk(home: &TempDir) -> Command {
    // Without the trap the kernel would end the process at such a write.
    let script = format!("trap '' XFSZ; ulimit -f {FILE_MAX_BLOCKS}; exec \"$0\" \"$@\"");
    in_shell(&program(home.path(), &["serve"], &[]), &script)
}

#[actix_web::test]
async fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing_acknowledged() {
    for seed in seeds(&[81]) {
        let (load, home) = (Load::new(seed, 5), TempDir::new().expect("a temporary folder"));
        let bridge = Bridge::start_by(serve_on_a_small_disk(&home), "", home.path(), &[]).await;
        let (target, traffic) = (Target::new(&bridge.url), Traffic::new());
        let filling = async {
            let mut answers = 0;
            while load.count(Answer::Refused(503)) < REFUSALS {
                answers += 1;
                traffic.answered(answers).await;
            }
            traffic.end();
        };
        join(load.run(&target, &traffic, &[503]), filling).await;
        assert_eq!(bridge.get("/health").await.status(), 200, "it lives");
        // Where several deliveries did not fit, one may, or a few of the checks' single pages; and what the write-ahead
        // log has no room for fits again once it has been moved into the file, until that is full too.
        let is_full = async |bridge: &Bridge| {
            load.send_until_refused(&target).await;
            bridge.get("/ready").await.status() == 503
        };
        bridge.until("unready", is_full).await;
        // Now there is room again.
        let bridge = bridge.restart().await;
        judge(&load, &Target::new(&bridge.url), &bridge.folder).await;
    }
}

#[actix_web::test]
async fn a_long_body_that_the_disk_has_no_room_for_is_wanted_again_later() {
    let home = TempDir::new().expect("a temporary folder");
    let bridge = Bridge::start_by(serve_on_a_small_disk(&home), "", home.path(), &[]).await;
    let sample = r#"{"type":"heartRate","value":61,"unit":"bpm","timestamp":"2024-07-01T06:42:11Z"}"#;
    let body = |blanks: usize| format!(r#"{{"user_id":"ann","samples":[{sample}]}}{}"#, " ".repeat(blanks));
    let post = |bridge: &Bridge, blanks: usize| {
        bridge.request(Method::POST, "/webhook/healthkit").bearer_auth(HEALTHKIT_KEY).body(body(blanks))
    };
    // More than a file may have, and then what finds room.
    let refused = post(&bridge, 3 << 20).send().await.expect("an answer");
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.expect("a problem");
    assert_eq!(problem["error_type"], "store_unavailable", "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("no room")), "{problem}");
    let small = post(&bridge, 0).send().await.expect("an answer");
    assert_eq!(small.status(), 200, "it goes on");
    let bridge = bridge.restart().await;
    let again = post(&bridge, 3 << 20).send().await.expect("an answer");
    assert_eq!(again.status(), 200);
    let answer: Value = again.json().await.expect("an answer");
    assert_eq!((&answer["status"], &answer["readings"]), (&"processed".into(), &0.into()), "{answer}");
}

/// A `serve` whose database lies on a disk that loses what it takes while there is a file `while_there`.
fn serve_on_a_lossy_disk(home: &Path, while_there: &Path) -> Command {
    let library = home.join("lossy_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/lossy_disk.c");
    let compiler = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(compiler.expect("the C compiler that SQLite was built with").success(), "see its messages above");
    let mut command = program(home, &["serve"], &[]);
    command.env("LD_PRELOAD", library).env("LOSSY_WHILE", while_there);
    command.env("LOSSY_FILE", home.join("data/bridge.sqlite3"));
    command
}

/// One who reads beside the bridge, as of now.
async fn read_beside(file: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut reader = SqliteConnection::connect_with(&options).await.expect("a database");
    sqlx::query("BEGIN").execute(&mut reader).await.expect("a transaction");
    sqlx::query("SELECT count(*) FROM log").fetch_one(&mut reader).await.expect("a count");
    reader
}

#[actix_web::test]
async fn a_disk_that_loses_what_it_has_taken_ends_the_bridge_and_the_next_start_writes_it_again() {
    for (seed, is_read) in seeds(&[91, 92]).into_iter().flat_map(|seed| [(seed, false), (seed, true)]) {
        let (load, home) = (Load::new(seed, 5), TempDir::new().expect("a temporary folder"));
        let home = home.path().canonicalize().expect("the folder's own name");
        let while_there = home.join("lossy");
        let mut bridge = Bridge::start_by(serve_on_a_lossy_disk(&home, &while_there), "", &home, &[]).await;
        let (target, traffic) = (Target::new(&bridge.url), Traffic::new());
        // With a reader SQLite moves its log in parts, and what it counts as moved outlives the bridge.
        let mut reader = None;
        let loses = async {
            let mut answers = 300;
            loop {
                traffic.answered(answers).await;
                if is_read {
                    reader = Some(read_beside(&home.join("data/bridge.sqlite3")).await);
                }
                std::fs::write(&while_there, "").expect("a file");
                // If all had been moved that the reader sees, nothing is lost before it sees more.
                answers += 100;
            }
        };
        // It ends when the connections break. By then pages may be read that are lost already.
        let ending = async {
            tokio::select! {
                () = load.run(&target, &traffic, &[500, 503]) => {}
                () = loses => {}
            }
        };
        tokio::time::timeout(PATIENCE, ending).await.expect("it ends");
        let (status, lines) = bridge.wait();
        assert_eq!(status.code(), Some(1), "{status}");
        let is_told = |line: &String| line.contains("ERROR") && line.contains("start again");
        assert!(lines.iter().any(is_told), "it says nothing of it:\n{}", lines.join("\n"));
        assert!(load.count(Answer::Processed) > 100, "most of it was acknowledged");
        // The next disk keeps what it takes.
        let bridge = bridge.restart().await;
        if let Some(reader) = &mut reader {
            sqlx::query("COMMIT").execute(reader).await.expect("it has read enough");
        }
        judge(&load, &Target::new(&bridge.url), &bridge.folder).await;
    }
}
