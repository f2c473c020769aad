//! The fold against a naive second reading of the rules, on thousands of seeded histories full of boundary values.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod cognition_support;

use std::collections::BTreeMap;

use actors::cognition::state::UserState;
use actors::domain::event::{Context, DeviceType, Event, HrvMethod, Reading};
use actors::domain::metric::Metric;
use actors::domain::time::{Timestamp, UtcOffset};

use cognition_support::oracle::{Limits, Oracle};
use cognition_support::{DAY, Dice, HOUR, MINUTE, SECOND, START, Subject, at, event, reading};

const DEFAULTS: Limits = Limits {
    drop_ms: 25_000,
    drop_percentage: 30_000,
    elevated: 100_000,
    elevation: 20_000,
    sustained: 5 * MINUTE,
    high: 700,
    critical: 850,
    low: 40_000,
    moderate: 60_000,
    cooldown: 300 * SECOND,
};

/// Mostly the defaults, sometimes others that make rows meet that otherwise do not.
fn limits(dice: &mut Dice) -> Limits {
    if dice.chance(50) {
        return DEFAULTS;
    }
    Limits {
        drop_ms: dice.pick(&[10_000, 25_000, 0, 33_300]),
        drop_percentage: dice.pick(&[20_000, 30_000, 33_300]),
        elevated: dice.pick(&[85_000, 100_000, 120_000]),
        elevation: dice.pick(&[10_000, 20_000, 0]),
        sustained: dice.pick(&[0, 1, 5, 10, 30]) * MINUTE,
        high: dice.pick(&[400, 700, 100]),
        critical: dice.pick(&[850, 600]),
        low: dice.pick(&[40_000, 60_000, 0]),
        moderate: dice.pick(&[60_000, 40_000]),
        cooldown: dice.pick(&[0, 300, 3_600]) * SECOND,
    }
}

fn yaml(limits: &Limits) -> String {
    let unit = |milli: i64| milli as f64 / 1e3;
    format!(
        "thresholds:\n  hrv_drop_ms: {}\n  hrv_drop_percentage: {}\n  heart_rate_elevated: {}\n  \
         heart_rate_elevation: {}\n  heart_rate_sustained_minutes: {}\n  stress_level_high: {}\n  \
         stress_level_critical: {}\n  recovery_score_low: {}\n  recovery_score_moderate: {}\n  \
         mode_switch_cooldown_seconds: {}\n",
        unit(limits.drop_ms),
        unit(limits.drop_percentage),
        unit(limits.elevated),
        unit(limits.elevation),
        limits.sustained / MINUTE,
        unit(limits.high),
        unit(limits.critical),
        unit(limits.low),
        unit(limits.moderate),
        limits.cooldown / SECOND,
    )
}

fn value(dice: &mut Dice, metric: Metric, usual: f64, calm: bool) -> f64 {
    let milli = |value: f64| (value * 1e3).round() / 1e3;
    match metric {
        Metric::Hrv if calm => milli(usual + dice.between(-20, 20) as f64),
        Metric::HeartRate if calm => dice.between(60, 85) as f64,
        Metric::StressLevel if calm => dice.between(100, 700) as f64 / 1e3,
        Metric::RecoveryScore if calm => dice.between(40, 95) as f64,
        Metric::Hrv => {
            let boundary = dice.pick(&[
                usual - 25.0,
                usual * 0.7,
                usual * 0.73,
                usual - 22.5,
                usual * 1.5,
                20.0,
                25.0,
                30.0,
                40.0,
                usual,
                usual - 33.3,
            ]);
            milli(boundary + dice.pick(&[-0.001, 0.0, 0.001, -3.0, 4.2])).clamp(1.0, 400.0)
        }
        Metric::HeartRate => {
            let boundary = dice.pick(&[50.0, 80.0, 90.0, 100.0, 112.0, 120.0, 70.0, 85.0, 105.0]);
            milli(boundary + dice.pick(&[-0.001, 0.0, 0.001, -4.0, 7.3]))
        }
        Metric::StressLevel => dice.pick(&[0.0, 0.1, 0.4, 0.5, 0.7, 0.701, 0.764, 0.765, 0.85, 0.851, 1.0]),
        Metric::RecoveryScore => {
            dice.pick(&[0.0, 20.0, 34.5, 39.999, 40.0, 49.999, 50.0, 59.999, 60.0, 88.0])
        }
        _ => dice.between(1, 60) as f64,
    }
}

