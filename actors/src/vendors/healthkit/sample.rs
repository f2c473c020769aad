//! One sample of an app's: from its JSON to readings with an identity, or to the reason why it is refused.

use serde_json::value::RawValue;

use super::fields::{Fields, Times, identify};
use super::item::{Item, Refusal, accept, refuse};
use super::quantity::QuantityType;
use super::types::{self, Folded, MINDFUL, STAND_HOURS, SampleType};
use super::{pressure, sleep, workout};
use crate::domain::admission::Version;
use crate::domain::metric::Metric;
use crate::domain::time::MS_PER_MINUTE;
use crate::domain::unit::HOUR;
use crate::vendors::json;

/// Whether an item was of a type that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It was.
    Data,
    /// A type of Apple's that we have no metric for.
    PassedBy,
}

/// Reads a sample: of type `given`, where its place in the body tells that, else of its own.
pub(super) fn read(raw: &RawValue, given: Option<SampleType>, item: &mut Item<'_>) -> Result<Found, Refusal> {
    let fields: Fields<'_> = json::object(raw).map_err(refuse(""))?;
    let kind = given.map_or_else(|| own_type(&fields), Ok)?;
    match kind {
        SampleType::Quantity(kind) => quantity(&fields, kind, item)?,
        SampleType::Sleep => sleep::read(&fields, item)?,
        SampleType::StandHour => stand_hour(&fields, item)?,
        SampleType::Mindful => mindful(&fields, item)?,
        SampleType::BloodPressure => pressure::read(raw, &fields, item)?,
        SampleType::Workout => workout::read(raw, &fields, item)?,
        SampleType::PassedBy => return Ok(Found::PassedBy),
    }
    Ok(Found::Data)
}

fn own_type(fields: &Fields<'_>) -> Result<SampleType, Refusal> {
    let name = fields.kind.ok_or("is missing").and_then(json::text).map_err(refuse("/type"))?;
    types::find(&name).ok_or_else(|| refuse("/type")("unknown type"))
}

fn quantity(fields: &Fields<'_>, kind: &'static QuantityType, item: &mut Item<'_>) -> Result<(), Refusal> {
    let value = fields.value.ok_or("is missing").and_then(json::number).map_err(refuse("/value"))?;
    let unit = fields.unit.map(json::text).transpose().map_err(refuse("/unit"))?;
    let accepted = accept(kind, value, unit.as_deref(), ("/value", "/unit"))?;
    let times = fields.times(&item.clock)?;
    if let Some(length_ms) = times.length_ms() {
        kind.check_rate(accepted.1, length_ms).map_err(refuse("/value"))?;
    }
    push(fields, kind, accepted, &times, item)
}

/// An hour in which one stood counts as a whole one, an idle one as none.
fn stand_hour(fields: &Fields<'_>, item: &mut Item<'_>) -> Result<(), Refusal> {
    const EXPECTED: &str = "0 (stood) or 1 (idle) was expected, or their names";
    let value = fields.value.ok_or_else(|| refuse("/value")("is missing"))?;
    let has_stood = match (json::number(value), json::text(value)) {
        (Ok(0.0), _) => true,
        (Ok(1.0), _) => false,
        (_, Ok(name)) => {
            let folded = Folded::of(&name).ok_or_else(|| refuse("/value")(EXPECTED))?;
            match folded.without(&["hkcategoryvalueapplestandhour"]) {
                b"stood" => true,
                b"idle" => false,
                _ => return Err(refuse("/value")(EXPECTED)),
            }
        }
        _ => return Err(refuse("/value")(EXPECTED)),
    };
    let minutes = HOUR.conversion.apply(if has_stood { 1.0 } else { 0.0 });
    push(fields, &STAND_HOURS, (Metric::StandMinutes, minutes), &fields.times(&item.clock)?, item)
}

/// The length of the session; its value says nothing.
fn mindful(fields: &Fields<'_>, item: &mut Item<'_>) -> Result<(), Refusal> {
    let times = fields.interval(&item.clock)?;
    let minutes = times.length_ms().unwrap_or_default() as f64 / MS_PER_MINUTE as f64;
    let accepted = Metric::MindfulMinutes.accept(minutes);
    let minutes = accepted.map_err(|error| refuse("/endDate")(error.to_string()))?;
    push(fields, &MINDFUL, (Metric::MindfulMinutes, minutes), &times, item)
}

fn push(
    fields: &Fields<'_>,
    kind: &'static QuantityType,
    (metric, value): (Metric, f64),
    times: &Times,
    item: &mut Item<'_>,
) -> Result<(), Refusal> {
    let source = fields.source()?;
    let mut reading = item.reading(metric, value, times, &source);
    reading.method = kind.method;
    let id = fields.id()?;
    let said = (reading.source.as_deref(), value);
    let identity = identify(item, id.as_deref(), kind.name, times, said);
    item.push(kind.kind, identity, Version::Fixed, reading);
    Ok(())
}
