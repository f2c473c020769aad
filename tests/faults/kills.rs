//! `kill -9` at any moment.

use std::fs::OpenOptions;
use std::io::Write;

use futures_util::future::join;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::bridge::{Bridge, now_ms};
use crate::load::{Answer, CANARY, Load, Target, Traffic, seeds};
use crate::oracle::judge;

/// Kills a bridge under load as often as `kills` says, each time after a number of answers that the seed gives.
async fn kill_under_load(seed: u64, kills: usize, settings: &[(&str, &str)]) {
    let load = Load::new(seed, 5);
    let mut dice = StdRng::seed_from_u64(seed);
    let mut bridge = Bridge::start_with(settings).await;
    for _ in 0..kills {
        let (target, traffic) = (Target::new(&bridge.url), Traffic::new());
        let answers = dice.random_range(1..250);
        let kill = async {
            traffic.answered(answers).await;
            bridge.kill()
        };
        let ((), lines) = join(load.run(&target, &traffic, &[]), kill).await;
        let leak = lines.iter().find(|line| line.contains(CANARY));
        assert!(leak.is_none(), "a log line tells a user's id: {leak:?}");
        bridge = bridge.restart().await;
    }
    judge(&load, &Target::new(&bridge.url), &bridge.folder).await;
    // A run in which nothing was in flight and nothing came twice proves nothing.
    assert!(load.count(Answer::Unknown) >= kills, "no delivery was in flight at a kill");
    assert!(load.count(Answer::Duplicate) > 0, "no delivery was repeated");
}

#[actix_web::test]
async fn what_was_acknowledged_survives_kills_at_any_moment() {
    for seed in seeds(&[11, 12]) {
        kill_under_load(seed, 4, &[]).await;
    }
}

#[actix_web::test]
async fn what_was_acknowledged_survives_kills_while_checkpoints_are_written() {
    for seed in seeds(&[21]) {
        kill_under_load(seed, 4, &[("CHECKPOINT_INTERVAL_SECONDS", "1"), ("KAFKA_PARTITIONS", "1")]).await;
    }
}

#[actix_web::test]
async fn what_was_acknowledged_survives_kills_while_users_are_put_away() {
    for seed in seeds(&[41]) {
        kill_under_load(seed, 2, &[("USERS_LIVE_MAX", "2"), ("USER_IDLE_SECONDS", "1")]).await;
    }
}

#[actix_web::test]
async fn users_who_are_put_away_are_known_come_back_and_survive_a_kill() {
    const USERS: i64 = 30;
    let settings =
        [("USERS_LIVE_MAX", "10"), ("USER_IDLE_SECONDS", "2"), ("CHECKPOINT_INTERVAL_SECONDS", "3600")];
    let mut bridge = Bridge::start_with(&settings).await;
    let begin_ms = now_ms() - 3_600_000;
    for round in 0..2 {
        for number in 0..USERS {
            // A metric that decides nothing: only being put away is a reason for a checkpoint.
            let sample =
                json!({"type": "respiratoryRate", "value": 14, "timestamp": begin_ms + round * 1_000});
            let push = json!({"user_id": format!("user-{number}"), "samples": [sample]});
            let (status, answer) = bridge.healthkit(&push).await;
            assert_eq!((status, &answer["status"]), (200, &json!("processed")));
        }
        for number in 0..USERS {
            let path = format!("/v1/users/user-{number}/state");
            bridge.until("applied", async |bridge| bridge.read(&path).await["state_seq"] == round + 1).await;
        }
        let live = bridge.read("/actors/users").await["live"].as_i64().expect("a number");
        assert!(live <= 10, "{live} are live");
    }
    bridge.until("idle", async |bridge| bridge.read("/actors/users").await["live"] == 0).await;
    bridge.kill();
    let bridge = bridge.restart().await;
    for number in 0..USERS {
        let state = bridge.read(&format!("/v1/users/user-{number}/state")).await;
        assert_eq!(state["state_seq"], 2, "as of the checkpoint that it was put away into");
    }
}

#[actix_web::test]
async fn states_without_a_checkpoint_are_rebuilt_from_the_log() {
    let mut bridge = Bridge::start_with(&[("CHECKPOINT_INTERVAL_SECONDS", "3600")]).await;
    let begin_ms = now_ms() - 3_600_000;
    for number in 0..20_i64 {
        // A metric that decides nothing: no change of it is worth a checkpoint before the interval is over.
        let sample = json!({"type": "respiratoryRate", "value": 14, "timestamp": begin_ms + number * 1_000});
        let (status, answer) = bridge.healthkit(&json!({"user_id": "resting", "samples": [sample]})).await;
        assert_eq!((status, &answer["status"]), (200, &json!("processed")));
    }
    bridge.kill();
    let mut file = open(&bridge).await;
    let (checkpoints,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM checkpoints").fetch_one(&mut file).await.expect("a count");
    assert_eq!(checkpoints, 0, "there is a checkpoint, so this test shows nothing");
    file.close().await.expect("closed");
    let bridge = bridge.restart().await;
    bridge
        .until("rebuilt", async |bridge| bridge.read("/v1/users/resting/state").await["state_seq"] == 20)
        .await;
}

#[actix_web::test]
async fn a_torn_write_at_the_end_of_the_write_ahead_log_hides_nothing_acknowledged() {
    for seed in seeds(&[31]) {
        let load = Load::new(seed, 3);
        let mut bridge = Bridge::start().await;
        let (target, traffic) = (Target::new(&bridge.url), Traffic::new());
        let kill = async {
            traffic.answered(60).await;
            bridge.kill()
        };
        join(load.run(&target, &traffic, &[]), kill).await;
        // What a power cut in the middle of the next commit leaves: a part of a frame, of any content.
        let mut torn = vec![0; 3_000];
        StdRng::seed_from_u64(seed).fill_bytes(&mut torn);
        let path = bridge.folder.join("data/bridge.sqlite3-wal");
        let mut log = OpenOptions::new().append(true).open(path).expect("a write-ahead log");
        log.write_all(&torn).expect("written");
        drop(log);
        let bridge = bridge.restart().await;
        judge(&load, &Target::new(&bridge.url), &bridge.folder).await;
    }
}

/// A connection of its own to a bridge's file.
pub(crate) async fn open(bridge: &Bridge) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(bridge.folder.join("data/bridge.sqlite3"));
    SqliteConnection::connect_with(&options).await.expect("the database opens")
}