fn offset(dice: &mut Dice) -> Option<UtcOffset> {
    dice.chance(15).then(|| UtcOffset::from_minutes(dice.pick(&[-480, 0, 60, 345])).unwrap())
}

fn one_reading(dice: &mut Dice, t: i64, usual: f64, calm: bool) -> Reading {
    let metric = dice.pick(&[
        Metric::Hrv,
        Metric::Hrv,
        Metric::HeartRate,
        Metric::HeartRate,
        Metric::HeartRate,
        Metric::StressLevel,
        Metric::RecoveryScore,
        Metric::WorkoutDurationMinutes,
    ]);
    let back = if dice.chance(70) {
        0
    } else {
        dice.pick(&[
            MINUTE,
            5 * MINUTE,
            5 * MINUTE + 1,
            30 * MINUTE,
            30 * MINUTE + 1,
            6 * HOUR,
            6 * HOUR + 1,
            36 * HOUR,
            36 * HOUR + 1,
            -MINUTE,
            -300 * SECOND,
            -300 * SECOND - 1,
        ])
    };
    let mut reading = reading(metric, value(dice, metric, usual, calm), t - back);
    reading.confidence = dice.pick(&[None, Some(1.0), Some(0.95), Some(0.8), Some(0.3)]);
    if metric == Metric::Hrv {
        reading.method =
            dice.pick(&[Some(HrvMethod::Rmssd), Some(HrvMethod::Rmssd), Some(HrvMethod::Sdnn), None]);
    }
    if dice.chance(8) {
        reading.context = dice.pick(&[Some(Context::Sleep), Some(Context::Workout), Some(Context::Daily)]);
    }
    if dice.chance(5) {
        reading.start = Some(at(t - dice.pick(&[10, 20, 45]) * MINUTE));
        reading.end = dice.chance(70).then(|| at(t - dice.pick(&[-10, 0, 5, 10]) * MINUTE));
    }
    if dice.chance(10) {
        reading.source = Some(dice.pick(&["derived", "Apple Watch"]).into());
    }
    reading.utc_offset = offset(dice);
    reading
}

fn next_event(dice: &mut Dice, clock: &mut i64, id: u32, pace: i64, usual: f64, calm: bool) -> Event {
    *clock += dice.pick(&[0, 30 * SECOND, MINUTE, 2 * MINUTE, pace, pace, pace * 2]);
    let t = if dice.chance(12) {
        *clock - dice.pick(&[1, MINUTE, 3 * MINUTE, 20 * MINUTE, 2 * HOUR])
    } else {
        *clock
    };
    let readings =
        (0..dice.pick(&[0_u32, 1, 1, 1, 2, 3, 4])).map(|_| one_reading(dice, t, usual, calm)).collect();
    let mut readings: Vec<Reading> = readings;
    if dice.chance(6) {
        let (hrv, rate) = (
            dice.pick(&[19.999, 20.0, ((usual * 1.5 + 0.01) * 1e3).round() / 1e3]),
            dice.pick(&[49.999, 50.0, 90.001]),
        );
        let apart = dice.pick(&[0, 0, 30 * MINUTE, 30 * MINUTE + 1]);
        readings.extend([reading(Metric::Hrv, hrv, t - apart), reading(Metric::HeartRate, rate, t)]);
        let hrv = readings.len() - 2;
        readings[hrv].method = Some(HrvMethod::Rmssd);
    }
    let mut event = event(format!("e{id}"), t, readings);
    event.device_type =
        dice.pick(&[DeviceType::OuraRing, DeviceType::OuraRing, DeviceType::AppleHealth, DeviceType::Garmin]);
    let delay = dice.pick(&[
        0,
        0,
        0,
        0,
        SECOND,
        10 * MINUTE,
        31 * MINUTE,
        -60 * SECOND,
        -300 * SECOND,
        -300 * SECOND - 1,
    ]);
    event.received_at = at(t + delay);
    event.is_backfill = dice.chance(8);
    if dice.chance(4) {
        event.kind = "workout".into();
    }
    event
}

