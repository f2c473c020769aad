//! Which readings count: held, fresh, late, backfilled, ahead, in workouts, sustained.

#![allow(clippy::unwrap_used)]

mod cognition_support;

use actors::cognition::thresholds::Thresholds;
use actors::domain::event::{Context, HrvMethod, Reading};
use actors::domain::metric::Metric::{self, HeartRate, Hrv, RecoveryScore, SleepScore, StressLevel};
use actors::domain::time::UtcOffset;

use cognition_support::{HOUR, MINUTE, SECOND, START, Subject, at, reading};

fn with_context(mut reading: Reading, context: Context) -> Reading {
    reading.context = Some(context);
    reading
}

fn held(subject: &Subject, metric: Metric) -> Option<f64> {
    subject.view(START)["inputs"][metric.name()]["value"].as_f64()
}

#[test]
fn a_reading_is_fresh_up_to_its_last_millisecond() {
    let stress_then = |age_ms| vec![reading(StressLevel, 0.9, START - age_ms)];
    let recovery_then = |age_ms| vec![reading(RecoveryScore, 20.0, START - age_ms)];
    let hrv_then = |age_ms| vec![reading(Hrv, 20.0, START - age_ms)];
    let cases = [
        (stress_then(30 * MINUTE), "REFLEX"),
        (stress_then(30 * MINUTE + 1), "PATTERN"),
        (recovery_then(36 * HOUR), "GUARDIAN"),
        (recovery_then(36 * HOUR + 1), "PATTERN"),
        (hrv_then(6 * HOUR), "REFLEX"),
        (hrv_then(6 * HOUR + 1), "PATTERN"),
        (stress_then(-MINUTE), "REFLEX"),
    ];
    for (readings, expected) in cases {
        let mut subject = Subject::default();
        subject.live(START, readings.clone());
        assert_eq!(subject.mode(), expected, "{readings:?}");
    }
    for (age_ms, expected) in [(36 * HOUR, "GUARDIAN"), (36 * HOUR + 1, "PATTERN")] {
        let mut subject = Subject::default();
        let readings = vec![reading(Hrv, 29.0, START - age_ms), reading(HeartRate, 81.0, START)];
        subject.live(START, readings);
        assert_eq!(subject.mode(), expected, "for GUARDIAN an HRV is fresh for 36 h: {age_ms}");
    }
}

#[test]
fn ages_run_from_the_arrival_if_it_was_later_than_the_event() {
    for (delay_ms, expected) in [(30 * MINUTE, "REFLEX"), (30 * MINUTE + 1, "PATTERN")] {
        let mut subject = Subject::default();
        let mut event = subject.event(START, vec![reading(StressLevel, 0.9, START)]);
        event.received_at = at(START + delay_ms);
        subject.fold(&event);
        assert_eq!(subject.mode(), expected, "{delay_ms}");
    }
}

#[test]
fn only_readings_of_a_user_at_rest_and_measured_now_are_held() {
    let derived = |metric, value| {
        let mut reading = reading(metric, value, START);
        reading.source = Some("derived".into());
        reading
    };
    let in_context = |metric, value, context| with_context(reading(metric, value, START), context);
    let cases = [
        (in_context(HeartRate, 70.0, Context::Sleep), false),
        (in_context(HeartRate, 70.0, Context::Daily), false),
        (in_context(HeartRate, 70.0, Context::Workout), false),
        (in_context(StressLevel, 0.5, Context::Sleep), false),
        (in_context(Hrv, 50.0, Context::Sleep), true),
        (in_context(Hrv, 50.0, Context::Daily), true),
        (in_context(Hrv, 50.0, Context::Workout), false),
        (in_context(RecoveryScore, 50.0, Context::Daily), true),
        (in_context(RecoveryScore, 50.0, Context::Workout), false),
        (derived(StressLevel, 0.5), false),
        (derived(HeartRate, 70.0), true),
        (reading(StressLevel, 0.5, START), true),
    ];
    for (reading, is_held) in cases {
        let mut subject = Subject::default();
        subject.live(START, vec![reading.clone()]);
        assert_eq!(held(&subject, reading.metric).is_some(), is_held, "{reading:?}");
        let mut backfilled = Subject::default();
        let mut event = backfilled.event(START, vec![reading.clone()]);
        event.is_backfill = true;
        backfilled.fold(&event);
        assert_eq!(held(&backfilled, reading.metric), None, "backfilled {reading:?}");
    }
}

#[test]
fn the_newest_reading_is_held_and_of_equal_times_the_later_applied() {
    let mut subject = Subject::default();
    subject.live(START, vec![reading(Hrv, 50.0, START), reading(Hrv, 51.0, START)]);
    assert_eq!(held(&subject, Hrv), Some(51.0), "the later in the list");
    let mut sdnn = reading(Hrv, 52.0, START);
    sdnn.method = Some(HrvMethod::Sdnn);
    subject.live(START, vec![sdnn]);
    assert_eq!(held(&subject, Hrv), Some(52.0), "over both methods");
    subject.live(START + 1, vec![reading(Hrv, 53.0, START - 1)]);
    assert_eq!(held(&subject, Hrv), Some(52.0));
}

