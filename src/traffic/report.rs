//! What was sent, and how it was answered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Answer;
use super::kind::Kind;
use super::latency::Latencies;

/// Of one kind, or of all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Requests that were begun.
    pub sent: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Of these, 2xx `duplicate`.
    pub duplicates: u64,
    /// Requests without an answer: the connection was refused, broke or brought nothing in time.
    pub connection_errors: u64,
    /// Events that the answers tell of.
    pub events: u64,
    /// Readings that the answers tell of.
    pub readings: u64,
    /// From when an answer was waited for (open loop: from when the request was due) until it was there.
    pub latencies: Latencies,
}

impl Tally {
    /// Requests that were answered.
    pub fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Requests that were answered with success.
    pub fn succeeded(&self) -> u64 {
        self.statuses.range(200..300).map(|(_, count)| count).sum()
    }

    /// Requests that were given up when the sending was interrupted.
    pub fn unanswered(&self) -> u64 {
        self.sent.saturating_sub(self.answered() + self.connection_errors)
    }

    pub(super) fn count(&mut self, answer: &Answer, taken: Duration) {
        *self.statuses.entry(answer.status).or_default() += 1;
        self.duplicates += u64::from(answer.is_duplicate);
        self.events += answer.events;
        self.readings += answer.readings;
        self.latencies.record(taken);
    }

    fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        other.statuses.iter().for_each(|(status, n)| *self.statuses.entry(*status).or_default() += n);
        self.duplicates += other.duplicates;
        self.connection_errors += other.connection_errors;
        self.events += other.events;
        self.readings += other.readings;
        self.latencies.merge(&other.latencies);
    }

    /// For programs; times in milliseconds. `seconds`: how long it took, for the rate.
    pub fn as_json(&self, seconds: f64) -> Value {
        let ms = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        let quantile = |q| ms(self.latencies.quantile(q));
        json!({
            "sent": self.sent,
            "answered": self.answered(),
            "rate": self.answered() as f64 / seconds.max(f64::EPSILON),
            "statuses": self.statuses,
            "duplicates": self.duplicates,
            "connection_errors": self.connection_errors,
            "unanswered": self.unanswered(),
            "events": self.events,
            "readings": self.readings,
            "latency_ms": {
                "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99), "p99_9": quantile(0.999),
                "max": ms(self.latencies.max()),
            },
        })
    }
}

/// Of a whole run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// By kind.
    pub kinds: BTreeMap<Kind, Tally>,
    /// Open loop: arrivals that were due.
    pub scheduled: Option<u64>,
    /// Open loop: arrivals that were not sent because too many were under way.
    pub overflow: u64,
}

impl Report {
    pub(super) fn of(&mut self, kind: Kind) -> &mut Tally {
        self.kinds.entry(kind).or_default()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.elapsed = self.elapsed.max(other.elapsed);
        other.kinds.iter().for_each(|(kind, tally)| self.of(*kind).merge(tally));
        self.overflow += other.overflow;
        if let Some(scheduled) = other.scheduled {
            *self.scheduled.get_or_insert(0) += scheduled;
        }
    }

    /// Over all kinds.
    pub fn total(&self) -> Tally {
        self.kinds.values().fold(Tally::default(), |mut total, tally| {
            total.merge(tally);
            total
        })
    }

    /// For programs: the total, the kinds under `devices`, times in milliseconds.
    pub fn as_json(&self) -> Value {
        let seconds = self.elapsed.as_secs_f64();
        let mut told = self.total().as_json(seconds);
        told["seconds"] = seconds.into();
        told["scheduled"] = self.scheduled.into();
        told["overflow"] = self.overflow.into();
        let kinds = self.kinds.iter().map(|(kind, tally)| (kind.name().to_owned(), tally.as_json(seconds)));
        told["devices"] = Value::Object(kinds.collect());
        told
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_report_of_several_senders_adds_up() {
        let (mut one, mut other) = (Report::default(), Report::default());
        let processed = Answer { status: 200, events: 1, readings: 3, ..Answer::default() };
        let refused = Answer { status: 503, ..Answer::default() };
        let repeated = Answer { is_duplicate: true, ..processed };
        let count = |report: &mut Report, kind, answer, ms| {
            report.of(kind).sent += 2;
            report.of(kind).count(&answer, Duration::from_millis(ms));
        };
        count(&mut one, Kind::HealthKit, processed, 1);
        count(&mut one, Kind::OuraReading, repeated, 2);
        count(&mut other, Kind::HealthKit, refused, 50);
        other.of(Kind::HealthKit).connection_errors += 1;
        (one.scheduled, other.scheduled, other.overflow) = (Some(5), Some(4), 3);
        one.elapsed = Duration::from_secs(2);
        one.merge(&other);
        let total = one.total();
        assert_eq!((total.sent, total.answered(), total.succeeded(), total.duplicates), (6, 3, 2, 1));
        assert_eq!((total.connection_errors, total.unanswered()), (1, 2));
        assert_eq!((total.events, total.readings), (2, 6));
        assert_eq!((one.scheduled, one.overflow), (Some(9), 3));
        let told = one.as_json();
        assert_eq!(told["statuses"], json!({"200": 2, "503": 1}));
        assert_eq!(told["rate"], 1.5);
        assert_eq!(told["devices"]["healthkit"]["answered"], 2);
        assert_eq!(told["devices"]["oura_inline"]["duplicates"], 1);
        assert!((50.0..50.1).contains(&told["latency_ms"]["max"].as_f64().unwrap()));
    }

    #[test]
    fn a_report_without_answers_has_no_times() {
        let told = Report::default().as_json();
        assert_eq!((&told["latency_ms"]["p50"], &told["answered"]), (&Value::Null, &json!(0)));
    }
}
