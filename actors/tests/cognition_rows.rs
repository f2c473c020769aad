//! Each row of the decision table at its limits: at, just under, just over.

#![allow(clippy::unwrap_used)]

mod cognition_support;

use actors::domain::event::{Context, DeviceType, HrvMethod, Reading};
use actors::domain::metric::Metric::{HeartRate, Hrv, RecoveryScore, SleepScore, StressLevel};

use cognition_support::{DAY, HOUR, MINUTE, SECOND, START, Subject, at, reading};

/// What one event of `readings` makes of a user with usual HRV 100 and heart rate 60: the rule that wins.
fn decide(readings: &[Reading]) -> Option<(&'static str, f64)> {
    decide_with("", readings)
}

fn decide_with(yaml: &str, readings: &[Reading]) -> Option<(&'static str, f64)> {
    let mut subject = Subject::with(yaml);
    subject.usual(Hrv, 100.0, START);
    subject.usual(HeartRate, 60.0, START);
    let switch = subject.live(START, readings.to_vec());
    switch.map(|switch| (switch.reason.name(), switch.confidence))
}

fn now(metric: actors::domain::metric::Metric, value: f64) -> Reading {
    reading(metric, value, START)
}

const AT_ONCE: &str = "thresholds: { heart_rate_sustained_minutes: 0 }";

#[test]
fn reflex_begins_just_beyond_each_of_its_limits() {
    for (hrv, expected) in [(75.0, None), (74.999, Some(("reflex.hrv_drop", 0.833_366_667)))] {
        assert_eq!(decide(&[now(Hrv, hrv)]), expected, "drop_ms at {hrv}");
    }
    let by_percentage = "thresholds: { hrv_drop_ms: 90, hrv_drop_percentage: 30 }";
    for (hrv, expected) in [(70.0, None), (69.999, Some(("reflex.hrv_drop", 1.0)))] {
        assert_eq!(decide_with(by_percentage, &[now(Hrv, hrv)]), expected, "drop_percentage at {hrv}");
    }
    for (rate, expected) in [(100.0, None), (100.001, Some(("reflex.heart_rate", 0.5)))] {
        assert_eq!(decide_with(AT_ONCE, &[now(HeartRate, rate)]), expected, "heart rate {rate}");
    }
    for (stress, expected) in [(0.85, None), (0.851, Some(("reflex.stress", 0.851)))] {
        assert_eq!(decide(&[now(StressLevel, stress)]), expected, "stress {stress}");
    }
}

#[test]
fn reflex_takes_the_largest_factor_of_conditions_that_hold_times_its_confidence() {
    let weak = |mut reading: Reading, confidence| {
        reading.confidence = confidence;
        reading
    };
    let cases = [
        (vec![now(HeartRate, 114.0)], ("reflex.heart_rate", 0.8)),
        (vec![now(HeartRate, 180.0)], ("reflex.heart_rate", 1.0)),
        (vec![weak(now(HeartRate, 180.0), Some(0.8))], ("reflex.heart_rate", 0.8)),
        (vec![weak(now(HeartRate, 180.0), None)], ("reflex.heart_rate", 1.0)),
        (vec![weak(now(HeartRate, 180.0), Some(0.1))], ("reflex.heart_rate", 0.5)),
        (vec![now(HeartRate, 102.0), now(StressLevel, 0.9)], ("reflex.heart_rate", 0.9)),
        // A stress level under its limit adds nothing, however high it is.
        (vec![now(HeartRate, 102.0), now(StressLevel, 0.84)], ("reflex.heart_rate", 0.5)),
        (vec![now(Hrv, 70.0), now(HeartRate, 114.0), now(StressLevel, 0.9)], ("reflex.hrv_drop", 1.0)),
    ];
    for (readings, expected) in cases {
        assert_eq!(decide_with(AT_ONCE, &readings), Some(expected), "{readings:?}");
    }
}

#[test]
fn without_an_own_baseline_only_a_very_low_hrv_is_down() {
    for (hrv, expected) in [(24.999, Some("reflex.hrv_drop")), (25.0, None), (34.9, None)] {
        let mut subject = Subject::default();
        let switch = subject.live(START, vec![now(Hrv, hrv)]);
        assert_eq!(switch.map(|switch| switch.reason.name()), expected, "{hrv}");
    }
}