#[test]
fn a_late_event_decides_only_with_a_newer_reading_and_at_the_newest_live_time() {
    let later = START + 20 * MINUTE;
    for (held_at, decides) in [(START - 1, true), (START, false), (START + 1, false)] {
        let mut subject = Subject::default();
        subject.live(later, vec![reading(StressLevel, 0.1, held_at)]);
        let switch = subject.live(START, vec![reading(StressLevel, 0.9, START)]);
        assert_eq!(switch.as_ref().map(|switch| switch.timestamp), decides.then_some(at(later)), "{held_at}");
    }
    let mut subject = Subject::default();
    subject.live(START, vec![reading(SleepScore, 80.0, START)]);
    let same_time = subject.live(START, vec![reading(StressLevel, 0.9, START - HOUR / 2)]);
    assert!(same_time.is_some(), "an event of the newest live time is live");
}

#[test]
fn backfilled_events_decide_nothing_and_move_no_time() {
    let mut subject = Subject::default();
    let mut event = subject.event(START + HOUR, vec![reading(StressLevel, 0.95, START)]);
    event.is_backfill = true;
    assert_eq!(subject.fold(&event), None);
    assert!(subject.live(START, vec![reading(StressLevel, 0.95, START)]).is_some());
}

#[test]
fn what_is_stamped_over_five_minutes_ahead_of_its_arrival_is_not_believed() {
    for (ahead_ms, expected) in [(300 * SECOND, Some(0.9)), (300 * SECOND + 1, None)] {
        let mut subject = Subject::default();
        subject.live(START, vec![reading(StressLevel, 0.9, START + ahead_ms)]);
        assert_eq!(held(&subject, StressLevel), expected);
        assert_eq!(subject.mode(), if expected.is_some() { "REFLEX" } else { "PATTERN" });
    }
    let mut subject = Subject::default();
    let mut event = subject.event(START + 300 * SECOND + 1, vec![reading(StressLevel, 0.9, START)]);
    event.received_at = at(START);
    assert_eq!(subject.fold(&event), None, "an event stamped so decides nothing");
    assert_eq!(held(&subject, StressLevel), Some(0.9), "its other readings are applied");
    assert!(subject.live(START, Vec::new()).is_some(), "and it moved no time: this one is live");
}

#[test]
fn a_repeated_event_changes_nothing() {
    let mut subject = Subject::default();
    let event = subject.event(START, vec![reading(StressLevel, 0.9, START)]);
    assert!(subject.fold(&event).is_some());
    let before = subject.state.encode();
    let mut changed = event.clone();
    changed.readings[0].value = 0.1;
    let folded = actors::cognition::fold::fold(subject.state, &changed, &subject.thresholds);
    assert!(!folded.applied && folded.switch.is_none());
    assert_eq!(folded.state.encode(), before);
}

#[test]
fn the_newest_128_events_are_known_again() {
    let mut subject = Subject::default();
    let events: Vec<_> = (0..129).map(|n| subject.event(START + n, Vec::new())).collect();
    for event in &events {
        subject.fold(event);
    }
    let mut is_applied = |event| {
        let seq = subject.state.seq();
        subject.fold(event);
        subject.state.seq() > seq
    };
    assert!(!is_applied(&events[1]), "128 back");
    assert!(!is_applied(&events[128]));
    assert!(is_applied(&events[0]), "129 back: the store and the log's position stop this one");
}

/// Heart rates and how many minutes ago they were taken: (ago, bpm).
type MinutesAgo<'a> = &'a [(f64, f64)];

