//! Terra's deliveries: the data comes with them, and their trace tells one from the next (vendors.md §5).

use actors::domain::time::{MS_PER_DAY, MS_PER_MINUTE, MS_PER_SECOND, Timestamp};
use actors::vendors::signing;
use serde_json::{Value, json};

use super::conformance::{Case, Expected, Step};
use super::golden::{Golden, KNOWN, ONE_EVENT, REFUSED, REPLAYED, post};

/// What is counted on each of these days.
const STEPS: u32 = 4_210;

impl Golden {
    pub(super) fn terra(&self) -> Vec<Case> {
        let case = |name, steps: &dyn Fn(&str) -> Vec<Step>| {
            let secret = self.terra_secret.as_deref().ok_or("TERRA_WEBHOOK_SECRET");
            Case { device: "terra", name, steps: secret.map(steps) }
        };
        let now_ms = self.now_ms;
        let alone = |number: u64, at_ms: i64, expected: fn() -> Expected| {
            move |secret: &str| {
                let body = self.terra_day(number, STEPS);
                vec![post(self.terra_signed(secret, number, at_ms, &body), &body, expected())]
            }
        };
        vec![
            case("good", &alone(201, now_ms, || ONE_EVENT)),
            case("stale", &alone(202, now_ms - MS_PER_DAY, || REFUSED)),
            case("of the future", &alone(203, now_ms + MS_PER_DAY, || REFUSED)),
            case("replayed", &|secret| {
                let body = self.terra_day(204, STEPS);
                let fields = self.terra_signed(secret, 204, now_ms, &body);
                vec![post(fields.clone(), &body, ONE_EVENT), post(fields, &body, REPLAYED)]
            }),
            case("tampered", &|secret| {
                let (body, other) = (self.terra_day(205, STEPS), self.terra_day(205, STEPS + 1));
                vec![post(self.terra_signed(secret, 205, now_ms, &body), &other, REFUSED)]
            }),
            case("out of order", &|secret| {
                let step = |number: u64, age_ms: i64, expected| {
                    let body = self.terra_day(206, STEPS + age_ms as u32 % 1_000);
                    let mut fields = self.terra_signed(secret, number, now_ms, &body);
                    fields.push(("x-terra-ordering-timestamp", (now_ms - age_ms).to_string()));
                    post(fields, &body, expected)
                };
                vec![step(206, 1, ONE_EVENT), step(207, MS_PER_MINUTE + 2, KNOWN)]
            }),
            case("unsigned", &|_| vec![post(Vec::new(), &self.terra_day(208, STEPS), REFUSED)]),
        ]
    }

    /// A day of the run's own user; each number has a date of its own.
    fn terra_day(&self, number: u64, steps: u32) -> Vec<u8> {
        let day = Timestamp::from_ms(self.now_ms - (number % 100) as i64 * MS_PER_DAY).to_string();
        let day = &day[..10];
        let body: Value = json!({
            "type": "daily", "version": "2022-03-16",
            "user": {"user_id": self.id(200), "provider": "GARMIN", "reference_id": self.user_id()},
            "data": [{
                "metadata": {"start_time": format!("{day}T00:00:00+00:00"), "upload_type": 1},
                "distance_data": {"steps": steps},
            }],
        });
        super::formats::json(&body)
    }

    fn terra_signed(
        &self,
        secret: &str,
        number: u64,
        at_ms: i64,
        body: &[u8],
    ) -> Vec<(&'static str, String)> {
        vec![
            ("x-terra-signature", signing::terra(secret, at_ms / MS_PER_SECOND, body)),
            ("x-terra-trace-id", self.id(number)),
        ]
    }
}
