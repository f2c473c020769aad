//! Sends a population's deliveries to a bridge as the vendors would: signed, in order per person, repeated
//! until they are answered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use actors::supervision::Backoff;
use bytes::Bytes;
use futures_util::future::{join, join_all};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::pace::Pace;
use super::people::Delivery;
use crate::traffic::{Kind, Latencies, MissingSecret, Secrets};

/// Requests under way at once. A person belongs to one lane, which sends one delivery after the other.
pub const LANES: usize = 16;
/// Deliveries that wait in one lane before the source is made to wait.
const LANE_QUEUE: usize = 32;
/// One delivery in so many is sent a second time after its answer, as vendors do when an answer got lost.
pub const REPEAT_EVERY: u64 = 50;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const BACKOFF: Backoff =
    Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(5), jitter: 0.2 };
/// The longest `Retry-After` that is obeyed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);
const SERVICE_UNAVAILABLE: u16 = 503;

/// Where deliveries go, and what they are signed with.
#[derive(Debug, Clone)]
pub struct Target {
    /// The bridge's address with its base path, without `/webhook`: `http://127.0.0.1:8889`.
    pub base_url: String,
    /// Of every kind that is sent.
    pub secrets: Secrets,
}

/// Why nothing could be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The HTTP client could not be built.
    #[error("the HTTP client could not be built: {0}")]
    Client(#[from] reqwest::Error),
    /// Some kind has no secret.
    #[error(transparent)]
    Secret(#[from] MissingSecret),
}

/// What was sent and how it was answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Deliveries that got a final answer, purposely repeated ones included.
    pub answered: u64,
    /// Of these, answered 2xx as new (`processed`, `accepted`, `ignored`).
    pub accepted: u64,
    /// Of these, answered 2xx as `duplicate`.
    pub duplicates: u64,
    /// All others, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Attempts that met 503 or no answer, and were made again.
    pub retries: u64,
    /// Deliveries in hand or in a lane when the sender was stopped; nobody was told that they arrived.
    pub unanswered: u64,
    /// Readings in the accepted deliveries.
    pub readings: u64,
    /// People about whom something was accepted, by their number.
    pub people: BTreeSet<usize>,
    latencies: Latencies,
}

impl Summary {
    /// Half of the answers came within this time; `None` without any.
    pub fn p50(&self) -> Option<Duration> {
        self.latencies.quantile(0.5)
    }

    /// 99 % of the answers came within this time; `None` without any.
    pub fn p99(&self) -> Option<Duration> {
        self.latencies.quantile(0.99)
    }

    /// The same as `Display` says, for programs; times in milliseconds.
    pub fn as_json(&self) -> serde_json::Value {
        let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        serde_json::json!({
            "answered": self.answered,
            "accepted": self.accepted,
            "readings": self.readings,
            "people": self.people.len(),
            "duplicates": self.duplicates,
            "refused": self.refused,
            "retries": self.retries,
            "unanswered": self.unanswered,
            "p50_ms": ms(self.p50()),
            "p99_ms": ms(self.p99()),
        })
    }

    fn merge(mut self, other: Self) -> Self {
        self.answered += other.answered;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        other.refused.into_iter().for_each(|(status, n)| *self.refused.entry(status).or_default() += n);
        self.retries += other.retries;
        self.unanswered += other.unanswered;
        self.readings += other.readings;
        self.people.extend(other.people);
        self.latencies.merge(&other.latencies);
        self
    }

