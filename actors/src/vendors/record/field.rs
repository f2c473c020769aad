//! The fields of records: which reading each becomes, in what unit it is given, and when it was.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::domain::event::{Context, HrvMethod, Reading};
use crate::domain::metric::Metric;
use crate::domain::time::{Timestamp, UtcOffset};
use crate::domain::unit::{Conversion, Unit};
use crate::vendors::json;

/// The confidence in what came through a vendor's cloud (contract §3).
const CONFIDENCE: f64 = 0.95;
/// The confidence in what is derived from it (contract §3).
const DERIVED_CONFIDENCE: f64 = 0.8;
/// The source of what is derived.
const DERIVED: &str = "derived";

/// A number of a record, and the reading that it becomes.
#[derive(Clone, Copy)]
pub(in crate::vendors) struct Field {
    name: &'static str,
    metric: Metric,
    unit: Option<Unit>,
    context: Option<Context>,
    source: Option<&'static str>,
    is_derived: bool,
    method: HrvMethod,
    none_below_zero: bool,
}

impl Field {
    /// A member of this name, in the metric's own unit.
    pub(in crate::vendors) const fn new(name: &'static str, metric: Metric) -> Self {
        let (unit, context, source, method) = (None, None, None, HrvMethod::Rmssd);
        let (is_derived, none_below_zero) = (false, false);
        Self { name, metric, unit, context, source, is_derived, method, none_below_zero }
    }

    /// What is no member, but follows from the record's times.
    pub(in crate::vendors) const fn from_times(metric: Metric) -> Self {
        Self::new("start to end", metric)
    }

    /// The member's name.
    pub(in crate::vendors) const fn name(&self) -> &'static str {
        self.name
    }

    pub(in crate::vendors) const fn metric(&self) -> Metric {
        self.metric
    }

    /// The unit of the member, where it is another than the metric's.
    pub(in crate::vendors) const fn unit(&self) -> Option<Unit> {
        self.unit
    }

    /// In another unit than the metric's.
    pub(in crate::vendors) const fn given_in(self, unit: Unit) -> Self {
        Self { unit: Some(unit), ..self }
    }

    pub(in crate::vendors) const fn context(self, context: Context) -> Self {
        Self { context: Some(context), ..self }
    }

    pub(in crate::vendors) const fn source(self, source: &'static str) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Whatever is below zero is a code for "not measured".
    pub(in crate::vendors) const fn or_code(self) -> Self {
        Self { none_below_zero: true, ..self }
    }

    /// A variability that is an SDNN; all others are rMSSDs (vendors.md §15).
    pub(in crate::vendors) const fn sdnn(self) -> Self {
        Self { method: HrvMethod::Sdnn, ..self }
    }

    /// No value of the vendor's own, but what we make of one.
    pub(in crate::vendors) const fn derived(self) -> Self {
        Self { source: Some(DERIVED), is_derived: true, ..self }
    }
}

/// Fields that stand in one object of a record.
pub(in crate::vendors) struct Section {
    /// The members that lead to it from the record.
    pub(in crate::vendors) at: &'static [&'static str],
    pub(in crate::vendors) fields: &'static [Field],
}

/// When a record was (vendors.md §16).
#[derive(Debug, Clone, Copy)]
pub(in crate::vendors) struct Stamp {
    /// Its moment: the end of its interval, where it has one.
    pub(in crate::vendors) at: Timestamp,
    pub(in crate::vendors) utc_offset: Option<UtcOffset>,
    /// Where its interval starts; before `at`.
    pub(in crate::vendors) start: Option<Timestamp>,
}

impl Stamp {
    pub(in crate::vendors) fn reading(&self, field: &Field, value: f64) -> Reading {
        let confidence = if field.is_derived { DERIVED_CONFIDENCE } else { CONFIDENCE };
        let mut reading = Reading::new(field.metric, value, self.at, confidence);
        reading.method = (field.metric == Metric::Hrv).then_some(field.method);
        reading.context = field.context;
        reading.source = field.source.map(Arc::from);
        reading.utc_offset = self.utc_offset;
        if let Some(start) = self.start {
            (reading.start, reading.end) = (Some(start), Some(self.at));
        }
        reading
    }
}

/// The field's value in its metric's unit. Where nobody alive has a zero, it stands for "not measured"
/// (vendors.md §15).
pub(in crate::vendors) fn value(raw: &RawValue, field: &Field) -> Result<Option<f64>, Cow<'static, str>> {
    let number = json::number(raw)?;
    let is_unmeasured = number == 0.0 && field.metric.range().0 > 0.0;
    if is_unmeasured || (field.none_below_zero && number < 0.0) {
        return Ok(None);
    }
    let conversion = field.unit.map_or(Conversion::Same, |unit| unit.conversion);
    let value = conversion.apply(number);
    field.metric.accept(value).map(Some).map_err(|error| error.to_string().into())
}
