//! Checkpoints: what is read as a state can be folded onto, shown and stored again.

use actors::cognition::fold::fold;
use actors::cognition::state::{StateError, UserState, Vitals};
use actors::domain::event::{Context, DeviceType, Event, HrvMethod, Reading};
use actors::domain::ids::{EventId, UserId};
use actors::domain::metric::Metric;
use actors::domain::time::{MS_PER_MINUTE, Timestamp, UtcOffset};
use arbitrary::{Arbitrary, Unstructured};

use super::Reached;
use super::readings::{NOW, THRESHOLDS};

const METRICS: [Metric; 6] = [
    Metric::Hrv,
    Metric::HeartRate,
    Metric::StressLevel,
    Metric::RecoveryScore,
    Metric::WorkoutDurationMinutes,
    Metric::SleepScore,
];

/// Nobody has so many events; past the end of all numbers a state cannot be stored.
const SEQ_FOLDED_MAX: u64 = 1 << 60;

/// Bytes of a checkpoint, damaged or not.
pub fn user_state(data: &[u8]) -> Reached {
    let decoded = UserState::decode(data);
    assert!(decoded == UserState::decode(data), "the same bytes are read in one way");
    match decoded {
        Ok(state) => {
            check_state(&state);
            if state.seq() > SEQ_FOLDED_MAX {
                return "state";
            }
            let times = state.view(&user(), NOW, &THRESHOLDS).inputs;
            let newest = times.values().map(|held| held.timestamp).max().unwrap_or(NOW);
            let mut folded = state;
            for (id, at) in [newest, newest.plus_ms(MS_PER_MINUTE), NOW, newest.plus_ms(-MS_PER_MINUTE)]
                .into_iter()
                .enumerate()
            {
                folded = check_fold(folded, &busy_event(&format!("after-{id}"), at));
            }
            "state"
        }
        Err(StateError::Empty) => {
            assert!(data.is_empty());
            "empty"
        }
        Err(StateError::Newer(version)) => {
            assert_eq!(Some(&version), data.first());
            "newer"
        }
        Err(StateError::Damaged(_)) => "damaged",
    }
}

/// What is stored comes back, and can be shown.
fn check_state(state: &UserState) {
    let stored = state.encode();
    let again = UserState::decode(&stored).expect("what was stored is read");
    assert!(&again == state && again.encode() == stored, "a state came back as another");
    let view = state.view(&user(), NOW, &THRESHOLDS);
    assert!(view.confidence.is_some_and(|confidence| (0.5..=1.0).contains(&confidence)));
    for held in view.inputs.values() {
        assert!(held.value.is_finite() && (0.0..=1.0).contains(&held.confidence));
    }
    let json = serde_json::to_value(&view).expect("a view becomes JSON");
    assert_eq!(json["state_seq"], state.seq());
}

/// Folds an event and holds the outcome against the laws of states.
pub fn check_fold(state: UserState, event: &Event) -> UserState {
    let (seq, mode) = (state.seq(), state.mode());
    let folded = fold(state.clone(), event, &THRESHOLDS);
    let again = fold(state.clone(), event, &THRESHOLDS);
    assert!(again.state == folded.state && again.switch == folded.switch, "a fold is a function");
    assert_eq!(folded.state.seq(), seq + u64::from(folded.applied));
    if let Some(switch) = &folded.switch {
        assert!(folded.applied && (switch.from_mode, switch.to_mode) == (mode, folded.state.mode()));
        assert!((0.5..=1.0).contains(&switch.confidence), "{}", switch.confidence);
        serde_json::to_vec(switch).expect("a switch becomes JSON");
    }
    if !folded.applied {
        assert!(folded.state == state && folded.switch.is_none());
    }
    Vitals::of(&state).differ_from(&folded.state);
    check_state(&folded.state);
    let repeated = fold(folded.state.clone(), event, &THRESHOLDS);
    assert!(!repeated.applied && repeated.state == folded.state, "an event counts once");
    folded.state
}

