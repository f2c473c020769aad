//! The fields that samples of all types have in common.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::clock::Clock;
use super::item::{Item, Refusal, refuse};
use super::source::Source;
use crate::domain::ids::Identity;
use crate::domain::time::{Timestamp, UtcOffset};
use crate::vendors::json;
use crate::vendors::timestamp::Moment;

/// A sample's fields, unread. Further ones, such as `metadata`, are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fields<'a> {
    #[serde(borrow)]
    uuid: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) value: Option<&'a RawValue>,
    /// What some apps call the value of a sample of sleep.
    #[serde(borrow)]
    pub(super) stage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) unit: Option<&'a RawValue>,
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
    zone_offset: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    source_revision: Option<&'a RawValue>,
    #[serde(borrow)]
    source_name: Option<&'a RawValue>,
    #[serde(borrow)]
    device: Option<&'a RawValue>,
}

/// When a sample was taken; both are the same moment unless it sums up an interval.
pub(super) struct Times {
    pub(super) start: Timestamp,
    pub(super) end: Moment,
}

impl Times {
    /// A moment without a length.
    pub(super) fn at(moment: Moment) -> Self {
        Self { start: moment.at, end: moment }
    }

    /// How long it took; none for a moment.
    pub(super) fn length_ms(&self) -> Option<i64> {
        Some(self.end.at.ms_since(self.start)).filter(|length| *length > 0)
    }
}

impl<'a> Fields<'a> {
    /// A sample's time is the end of its interval, where it has one.
    pub(super) fn times(&self, clock: &Clock<'_>) -> Result<Times, Refusal> {
        let beside = self.offset_beside();
        let shown_at = beside.as_ref().ok().copied().flatten();
        let first = |places: [(&'static str, Option<_>); 2]| {
            places.into_iter().find_map(|(field, raw)| Some((field, raw?)))
        };
        let read = |place: Option<(&'static str, &RawValue)>| {
            let Some((field, raw)) = place else { return Ok(None) };
            let moment = clock.read(raw, shown_at);
            moment.map(|moment| Some((field, moment))).map_err(|error| refuse(field)(error.to_string()))
        };
        let start = read(first([("/startDate", self.start_date), ("/start", self.start)]))?;
        let end = read(first([("/endDate", self.end_date), ("/end", self.end)]))?;
        let instant = read(first([("/timestamp", self.timestamp), ("/date", self.date)]))?;

        let mut times = match (start, end) {
            (Some((_, start)), Some((field, end))) if end.at < start.at => {
                return Err(refuse(field)("is before the start"));
            }
            (Some((_, start)), Some((_, end))) => {
                let utc_offset = end.utc_offset.or(start.utc_offset);
                Times { start: start.at, end: Moment { utc_offset, ..end } }
            }
            (start, end) => {
                let (_, moment) =
                    end.or(instant).or(start).ok_or_else(|| refuse("/timestamp")("is missing"))?;
                Times::at(moment)
            }
        };
        if times.end.utc_offset.is_none() {
            times.end.utc_offset = beside?;
        }
        Ok(times)
    }

    /// The user's offset, where it stands beside the times.
    fn offset_beside(&self) -> Result<Option<UtcOffset>, Refusal> {
        let Some(raw) = self.zone_offset else { return Ok(None) };
        let text = json::text(raw).map_err(refuse("/zoneOffset"))?;
        let offset = UtcOffset::parse(text.trim());
        offset.ok_or_else(|| refuse("/zoneOffset")("is not an offset like +02:00")).map(Some)
    }

    /// As [`Fields::times`], of what is nothing without a length.
    pub(super) fn interval(&self, clock: &Clock<'_>) -> Result<Times, Refusal> {
        let times = self.times(clock)?;
        if times.length_ms().is_some() {
            return Ok(times);
        }
        let field = match (self.start_date.or(self.start), self.end_date.or(self.end)) {
            (Some(_), Some(_)) if self.end_date.is_none() => "/end",
            (None, _) => "/startDate",
            _ => "/endDate",
        };
        Err(refuse(field)("an interval from a start to a later end was expected"))
    }

    /// Which app or device took it.
    pub(super) fn source(&self) -> Result<Source<'a>, Refusal> {
        let mut source = Source::default();
        let places = [
            ("/source", self.source),
            ("/sourceRevision", self.source_revision),
            ("/sourceName", self.source_name),
            ("/device", self.device),
        ];
        for (field, place) in places {
            place.map_or(Ok(()), |place| source.add(place)).map_err(refuse(field))?;
        }
        Ok(source)
    }

    /// HealthKit's UUID, or what an app calls a sample by.
    pub(super) fn id(&self) -> Result<Option<Cow<'a, str>>, Refusal> {
        for (field, raw) in [("/uuid", self.uuid), ("/id", self.id)] {
            let id = raw.map(json::text).transpose().map_err(refuse(field))?;
            if let Some(id) = id.filter(|id| !id.trim().is_empty()) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

/// HealthKit's UUID, which never changes, else what the sample says (vendors.md §14).
///
/// Made of what was read, so that another spelling of the same sample is the same sample. The type stands in both,
/// because ids that an app made up may count from 1 in each type.
pub(super) fn identify(
    item: &Item<'_>,
    id: Option<&str>,
    kind: &str,
    times: &Times,
    (source, value): (Option<&str>, f64),
) -> Identity {
    let kind = kind.as_bytes();
    if let Some(id) = id {
        return by_id(item, kind, id);
    }
    let (start, end) = (times.start.as_ms().to_be_bytes(), times.end.at.as_ms().to_be_bytes());
    let source = source.unwrap_or_default().as_bytes();
    // In millionths: units that differ by a factor agree there, whatever their last bits.
    let value = ((value * 1e6).round() as i64).to_be_bytes();
    item.identity(&[b"sample", kind, b"natural", &start, &end, source, &value])
}

/// The identity of what has an id of its own.
pub(super) fn by_id(item: &Item<'_>, kind: &[u8], id: &str) -> Identity {
    let uuid = Uuid::try_parse(id).ok();
    let id = uuid.as_ref().map_or(id.as_bytes(), |uuid| uuid.as_bytes());
    item.identity(&[b"sample", kind, b"id", id])
}
