//! `log read` and `topics create` with the log on Kafka.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bridge::PROGRAM;
use crate::cluster::Cluster;
use crate::{Home, Ran};

const READ: &[&str] = &["log", "read", "--topic", "biometric-events"];

fn on_kafka<'c>(cluster: &'c Cluster, partitions: &'c str) -> [(&'c str, &'c str); 2] {
    [("KAFKA_BOOTSTRAP_SERVERS", &cluster.servers), ("KAFKA_PARTITIONS", partitions)]
}

fn read(cluster: &Cluster, more: &[&str]) -> Ran {
    // What the bridge's settings say of partitions is no matter to a reader.
    Home::new().run(&[READ, more].concat(), &on_kafka(cluster, "12"))
}

fn write(cluster: &Cluster, partition: i32, values: std::ops::Range<usize>) {
    for value in values {
        cluster.write("biometric-events", partition, Some(b"ada"), Some(value.to_string().as_bytes()));
    }
}

#[test]
fn a_topic_on_kafka_is_read_like_the_embedded_one() {
    let cluster = Cluster::start(3);
    assert_eq!(read(&cluster, &[]).lines(), [""; 0]);
    write(&cluster, 0, 0..4);
    write(&cluster, 2, 4..6);
    let mut by_partition: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    for line in read(&cluster, &["--json"]).lines() {
        let record: Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!((&record["topic"], &record["key"]), (&json!("biometric-events"), &json!("ada")));
        by_partition.entry(record["partition"].as_i64().expect("a number")).or_default().push(record);
    }
    let values =
        |partition| -> Vec<&Value> { by_partition[&partition].iter().map(|r| &r["value"]).collect() };
    let offsets =
        |partition| -> Vec<&Value> { by_partition[&partition].iter().map(|r| &r["offset"]).collect() };
    assert_eq!((values(0), offsets(0)), (vec![&json!(0), &json!(1), &json!(2), &json!(3)], values(0)));
    assert_eq!((values(2), offsets(2)), (vec![&json!(4), &json!(5)], vec![&json!(0), &json!(1)]));

    assert_eq!(read(&cluster, &["--partition", "0", "--from", "2"]).lines(), ["0:2\tada\t2", "0:3\tada\t3"]);
    assert_eq!(read(&cluster, &["--from", "99"]).lines(), [""; 0]);
    let beyond = read(&cluster, &["--partition", "3"]);
    assert_eq!(beyond.code, Some(2));
    assert!(beyond.stderr.contains("0 to 2"), "{beyond:?}");
}

#[test]
fn a_follower_on_kafka_sees_what_comes() {
    let cluster = Cluster::start(1);
    write(&cluster, 0, 0..2);
    let home = Home::new();
    let mut follower = Command::new(PROGRAM)
        .args([READ, &["--follow", "--from", "1"]].concat())
        .current_dir(home.path())
        .env_clear()
        .envs(on_kafka(&cluster, "1"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a further line").expect("UTF-8");
    assert_eq!(next(), "0:1\tada\t1");
    write(&cluster, 0, 2..4);
    assert_eq!([next(), next()], ["0:2\tada\t2", "0:3\tada\t3"]);
    follower.kill().expect("it runs");
    follower.wait().expect("it ends");
}

#[test]
fn a_topic_that_is_missing_on_kafka_and_brokers_that_are_away_are_told() {
    let cluster = Cluster::without_topics();
    let missing = read(&cluster, &[]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("the topic biometric-events does not exist"), "{missing:?}");
    cluster.down();
    let away = read(&cluster, &[]);
    assert_eq!(away.code, Some(1));
    assert!(away.stderr.contains("unavailable"), "{away:?}");
}

#[test]
fn topics_that_exist_are_left_as_they_are() {
    let cluster = Cluster::start(2);
    let home = Home::new();
    let ran = home.run(&["topics", "create"], &on_kafka(&cluster, "2"));
    assert_eq!(
        ran.lines(),
        [
            "exists   biometric-events",
            "exists   biometric-events.dlq",
            "exists   neuros-mode-switches",
            "exists   neuros-user-state",
            "exists   terra-biometric-events",
            "exists   biometric-sources",
        ]
    );
    let topics = home.run(&["topics", "create", "--json"], &on_kafka(&cluster, "2")).json();
    assert_eq!(topics["topics"][0], json!({"name": "biometric-events", "state": "exists"}));

    let differs = home.run(&["topics", "create"], &on_kafka(&cluster, "4"));
    assert_eq!(differs.code, Some(2));
    assert!(
        differs.stdout.contains("KAFKA_PARTITIONS is 4, the topic biometric-events has 2"),
        "{differs:?}"
    );
}

#[test]
fn topics_cannot_be_made_without_brokers() {
    let home = Home::new();
    let unset = home.run(&["topics", "create"], &[]);
    assert_eq!(unset.code, Some(2));
    assert!(unset.stderr.contains("KAFKA_BOOTSTRAP_SERVERS"), "{unset:?}");

    let cluster = Cluster::without_topics();
    cluster.down();
    let away = home.run(&["topics", "create"], &on_kafka(&cluster, "2"));
    assert_eq!(away.code, Some(1));
    assert_eq!(away.stdout.lines().filter(|line| line.starts_with("failed   ")).count(), 6, "{away:?}");
}
