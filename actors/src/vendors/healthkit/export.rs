//! Health Auto Export's metrics (vendors.md §4b): a name, a unit of the user's choice and points in time.
//!
//! Its windows overlap, so a point comes again, and a total with a larger value while its minute or day still fills.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{Fields, Times};
use super::item::{Item, Refusal, accept, refuse};
use super::quantity::QuantityType;
use super::sample::Found;
use super::source::Source;
use super::types::{self, Folded};
use super::{exported_sleep, pressure, sleep};
use crate::domain::admission::Version;
use crate::domain::event::Context;
use crate::domain::ids::Identity;
use crate::domain::time::MS_PER_HOUR;
use crate::vendors::json;
use crate::vendors::timestamp::Moment;

/// What the points of a metric are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Points {
    /// Numbers.
    Quantity(&'static QuantityType),
    /// Pairs of pressures.
    BloodPressure,
    /// Intervals of sleep, or the totals of nights.
    Sleep,
    /// Of a metric that we have none for.
    PassedBy,
}

/// The metric whose points are pairs of pressures.
pub(super) const BLOOD_PRESSURE: &[u8] = b"bloodpressure";
/// The metric whose points are intervals of sleep, or the totals of nights.
pub(super) const SLEEP: &[u8] = b"sleepanalysis";

/// The metric of this name.
pub(super) fn find(name: &str) -> Points {
    let Some(folded) = Folded::of(name) else { return Points::PassedBy };
    let name = folded.without(&[]);
    match name {
        BLOOD_PRESSURE => Points::BloodPressure,
        SLEEP => Points::Sleep,
        _ => types::exported(name).map_or(Points::PassedBy, Points::Quantity),
    }
}

/// What one point sums up, in the app's words.
#[derive(Clone, Copy)]
struct Bucket<'a>(&'a str);

impl Bucket<'_> {
    fn begins(self, with: &[&str]) -> bool {
        with.iter().any(|word| self.0.starts_with(word))
    }

    /// At most an hour.
    fn is_short(self) -> bool {
        self.begins(&["sec", "min", "hour"])
    }

    /// At least a day: what it tells is no moment at rest.
    fn is_long(self) -> bool {
        self.begins(&["day", "daily", "week", "month", "year"])
    }
}

/// What is said of all points of a series.
pub(super) struct Taken<'a> {
    pub(super) kind: &'static QuantityType,
    pub(super) unit: Option<&'a str>,
    /// Where it is no series of ordinary samples.
    pub(super) context: Option<Context>,
}

/// A point's fields, unread. Of a heart rate over a minute the average counts, its extremes do not.
#[derive(Deserialize)]
struct Point<'a> {
    #[serde(borrow)]
    date: Option<&'a RawValue>,
    #[serde(borrow, rename = "startDate")]
    start_date: Option<&'a RawValue>,
    #[serde(borrow)]
    qty: Option<&'a RawValue>,
    #[serde(borrow, rename = "Avg")]
    capital_average: Option<&'a RawValue>,
    #[serde(borrow, rename = "avg")]
    small_average: Option<&'a RawValue>,
    #[serde(borrow)]
    average: Option<&'a RawValue>,
    #[serde(borrow)]
    units: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
}

impl<'a> Point<'a> {
    fn value(&self) -> Result<(&'static str, f64), Refusal> {
        let places = [
            ("/Avg", self.capital_average),
            ("/avg", self.small_average),
            ("/average", self.average),
            ("/qty", self.qty),
        ];
        let found = places.into_iter().find_map(|(field, raw)| Some((field, raw?)));
        let (field, raw) = found.ok_or_else(|| refuse("/qty")("is missing"))?;
        json::number(raw).map(|value| (field, value)).map_err(refuse(field))
    }

    /// The begin of the bucket (vendors.md §16).
    fn moment(&self, item: &Item<'_>) -> Result<Moment, Refusal> {
        let places = [("/date", self.date), ("/startDate", self.start_date)];
        let found = places.into_iter().find_map(|(field, raw)| Some((field, raw?)));
        let (field, raw) = found.ok_or_else(|| refuse("/date")("is missing"))?;
        item.clock.read(raw, None).map_err(|error| refuse(field)(error.to_string()))
    }
}

