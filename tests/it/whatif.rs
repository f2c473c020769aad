//! `whatif`: stored events, replayed by other thresholds.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::answers::{Past, listed, log_read};
use crate::bridge::{Bridge, program};

fn whatif(folder: &Path, yaml: &str, arguments: &[&str]) -> Output {
    std::fs::write(folder.join("candidate.yaml"), yaml).expect("written");
    let all = [&["whatif", "--config", "candidate.yaml"], arguments].concat();
    program(folder, &all, &[]).output().expect("the program starts")
}

fn compared(folder: &Path, yaml: &str, arguments: &[&str]) -> Value {
    let output = whatif(folder, yaml, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn event(user: &str, at: &str, recovery: f64) -> Value {
    json!({
        "device_type": "whoop_band", "user_id": user, "timestamp": at, "received_at": at,
        "readings": [{"metric": "recovery_score", "value": recovery, "timestamp": at}],
    })
}

/// Four users with two hours in between, all applied.
async fn bridge_with_history(past: &Past) -> Bridge {
    let bridge = Bridge::start().await;
    let (then, now) = (past.ago(7_200), past.ago(60));
    let events = [
        event("low", &then, 35.0),
        event("lower", &then, 20.0),
        event("high", &then, 80.0),
        event("restless", &then, 35.0),
        event("low", &now, 36.0),
        event("lower", &now, 21.0),
        event("high", &now, 81.0),
        event("restless", &now, 45.0),
    ];
    assert_eq!(bridge.inject("", &json!(events)).await.1["events"], 8);
    for user in ["low", "lower", "high", "restless"] {
        let path = format!("/v1/users/{user}/state");
        bridge.until("applied", async |bridge| bridge.read(&path).await["state_seq"] == 2).await;
    }
    for user in ["low", "lower", "restless"] {
        let path = format!("/v1/users/{user}/mode-switches");
        let is_stored = async |bridge: &Bridge| listed(&bridge.read(&path).await, "mode_switches").len() == 1;
        bridge.until("stored", is_stored).await;
    }
    bridge
}

/// Everything that the read API and the log tell of these users.
async fn all_that_is_told(bridge: &Bridge) -> Vec<Value> {
    let mut told = log_read(bridge, "biometric-events");
    // Partitions come in any order.
    told.sort_by_key(|record| record["value"]["event_id"].to_string());
    for user in ["low", "lower", "high", "restless"] {
        for part in ["events", "mode-switches"] {
            told.push(bridge.read(&format!("/v1/users/{user}/{part}")).await);
        }
    }
    told
}

fn files_in(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let is_beside = |name: &str| name.ends_with("-shm") || name.ends_with("-wal");
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let named = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    let mut files: Vec<_> = named
        .filter(|(name, path)| path.is_file() && !is_beside(name))
        .map(|(name, path)| (name, std::fs::read(path).expect("read")))
        .collect();
    files.sort();
    files
}

#[actix_web::test]
async fn one_other_threshold_changes_the_switches_that_hang_on_it_and_no_others() {
    let past = Past::new();
    let mut bridge = bridge_with_history(&past).await;
    let before = all_that_is_told(&bridge).await;
    let low = compared(&bridge.folder, "thresholds: {recovery_score_low: 30}", &["--show-ids"]);
    assert_eq!([&low["users"], &low["events"], &low["unreadable"]], [&json!(4), &json!(8), &json!(0)]);
    assert_eq!([&low["current"]["switches"], &low["candidate"]["switches"]], [&json!(3), &json!(1)]);
    assert_eq!(
        [&low["current"]["to"]["GUARDIAN"], &low["candidate"]["to"]["GUARDIAN"]],
        [&json!(3), &json!(1)]
    );
    assert_ne!(low["current"]["thresholds_hash"], low["candidate"]["thresholds_hash"]);
    assert_eq!(low["changed_users"], 2);
    let switched = json!({"from_mode": "PATTERN", "to_mode": "GUARDIAN", "reason": "guardian.recovery"});
    for (place, user) in ["low", "restless"].into_iter().enumerate() {
        let told = &low["most_changed"][place];
        assert_eq!([&told["user"], &told["changed"]], [&json!(user), &json!(1)], "{low}");
        let change = json!([{"timestamp": past.ago(7_200), "current": switched, "candidate": null}]);
        assert_eq!(told["changes"], change);
    }

    // GUARDIAN is left earlier: a switch more, which takes the one before back.
    let moderate = "thresholds: {recovery_score_moderate: 40}";
    let left = compared(&bridge.folder, moderate, &["--flap-minutes", "180"]);
    assert_eq!([&left["current"]["switches"], &left["candidate"]["switches"]], [&json!(3), &json!(4)]);
    assert_eq!([&left["current"]["flaps"], &left["candidate"]["flaps"]], [&json!(0), &json!(1)]);
    assert_eq!([&left["candidate"]["flapping_rate"], &left["changed_users"]], [&json!(0.25), &json!(1)]);
    assert_eq!(compared(&bridge.folder, moderate, &["--flap-minutes", "60"])["candidate"]["flaps"], 0);
    // From an hour ago on: what was before is history, by the thresholds in force on both sides.
    let late = compared(&bridge.folder, moderate, &["--from", &past.ago(3_600)]);
    assert_eq!([&late["current"]["switches"], &late["candidate"]["switches"]], [&json!(0), &json!(1)]);
    let early = compared(&bridge.folder, moderate, &["--to", &past.ago(3_600)]);
    assert_eq!([&early["current"]["switches"], &early["candidate"]["switches"]], [&json!(3), &json!(3)]);
    assert_eq!(early["changed_users"], 0);
    // Somebody's own limits.
    let own = "users: {low: {thresholds: {recovery_score_low: 30}}}";
    let own = compared(&bridge.folder, own, &["--show-ids"]);
    assert_eq!(
        (own["most_changed"].as_array().map(Vec::len), &own["most_changed"][0]["user"]),
        (Some(1), &json!("low"))
    );

    // Beside a running bridge and without one: nothing is changed.
    assert_eq!(all_that_is_told(&bridge).await, before);
    bridge.terminate();
    bridge.wait();
    let files = files_in(&bridge.folder.join("data"));
    assert_eq!(compared(&bridge.folder, moderate, &[])["events"], 8);
    assert!(files_in(&bridge.folder.join("data")) == files, "the store is not byte for byte what it was");
}

#[actix_web::test]
async fn the_same_thresholds_change_nothing_and_users_are_masked() {
    let past = Past::new();
    let bridge = bridge_with_history(&past).await;
    let same = compared(&bridge.folder, "", &[]);
    assert_eq!(same["current"], same["candidate"]);
    assert_eq!([&same["changed_users"], &same["most_changed"]], [&json!(0), &json!([])]);
    assert_eq!(same["current"]["switches"], 3);

    let output = whatif(&bridge.folder, "thresholds: {recovery_score_low: 30}", &["--top", "1"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        text.contains("8 events of 4 users") && text.contains("2 users would switch otherwise"),
        "{text}"
    );
    assert!(!text.contains("restless") && !text.contains("low "), "{text}");
    let masked = compared(&bridge.folder, "thresholds: {recovery_score_low: 30}", &["--top", "1"]);
    let users = masked["most_changed"].as_array().expect("a list");
    let is_mask = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(users.len() == 1 && users[0]["user"].as_str().is_some_and(is_mask), "{masked}");
}

#[actix_web::test]
async fn a_candidate_that_is_wrong_is_refused_with_its_line() {
    let bridge = Bridge::start().await;
    let wrong = whatif(&bridge.folder, "thresholds:\n  hrv_drop: 3\n", &[]);
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        wrong.status.code() == Some(2) && told.contains("line 2") && told.contains("candidate.yaml"),
        "{told}"
    );
    let turned = ["--from", "2026-11-02", "--to", "2026-11-01"];
    assert_eq!(whatif(&bridge.folder, "", &turned).status.code(), Some(2));
    let missing = ["whatif", "--config", "nowhere.yaml"];
    let missing = program(&bridge.folder, &missing, &[]).output().expect("the program starts");
    assert_eq!(missing.status.code(), Some(2));
    let empty = compared(&bridge.folder, "", &[]);
    assert_eq!([&empty["users"], &empty["events"]], [&json!(0), &json!(0)]);
}
