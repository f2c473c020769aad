//! `log read`: the event log beside a running bridge.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::bridge::{Bridge, now_ms, program};
use crate::{Home, Ran, run};

const READ: &[&str] = &["log", "read", "--topic", "biometric-events"];

fn read(bridge: &Bridge, more: &[&str]) -> Ran {
    run(&bridge.folder, &[READ, more].concat(), &[])
}

fn records(bridge: &Bridge, more: &[&str]) -> Vec<Value> {
    let ran = read(bridge, &[more, &["--json"]].concat());
    ran.lines().iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// `count` events of `users` users in turn.
fn events(users: usize, count: usize) -> Value {
    let begin_ms = now_ms() - 100_000;
    let event = |number: usize| {
        let (user, at) = (format!("reader-{}", number % users), rfc3339(begin_ms + number as i64));
        let reading = json!({"metric": "heart_rate", "value": 60, "timestamp": at});
        json!({"device_type": "oura_ring", "user_id": user, "timestamp": at, "readings": [reading]})
    };
    (0..count).map(event).collect()
}

fn rfc3339(at_ms: i64) -> String {
    actors::domain::time::Timestamp::from_ms(at_ms).to_string()
}

/// A bridge with so many events of so many users on its log, all applied.
async fn bridge_with(users: usize, count: usize, settings: &[(&str, &str)]) -> Bridge {
    let bridge = Bridge::start_with(settings).await;
    let (status, answer) = bridge.inject("", &events(users, count)).await;
    assert_eq!((status, &answer["events"]), (200, &json!(count)), "{answer}");
    bridge
        .until("applied", async |bridge| {
            let state = bridge.read(&format!("/v1/users/reader-{}/state", (count - 1) % users)).await;
            state["state_seq"].as_u64() >= Some((count / users) as u64)
        })
        .await;
    bridge
}

#[actix_web::test]
async fn a_read_prints_every_record_in_order_within_its_partition() {
    let bridge = bridge_with(30, 900, &[]).await;
    let all = records(&bridge, &[]);
    assert_eq!(all.len(), 900);
    let mut next: BTreeMap<i64, i64> = BTreeMap::new();
    let mut times: BTreeMap<&str, &str> = BTreeMap::new();
    for record in &all {
        let (partition, offset) = (record["partition"].as_i64(), record["offset"].as_i64());
        let expected = next.entry(partition.expect("a number")).or_default();
        assert_eq!(offset, Some(*expected), "{record}");
        *expected += 1;
        let user = record["key"].as_str().expect("a key");
        assert_eq!(
            (&record["topic"], &record["value"]["user_id"]),
            (&json!("biometric-events"), &json!(user))
        );
        assert_eq!(record["headers"]["schema"], "biometric-event/1");
        assert_eq!(record["headers"]["event_id"], record["value"]["event_id"]);
        let at = record["value"]["timestamp"].as_str().expect("a time");
        assert!(times.insert(user, at).is_none_or(|before| before.len() != at.len() || before <= at));
    }

    // By partition it is the same, and `--from` leaves out what comes before.
    for (partition, end) in next {
        let number = partition.to_string();
        let alone = records(&bridge, &["--partition", &number]);
        let of_all: Vec<&Value> = all.iter().filter(|record| record["partition"] == partition).collect();
        assert_eq!(alone.iter().collect::<Vec<_>>(), of_all);
        let from = (end - 2).to_string();
        let last = records(&bridge, &["--partition", &number, "--from", &from]);
        assert_eq!(last, alone[alone.len() - 2..]);
    }
    let plain = read(&bridge, &["--partition", &all[0]["partition"].to_string()]);
    let fields: Vec<&str> = plain.lines()[0].split('\t').collect();
    let value: Value = serde_json::from_str(fields[2]).expect("JSON");
    assert_eq!(fields[0], format!("{}:0", all[0]["partition"]));
    assert_eq!((fields[1], &value), (all[0]["key"].as_str().expect("a key"), &all[0]["value"]));
}

#[actix_web::test]
async fn a_place_that_is_not_on_the_log_is_told_apart_from_an_empty_one() {
    let home = Home::new();
    let nothing = home.run(READ, &[]);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.stderr.contains("DATA_DIR"), "{nothing:?}");
    assert!(nothing.stderr.contains("run the bridge first"), "{nothing:?}");
    assert!(!home.path().join("data").exists(), "reading made a folder");

    let bridge = Bridge::start().await;
    assert_eq!(read(&bridge, &[]).lines(), [""; 0]);
    assert_eq!(read(&bridge, &["--partition", "11", "--from", "999"]).lines(), [""; 0]);
    let beyond = read(&bridge, &["--partition", "12"]);
    assert_eq!(beyond.code, Some(2));
    assert!(beyond.stderr.contains("0 to 11"), "{beyond:?}");
}

/// A `log read --follow` whose lines are read as they come. Killed when it goes out of scope.
struct Follower {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn start(bridge: &Bridge) -> Self {
        let mut command = program(&bridge.folder, &[READ, &["--follow", "--json"]].concat(), &[]);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Self { process, lines }
    }

    fn next_offset(&mut self) -> Value {
        let line = self.lines.next().expect("a further line").expect("UTF-8");
        let record: Value = serde_json::from_str(&line).expect("a line of JSON");
        record["offset"].clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[actix_web::test]
async fn a_follower_sees_what_comes_also_across_a_restart_of_the_bridge() {
    let bridge = bridge_with(1, 2, &[]).await;
    let mut follower = Follower::start(&bridge);
    assert_eq!([follower.next_offset(), follower.next_offset()], [0, 1]);
    assert_eq!(bridge.inject("", &events(1, 1)).await.0, 200);
    assert_eq!(follower.next_offset(), 2);
    let bridge = bridge.restart().await;
    assert_eq!(bridge.inject("", &events(1, 1)).await.0, 200);
    assert_eq!(follower.next_offset(), 3);
}

#[actix_web::test]
async fn a_reader_whose_output_is_closed_ends_without_a_word() {
    let bridge = bridge_with(1, 2_000, &[]).await;
    // More than a pipe holds, so that it is still printing when its reader goes away, as `head` does.
    for more in [[].as_slice(), &["--json"], &["--follow"]] {
        let mut command = program(&bridge.folder, &[READ, more].concat(), &[]);
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let first = BufReader::with_capacity(64, process.stdout.take().expect("a pipe")).lines().next();
        assert!(first.is_some_and(|line| line.is_ok()));
        let output = process.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{more:?}");
        assert_eq!(output.status.code(), Some(0), "{more:?}");
    }
}

#[actix_web::test]
async fn a_log_of_a_thousand_partitions_is_read_and_applied_whole() {
    let settings = [("KAFKA_PARTITIONS", "1000"), ("CHECKPOINT_INTERVAL_SECONDS", "3600")];
    let bridge = bridge_with(2_000, 2_000, &settings).await;
    assert_eq!(records(&bridge, &[]).len(), 2_000);
    let bridge = bridge.restart().await;
    for user in [0, 1_000, 1_999] {
        let path = format!("/v1/users/reader-{user}/state");
        bridge.until("applied", async |bridge| bridge.read(&path).await["state_seq"] == 1).await;
    }
}