/// Hourly samples of the days before: a level, dips at one hour, poor Mondays.
fn history(dice: &mut Dice, usual: f64, days: i64) -> Event {
    let (dip_hour, share) = (dice.pick(&[10, 10, 11, 12, 13, 9]), dice.pick(&[40, 80, 100]));
    let mut readings = Vec::new();
    let zone = offset(dice);
    for hour in 1..days * 24 {
        let t = START - hour * HOUR;
        if dice.chance(share) {
            let is_dip = t.div_euclid(HOUR).rem_euclid(24) == dip_hour;
            let drop = if is_dip { dice.pick(&[15.0, 17.0, 20.0]) } else { 0.0 };
            let mut hrv = reading(Metric::Hrv, ((usual - drop) * 1e3).round() / 1e3, t);
            hrv.method = Some(HrvMethod::Rmssd);
            hrv.utc_offset = zone;
            readings.push(hrv);
        }
        if dice.chance(10) {
            readings.push(reading(Metric::HeartRate, dice.between(55, 85) as f64, t));
        }
        if hour % 24 == 3 {
            let score = dice.pick(&[45.0, 49.999, 50.0, 70.0]);
            readings.push(reading(Metric::RecoveryScore, score, t));
        }
    }
    let mut event = event("history", START - HOUR, readings);
    event.is_backfill = true;
    event
}

#[derive(Default)]
struct Coverage {
    rules: BTreeMap<&'static str, u32>,
    borderline: usize,
}

impl Coverage {
    fn plus(mut self, other: Self) -> Self {
        other.rules.into_iter().for_each(|(rule, count)| *self.rules.entry(rule).or_default() += count);
        self.borderline += other.borderline;
        self
    }
}

fn compare(seed: u64, coverage: &mut Coverage) {
    let dice = &mut Dice(seed);
    let limits = limits(dice);
    let mut subject = Subject::with(&yaml(&limits));
    let mut oracle = Oracle::new(limits);
    let usual = dice.pick(&[60.0, 80.0, 100.0, 83.333, 26.0]);
    // Of ten seeds: two with weeks of habits behind them, three slow ones, five as fast as sensors are.
    let (days, events, pace) = match seed % 10 {
        0 => (dice.pick(&[25, 40, 60]), 25, dice.pick(&[30 * MINUTE, HOUR, 23 * HOUR, 24 * HOUR])),
        1 => (40, 50, 20 * MINUTE),
        2 | 4 => (0, 90, dice.pick(&[HOUR, 4 * HOUR])),
        3 => (2, 60, dice.pick(&[HOUR, 5 * HOUR])),
        _ => (dice.pick(&[0, 1, 2]), 110, dice.pick(&[MINUTE, 3 * MINUTE, 6 * MINUTE])),
    };
    let mut all = if days > 0 { vec![history(dice, usual, days)] } else { Vec::new() };
    let mut clock = START;
    let calm_share = if seed % 10 == 1 { 97 } else { dice.pick(&[10, 50, 85]) };
    for id in 0..events {
        let calm = dice.chance(calm_share);
        let event = next_event(dice, &mut clock, id, pace, usual, calm);
        all.push(event.clone());
        if dice.chance(5) {
            all.push(all[dice.below(all.len() as u64) as usize].clone());
        }
    }
    let mut newest = START;
    for (index, event) in all.iter().enumerate() {
        let context = || format!("seed {seed}, event {index}: {event:?}");
        let expected = oracle.apply(event);
        if dice.chance(10) {
            subject.state = UserState::decode(&subject.state.encode()).unwrap();
        }
        let switch = subject.fold(event);
        let got = switch
            .as_ref()
            .map(|s| (s.from_mode.name(), s.to_mode.name(), s.reason.name(), s.timestamp.as_ms()));
        let want = expected.as_ref().map(|s| (s.from, s.to, s.rule, s.at));
        assert_eq!(got, want, "{}", context());
        if let (Some(switch), Some(expected)) = (&switch, &expected) {
            assert!((switch.confidence - expected.confidence).abs() < 1e-8, "{}", context());
            assert!((0.5..=1.0).contains(&switch.confidence), "{}", context());
            assert!(switch.explanation.nearest.is_some(), "{}", context());
            *coverage.rules.entry(expected.rule).or_default() += 1;
        }
        assert_eq!(subject.mode(), oracle.mode(), "{}", context());
        newest = newest.max(event.timestamp.as_ms());
        if dice.chance(25) || index + 1 == all.len() {
            compare_views(&subject, &oracle, event, newest, context);
        }
    }
    coverage.borderline += oracle.borderline.len();
}

