//! From Oura's records to ours (vendors.md §2, §15).
//!
//! Which field becomes which metric stands in tables (`fields`). The series inside nights and sessions are read beside
//! them (`series`).

use serde_json::value::RawValue;

use super::fields::{self, LONG_SLEEP, RESILIENCE, SESSION_LENGTH, WORKOUT_LENGTH, sections};
use super::records::{HEART_RATE, kind, replacing_series, series_kind};
use super::series::{series, stages};
use crate::domain::admission::{EventDraft, Facts, ReadingFact, Version};
use crate::domain::delivery::{DecodeError, Rejections};
use crate::domain::event::{Context, Reading};
use crate::domain::fetch::{OuraDataType, OuraFetch};
use crate::domain::time::{MS_PER_MINUTE, Timestamp, UtcOffset};
use crate::vendors::fetch::{date, record_id};
use crate::vendors::json;
use crate::vendors::record::{Fetched, Field, Owner, Record, Stamp, label};
use crate::vendors::timestamp::Moment;

/// The most readings in one event (contract §3).
const READINGS_MAX: usize = 1000;

/// What Oura calls the levels of resilience, from 1 on.
const LEVELS: [&str; 5] = ["limited", "adequate", "solid", "strong", "exceptional"];

/// Where records tell when they began.
const BEGINNINGS: [&str; 4] = ["bedtime_start", "start_datetime", "timestamp", "day"];

/// Sessions in which somebody was mindful; the others are naps and rests.
const MINDFUL: [&str; 3] = ["breathing", "meditation", "relaxation"];

/// Reads the answer to a fetch.
pub(in crate::vendors) fn read(
    fetch: &OuraFetch,
    answer: &[u8],
    owner: &Owner,
) -> Result<Fetched, DecodeError> {
    let document = json::document(answer)?;
    let mut fetched = Fetched::default();
    match fetch {
        OuraFetch::Record { data_type, id } => {
            let place = (0, String::new());
            fetched.drafts = convert((*data_type, Some(id)), document, place, owner, &mut fetched.rejected);
        }
        OuraFetch::Days { data_type, from, to, page, turned } => {
            let (records, next) = json::page(document, "data", page.as_deref())?;
            for (index, raw) in records.into_iter().enumerate() {
                let place = (index, format!("/data/{index}"));
                fetched.drafts.extend(convert((*data_type, None), raw, place, owner, &mut fetched.rejected));
            }
            let turned = turned.saturating_add(1);
            let further = |page| OuraFetch::Days {
                data_type: *data_type,
                from: *from,
                to: *to,
                page: Some(page),
                turned,
            };
            fetched.next = next.map(further).map(Into::into);
        }
        OuraFetch::HeartRate { from, to, page, turned } => {
            let (rows, next) = json::page(document, "data", page.as_deref())?;
            fetched.drafts = heart_rates(rows, owner, &mut fetched.rejected);
            let turned = turned.saturating_add(1);
            let further = |page| OuraFetch::HeartRate { from: *from, to: *to, page: Some(page), turned };
            fetched.next = next.map(further).map(Into::into);
        }
    }
    Ok(fetched)
}

