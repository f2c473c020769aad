//! How large a user's state is, stored and in memory. A program of its own: it reads what the process takes.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod cognition_support;

use std::fs;

use actors::cognition::fold::fold;
use actors::cognition::state::UserState;
use actors::cognition::thresholds::Thresholds;
use actors::domain::event::{Context, DeviceType, HrvMethod, Reading};
use actors::domain::metric::Metric::{HeartRate, Hrv, RecoveryScore, StressLevel};
use actors::domain::time::UtcOffset;

use cognition_support::{DAY, HOUR, MINUTE, START, Subject, event, reading};

const ENCODED_MAX: usize = 8 * 1024;
const LIVE_MAX: usize = 12 * 1024;
/// Enough that what the process takes besides does not count.
const COPIES: usize = 2_000;

/// What a watch and, in the same account, a ring tell in so many days, much as the demo's people wear them: a heart rate
/// and a stress level every five minutes and in the end every minute, a variability every 20 minutes by day and night, the
/// ring's own one every five minutes of the night, a recovery each morning; and a last day on which REFLEX was near again
/// and again.
fn history(days: i64, has_ring: bool) -> Subject {
    let mut subject = Subject::default();
    let end = START + days * DAY;
    let wave = |t: i64, span: i64| (t / MINUTE * 7_919 % (span * 10)) as f64 / 10.0;
    let mut t = START;
    while t < end {
        let is_night = t % DAY < 8 * HOUR;
        let mut readings = vec![
            reading(HeartRate, (58.0 + wave(t, 30)).round(), t),
            reading(StressLevel, wave(t, 60) / 100.0, t),
        ];
        if t % (20 * MINUTE) == 0 {
            readings.push(Reading { method: Some(HrvMethod::Sdnn), ..reading(Hrv, 40.0 + wave(t, 40), t) });
        }
        if end - t < 4 * HOUR {
            readings = vec![reading(HeartRate, 92.0, t), reading(StressLevel, 0.78, t)];
        }
        readings.iter_mut().for_each(|reading| reading.utc_offset = UtcOffset::from_minutes(60));
        let id = |source: i64| format!("0{source}000000-0000-8000-8000-{:012}", t / MINUTE);
        subject.fold(&actors::domain::event::Event {
            device_type: DeviceType::AppleHealth,
            ..event(id(1), t, readings)
        });
        if has_ring && is_night {
            let night = |metric, value, method| Reading {
                method,
                context: Some(Context::Sleep),
                ..reading(metric, value, t)
            };
            let mut readings = vec![night(Hrv, (45.0 + wave(t, 30)).round(), Some(HrvMethod::Rmssd))];
            if t % DAY == 7 * HOUR {
                readings.push(reading(RecoveryScore, (60.0 + wave(t, 40)).round(), t));
            }
            subject.fold(&event(id(2), t, readings));
        }
        t += if end - t < 3 * HOUR { MINUTE } else { 5 * MINUTE };
    }
    subject
}

fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() * 1024
}

/// What one more such state takes: each has been folded onto, as live ones have, which leaves room in their vectors. They
/// are put into `kept`: memory that is given back would serve the next measurement.
fn live_bytes(subject: &Subject, next: i64, kept: &mut Vec<Vec<UserState>>) -> usize {
    let thresholds = Thresholds::default();
    let stored = subject.state.encode();
    let next = event("00000000-0000-8000-8000-ffffffffffff", next, vec![reading(HeartRate, 61.0, next)]);
    let live = || fold(UserState::decode(&stored).unwrap(), &next, &thresholds).state;
    // What decoding and folding need for a moment is there before.
    drop((0..100).map(|_| live()).collect::<Vec<_>>());
    let mut states = Vec::with_capacity(COPIES);
    let before = resident_bytes();
    states.extend((0..COPIES).map(|_| live()));
    kept.push(states);
    (resident_bytes() - before) / COPIES
}

#[test]
fn a_month_of_history_fits_into_8_kib_stored_and_12_kib_live() {
    let (mut sizes, mut kept) = (Vec::new(), Vec::new());
    for (who, has_ring) in [("a watch", false), ("a watch and a ring", true)] {
        let subject = history(30, has_ring);
        let view = subject.view(START + 30 * DAY);
        assert_eq!(view["borderline_triggers"].as_array().unwrap().len(), 50);
        let encoded = subject.state.encode().len();
        let live = live_bytes(&subject, START + 30 * DAY, &mut kept);
        println!("30 days of {who}: {encoded} bytes stored, {live} live");
        sizes.push((who, encoded, live));
    }
    for (who, encoded, live) in sizes {
        assert!(encoded <= ENCODED_MAX, "{who}: {encoded} bytes");
        assert!(live <= LIVE_MAX, "{who}: {live} bytes");
        // A measurement that sees no memory shows nothing.
        assert!(live >= encoded, "{who}: {live} bytes live, {encoded} stored");
    }
}
