//! Trigger rules: low values that ask for an intervention whatever the mode, and the priority that follows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::event::{Context, DeviceType, Event};
use crate::domain::metric::Metric;

/// How much a trigger matters; the most severe is the greatest. Stored in states by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Severity {
    Medium,
    High,
    Critical,
}

/// One rule of the file: values of `metric` under `below` give a trigger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriggerRule {
    /// Whose values.
    pub metric: Metric,
    /// In the metric's unit; the value itself gives none.
    pub below: f64,
    /// The trigger's `type`.
    pub kind: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// What to do.
    pub recommendation: Arc<str>,
}

/// A rule that an event met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trigger {
    /// The rule's `type`.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// The rule's severity.
    pub severity: Severity,
    /// Whose value.
    pub metric: Metric,
    /// The lowest of the event's values of that metric, in the metric's unit.
    pub value: f64,
    /// What to do.
    pub recommendation: Arc<str>,
}

/// How urgently consumers should take an event: the header `priority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Priority {
    Normal,
    Medium,
    High,
}

impl Priority {
    /// The header's value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
        }
    }
}

/// The triggers of one event, in the order of the rules; in JSON `{"triggers":[…]}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Triggers {
    triggers: Vec<Trigger>,
    #[serde(skip)]
    floor: Priority,
}

impl Triggers {
    /// No rule was met: the header `triggers` is empty.
    pub fn is_empty(&self) -> bool {
        self.triggers.is_empty()
    }

    /// The triggers, in the order of the rules.
    pub fn as_slice(&self) -> &[Trigger] {
        &self.triggers
    }

    /// The most severe trigger; of equal ones the first.
    pub fn most_severe(&self) -> Option<&Trigger> {
        self.triggers.iter().rev().max_by_key(|trigger| trigger.severity)
    }

    /// HIGH with a CRITICAL trigger, MEDIUM with a HIGH one, else NORMAL; Terra's events at least MEDIUM.
    pub fn priority(&self) -> Priority {
        let own = match self.most_severe().map(|trigger| trigger.severity) {
            Some(Severity::Critical) => Priority::High,
            Some(Severity::High) => Priority::Medium,
            Some(Severity::Medium) | None => Priority::Normal,
        };
        own.max(self.floor)
    }
}

/// The triggers of an event: of each metric its lowest value outside workouts meets at most one rule, the first of
/// `rules` under whose limit it lies. A backfilled event has none.
pub fn evaluate(event: &Event, rules: &[TriggerRule]) -> Triggers {
    let floor = if event.device_type == DeviceType::Terra { Priority::Medium } else { Priority::Normal };
    let mut triggers: Vec<Trigger> = Vec::new();
    if event.is_backfill {
        return Triggers { triggers, floor };
    }
    for rule in rules {
        if triggers.iter().any(|trigger| trigger.metric == rule.metric) {
            continue;
        }
        let lowest = event
            .readings
            .iter()
            .filter(|reading| reading.metric == rule.metric && reading.context != Some(Context::Workout))
            .map(|reading| reading.value)
            .min_by(f64::total_cmp);
        if let Some(value) = lowest.filter(|value| *value < rule.below) {
            triggers.push(Trigger {
                kind: rule.kind.clone(),
                severity: rule.severity,
                metric: rule.metric,
                value,
                recommendation: rule.recommendation.clone(),
            });
        }
    }
    Triggers { triggers, floor }
}