#[test]
fn a_baseline_is_the_users_own_from_five_hourly_samples_of_the_week_before() {
    for (hours, is_own) in
        [(vec![1, 2, 3, 4], false), (vec![1, 2, 3, 4, 168], true), (vec![1, 2, 3, 4, 169], false)]
    {
        let mut subject = Subject::default();
        let mut history = subject
            .event(START - HOUR, hours.iter().map(|h| reading(Hrv, 100.0, START - h * HOUR)).collect());
        history.is_backfill = true;
        subject.fold(&history);
        // A sample of the reading's own clock hour does not count.
        let mut own_hour = subject.event(START, vec![reading(Hrv, 1.0, START)]);
        own_hour.is_backfill = true;
        subject.fold(&own_hour);
        subject.live(START + MINUTE, vec![reading(Hrv, 60.0, START + MINUTE)]);
        assert_eq!(subject.mode(), if is_own { "REFLEX" } else { "PATTERN" }, "{hours:?}");
        let baseline = &subject.view(START)["baselines"]["hrv"];
        assert_eq!(baseline["value"], if is_own { 100.0 } else { 60.0 });
    }
}

#[test]
fn guardian_takes_the_stronger_of_its_branches() {
    let cases = [
        (vec![now(RecoveryScore, 40.0)], None),
        (vec![now(RecoveryScore, 39.999)], Some(("guardian.recovery", 0.600_01))),
        (vec![now(RecoveryScore, 5.0)], Some(("guardian.recovery", 0.9))),
        (vec![now(HeartRate, 80.001), now(StressLevel, 0.7)], None),
        (vec![now(HeartRate, 80.0), now(StressLevel, 0.701)], None),
        (vec![now(HeartRate, 80.001), now(StressLevel, 0.8)], Some(("guardian.indicators", 0.65))),
        // 0.65 from both: recovery; then one of them a little stronger.
        (
            vec![now(RecoveryScore, 35.0), now(HeartRate, 81.0), now(StressLevel, 0.8)],
            Some(("guardian.recovery", 0.65)),
        ),
        (
            vec![now(RecoveryScore, 35.0), now(HeartRate, 81.0), now(StressLevel, 0.802)],
            Some(("guardian.indicators", 0.651)),
        ),
    ];
    for (readings, expected) in cases {
        assert_eq!(decide(&readings), expected, "{readings:?}");
    }
    // The larger is taken before the cap: 1 − 0.02 against 0.3 + 0.5 + 0.25.
    let worn = "thresholds: { hrv_drop_ms: 300, hrv_drop_percentage: 100, stress_level_critical: 1 }";
    let readings = [now(RecoveryScore, 2.0), now(Hrv, 29.0), now(HeartRate, 81.0), now(StressLevel, 1.0)];
    assert_eq!(decide_with(worn, &readings), Some(("guardian.indicators", 0.9)));
    for (hrv, confidence) in [(29.999, Some(0.55)), (30.0, None)] {
        let decided = decide_with(worn, &[now(Hrv, hrv), now(HeartRate, 81.0)]);
        assert_eq!(decided.map(|(_, confidence)| confidence), confidence, "{hrv}");
    }
    // An HRV between 30 and 40 is no indicator but adds to the confidence.
    let with_hrv = |hrv| decide_with(worn, &[now(Hrv, hrv), now(HeartRate, 81.0), now(StressLevel, 0.8)]);
    assert_eq!(with_hrv(39.999), Some(("guardian.indicators", 0.9)));
    assert_eq!(with_hrv(40.0), Some(("guardian.indicators", 0.65)));
}

