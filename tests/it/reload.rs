//! The file of thresholds, changed while the bridge runs.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::answers::{ago, listed, log_read};
use crate::bridge::Bridge;

/// How soon a change is in force.
const PROMISED: Duration = Duration::from_secs(2);

fn thresholds(recovery_score_low: u32) -> String {
    format!("thresholds:\n  recovery_score_low: {recovery_score_low}\n")
}

fn recovery(user: &str, score: u32) -> Value {
    json!({
        "device_type": "whoop_band", "user_id": user, "timestamp": ago(30),
        "readings": [{"metric": "recovery_score", "value": score, "unit": "score", "timestamp": ago(30)}],
    })
}

/// Injects events of new users, one after the other, until one is decided on as `mode`: how many there were, and after
/// how long. Each is answered as taken.
async fn decided_as(bridge: &Bridge, first: usize, mode: &str) -> (usize, Duration) {
    let since = Instant::now();
    let mut sent = 0;
    loop {
        let (status, answer) =
            bridge.inject("?wait=applied", &recovery(&format!("user-{}", first + sent), 35)).await;
        assert_eq!((status, &answer["events"]), (200, &json!(1)), "{answer}");
        sent += 1;
        if answer["mode"] == mode {
            return (sent, since.elapsed());
        }
        assert!(since.elapsed() < PROMISED * 10, "never in force");
    }
}

async fn told(bridge: &Bridge) -> Value {
    bridge.read("/health").await["thresholds"].take()
}

async fn until_refused(bridge: &Bridge) -> Value {
    bridge.until("refused", async |bridge| !told(bridge).await["last_refusal"].is_null()).await;
    told(bridge).await
}

#[actix_web::test]
async fn a_change_is_in_force_within_two_seconds_however_it_was_made_and_no_event_is_lost() {
    let home = TempDir::new().expect("a temporary folder");
    let at = |name: &str| home.path().join(name);
    let write = |name: &str, low| std::fs::write(at(name), thresholds(low)).expect("written");
    // As a config map is mounted: a link to a folder that is swapped.
    for (version, low) in [("v1", 20), ("v2", 40)] {
        std::fs::create_dir(at(version)).expect("a folder");
        write(&format!("{version}/thresholds.yaml"), low);
    }
    symlink("v1", at("data-link")).expect("a link");
    symlink("data-link/thresholds.yaml", at("thresholds.yaml")).expect("a link");
    let path = at("thresholds.yaml");
    let bridge = Bridge::start_in(home.path(), &[("BIOMETRIC_CONFIG", path.to_str().expect("UTF-8"))]).await;
    let first = told(&bridge).await;
    let (mut sent, _) = decided_as(&bridge, 0, "PATTERN").await;

    let swap = |target: &str| {
        symlink(target, at("next-link")).expect("a link");
        std::fs::rename(at("next-link"), at("data-link")).expect("swapped");
    };
    let changes: [(&str, &dyn Fn(), &str); 4] = [
        ("a link that is swapped", &|| swap("v2"), "GUARDIAN"),
        ("a link that is swapped back", &|| swap("v1"), "PATTERN"),
        (
            "a new file that is renamed",
            &|| {
                write("thresholds.yaml.tmp", 40);
                std::fs::rename(at("thresholds.yaml.tmp"), &path).expect("renamed");
            },
            "GUARDIAN",
        ),
        ("a file that is written in place", &|| write("thresholds.yaml", 20), "PATTERN"),
    ];
    for (what, change, mode) in changes {
        change();
        let (more, after) = decided_as(&bridge, sent, mode).await;
        assert!(after < PROMISED, "{what}: after {after:?}");
        sent += more;
    }
    let last = told(&bridge).await;
    assert_eq!(last["thresholds_hash"], first["thresholds_hash"]);
    assert_ne!(last["loaded_at"], first["loaded_at"]);
    bridge.until("published", async |bridge| log_read(bridge, "biometric-events").len() == sent).await;
    for number in 0..sent {
        let state = bridge.read(&format!("/v1/users/user-{number}/state")).await;
        assert_eq!(state["state_seq"], 1, "{number}");
    }
}

