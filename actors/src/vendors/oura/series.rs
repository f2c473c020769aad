//! The series inside Oura's nights and sessions, and the stages of a night (vendors.md §2).
//!
//! A night's series is an event of its own beside the night's, marked as history: it came hours after its minutes, and
//! a single one of them must neither decide nor look like an emergency. The night's averages are what counts then.

use serde_json::value::RawValue;

use super::fields::{self, STAGES};
use crate::domain::event::Reading;
use crate::domain::fetch::OuraDataType;
use crate::domain::time::{MS_PER_SECOND, Timestamp, UtcOffset};
use crate::vendors::json;
use crate::vendors::record::{Field, Record, Stamp, value};
use crate::vendors::timestamp::Moment;

/// The most readings of one series: two of them fit into one event (contract §3). A night has fewer than 300 items; what
/// is longer is thinned evenly.
const ITEMS_MAX: usize = 500;
/// The most stages of one night, which share their event with its sums and averages.
const STAGES_MAX: usize = 900;
/// Between two items, in seconds.
const INTERVAL_S: std::ops::RangeInclusive<f64> = 1.0..=3_600.0;

/// The readings of a record's series, those of each in the order of time.
pub(super) fn series(
    data_type: OuraDataType,
    word: Option<&str>,
    record: &mut Record<'_, '_>,
    stamp: &Stamp,
    fetched_at: Timestamp,
) -> Vec<Reading> {
    // Without both its ends nobody knows which items are the record's.
    let Some(start) = stamp.start else { return Vec::new() };
    fields::series(data_type, word)
        .iter()
        .flat_map(|field| one(field, record, (start, stamp), fetched_at))
        .collect()
}

/// Where a series begins, and how far apart its items are.
struct Beat<'a> {
    first: Moment,
    interval_ms: f64,
    items: Vec<&'a RawValue>,
}

impl Beat<'_> {
    /// When an item was measured.
    fn at(&self, index: usize) -> Timestamp {
        self.first.at.plus_ms((index as f64 * self.interval_ms).round() as i64)
    }
}

fn one(
    field: &Field,
    record: &mut Record<'_, '_>,
    (start, stamp): (Timestamp, &Stamp),
    fetched_at: Timestamp,
) -> Vec<Reading> {
    let Some(beat) = read(field.name(), record, fetched_at) else { return Vec::new() };
    let earliest = start.plus_ms(-(beat.interval_ms as i64));
    let (mut values, mut is_outside_told) = (Vec::new(), false);
    for (index, raw) in beat.items.iter().enumerate().filter(|(_, raw)| raw.get() != "null") {
        let at = beat.at(index);
        if at < earliest || at >= stamp.at {
            if !std::mem::replace(&mut is_outside_told, true) {
                record
                    .refuse(&format!("/{}/items/{index}", field.name()), "is outside the record's interval");
            }
            continue;
        }
        match value(raw, field) {
            Ok(value) => values.extend(value.map(|value| (at, value))),
            Err(detail) => record.refuse(&format!("/{}/items/{index}", field.name()), detail),
        }
    }
    let utc_offset = beat.first.utc_offset.or(stamp.utc_offset);
    let step = values.len().div_ceil(ITEMS_MAX).max(1);
    let reading = |(at, value)| Stamp { at, utc_offset, start: None }.reading(field, value);
    values.into_iter().step_by(step).map(reading).collect()
}

/// `{"interval","items","timestamp"}`; what is wrong with it is refused by its place.
fn read<'a>(name: &str, record: &mut Record<'a, '_>, fetched_at: Timestamp) -> Option<Beat<'a>> {
    let members = record.read(name, json::members)?;
    let mut member = |member: &str| match members.get(member).and_then(|raw| raw.ok_or("is missing")) {
        Ok(raw) => Some(raw),
        Err(detail) => {
            record.refuse(&format!("/{name}/{member}"), detail);
            None
        }
    };
    let (items, interval, timestamp) = (member("items")?, member("interval")?, member("timestamp")?);
    let mut refuse = |member: &str, detail: String| record.refuse(&format!("/{name}/{member}"), detail);
    let items = json::array(items).map_err(|detail| refuse("items", detail.to_owned())).ok()?;
    let interval = json::number(interval).ok().filter(|seconds| INTERVAL_S.contains(seconds));
    let Some(interval) = interval else {
        refuse("interval", "must be a number of seconds, 1 to 3600".to_owned());
        return None;
    };
    let first = Moment::from_json(timestamp, fetched_at);
    let first = first.map_err(|error| refuse("timestamp", error.to_string())).ok()?;
    Some(Beat { first, interval_ms: interval * MS_PER_SECOND as f64, items })
}

/// The stages of a night: each run of the same one is a reading, at its end.
pub(super) fn stages(record: &mut Record<'_, '_>, stamp: &Stamp) -> Vec<Reading> {
    let Some(start) = stamp.start else { return Vec::new() };
    // The finer one, unless it flickers beyond what an event holds.
    for (field, step_s) in &STAGES {
        let name = field.name();
        let Some(phases) = record.text(name) else { continue };
        match runs(&phases, (start, stamp.at), step_s * MS_PER_SECOND) {
            Ok(runs) if runs.len() > STAGES_MAX => {
                record.refuse(&format!("/{name}"), "changes more often than an event can hold");
            }
            Ok(runs) if runs.is_empty() => {}
            Ok(runs) => return runs.into_iter().map(|run| run.reading(field, stamp.utc_offset)).collect(),
            Err(detail) => record.refuse(&format!("/{name}"), detail),
        }
    }
    Vec::new()
}

/// Some time in one stage.
struct Run {
    stage: u8,
    start: Timestamp,
    end: Timestamp,
}

impl Run {
    fn reading(&self, field: &Field, utc_offset: Option<UtcOffset>) -> Reading {
        let (code, label) = match self.stage {
            b'1' => (3.0, "deep"),
            b'2' => (2.0, "light"),
            b'3' => (4.0, "rem"),
            _ => (5.0, "awake"),
        };
        let stamp = Stamp { at: self.end, utc_offset, start: Some(self.start) };
        let mut reading = stamp.reading(field, code);
        reading.label = Some(label.into());
        reading
    }
}

/// Oura's digits as runs, cut at the end of the night: the last epoch may reach beyond it.
fn runs(phases: &str, (start, end): (Timestamp, Timestamp), step_ms: i64) -> Result<Vec<Run>, &'static str> {
    let mut runs: Vec<Run> = Vec::new();
    let mut at = start;
    for stage in phases.bytes() {
        if !matches!(stage, b'1'..=b'4') {
            return Err("must be digits from 1 (deep) to 4 (awake)");
        }
        if at >= end {
            return Err("goes on after the end of the night");
        }
        let until = at.plus_ms(step_ms).min(end);
        match runs.last_mut() {
            Some(run) if run.stage == stage => run.end = until,
            _ => runs.push(Run { stage, start: at, end: until }),
        }
        at = until;
    }
    Ok(runs)
}
