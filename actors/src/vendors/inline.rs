//! The Python system's inline format, which Oura's and WHOOP's endpoints share: a few values at one moment.
//!
//! `{"user_id","timestamp","hrv_data":{"rmssd"},"sleep":{"score"},"recovery":{"score"},"stress":{"level"}}`, each
//! section optional. Its user ids are ours, and a later arrival replaces an earlier one of the same moment.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json;
use super::record::Field;
use super::sources::Sources;
use super::timestamp::Moment;
use crate::domain::admission::{EventDraft, Facts, ReadingFact, Version};
use crate::domain::delivery::{DecodeError, Decoded, Rejections};
use crate::domain::event::{DeviceType, HrvMethod, Reading};
use crate::domain::ids::{Identity, UserId};
use crate::domain::metric::Metric;
use crate::domain::time::Timestamp;

/// The confidence in what came through a vendor's cloud (contract §3).
const CONFIDENCE: f64 = 0.95;

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    hrv_data: Option<&'a RawValue>,
    #[serde(borrow)]
    sleep: Option<&'a RawValue>,
    #[serde(borrow)]
    recovery: Option<&'a RawValue>,
    #[serde(borrow)]
    stress: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Section<'a> {
    #[serde(borrow)]
    rmssd: Option<&'a RawValue>,
    #[serde(borrow)]
    score: Option<&'a RawValue>,
    #[serde(borrow)]
    level: Option<&'a RawValue>,
}

/// What the events and records of these formats are called.
pub(super) const RECORD: &str = "inline";

/// Where the values are.
const SECTIONS: [(&str, &str, Metric); 4] = [
    ("hrv_data", "rmssd", Metric::Hrv),
    ("sleep", "score", Metric::SleepScore),
    ("recovery", "score", Metric::RecoveryScore),
    ("stress", "level", Metric::StressLevel),
];

/// All fields that are read.
pub(super) fn list(sources: &mut Sources) {
    for (section, field, metric) in SECTIONS {
        sources.add(RECORD, &[section], &Field::new(field, metric));
    }
}

/// Reads one record of `user_id`, which came to the endpoint of `device`.
pub(super) fn decode(
    device: (&'static str, DeviceType),
    document: &RawValue,
    user_id: UserId,
    received_at: Timestamp,
) -> Result<Decoded, DecodeError> {
    let (device, device_type) = device;
    let record: Record<'_> = json::object(document).map_err(|detail| shape("", detail))?;
    // In the order of the table.
    let sections = [record.hrv_data, record.sleep, record.recovery, record.stress];
    if sections.iter().all(Option::is_none) {
        return Err(shape("", "at least one of `hrv_data`, `sleep`, `recovery` and `stress` was expected"));
    }
    let moment = read_timestamp(record.timestamp, received_at)?;

    let mut rejected = Rejections::default();
    let mut facts = Vec::new();
    for ((section, field, metric), raw) in SECTIONS.into_iter().zip(sections) {
        match raw.map_or(Ok(None), |raw| read_section(raw, field, metric)) {
            Ok(None) => {}
            Ok(Some(value)) => facts.push(fact(device, &user_id, moment, metric, value)),
            Err((None, detail)) => rejected.push(0, format!("/{section}"), detail),
            Err((Some(field), detail)) => rejected.push(0, format!("/{section}/{field}"), detail),
        }
    }
    if facts.is_empty() {
        if rejected.total == 0 {
            rejected.push(0, String::new(), "its sections hold no value");
        }
        return Err(DecodeError::NothingUsable(rejected));
    }
    Ok(of_facts(device_type, user_id, moment.at, received_at, facts, rejected))
}

/// One record's event.
pub(super) fn of_facts(
    device_type: DeviceType,
    user_id: UserId,
    timestamp: Timestamp,
    received_at: Timestamp,
    facts: Vec<ReadingFact>,
    rejected: Rejections,
) -> Decoded {
    let draft = EventDraft {
        device_type,
        user_id,
        kind: RECORD.into(),
        timestamp,
        received_at,
        is_backfill: false,
        deleted: false,
        event_id: None,
        record_id: None,
        facts: Facts::Readings(facts),
    };
    Decoded::Events { drafts: vec![draft], rejected }
}

/// The moment is part of each reading's identity: the time of arrival in its place would make every retry new data.
fn read_timestamp(raw: Option<&RawValue>, received_at: Timestamp) -> Result<Moment, DecodeError> {
    let raw = raw.ok_or_else(|| shape("/timestamp", "is missing"))?;
    Moment::from_json(raw, received_at).map_err(|error| shape("/timestamp", &error.to_string()))
}

/// The section's one value. Absent and null are no values; anything else that is wrong has its place (its field, or the
/// section itself) and reason.
fn read_section(
    raw: &RawValue,
    field: &'static str,
    metric: Metric,
) -> Result<Option<f64>, (Option<&'static str>, Cow<'static, str>)> {
    let section: Section<'_> = json::object(raw).map_err(|detail| (None, detail.into()))?;
    let raw = match field {
        "rmssd" => section.rmssd,
        "level" => section.level,
        _ => section.score,
    };
    let Some(raw) = raw else { return Ok(None) };
    let value = json::number(raw).map_err(|detail| (Some(field), detail.into()))?;
    metric.accept(value).map(Some).map_err(|error| (Some(field), error.to_string().into()))
}

/// The same reading is: device, user, moment and metric; the later arrival wins (vendors.md §14).
pub(super) fn fact(
    device: &str,
    user_id: &UserId,
    moment: Moment,
    metric: Metric,
    value: f64,
) -> ReadingFact {
    let mut reading = Reading::new(metric, value, moment.at, CONFIDENCE);
    reading.method = (metric == Metric::Hrv).then_some(HrvMethod::Rmssd);
    reading.utc_offset = moment.utc_offset;
    let identity = identity(device, user_id, moment.at, metric);
    ReadingFact { identity, version: Version::Arrival, reading }
}

/// The identity of a reading in the Python system's inline formats; `device` is the path segment of the endpoint.
pub fn identity(device: &str, user_id: &UserId, at: Timestamp, metric: Metric) -> Identity {
    Identity::of(&[
        device.as_bytes(),
        user_id.as_str().as_bytes(),
        b"inline",
        &at.as_ms().to_be_bytes(),
        metric.name().as_bytes(),
    ])
}

fn shape(path: &str, detail: &str) -> DecodeError {
    DecodeError::Shape { path: path.to_owned(), detail: detail.to_owned() }
}