#[actix_web::test]
async fn a_reload_alone_decides_nothing_and_the_next_switch_tells_its_thresholds() {
    let home = TempDir::new().expect("a temporary folder");
    let path = home.path().join("thresholds.yaml");
    std::fs::write(&path, thresholds(20)).expect("written");
    let bridge = Bridge::start_in(home.path(), &[("BIOMETRIC_CONFIG", path.to_str().expect("UTF-8"))]).await;
    assert_eq!(bridge.inject("?wait=applied", &recovery("u", 35)).await.1["mode"], "PATTERN");
    let before = told(&bridge).await["thresholds_hash"].clone();
    std::fs::write(&path, thresholds(40)).expect("written");
    let changed = async |bridge: &Bridge| told(bridge).await["thresholds_hash"] != before;
    bridge.until("in force", changed).await;
    let switches = listed(&bridge.read("/v1/users/u/mode-switches").await, "mode_switches");
    assert_eq!((&bridge.read("/v1/users/u/state").await["mode"], switches.len()), (&json!("PATTERN"), 0));

    assert_eq!(bridge.inject("?wait=applied", &recovery("u", 35)).await.1["mode"], "GUARDIAN");
    let path = "/v1/users/u/mode-switches";
    bridge
        .until("stored", async |bridge| !listed(&bridge.read(path).await, "mode_switches").is_empty())
        .await;
    let switch = listed(&bridge.read(path).await, "mode_switches").remove(0);
    assert_eq!(switch["explanation"]["thresholds_hash"], told(&bridge).await["thresholds_hash"]);
}

#[actix_web::test]
async fn a_broken_file_is_refused_whole_and_told_until_it_is_right_again() {
    let home = TempDir::new().expect("a temporary folder");
    let path = home.path().join("thresholds.yaml");
    let write = |text: &str| std::fs::write(&path, text).expect("written");
    write(&thresholds(20));
    let settings = [("BIOMETRIC_CONFIG", path.to_str().expect("UTF-8"))];
    let mut bridge = Bridge::start_in(home.path(), &settings).await;
    let first = told(&bridge).await;
    assert_eq!(first["last_refusal"], Value::Null);
    // Half of it is right, and is not taken.
    write("thresholds:\n  recovery_score_low: 40\n  hrv_drop: 3\n");
    let refused = until_refused(&bridge).await;
    assert_eq!(refused["last_refusal"]["line"], 3, "{refused}");
    assert!(
        refused["last_refusal"]["detail"].as_str().is_some_and(|told| told.contains("hrv_drop")),
        "{refused}"
    );
    for kept in ["thresholds_hash", "loaded_at"] {
        assert_eq!(refused[kept], first[kept], "{refused}");
    }
    assert_eq!(bridge.inject("?wait=applied", &recovery("a", 35)).await.1["mode"], "PATTERN");

    // As it was: nothing is refused, and nothing was loaded anew.
    let clears = async |bridge: &Bridge| told(bridge).await["last_refusal"].is_null();
    write(&thresholds(20));
    bridge.until("in order", clears).await;
    assert_eq!(told(&bridge).await, first);
    // Somebody's own limits: of what is wrong there the place is told, and not whose it is.
    write("users:\n  Quux-4711:\n    thresholds:\n      hrv_drop_ms: -1\n");
    let refused = until_refused(&bridge).await;
    assert_eq!(refused["last_refusal"]["line"], 4, "{refused}");
    assert!(!refused.to_string().contains("Quux"), "{refused}");
    write("users:\n  Quux-4711:\n    thresholds:\n      recovery_score_low: 20\n");
    bridge.until("in order", clears).await;
    assert_ne!(told(&bridge).await["thresholds_hash"], first["thresholds_hash"]);
    assert_eq!(bridge.inject("?wait=applied", &recovery("Quux-4711", 35)).await.1["mode"], "PATTERN");
    assert_eq!(bridge.inject("?wait=applied", &recovery("b", 35)).await.1["mode"], "GUARDIAN");
    let last = told(&bridge).await;
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(until_refused(&bridge).await["thresholds_hash"], last["thresholds_hash"]);

    bridge.terminate();
    let (_, lines) = bridge.wait();
    let of_file = |line: &&String| line.contains("thresholds file is refused whole");
    assert_eq!(lines.iter().filter(of_file).count(), 3, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("Quux")), "{lines:#?}");
}

#[actix_web::test]
async fn a_file_that_appears_at_its_default_place_is_taken() {
    let bridge = Bridge::start().await;
    let first = told(&bridge).await;
    assert_eq!(bridge.inject("?wait=applied", &recovery("a", 35)).await.1["mode"], "GUARDIAN");
    let folder = Path::new("config");
    std::fs::create_dir(bridge.folder.join(folder)).expect("a folder");
    let path = bridge.folder.join(folder).join("biometric_thresholds.yaml");
    std::fs::write(path, thresholds(20)).expect("written");
    let changed = async |bridge: &Bridge| told(bridge).await["thresholds_hash"] != first["thresholds_hash"];
    bridge.until("in force", changed).await;
    assert_eq!(bridge.inject("?wait=applied", &recovery("b", 35)).await.1["mode"], "PATTERN");
}
