//! Golden deliveries: what a deployment must take, and what it must refuse.
//!
//! Each case is a few requests with what their answers must be. They are about a user and an account of their own, made
//! from the run's seed, so that a run leaves nothing behind that is anybody's, and does not find what an earlier one left.

use std::time::Duration;

use actors::domain::time::{MS_PER_DAY, MS_PER_MINUTE, MS_PER_SECOND, Timestamp};
use actors::vendors::signing;
use reqwest::{Client, Method, Url};
use serde::Deserialize;
use uuid::Uuid;

use super::formats::{self, Hrv, Level, Notification, Push, RingReading, Sample};
use super::kind::{Kind, Secrets};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const REFUSED: Expected = Expected { statuses: &[401], words: &[], events: None };
const TAKEN: Expected = Expected { statuses: &[200, 202], words: &["accepted", "processed"], events: None };
const ONE_EVENT: Expected = Expected { statuses: &[200], words: &["processed"], events: Some(1) };
/// Nothing new came of it.
const KNOWN: Expected = Expected { statuses: &[200], words: &["duplicate", "processed"], events: Some(0) };
const REPLAYED: Expected = Expected { statuses: &[200], words: &["duplicate"], events: Some(0) };

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every answer was as it must be.
    Passed,
    /// One was not: which, and what was expected.
    Failed(String),
    /// It needs this setting.
    Skipped(&'static str),
}

/// A case and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whose delivery.
    pub device: &'static str,
    /// What it is an example of.
    pub name: &'static str,
    /// What came of it.
    pub verdict: Verdict,
}

/// What the deliveries are made of.
#[derive(Debug, Clone)]
pub struct Golden {
    /// The secrets of the deployment. What has none is skipped.
    pub secrets: Secrets,
    /// What Oura shows in its handshake.
    pub oura_token: Option<String>,
    /// Part of the user's id.
    pub seed: u64,
    /// The wall clock, Unix milliseconds.
    pub now_ms: i64,
}

struct Expected {
    statuses: &'static [u16],
    words: &'static [&'static str],
    events: Option<u64>,
}

struct Step {
    method: Method,
    query: Vec<(&'static str, String)>,
    fields: Vec<(&'static str, String)>,
    body: Vec<u8>,
    expected: Expected,
    /// The answer must give this back.
    challenge: Option<String>,
}

struct Case {
    device: &'static str,
    name: &'static str,
    /// The setting without which there is none of it.
    steps: Result<Vec<Step>, &'static str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answered {
    status: String,
    events: u64,
    challenge: String,
}

/// Runs the cases of these devices against the deployment at `base_url` (without `/webhook`), one after the other.
///
/// # Errors
/// There can be no HTTP client.
pub async fn check(base_url: &Url, golden: &Golden, devices: &[&str]) -> Result<Vec<Check>, reqwest::Error> {
    let no_redirects = reqwest::redirect::Policy::none();
    let client = Client::builder().no_proxy().redirect(no_redirects).timeout(ANSWER_TIMEOUT).build()?;
    let mut checks = Vec::new();
    for case in golden.cases().into_iter().filter(|case| devices.contains(&case.device)) {
        let Case { device, name, steps } = case;
        let verdict = match steps {
            Err(setting) => Verdict::Skipped(setting),
            Ok(steps) => play(&client, base_url, device, steps).await,
        };
        checks.push(Check { device, name, verdict });
    }
    Ok(checks)
}

async fn play(client: &Client, base_url: &Url, device: &str, steps: Vec<Step>) -> Verdict {
    for (number, step) in (1..).zip(steps) {
        let mut url = base_url.clone();
        url.set_path(&format!("{}/webhook/{device}", base_url.path().trim_end_matches('/')));
        if !step.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&step.query);
        }
        let request = client.request(step.method.clone(), url).header("content-type", "application/json");
        let request = step.fields.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let answered = async {
            let response = request.body(step.body.clone()).send().await?;
            Ok::<_, reqwest::Error>((response.status().as_u16(), response.bytes().await?))
        };
        let problem = match answered.await {
            Ok((status, body)) => wrong(&step, status, &body),
            Err(error) if error.is_timeout() => Some("no answer in 30 s".to_owned()),
            Err(_) => Some("no answer: the connection failed".to_owned()),
        };
        if let Some(problem) = problem {
            return Verdict::Failed(format!("request {number}: {problem}"));
        }
    }
    Verdict::Passed
}

