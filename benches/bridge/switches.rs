//! From the log to the published switch: a bridge under a steady load, and now and then a user who switches.

use std::collections::HashMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use actors::domain::message::Topic;
use actors::ports::{Clock as _, clock::SystemClock};
use biometric_bridge::adapters::sqlite_file::connect_to_read;
use biometric_bridge::app::DataDir;
use biometric_bridge::traffic::{End, Latencies, Pace, plain_client};
use serde_json::json;
use sqlx::SqliteConnection;

use crate::family::Family;
use crate::machine::Stolen;
use crate::options::Options;
use crate::process::{SECRET, Server, folder, plan};
use crate::report::{Results, Row};

/// Events a second, in an open loop, of users who stay in their mode …
const EVENTS_PER_SECOND: f64 = 1_900.0;
/// … and of users who come, are strained, and make one switch each.
const SWITCHES_PER_SECOND: u32 = 100;
/// At least so long, whatever `BENCH_SECONDS` says: a p99 wants a few thousand.
const TIME_MIN: Duration = Duration::from_secs(20);
/// Until the bridge is warm nothing is counted.
const WARM_UP: Duration = Duration::from_secs(3);
/// How often the log is looked at: so much at most is measured besides, or too little.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// After the last event nothing takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures it.
pub(crate) fn run(options: &Options, family: &Family, results: &mut Results) {
    let home = folder();
    let bridge = Server::bridge(home.path(), &family.settings);
    let time = options.seconds.max(TIME_MIN);
    let stolen = Stolen::now();
    let load = Pace::Open { per_second: EVENTS_PER_SECOND };
    let (report, (latencies, switches)) = thread::scope(|scope| {
        let following = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(follow(&bridge.url, home.path(), time))
        });
        let report = bridge.send(&plan(), load, End::After(WARM_UP + time));
        (report, following.join().expect("it was followed"))
    });
    let total = report.total();
    let per_second = EVENTS_PER_SECOND + f64::from(SWITCHES_PER_SECOND);
    let what = format!("switch_latency: {per_second} events a second, from log to switch published");
    let mut row = Row::new(&what, total.succeeded() as f64 / report.elapsed.as_secs_f64());
    row.latencies(&latencies);
    row.refused = total.sent - total.succeeded() + report.overflow;
    results.add(row);
    results.figure(
        "switch_latency: switches that were followed".to_owned(),
        format!("{} of {switches}", latencies.len()),
    );
    results.figure(
        "switch_latency: processor time that other machines took meanwhile".to_owned(),
        format!("{:.1} %", stolen.percent_since()),
    );
    bridge.stop();
}

/// What those who switch have on the log, events and switches in one look: whoever measures shares the cores with whom
/// he measures.
struct Reader {
    connection: SqliteConnection,
    seen: i64,
}

impl Reader {
    async fn open(home: &Path) -> Self {
        let path = DataDir::database_in(&home.join("data"));
        Self { connection: connect_to_read(&path).await.expect("a log"), seen: 0 }
    }

    /// Topics and users that have come since the last look.
    async fn look(&mut self) -> Vec<(Option<Topic>, String)> {
        let rows: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT rowid, topic, key FROM log WHERE rowid > ? AND +key GLOB 'strained-*' ORDER BY rowid",
        )
        .bind(self.seen)
        .fetch_all(&mut self.connection)
        .await
        .expect("the log");
        self.seen = rows.last().map_or(self.seen, |(row, ..)| *row);
        rows.into_iter().map(|(_, topic, user)| (Topic::from_name(&topic), user)).collect()
    }
}

/// Makes users switch at a steady rate, and looks when each one's event and its switch come on the log. The latencies
/// after the warm-up, and how many there should be.
async fn follow(url: &str, home: &Path, time: Duration) -> (Latencies, u32) {
    let mut reader = Reader::open(home).await;
    let begins = Instant::now() + WARM_UP;
    let ends = begins + time;
    let sending = async {
        let http = plain_client().build().expect("a client");
        let mut due = tokio::time::interval(Duration::from_secs(1) / SWITCHES_PER_SECOND);
        let (mut sent, mut counted) = (Vec::new(), 0);
        while Instant::now() < ends {
            due.tick().await;
            // Not waited for: a slow answer delays no other.
            sent.push(tokio::spawn(strain(http.clone(), url.to_owned(), sent.len())));
            counted += u32::from(Instant::now() >= begins);
        }
        for answer in sent {
            assert!(answer.await.expect("it was sent"), "every strain is taken");
        }
        counted
    };
    let reading = async {
        // By user: when the event came on the log.
        let mut on_log = HashMap::new();
        let mut latencies = Latencies::default();
        let mut last = Instant::now();
        while Instant::now() < ends || !on_log.is_empty() {
            let come = reader.look().await;
            let now = Instant::now();
            for (topic, user) in come {
                match topic {
                    Some(Topic::BiometricEvents) => drop(on_log.insert(user, now)),
                    Some(Topic::ModeSwitches) => {
                        last = now;
                        let at = on_log.remove(&user).expect("the event that it comes from is before it");
                        if at >= begins {
                            latencies.record(now.duration_since(at));
                        }
                    }
                    _ => {}
                }
            }
            assert!(last.elapsed() < PATIENCE, "{} events have not switched", on_log.len());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        latencies
    };
    let (counted, latencies) = tokio::join!(sending, reading);
    (latencies, counted)
}

/// One reading of a user who is new, and so low that it is REFLEX without a baseline.
async fn strain(http: reqwest::Client, url: String, number: usize) -> bool {
    let body = json!({"user_id": format!("strained-{number}"), "samples": [{
        "type": "heartRateVariabilitySDNN", "value": 12.0, "unit": "ms", "source": "Apple Watch",
        "timestamp": SystemClock.now().to_string(),
    }]});
    let request = http.post(format!("{url}/webhook/healthkit")).header("x-api-key", SECRET);
    let answer = request.header("content-type", "application/json").body(body.to_string()).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
