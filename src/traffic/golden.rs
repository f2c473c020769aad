//! The deliveries themselves: right ones, and each way to be wrong.

use actors::domain::time::{MS_PER_DAY, MS_PER_MINUTE, MS_PER_SECOND, Timestamp};
use actors::vendors::signing;
use reqwest::Method;
use uuid::Uuid;

use super::conformance::{Case, Expected, Step};
use super::formats::{self, Hrv, Level, Notification, Push, RingReading, Sample};
use super::kind::{Kind, Secrets};

pub(super) const REFUSED: Expected = Expected { statuses: &[401], words: &[], events: None };
const TAKEN: Expected = Expected { statuses: &[200, 202], words: &["accepted", "processed"], events: None };
pub(super) const ONE_EVENT: Expected = Expected { statuses: &[200], words: &["processed"], events: Some(1) };
/// Nothing new came of it.
pub(super) const KNOWN: Expected =
    Expected { statuses: &[200], words: &["duplicate", "processed"], events: Some(0) };
pub(super) const REPLAYED: Expected = Expected { statuses: &[200], words: &["duplicate"], events: Some(0) };

/// What the deliveries are made of.
#[derive(Clone)]
pub struct Golden {
    /// The secrets of the deployment. What has none is skipped.
    pub secrets: Secrets,
    /// What Oura shows in its handshake.
    pub oura_token: Option<String>,
    /// What WHOOP signs with.
    pub whoop_secret: Option<String>,
    /// What Terra signs with.
    pub terra_secret: Option<String>,
    /// Part of the user's id.
    pub seed: u64,
    /// The wall clock, Unix milliseconds.
    pub now_ms: i64,
}

pub(super) fn post(fields: Vec<(&'static str, String)>, body: &[u8], expected: Expected) -> Step {
    Step { method: Method::POST, query: Vec::new(), fields, body: body.to_vec(), expected, challenge: None }
}

/// The same body with one character changed.
fn tampered(body: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(body).replacen("conformance", "conformancf", 1).into_bytes()
}

impl Golden {
    pub(super) fn cases(&self) -> Vec<Case> {
        let mut cases = self.handshakes();
        cases.extend(self.oura());
        cases.extend(self.oura_inline());
        cases.extend(self.whoop());
        cases.extend(self.healthkit());
        cases.extend(self.terra());
        cases
    }

    pub(super) fn user_id(&self) -> String {
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

    pub(super) fn id(&self, number: u64) -> String {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.seed.to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        Uuid::new_v8(id).to_string()
    }

    /// A notification of the record `number`, told `age_ms` ago.
    fn notification(&self, number: u64, age_ms: i64) -> Vec<u8> {
        formats::json(&Notification {
            event_type: "update",
            data_type: "daily_readiness",
            object_id: self.id(number),
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

    /// WHOOP tells no time of a change: what tells a notification from the next one is its trace (vendors.md §14).
    fn whoop(&self) -> Vec<Case> {
        let case = |name, steps: &dyn Fn(&str) -> Vec<Step>| {
            let secret = self.whoop_secret.as_deref().ok_or("WHOOP_WEBHOOK_SECRET");
            Case { device: "whoop", name, steps: secret.map(steps) }
        };
        let body = |number: u64| {
            formats::json(&serde_json::json!({
                "user_id": self.seed >> 16, "id": self.id(100), "type": "sleep.updated", "trace_id": self.id(number),
            }))
        };
        let signed = |secret: &str, at_ms: i64, body: &[u8]| {
            vec![
                ("x-whoop-signature-timestamp", at_ms.to_string()),
                ("x-whoop-signature", signing::whoop(secret, at_ms, body)),
            ]
        };
        let alone = |number: u64, at_ms: i64, expected: fn() -> Expected| {
            move |secret: &str| {
                let body = body(number);
                vec![post(signed(secret, at_ms, &body), &body, expected())]
            }
        };
        let now_ms = self.now_ms;
        vec![
            case("good", &alone(101, now_ms, || TAKEN)),
            case("stale", &alone(102, now_ms - MS_PER_DAY, || REFUSED)),
            case("of the future", &alone(103, now_ms + MS_PER_DAY, || REFUSED)),
            case("replayed", &|secret| {
                let body = body(104);
                let fields = signed(secret, now_ms, &body);
                vec![post(fields.clone(), &body, TAKEN), post(fields, &body, REPLAYED)]
            }),
            case("duplicate, signed anew", &|secret| {
                let body = body(105);
                let once = post(signed(secret, now_ms, &body), &body, TAKEN);
                vec![once, post(signed(secret, now_ms + 1, &body), &body, REPLAYED)]
            }),
            case("tampered", &|secret| {
                let body = body(106);
                let changed = String::from_utf8_lossy(&body).replacen("sleep", "workout", 1).into_bytes();
                vec![post(signed(secret, now_ms, &body), &changed, REFUSED)]
            }),
            case("out of order", &|secret| {
                let (first, second) = (body(108), body(107));
                [(now_ms, first), (now_ms - MS_PER_MINUTE, second)]
                    .map(|(at_ms, body)| post(signed(secret, at_ms, &body), &body, TAKEN))
                    .into()
            }),
            case("unsigned", &|_| vec![post(Vec::new(), &body(109), REFUSED)]),
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