#[test]
fn readings_that_contradict_each_other_make_a_hypothesis() {
    let calm = "thresholds: { hrv_drop_ms: 300, hrv_drop_percentage: 100, heart_rate_sustained_minutes: 30 }";
    let apart = |hrv, rate, ms| vec![reading(Hrv, hrv, START - ms), now(HeartRate, rate)];
    let half_an_hour = 30 * MINUTE;
    let cases = [
        (apart(150.0, 91.0, 0), None),
        (apart(150.001, 91.0, 0), Some("hypothesis.hrv_high")),
        (apart(150.001, 90.0, 0), None),
        (apart(150.001, 91.0, half_an_hour), Some("hypothesis.hrv_high")),
        (apart(150.001, 91.0, half_an_hour + 1), None),
        (apart(19.999, 49.999, 0), Some("hypothesis.hrv_low")),
        (apart(20.0, 49.0, 0), None),
        (apart(19.0, 50.0, 0), None),
    ];
    for (readings, expected) in cases {
        assert_eq!(decide_with(calm, &readings).map(|(rule, _)| rule), expected, "{readings:?}");
    }
}

#[test]
fn disagreeing_devices_make_a_hypothesis_and_the_more_alarming_one_counts() {
    let rates = |first: f64, second: f64, apart_ms: i64| {
        let mut subject = Subject::with(AT_ONCE);
        subject.live(START - apart_ms, vec![reading(HeartRate, first, START - apart_ms)]);
        let mut event = subject.event(START, vec![now(HeartRate, second)]);
        event.device_type = DeviceType::AppleHealth;
        subject.fold(&event).map(|switch| switch.reason.name())
    };
    let five_minutes = 5 * MINUTE;
    assert_eq!(rates(80.0, 60.0, five_minutes), None);
    assert_eq!(rates(80.001, 60.0, five_minutes), Some("hypothesis.devices"));
    assert_eq!(rates(80.001, 60.0, five_minutes + 1), None);
    assert_eq!(rates(60.0, 80.001, MINUTE), Some("hypothesis.devices"));

    let hrvs = |first: f64, second: f64, method| {
        let mut subject = Subject::default();
        let mut other = now(Hrv, first);
        other.method = method;
        subject.live(START, vec![other]);
        let mut mine = now(Hrv, second);
        mine.method = Some(HrvMethod::Sdnn);
        let mut event = subject.event(START, vec![mine]);
        event.device_type = DeviceType::AppleHealth;
        subject.fold(&event).map(|switch| switch.reason.name())
    };
    assert_eq!(hrvs(100.0, 70.0, Some(HrvMethod::Sdnn)), None);
    assert_eq!(hrvs(100.0, 69.999, Some(HrvMethod::Sdnn)), Some("hypothesis.devices"));
    assert_eq!(hrvs(100.0, 50.0, Some(HrvMethod::Rmssd)), None, "methods are never compared");
    assert_eq!(hrvs(24.0, 100.0, Some(HrvMethod::Sdnn)), None, "the lower one had already set REFLEX");
}

#[test]
fn guardian_is_left_for_pattern_only_from_a_moderate_recovery_and_with_news() {
    for (recovery, expected) in [(59.999, "GUARDIAN"), (60.0, "PATTERN")] {
        let mut subject = Subject::default();
        subject.live(START, vec![now(RecoveryScore, 20.0)]);
        let later = START + HOUR;
        subject.live(later, vec![reading(RecoveryScore, recovery, later)]);
        assert_eq!(subject.mode(), expected, "{recovery}");
    }
    let mut subject = Subject::default();
    subject.live(START, vec![now(StressLevel, 0.9), now(RecoveryScore, 80.0)]);
    assert_eq!(subject.mode(), "REFLEX");
    let later = START + HOUR;
    subject.live(later, vec![reading(SleepScore, 80.0, later)]);
    assert_eq!(
        subject.mode(),
        "REFLEX",
        "the recovery is known and normal, but it did not come with this event"
    );
    subject.live(later + 1, vec![reading(RecoveryScore, 80.0, later + 1)]);
    assert_eq!(subject.mode(), "PATTERN");
}

#[test]
fn readings_are_normal_up_to_ninety_percent_of_reflexs_limits() {
    let cases = [
        (Hrv, 77.501, true),
        (Hrv, 77.5, false),
        (HeartRate, 80.0, true),
        (HeartRate, 80.001, false),
        (StressLevel, 0.7, true),
        (StressLevel, 0.701, false),
        (RecoveryScore, 40.0, true),
        (RecoveryScore, 39.999, false),
    ];
    for (metric, value, is_normal) in cases {
        let mut subject = Subject::default();
        subject.live(START - DAY, vec![reading(StressLevel, 0.9, START - DAY)]);
        subject.usual(Hrv, 100.0, START);
        subject.usual(HeartRate, 60.0, START);
        let switch = subject.live(START, vec![now(metric, value)]);
        let is_pattern = switch.is_some_and(|switch| switch.reason.name() == "pattern.normal");
        assert_eq!(is_pattern, is_normal, "{metric:?} {value}");
    }
}

