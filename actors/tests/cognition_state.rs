//! Laws of the state: the same events give the same bytes, duplicates change nothing, it is bounded and survives
//! being stored.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod cognition_support;

use actors::cognition::fold::fold;
use actors::cognition::state::{StateError, UserState, Vitals};
use actors::cognition::thresholds::Thresholds;
use actors::cognition::view::StateView;
use actors::domain::event::{Context, DeviceType, Event, HrvMethod, Reading};
use actors::domain::metric::Metric::{self, HeartRate, Hrv, RecoveryScore, StressLevel};
use actors::domain::time::UtcOffset;
use proptest::prelude::*;

use cognition_support::{DAY, HOUR, MINUTE, START, Subject, at, event, reading, user};

/// Contract with the checkpoint: a state takes at most this much.
const ENCODED_MAX: usize = 8 * 1024;

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => START - 2 * DAY..START + 2 * DAY,
        2 => START - 70 * DAY..START + 70 * DAY,
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), any::<i64>()],
    ]
}

fn any_number(range: std::ops::Range<f64>) -> impl Strategy<Value = f64> {
    prop_oneof![10 => range, 1 => any::<f64>()]
}

fn any_reading() -> impl Strategy<Value = Reading> {
    let metric = prop::sample::select(vec![
        Hrv,
        HeartRate,
        StressLevel,
        RecoveryScore,
        Metric::WorkoutDurationMinutes,
        Metric::SleepScore,
    ]);
    let contexts = vec![None, None, None, Some(Context::Sleep), Some(Context::Workout), Some(Context::Daily)];
    let methods = vec![None, Some(HrvMethod::Rmssd), Some(HrvMethod::Sdnn)];
    (
        (metric, any_number(0.0..150.0), any_time(), prop::option::of(any_number(0.0..1.0))),
        (prop::sample::select(contexts), prop::sample::select(methods)),
        (prop::option::of(any_time()), prop::option::of(any_time()), prop::option::of(-1080..=1080)),
    )
        .prop_map(|((metric, value, ms, confidence), (context, method), (start, end, offset))| Reading {
            value: if metric == StressLevel && value.is_finite() { value / 150.0 } else { value },
            confidence,
            method,
            context,
            start: start.map(at),
            end: end.map(at),
            utc_offset: offset.and_then(UtcOffset::from_minutes),
            ..reading(metric, 0.0, ms)
        })
}

fn any_event() -> impl Strategy<Value = Event> {
    (
        (0_u32..60, any_time(), prop::option::weighted(0.3, any_time()), prop::bool::weighted(0.2)),
        prop::collection::vec(any_reading(), 0..5),
        prop::sample::select(vec![DeviceType::OuraRing, DeviceType::AppleHealth, DeviceType::Terra]),
        prop::sample::select(vec!["sample", "workout"]),
    )
        .prop_map(|((id, ms, received_at, is_backfill), readings, device_type, kind)| Event {
            received_at: at(received_at.unwrap_or(ms)),
            device_type,
            kind: kind.into(),
            is_backfill,
            ..event(id, ms, readings)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_events_give_the_same_bytes_whatever_they_hold(
        events in prop::collection::vec(any_event(), 0..60),
    ) {
        let thresholds = Thresholds::default();
        let mut plain = UserState::default();
        let mut stored = UserState::default();
        for event in &events {
            let before = plain.clone();
            let folded = fold(plain, event, &thresholds);
            plain = folded.state;
            if !folded.applied {
                prop_assert!(plain == before && folded.switch.is_none());
            }
            prop_assert_eq!(plain.seq(), before.seq() + u64::from(folded.applied));
            if let Some(switch) = &folded.switch {
                prop_assert!((0.5..=1.0).contains(&switch.confidence));
                prop_assert!(switch.from_mode == before.mode() && switch.to_mode == plain.mode());
                prop_assert!(switch.from_mode != switch.to_mode);
            }
            // Stored and read back at every step: nothing is lost, so nothing differs.
            let again = fold(UserState::decode(&stored.encode()).unwrap(), event, &thresholds);
            stored = again.state;
            prop_assert!(again.switch == folded.switch);
            prop_assert_eq!(stored.encode(), plain.encode());
            // A repeat of any event so far changes nothing.
            prop_assert!(!fold(plain.clone(), event, &thresholds).applied);
        }
        prop_assert!(plain.encode().len() <= ENCODED_MAX);
        serde_json::to_string(&plain.view(&user(), at(START), &thresholds)).unwrap();
    }

    #[test]
    fn damaged_bytes_are_refused_but_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cut in 0_usize..400,
        flip in 0_usize..400,
    ) {
        let _ = UserState::decode(&bytes);
        let mut subject = Subject::default();
        subject.usual(Hrv, 60.0, START);
        subject.live(START, vec![reading(StressLevel, 0.9, START), reading(HeartRate, 80.0, START)]);
        let mut good = subject.state.encode();
        let place = flip % good.len();
        good[place] ^= 1 << (flip % 8);
        good.truncate(cut);
        let _ = UserState::decode(&good);
    }
}

#[test]
fn a_state_is_read_by_its_version() {
    let state = UserState::default();
    assert_eq!(state.encode()[0], 2);
    assert!(UserState::decode(&state.encode()).unwrap() == state);
    assert_eq!(UserState::decode(&[]).unwrap_err(), StateError::Empty);
    assert_eq!(UserState::decode(&[3, 0, 0]).unwrap_err(), StateError::Newer(3));
    for version in [1, 2] {
        assert!(matches!(UserState::decode(&[version, 9]).unwrap_err(), StateError::Damaged(_)));
    }
}

/// One of everything that a version writes.
fn one_of_everything() -> Subject {
    let mut subject = Subject::default();
    subject.usual(Hrv, 60.0, START);
    let mut workout = reading(Metric::WorkoutDurationMinutes, 30.0, START - HOUR);
    workout.context = Some(Context::Workout);
    let mut hrv = reading(Hrv, 35.0, START);
    hrv.utc_offset = UtcOffset::from_minutes(330);
    hrv.method = Some(HrvMethod::Rmssd);
    subject
        .live(START, vec![workout, hrv, reading(HeartRate, 95.0, START), reading(StressLevel, 0.8, START)]);
    let later = START + HOUR;
    let mut event =
        subject.event(later, vec![reading(RecoveryScore, 20.0, later), reading(StressLevel, 0.9, later)]);
    event.event_id = actors::domain::ids::EventId::parse("01890a5d-ac96-8abc-8def-0123456789ab").unwrap();
    event.device_type = DeviceType::EightSleep;
    subject.fold(&event);
    subject
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.trim().len())
        .step_by(2)
        .map(|place| u8::from_str_radix(&hex[place..place + 2], 16).unwrap())
        .collect()
}

