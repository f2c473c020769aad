//! Workouts: what a session came to in all, and the heart rates taken in it.
//!
//! Apps write totals as numbers, as `{"qty","units"}` (Health Auto Export) or as a list of `{"type","value","unit"}`.
//! Other series in a workout, such as its route, are passed over.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::export::{self, Taken};
use super::fields::{Fields, Times, by_id};
use super::item::{Item, Refusal, accept, refuse};
use super::quantity::QuantityType;
use super::source::Source;
use super::types::{
    self, Folded, HEART_RATE, SampleType, WORKOUT_AVERAGE, WORKOUT_DISTANCE, WORKOUT_DURATION,
    WORKOUT_ENERGY, WORKOUT_MAX,
};
use crate::domain::admission::Version;
use crate::domain::event::Context;
use crate::domain::metric::Metric;
use crate::domain::time::MS_PER_MINUTE;
use crate::domain::unit::{SECOND, Unit};
use crate::vendors::json::{self, Members};
use crate::vendors::record::label;

/// The kind of every event of workouts.
const KIND: &str = "workout";

/// Where apps put lists of totals.
const LISTS: [&str; 3] = ["values", "workoutStatistics", "statistics"];

/// A total, the members in which it may stand, the first of which counts, and its types in lists.
pub(super) struct Total {
    pub(super) kind: &'static QuantityType,
    pub(super) names: &'static [&'static str],
    listed: &'static [&'static [u8]],
    /// The unit of a plain number; without one, the metric's own.
    pub(super) unit: Option<Unit>,
    /// The member beside it that tells another.
    unit_name: &'static str,
}

pub(super) const TOTALS: [Total; 5] = [
    Total {
        kind: &WORKOUT_DURATION,
        names: &["duration"],
        listed: &[b"duration"],
        // HealthKit's durations are in seconds.
        unit: Some(SECOND),
        unit_name: "durationUnit",
    },
    Total {
        kind: &WORKOUT_ENERGY,
        names: &["activeEnergyBurned", "activeEnergy", "totalEnergyBurned", "totalEnergy", "calories"],
        listed: &[
            b"calories",
            b"activeenergyburned",
            b"totalenergyburned",
            b"activeenergy",
            b"totalcalories",
        ],
        unit: None,
        unit_name: "totalEnergyBurnedUnit",
    },
    Total {
        kind: &WORKOUT_DISTANCE,
        names: &["distance", "totalDistance"],
        listed: &[
            b"distance",
            b"totaldistance",
            b"distancewalkingrunning",
            b"distancecycling",
            b"distanceswimming",
        ],
        unit: None,
        unit_name: "totalDistanceUnit",
    },
    Total {
        kind: &WORKOUT_AVERAGE,
        names: &["avgHeartRate", "averageHeartRate", "meanHeartRate"],
        listed: &[b"meanheartrate", b"averageheartrate", b"avgheartrate"],
        unit: None,
        unit_name: "heartRateUnit",
    },
    Total {
        kind: &WORKOUT_MAX,
        names: &["maxHeartRate"],
        listed: &[b"maxheartrate"],
        unit: None,
        unit_name: "heartRateUnit",
    },
];

/// The member of Health Auto Export's rates, and what is in it.
pub(super) const RATES: &str = "heartRate";
pub(super) const OF_RATES: [(&str, &QuantityType); 2] = [("avg", &WORKOUT_AVERAGE), ("max", &WORKOUT_MAX)];

/// The member of a workout's samples.
pub(super) const SERIES: &str = "heartRateData";

/// What its samples are. The first version of Health Auto Export's workouts has them in `count`, which is by the minute.
static BEATS: QuantityType =
    QuantityType::new(HEART_RATE.name, HEART_RATE.metric).counted(HEART_RATE.metric.dimension().units()[0]);

impl Total {
    fn unit_name_if_plain(&self) -> Option<Cow<'static, str>> {
        self.unit.map(|unit| Cow::Borrowed(unit.names[0]))
    }
}

/// A total as it was found.
struct Found {
    kind: &'static QuantityType,
    metric: Metric,
    value: f64,
}

