//! Traffic from a seed: several users, each with several senders at once, who keep account of every answer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use actors::vendors::signing;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, interval_at};

use crate::bridge::{HEALTHKIT_KEY, OURA_SECRET, PATIENCE, now_ms};

/// Senders of one user at the same time.
const LANES: usize = 2;
/// What is sent again goes by so many at once: a bridge refuses what is more than it has room for.
const AT_ONCE: usize = 200;
/// Each delivery has a minute of its own, so that no two hold the same fact.
const SPACING_MS: i64 = 20_000;
/// Times begin so long ago that none is in the future.
const HISTORY_MS: i64 = 48 * 3_600_000;
/// In every user's id, so that a log line which holds one can be found out.
pub(crate) const CANARY: &str = "canary-person";

/// The seed that `BRIDGE_SEED` gives, or this test's own.
pub(crate) fn seeds(own: &[u64]) -> Vec<u64> {
    let given = std::env::var("BRIDGE_SEED").ok().and_then(|seed| seed.parse().ok());
    given.map_or_else(|| own.to_vec(), |seed| vec![seed])
}

/// One value at one moment: no two deliveries hold the same one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fact {
    pub(crate) metric: &'static str,
    pub(crate) at_ms: i64,
    pub(crate) value: f64,
}

/// A delivery, made from the load's seed, its user and its number.
pub(crate) struct Delivery {
    device: &'static str,
    body: String,
    pub(crate) facts: Vec<Fact>,
}

/// What a sender knows after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Processed,
    Duplicate,
    Refused(u16),
    /// The connection broke: it may have been stored or not.
    Unknown,
}

impl Answer {
    pub(crate) fn is_acknowledged(self) -> bool {
        matches!(self, Self::Processed | Self::Duplicate)
    }
}

/// A bridge to send to, wherever it runs.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) client: Client,
    pub(crate) url: String,
}

impl Target {
    pub(crate) fn new(url: &str) -> Self {
        let client =
            biometric_bridge::traffic::plain_client().timeout(PATIENCE).build().expect("an HTTP client");
        Self { client, url: url.to_owned() }
    }

    async fn send(&self, delivery: &Delivery) -> Answer {
        let request = self.client.post(format!("{}/webhook/{}", self.url, delivery.device));
        let request = match delivery.device {
            "healthkit" => request.bearer_auth(HEALTHKIT_KEY),
            _ => request.header("Signature", signing::inline(OURA_SECRET, delivery.body.as_bytes())),
        };
        let request = request.body(delivery.body.clone());
        let (status, body) = loop {
            let request = request.try_clone().expect("a body in memory");
            let Ok(response) = request.send().await else { return Answer::Unknown };
            let status = response.status().as_u16();
            let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let retry_after_s: Option<u64> = retry_after.and_then(|seconds| seconds.parse().ok());
            assert_eq!(retry_after_s >= Some(1), status == 503, "{status} with Retry-After {retry_after:?}");
            let Ok(body) = response.bytes().await else { return Answer::Unknown };
            // Meant for the connection, which the client had opened in reserve and kept silent for 5 seconds.
            if (status, body.is_empty()) != (408, true) {
                break (status, body);
            }
        };
        let body: Value =
            serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{status} without JSON: {error}"));
        match (status, body["status"].as_str()) {
            (200, Some("processed")) => {
                assert_eq!(body["events"], 1, "{body}");
                assert_eq!(body["readings"], delivery.facts.len(), "{body}");
                Answer::Processed
            }
            (200, Some("duplicate")) => {
                assert_eq!(body["events"], 0, "{body}");
                Answer::Duplicate
            }
            _ => {
                assert!(!body.to_string().contains(CANARY), "an answer tells a user's id: {body}");
                Answer::Refused(status)
            }
        }
    }
}

/// What is known of one delivery. Times are places in the order of all sends and answers.
pub(crate) struct Account {
    pub(crate) user: usize,
    pub(crate) number: usize,
    pub(crate) first_sent: usize,
    pub(crate) first_acknowledged: Option<usize>,
    pub(crate) answers: Vec<Answer>,
}

/// How far the traffic has come, and whether it goes on.
pub(crate) struct Traffic {
    answers: watch::Sender<usize>,
    is_over: Cell<bool>,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self { answers: watch::Sender::new(0), is_over: Cell::new(false) }
    }

    /// Waits until senders have got so many answers in all.
    pub(crate) async fn answered(&self, answers: usize) {
        let mut seen = self.answers.subscribe();
        let enough = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| *seen >= answers)).await;
        enough.expect("answers keep coming").expect("the sender lives as long as the traffic");
    }

    /// Senders send nothing more.
    pub(crate) fn end(&self) {
        self.is_over.set(true);
    }
}

/// All deliveries of one run, over all lives of the bridge.
pub(crate) struct Load {
    seed: u64,
    users: usize,
    base_ms: i64,
    moment: Cell<usize>,
    round: Cell<u64>,
    pub(crate) accounts: RefCell<Vec<Account>>,
    /// Deliveries of each user that are still to be sent again.
    outstanding: RefCell<Vec<VecDeque<usize>>>,
}

