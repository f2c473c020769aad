//! From WHOOP's records to ours (vendors.md §3, §15).
//!
//! `score` is there only when `score_state` is `SCORED`: a record that is still being computed is asked for again, and
//! one that cannot be scored has no readings.

use serde_json::value::RawValue;

use super::fields::{
    ASLEEP, CYCLE_SCORE, MEASUREMENTS, RECOVERY_SCORE, SLEEP_SCORE, SLEEP_TOTAL, STAGES, STRESS,
    WORKOUT_LENGTH, WORKOUT_SCORE, stress,
};
use super::records::{BODY, CYCLE, RECOVERY, SLEEP, WORKOUT};
use crate::domain::admission::{EventDraft, Version};
use crate::domain::delivery::{DecodeError, Rejections};
use crate::domain::event::Reading;
use crate::domain::fetch::{WhoopActivity, WhoopFetch, WhoopRecords};
use crate::domain::metric::Metric;
use crate::domain::time::{MS_PER_MINUTE, Timestamp, UtcOffset};
use crate::vendors::fetch::record_id;
use crate::vendors::json;
use crate::vendors::record::{Fetched, Kind, Owner, Record, Stamp, label};

/// Reads the answer to a fetch.
pub(in crate::vendors) fn read(
    fetch: &WhoopFetch,
    answer: &[u8],
    owner: &Owner,
) -> Result<Fetched, DecodeError> {
    let document = json::document(answer)?;
    let mut fetched = Fetched::default();
    let whole = (0, String::new());
    match fetch {
        WhoopFetch::Activity { kind, .. } => {
            let records = match kind {
                WhoopActivity::Sleep => WhoopRecords::Sleeps,
                WhoopActivity::Workout => WhoopRecords::Workouts,
            };
            convert(records, document, whole, owner, &mut fetched);
        }
        WhoopFetch::Recovery { .. } => {
            convert(WhoopRecords::Recoveries, document, whole, owner, &mut fetched);
        }
        WhoopFetch::Mapped { kind, .. } => {
            let id = led_to(document, "v2_activity_id")?;
            fetched.next = Some(WhoopFetch::Activity { kind: *kind, id }.into());
        }
        WhoopFetch::CycleOfSleep { .. } => {
            let cycle_id = led_to(document, "cycle_id")?;
            fetched.next = Some(WhoopFetch::Recovery { cycle_id }.into());
        }
        WhoopFetch::Records { records, from, to, page, turned } => {
            let (found, next) = json::page(document, "records", page.as_deref())?;
            for (index, raw) in found.into_iter().enumerate() {
                convert(*records, raw, (index, format!("/records/{index}")), owner, &mut fetched);
            }
            let turned = turned.saturating_add(1);
            let further = |page| WhoopFetch::Records {
                records: *records,
                from: *from,
                to: *to,
                page: Some(page),
                turned,
            };
            fetched.next = next.map(further).map(Into::into);
        }
        WhoopFetch::Body => fetched.drafts.extend(body(document, owner, &mut fetched.rejected)),
    }
    Ok(fetched)
}

/// The id in an answer that only leads on. Whole numbers keep all their digits.
fn led_to(document: &RawValue, name: &str) -> Result<String, DecodeError> {
    let shape =
        |path: &str, detail: &str| DecodeError::Shape { path: path.to_owned(), detail: detail.to_owned() };
    let at = format!("/{name}");
    let members = json::members(document).map_err(|detail| shape("", detail))?;
    let raw =
        members.get(name).and_then(|raw| raw.ok_or("is missing")).map_err(|detail| shape(&at, detail))?;
    let id = json::id(raw).map_err(|detail| shape(&at, detail))?;
    record_id(&id).map_err(|detail| shape(&at, &detail))
}

/// One record, whose event (if any of ours is in it) goes to the others'.
fn convert(
    records: WhoopRecords,
    raw: &RawValue,
    place: (usize, String),
    owner: &Owner,
    fetched: &mut Fetched,
) {
    let Some(mut record) = Record::open(raw, place, &mut fetched.rejected) else { return };
    let state = record.text("score_state");
    match state.as_deref() {
        Some("SCORED") | None => {}
        Some("PENDING_SCORE") => {
            fetched.is_pending = true;
            return;
        }
        Some("UNSCORABLE") => return,
        Some(_) => return record.refuse("/score_state", "must be SCORED, PENDING_SCORE or UNSCORABLE"),
    }
    let draft = match records {
        WhoopRecords::Sleeps => sleep(&mut record, owner),
        WhoopRecords::Recoveries => recovery(&mut record, owner),
        WhoopRecords::Workouts => workout(&mut record, owner),
        WhoopRecords::Cycles => cycle(&mut record, owner),
    };
    fetched.drafts.extend(draft);
}

