//! `simulate --conformance`: which deployment passes, and which does not.

use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

use crate::bridge::{Bridge, HEALTHKIT_KEY, OURA_SECRET, OURA_TOKEN, TERRA_SECRET, WHOOP_SECRET};
use crate::{Home, Ran};

const SECRETS: [(&str, &str); 5] = [
    ("TERRA_WEBHOOK_SECRET", TERRA_SECRET),
    ("WHOOP_WEBHOOK_SECRET", WHOOP_SECRET),
    ("OURA_WEBHOOK_SECRET", OURA_SECRET),
    ("OURA_VERIFICATION_TOKEN", OURA_TOKEN),
    ("HEALTHKIT_API_KEY", HEALTHKIT_KEY),
];

/// Runs the command beside the caller's runtime, so that what is asked may live in this process.
async fn conformance(url: &str, arguments: &[&str], secrets: &'static [(&str, &str)]) -> Ran {
    let arguments: Vec<String> =
        ["simulate", "--conformance", url].iter().chain(arguments).map(|a| (*a).to_owned()).collect();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Home::new().run(&arguments, secrets)
    };
    tokio::task::spawn_blocking(run).await.expect("it ran")
}

#[actix_web::test]
async fn a_bridge_passes_every_case_time_and_again() {
    let bridge = Bridge::start().await;
    for seed in ["7", "8"] {
        let told = conformance(&bridge.url, &["--json", "--seed", seed], &SECRETS).await.json();
        assert_eq!((&told["failed"], &told["skipped"]), (&json!(0), &json!(0)), "{told}");
        let checks = told["checks"].as_array().expect("a list");
        assert_eq!(told["passed"], checks.len());
        for (device, case) in [
            ("oura", "handshake"),
            ("oura", "good"),
            ("oura", "stale"),
            ("oura", "replayed"),
            ("oura", "duplicate, signed anew"),
            ("oura", "tampered"),
            ("oura", "out of order"),
            ("whoop", "good"),
            ("whoop", "stale"),
            ("whoop", "replayed"),
            ("whoop", "tampered"),
            ("whoop", "out of order"),
            ("terra", "good"),
            ("terra", "stale"),
            ("terra", "replayed"),
            ("terra", "tampered"),
            ("terra", "out of order"),
            ("healthkit", "good and replayed"),
            ("healthkit", "a wrong key"),
        ] {
            let is_there = |check: &Value| check["device"] == device && check["case"] == case;
            assert!(checks.iter().any(is_there), "{device} {case}: {told}");
        }
    }
    let ran = conformance(&bridge.url, &["--device", "healthkit"], &SECRETS).await;
    let lines = ran.lines();
    assert!(lines[0].split_whitespace().eq(["device", "case", "result", "why"]), "{ran:?}");
    assert!(
        lines[1..7].iter().all(|line| line.trim_start().starts_with("healthkit") && line.contains("pass")),
        "{ran:?}"
    );
    assert!(lines.last().expect("a line").contains("6 passed, 0 failed, 0 skipped"), "{ran:?}");
}

#[actix_web::test]
async fn a_server_that_always_answers_200_fails_and_what_lacks_a_secret_is_skipped() {
    let server = HttpServer::new(|| {
        let yes = || async { HttpResponse::Ok().json(json!({"status": "processed", "events": 1})) };
        App::new().default_service(web::to(yes))
    });
    let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a free port");
    let url = format!("http://{}", server.addrs()[0]);
    let running = server.run();
    let handle = running.handle();
    actix_web::rt::spawn(running);
    let ran = conformance(&url, &["--json"], &SECRETS).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let told: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let result = |device: &str, case: &str| {
        let checks = told["checks"].as_array().expect("a list");
        let found = checks.iter().find(|check| check["device"] == device && check["case"] == case);
        found.unwrap_or_else(|| panic!("no {device} {case}: {told}"))["result"].clone()
    };
    for case in [
        "handshake",
        "handshake with a wrong token",
        "stale",
        "of the future",
        "replayed",
        "tampered",
        "unsigned",
    ] {
        assert_eq!(result("oura", case), "fail", "{case}: {told}");
    }
    for case in
        ["good and replayed", "duplicate, in another push", "a wrong key", "without a key", "broken off"]
    {
        assert_eq!(result("healthkit", case), "fail", "{case}: {told}");
    }
    for case in ["stale", "of the future", "replayed", "duplicate, signed anew", "tampered", "unsigned"] {
        assert_eq!(result("whoop", case), "fail", "{case}: {told}");
    }
    for case in ["stale", "of the future", "replayed", "tampered", "out of order", "unsigned"] {
        assert_eq!(result("terra", case), "fail", "{case}: {told}");
    }
    let ran = conformance(&url, &["--device", "healthkit"], &[]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("HEALTHKIT_API_KEY is not set"), "{ran:?}");
    handle.stop(false).await;

    let nobody = conformance("http://127.0.0.1:1", &[], &SECRETS).await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stdout.contains("the connection failed"), "{nobody:?}");
    assert_eq!(conformance("https://127.0.0.1:1", &[], &SECRETS).await.code, Some(2));
    assert_eq!(conformance(&url, &["--rate", "5"], &SECRETS).await.code, Some(2));
    for device in ["whoop", "terra"] {
        let ran = Home::new().run(&["simulate", "--device", device], &SECRETS);
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}