#[test]
fn a_low_hour_on_five_local_days_is_a_pattern() {
    for (days, offset_minutes, expected) in [(5, 0, true), (4, 0, false), (5, 60, false)] {
        let mut subject = Subject::default();
        let mut readings: Vec<Reading> =
            (1..20 * 24).map(|hour| reading(Hrv, 100.0, START - hour * HOUR)).collect();
        for day in 1..=days {
            // The mean of a week that holds dips is under 100: 80 is 15 or more under it all the same.
            readings.push(reading(Hrv, 80.0, START - day * DAY + MINUTE));
        }
        let mut history = subject.event(START - HOUR, readings);
        history.is_backfill = true;
        subject.fold(&history);
        let mut disagree =
            subject.event(START - 30 * MINUTE, vec![reading(HeartRate, 60.0, START - 30 * MINUTE)]);
        subject.fold(&disagree.clone());
        disagree = subject.event(START - 30 * MINUTE, vec![reading(HeartRate, 85.0, START - 30 * MINUTE)]);
        disagree.device_type = DeviceType::Garmin;
        assert_eq!(subject.fold(&disagree).unwrap().reason.name(), "hypothesis.devices");
        let mut tick = reading(SleepScore, 90.0, START + 2);
        tick.utc_offset = actors::domain::time::UtcOffset::from_minutes(offset_minutes);
        let reason = subject.live(START + 2, vec![tick]).map(|switch| switch.reason.name());
        assert_eq!(reason, expected.then_some("pattern.hour"), "{days} days, offset {offset_minutes}");
    }
}

#[test]
fn a_poor_weekday_on_three_local_days_is_a_pattern() {
    for (weeks, score, expected) in [(3, 49.999, true), (2, 49.0, false), (3, 50.0, false)] {
        let mut subject = Subject::default();
        let readings =
            (1..=weeks).map(|week| reading(RecoveryScore, score, START - week * 7 * DAY)).collect();
        let mut history = subject.event(START - HOUR, readings);
        history.is_backfill = true;
        subject.fold(&history);
        // The day before, a Sunday, two devices disagree; Monday finds the pattern.
        let sunday = START - DAY;
        subject.live(sunday, vec![reading(HeartRate, 60.0, sunday)]);
        let mut other = subject.event(sunday, vec![reading(HeartRate, 85.0, sunday)]);
        other.device_type = DeviceType::Garmin;
        assert_eq!(subject.fold(&other).unwrap().to_mode.name(), "HYPOTHESIS");
        let reason = subject.live(START, vec![now(SleepScore, 90.0)]).map(|switch| switch.reason.name());
        assert_eq!(reason, expected.then_some("pattern.weekday"), "{weeks} weeks of {score}");
    }
}

#[test]
fn within_the_cooldown_only_a_more_urgent_row_switches_and_its_confidence_counts_less() {
    // Set by row 2; 299.999 s later row 1 may still take over, at 0.7 of its confidence, row 5 may not.
    let cases = [
        (300 * SECOND - 1, StressLevel, 0.9, Some(("reflex.stress", 0.63))),
        (300 * SECOND, StressLevel, 0.9, Some(("reflex.stress", 0.9))),
        (300 * SECOND - 1, RecoveryScore, 90.0, None),
        (300 * SECOND, RecoveryScore, 90.0, Some(("pattern.normal", 0.8))),
        // 0.5 × 0.7 is too little.
        (300 * SECOND - 1, HeartRate, 101.0, None),
        (300 * SECOND, HeartRate, 101.0, Some(("reflex.heart_rate", 0.5))),
    ];
    for (after_ms, metric, value, expected) in cases {
        let mut subject = Subject::with(AT_ONCE);
        subject.live(START, vec![now(RecoveryScore, 30.0)]);
        let then = START + after_ms;
        let switch = subject.live(then, vec![reading(metric, value, then)]);
        let got = switch.map(|switch| (switch.reason.name(), switch.confidence));
        assert_eq!(got, expected, "{metric:?} {value} after {after_ms} ms");
    }
}

