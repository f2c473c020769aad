//! What folding one event into a warm state costs on one core: the fold alone, without actors, log or store.

use std::hint::black_box;
use std::time::{Duration, Instant};

use actors::cognition::fold::fold;
use actors::cognition::state::UserState;
use actors::cognition::thresholds::Thresholds;
use actors::domain::event::{DeviceType, Event, HrvMethod, Reading};
use actors::domain::ids::{EventId, UserId};
use actors::domain::metric::Metric;
use actors::domain::time::{MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, Timestamp};
use biometric_bridge::traffic::noise;
use uuid::Uuid;

use crate::report::Results;

/// 2026-09-10T12:00:00Z: the warm state's newest event.
const NOW_MS: i64 = 1_789_041_600_000;
/// A warm state's history …
const HISTORY_DAYS: i64 = 30;
/// … has an event so often.
const HISTORY_EVERY_MS: i64 = 20 * MS_PER_MINUTE;
/// When a day's recovery comes.
const MORNING_MS: i64 = 7 * MS_PER_HOUR;
/// Each turn begins with the warm state and folds so many events, a minute apart: half a week.
const EVENTS: i64 = 5_000;
const TURNS: usize = 21;
const SEED: u64 = 7;

/// A value that depends on nothing but its time and its metric.
fn value(metric: Metric, ms: i64, low: f64, high: f64) -> f64 {
    let value = low + noise(SEED, metric as u64, ms) * (high - low);
    (value * 10.0).round() / 10.0
}

fn reading(metric: Metric, ms: i64, low: f64, high: f64) -> Reading {
    let method = (metric == Metric::Hrv).then_some(HrvMethod::Rmssd);
    let at = Timestamp::from_ms(ms);
    Reading { method, ..Reading::new(metric, value(metric, ms, low, high), at, 0.95) }
}

fn event(user: &UserId, ms: i64, readings: Vec<Reading>) -> Event {
    let event_id = EventId::of_uuid(Uuid::new_v8((ms as u128).to_be_bytes()));
    Event {
        record_id: event_id.as_str().into(),
        event_id,
        version: 0,
        device_type: DeviceType::OuraRing,
        user_id: user.clone(),
        timestamp: Timestamp::from_ms(ms),
        received_at: Timestamp::from_ms(ms),
        kind: "sample".into(),
        is_backfill: false,
        deleted: false,
        readings,
    }
}

/// Those of an event at that time.
type Readings = fn(i64) -> Vec<Reading>;

fn heart_rate(ms: i64) -> Vec<Reading> {
    vec![reading(Metric::HeartRate, ms, 58.0, 82.0)]
}

/// What a watch or a ring tells by day and night, and a recovery each morning.
fn usual(ms: i64) -> Vec<Reading> {
    let mut readings = ring(ms);
    if ms.rem_euclid(MS_PER_DAY) != MORNING_MS {
        readings.pop();
    }
    readings
}

/// All four that decide; the recovery comes last. Nobody has one every hour: such a state has as much in it as one can.
fn ring(ms: i64) -> Vec<Reading> {
    vec![
        reading(Metric::Hrv, ms, 35.0, 75.0),
        reading(Metric::HeartRate, ms, 58.0, 82.0),
        reading(Metric::StressLevel, ms, 0.0, 0.6),
        reading(Metric::RecoveryScore, ms, 55.0, 95.0),
    ]
}

/// A past, and sorts of events that come after it.
struct Case {
    past: &'static str,
    history: Readings,
    sorts: [(&'static str, Readings); 2],
}

const CASES: [Case; 2] = [
    Case {
        past: "a recovery a day",
        history: usual,
        sorts: [("one heart rate", heart_rate), ("variability, heart rate and stress", usual)],
    },
    Case {
        past: "a recovery an hour",
        history: ring,
        sorts: [("one heart rate", heart_rate), ("all four that decide", ring)],
    },
];

/// Measures every sort of events, each from its case's warm state on.
pub(crate) fn run(results: &mut Results) {
    let user = UserId::parse("bench").expect("an id");
    let thresholds = Thresholds::default();
    for Case { past, history, sorts } in CASES {
        let warm = (NOW_MS - HISTORY_DAYS * MS_PER_DAY..NOW_MS)
            .step_by(HISTORY_EVERY_MS as usize)
            .fold(UserState::default(), |state, ms| {
                fold(state, &event(&user, ms, history(ms)), &thresholds).state
            });
        results.figure(
            format!(
                "folds: the warm state, {HISTORY_DAYS} days of every hour's readings with {past}, encoded"
            ),
            format!("{} bytes", warm.encode().len()),
        );
        for (what, readings) in sorts {
            let minutes = (1..=EVENTS).map(|minute| NOW_MS + minute * MS_PER_MINUTE);
            let events: Vec<Event> = minutes.map(|ms| event(&user, ms, readings(ms))).collect();
            let mut times: Vec<Duration> =
                (0..TURNS).map(|_| turn(warm.clone(), &events, &thresholds)).collect();
            times.sort();
            let [median, quickest] = [TURNS / 2, 0].map(|turn| times[turn].as_secs_f64() / EVENTS as f64);
            results.figure(
                format!("folds: events of {what}, after {past}, on one core"),
                format!(
                    "{:.0} a second, {:.2} µs each; in the quickest turn {:.0}, {:.2} µs",
                    1.0 / median,
                    median * 1e6,
                    1.0 / quickest,
                    quickest * 1e6
                ),
            );
        }
    }
}

fn turn(mut state: UserState, events: &[Event], thresholds: &Thresholds) -> Duration {
    let started = Instant::now();
    for event in events {
        let folded = fold(state, black_box(event), thresholds);
        black_box(&folded.switch);
        state = folded.state;
    }
    let time = started.elapsed();
    black_box(state);
    time
}
