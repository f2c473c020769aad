//! How a bridge answered what was sent to it, summed up for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::traffic::Latencies;

const ACCEPTED: u16 = 202;

/// What was sent, how it was answered, and what the bridge asked for in return.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Webhooks that were answered 2xx, purposely repeated ones included.
    pub answered: u64,
    /// Of these, told as new (`processed`, `accepted`, `ignored`).
    pub accepted: u64,
    /// Of the new ones, answered 202: what they tell of is fetched.
    pub to_fetch: u64,
    /// Of all answered ones, told as `duplicate`.
    pub duplicates: u64,
    /// Attempts that were answered otherwise, by status; without 503.
    pub refused: BTreeMap<u16, u64>,
    /// Attempts after the first one.
    pub retries: u64,
    /// Webhooks that were sent and not taken until the end.
    pub unanswered: u64,
    /// Readings in the new webhooks.
    pub readings: u64,
    /// People about whom something was accepted, by their number.
    pub people: BTreeSet<usize>,
    /// Requests for records that were answered with some, by vendor.
    pub fetched: BTreeMap<&'static str, u64>,
    latencies: Latencies,
}

/// The part of a bridge's answer that tells a repeat from something new.
#[derive(Deserialize)]
struct Outcome {
    status: String,
}

impl Summary {
    /// Counts an answer 2xx to a webhook with so many readings about a person.
    pub(super) fn count(
        &mut self,
        person: usize,
        readings: u32,
        status: u16,
        answer: &[u8],
        taken: Duration,
    ) {
        self.answered += 1;
        self.latencies.record(taken);
        if serde_json::from_slice::<Outcome>(answer).is_ok_and(|outcome| outcome.status == "duplicate") {
            self.duplicates += 1;
            return;
        }
        self.accepted += 1;
        self.to_fetch += u64::from(status == ACCEPTED);
        self.readings += u64::from(readings);
        self.people.insert(person);
    }

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
            "to_fetch": self.to_fetch,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "retries": self.retries,
            "unanswered": self.unanswered,
            "p50_ms": ms(self.p50()),
            "p99_ms": ms(self.p99()),
            "fetched": self.fetched,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Option<Duration>| {
            time.map_or("–".into(), |t| format!("{:.1} ms", t.as_secs_f64() * 1e3))
        };
        let (people, fetched) = (self.people.len(), self.fetched.values().sum::<u64>());
        let by_vendor: Vec<String> = self.fetched.iter().map(|(vendor, n)| format!("{vendor} {n}")).collect();
        writeln!(f, "deliveries answered  {}", self.answered)?;
        writeln!(
            f,
            "  accepted as new    {} ({} readings of {people} people)",
            self.accepted, self.readings
        )?;
        writeln!(f, "  to be fetched      {} of these (202)", self.to_fetch)?;
        writeln!(f, "  known as duplicate {}", self.duplicates)?;
        for (status, n) in &self.refused {
            writeln!(f, "  refused with {status}   {n}")?;
        }
        writeln!(f, "attempts made again  {}", self.retries)?;
        writeln!(f, "left unanswered      {}", self.unanswered)?;
        writeln!(f, "answer time          p50 {}, p99 {}", ms(self.p50()), ms(self.p99()))?;
        write!(f, "records fetched      {fetched} ({})", by_vendor.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_what_they_say() {
        let mut summary = Summary::default();
        let answers = [
            (1, 3, 200, "processed", 2),
            (1, 3, 200, "duplicate", 4),
            (2, 0, 202, "accepted", 8),
            (2, 0, 200, "ignored", 8),
        ];
        for (person, readings, status, outcome, ms) in answers {
            let answer = format!("{{\"status\": \"{outcome}\"}}");
            summary.count(person, readings, status, answer.as_bytes(), Duration::from_millis(ms));
        }
        summary.fetched = [("oura", 5), ("whoop", 2)].into();
        assert_eq!((summary.answered, summary.accepted, summary.duplicates), (4, 3, 1));
        assert!(summary.p50() < summary.p99());
        let told = summary.to_string();
        for line in [
            "deliveries answered  4\n  accepted as new    3 (3 readings of 2 people)\n",
            "\n  to be fetched      1 of these (202)\n",
            "\nrecords fetched      7 (oura 5, whoop 2)",
        ] {
            assert!(told.contains(line), "{told}");
        }
        assert_eq!(summary.as_json()["fetched"]["oura"], 5);
    }
}
