//! One sample: from its JSON to a reading with an identity, or to the reason why it is refused.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::source::{Source, SourceNames};
use super::types::{self, QuantityType};
use crate::domain::admission::{ReadingFact, Version};
use crate::domain::event::Reading;
use crate::domain::ids::{Identity, UserId};
use crate::domain::time::Timestamp;
use crate::vendors::json;
use crate::vendors::timestamp::Moment;

/// How much of a unit that is not known is repeated in the answer.
const UNIT_SHOWN_CHARS: usize = 32;

/// Why a sample is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The rest of the JSON Pointer, from the sample on.
    pub(super) field: &'static str,
    /// What was wrong and what is accepted.
    pub(super) detail: Cow<'static, str>,
}

/// A sample's fields, unread. Further ones, such as `metadata`, are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(borrow)]
    uuid: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    unit: Option<&'a RawValue>,
    #[serde(borrow)]
    start_date: Option<&'a RawValue>,
    #[serde(borrow)]
    end_date: Option<&'a RawValue>,
    #[serde(borrow)]
    start: Option<&'a RawValue>,
    #[serde(borrow)]
    end: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    date: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    source_revision: Option<&'a RawValue>,
    #[serde(borrow)]
    device: Option<&'a RawValue>,
}

/// Reads a sample of `user`.
pub(super) fn read(
    raw: &RawValue,
    user: &UserId,
    names: &mut SourceNames,
    received_at: Timestamp,
) -> Result<ReadingFact, Refusal> {
    let fields: Fields<'_> = json::object(raw).map_err(refuse(""))?;
    let kind = read_type(&fields)?;
    let value = read_value(&fields, kind)?;
    let times = read_times(&fields, received_at)?;
    let mut source = Source::default();
    let places =
        [("/source", fields.source), ("/sourceRevision", fields.source_revision), ("/device", fields.device)];
    for (field, place) in places {
        place.map_or(Ok(()), |place| source.add(place)).map_err(refuse(field))?;
    }

    let mut reading = Reading::new(kind.metric, value, times.end.at, source.confidence());
    reading.method = kind.method;
    reading.utc_offset = times.end.utc_offset;
    reading.source = names.intern(&source);
    if times.start < times.end.at {
        reading.start = Some(times.start);
        reading.end = Some(times.end.at);
    }
    let identity = identify(&fields, kind, user, &times, &reading)?;
    Ok(ReadingFact { identity, version: Version::Fixed, reading })
}

fn refuse<T: Into<Cow<'static, str>>>(field: &'static str) -> impl Fn(T) -> Refusal {
    move |detail| Refusal { field, detail: detail.into() }
}

fn read_type(fields: &Fields<'_>) -> Result<&'static QuantityType, Refusal> {
    let name = fields.kind.ok_or("is missing").and_then(json::text).map_err(refuse("/type"))?;
    types::find(&name).ok_or("unknown type").map_err(refuse("/type"))
}

/// The value in the metric's unit, inside its range.
fn read_value(fields: &Fields<'_>, kind: &QuantityType) -> Result<f64, Refusal> {
    let value = fields.value.ok_or("is missing").and_then(json::number).map_err(refuse("/value"))?;
    let unit = fields.unit.map(json::text).transpose().map_err(refuse("/unit"))?;
    let Some(canonical) = kind.quantity.convert(value, unit.as_deref()) else {
        return Err(refuse("/unit")(unknown_unit(&unit.unwrap_or_default(), kind)));
    };
    kind.metric.accept(canonical).map_err(|error| refuse("/value")(error.to_string()))
}

/// Names the unit, since that is what somebody must mend; the text is the sender's, so only plain characters.
fn unknown_unit(unit: &str, kind: &QuantityType) -> String {
    let shown: String = unit.chars().filter(|c| matches!(c, ' '..='~')).take(UNIT_SHOWN_CHARS).collect();
    let known: Vec<&str> = kind.quantity.unit_names().collect();
    format!("unknown unit `{shown}`: {} is accepted in {}", kind.metric.name(), known.join(", "))
}

/// When a sample was taken; both are the same moment unless it sums up an interval.
struct Times {
    start: Timestamp,
    end: Moment,
}

/// A sample's time is the end of its interval, where it has one.
fn read_times(fields: &Fields<'_>, received_at: Timestamp) -> Result<Times, Refusal> {
    let first = |places: [(&'static str, Option<_>); 2]| {
        places.into_iter().find_map(|(field, raw)| Some((field, raw?)))
    };
    let read = |place: Option<(&'static str, &RawValue)>| {
        let Some((field, raw)) = place else { return Ok(None) };
        let moment = Moment::from_json(raw, received_at);
        moment.map(|moment| Some((field, moment))).map_err(|error| refuse(field)(error.to_string()))
    };
    let start = read(first([("/startDate", fields.start_date), ("/start", fields.start)]))?;
    let end = read(first([("/endDate", fields.end_date), ("/end", fields.end)]))?;
    let instant = read(first([("/timestamp", fields.timestamp), ("/date", fields.date)]))?;

    match (start, end) {
        (Some((_, start)), Some((field, end))) if end.at < start.at => {
            Err(refuse(field)("is before the start"))
        }
        (Some((_, start)), Some((_, end))) => Ok(Times { start: start.at, end }),
        (start, end) => {
            let (_, end) = end.or(instant).or(start).ok_or("is missing").map_err(refuse("/timestamp"))?;
            Ok(Times { start: end.at, end })
        }
    }
}

/// HealthKit's UUID, which never changes, else what the sample says (vendors.md §14).
///
/// Made of what was read, so that another spelling of the same sample is the same sample. The type stands in both,
/// because ids that an app made up may count from 1 in each type.
fn identify(
    fields: &Fields<'_>,
    kind: &QuantityType,
    user: &UserId,
    times: &Times,
    reading: &Reading,
) -> Result<Identity, Refusal> {
    let (user, kind) = (user.as_str().as_bytes(), kind.name.as_bytes());
    if let Some(id) = read_id(fields)? {
        let uuid = Uuid::try_parse(&id).ok();
        let id = uuid.as_ref().map_or(id.as_bytes(), |uuid| uuid.as_bytes());
        return Ok(Identity::of(&[b"healthkit", user, b"sample", kind, b"id", id]));
    }
    let start = times.start.as_ms().to_be_bytes();
    let end = times.end.at.as_ms().to_be_bytes();
    let source = reading.source.as_deref().unwrap_or_default().as_bytes();
    // In millionths: units that differ by a factor agree there, whatever their last bits.
    let value = ((reading.value * 1e6).round() as i64).to_be_bytes();
    Ok(Identity::of(&[b"healthkit", user, b"sample", kind, b"natural", &start, &end, source, &value]))
}

fn read_id<'a>(fields: &Fields<'a>) -> Result<Option<Cow<'a, str>>, Refusal> {
    for (field, raw) in [("/uuid", fields.uuid), ("/id", fields.id)] {
        let id = raw.map(json::text).transpose().map_err(refuse(field))?;
        if let Some(id) = id.filter(|id| !id.trim().is_empty()) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}
