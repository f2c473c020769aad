//! Samples inside of records: each has its own time, and is refused by itself.

use serde_json::value::RawValue;

use super::fields::{HYPNOGRAM, Series};
use super::times::Times;
use crate::domain::event::Reading;
use crate::domain::metric::Metric;
use crate::domain::time::Timestamp;
use crate::vendors::json;
use crate::vendors::record::{Field, Record, Section, Stamp};

/// The readings of a record's samples.
pub(super) fn readings(record: &mut Record<'_, '_>, series: &Series, times: &Times<'_>) -> Vec<Reading> {
    if series.unless.is_some_and(|other| record.list(other).0.next().is_some()) {
        return Vec::new();
    }
    let (samples, list) = record.list(series.at);
    let mut readings = Vec::with_capacity(samples.size_hint().1.unwrap_or_default());
    let mut values = Vec::with_capacity(series.fields.len());
    for sample in samples {
        let Some(mut sample) = record.element(sample, &list) else { continue };
        if let Some(only) = series.only
            && !sample.text("type").is_some_and(|kind| kind.eq_ignore_ascii_case(only))
        {
            continue;
        }
        values.clear();
        sample
            .values(&Section { at: &[], fields: series.fields }, |field, value| values.push((field, value)));
        add_readings(&mut sample, &values, series.time, times, &mut readings);
    }
    readings
}

/// None without a value: then it does not matter when it was.
fn add_readings(
    sample: &mut Record<'_, '_>,
    values: &[(&Field, f64)],
    time: &str,
    times: &Times<'_>,
    readings: &mut Vec<Reading>,
) {
    if values.is_empty() {
        return;
    }
    let when = sample.require(time, |sample, name| times.of_member(sample, name));
    let Some(moment) = when else { return };
    if is_turned_around(values) {
        return sample.refuse("", "the diastolic pressure is not below the systolic one");
    }
    let stamp = Stamp { at: moment.at, utc_offset: moment.utc_offset, start: None };
    readings.extend(values.iter().map(|(field, value)| stamp.reading(field, *value)));
}

/// Whether a blood pressure's two numbers cannot belong together.
fn is_turned_around(values: &[(&Field, f64)]) -> bool {
    let value = |metric| values.iter().find(|(field, _)| field.metric() == metric).map(|(_, value)| *value);
    let pair = value(Metric::BloodPressureSystolic).zip(value(Metric::BloodPressureDiastolic));
    pair.is_some_and(|(systolic, diastolic)| diastolic >= systolic)
}

/// Our state for a level of Terra's, which are 0 unknown, 1 awake, 2 sleeping, 3 out of bed, 4 light, 5 deep, 6 REM.
/// Whoever is out of bed is awake.
fn state(level: f64) -> Option<(f64, &'static str)> {
    match level {
        1.0 | 3.0 => Some((5.0, "awake")),
        2.0 => Some((1.0, "asleep")),
        4.0 => Some((2.0, "light")),
        5.0 => Some((3.0, "deep")),
        6.0 => Some((4.0, "rem")),
        _ => None,
    }
}

/// The states of a night. Terra tells when each began: it lasts until the next one, and the last one until the night's `end`.
pub(super) fn sleep_states(
    record: &mut Record<'_, '_>,
    times: &Times<'_>,
    end: Option<Timestamp>,
) -> Vec<Reading> {
    let (samples, list) = record.list(HYPNOGRAM.at);
    let mut levels = Vec::new();
    for sample in samples {
        let Some(mut sample) = record.element(sample, &list) else { continue };
        let Some(level) = sample.read("level", level) else { continue };
        let Some(at) = sample.require("timestamp", |sample, name| times.of_member(sample, name)) else {
            continue;
        };
        levels.push((at, level));
    }
    levels.sort_by_key(|(moment, _)| moment.at);
    let ends = levels.iter().skip(1).map(|(moment, _)| Some(moment.at)).chain([end]);
    let interval = |((moment, level), end): (&(_, f64), Option<Timestamp>)| {
        let moment: &crate::vendors::timestamp::Moment = moment;
        let ((value, name), until) = (state(*level)?, end.filter(|end| *end > moment.at)?);
        let stamp = Stamp { at: until, utc_offset: moment.utc_offset, start: Some(moment.at) };
        let mut reading = stamp.reading(&HYPNOGRAM.fields[0], value);
        reading.label = Some(name.into());
        Some(reading)
    };
    levels.iter().zip(ends).filter_map(interval).collect()
}

fn level(raw: &RawValue) -> Result<f64, &'static str> {
    let level = json::number(raw)?;
    match level == 0.0 || state(level).is_some() {
        true => Ok(level),
        false => Err("must be 0 to 6"),
    }
}