#[test]
fn every_version_is_read_for_ever() {
    let first = bytes_of(include_str!("cognition_support/state_v1.hex"));
    let newest = bytes_of(include_str!("cognition_support/state_v2.hex"));
    let expected = one_of_everything().state;
    assert!(UserState::decode(&newest).unwrap() == expected, "a new layout needs a new version");
    assert_eq!(expected.encode(), newest);
    assert_eq!(expected.thresholds_hash().as_deref(), Some(Thresholds::default().hash()));
    // All that version 1 lacks is which thresholds it was folded with; the next event tells.
    let migrated = UserState::decode(&first).unwrap();
    assert_eq!(migrated.thresholds_hash(), None);
    let next = event("next", START + 2 * HOUR, vec![reading(HeartRate, 70.0, START + 2 * HOUR)]);
    let fold_next = |state| fold(state, &next, &Thresholds::default()).state;
    assert!(fold_next(migrated) == fold_next(expected));
    let beyond = [first.as_slice(), &[0]].concat();
    assert!(matches!(UserState::decode(&beyond), Err(StateError::Damaged(_))), "bytes after its end");
}

#[test]
fn a_state_with_any_bit_flipped_is_refused_or_can_be_folded_onto_and_stored() {
    let workout =
        |ms| Reading { context: Some(Context::Workout), ..reading(Metric::WorkoutDurationMinutes, 30.0, ms) };
    let mut subject = one_of_everything();
    for minute in [60, 61, 62, 125, 190, 191] {
        let t = START + minute * MINUTE + minute;
        subject.live(t, vec![workout(t), reading(Hrv, 60.5, t), reading(HeartRate, 95.0, t)]);
    }
    let good = subject.state.encode();
    let later = START + 4 * HOUR;
    let event = event(
        "later",
        later,
        vec![workout(later), reading(Hrv, 30.0, later), reading(HeartRate, 90.0, later)],
    );
    let mut refused = 0;
    for place in 0..good.len() * 8 {
        let mut damaged = good.clone();
        damaged[place / 8] ^= 1 << (place % 8);
        let Ok(state) = UserState::decode(&damaged) else {
            refused += 1;
            continue;
        };
        for state in [state.clone(), fold(state, &event, &Thresholds::default()).state] {
            let again = UserState::decode(&state.encode());
            assert!(again == Ok(state), "bit {place} makes a state that is not read back");
        }
    }
    println!("{refused} of {} flipped bits were refused", good.len() * 8);
    let longer = [good.as_slice(), &[0]].concat();
    assert!(matches!(UserState::decode(&longer), Err(StateError::Damaged(_))), "bytes after its end");
}

/// Days of one reading of each kind an hour, to the second and to a tenth; recovery once a day.
fn population(days: i64) -> (Subject, usize) {
    let mut subject = Subject::default();
    let mut largest = 0;
    for hour in 0..days * 24 {
        let t = START + hour * HOUR + (hour * 7_919 % 3_600) * 1_000;
        let wave = (hour * 271 % 300) as f64 / 10.0;
        let mut readings = vec![reading(Hrv, 45.0 + wave, t), reading(HeartRate, (60.0 + wave).round(), t)];
        readings[0].method = Some(HrvMethod::Rmssd);
        if hour % 24 == 7 {
            readings.push(reading(RecoveryScore, (40.0 + wave).round(), t));
        }
        let mut event = event(format!("00000000-0000-8000-8000-{hour:012}"), t, readings);
        event.readings.push(reading(StressLevel, wave / 40.0, t));
        subject.fold(&event);
        largest = largest.max(subject.state.encode().len());
    }
    (subject, largest)
}

