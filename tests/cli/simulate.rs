//! `simulate`: real traffic to a real bridge.

use actix_web::{App, HttpServer, web};
use serde_json::{Value, json};

use crate::bridge::{Bridge, HEALTHKIT_KEY, OURA_SECRET, PATIENCE};
use crate::{Home, Ran};

const SECRETS: [(&str, &str); 2] =
    [("OURA_WEBHOOK_SECRET", OURA_SECRET), ("HEALTHKIT_API_KEY", HEALTHKIT_KEY)];

/// Runs the command beside the caller's runtime, so that what is sent to may live in this process.
async fn simulate(url: &str, arguments: &[&str]) -> Ran {
    let arguments: Vec<String> =
        ["simulate", "--url", url].iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Home::new().run(&arguments, &SECRETS)
    };
    tokio::task::spawn_blocking(run).await.expect("it ran")
}

/// A server that answers 200 to everything, and what it was sent.
async fn recorder() -> (String, actix_web::dev::ServerHandle, web::Data<parking_lot::Mutex<Vec<String>>>) {
    let seen = web::Data::new(parking_lot::Mutex::new(Vec::new()));
    let data = seen.clone();
    let server = HttpServer::new(move || {
        let record = |body: web::Bytes, seen: web::Data<parking_lot::Mutex<Vec<String>>>| async move {
            seen.lock().push(String::from_utf8(body.to_vec()).expect("UTF-8"));
            web::Json(json!({"status": "processed", "events": 1, "readings": 1}))
        };
        App::new().app_data(data.clone()).default_service(web::to(record))
    });
    let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a free port");
    let url = format!("http://{}", server.addrs()[0]);
    let running = server.run();
    let handle = running.handle();
    actix_web::rt::spawn(running);
    (url, handle, seen)
}

/// What the bodies say apart from when.
fn timeless(bodies: &[String]) -> Vec<(String, String)> {
    let mut told: Vec<_> = bodies
        .iter()
        .map(|body| {
            let body: Value = serde_json::from_str(body).expect("JSON");
            let fields: Vec<_> = body.as_object().expect("an object").keys().cloned().collect();
            (body["user_id"].to_string(), fields.join(" "))
        })
        .collect();
    told.sort();
    told
}

#[actix_web::test]
async fn two_hundred_deliveries_of_all_devices_are_taken_and_their_events_can_be_read() {
    let bridge = Bridge::start().await;
    let arguments = ["--count", "200", "--users", "5", "--seed", "7", "--connections", "8", "--json"];
    let told = simulate(&bridge.url, &arguments).await.json();
    assert_eq!((&told["sent"], &told["answered"], &told["seed"]), (&json!(200), &json!(200), &json!(7)));
    // A notification's data is still to be fetched: 202.
    let notifications = told["devices"]["oura"]["answered"].as_u64().expect("a number");
    assert!((50..90).contains(&notifications), "{told}");
    assert_eq!(told["statuses"], json!({"200": 200 - notifications, "202": notifications}));
    assert_eq!((&told["duplicates"], &told["connection_errors"]), (&json!(0), &json!(0)));
    assert_eq!(told["events"], 200 - notifications);
    for name in ["p50", "p90", "p99", "p99_9", "max"] {
        assert!(told["latency_ms"][name].as_f64().expect("a time") > 0.0, "{name}: {told}");
    }
    let mut events = 0;
    for user in 0..5 {
        let page = bridge.read(&format!("/v1/users/sim-7-{user}/events?limit=1000")).await;
        events += page["events"].as_array().expect("a list").len();
    }
    assert_eq!(events as u64, 200 - notifications);
}

#[actix_web::test]
async fn the_table_has_a_row_for_each_kind_and_one_for_all() {
    let bridge = Bridge::start().await;
    let ran = simulate(&bridge.url, &["--count", "30", "--users", "3", "--batch", "10"]).await;
    let lines = ran.lines();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert!(words(lines[0]).starts_with(&["device", "sent", "answered"].map(str::to_owned)), "{ran:?}");
    let row = |name: &str| {
        let row = lines.iter().map(|line| words(line)).find(|row| row[0] == name);
        row.unwrap_or_else(|| panic!("no row {name}: {ran:?}"))
    };
    for (name, answered) in [("healthkit", "10"), ("oura", "10"), ("oura_inline", "10"), ("all", "30")] {
        assert_eq!(row(name)[1..3], [answered, answered], "{ran:?}");
    }
    assert!(ran.stdout.contains("200: 20, 202: 10"), "{ran:?}");
    assert!(ran.stdout.contains("20 events with"), "{ran:?}");
}

#[actix_web::test]
async fn the_same_seed_sends_the_same_bodies_again() {
    let mut runs = Vec::new();
    for seed in ["7", "7", "8"] {
        let (url, handle, seen) = recorder().await;
        let ran = simulate(&url, &["--count", "60", "--users", "9", "--seed", seed]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        runs.push(timeless(&seen.lock()));
        handle.stop(false).await;
    }
    assert_eq!(runs[0].len(), 60);
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[actix_web::test]
async fn an_open_loop_sends_what_its_schedule_has_or_says_that_it_did_not() {
    let (url, handle, seen) = recorder().await;
    let told = simulate(&url, &["--rate", "400", "--seconds", "0.5", "--json"]).await.json();
    assert_eq!(told["scheduled"], 201, "the first is due at once: {told}");
    let sent = told["sent"].as_u64().expect("a number");
    assert_eq!(sent + told["overflow"].as_u64().expect("a number"), 201, "{told}");
    assert_eq!(seen.lock().len() as u64, sent);
    let told = simulate(&url, &["--rate", "1000", "--count", "50", "--json"]).await.json();
    assert_eq!((&told["scheduled"], &told["answered"]), (&json!(50), &json!(50)));
    handle.stop(false).await;
}

#[actix_web::test]
async fn a_bridge_that_is_not_there_is_exit_1_and_a_mistake_exit_2() {
    let nobody = "http://127.0.0.1:1";
    let ran = simulate(nobody, &["--count", "3", "--connections", "1"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("connection errors: 3"), "{ran:?}");
    for arguments in [
        &["--rate", "0"][..],
        &["--rate", "5", "--connections", "5"],
        &["--count", "5", "--seconds", "5"],
        &["--users", "0"],
        &["--batch", "0"],
        &["--device", "abacus"],
    ] {
        let ran = simulate(nobody, arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
    }
    assert_eq!(simulate("https://127.0.0.1:1", &[]).await.code, Some(2));
    let ran = Home::new().run(&["simulate", "--device", "healthkit", "--url", nobody], &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("HEALTHKIT_API_KEY is not set"), "{ran:?}");
}

#[actix_web::test]
async fn ctrl_c_ends_a_run_early_and_tells_what_there_is() {
    let (url, handle, seen) = recorder().await;
    let folder = Home::new();
    let arguments = ["simulate", "--url", &url, "--rate", "100", "--seconds", "3600", "--json"];
    let mut command = crate::bridge::program(folder.path(), &arguments, &[]);
    let child = command.stdout(std::process::Stdio::piped()).spawn().expect("the program starts");
    let some = async {
        while seen.lock().len() < 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, some).await.expect("requests come");
    let pid = child.id().to_string();
    let interrupted = std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
    assert!(interrupted.success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("it ended");
    let output = output.expect("it ended");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told["answered"].as_u64().expect("a number") >= 20, "{told}");
    handle.stop(false).await;
}