fn sleep(record: &mut Record<'_, '_>, owner: &Owner) -> Option<EventDraft> {
    let id = record.require("id", Record::id)?;
    let stamp = interval(record, owner)?;
    let mut readings = record.readings(&STAGES, &stamp);
    let of_stage = |metric: &Metric| readings.iter().find(|reading| reading.metric == *metric);
    let stages: Option<Vec<f64>> =
        ASLEEP.iter().map(|metric| of_stage(metric).map(|reading| reading.value)).collect();
    let total = stages.and_then(|stages| SLEEP_TOTAL.metric().accept(stages.iter().sum()).ok());
    readings.extend(total.map(|total| stamp.reading(&SLEEP_TOTAL, total)));
    readings.extend(record.readings(&SLEEP_SCORE, &stamp));
    if record.read("nap", json::boolean) == Some(true) {
        readings.iter_mut().for_each(|reading| reading.label = Some("nap".into()));
    }
    draft(SLEEP, record, owner, &id, &stamp, readings)
}

/// Of the night that ended; WHOOP tells when it computed it.
fn recovery(record: &mut Record<'_, '_>, owner: &Owner) -> Option<EventDraft> {
    let id = record.require("sleep_id", Record::id)?;
    let created = record.moment("created_at", owner.fetched_at);
    let updated = || record.require("updated_at", |record, name| record.moment(name, owner.fetched_at));
    let created = created.or_else(updated)?;
    let stamp = Stamp { at: created.at, utc_offset: created.utc_offset, start: None };
    let mut readings = record.readings(&RECOVERY_SCORE, &stamp);
    let score = readings.iter().find(|reading| reading.metric == Metric::RecoveryScore);
    let stress = score.and_then(|score| STRESS.metric().accept(stress(score.value)).ok());
    readings.extend(stress.map(|stress| stamp.reading(&STRESS, stress)));
    draft(RECOVERY, record, owner, &id, &stamp, readings)
}

fn workout(record: &mut Record<'_, '_>, owner: &Owner) -> Option<EventDraft> {
    let id = record.require("id", Record::id)?;
    let stamp = interval(record, owner)?;
    let lasted = stamp.start.map(|start| stamp.at.ms_since(start) as f64 / MS_PER_MINUTE as f64);
    let lasted = lasted.and_then(|minutes| WORKOUT_LENGTH.metric().accept(minutes).ok());
    let mut readings: Vec<Reading> =
        lasted.map(|minutes| stamp.reading(&WORKOUT_LENGTH, minutes)).into_iter().collect();
    readings.extend(record.readings(&WORKOUT_SCORE, &stamp));
    if let Some(sport) = record.text("sport_name").as_deref().and_then(label) {
        readings.iter_mut().for_each(|reading| reading.label = Some(sport.clone()));
    }
    draft(WORKOUT, record, owner, &id, &stamp, readings)
}

/// A day from waking to waking. While it runs it has no end, and its newest change stands in.
fn cycle(record: &mut Record<'_, '_>, owner: &Owner) -> Option<EventDraft> {
    let id = record.require("id", Record::id)?;
    let start = record.require("start", |record, name| record.moment(name, owner.fetched_at))?;
    let end = record.moment("end", owner.fetched_at).map(|end| end.at);
    let at = end.or_else(|| updated_at(record, owner)).unwrap_or(owner.changed_at);
    let utc_offset = record.text("timezone_offset").and_then(|text| UtcOffset::parse(&text));
    let stamp = Stamp { at, utc_offset, start: Some(start.at).filter(|start| *start < at) };
    let readings = record.readings(&CYCLE_SCORE, &stamp);
    draft(CYCLE, record, owner, &id, &stamp, readings)
}

/// What the user typed in, without an id or a time: there is one such record an account, and the newest question counts.
fn body(document: &RawValue, owner: &Owner, rejected: &mut Rejections) -> Option<EventDraft> {
    let mut record = Record::open(document, (0, String::new()), rejected)?;
    let stamp = Stamp { at: owner.fetched_at, utc_offset: None, start: None };
    let readings = record.readings(&MEASUREMENTS, &stamp);
    let version = Version::Given(owner.changed_at.as_ms());
    let draft = || BODY.draft(owner, "", version, stamp.at, readings.clone());
    (!readings.is_empty()).then(draft)
}

/// From `start` to `end`, at the user's `timezone_offset`.
fn interval(record: &mut Record<'_, '_>, owner: &Owner) -> Option<Stamp> {
    let end = record.require("end", |record, name| record.moment(name, owner.fetched_at))?;
    let start = record.moment("start", owner.fetched_at).map(|start| start.at);
    if start.is_some_and(|start| start > end.at) {
        record.refuse("/start", "is after the end");
    }
    let utc_offset = record.text("timezone_offset").and_then(|text| UtcOffset::parse(&text));
    let utc_offset = utc_offset.or(end.utc_offset);
    Some(Stamp { at: end.at, utc_offset, start: start.filter(|start| *start < end.at) })
}

fn updated_at(record: &mut Record<'_, '_>, owner: &Owner) -> Option<Timestamp> {
    record.moment("updated_at", owner.fetched_at).map(|updated| updated.at)
}

fn draft(
    kind: Kind,
    record: &mut Record<'_, '_>,
    owner: &Owner,
    id: &str,
    stamp: &Stamp,
    readings: Vec<Reading>,
) -> Option<EventDraft> {
    if readings.is_empty() {
        return None;
    }
    let version = updated_at(record, owner).unwrap_or(owner.changed_at);
    Some(kind.draft(owner, id, Version::Given(version.as_ms()), stamp.at, readings))
}
