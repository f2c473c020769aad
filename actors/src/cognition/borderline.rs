//! Moments at which REFLEX was near: kept, so that operators can see whether its limits fit.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::domain::ids::EventId;
use crate::domain::time::Timestamp;

use super::exact::nano;
use super::rows::reflex;
use super::situation::Situation;
use super::wire::{self, ShortEventId};

/// How many are kept; older ones go.
pub(super) const KEPT_MAX: usize = 50;
/// The queue grows by this many.
const GROWTH: usize = 10;

const HRV: u8 = 1;
const HEART_RATE: u8 = 2;
const STRESS: u8 = 4;

/// One decision at which at least two readings were at 90 % of REFLEX's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Borderline {
    pub(super) event_id: ShortEventId,
    #[serde(with = "wire::timestamp")]
    pub(super) at: Timestamp,
    near: u8,
}

impl Borderline {
    /// What was near, by the metrics' names.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &'static str> + use<> {
        let near = self.near;
        [(HRV, "hrv"), (HEART_RATE, "heart_rate"), (STRESS, "stress_level")]
            .into_iter()
            .filter(move |(bit, _)| near & bit != 0)
            .map(|(_, name)| name)
    }
}

/// Records the decision on `event_id` among `kept` if it was borderline.
pub(super) fn record(kept: &mut VecDeque<Borderline>, situation: &Situation<'_>, event_id: &EventId) {
    let limits = situation.limits;
    let is_near = |value: f64, limit: f64| nano(value) * 100 >= nano(limit) * 90;
    let mut near = 0;
    if situation.hrv_nearly_down().is_some() {
        near |= HRV;
    }
    if situation.heart_rate.is_some_and(|held| is_near(held.value, limits.heart_rate_elevated)) {
        near |= HEART_RATE;
    }
    if situation.stress.is_some_and(|held| is_near(held.value, limits.stress_level_critical)) {
        near |= STRESS;
    }
    if near.count_ones() < 2 || !situation.has_news || reflex(situation).is_some() {
        return;
    }
    if kept.len() == KEPT_MAX {
        kept.pop_front();
    }
    if kept.len() == kept.capacity() {
        kept.reserve_exact(GROWTH);
    }
    kept.push_back(Borderline { event_id: event_id.into(), at: situation.at, near });
}