#[test]
fn borderline_needs_two_near_readings_and_no_reflex() {
    let cases = [
        (vec![now(Hrv, 77.5), now(HeartRate, 90.0)], vec!["hrv", "heart_rate"]),
        (vec![now(Hrv, 77.501), now(HeartRate, 90.0)], vec![]),
        (vec![now(Hrv, 77.5), now(HeartRate, 89.999)], vec![]),
        (vec![now(HeartRate, 90.0), now(StressLevel, 0.765)], vec!["heart_rate", "stress_level"]),
        (vec![now(HeartRate, 90.0), now(StressLevel, 0.764)], vec![]),
        (vec![now(HeartRate, 90.0), now(StressLevel, 0.86)], vec![]),
    ];
    for (readings, expected) in cases {
        let mut subject = Subject::default();
        subject.usual(Hrv, 100.0, START);
        subject.live(START, readings.clone());
        let view = subject.view(START);
        let kept = view["borderline_triggers"].as_array().unwrap();
        let inputs: Vec<&str> = kept
            .iter()
            .flat_map(|borderline| borderline["inputs"].as_array().unwrap())
            .map(|input| input.as_str().unwrap())
            .collect();
        assert_eq!(inputs, expected, "{readings:?}");
    }
    let mut subject = Subject::default();
    for minute in 0..60 {
        let t = START + minute * 10 * MINUTE;
        subject.live(t, vec![reading(HeartRate, 95.0, t), reading(StressLevel, 0.8, t)]);
    }
    let view = subject.view(START);
    let kept = view["borderline_triggers"].as_array().unwrap();
    assert_eq!((kept.len(), kept[49]["event_id"].as_str()), (50, Some("event-60")));
}

#[test]
fn a_switch_says_what_it_rests_on_and_how_close_it_was() {
    let mut subject = Subject::default();
    subject.usual(Hrv, 100.0, START);
    let mut event =
        subject.event(START, vec![reading(Hrv, 74.0, START - 90 * SECOND), now(StressLevel, 0.99)]);
    event.readings[0].context = Some(Context::Sleep);
    let switch = subject.fold(&event).unwrap();
    let again = serde_json::to_value(&switch).unwrap();
    assert_eq!(again["rule"], again["reason"]);
    assert_eq!(again["explanation"]["rule"], again["reason"]);
    assert_eq!(
        again,
        serde_json::json!({
            "switch_id": switch.switch_id,
            "user_id": "user-1", "from_mode": "PATTERN", "to_mode": "REFLEX",
            "reason": "reflex.hrv_drop", "rule": "reflex.hrv_drop", "confidence": 0.99,
            "timestamp": at(START), "event_id": "event-2", "state_seq": 2,
            "explanation": {
                "rule": "reflex.hrv_drop",
                "thresholds_hash": subject.thresholds.hash(),
                "inputs": [
                    {"metric": "hrv", "value": 74.0, "timestamp": at(START - 90 * SECOND), "age_s": 90,
                     "device_type": "oura_ring", "confidence": 1.0, "baseline": 100.0},
                    {"metric": "stress_level", "value": 0.99, "timestamp": at(START), "age_s": 0,
                     "device_type": "oura_ring", "confidence": 1.0},
                ],
                // 74 is 1 ms from its limit of 75; without it the stress level alone had been enough.
                "nearest": {"input": "hrv", "value": 74.0, "would_be": "REFLEX"},
            },
        })
    );
    assert_eq!(switch.switch_id.as_bytes()[14], b'8', "a UUIDv8");

    let mut alone = Subject::default();
    let switch = alone.live(START, vec![now(StressLevel, 0.86)]).unwrap();
    let nearest = serde_json::to_value(&switch.explanation.nearest).unwrap();
    assert_eq!(nearest, serde_json::json!({"input": "stress_level", "value": 0.86, "would_be": "PATTERN"}));
}
