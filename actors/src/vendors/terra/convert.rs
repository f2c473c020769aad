//! From Terra's records to ours (vendors.md §5, §14-§16).
//!
//! A record is one event, and what is beyond its first thousand readings further ones, its parts. A later copy of a record
//! tells all of it again and takes the place of the earlier one with all its parts, in whatever order the two arrive.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::fields::{
    ACTIVITY, ACTIVITY_SERIES, BODY, BODY_SERIES, DAILY, DAILY_SERIES, ENRICHMENT, HYPNOGRAM, SLEEP,
    SLEEP_SERIES, Series, WORKOUT_LENGTH,
};
use super::python;
use super::series;
use super::times::{Clocks, Times};
use super::{DEVICE_TYPE, NAME};
use crate::domain::admission::{EventDraft, Facts, ReadingFact, Version};
use crate::domain::delivery::Rejections;
use crate::domain::event::Reading;
use crate::domain::metric::Metric;
use crate::domain::time::MS_PER_MINUTE;
use crate::vendors::json;
use crate::vendors::record::{Kind, Owner, Record, Section, Stamp, label};
use crate::vendors::sources::Sources;
use crate::vendors::timestamp::Moment;

/// The most readings in one event (contract §3).
const READINGS_MAX: usize = 1000;
/// The most events that one record becomes; each copy of a record looks for all that an earlier one may have had.
const EVENTS_MAX: usize = 20;
/// Between the parts of a name, which as ids hold no control characters.
const SEPARATOR: char = '\u{1f}';
/// `upload_type` of what was deleted; a sleep's are other codes.
const DELETED: f64 = 4.0;

/// The types of Terra's data in which there are metrics of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataType {
    Activity,
    Body,
    Daily,
    Sleep,
}

impl DataType {
    const ALL: [Self; 4] = [Self::Activity, Self::Body, Self::Daily, Self::Sleep];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.kind().record == name)
    }

    const fn kind(self) -> Kind {
        let (record, kind) = match self {
            Self::Activity => ("activity", "workout"),
            Self::Body => ("body", "body"),
            Self::Daily => ("daily", "daily"),
            Self::Sleep => ("sleep", "sleep"),
        };
        Kind { vendor: NAME, device_type: DEVICE_TYPE, record, kind }
    }

    const fn tables(self) -> (&'static [Section], &'static [Series]) {
        match self {
            Self::Activity => (ACTIVITY, ACTIVITY_SERIES),
            Self::Body => (BODY, BODY_SERIES),
            Self::Daily => (DAILY, DAILY_SERIES),
            Self::Sleep => (SLEEP, SLEEP_SERIES),
        }
    }

    /// Whether records are of something that began and ended, and have ids; the others are of a day.
    const fn is_interval(self) -> bool {
        matches!(self, Self::Activity | Self::Sleep)
    }
}

/// One record of a delivery.
struct Found {
    /// What makes it the same record.
    id: String,
    is_deleted: bool,
    readings: Vec<Reading>,
    enrichment: Vec<Reading>,
}

/// Reads the records of one delivery.
pub(super) struct Reader<'d> {
    data_type: DataType,
    owner: &'d Owner,
    version: Version,
    provider: Option<&'d str>,
    clocks: &'d Clocks<'d>,
    rejected: Rejections,
    found: Vec<Found>,
}

impl<'d> Reader<'d> {
    pub(super) fn new(
        data_type: DataType,
        owner: &'d Owner,
        version: Version,
        provider: Option<&'d str>,
        clocks: &'d Clocks<'d>,
    ) -> Self {
        let (rejected, found) = (Rejections::default(), Vec::new());
        Self { data_type, owner, version, provider, clocks, rejected, found }
    }

    /// Reads the record at this place of `data`.
    pub(super) fn read(&mut self, index: usize, raw: &RawValue) {
        let mut rejected = std::mem::take(&mut self.rejected);
        let record = Record::open(raw, (index, format!("/data/{index}")), &mut rejected);
        if let Some(mut found) = record.and_then(|mut record| self.read_record(&mut record)) {
            self.name_source(&mut found);
            self.take(found);
        }
        self.rejected = rejected;
    }