    fn count(&mut self, delivery: &Delivery, answer: &Answer) {
        self.answered += 1;
        self.latencies.record(answer.taken);
        if !(200..300).contains(&answer.status) {
            *self.refused.entry(answer.status).or_default() += 1;
        } else if answer.is_duplicate {
            self.duplicates += 1;
        } else {
            self.accepted += 1;
            self.readings += u64::from(delivery.readings);
            self.people.insert(delivery.person);
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Option<Duration>| {
            time.map_or("–".into(), |t| format!("{:.1} ms", t.as_secs_f64() * 1e3))
        };
        writeln!(f, "deliveries answered  {}", self.answered)?;
        let people = self.people.len();
        writeln!(
            f,
            "  accepted as new    {} ({} readings of {people} people)",
            self.accepted, self.readings
        )?;
        writeln!(f, "  known as duplicate {}", self.duplicates)?;
        for (status, n) in &self.refused {
            writeln!(f, "  refused with {status}   {n}")?;
        }
        writeln!(f, "attempts made again  {}", self.retries)?;
        writeln!(f, "left unanswered      {}", self.unanswered)?;
        write!(f, "answer time          p50 {}, p99 {}", ms(self.p50()), ms(self.p99()))
    }
}

/// A final answer.
struct Answer {
    status: u16,
    is_duplicate: bool,
    taken: Duration,
}

/// What came of one attempt.
enum Attempt {
    Answered(Answer),
    /// 503 or no answer; 503 may say when to come back.
    Again(Option<Duration>),
}

/// Sends `deliveries` when `pace` says that they are due, until they end or `stop` becomes true (or its sender
/// is gone). What one person is about stays in order; a 503 or a broken connection is tried again for as long
/// as the sender runs. Stopping waits for requests under way, at most 15 seconds, and starts no other.
///
/// The future spawns nothing: dropping it ends the sending at once.
pub async fn send(
    target: Target,
    deliveries: impl Iterator<Item = Delivery>,
    pace: Pace,
    stop: watch::Receiver<bool>,
) -> Result<Summary, SendError> {
    Kind::ALL.into_iter().try_for_each(|kind| target.secrets.get(kind).map(drop))?;
    let client = crate::traffic::plain_client()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .build()?;
    let (doors, queues): (Vec<_>, Vec<_>) = (0..LANES).map(|_| mpsc::channel(LANE_QUEUE)).unzip();
    let make_lane = |queue| Lane {
        client: client.clone(),
        target: target.clone(),
        stop: stop.clone(),
        queue,
        summary: Summary::default(),
    };
    let lanes = join_all(queues.into_iter().map(|queue| make_lane(queue).run()));
    let (never_queued, summaries) = join(feed(deliveries, pace, doors, stop.clone()), lanes).await;
    let all = summaries.into_iter().fold(Summary::default(), Summary::merge);
    Ok(Summary { unanswered: all.unanswered + never_queued, ..all })
}

/// How often modes have switched, as the bridge's metrics tell; `None` if it does not answer.
pub async fn mode_switches(target: &Target) -> Option<u64> {
    let client = crate::traffic::plain_client().timeout(REQUEST_TIMEOUT).build().ok()?;
    let url = format!("{}/metrics", target.base_url.trim_end_matches('/'));
    let text = client.get(url).send().await.ok()?.text().await.ok()?;
    // Whatever METRICS_NAMESPACE has put before the name.
    let counts = text.lines().filter(|line| !line.starts_with('#') && line.contains("mode_switches_total{"));
    counts.map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Returns when the sender is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could ever say stop: that counts as stop.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Hands each delivery to its person's lane when it is due; returns how many it still held when stopped (0 or 1).
async fn feed(
    deliveries: impl Iterator<Item = Delivery>,
    pace: Pace,
    lanes: Vec<mpsc::Sender<Delivery>>,
    mut stop: watch::Receiver<bool>,
) -> u64 {
    let began = Instant::now();
    for delivery in deliveries {
        let wait = Duration::from_millis(pace.elapsed_ms(delivery.due_ms).max(0) as u64);
        let lane = &lanes[delivery.person % lanes.len()];
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return 0,
            () = tokio::time::sleep_until(began + wait) => {}
        }
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return 1,
            _ = lane.send(delivery) => {}
        }
    }
    0
}

/// Sends its people's deliveries one after the other.
struct Lane {
    client: reqwest::Client,
    target: Target,
    stop: watch::Receiver<bool>,
    queue: mpsc::Receiver<Delivery>,
    summary: Summary,
}

impl Lane {
    async fn run(mut self) -> Summary {
        let mut taken: u64 = 0;
        while let Some(delivery) = self.queue.recv().await {
            taken += 1;
            self.deliver(&delivery).await;
            if taken.is_multiple_of(REPEAT_EVERY) && !self.is_stopped() {
                self.deliver(&delivery).await;
            }
        }
        self.summary
    }

    fn is_stopped(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    /// Sends until there is a final answer or the sender is stopped.
    async fn deliver(&mut self, delivery: &Delivery) {
        let body = Bytes::copy_from_slice(&delivery.body);
        // One row of failures: the quiet time after which delays start over never comes.
        let mut delays = BACKOFF.delays(Duration::MAX);
        while !self.is_stopped() {
            let wait = match self.attempt(delivery.kind, body.clone()).await {
                Attempt::Answered(answer) => return self.summary.count(delivery, &answer),
                Attempt::Again(retry_after) => retry_after.unwrap_or_else(|| delays.next(Instant::now())),
            };
            tokio::select! {
                () = stopped(&mut self.stop) => {}
                () = tokio::time::sleep(wait) => self.summary.retries += 1,
            }
        }
        self.summary.unanswered += 1;
    }

    async fn attempt(&self, kind: Kind, body: Bytes) -> Attempt {
        let started = Instant::now();
        let Ok(response) = self.request(kind, body).send().await else { return Attempt::Again(None) };
        let status = response.status().as_u16();
        if status == SERVICE_UNAVAILABLE {
            return Attempt::Again(retry_after(&response));
        }
        let Ok(answer) = response.bytes().await else { return Attempt::Again(None) };
        let is_duplicate = serde_json::from_slice::<Outcome>(&answer).is_ok_and(|o| o.status == "duplicate");
        Attempt::Answered(Answer { status, is_duplicate, taken: started.elapsed() })
    }

    fn request(&self, kind: Kind, body: Bytes) -> reqwest::RequestBuilder {
        let Target { base_url, secrets } = &self.target;
        let url = format!("{}/webhook/{}", base_url.trim_end_matches('/'), kind.device());
        let request = self.client.post(url).header("content-type", "application/json");
        // Looked for before anything was sent.
        let fields = kind.sign(secrets, &body, now_s()).unwrap_or_default();
        let signed = fields.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        signed.body(body)
    }
}

/// The part of the bridge's answer that tells a repeat from something new.
#[derive(Deserialize)]
struct Outcome {
    status: String,
}

fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// The wall clock, Unix seconds: a signature is made when it is sent, whatever time the body speaks of.
fn now_s() -> i64 {
    SystemClock.now().as_ms() / 1000
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