/// Reads a workout. A bad total refuses itself and no other.
pub(super) fn read(raw: &RawValue, fields: &Fields<'_>, item: &mut Item<'_>) -> Result<(), Refusal> {
    let members = json::members(raw).map_err(refuse(""))?;
    let times = fields.times(&item.clock)?;
    let source = fields.source()?;
    let id = fields.id()?;
    let sport = sport(&members)?;

    let mut found: Vec<Found> = Vec::new();
    for total in &TOTALS {
        let read = read_total(total, &members);
        keep(read, &mut found, item);
    }
    heart_rates(&members, &mut found, item);
    for name in LISTS {
        listed(name, &members, &mut found, item);
    }
    let lasted = times.length_ms().map(|ms| ms as f64 / MS_PER_MINUTE as f64);
    if !has(&found, &WORKOUT_DURATION)
        && let Some(minutes) = lasted
    {
        let read = accept(&WORKOUT_DURATION, minutes, None, ("/end", ""));
        keep(
            read.map(|(metric, value)| Some(Found { kind: &WORKOUT_DURATION, metric, value })),
            &mut found,
            item,
        );
    }
    if found.is_empty() && item.refused.is_none() {
        return Err(refuse("/duration")("neither a duration nor another total of the workout"));
    }
    for one in found {
        push(&one, (&times, &source), (id.as_deref(), sport.as_ref()), &members, item);
    }
    series(&members, item)
}

fn has(found: &[Found], kind: &QuantityType) -> bool {
    found.iter().any(|one| one.kind.name == kind.name)
}

/// Takes the first of each kind.
fn keep(read: Result<Option<Found>, Refusal>, found: &mut Vec<Found>, item: &mut Item<'_>) {
    match read {
        Ok(Some(one)) if !has(found, one.kind) => found.push(one),
        Ok(_) => {}
        Err(refusal) => item.refused.push(refusal),
    }
}