#[test]
fn a_state_stays_within_its_bound_however_long_a_user_is_watched() {
    let (_, largest) = population(60);
    println!("60 days of hourly readings: at most {largest} bytes encoded");
    assert!(largest <= ENCODED_MAX, "{largest}");

    // The worst of one source: to the millisecond and the thousandth, borderline again and again, a dense hour.
    let mut subject = Subject::default();
    for hour in 0..60 * 24 {
        let t = START + hour * HOUR + hour * 1_234_577 % HOUR;
        let readings = vec![
            reading(Hrv, 30.0 + (hour * 104_729 % 70_000) as f64 / 1e3, t),
            reading(HeartRate, 60.0 + (hour * 7_919 % 30_000) as f64 / 1e3, t),
        ];
        subject.fold(&event(format!("00000000-0000-8000-8000-{hour:012}"), t, readings));
    }
    let from = START + 60 * DAY;
    for second in 0..4_000 {
        let t = from + second * 1_000 + second * 37 % 1_000;
        let value = 91.0 + (second * 37 % 8_000) as f64 / 1e3;
        let id = format!("00000000-0000-8000-9000-{second:012}");
        subject.fold(&event(id, t, vec![reading(HeartRate, value, t), reading(StressLevel, 0.8, t)]));
    }
    let view = subject.view(from);
    assert_eq!(view["borderline_triggers"].as_array().unwrap().len(), 50);
    let encoded = subject.state.encode().len();
    println!("the worst of one source: {encoded} bytes encoded");
    assert!(encoded <= ENCODED_MAX + 1024, "{encoded}");
}

#[test]
fn a_change_is_significant_from_its_step_on() {
    let with = |metric, value, method| {
        let mut subject = Subject::default();
        let mut reading = reading(metric, value, START);
        reading.method = method;
        subject.live(START, vec![reading]);
        subject.state
    };
    let cases = [
        (Hrv, 50.0, 55.0, true),
        (Hrv, 50.0, 54.999, false),
        (Hrv, 50.0, 45.0, true),
        (HeartRate, 60.0, 70.0, true),
        (HeartRate, 60.0, 69.999, false),
        (StressLevel, 0.3, 0.4, true),
        (StressLevel, 0.7, 0.6, true),
        (StressLevel, 0.3, 0.399, false),
        (RecoveryScore, 90.0, 10.0, false),
    ];
    for (metric, before, after, expected) in cases {
        let (before, after) = (with(metric, before, None), with(metric, after, None));
        assert_eq!(Vitals::of(&before).differ_from(&after), expected, "{metric:?}");
    }
    let first = with(Hrv, 50.0, None);
    assert!(Vitals::of(&UserState::default()).differ_from(&first), "held for the first time");
    assert!(Vitals::of(&first).differ_from(&with(Hrv, 50.0, Some(HrvMethod::Sdnn))), "never compared");
}

#[test]
fn the_view_is_the_read_apis_answer() {
    let subject = one_of_everything();
    let view = subject.view(START + 2 * HOUR);
    assert_eq!(view["mode"], "REFLEX");
    assert_eq!(view["reason"], "reflex.stress");
    assert_eq!((&view["state_seq"], &view["stale"]), (&3.into(), &true.into()));
    assert_eq!(view["valid_until"], at(START + HOUR + 30 * MINUTE).to_string());
    assert_eq!(view["cooldown_until"], at(START + HOUR + 5 * MINUTE).to_string());
    assert_eq!(view["since"], at(START + HOUR).to_string());
    assert_eq!(subject.view(START + HOUR + 30 * MINUTE)["stale"], false);
    assert_eq!(view["baselines"]["hrv"], serde_json::json!({"value": 60.0, "samples": 0, "method": "rmssd"}));
    assert_eq!(view["inputs"]["recovery_score"]["device_type"], "eight_sleep");
    let unknown = serde_json::to_value(StateView::unknown(&user(), at(START))).unwrap();
    assert_eq!((&unknown["mode"], &unknown["inputs"]), (&serde_json::Value::Null, &serde_json::json!({})));
    let keys = |view: &serde_json::Value| view.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&unknown), keys(&view));
    let fresh = Subject::default();
    assert_eq!(
        (&fresh.view(START)["mode"], &fresh.view(START)["confidence"]),
        (&"PATTERN".into(), &0.5.into())
    );
}

#[test]
fn nothing_shows_a_reading_or_an_id_in_debug() {
    let mut subject = Subject::default();
    let switch = subject.live(START, vec![reading(StressLevel, 0.987, START)]).unwrap();
    let shown = format!("{:?} {:?}", subject.state, switch);
    assert!(!shown.contains("987") && !shown.contains("user-1"), "{shown}");
}
