//! SIGTERM: what is in flight is answered, what is committed is flushed, and the exit code tells how it went.

use std::io::{Read, Write};
use std::net::TcpStream;

use futures_util::future::join;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::bridge::{Bridge, HEALTHKIT_KEY, PATIENCE, now_ms};
use crate::kills::open;
use crate::load::{CANARY, Load, Target, Traffic, seeds};
use crate::oracle::judge;

/// A delivery whose body stops in the middle.
struct HalfSent {
    connection: TcpStream,
    rest: String,
}

impl HalfSent {
    /// Sends the first half, and waits until the bridge has taken the delivery up.
    async fn begin(bridge: &Bridge) -> Self {
        let sample = json!({"type": "heartRate", "value": 72, "timestamp": now_ms() - 1_000});
        let body = json!({"user_id": "slow", "samples": [sample]}).to_string();
        let (first, rest) = body.split_at(20);
        let mut connection = connect(bridge);
        let head = format!(
            "POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {HEALTHKIT_KEY}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        write!(connection, "{head}{first}").expect("sent");
        let taken_up = async |bridge: &Bridge| {
            let metrics = bridge.get("/metrics").await.text().await.expect("text");
            metrics.lines().any(|line| line == "active_webhook_tasks 1")
        };
        bridge.until("taken up", taken_up).await;
        Self { connection, rest: rest.to_owned() }
    }

    /// Sends the rest: status and answer.
    fn finish(mut self) -> (u16, Value) {
        self.connection.write_all(self.rest.as_bytes()).expect("sent");
        let mut answer = String::new();
        self.connection.read_to_string(&mut answer).expect("an answer, then the end");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        (status, serde_json::from_str(body).expect("JSON"))
    }
}

fn connect(bridge: &Bridge) -> TcpStream {
    let connection = TcpStream::connect(bridge.url.trim_start_matches("http://")).expect("a connection");
    connection.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    connection
}

async fn until_not_ready(bridge: &Bridge) {
    bridge.until("stopping", async |bridge| bridge.get("/ready").await.status() == 503).await;
}

#[actix_web::test]
async fn a_bridge_that_is_stopped_under_load_answers_flushes_and_exits_with_0() {
    for seed in seeds(&[71]) {
        let load = Load::new(seed, 4);
        let mut bridge = Bridge::start_with(&[("CHECKPOINT_INTERVAL_SECONDS", "3600")]).await;
        let (target, traffic) = (Target::new(&bridge.url), Traffic::new());
        let terminate = async {
            traffic.answered(80).await;
            bridge.terminate();
        };
        join(load.run(&target, &traffic, &[503]), terminate).await;
        let (status, lines) = bridge.wait();
        assert_eq!(status.code(), Some(0));
        check_lines(&lines);
        check_flushed(&bridge).await;
        let bridge = bridge.restart().await;
        judge(&load, &Target::new(&bridge.url), &bridge.folder).await;
    }
}

/// Every delivery that was taken up was answered; the shutdown told its start and its end.
fn check_lines(lines: &[String]) {
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let with = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    let (begun, done) = (with("webhook taken up"), with("webhook done"));
    assert_eq!(begun.len(), done.len(), "a delivery was left without an answer");
    for line in done {
        assert!([200, 503].contains(&line["status"].as_u64().expect("a status")), "{line}");
    }
    let (start, end) = (with("shutdown started"), with("shutdown ended"));
    assert_eq!((start.len(), end.len()), (1, 1));
    assert_eq!((&end[0]["outbox_left"], &end[0]["is_flushed"]), (&json!(0), &json!(true)), "{}", end[0]);
    assert!(lines.iter().all(|line| !line.to_string().contains(CANARY)), "a log line tells a user's id");
}

/// Nothing is left to do: the outbox is empty, and the checkpoints cover the log up to its end.
async fn check_flushed(bridge: &Bridge) {
    let mut file = open(bridge).await;
    let mut count = async |sql: &'static str| {
        let (count,): (i64,) = sqlx::query_as(sql).fetch_one(&mut file).await.expect("a count");
        count
    };
    assert_eq!(count("SELECT count(*) FROM outbox").await, 0, "messages are left in the outbox");
    let behind = "SELECT count(*) FROM log_ends e WHERE topic = 'biometric-events' AND next_offset > \
                  (SELECT coalesce(max(next_offset), 0) FROM positions p WHERE p.partition = e.partition)";
    assert_eq!(count(behind).await, 0, "partitions are not covered to their end");
    let events = count("SELECT count(*) FROM events").await;
    assert_eq!(count("SELECT sum(state_seq) FROM checkpoints").await, events, "states are not flushed");
    file.close().await.expect("closed");
}

