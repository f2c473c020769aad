//! Nights that Health Auto Export has summed up itself.

use serde_json::value::RawValue;

use super::export::{identify, source};
use super::fields::Times;
use super::item::{Item, Refusal, accept, refuse};
use super::nights;
use super::sleep::KIND;
use super::types::NIGHT_PART;
use crate::domain::metric::Metric;
use crate::domain::time::{MS_PER_MINUTE, Timestamp};
use crate::domain::unit::{HOUR, Unit};
use crate::vendors::json::{self, Members};
use crate::vendors::timestamp::Moment;

/// A night's totals by the metric's name, in identities too: never to be changed.
const TYPE: &str = "sleepanalysis";

/// The unit of a night's totals where none is told: decimal hours.
pub(super) const UNIT: Unit = HOUR;

const TOTAL: (&str, Metric) = ("totalSleep", Metric::TotalSleepMinutes);
const DEEP: (&str, Metric) = ("deep", Metric::DeepSleepMinutes);
const CORE: (&str, Metric) = ("core", Metric::LightSleepMinutes);
const REM: (&str, Metric) = ("rem", Metric::RemSleepMinutes);
const AWAKE: (&str, Metric) = ("awake", Metric::AwakeMinutes);
const IN_BED: (&str, Metric) = ("inBed", Metric::TimeInBedMinutes);

/// The members that are readings.
pub(super) const PARTS: [(&str, Metric); 6] = [TOTAL, DEEP, CORE, REM, AWAKE, IN_BED];

/// Minutes of each part of a night, as far as they were told.
struct Parts {
    total: Option<i64>,
    deep: Option<i64>,
    core: Option<i64>,
    rem: Option<i64>,
    asleep: Option<i64>,
    awake: Option<i64>,
    in_bed: Option<i64>,
}

/// Reads the totals of a night. A bad one refuses itself and no other.
pub(super) fn read(raw: &RawValue, unit: Option<&str>, item: &mut Item<'_>) -> Result<(), Refusal> {
    let members = json::members(raw).map_err(refuse(""))?;
    let (date, times) = times(&members, item)?;
    let place = ["source", "sleepSource", "inBedSource"].into_iter();
    let place = place.filter_map(|name| members.get(name).transpose()).next();
    let source = source(place.transpose().map_err(refuse("/source"))?)?;
    let unit = unit.filter(|unit| !unit.trim().is_empty()).unwrap_or(UNIT.names[0]);

    let mut read = |name: &'static str| part(&members, name, unit, item);
    let mut parts = Parts {
        total: read(TOTAL.0),
        deep: read(DEEP.0),
        core: read(CORE.0),
        rem: read(REM.0),
        asleep: read("asleep"),
        awake: read(AWAKE.0),
        in_bed: read(IN_BED.0),
    };
    // `asleep` is sleep without a stage; older versions tell no total.
    let staged = [parts.deep, parts.core, parts.rem].into_iter().flatten().sum::<i64>();
    let summed = staged + parts.asleep.unwrap_or_default();
    parts.total = parts.total.filter(|total| *total > 0).or(Some(summed));
    let total = parts.total.unwrap_or_default();
    let is_staged = staged > 0;
    let in_bed = parts.in_bed.filter(|in_bed| *in_bed > 0);
    let told = [
        (TOTAL.1, parts.total.filter(|total| *total > 0)),
        (DEEP.1, parts.deep.filter(|_| is_staged)),
        (CORE.1, parts.core.filter(|_| is_staged)),
        (REM.1, parts.rem.filter(|_| is_staged)),
        (AWAKE.1, parts.awake),
        (IN_BED.1, in_bed),
    ];
    if told.iter().all(|(_, ms)| ms.is_none()) && item.refused.is_none() {
        return Err(refuse("/totalSleep")("is missing"));
    }
    let sums = [total, staged, in_bed.unwrap_or_default()].map(|ms| (ms, nights::SUM_BITS));
    let when = [times.start, times.end.at].map(Timestamp::as_ms);
    let version = nights::version(&sums, parts.all().iter().chain(&when));
    for (metric, ms) in told {
        let Some(ms) = ms else { continue };
        let value = metric.accept(ms as f64 / MS_PER_MINUTE as f64);
        match value {
            Ok(value) => {
                let reading = item.reading(metric, value, &times, &source);
                let name = format!("{TYPE}.{}", metric.name());
                let identity = identify(item, b"export", &name, date, reading.source.as_deref(), None);
                item.push(KIND, identity, version, reading);
            }
            Err(error) => item.refused.push(refuse("/totalSleep")(error.to_string())),
        }
    }
    Ok(())
}

impl Parts {
    fn all(&self) -> [i64; 7] {
        [self.total, self.deep, self.core, self.rem, self.asleep, self.awake, self.in_bed]
            .map(|part| part.unwrap_or(-1))
    }
}

/// What the night is called by, and when it was: a sleep's time is its end (vendors.md §16).
fn times(members: &Members<'_>, item: &Item<'_>) -> Result<(Moment, Times), Refusal> {
    let moment = |name: &'static str| -> Result<Option<Moment>, Refusal> {
        let at = || format!("/{name}");
        let raw = members.get(name).map_err(refuse(at()))?;
        let read = |raw| item.clock.read(raw, None).map_err(|error| refuse(at())(error.to_string()));
        raw.map(read).transpose()
    };
    let date = moment("date")?;
    let end = match moment("sleepEnd")? {
        Some(end) => Some(end),
        None => moment("inBedEnd")?,
    };
    let start = match moment("sleepStart")? {
        Some(start) => Some(start),
        None => moment("inBedStart")?,
    };
    let date = date.or(end).ok_or_else(|| refuse("/date")("is missing"))?;
    let end = end.unwrap_or(date);
    let start = start.map_or(end.at, |start| start.at.min(end.at));
    Ok((date, Times { start, end }))
}

/// A part of the night in milliseconds; none if it is absent or refused.
fn part(members: &Members<'_>, name: &'static str, unit: &str, item: &mut Item<'_>) -> Option<i64> {
    let at = || format!("/{name}");
    let read = || -> Result<Option<i64>, Refusal> {
        let Some(raw) = members.get(name).map_err(refuse(at()))? else { return Ok(None) };
        let value = json::number(raw).map_err(refuse(at()))?;
        let accepted = accept(&NIGHT_PART, value, Some(unit), ("", ""));
        let (_, minutes) = accepted.map_err(|refusal| refusal.below(&at()))?;
        Ok(Some((minutes * MS_PER_MINUTE as f64).round() as i64))
    };
    read().unwrap_or_else(|refusal| {
        item.refused.push(refusal);
        None
    })
}