fn push(
    one: &Found,
    (times, source): (&Times, &Source<'_>),
    (id, sport): (Option<&str>, Option<&Arc<str>>),
    members: &Members<'_>,
    item: &mut Item<'_>,
) {
    let mut reading = item.reading(one.metric, one.value, times, source);
    reading.context = Some(Context::Workout);
    reading.label = sport.cloned();
    let kind = one.kind.name.as_bytes();
    let identity = match id {
        Some(id) => by_id(item, kind, id),
        None => {
            let (start, end) = (times.start.as_ms().to_be_bytes(), times.end.at.as_ms().to_be_bytes());
            let source = reading.source.as_deref().unwrap_or_default().as_bytes();
            item.identity(&[b"workout", kind, &start, &end, source])
        }
    };
    // Health Auto Export alone calls a workout by a name, and sends it again while it grows.
    let is_exported = matches!(members.get("name"), Ok(Some(_)));
    let version = if is_exported { export::arrival_of(one.value) } else { Version::Fixed };
    item.push(KIND, identity, version, reading);
}

/// What was done, in lower case.
fn sport(members: &Members<'_>) -> Result<Option<Arc<str>>, Refusal> {
    const PREFIX: &str = "hkworkoutactivitytype";
    for name in ["workoutActivityType", "activityType", "name", "type"] {
        let Some(raw) = members.get(name).map_err(refuse(format!("/{name}")))? else { continue };
        // HealthKit's own activity types are numbers, and `type` may just say that it is a workout.
        let Ok(text) = json::text(raw) else { continue };
        let lower = text.to_lowercase();
        let told = lower.strip_prefix(PREFIX);
        if name == "type" && told.is_none() && types::find(&text) == Some(SampleType::Workout) {
            continue;
        }
        return Ok(label(told.unwrap_or(&lower)));
    }
    Ok(None)
}

/// A number, or one with its unit.
fn amount<'a>(raw: &'a RawValue) -> Result<(f64, Option<Cow<'a, str>>), &'static str> {
    if !json::is_object(raw) {
        return json::number(raw).map(|value| (value, None));
    }
    let members = json::members(raw)?;
    let first = |one, other| {
        members.get(one).and_then(|found| found.map_or_else(|| members.get(other), |raw| Ok(Some(raw))))
    };
    let value = first("qty", "value")?.ok_or("a number was expected").and_then(json::number)?;
    let unit = first("units", "unit")?.map(json::text).transpose()?;
    Ok((value, unit))
}

fn read_total(total: &Total, members: &Members<'_>) -> Result<Option<Found>, Refusal> {
    for name in total.names {
        let at = || format!("/{name}");
        let Some(raw) = members.get(name).map_err(refuse(at()))? else { continue };
        if json::is_array(raw) {
            // A series of that name, which Health Auto Export tells beside the total.
            continue;
        }
        let (value, unit) = amount(raw).map_err(refuse(at()))?;
        let beside = members.get(total.unit_name).map_err(refuse(format!("/{}", total.unit_name)))?;
        let beside = beside.and_then(|raw| json::text(raw).ok());
        let unit = unit.or(beside).or(total.unit_name_if_plain());
        return found(total.kind, value, unit.as_deref()).map_err(|refusal| refusal.below(&at()));
    }
    Ok(None)
}

/// Nobody's heart stands still: zero is "not measured".
fn found(kind: &'static QuantityType, value: f64, unit: Option<&str>) -> Result<Option<Found>, Refusal> {
    if value == 0.0 && (kind.name == WORKOUT_AVERAGE.name || kind.name == WORKOUT_MAX.name) {
        return Ok(None);
    }
    accept(kind, value, unit, ("", "")).map(|(metric, value)| Some(Found { kind, metric, value }))
}

/// `{"heartRate":{"min","avg","max"}}`, as Health Auto Export also has it.
fn heart_rates(members: &Members<'_>, into: &mut Vec<Found>, item: &mut Item<'_>) {
    let Ok(Some(raw)) = members.get(RATES) else { return };
    let Ok(rates) = json::members(raw) else { return };
    for (name, kind) in OF_RATES {
        let at = || format!("/{RATES}/{name}");
        let read = match rates.get(name) {
            Ok(None) => continue,
            Ok(Some(raw)) => amount(raw).map_err(refuse(at())).and_then(|(value, unit)| {
                found(kind, value, unit.as_deref()).map_err(|refusal| refusal.below(&at()))
            }),
            Err(detail) => Err(refuse(at())(detail)),
        };
        keep(read, into, item);
    }
}

/// Totals in a list, each with its type.
fn listed(name: &str, members: &Members<'_>, into: &mut Vec<Found>, item: &mut Item<'_>) {
    let Ok(Some(raw)) = members.get(name) else { return };
    let Ok(list) = json::array(raw) else { return };
    for (place, raw) in list.into_iter().enumerate() {
        let read = statistic(raw).map_err(|refusal| refusal.below(&format!("/{name}/{place}")));
        keep(read, into, item);
    }
}

fn statistic(raw: &RawValue) -> Result<Option<Found>, Refusal> {
    let members = json::members(raw).map_err(refuse(""))?;
    let kind = members.get("type").and_then(|raw| raw.ok_or("is missing")).and_then(json::text);
    let kind = kind.map_err(refuse("/type"))?;
    let folded = Folded::of(&kind);
    let name = folded.as_ref().map(|name| name.without(&types::PREFIXES));
    let total = TOTALS.iter().find(|total| name.is_some_and(|name| total.listed.contains(&name)));
    let Some(total) = total else { return Ok(None) };
    let value = members.get("value").and_then(|raw| raw.ok_or("is missing")).and_then(json::number);
    let value = value.map_err(refuse("/value"))?;
    let unit =
        members.get("unit").and_then(|raw| raw.map(json::text).transpose()).map_err(refuse("/unit"))?;
    let is_plain = unit.as_deref().is_none_or(|unit| unit.trim().is_empty());
    let unit = if is_plain { total.unit_name_if_plain() } else { unit };
    found(total.kind, value, unit.as_deref()).map_err(|refusal| refusal.below("/value"))
}

/// Heart rates of a workout are samples of their own, and none at rest.
fn series(members: &Members<'_>, item: &mut Item<'_>) -> Result<(), Refusal> {
    let at = || refuse(format!("/{SERIES}"));
    let Some(raw) = members.get(SERIES).map_err(at())? else { return Ok(()) };
    let list = json::array(raw).map_err(at())?;
    let taken = Taken { kind: &BEATS, unit: None, context: Some(Context::Workout) };
    for (place, raw) in list.into_iter().enumerate() {
        if let Err(refusal) = export::point(raw, &taken, item) {
            item.refused.push(refusal.below(&format!("/{SERIES}/{place}")));
        }
    }
    Ok(())
}
