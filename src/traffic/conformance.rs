//! Golden deliveries: what a deployment must take, and what it must refuse.
//!
//! Each case is a few requests with what their answers must be. They are about a user and an account of their own, made
//! from the run's seed, so that a run leaves nothing behind that is anybody's, and does not find what an earlier one left.

use std::time::Duration;

use reqwest::{Client, Method, Url};
use serde::Deserialize;

use super::plain_client;

pub use super::golden::Golden;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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

pub(super) struct Expected {
    pub(super) statuses: &'static [u16],
    pub(super) words: &'static [&'static str],
    pub(super) events: Option<u64>,
}

pub(super) struct Step {
    pub(super) method: Method,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) expected: Expected,
    /// The answer must give this back.
    pub(super) challenge: Option<String>,
}

pub(super) struct Case {
    pub(super) device: &'static str,
    pub(super) name: &'static str,
    /// The setting without which there is none of it.
    pub(super) steps: Result<Vec<Step>, &'static str>,
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
    let client = plain_client().redirect(no_redirects).timeout(ANSWER_TIMEOUT).build()?;
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
