//! When the user was working out: heart rates from those times say nothing about strain at rest.

use serde::{Deserialize, Serialize};

use crate::domain::event::{Context, Event, Reading};
use crate::domain::metric::Metric;
use crate::domain::time::{MS_PER_HOUR, MS_PER_MINUTE, Timestamp};

use super::wire;

/// How long after a workout's end a heart rate still belongs to it.
const RECOVERY_MS: i64 = 10 * MS_PER_MINUTE;
/// How long before the newest live event a row can still ask for one.
const KEPT_MS: i64 = 2 * MS_PER_HOUR;
/// Bounds what a user without any live event can pile up; separate spans, the newest are kept.
const SPANS_MAX: usize = 64;

/// From a workout's start to the end of the recovery after it, both included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Span {
    #[serde(with = "wire::timestamp")]
    start: Timestamp,
    #[serde(with = "wire::timestamp")]
    until: Timestamp,
}

/// The workouts of a user, ascending; those that touch are one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Workouts(Vec<Span>);

impl Workouts {
    /// Learns of the workout that `reading` tells of, if it does.
    pub(super) fn learn(&mut self, event: &Event, reading: &Reading) {
        if reading.context != Some(Context::Workout) && &*event.kind != "workout" {
            return;
        }
        let start = reading.start.unwrap_or_else(|| match reading.metric {
            Metric::WorkoutDurationMinutes => {
                reading.timestamp.plus_ms(-(reading.value * MS_PER_MINUTE as f64).round() as i64)
            }
            _ => reading.timestamp,
        });
        let end = reading.end.unwrap_or(reading.timestamp);
        let (start, end) = (start.min(event.timestamp), end.min(event.timestamp));
        self.insert(Span { start, until: end.plus_ms(RECOVERY_MS) });
    }

    fn insert(&mut self, mut span: Span) {
        if span.start > span.until {
            return;
        }
        let from = self.0.partition_point(|other| other.until < span.start);
        let to = self.0.partition_point(|other| other.start <= span.until);
        if let [first, ..] = self.0[from..to]
            && let [.., last] = self.0[from..to]
        {
            span.start = span.start.min(first.start);
            span.until = span.until.max(last.until);
        }
        self.0.splice(from..to, [span]);
        if self.0.len() > SPANS_MAX {
            self.0.remove(0);
        }
    }

    /// Whether they ascend and are apart, which the search among them relies on.
    pub(super) fn are_sound(&self) -> bool {
        self.0.len() <= SPANS_MAX
            && self.0.iter().all(|span| span.start <= span.until)
            && self.0.is_sorted_by(|before, after| before.until < after.start)
    }

    /// Forgets what no decision at `newest_live` or later can ask for.
    pub(super) fn forget_before(&mut self, newest_live: Timestamp) {
        self.0.retain(|span| newest_live.ms_since(span.until) <= KEPT_MS);
    }

    /// A heart rate taken at `at` belongs to a workout.
    pub(super) fn cover(&self, at: Timestamp) -> bool {
        self.0.iter().any(|span| (span.start..=span.until).contains(&at))
    }
}