/// The events of one record, perhaps asked for by its id; none if nothing of ours is in it, or it is refused.
fn convert(
    (data_type, asked): (OuraDataType, Option<&String>),
    raw: &RawValue,
    place: (usize, String),
    owner: &Owner,
    rejected: &mut Rejections,
) -> Vec<EventDraft> {
    let Some(mut record) = Record::open(raw, place, rejected) else { return Vec::new() };
    let Some(id) = id((data_type, asked), &mut record, owner) else { return Vec::new() };
    let version = Version::Given(updated_at(&mut record, owner).unwrap_or(owner.changed_at).as_ms());
    let word = match data_type {
        OuraDataType::Sleep | OuraDataType::Session => record.text("type"),
        _ => None,
    };
    if data_type == OuraDataType::Sleep && matches!(word.as_deref(), Some("deleted" | "rest")) {
        // Both are no sleep, and may have been taken for one before.
        return vec![replacing_series(kind(data_type).tombstone(owner, &id, version), data_type, owner, &id)];
    }
    let Some(stamp) = stamp(data_type, &mut record, owner) else { return Vec::new() };
    let readings = readings(data_type, word.as_deref(), &mut record, &stamp);
    let series = series(data_type, word.as_deref(), &mut record, &stamp, owner.fetched_at);
    let mut drafts = Vec::new();
    if !readings.is_empty() {
        let mut draft = kind(data_type).draft(owner, &id, version, stamp.at, readings);
        if let Some(day) = summed_up(data_type, &mut record, owner)
            && let Facts::Record { also, .. } = &mut draft.facts
        {
            *also = Some(kind(data_type).identity_of_day(&owner.account, &day));
        }
        drafts.push(match series.is_empty() {
            true => replacing_series(draft, data_type, owner, &id),
            false => draft,
        });
    }
    if let Some(last) = series.iter().map(|reading| reading.timestamp).max()
        && let Some(kind) = series_kind(data_type)
    {
        drafts.push(EventDraft { is_backfill: true, ..kind.draft(owner, &id, version, last, series) });
    }
    drafts
}

/// The record's id. One that tells none is known by the id that it was asked for by, else by its day or by when it began.
fn id(
    (data_type, asked): (OuraDataType, Option<&String>),
    record: &mut Record<'_, '_>,
    owner: &Owner,
) -> Option<String> {
    record.require("id", |record, name| {
        let told = record.id(name).or_else(|| asked.cloned()).or_else(|| summed_up(data_type, record, owner));
        let begun = || BEGINNINGS.iter().find_map(|name| record.hint(name));
        told.or_else(|| record_id(&begun()?).ok())
    })
}

/// What a record tells of itself as a whole.
fn readings(
    data_type: OuraDataType,
    word: Option<&str>,
    record: &mut Record<'_, '_>,
    stamp: &Stamp,
) -> Vec<Reading> {
    let mut readings: Vec<Reading> = Vec::new();
    match data_type {
        OuraDataType::Workout => readings.extend(duration(&WORKOUT_LENGTH, stamp)),
        OuraDataType::Session if word.is_some_and(|word| MINDFUL.contains(&word)) => {
            readings.extend(duration(&SESSION_LENGTH, stamp));
        }
        OuraDataType::DailyResilience => readings.extend(resilience(record, stamp)),
        _ => {}
    }
    for section in sections(data_type) {
        readings.extend(record.readings(section, stamp));
    }
    if data_type == OuraDataType::Sleep && word == Some("long_sleep") {
        readings.extend(record.readings(&LONG_SLEEP, stamp));
    }
    let name = match data_type {
        OuraDataType::Workout => record.text("activity"),
        OuraDataType::Session => word.map(Into::into),
        _ => None,
    };
    if let Some(name) = name.as_deref().and_then(label) {
        readings.iter_mut().for_each(|reading| reading.label = Some(name.clone()));
    }
    if data_type == OuraDataType::Sleep {
        readings.extend(stages(record, stamp));
    }
    readings
}

/// The day of a daily summary; of the other types there may be several a day.
fn summed_up(data_type: OuraDataType, record: &mut Record<'_, '_>, owner: &Owner) -> Option<String> {
    if !data_type.name().starts_with("daily_") {
        return None;
    }
    let day = record.moment("day", owner.fetched_at)?;
    Some(date(day.at, UtcOffset::default()))
}

/// The document's own version, in newer schemas. Its counter is left aside: deletions know times only.
fn updated_at(record: &mut Record<'_, '_>, owner: &Owner) -> Option<Timestamp> {
    let meta = record.read("meta", json::members)?;
    let raw = meta.get("updated_at").ok()??;
    Some(Moment::from_json(raw, owner.fetched_at).ok()?.at)
}

