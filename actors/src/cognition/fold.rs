//! One event into one state: `fold(state, event, thresholds) → (state, switch or none)`.

use crate::domain::event::{Context, Event, Reading};
use crate::domain::time::{MS_PER_SECOND, Timestamp};

use super::borderline;
use super::choice::choose;
use super::held::{Held, Input};
use super::situation::Situation;
use super::state::{LastSwitch, UserState};
use super::switch::ModeSwitch;
use super::thresholds::Thresholds;

/// A clock may be this far ahead of ours before what it stamps is not believed.
const AHEAD_MAX_MS: i64 = 300 * MS_PER_SECOND;

/// What came of one event.
#[derive(Debug)]
pub struct Folded {
    /// The state with the event applied.
    pub state: UserState,
    /// The change of mode, if the event made one.
    pub switch: Option<ModeSwitch>,
    /// False for an event that had been applied before: the state is the same as before.
    pub applied: bool,
}

/// Applies `event`. Pure: no clock, no I/O; it never fails and never panics, whatever the event holds.
pub fn fold(mut state: UserState, event: &Event, thresholds: &Thresholds) -> Folded {
    if !state.begin(&event.event_id) {
        return Folded { state, switch: None, applied: false };
    }
    state.thresholds = Some(thresholds.digest());
    state.note_trigger(event, thresholds.triggers());
    let standing = Standing::of(event, state.newest_live);
    if standing == Standing::Live {
        state.newest_live = Some(event.timestamp);
        state.utc_offset =
            believed(event).filter_map(|reading| reading.utc_offset).last().or(state.utc_offset);
    }
    let brought_newer = apply_readings(&mut state, event);
    if let Some(newest_live) = state.newest_live {
        state.samples.forget_before(newest_live);
        state.workouts.forget_before(newest_live);
    }
    let decision_at = match standing {
        Standing::Live => state.newest_live,
        Standing::Late if brought_newer => state.newest_live,
        Standing::Late | Standing::Silent => None,
    };
    let switch = decision_at.and_then(|at| decide(&mut state, event, at, thresholds));
    Folded { state, switch, applied: true }
}

/// Whether an event may decide.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The newest there is: it decides, and time moves to it.
    Live,
    /// Older than the newest live one: it decides only if it brings something newer.
    Late,
    /// Backfilled, or stamped too far ahead of its arrival: it decides nothing and moves no time.
    Silent,
}

impl Standing {
    fn of(event: &Event, newest_live: Option<Timestamp>) -> Self {
        if event.is_backfill || is_ahead(event.timestamp, event) {
            Self::Silent
        } else if newest_live.is_some_and(|newest| event.timestamp < newest) {
            Self::Late
        } else {
            Self::Live
        }
    }
}

pub(super) fn is_ahead(at: Timestamp, event: &Event) -> bool {
    at.ms_since(event.received_at) > AHEAD_MAX_MS
}

/// The readings that the fold does not drop: not stamped too far ahead, and numbers.
fn believed(event: &Event) -> impl Iterator<Item = &Reading> {
    event.readings.iter().filter(|reading| !is_ahead(reading.timestamp, event) && reading.value.is_finite())
}

/// Takes the readings into samples, workouts and, where they may be held, held readings. True if one of the latter
/// is newer than what was held.
fn apply_readings(state: &mut UserState, event: &Event) -> bool {
    let mut brought_newer = false;
    for reading in believed(event) {
        state.workouts.learn(event, reading);
        let Some(input) = Input::of(reading.metric) else { continue };
        if reading.context != Some(Context::Workout) {
            let offset = reading.utc_offset.or(state.utc_offset).unwrap_or_default();
            state.samples.insert(input, reading.method, reading.timestamp, reading.value, offset);
        }
        if !event.is_backfill && input.can_hold(reading) {
            let confidence = reading.confidence.filter(|confidence| confidence.is_finite()).unwrap_or(1.0);
            brought_newer |= state.held.apply(Held {
                input,
                method: reading.method,
                device_type: event.device_type,
                value: reading.value,
                confidence: confidence.clamp(0.0, 1.0),
                at: reading.timestamp,
                seq: state.seq,
            });
        }
    }
    brought_newer
}

/// Takes the decision on the event applied last, and puts its outcome into the state.
fn decide(
    state: &mut UserState,
    event: &Event,
    at: Timestamp,
    thresholds: &Thresholds,
) -> Option<ModeSwitch> {
    let situation = Situation::of(state, at, event.received_at, thresholds.of(&event.user_id));
    borderline::record(&mut state.borderline, &situation, &event.event_id);
    let verdict = choose(&situation)?;
    state.valid_until = verdict.valid_until(&situation);
    if verdict.rule.mode() == situation.mode {
        return None;
    }
    let (switch, switch_id) = ModeSwitch::new(event, state.seq, &situation, &verdict, thresholds);
    state.last_switch =
        Some(LastSwitch { rule: verdict.rule, confidence: verdict.confidence, at, switch_id });
    Some(switch)
}