    fn read_record(&self, record: &mut Record<'_, '_>) -> Option<Found> {
        let raw = record.require("metadata", |record, name| record.read(name, Ok::<_, &str>))?;
        let (times, id, is_deleted, stamp, name) = {
            let mut metadata = record.inner(raw, "/metadata")?;
            let times = Times::of(self.clocks, &mut metadata);
            let id = self.id(&mut metadata)?;
            let upload_type = metadata.read("upload_type", json::number);
            let is_deleted = self.data_type != DataType::Sleep && upload_type == Some(DELETED);
            if is_deleted {
                let (readings, enrichment) = (Vec::new(), Vec::new());
                return Some(Found { id, is_deleted, readings, enrichment });
            }
            let stamp = self.stamp(&mut metadata, &times)?;
            let name = (self.data_type == DataType::Activity).then(|| sport(&mut metadata)).flatten();
            (times, id, is_deleted, stamp, name)
        };
        let (sections, all_series) = self.data_type.tables();
        let mut readings: Vec<Reading> = self.lasted(&stamp).into_iter().collect();
        for section in sections {
            readings.extend(record.readings(section, &stamp));
        }
        if let Some(name) = name {
            readings.iter_mut().for_each(|reading| reading.label = Some(Arc::clone(&name)));
        }
        let mut enrichment = Vec::new();
        if self.data_type == DataType::Sleep {
            let of_provider: Vec<Metric> = readings.iter().map(|reading| reading.metric).collect();
            enrichment = record.readings(&ENRICHMENT, &stamp);
            enrichment.retain(|reading| !of_provider.contains(&reading.metric));
            readings.extend(series::sleep_states(record, &times, stamp.start.map(|_| stamp.at)));
        }
        for series in all_series {
            readings.extend(series::readings(record, series, &times));
        }
        if readings.len() > READINGS_MAX * EVENTS_MAX {
            let most = READINGS_MAX * EVENTS_MAX;
            record.refuse("", format!("holds more than {most} readings: those after that are left out"));
            readings.truncate(most);
        }
        Some(Found { id, is_deleted, readings, enrichment })
    }

    /// What makes it the same record: its id, or the day as it is written there.
    fn id(&self, metadata: &mut Record<'_, '_>) -> Option<String> {
        if !self.data_type.is_interval() {
            let day = |metadata: &mut Record<'_, '_>, name: &str| {
                metadata.read(name, |raw| date_of(&json::text(raw)?).ok_or("does not begin with a date"))
            };
            return metadata.require("start_time", day);
        }
        if let Some(id) = metadata.id("summary_id") {
            return Some(id);
        }
        // Some providers have none: then it is known by its times.
        let start = metadata.require("start_time", Record::text)?;
        let end = metadata.text("end_time").unwrap_or_default();
        Some(format!("{start}{SEPARATOR}{end}"))
    }

    /// When it was: its end, of a day its start.
    fn stamp(&self, metadata: &mut Record<'_, '_>, times: &Times<'_>) -> Option<Stamp> {
        let start = times.of_member(metadata, "start_time");
        let whole = |moment: Moment| Stamp { at: moment.at, utc_offset: moment.utc_offset, start: None };
        if !self.data_type.is_interval() {
            return start.map(whole);
        }
        let end = match times.of_member(metadata, "end_time") {
            Some(end) => end,
            None if start.is_none() => {
                metadata.refuse("/end_time", "neither it nor start_time is a time");
                return None;
            }
            None => return start.map(whole),
        };
        let start = start.map(|start| start.at);
        if start.is_some_and(|start| start > end.at) {
            metadata.refuse("/start_time", "is after the end");
        }
        Some(Stamp { at: end.at, utc_offset: end.utc_offset, start: start.filter(|start| *start < end.at) })
    }

    /// How long a workout was.
    fn lasted(&self, stamp: &Stamp) -> Option<Reading> {
        let start = stamp.start.filter(|_| self.data_type == DataType::Activity)?;
        let minutes = stamp.at.ms_since(start) as f64 / MS_PER_MINUTE as f64;
        let accepted = WORKOUT_LENGTH.metric().accept(minutes).ok();
        accepted.map(|minutes| stamp.reading(&WORKOUT_LENGTH, minutes))
    }

    /// Says whose device it was, before what the reading says of itself.
    fn name_source(&self, found: &mut Found) {
        let Some(provider) = self.provider else { return };
        let plain: Arc<str> = provider.into();
        for reading in found.readings.iter_mut().chain(&mut found.enrichment) {
            reading.source = Some(match &reading.source {
                Some(own) => format!("{provider} {own}").into(),
                None => Arc::clone(&plain),
            });
        }
    }