/// Reads an element of a metric's `data`.
pub(super) fn read(
    raw: &RawValue,
    points: Points,
    unit: Option<&str>,
    item: &mut Item<'_>,
) -> Result<Found, Refusal> {
    match points {
        Points::Quantity(kind) => point(raw, &Taken { kind, unit, context: None }, item)?,
        Points::BloodPressure => blood_pressure(raw, unit, item)?,
        Points::Sleep => {
            let fields: Fields<'_> = json::object(raw).map_err(refuse(""))?;
            match fields.value {
                Some(_) => sleep::read(&fields, item)?,
                None => exported_sleep::read(raw, unit, item)?,
            }
        }
        Points::PassedBy => return Ok(Found::PassedBy),
    }
    Ok(Found::Data)
}

/// Reads one point of a series.
pub(super) fn point(raw: &RawValue, taken: &Taken<'_>, item: &mut Item<'_>) -> Result<(), Refusal> {
    let point: Point<'_> = json::object(raw).map_err(refuse(""))?;
    let (field, value) = point.value()?;
    let own_unit = point.units.map(json::text).transpose().map_err(refuse("/units"))?;
    let unit = own_unit.as_deref().or(taken.unit);
    let (metric, value) = accept(taken.kind, value, unit, (field, "/units"))?;
    // What the app says of its points is not about a series inside a workout.
    let bucket = item.aggregation.filter(|_| taken.context.is_none()).map(Bucket);
    if bucket.is_some_and(|bucket| bucket.is_short()) {
        taken.kind.check_rate(value, MS_PER_HOUR).map_err(refuse(field))?;
    }
    let moment = point.moment(item)?;
    let source = source(point.source)?;
    let mut reading = item.reading(metric, value, &Times::at(moment), &source);
    reading.method = taken.kind.method;
    reading.context = taken.context.or(bucket.filter(|bucket| bucket.is_long()).map(|_| Context::Daily));
    let series: &[u8] = if taken.context.is_some() { b"workout" } else { b"export" };
    let (name, bucket) = (taken.kind.name, bucket.map(|bucket| bucket.0));
    let identity = identify(item, series, name, moment, reading.source.as_deref(), bucket);
    let version = match taken.kind.is_total {
        true => Version::Given(millionths(value)),
        false => arrival_of(value),
    };
    item.push(taken.kind.kind, identity, version, reading);
    Ok(())
}

fn blood_pressure(raw: &RawValue, unit: Option<&str>, item: &mut Item<'_>) -> Result<(), Refusal> {
    let point: Point<'_> = json::object(raw).map_err(refuse(""))?;
    let moment = point.moment(item)?;
    let source = source(point.source)?;
    pressure::exported(raw, unit, |kind, metric, value| {
        let reading = item.reading(metric, value, &Times::at(moment), &source);
        let source = reading.source.as_deref();
        let identity = identify(item, b"export", kind.name, moment, source, item.aggregation);
        item.push(types::SAMPLE, identity, arrival_of(value), reading);
    })
}

pub(super) fn source(raw: Option<&RawValue>) -> Result<Source<'_>, Refusal> {
    let mut source = Source::default();
    raw.map_or(Ok(()), |raw| source.add(raw)).map_err(refuse("/source"))?;
    Ok(source)
}

/// The user, the metric, the begin of the bucket, the source, and what a bucket is where that is known (vendors.md §14).
pub(super) fn identify(
    item: &Item<'_>,
    series: &[u8],
    name: &str,
    moment: Moment,
    source: Option<&str>,
    aggregation: Option<&str>,
) -> Identity {
    let source = source.unwrap_or_default().as_bytes();
    let (at, name) = (moment.at.as_ms().to_be_bytes(), name.as_bytes());
    match aggregation {
        Some(aggregation) => item.identity(&[series, name, &at, source, aggregation.as_bytes()]),
        None => item.identity(&[series, name, &at, source]),
    }
}

/// As identities have them: units that differ by a factor agree there.
fn millionths(value: f64) -> i64 {
    (value * 1e6).round() as i64
}

/// The version of what does not grow: the later export counts, where it says something else.
pub(super) fn arrival_of(value: f64) -> Version {
    let mixed = (millionths(value) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Version::ArrivalOf((mixed >> 32) as u32)
}
