//! All that is remembered of one user: enough to decide on the next event, and bounded.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::event::{Event, HrvMethod};
use crate::domain::ids::{EventId, Identity};
use crate::domain::metric::Metric;
use crate::domain::time::{Timestamp, UtcOffset};

use super::borderline::{self, Borderline};
use super::exact::nano;
use super::held::{Held, HeldReadings, Input};
use super::mode::{Mode, Rule};
use super::samples::Samples;
use super::thresholds::Limits;
use super::triggers::{Severity, TriggerRule, evaluate};
use super::wire;
use super::workouts::Workouts;

/// How many of the newest events are known again. Older repeats are stopped by the store, which deduplicates for
/// ever, and by the log's position.
pub const APPLIED_IDS_MAX: usize = 128;
/// Vectors of ids grow by this many.
const APPLIED_IDS_GROWTH: usize = 16;

/// More events than any user has.
const SEQ_MAX: u64 = i64::MAX as u64;

/// The layout that [`UserState::encode`] writes. Version 1 had no thresholds at its end.
const VERSION: u8 = 2;

/// The row that set PATTERN for a new user.
const FIRST_ROW: u8 = 5;

/// Why stored bytes are not a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// There is not even a version.
    #[error("the stored state is empty; rebuild it from the log")]
    Empty,
    /// Written by a newer program.
    #[error("the stored state has version {0}, this program reads up to {VERSION}; use the newer program")]
    Newer(u8),
    /// The version is known, the rest is not what it says.
    #[error("the stored state is damaged ({0}); rebuild it from the log")]
    Damaged(String),
}

/// The newest switch of a user.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LastSwitch {
    pub(super) rule: Rule,
    pub(super) confidence: f64,
    #[serde(with = "wire::timestamp")]
    pub(super) at: Timestamp,
    /// A UUID's bytes.
    pub(super) switch_id: [u8; 16],
}

/// The most severe trigger of the newest event that had any.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LastTrigger {
    #[serde(with = "wire::timestamp")]
    pub(super) at: Timestamp,
    #[serde(with = "wire::event_id")]
    pub(super) event_id: EventId,
    pub(super) kind: Arc<str>,
    pub(super) severity: Severity,
    #[serde(with = "wire::metric")]
    pub(super) metric: Metric,
    pub(super) value: f64,
    pub(super) recommendation: Arc<str>,
}

/// What is remembered of a user. The default is a new user's: PATTERN, nothing known.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UserState {
    pub(super) seq: u64,
    #[serde(with = "wire::optional_event_id")]
    pub(super) last_event_id: Option<EventId>,
    /// The greatest `timestamp` of a live event.
    #[serde(with = "wire::optional_timestamp")]
    pub(super) newest_live: Option<Timestamp>,
    #[serde(with = "wire::optional_offset")]
    pub(super) utc_offset: Option<UtcOffset>,
    /// Hashes of the newest event ids; `seq` says which place is next.
    #[serde(with = "wire::hashes")]
    applied: Vec<u64>,
    pub(super) held: HeldReadings,
    pub(super) samples: Samples,
    pub(super) workouts: Workouts,
    pub(super) last_switch: Option<LastSwitch>,
    #[serde(with = "wire::optional_timestamp")]
    pub(super) valid_until: Option<Timestamp>,
    pub(super) borderline: VecDeque<Borderline>,
    pub(super) last_trigger: Option<Box<LastTrigger>>,
    /// Which thresholds were in force when the newest event was applied.
    pub(super) thresholds: Option<[u8; 6]>,
}