#[actix_web::test]
async fn while_stopping_new_deliveries_are_told_503_and_those_in_flight_are_answered() {
    let mut bridge = Bridge::start().await;
    let slow = HalfSent::begin(&bridge).await;
    bridge.terminate();
    until_not_ready(&bridge).await;
    let ready: Value = bridge.get("/ready").await.json().await.expect("JSON");
    assert_eq!(ready["reasons"], json!(["the bridge is stopping"]));
    assert_eq!(bridge.get("/health").await.status(), 200);
    let sample = json!({"type": "heartRate", "value": 72, "timestamp": now_ms() - 1_000});
    let (status, refused) = bridge.healthkit(&json!({"user_id": "late", "samples": [sample]})).await;
    assert_eq!((status, &refused["error_type"]), (503, &json!("back_pressure")));
    let (status, answer) = slow.finish();
    assert_eq!((status, &answer["status"]), (200, &json!("processed")));
    assert_eq!(bridge.wait().0.code(), Some(0));
    let bridge = bridge.restart().await;
    for (user, events) in [("slow", 1), ("late", 0)] {
        let stored = bridge.read(&format!("/v1/users/{user}/events")).await;
        assert_eq!(stored["events"].as_array().map(Vec::len), Some(events), "{user}");
    }
}

#[actix_web::test]
async fn a_second_sigterm_ends_the_bridge_at_once_and_loses_nothing() {
    let load = Load::new(72, 2);
    let mut bridge = Bridge::start().await;
    let (target, traffic) = (Target::new(&bridge.url), Traffic::new());
    let end = async {
        traffic.answered(30).await;
        traffic.end();
    };
    join(load.run(&target, &traffic, &[]), end).await;
    let _never_finished = HalfSent::begin(&bridge).await;
    bridge.terminate();
    until_not_ready(&bridge).await;
    bridge.terminate();
    assert_eq!(bridge.wait().0.code(), Some(143));
    let bridge = bridge.restart().await;
    judge(&load, &Target::new(&bridge.url), &bridge.folder).await;
}

#[actix_web::test]
async fn a_stop_that_takes_too_long_exits_with_1_and_loses_nothing() {
    let load = Load::new(73, 2);
    let mut bridge = Bridge::start_with(&[("SHUTDOWN_TIMEOUT_SECONDS", "1")]).await;
    let (target, traffic) = (Target::new(&bridge.url), Traffic::new());
    let end = async {
        traffic.answered(30).await;
        traffic.end();
    };
    join(load.run(&target, &traffic, &[]), end).await;
    // While another process holds the file, no state can be flushed.
    let mut file = open(&bridge).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut file).await.expect("the lock");
    bridge.terminate();
    assert_eq!(bridge.wait().0.code(), Some(1));
    file.close().await.expect("closed");
    let bridge = bridge.restart().await;
    judge(&load, &Target::new(&bridge.url), &bridge.folder).await;
}

#[actix_web::test]
async fn a_body_that_never_ends_does_not_keep_the_bridge_from_stopping_in_order() {
    let mut bridge = Bridge::start_with(&[("SHUTDOWN_TIMEOUT_SECONDS", "4")]).await;
    let mut never_finished = HalfSent::begin(&bridge).await;
    bridge.terminate();
    let mut answer = String::new();
    never_finished.connection.read_to_string(&mut answer).expect("an answer, then the end");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(bridge.wait().0.code(), Some(0));
}
