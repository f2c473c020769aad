//! Settings, from where they come and what is said of mistakes in them.

use std::path::Path;
use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::answers::{ago, send};
use crate::bridge::{Bridge, program};

/// Starts a bridge that must refuse to: what it says.
fn refuse(folder: &Path, settings: &[(&str, &str)]) -> String {
    let Output { status, stdout, stderr } =
        program(folder, &["serve"], settings).output().expect("the program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(2), "{said}");
    said
}

async fn service(bridge: &Bridge) -> Value {
    send(bridge.request(Method::GET, "/health")).await.json()["service"].clone()
}

#[actix_web::test]
async fn every_mistake_is_told_at_once_with_what_is_allowed_and_no_secret() {
    let home = TempDir::new().expect("a temporary folder");
    let said = refuse(
        home.path(),
        &[
            ("MAX_CONCURRENT_WEBHOOKS", "0"),
            ("WORKERS", "257"),
            ("OURA_ENABLED", "perhaps"),
            ("METRICS_PORT", "65536"),
            ("WEBHOOK_TOLERANCE_SECONDS", "five"),
            ("LOG_LEVEL", "LOUD"),
            ("BIND_ADDR", "here"),
            ("METRICS_NAMESPACE", "a-b"),
            ("API_KEY_FILE", "no such file"),
            ("ADMIN_API_KEY", "secret-4711"),
        ],
    );
    for told in [
        "MAX_CONCURRENT_WEBHOOKS",
        "1000",
        "WORKERS",
        "256",
        "OURA_ENABLED",
        "METRICS_PORT",
        "65535",
        "WEBHOOK_TOLERANCE_SECONDS",
        "LOG_LEVEL",
        "BIND_ADDR",
        "METRICS_NAMESPACE",
        "API_KEY",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains("4711"), "{said}");
    assert!(!home.path().join("data").exists(), "nothing is made before the settings are right");
}

#[actix_web::test]
async fn limits_are_allowed_to_the_last_number() {
    for (name, low, high) in [("MAX_CONCURRENT_WEBHOOKS", "1", "1000"), ("WORKERS", "1", "256")] {
        for value in [low, high] {
            // 256 threads are many for a test: that they may be asked for is seen by the other mistake alone.
            let home = TempDir::new().expect("a temporary folder");
            let said = refuse(home.path(), &[(name, value), ("LOG_LEVEL", "LOUD")]);
            assert!(said.contains("LOG_LEVEL") && !said.contains(name), "{name}={value}: {said}");
        }
    }
}

#[actix_web::test]
async fn the_environment_goes_before_the_dotenv_and_that_before_the_file() {
    let home = TempDir::new().expect("a temporary folder");
    let write = |path: &str, text: &str| std::fs::write(home.path().join(path), text).expect("written");
    let start =
        async |settings: &[(&str, &str)]| service(&Bridge::start_in(home.path(), settings).await).await;
    assert_eq!(start(&[]).await, "biometric-bridge");
    std::fs::create_dir(home.path().join("config")).expect("a folder");
    write("config/bridge.toml", "SERVICE_NAME = \"of the file\"\n");
    assert_eq!(start(&[]).await, "of the file");
    write(".env", "SERVICE_NAME=dotenv\nNOT_OURS=whatever\n");
    assert_eq!(start(&[]).await, "dotenv");
    assert_eq!(
        start(&[("SERVICE_NAME", "of the environment"), ("NOT_OURS_EITHER", "x")]).await,
        "of the environment"
    );
}

#[actix_web::test]
async fn a_secret_may_stand_in_a_file() {
    let home = TempDir::new().expect("a temporary folder");
    let path = home.path().join("api-key");
    std::fs::write(&path, "key-of-the-file\n").expect("written");
    let settings = [("API_KEY", ""), ("API_KEY_FILE", path.to_str().expect("UTF-8"))];
    let bridge = Bridge::start_in(home.path(), &settings).await;
    let get = |key| bridge.request(Method::GET, "/v1/users/u/state").bearer_auth(key);
    assert_eq!(send(get("key-of-the-file")).await.status, 200);
    assert_eq!(send(get("another key")).await.status, 401);
}

#[actix_web::test]
async fn thresholds_come_from_the_file_that_is_named() {
    let home = TempDir::new().expect("a temporary folder");
    let path = home.path().join("thresholds.yaml");
    let settings = [("BIOMETRIC_CONFIG", path.to_str().expect("UTF-8"))];
    assert!(refuse(home.path(), &settings).contains("BIOMETRIC_CONFIG"), "a named file must be there");
    for wrong in ["thresholds:\n  hrv_drop_ms: -1\n", "thresholds:\n  telepathy: 1\n", "thresholds: ["] {
        std::fs::write(&path, wrong).expect("written");
        assert!(refuse(home.path(), &settings).contains("line"), "{wrong}");
    }
    std::fs::write(&path, "thresholds:\n  recovery_score_low: 20\n").expect("written");
    let bridge = Bridge::start_in(home.path(), &settings).await;
    for (user, score, mode) in [("below", 19, "GUARDIAN"), ("at", 20, "PATTERN")] {
        let event = json!({
            "device_type": "whoop_band", "user_id": user, "timestamp": ago(30),
            "readings": [{"metric": "recovery_score", "value": score, "unit": "score", "timestamp": ago(30)}],
        });
        assert_eq!(bridge.inject("?wait=applied", &event).await.1["mode"], mode, "{score}");
    }
}