/// What is wrong with an answer.
fn wrong(step: &Step, status: u16, body: &[u8]) -> Option<String> {
    let Expected { statuses, words, events } = &step.expected;
    let answered: Answered = serde_json::from_slice(body).unwrap_or_default();
    if !statuses.contains(&status) {
        let expected: Vec<String> = statuses.iter().map(u16::to_string).collect();
        return Some(format!("answered {status}, expected {}", expected.join(" or ")));
    }
    if !words.is_empty() && !words.contains(&answered.status.as_str()) {
        return Some(format!("answered {status} without the status {}", words.join(" or ")));
    }
    if events.is_some_and(|events| events != answered.events) {
        return Some(format!("{} new events, expected {}", answered.events, events.unwrap_or_default()));
    }
    let is_back = step.challenge.as_ref().is_none_or(|challenge| *challenge == answered.challenge);
    (!is_back).then(|| "the challenge was not given back".to_owned())
}

fn post(fields: Vec<(&'static str, String)>, body: &[u8], expected: Expected) -> Step {
    Step { method: Method::POST, query: Vec::new(), fields, body: body.to_vec(), expected, challenge: None }
}

/// The same body with one character changed.
fn tampered(body: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(body).replacen("conformance", "conformancf", 1).into_bytes()
}

impl Golden {
    fn cases(&self) -> Vec<Case> {
        let mut cases = self.handshakes();
        cases.extend(self.oura());
        cases.extend(self.oura_inline());
        cases.extend(self.healthkit());
        cases
    }

    fn user_id(&self) -> String {
        format!("conformance-{:x}", self.seed)
    }

    fn handshakes(&self) -> Vec<Case> {
        let ask = |token: &str, expected: Expected, is_ours: bool| {
            let challenge = format!("challenge {:x} & more", self.seed);
            Step {
                method: Method::GET,
                query: vec![("verification_token", token.to_owned()), ("challenge", challenge.clone())],
                fields: Vec::new(),
                body: Vec::new(),
                expected,
                challenge: is_ours.then_some(challenge),
            }
        };
        let answered = Expected { statuses: &[200], words: &[], events: None };
        let ours = self.oura_token.as_deref().ok_or("OURA_VERIFICATION_TOKEN");
        let right = ours.map(|token| vec![ask(token, answered, true)]);
        let wrong = Ok(vec![ask("no token of ours", REFUSED, false)]);
        let case = |name, steps| Case { device: "oura", name, steps };
        vec![case("handshake", right), case("handshake with a wrong token", wrong)]
    }

    /// A notification of another record each time, `age_ms` old.
    fn notification(&self, number: u64, age_ms: i64) -> Vec<u8> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.seed.to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        formats::json(&Notification {
            event_type: "update",
            data_type: "daily_readiness",
            object_id: Uuid::new_v8(id).to_string(),
            event_time: Timestamp::from_ms(self.now_ms - age_ms).to_string(),
            user_id: self.user_id().into(),
        })
    }

    fn oura(&self) -> Vec<Case> {
        let now_s = self.now_ms / MS_PER_SECOND;
        let case = |name, steps: &dyn Fn(&str) -> Vec<Step>| {
            let secret = self.secrets.get(Kind::OuraNotification).map_err(|missing| missing.0);
            Case { device: "oura", name, steps: secret.map(steps) }
        };
        let signed = |secret: &str, at_s: i64, body: &[u8]| {
            vec![
                ("x-oura-timestamp", at_s.to_string()),
                ("x-oura-signature", signing::oura(secret, at_s, body)),
            ]
        };
        let day_s = MS_PER_DAY / MS_PER_SECOND;
        let alone = |number: u64, at_s: i64, expected: fn() -> Expected| {
            move |secret: &str| {
                let body = self.notification(number, 0);
                vec![post(signed(secret, at_s, &body), &body, expected())]
            }
        };
        vec![
            case("good", &alone(1, now_s, || TAKEN)),
            case("stale", &alone(2, now_s - day_s, || REFUSED)),
            case("of the future", &alone(3, now_s + day_s, || REFUSED)),
            case("replayed", &|secret| {
                let body = self.notification(4, 0);
                let fields = signed(secret, now_s, &body);
                vec![post(fields.clone(), &body, TAKEN), post(fields, &body, REPLAYED)]
            }),
            case("duplicate, signed anew", &|secret| {
                let body = self.notification(5, 0);
                let once = post(signed(secret, now_s, &body), &body, TAKEN);
                vec![once, post(signed(secret, now_s + 1, &body), &body, REPLAYED)]
            }),
            case("tampered", &|secret| {
                let body = self.notification(6, 0);
                vec![post(signed(secret, now_s, &body), &tampered(&body), REFUSED)]
            }),
            case("out of order", &|secret| {
                let (newer, older) = (self.notification(7, 0), self.notification(7, 5 * MS_PER_MINUTE));
                [newer, older].map(|body| post(signed(secret, now_s, &body), &body, TAKEN)).into()
            }),
            case("unsigned", &|_| vec![post(Vec::new(), &self.notification(8, 0), REFUSED)]),
        ]
    }

    fn oura_inline(&self) -> Vec<Case> {
        let case = |name, steps: &dyn Fn(&str) -> Vec<Step>| {
            let secret = self.secrets.get(Kind::OuraReading).map_err(|missing| missing.0);
            Case { device: "oura", name, steps: secret.map(steps) }
        };
        let reading = |age_ms: i64| {
            formats::json(&RingReading {
                user_id: &self.user_id(),
                timestamp: Timestamp::from_ms(self.now_ms - age_ms).to_string(),
                hrv_data: Hrv { rmssd: 52.0 },
                stress: Level { level: 0.25 },
                sleep: None,
                recovery: None,
            })
        };
        let signed = |secret: &str, body: &[u8]| vec![("signature", signing::inline(secret, body))];
        vec![
            case("inline, good and replayed", &|secret| {
                let body = reading(MS_PER_MINUTE);
                let fields = signed(secret, &body);
                vec![post(fields.clone(), &body, ONE_EVENT), post(fields, &body, REPLAYED)]
            }),
            case("inline, out of order", &|secret| {
                let bodies = [reading(2 * MS_PER_MINUTE), reading(3 * MS_PER_MINUTE)];
                bodies.map(|body| post(signed(secret, &body), &body, ONE_EVENT)).into()
            }),
            case("inline, tampered", &|secret| {
                let body = reading(4 * MS_PER_MINUTE);
                vec![post(signed(secret, &body), &tampered(&body), REFUSED)]
            }),
        ]
    }

    fn healthkit(&self) -> Vec<Case> {
        let case = |name, steps: &dyn Fn(&str) -> Vec<Step>| {
            let key = self.secrets.get(Kind::HealthKit).map_err(|missing| missing.0);
            Case { device: "healthkit", name, steps: key.map(steps) }
        };
        let push = |source: &'static str, ages_min: &[i64]| {
            let sample = |age_min: &i64| Sample {
                kind: "heartRate".into(),
                value: 61.0,
                unit: "count/min",
                timestamp: Some(Timestamp::from_ms(self.now_ms - age_min * MS_PER_MINUTE).to_string()),
                start_date: None,
                end_date: None,
                source,
            };
            let samples = ages_min.iter().map(sample).collect();
            formats::json(&Push { user_id: &self.user_id(), samples })
        };
        let bearer = |key: &str| vec![("authorization", format!("Bearer {key}"))];
        vec![
            case("good and replayed", &|key| {
                let body = push("Apple Watch", &[1]);
                vec![post(bearer(key), &body, ONE_EVENT), post(bearer(key), &body, REPLAYED)]
            }),
            case("duplicate, in another push", &|key| {
                let (body, mut again) = (push("Apple Watch", &[2]), push("Apple Watch", &[2]));
                again.push(b'\n');
                vec![post(bearer(key), &body, ONE_EVENT), post(bearer(key), &again, KNOWN)]
            }),
            case("out of order", &|key| {
                [push("Apple Watch", &[3]), push("Apple Watch", &[4])]
                    .map(|body| post(bearer(key), &body, ONE_EVENT))
                    .into()
            }),
            case("a wrong key", &|key| {
                vec![post(bearer(&format!("{key}x")), &push("Apple Watch", &[5]), REFUSED)]
            }),
            case("without a key", &|_| vec![post(Vec::new(), &push("Apple Watch", &[6]), REFUSED)]),
            case("broken off", &|key| {
                let body = push("Apple Watch", &[7]);
                let refused = Expected { statuses: &[400], words: &[], events: None };
                vec![post(bearer(key), &body[..body.len() / 2], refused)]
            }),
        ]
    }
}