fn compare_views(
    subject: &Subject,
    oracle: &Oracle,
    event: &Event,
    newest: i64,
    context: impl Fn() -> String,
) {
    let view = subject.view(event.received_at.as_ms());
    let borderline: Vec<_> = view["borderline_triggers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["event_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(borderline, oracle.borderline, "{}", context());
    assert_eq!(
        view["valid_until"].as_str().map(str::to_owned),
        oracle.valid_until.map(|ms| at(ms).to_string()),
        "{}",
        context()
    );
    assert_eq!(
        view["stale"],
        oracle.valid_until.is_some_and(|until| event.received_at.as_ms() > until),
        "{}",
        context()
    );
    for metric in [Metric::Hrv, Metric::HeartRate, Metric::StressLevel, Metric::RecoveryScore] {
        assert_eq!(
            view["inputs"][metric.name()]["value"].as_f64(),
            oracle.held_value(metric),
            "{}",
            context()
        );
        if metric == Metric::StressLevel {
            continue;
        }
        // The week before a reading that no row can ask for any more is forgotten.
        let is_recent = view["inputs"][metric.name()]["timestamp"]
            .as_str()
            .and_then(Timestamp::parse_rfc3339)
            .is_some_and(|taken| newest - taken.as_ms() < DAY);
        if let (true, Some((value, samples))) = (is_recent, oracle.held_baseline(metric)) {
            let baseline = &view["baselines"][metric.name()];
            assert_eq!(baseline["samples"].as_i64(), Some(samples), "{}", context());
            assert!((baseline["value"].as_f64().unwrap() - value).abs() <= 0.000_500_1, "{}", context());
        }
    }
}

#[test]
fn every_decision_is_that_of_the_naive_reading_of_the_rules() {
    const THREADS: u64 = 4;
    // More for a long run: ORACLE_SEEDS=20000.
    let seeds = std::env::var("ORACLE_SEEDS").map_or(1_500, |seeds| seeds.parse().unwrap());
    println!("seeds 0 to {seeds}");
    let coverage = std::thread::scope(|scope| {
        let run = move |thread: u64| {
            let mut coverage = Coverage::default();
            (thread..seeds).step_by(THREADS as usize).for_each(|seed| compare(seed, &mut coverage));
            coverage
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Coverage::default(), Coverage::plus)
    });
    println!("switches by rule: {:?}, borderline: {}", coverage.rules, coverage.borderline);
    assert_eq!(coverage.rules.len(), 11, "every rule must have decided: {:?}", coverage.rules);
    assert!(coverage.borderline > 100);
}