impl Load {
    pub(crate) fn new(seed: u64, users: usize) -> Self {
        println!("seed {seed}: set BRIDGE_SEED={seed} to have it again");
        Self {
            seed,
            users,
            base_ms: (now_ms() - HISTORY_MS) / SPACING_MS * SPACING_MS,
            moment: Cell::new(0),
            round: Cell::new(0),
            accounts: RefCell::default(),
            outstanding: RefCell::new(vec![VecDeque::new(); users]),
        }
    }

    pub(crate) fn user_ids(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.users).map(|user| self.user_id(user))
    }

    fn user_id(&self, user: usize) -> String {
        format!("{CANARY}-{}-{user}", self.seed)
    }

    /// The delivery with this number. Values are whole quarters: their decimal text is exact.
    pub(crate) fn delivery(&self, user: usize, number: usize) -> Delivery {
        let mut dice = StdRng::seed_from_u64(self.seed ^ ((user as u64) << 32) ^ number as u64);
        let at_ms = self.base_ms + number as i64 * SPACING_MS;
        let mut quarter = |low: u32, high: u32| f64::from(dice.random_range(low * 4..=high * 4)) / 4.0;
        let user_id = self.user_id(user);
        if (user + number).is_multiple_of(2) {
            let values = [quarter(45, 150), quarter(45, 150), quarter(10, 25)];
            let kinds = ["heartRate", "heartRate", "respiratoryRate"];
            let metrics = ["heart_rate", "heart_rate", "respiratory_rate"];
            let len = 1 + number % 3;
            let facts: Vec<Fact> = (0..len)
                .map(|i| Fact { metric: metrics[i], at_ms: at_ms + i as i64 * 1_000, value: values[i] })
                .collect();
            let samples: Vec<Value> = facts
                .iter()
                .zip(kinds)
                .map(|(fact, kind)| json!({"type": kind, "value": fact.value, "timestamp": fact.at_ms, "source": "Apple Watch"}))
                .collect();
            let body = json!({"user_id": user_id, "samples": samples}).to_string();
            return Delivery { device: "healthkit", body, facts };
        }
        let (hrv, sleep, recovery) = (quarter(15, 90), quarter(40, 95), quarter(20, 95));
        let stress = quarter(0, 4) / 4.0;
        let facts = vec![
            Fact { metric: "hrv", at_ms, value: hrv },
            Fact { metric: "sleep_score", at_ms, value: sleep },
            Fact { metric: "recovery_score", at_ms, value: recovery },
            Fact { metric: "stress_level", at_ms, value: stress },
        ];
        let body = json!({
            "user_id": user_id, "timestamp": at_ms, "hrv_data": {"rmssd": hrv}, "sleep": {"score": sleep},
            "recovery": {"score": recovery}, "stress": {"level": stress},
        });
        Delivery { device: "oura", body: body.to_string(), facts }
    }

    /// Has every user's senders send until the traffic is over or the bridge is gone. A bridge that answers anything
    /// but 2xx, or a status in `refusals`, fails the test.
    pub(crate) async fn run(&self, target: &Target, traffic: &Traffic, refusals: &[u16]) {
        self.round.set(self.round.get() + 1);
        let lanes = (0..self.users * LANES).map(|lane| self.lane(target, traffic, refusals, lane));
        join_all(lanes).await;
    }

    async fn lane(&self, target: &Target, traffic: &Traffic, refusals: &[u16], lane: usize) {
        let mut dice = StdRng::seed_from_u64(self.seed ^ (self.round.get() << 48) ^ ((lane as u64) << 40));
        let user = lane % self.users;
        while !traffic.is_over.get() {
            let account = self.next(user);
            // A vendor that got no answer in time sends again while the first try is still under way.
            let tries = if dice.random_bool(0.1) { 2 } else { 1 };
            let answers = join_all((0..tries).map(|_| self.try_once(target, traffic, account))).await;
            if tries == 2 && answers.iter().all(|answer| answer.is_acknowledged()) {
                let processed = answers.iter().filter(|answer| **answer == Answer::Processed).count();
                assert!(processed <= 1, "processed twice");
            }
            if let Some(failed) = answers.iter().find(|answer| !answer.is_acknowledged()) {
                self.outstanding.borrow_mut()[user].push_back(account);
                match failed {
                    Answer::Refused(status) => assert!(refusals.contains(status), "refused with {status}"),
                    _ => return,
                }
            } else if dice.random_bool(0.15) {
                self.repeat(target, traffic, account).await;
            }
        }
    }

    /// Has `lanes` senders send so many deliveries a second in all, for so long, whatever they are answered: each answer
    /// and how long it took. A sender waits for its answer: no more than `lanes` deliveries are under way.
    pub(crate) async fn run_paced(
        &self,
        target: &Target,
        per_second: f64,
        lanes: usize,
        time: Duration,
    ) -> Vec<(Answer, Duration)> {
        let (until, traffic) = (Instant::now() + time, Traffic::new());
        let pace = Duration::from_secs_f64(lanes as f64 / per_second);
        let lanes = (0..lanes).map(|lane| {
            let traffic = &traffic;
            async move {
                let (mut answers, user) = (Vec::new(), lane % self.users);
                // Not all at once.
                let mut ticks = interval_at(Instant::now() + pace.mul_f64(lane as f64 / lanes as f64), pace);
                while ticks.tick().await < until && Instant::now() < until {
                    let account = self.next(user);
                    let sent = Instant::now();
                    let answer = self.try_once(target, traffic, account).await;
                    answers.push((answer, sent.elapsed()));
                    if !answer.is_acknowledged() {
                        self.outstanding.borrow_mut()[user].push_back(account);
                    }
                }
                answers
            }
        });
        join_all(lanes).await.into_iter().flatten().collect()
    }

    /// Sends an acknowledged delivery again: it is told to be known, or not told at all.
    async fn repeat(&self, target: &Target, traffic: &Traffic, account: usize) {
        let answer = self.try_once(target, traffic, account).await;
        assert_ne!(answer, Answer::Processed, "an acknowledged delivery was processed again");
    }

    async fn try_once(&self, target: &Target, traffic: &Traffic, account: usize) -> Answer {
        let (user, number) = {
            let accounts = self.accounts.borrow();
            (accounts[account].user, accounts[account].number)
        };
        let answer = target.send(&self.delivery(user, number)).await;
        let account = &mut self.accounts.borrow_mut()[account];
        account.answers.push(answer);
        if answer.is_acknowledged() {
            account.first_acknowledged.get_or_insert(self.tick());
        }
        if answer != Answer::Unknown {
            traffic.answers.send_modify(|answers| *answers += 1);
        }
        answer
    }

    /// What a user's sender sends next: what is outstanding before what is new.
    fn next(&self, user: usize) -> usize {
        if let Some(account) = self.outstanding.borrow_mut()[user].pop_front() {
            return account;
        }
        let mut accounts = self.accounts.borrow_mut();
        let number = accounts.iter().filter(|account| account.user == user).count();
        let first_sent = self.tick();
        accounts.push(Account { user, number, first_sent, first_acknowledged: None, answers: Vec::new() });
        accounts.len() - 1
    }

    fn tick(&self) -> usize {
        self.moment.set(self.moment.get() + 1);
        self.moment.get()
    }

    /// Sends again what was not acknowledged: each is processed now, or was stored before and is a duplicate.
    pub(crate) async fn send_outstanding(&self, target: &Target) {
        let outstanding: Vec<usize> =
            self.outstanding.borrow_mut().iter_mut().flatten().map(|&mut a| a).collect();
        self.outstanding.borrow_mut().iter_mut().for_each(VecDeque::clear);
        let traffic = Traffic::new();
        for account in outstanding {
            let answer = self.try_once(target, &traffic, account).await;
            assert!(answer.is_acknowledged(), "a retry was not acknowledged: {answer:?}");
        }
    }

    /// One fresh delivery of each user, sent after all others were acknowledged.
    pub(crate) async fn send_markers(&self, target: &Target) {
        let traffic = Traffic::new();
        for user in 0..self.users {
            let account = self.next(user);
            let answer = self.try_once(target, &traffic, account).await;
            assert_eq!(answer, Answer::Processed, "a fresh delivery");
        }
    }

    /// Sends what the users' senders send next, user by user: whether it was acknowledged.
    pub(crate) async fn send_next(&self, target: &Target) -> bool {
        let user = self.accounts.borrow().len() % self.users;
        let account = self.next(user);
        let is_acknowledged = self.try_once(target, &Traffic::new(), account).await.is_acknowledged();
        if !is_acknowledged {
            self.outstanding.borrow_mut()[user].push_back(account);
        }
        is_acknowledged
    }

    /// Sends one fresh delivery after the other until one is refused.
    pub(crate) async fn send_until_refused(&self, target: &Target) {
        let traffic = Traffic::new();
        loop {
            let account = self.next(0);
            if !self.try_once(target, &traffic, account).await.is_acknowledged() {
                return self.outstanding.borrow_mut()[0].push_back(account);
            }
        }
    }

    /// Sends everything once more: nothing of it is new.
    pub(crate) async fn send_all_again(&self, target: &Target) {
        let (traffic, len) = (Traffic::new(), self.accounts.borrow().len());
        let tries = stream::iter(0..len).map(|account| self.try_once(target, &traffic, account));
        let answers: Vec<Answer> = tries.buffer_unordered(AT_ONCE).collect().await;
        assert!(answers.iter().all(|answer| *answer == Answer::Duplicate), "{answers:?}");
    }

    /// How many answers of one sort there were.
    pub(crate) fn count(&self, wanted: Answer) -> usize {
        let accounts = self.accounts.borrow();
        accounts.iter().flat_map(|account| &account.answers).filter(|answer| **answer == wanted).count()
    }
}