/// When a record was: a sleep's, workout's or session's end; else Oura's own `timestamp`, else the start of its day in
/// the user's zone (vendors.md §16).
fn stamp(data_type: OuraDataType, record: &mut Record<'_, '_>, owner: &Owner) -> Option<Stamp> {
    let (start, end) = match data_type {
        OuraDataType::Sleep => ("bedtime_start", "bedtime_end"),
        OuraDataType::Workout | OuraDataType::Session => ("start_datetime", "end_datetime"),
        _ => return day_stamp(record, owner),
    };
    let started = record.moment(start, owner.fetched_at);
    let ended = record.moment(end, owner.fetched_at);
    match (started, ended) {
        (Some(started), Some(ended)) if ended.at < started.at => {
            // The documented example of a workout does that.
            record.refuse(&format!("/{end}"), "is before the start");
            Some(Stamp { at: started.at, utc_offset: started.utc_offset, start: None })
        }
        (started, Some(ended)) => {
            let start = started.map(|started| started.at).filter(|start| *start < ended.at);
            Some(Stamp { at: ended.at, utc_offset: ended.utc_offset, start })
        }
        (Some(started), None) => Some(Stamp { at: started.at, utc_offset: started.utc_offset, start: None }),
        (None, None) => {
            record.refuse(&format!("/{end}"), "is missing or no time: without one the record has no place");
            None
        }
    }
}

fn day_stamp(record: &mut Record<'_, '_>, owner: &Owner) -> Option<Stamp> {
    if let Some(moment) = record.moment("timestamp", owner.fetched_at) {
        return Some(Stamp { at: moment.at, utc_offset: moment.utc_offset, start: None });
    }
    let midnight = record.require("day", |record, name| record.moment(name, owner.fetched_at))?;
    // By the offset of that day, which is not always that of the day on which it is asked for.
    let began = owner.zone.as_ref().and_then(|zone| zone.moment_of(midnight.at));
    let (at, offset) = began.unwrap_or((midnight.at, UtcOffset::default()));
    Some(Stamp { at, utc_offset: Some(offset).filter(|offset| offset.minutes() != 0), start: None })
}

/// How long the record's interval was, if it has one.
fn duration(field: &Field, stamp: &Stamp) -> Option<Reading> {
    let minutes = stamp.at.ms_since(stamp.start?) as f64 / MS_PER_MINUTE as f64;
    field.metric().accept(minutes).ok().map(|minutes| stamp.reading(field, minutes))
}

fn resilience(record: &mut Record<'_, '_>, stamp: &Stamp) -> Option<Reading> {
    let word = record.text(RESILIENCE.name())?;
    let Some(place) = LEVELS.iter().position(|level| *level == word) else {
        record.refuse("/level", format!("must be one of {}", LEVELS.join(", ")));
        return None;
    };
    let mut reading = stamp.reading(&RESILIENCE, place as f64 + 1.0);
    reading.label = Some(LEVELS[place].into());
    Some(reading)
}

/// Rows without ids: each is a fact of its own, known by its time. What was measured in a workout or in sleep says so.
fn heart_rates(rows: Vec<&RawValue>, owner: &Owner, rejected: &mut Rejections) -> Vec<EventDraft> {
    let mut facts = Vec::new();
    for (index, raw) in rows.into_iter().enumerate() {
        let Some(mut record) = Record::open(raw, (index, format!("/data/{index}")), rejected) else {
            continue;
        };
        let Some(moment) = record.require("timestamp", |record, name| record.moment(name, owner.fetched_at))
        else {
            continue;
        };
        let stamp = Stamp { at: moment.at, utc_offset: moment.utc_offset, start: None };
        let mut field = fields::HEART_RATE;
        match record.text("source").as_deref() {
            Some("sleep") => field = field.context(Context::Sleep),
            Some("workout") => field = field.context(Context::Workout),
            _ => {}
        }
        let Some(value) = record.value(&field) else { continue };
        let identity = HEART_RATE.identity(&owner.account, &moment.at.as_ms().to_string());
        facts.push(ReadingFact { identity, version: Version::Fixed, reading: stamp.reading(&field, value) });
    }
    let mut drafts = Vec::new();
    while !facts.is_empty() {
        let rest = facts.split_off(facts.len().min(READINGS_MAX));
        let newest = facts.iter().map(|fact| fact.reading.timestamp).max().unwrap_or(owner.fetched_at);
        let mut draft = HEART_RATE.draft(owner, "", Version::Fixed, newest, Vec::new());
        draft.facts = Facts::Readings(std::mem::replace(&mut facts, rest));
        drafts.push(draft);
    }
    drafts
}