    /// A record that comes twice in one delivery is one: what both tell is told once.
    fn take(&mut self, found: Found) {
        let Some(held) = self.found.iter_mut().find(|held| held.id == found.id) else {
            return self.found.push(found);
        };
        held.is_deleted |= found.is_deleted;
        held.enrichment.extend(found.enrichment);
        let new = found.readings.into_iter().filter(|reading| !held.readings.contains(reading));
        let new: Vec<Reading> = new.collect();
        held.readings.extend(new);
        held.readings.truncate(READINGS_MAX * EVENTS_MAX);
    }

    pub(super) fn finish(mut self) -> (Vec<EventDraft>, Rejections) {
        let mut drafts = Vec::new();
        for found in std::mem::take(&mut self.found) {
            let enrichment = self.enrichment_draft(&found);
            self.record_drafts(found, &mut drafts);
            drafts.extend(enrichment);
        }
        (drafts, self.rejected)
    }

    /// The record and its parts. One without a reading tells nothing: later copies tell more, not less.
    fn record_drafts(&self, found: Found, drafts: &mut Vec<EventDraft>) {
        let Found { id, is_deleted, mut readings, .. } = found;
        if is_deleted {
            readings.clear();
        } else if readings.is_empty() {
            return;
        }
        let (owner, version, kind) = (self.owner, self.version, self.data_type.kind());
        let newest = |readings: &[Reading]| {
            let newest = readings.iter().map(|reading| reading.timestamp).max();
            newest.unwrap_or(owner.changed_at)
        };
        // Of the twenty drafts, which differ in little, most have no readings.
        let identities = kind.identities(&owner.account);
        let whole = identities.and(id.as_bytes());
        let nothing = kind.draft(owner, &id, version, owner.changed_at, Vec::new());
        let mut rest = readings.split_off(readings.len().min(READINGS_MAX)).into_iter();
        drafts.reserve(EVENTS_MAX);
        drafts.push(EventDraft {
            timestamp: newest(&readings),
            deleted: is_deleted,
            facts: Facts::Record { identity: whole, also: None, version, readings },
            ..nothing.clone()
        });
        for number in 1..EVENTS_MAX {
            let readings: Vec<Reading> = rest.by_ref().take(READINGS_MAX).collect();
            let identity = identities.and(format!("{id}{SEPARATOR}{number}").as_bytes());
            drafts.push(EventDraft {
                timestamp: newest(&readings),
                deleted: readings.is_empty(),
                facts: Facts::Part { whole, identity, version, readings },
                ..nothing.clone()
            });
        }
    }

    /// Each score is a fact of its own: one that is null in a later copy does not erase it (vendors.md §5).
    fn enrichment_draft(&self, found: &Found) -> Option<EventDraft> {
        let newest = found.enrichment.iter().map(|reading| reading.timestamp).max()?;
        let (owner, kind) = (self.owner, self.data_type.kind());
        let fact = |reading: &Reading| {
            let name = format!("{}{SEPARATOR}enrichment{SEPARATOR}{}", found.id, reading.metric.name());
            let identity = kind.identity(&owner.account, &name);
            ReadingFact { identity, version: self.version, reading: reading.clone() }
        };
        let facts = Facts::Readings(found.enrichment.iter().map(fact).collect());
        Some(EventDraft { facts, ..kind.draft(owner, &found.id, self.version, newest, Vec::new()) })
    }
}

/// `2026-09-09`, as it is written.
fn date_of(text: &str) -> Option<String> {
    let date = text.trim().get(..10)?;
    let is_date = date.bytes().enumerate().all(|(place, byte)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    is_date.then(|| date.to_owned())
}

/// What was done: its name, or else Terra's number for it, of which 0 is one.
fn sport(metadata: &mut Record<'_, '_>) -> Option<Arc<str>> {
    let name = metadata.text("name").as_deref().and_then(label);
    name.or_else(|| {
        let number = metadata.read("type", json::id)?;
        label(&format!("activity type {number}"))
    })
}

/// All fields that are read.
pub(in crate::vendors) fn list(sources: &mut Sources) {
    for data_type in DataType::ALL {
        let record = data_type.kind().record;
        let (sections, all_series) = data_type.tables();
        for section in sections {
            sources.add_section(record, section);
        }
        for series in all_series {
            sources.add_section(record, &Section { at: series.at, fields: series.fields });
        }
    }
    sources.add(DataType::Activity.kind().record, &[], &WORKOUT_LENGTH);
    for section in [ENRICHMENT, HYPNOGRAM] {
        sources.add_section(DataType::Sleep.kind().record, &section);
    }
    python::list(sources);
}
