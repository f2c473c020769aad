//! One quantity type of HealthKit: in which units it is taken, and which of its values.

use super::types::{BODY, SAMPLE, STEPS};
use crate::domain::event::HrvMethod;
use crate::domain::metric::{Metric, ValueError};
use crate::domain::time::MS_PER_HOUR;
use crate::domain::unit::Unit;

/// The unit of what is counted.
const COUNT: &str = "count";
/// Below this a wrist's temperature is a deviation, in any unit: nobody's skin is that cold.
const DEVIATION_BELOW: f64 = 10.0;
/// Nobody walks more steps in an hour (vendors.md §15).
const STEPS_AN_HOUR_MAX: f64 = 30_000.0;

/// One quantity type.
#[derive(Debug, PartialEq)]
pub(super) struct QuantityType {
    /// Apple's identifier without its prefix, in lower case. Part of identities: never to be changed.
    pub(super) name: &'static str,
    /// What it is, where its value does not decide that. Its units are the metric's.
    pub(super) metric: Metric,
    /// What a small value is: by how much it is another than usual.
    pub(super) deviation: Option<Metric>,
    /// What is meant by `count`, and by no unit.
    pub(super) counted: Option<Unit>,
    pub(super) method: Option<HrvMethod>,
    /// The kind of its events.
    pub(super) kind: &'static str,
    /// Whether it adds up over its interval: of two totals of one span the larger is the later.
    pub(super) is_total: bool,
}

/// Why a number is no value of a type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Unfit {
    /// The unit is none of the metric's.
    Unit,
    /// The value is not the metric's.
    Value(ValueError),
}

impl QuantityType {
    pub(super) const fn new(name: &'static str, metric: Metric) -> Self {
        let (deviation, counted, method) = (None, None, None);
        Self { name, metric, deviation, counted, method, kind: SAMPLE, is_total: false }
    }

    pub(super) const fn or_deviation(self, metric: Metric) -> Self {
        Self { deviation: Some(metric), ..self }
    }

    pub(super) const fn counted(self, unit: Unit) -> Self {
        Self { counted: Some(unit), ..self }
    }

    pub(super) const fn total(self) -> Self {
        Self { is_total: true, ..self }
    }

    pub(super) const fn body(self) -> Self {
        Self { kind: BODY, ..self }
    }

    pub(super) const fn sdnn(self) -> Self {
        Self { method: Some(HrvMethod::Sdnn), ..self }
    }

    pub(super) const fn rmssd(self) -> Self {
        Self { method: Some(HrvMethod::Rmssd), ..self }
    }

    /// The accepted units, for the sentence that refuses another.
    pub(super) fn unit_names(&self) -> impl Iterator<Item = &'static str> {
        let counted = self.counted.map(|_| COUNT);
        self.metric.dimension().unit_names().chain(counted)
    }

    /// The metric's name, for sentences.
    pub(super) fn metric_name(&self) -> &'static str {
        self.metric.name()
    }

    /// The metric that a value in some unit is one of, and the value in that metric's own unit, inside its range.
    pub(super) fn accept(&self, value: f64, unit: Option<&str>) -> Result<(Metric, f64), Unfit> {
        let metric = self.deviation.filter(|_| value.abs() < DEVIATION_BELOW).unwrap_or(self.metric);
        let is_counted = || unit.is_none_or(|unit| matches!(unit.trim(), "" | COUNT));
        let canonical = match self.counted.filter(|_| is_counted()) {
            Some(unit) => Some(unit.conversion.apply(value)),
            None => metric.dimension().convert(value, unit),
        };
        let canonical = canonical.ok_or(Unfit::Unit)?;
        metric.accept(canonical).map(|value| (metric, value)).map_err(Unfit::Value)
    }

    /// Refuses what cannot have come together within so long.
    pub(super) fn check_rate(&self, value: f64, length_ms: i64) -> Result<(), &'static str> {
        let hours = (length_ms as f64 / MS_PER_HOUR as f64).max(1.0);
        match self.name == STEPS.name && value > STEPS_AN_HOUR_MAX * hours {
            true => Err("is more than 30000 count in an hour"),
            false => Ok(()),
        }
    }
}
