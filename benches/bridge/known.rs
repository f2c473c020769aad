//! Many more users known than live: those who come make others go, who return with the state that went.

use std::time::{Duration, Instant};

use actors::ports::{Clock as _, clock::SystemClock};
use biometric_bridge::traffic::{End, Kind, Latencies, Pace, Plan, plain_client};
use reqwest::Client;
use serde_json::{Value, json};

use crate::family::Family;
use crate::machine;
use crate::options::Options;
use crate::process::{SECRET, Server, folder, plan};
use crate::report::Results;

/// Connections that send.
const CONNECTIONS: usize = 64;
/// So many who have gone return, one after the other.
const RETURNS: usize = 1_000;

/// Fills a bridge with as many users as may be live, lets the others come, and then some of the first again.
pub(crate) fn run(options: &Options, family: &Family, results: &mut Results) {
    let (live, known) = (options.users, options.known.max(2 * options.users));
    let home = folder();
    let mut settings = family.settings.clone();
    settings.push(("USERS_LIVE_MAX".to_owned(), live.to_string()));
    settings.push(("ENABLE_INJECTION".to_owned(), "true".to_owned()));
    let mut bridge = Server::bridge(home.path(), &settings);
    let first = Plan { users: live, kinds: vec![Kind::HealthKit], ..plan() };
    come(&mut bridge, &first, 0);
    let full_kib = machine::memory_kib(bridge.pid(), "VmRSS");

    let others = Plan { users: known - live, seed: !first.seed, ..first.clone() };
    let (started, cpu) = (Instant::now(), machine::cpu(bridge.pid()));
    come(&mut bridge, &others, live as u64);
    let (elapsed, cpu) = (started.elapsed(), machine::cpu(bridge.pid()).saturating_sub(cpu));
    let of_each = |time: Duration| time.as_secs_f64() * 1e6 / others.users as f64;
    results.figure(
        format!("known: {} users who came when {live} were live, until applied", others.users),
        format!("{:.0} a second, {:.0} µs of CPU each", 1e6 / of_each(elapsed), of_each(cpu)),
    );
    results.figure(
        format!("known: RSS with {known} users known, {} live", live_users(&bridge)),
        format!(
            "{} MiB ({} MiB when {live} were all; highest {} MiB)",
            machine::memory_kib(bridge.pid(), "VmRSS") / 1_024,
            full_kib / 1_024,
            machine::memory_kib(bridge.pid(), "VmHWM") / 1_024
        ),
    );
    let latencies = bridge.block_on(returns(&bridge.url, &first));
    let ms = |q| latencies.quantile(q).unwrap_or_default().as_secs_f64() * 1e3;
    results.figure(
        format!("known: {RETURNS} who had gone, from the event to the mode that it makes, by HTTP"),
        format!("p50 {:.1} ms, p99 {:.1} ms", ms(0.5), ms(0.99)),
    );
    bridge.stop();

    let starting = Instant::now();
    let bridge = Server::bridge(home.path(), &settings);
    results.figure(
        format!("known: start with {known} users known until ready"),
        format!("{:.2} s", starting.elapsed().as_secs_f64()),
    );
    bridge.stop();
}

/// Everybody of the plan sends a sample. Waits until they are all applied, besides what has been before.
fn come(bridge: &mut Server, plan: &Plan, before: u64) {
    let pace = Pace::Closed { connections: CONNECTIONS };
    let sent = bridge.send(plan, pace, End::Count(plan.users as u64)).total();
    assert_eq!(sent.events, plan.users as u64, "each user has sent an event");
    bridge.until_applied(before + sent.events);
}

fn live_users(bridge: &Server) -> u64 {
    let users = bridge.get("/actors/users").expect("an actor");
    let users: Value = serde_json::from_str(&users).expect("JSON");
    users["live"].as_u64().expect("a number")
}

/// Those who came first send again: each one's second event.
async fn returns(url: &str, plan: &Plan) -> Latencies {
    let http = plain_client().build().expect("a client");
    let mut latencies = Latencies::default();
    for number in 0..RETURNS.min(plan.users) {
        let user = plan.user_id(number as u64);
        let now = SystemClock.now().to_string();
        let event = json!({
            "device_type": "apple_health", "user_id": user, "timestamp": now, "kind": "sample",
            "readings": [{
                "metric": "heart_rate", "value": 70.0, "unit": "bpm", "timestamp": now, "confidence": 1.0,
            }],
        });
        let request = http.post(format!("{url}/admin/inject?wait=applied")).body(event.to_string());
        let started = Instant::now();
        let answer = json_of(&http, request.header("content-type", "application/json")).await;
        latencies.record(started.elapsed());
        assert_eq!(answer["mode"], "PATTERN", "{answer}");
        let state = json_of(&http, http.get(format!("{url}/v1/users/{user}/state"))).await;
        assert_eq!(state["state_seq"], 2, "the state that went has come back: {state}");
    }
    latencies
}

async fn json_of(http: &Client, request: reqwest::RequestBuilder) -> Value {
    let request = request.bearer_auth(SECRET).build().expect("a request");
    let answer = http.execute(request).await.expect("an answer");
    let text = answer.text().await.expect("a text");
    serde_json::from_str(&text).expect("JSON")
}
