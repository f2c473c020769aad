//! What reading one item needs and leaves: readings, sleep for the nights, and what is refused in it.

use std::borrow::Cow;

use super::batch::Batch;
use super::clock::Clock;
use super::nights::{Interval, Nights};
use super::quantity::{QuantityType, Unfit};
use super::source::{Source, SourceNames};
use crate::domain::admission::{ReadingFact, Version};
use crate::domain::delivery::Rejections;
use crate::domain::event::Reading;
use crate::domain::ids::{Identity, UserId};
use crate::domain::metric::Metric;

/// How much of a unit that is not known is repeated in the answer.
const UNIT_SHOWN_CHARS: usize = 32;

/// Why an item, or a field of it, is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The rest of the JSON Pointer, from the item on.
    pub(super) field: Cow<'static, str>,
    /// What was wrong and what is accepted.
    pub(super) detail: Cow<'static, str>,
}

/// Refuses what is at `field`.
pub(super) fn refuse<T: Into<Cow<'static, str>>>(
    field: impl Into<Cow<'static, str>>,
) -> impl FnOnce(T) -> Refusal {
    let field = field.into();
    move |detail| Refusal { field, detail: detail.into() }
}

impl Refusal {
    /// The same, seen from further outside.
    pub(super) fn below(self, at: &str) -> Self {
        Self { field: format!("{at}{}", self.field).into(), detail: self.detail }
    }
}

/// What is refused in one item: as many as an answer lists, and how many more. A workout may hold a million bad points.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) listed: Vec<Refusal>,
    pub(super) more: usize,
}

impl Refusals {
    pub(super) fn push(&mut self, refusal: Refusal) {
        if self.listed.len() < Rejections::LISTED_MAX {
            self.listed.push(refusal);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.listed.is_empty()
    }
}

/// Where the readings of an item of `user` go.
pub(super) struct Item<'r> {
    pub(super) user: &'r UserId,
    pub(super) clock: Clock<'r>,
    /// What the points of an export sum up, where their sender tells it.
    pub(super) aggregation: Option<&'r str>,
    pub(super) batch: &'r mut Batch,
    pub(super) nights: &'r mut Nights,
    pub(super) names: &'r mut SourceNames,
    /// Fields that are refused while the rest of the item is kept.
    pub(super) refused: &'r mut Refusals,
}

impl Item<'_> {
    /// A reading of a value that was taken at a time by a source.
    pub(super) fn reading(
        &mut self,
        metric: Metric,
        value: f64,
        times: &super::fields::Times,
        source: &Source<'_>,
    ) -> Reading {
        let mut reading = Reading::new(metric, value, times.end.at, source.confidence());
        reading.utc_offset = times.end.utc_offset;
        reading.source = self.names.intern(source);
        if times.start < times.end.at {
            (reading.start, reading.end) = (Some(times.start), Some(times.end.at));
        }
        reading
    }

    pub(super) fn push(
        &mut self,
        kind: &'static str,
        identity: Identity,
        version: Version,
        reading: Reading,
    ) {
        self.batch.push(self.user, kind, ReadingFact { identity, version, reading });
    }

    pub(super) fn push_interval(&mut self, interval: Interval) {
        self.nights.add(self.user, interval, self.batch);
    }

    /// The identity of a fact of this user.
    pub(super) fn identity(&self, parts: &[&[u8]]) -> Identity {
        let mut all: [&[u8]; 12] = [b""; 12];
        all[0] = b"healthkit";
        all[1] = self.user.as_str().as_bytes();
        let len = (2 + parts.len()).min(all.len());
        all[2..len].copy_from_slice(&parts[..len - 2]);
        Identity::of(&all[..len])
    }
}

/// A value in its metric's unit and range, or why it is none; `unit_at` and `value_at` say where the two stood.
pub(super) fn accept(
    kind: &QuantityType,
    value: f64,
    unit: Option<&str>,
    (value_at, unit_at): (&'static str, &'static str),
) -> Result<(Metric, f64), Refusal> {
    kind.accept(value, unit).map_err(|unfit| match unfit {
        Unfit::Unit => refuse(unit_at)(unknown_unit(unit.unwrap_or_default(), kind)),
        Unfit::Value(error) => refuse(value_at)(error.to_string()),
    })
}

/// Names the unit, since that is what somebody must mend; the text is the sender's, so only what is plain to see.
fn unknown_unit(unit: &str, kind: &QuantityType) -> String {
    let is_plain = |c: &char| matches!(c, ' '..='~' | '°' | '·' | '⁻' | '℃' | '℉') || c.is_alphanumeric();
    let shown: String = unit.chars().filter(is_plain).take(UNIT_SHOWN_CHARS).collect();
    let known: Vec<&str> = kind.unit_names().collect();
    format!("unknown unit `{shown}`: {} is accepted in {}", kind.metric_name(), known.join(", "))
}