/// What a heart rate of 120 at `START` makes after `before`.
fn after_rates(minutes: u32, before: MinutesAgo<'_>) -> &'static str {
    let mut subject = Subject::with(&format!("thresholds: {{ heart_rate_sustained_minutes: {minutes} }}"));
    let rates = before
        .iter()
        .map(|(ago, value)| reading(HeartRate, *value, START - (ago * MINUTE as f64) as i64))
        .chain([reading(HeartRate, 120.0, START)])
        .collect();
    subject.live(START, rates);
    subject.mode()
}

#[test]
fn an_elevated_heart_rate_must_have_lasted() {
    let cases: &[(u32, MinutesAgo<'_>, &str)] = &[
        (0, &[], "REFLEX"),
        (0, &[(1.0, 60.0)], "REFLEX"),
        (5, &[], "PATTERN"),
        (5, &[(5.0, 101.0)], "REFLEX"),
        (5, &[(4.99, 101.0)], "PATTERN"),
        (5, &[(10.0, 101.0)], "REFLEX"),
        (5, &[(10.01, 101.0)], "PATTERN"),
        (5, &[(5.0, 100.0)], "PATTERN"),
        (5, &[(10.0, 100.0), (5.0, 101.0)], "PATTERN"),
        (5, &[(10.01, 100.0), (5.0, 101.0)], "REFLEX"),
        (5, &[(9.0, 130.0), (2.0, 99.0)], "PATTERN"),
        (5, &[(7.0, 130.0), (7.0, 99.0)], "PATTERN"),
        (30, &[(60.0, 101.0)], "REFLEX"),
        (30, &[(29.9, 101.0)], "PATTERN"),
    ];
    for (minutes, before, expected) in cases {
        assert_eq!(after_rates(*minutes, before), *expected, "{minutes} min, {before:?}");
    }
}

#[test]
fn late_heart_rates_count_for_how_long_it_lasted_and_those_of_workouts_do_not() {
    let decide = |late: Option<f64>, workout: bool| {
        let mut subject = Subject::default();
        subject.live(START - 6 * MINUTE, vec![reading(HeartRate, 101.0, START - 6 * MINUTE)]);
        if let Some(value) = late {
            subject.live(START - 8 * MINUTE, vec![reading(HeartRate, value, START - 8 * MINUTE)]);
        }
        if workout {
            let mut reading =
                with_context(reading(Metric::Steps, 9.0, START - 17 * MINUTE), Context::Workout);
            reading.start = Some(at(START - 20 * MINUTE));
            subject.live(START - 7 * MINUTE, vec![reading]);
        }
        subject.live(START, vec![reading(HeartRate, 102.0, START)]);
        subject.mode()
    };
    assert_eq!(decide(None, false), "REFLEX");
    assert_eq!(decide(Some(90.0), false), "PATTERN");
    assert_eq!(decide(Some(90.0), true), "REFLEX", "the low one lies within 10 min after a workout");
}

#[test]
fn a_dense_stream_keeps_the_lowest_of_each_minute() {
    for (dip_second, expected) in [(None, "REFLEX"), (Some(330), "PATTERN")] {
        // Nothing decides until the last second; by then the dip is one of 60 values of its minute.
        let mut subject = Subject::with("thresholds: { heart_rate_elevated: 240 }");
        for second in 0..=900 {
            let value = if Some(second) == dip_second { 99.0 } else { 110.0 };
            let t = START + second * SECOND;
            if second == 900 {
                subject.thresholds = Thresholds::default();
            }
            subject.live(t, vec![reading(HeartRate, value, t)]);
        }
        assert_eq!(subject.mode(), expected, "{dip_second:?}");
        assert!(subject.state.encode().len() < 2_000);
    }
}

#[test]
fn heart_rates_from_a_workout_until_ten_minutes_after_count_nowhere() {
    let duration = |minutes| reading(Metric::WorkoutDurationMinutes, minutes, START);
    for (taken_at, counts) in [
        (START - 30 * MINUTE - 1, true),
        (START - 30 * MINUTE, false),
        (START + 10 * MINUTE, false),
        (START + 10 * MINUTE + 1, true),
    ] {
        let mut subject = Subject::with("thresholds: { heart_rate_sustained_minutes: 0 }");
        let mut workout = subject.event(START, vec![duration(30.0)]);
        workout.kind = "workout".into();
        workout.is_backfill = true;
        subject.fold(&workout);
        subject.live(taken_at, vec![reading(HeartRate, 120.0, taken_at)]);
        assert_eq!(subject.mode() == "REFLEX", counts, "{}", taken_at - START);
    }
    let mut subject = Subject::with("thresholds: { heart_rate_sustained_minutes: 0 }");
    let mut long = with_context(reading(Metric::Steps, 1.0, START), Context::Workout);
    (long.start, long.end) = (Some(at(START - HOUR)), Some(at(START + HOUR)));
    subject.live(START, vec![long]);
    let after = START + 11 * MINUTE;
    subject.live(after, vec![reading(HeartRate, 120.0, after)]);
    assert_eq!(subject.mode(), "REFLEX", "the end is cut at the event's time");
}

#[test]
fn a_reading_without_offset_takes_the_users_last_one_for_good() {
    let mut subject = Subject::default();
    let mut east = reading(SleepScore, 80.0, START);
    east.utc_offset = UtcOffset::from_minutes(120);
    let mut west = east.clone();
    west.utc_offset = UtcOffset::from_minutes(-300);
    subject.live(START, vec![reading(Hrv, 60.0, START), east.clone(), west]);
    let one = subject.state.clone();
    let mut told = reading(Hrv, 60.0, START);
    told.utc_offset = UtcOffset::from_minutes(-300);
    let mut other = Subject::default();
    let mut last = east;
    last.utc_offset = UtcOffset::from_minutes(-300);
    other.live(START, vec![told, last]);
    assert_eq!(
        one.encode(),
        other.state.encode(),
        "the event's own last offset counts for all of its readings"
    );
}
