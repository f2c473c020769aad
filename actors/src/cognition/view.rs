//! A user's state as `GET /v1/users/{id}/state` answers it (contract §1).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::domain::event::{DeviceType, HrvMethod};
use crate::domain::ids::{EventId, Identity, UserId};
use crate::domain::metric::Metric;
use crate::domain::time::Timestamp;

use super::held::Input;
use super::mode::{Mode, Rule};
use super::state::UserState;
use super::thresholds::{DefaultBaselines, Thresholds};
use super::triggers::Severity;

/// The confidence of PATTERN before anything has been decided.
const FIRST_CONFIDENCE: f64 = 0.5;

/// The answer's body.
#[derive(Clone, PartialEq, Serialize)]
pub struct StateView {
    /// Whose state.
    pub user_id: UserId,
    /// The mode in force; none for a user of whom nothing is known.
    pub mode: Option<Mode>,
    /// 0.5 to 1, as it was at the newest switch.
    pub confidence: Option<f64>,
    /// The newest switch's time; none before the first.
    pub since: Option<Timestamp>,
    /// The newest switch's reason.
    pub reason: Option<Rule>,
    /// The newest switch's id.
    pub switch_id: Option<Arc<str>>,
    /// The held readings by metric.
    pub inputs: BTreeMap<&'static str, HeldView>,
    /// What was usual for each held reading, by metric.
    pub baselines: BTreeMap<&'static str, BaselineView>,
    /// Decisions at which REFLEX was near, newest last.
    pub borderline_triggers: Vec<BorderlineView>,
    /// The most severe trigger of the newest event that had any.
    pub last_trigger: Option<LastTriggerView>,
    /// Until then only a more urgent row may switch.
    pub cooldown_until: Option<Timestamp>,
    /// The earliest moment at which a reading goes stale that the row used which won last.
    pub valid_until: Option<Timestamp>,
    /// `as_of` is after `valid_until`.
    pub stale: bool,
    /// The event applied last.
    pub last_event_id: Option<EventId>,
    /// How many events were applied.
    pub state_seq: u64,
    /// When the state was read.
    pub as_of: Timestamp,
}

/// A held reading.
#[derive(Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "as in events")]
pub struct HeldView {
    pub value: f64,
    pub timestamp: Timestamp,
    pub device_type: DeviceType,
    pub confidence: f64,
}

/// What was usual for a held reading.
#[derive(Clone, PartialEq, Serialize)]
pub struct BaselineView {
    /// The mean of the samples, or the default while there are fewer than five.
    pub value: f64,
    /// How many hourly samples there were.
    pub samples: u32,
    /// The held reading's method, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<HrvMethod>,
}

/// A decision at which REFLEX was near.
#[derive(Clone, PartialEq, Serialize)]
pub struct BorderlineView {
    /// The event that was decided on.
    pub event_id: EventId,
    /// The decision's time.
    pub timestamp: Timestamp,
    /// The metrics that were at 90 % of a limit or more.
    pub inputs: Vec<&'static str>,
}

/// A trigger and the event that gave it.
#[derive(Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "as in the header `triggers`, and the event's id and time")]
pub struct LastTriggerView {
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    pub severity: Severity,
    pub metric: Metric,
    pub value: f64,
    pub recommendation: Arc<str>,
    pub event_id: EventId,
    pub timestamp: Timestamp,
}

impl StateView {
    /// A user of whom nothing is known: no error, but no mode.
    pub fn unknown(user_id: &UserId, as_of: Timestamp) -> Self {
        Self {
            user_id: user_id.clone(),
            mode: None,
            confidence: None,
            since: None,
            reason: None,
            switch_id: None,
            inputs: BTreeMap::new(),
            baselines: BTreeMap::new(),
            borderline_triggers: Vec::new(),
            last_trigger: None,
            cooldown_until: None,
            valid_until: None,
            stale: false,
            last_event_id: None,
            state_seq: 0,
            as_of,
        }
    }
}

impl UserState {
    /// The state as the read API shows it at `as_of`.
    pub fn view(&self, user_id: &UserId, as_of: Timestamp, thresholds: &Thresholds) -> StateView {
        let last = self.last_switch.as_ref();
        let yardstick = thresholds.of(user_id);
        StateView {
            mode: Some(self.mode()),
            confidence: Some(last.map_or(FIRST_CONFIDENCE, |last| last.confidence)),
            since: last.map(|last| last.at),
            reason: last.map(|last| last.rule),
            switch_id: last.map(|last| Identity::from_bytes(last.switch_id).to_text()),
            inputs: self.held_views(),
            baselines: self.baseline_views(&yardstick.baselines),
            borderline_triggers: self.borderline_views(),
            last_trigger: self.last_trigger_view(),
            cooldown_until: last.map(|last| last.at.plus_ms(yardstick.limits.cooldown_ms())),
            valid_until: self.valid_until,
            stale: self.valid_until.is_some_and(|until| as_of > until),
            last_event_id: self.last_event_id.clone(),
            state_seq: self.seq,
            ..StateView::unknown(user_id, as_of)
        }
    }

    fn held_views(&self) -> BTreeMap<&'static str, HeldView> {
        Input::ALL
            .into_iter()
            .filter_map(|input| self.held.newest(input))
            .map(|held| {
                let view = HeldView {
                    value: held.value,
                    timestamp: held.at,
                    device_type: held.device_type,
                    confidence: held.confidence,
                };
                (held.metric().name(), view)
            })
            .collect()
    }

    fn baseline_views(&self, defaults: &DefaultBaselines) -> BTreeMap<&'static str, BaselineView> {
        [Input::Hrv, Input::HeartRate, Input::RecoveryScore]
            .into_iter()
            .filter_map(|input| self.held.newest(input))
            .map(|held| {
                let baseline = self.samples.baseline(held.input, held.method, held.at, defaults);
                let view = BaselineView {
                    value: baseline.rounded(),
                    samples: baseline.samples,
                    method: held.method,
                };
                (held.metric().name(), view)
            })
            .collect()
    }

    fn borderline_views(&self) -> Vec<BorderlineView> {
        self.borderline
            .iter()
            .map(|borderline| BorderlineView {
                event_id: borderline.event_id.to_id(),
                timestamp: borderline.at,
                inputs: borderline.inputs().collect(),
            })
            .collect()
    }

    fn last_trigger_view(&self) -> Option<LastTriggerView> {
        self.last_trigger.as_deref().map(|last| LastTriggerView {
            kind: last.kind.clone(),
            severity: last.severity,
            metric: last.metric,
            value: last.value,
            recommendation: last.recommendation.clone(),
            event_id: last.event_id.clone(),
            timestamp: last.at,
        })
    }
}