impl UserState {
    /// The state as it is stored: a version, then its layout in postcard.
    #[expect(
        clippy::expect_used,
        reason = "writing to a vector cannot fail, and every part has a known length"
    )]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("a vector takes every byte")
    }

    /// Reads a stored state of any version that ever was.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        match bytes.split_first() {
            None => Err(StateError::Empty),
            Some((&VERSION, layout)) => Self::decode_layout(layout),
            // What was added since is an option, and this is none.
            Some((1, layout)) => Self::decode_layout(&[layout, &[0]].concat()),
            Some((0, _)) => Err(StateError::Damaged("there never was a version 0".to_owned())),
            Some((&newer, _)) => Err(StateError::Newer(newer)),
        }
    }

    fn decode_layout(layout: &[u8]) -> Result<Self, StateError> {
        let damaged = |what: &str| StateError::Damaged(what.to_owned());
        let (state, rest): (Self, &[u8]) =
            postcard::take_from_bytes(layout).map_err(|error| damaged(&error.to_string()))?;
        match state.is_sound() && rest.is_empty() {
            true => Ok(state),
            false => Err(damaged("its parts do not fit together")),
        }
    }

    /// Which thresholds were in force when the newest event was applied, as [`Thresholds::hash`] writes it; none for a
    /// new user, and for a state that was stored before this was.
    ///
    /// [`Thresholds::hash`]: super::thresholds::Thresholds::hash
    pub fn thresholds_hash(&self) -> Option<String> {
        self.thresholds.map(hex::encode)
    }

    /// Whether folding may rely on it. What is stored from a fold always is; damaged bytes that still have the
    /// layout need not be, and would have every event of their user set aside.
    fn is_sound(&self) -> bool {
        let switch = self.last_switch.as_ref();
        self.seq <= SEQ_MAX
            && self.applied.len() <= APPLIED_IDS_MAX
            && self.held.are_sound(self.seq)
            && self.samples.are_sound()
            && self.workouts.are_sound()
            && switch.is_none_or(|last| (0.5..=1.0).contains(&last.confidence))
            && self.borderline.len() <= borderline::KEPT_MAX
            && self.last_trigger.as_ref().is_none_or(|last| !last.value.is_nan())
    }

    /// `state_seq`: how many events were applied; it only grows.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The mode in force.
    pub fn mode(&self) -> Mode {
        self.last_switch.as_ref().map(|last| last.rule.mode()).unwrap_or_default()
    }

    /// The event applied last; none for a new user.
    pub fn last_event_id(&self) -> Option<&EventId> {
        self.last_event_id.as_ref()
    }

    /// Whether the event was applied, as far back as the state remembers.
    pub fn has_applied(&self, event_id: &EventId) -> bool {
        self.applied.contains(&hash_of(event_id))
    }

    pub(super) fn row_in_force(&self) -> u8 {
        self.last_switch.as_ref().map_or(FIRST_ROW, |last| last.rule.row())
    }

    pub(super) fn was_sustained(&self, held: Held, limits: &Limits) -> bool {
        self.held.is_sustained(
            held.at,
            limits.heart_rate_elevated,
            limits.heart_rate_sustained_minutes,
            &self.workouts,
        )
    }

    /// Counts an event as applied. False if it was before: then nothing has changed.
    pub(super) fn begin(&mut self, event_id: &EventId) -> bool {
        let hash = hash_of(event_id);
        if self.applied.contains(&hash) {
            return false;
        }
        let place = (self.seq % APPLIED_IDS_MAX as u64) as usize;
        match self.applied.get_mut(place) {
            Some(oldest) => *oldest = hash,
            None => {
                if self.applied.len() == self.applied.capacity() {
                    self.applied.reserve_exact(APPLIED_IDS_GROWTH);
                }
                self.applied.push(hash);
            }
        }
        self.seq += 1;
        self.last_event_id = Some(event_id.clone());
        true
    }

    /// Remembers the event's most severe trigger, unless a newer event had one.
    pub(super) fn note_trigger(&mut self, event: &Event, rules: &[TriggerRule]) {
        if self.last_trigger.as_ref().is_some_and(|last| event.timestamp < last.at) {
            return;
        }
        if let Some(trigger) = evaluate(event, rules).most_severe() {
            self.last_trigger = Some(Box::new(LastTrigger {
                at: event.timestamp,
                event_id: event.event_id.clone(),
                kind: trigger.kind.clone(),
                severity: trigger.severity,
                metric: trigger.metric,
                value: trigger.value,
                recommendation: trigger.recommendation.clone(),
            }));
        }
    }
}

/// Shows no reading and no id: states may turn up in logs.
impl fmt::Debug for UserState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserState")
            .field("seq", &self.seq)
            .field("mode", &self.mode())
            .finish_non_exhaustive()
    }
}

/// What of a state decides whether it is saved soon.
const VITALS: [(Input, f64); 3] = [(Input::Hrv, 5.0), (Input::HeartRate, 10.0), (Input::StressLevel, 0.1)];

/// The readings of a state that tell a significant change, small enough to be kept beside every state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vitals([Option<(Option<HrvMethod>, f64)>; 3]);

impl Vitals {
    /// Those of `state`.
    pub fn of(state: &UserState) -> Self {
        Self(VITALS.map(|(input, _)| state.held.newest(input).map(|held| (held.method, held.value))))
    }

    /// Whether `now` differs enough from these, which were saved last, to be saved soon (mission §6): a held heart rate
    /// variability by 5 ms, a heart rate by 10 bpm, a stress level by 0.1, or one of them held for the first time or by
    /// another method.
    pub fn differ_from(&self, now: &UserState) -> bool {
        let pairs = self.0.iter().zip(Self::of(now).0).zip(VITALS);
        pairs.into_iter().any(|((before, after), (_, step))| match (before, after) {
            (Some(before), Some(after)) => {
                before.0 != after.0 || (nano(before.1) - nano(after.1)).abs() >= nano(step)
            }
            (before, after) => before.is_some() != after.is_some(),
        })
    }
}

/// Stored, so it may never change.
fn hash_of(event_id: &EventId) -> u64 {
    let digest = Identity::of(&[event_id.as_str().as_bytes()]);
    digest.as_bytes()[8..].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