/// An event that touches everything that a state remembers.
fn busy_event(id: &str, at: Timestamp) -> Event {
    let reading = |metric, value| Reading::new(metric, value, at, 1.0);
    let workout = Reading {
        context: Some(Context::Workout),
        start: Some(at.plus_ms(-90 * MS_PER_MINUTE)),
        end: Some(at.plus_ms(-60 * MS_PER_MINUTE)),
        ..reading(Metric::WorkoutDurationMinutes, 30.0)
    };
    let hrv = Reading { method: Some(HrvMethod::Rmssd), ..reading(Metric::Hrv, 31.0) };
    let readings = vec![
        workout,
        hrv,
        reading(Metric::HeartRate, 96.0),
        reading(Metric::StressLevel, 0.75),
        reading(Metric::RecoveryScore, 45.0),
    ];
    event(id, at, readings)
}

fn event(id: &str, at: Timestamp, readings: Vec<Reading>) -> Event {
    Event {
        event_id: EventId::parse(id).expect("an id"),
        record_id: id.into(),
        version: 0,
        device_type: DeviceType::OuraRing,
        user_id: user(),
        timestamp: at,
        received_at: at,
        kind: "sample".into(),
        is_backfill: false,
        deleted: false,
        readings,
    }
}

fn user() -> UserId {
    UserId::parse("user-1").expect("an id")
}

/// A reading as parts; values within reach of the limits that rows compare with.
#[derive(Arbitrary, Debug)]
struct AnyReading {
    metric: u8,
    value: u16,
    seconds: i16,
    context: u8,
    method: u8,
    has_offset: bool,
    offset_quarters: i8,
}

/// An event as parts.
#[derive(Arbitrary, Debug)]
struct AnyEvent {
    id: u8,
    minutes_later: i16,
    flags: u8,
    readings: Vec<AnyReading>,
}

/// Any run of events: every state on the way is stored, read back and folded onto as if it had never been stored.
pub fn user_state_folds(data: &[u8]) -> Reached {
    let Ok(events) = Vec::<AnyEvent>::arbitrary(&mut Unstructured::new(data)) else { return "nothing" };
    let (mut state, mut at) = (UserState::default(), NOW);
    for any in events.iter().take(200) {
        at = at.plus_ms(i64::from(any.minutes_later) * MS_PER_MINUTE);
        state = check_fold(state, &any.event(at));
        state = UserState::decode(&state.encode()).expect("what was stored is read");
    }
    match (state.view(&user(), NOW, &THRESHOLDS).switch_id, state.seq()) {
        (Some(_), _) => "switched",
        (None, 0) => "nothing",
        (None, _) => "folded",
    }
}

impl AnyEvent {
    fn event(&self, at: Timestamp) -> Event {
        let devices = [DeviceType::OuraRing, DeviceType::AppleHealth, DeviceType::Terra, DeviceType::Garmin];
        let has = |bit: u8| self.flags & bit != 0;
        Event {
            device_type: devices[usize::from(self.flags & 3)],
            is_backfill: has(4) && has(8),
            received_at: if has(16) { NOW } else { at },
            kind: if has(32) && has(64) { "workout".into() } else { "sample".into() },
            ..event(
                &format!("e{}", self.id),
                at,
                self.readings.iter().take(8).map(|any| any.reading(at)).collect(),
            )
        }
    }
}

impl AnyReading {
    fn reading(&self, at: Timestamp) -> Reading {
        let metric = METRICS[usize::from(self.metric) % METRICS.len()];
        let (low, high) = metric.range();
        // Thousandths of what rows compare; all of the others' range.
        let value = match metric {
            Metric::StressLevel => f64::from(self.value) / f64::from(u16::MAX),
            _ => (f64::from(self.value) / 400.0).clamp(low, high),
        };
        let at = at.plus_ms(i64::from(self.seconds) * 1000);
        let context = match self.context % 8 {
            0 => Some(Context::Sleep),
            1 => Some(Context::Workout),
            2 => Some(Context::Daily),
            _ => None,
        };
        let method = [None, Some(HrvMethod::Rmssd), Some(HrvMethod::Sdnn)][usize::from(self.method % 3)];
        let offset = UtcOffset::from_minutes(i32::from(self.offset_quarters) * 15);
        Reading {
            context,
            method: method.filter(|_| metric == Metric::Hrv),
            utc_offset: offset.filter(|_| self.has_offset),
            ..Reading::new(metric, value, at, f64::from(self.context) / 255.0)
        }
    }
}
