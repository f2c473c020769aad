//! A change of mode as it is published on `neuros-mode-switches` (contract §3).

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::domain::event::{DeviceType, Event};
use crate::domain::ids::{EventId, Identity, UserId};
use crate::domain::metric::Metric;
use crate::domain::time::{MS_PER_SECOND, Timestamp};

use super::held::Held;
use super::mode::{Mode, Rule};
use super::nearest::{Nearest, nearest};
use super::rows::Verdict;
use super::situation::Situation;
use super::thresholds::Thresholds;

/// A change of a user's mode. Its JSON is the message's value; its `Debug` shows no reading.
#[derive(Clone, PartialEq, Serialize)]
pub struct ModeSwitch {
    /// A UUIDv8 over user, event and `state_seq`: a fold that is repeated makes the same switch.
    pub switch_id: Arc<str>,
    /// Whose mode.
    pub user_id: UserId,
    /// The mode before.
    pub from_mode: Mode,
    /// The mode from now on.
    pub to_mode: Mode,
    /// Why, as a word: the first condition that holds in the row that won.
    pub reason: Rule,
    /// The same word as `reason`.
    pub rule: Rule,
    /// 0.5 to 1, as it was compared.
    pub confidence: f64,
    /// The decision's time.
    pub timestamp: Timestamp,
    /// The event that was decided on.
    pub event_id: EventId,
    /// The state's sequence number with that event.
    pub state_seq: u64,
    /// What the decision rests on.
    pub explanation: Explanation,
}

/// What a decision rests on.
#[derive(Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The same word as the switch's `reason`.
    pub rule: Rule,
    /// Which thresholds were in force.
    pub thresholds_hash: Arc<str>,
    /// The readings that the row used; none where only the past decided.
    pub inputs: Vec<ExplainedInput>,
    /// The decisive input that was closest to its limit.
    pub nearest: Option<Nearest>,
}

/// One reading that a decision rests on.
#[derive(Clone, PartialEq, Serialize)]
pub struct ExplainedInput {
    /// What was measured.
    pub metric: Metric,
    /// In the metric's unit.
    pub value: f64,
    /// When it was measured.
    pub timestamp: Timestamp,
    /// Its age at the decision, in whole seconds; 0 for one from after it.
    pub age_s: i64,
    /// What measured it.
    pub device_type: DeviceType,
    /// How far to trust it, 0 to 1.
    pub confidence: f64,
    /// What was usual, in the metric's unit, where the row compared with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
}

impl ModeSwitch {
    /// The switch that `verdict` makes of `situation`, and its id's bytes.
    pub(super) fn new(
        event: &Event,
        state_seq: u64,
        situation: &Situation<'_>,
        verdict: &Verdict,
        thresholds: &Thresholds,
    ) -> (Self, [u8; 16]) {
        let identity = Identity::of(&[
            event.user_id.as_str().as_bytes(),
            event.event_id.as_str().as_bytes(),
            &state_seq.to_be_bytes(),
        ]);
        let switch = Self {
            switch_id: identity.to_text(),
            user_id: event.user_id.clone(),
            from_mode: situation.mode,
            to_mode: verdict.rule.mode(),
            reason: verdict.rule,
            rule: verdict.rule,
            confidence: verdict.confidence,
            timestamp: situation.at,
            event_id: event.event_id.clone(),
            state_seq,
            explanation: Explanation {
                rule: verdict.rule,
                thresholds_hash: thresholds.hash().into(),
                inputs: verdict
                    .readings(situation)
                    .map(|held| ExplainedInput::new(held, situation, verdict.rule))
                    .collect(),
                nearest: nearest(situation, verdict),
            },
        };
        (switch, *identity.as_bytes())
    }
}

impl ExplainedInput {
    fn new(held: Held, situation: &Situation<'_>, rule: Rule) -> Self {
        // Rows 2 and the contradiction of low values compare with limits alone.
        let compares = matches!(rule.row(), 1 | 5) || rule == Rule::HypothesisHrvHigh;
        let is_rise_only = rule.row() != 5 && held.metric() == Metric::HeartRate;
        Self {
            metric: held.metric(),
            value: held.value,
            timestamp: held.at,
            age_s: situation.now.ms_since(held.at).max(0) / MS_PER_SECOND,
            device_type: held.device_type,
            confidence: held.confidence,
            baseline: situation
                .baseline(held.input)
                .filter(|_| compares && !is_rise_only)
                .map(|baseline| baseline.rounded()),
        }
    }
}

impl fmt::Debug for ModeSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModeSwitch")
            .field("from_mode", &self.from_mode)
            .field("to_mode", &self.to_mode)
            .field("reason", &self.reason.name())
            .field("timestamp", &self.timestamp)
            .finish_non_exhaustive()
    }
}
