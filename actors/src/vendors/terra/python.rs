//! The Python system's format of Terra's data: `{"user":{"user_id"},"ts","heart_rate_data":{"hrv"},
//! "sleep_data":{"score"},"activity_data"}` (mission §4). Its user ids are ours.

use serde_json::value::RawValue;

use super::{DEVICE_TYPE, NAME, shape};
use crate::domain::delivery::{DecodeError, Decoded, Rejections};
use crate::domain::ids::UserId;
use crate::domain::metric::Metric;
use crate::domain::time::Timestamp;
use crate::vendors::inline;
use crate::vendors::json::{self, Members};
use crate::vendors::record::Field;
use crate::vendors::sources::Sources;
use crate::vendors::timestamp::Moment;

/// Where the values are. Of `activity_data` nothing is known, and nothing is read.
const SECTIONS: [(&str, &str, Metric); 2] =
    [("heart_rate_data", "hrv", Metric::Hrv), ("sleep_data", "score", Metric::SleepScore)];

/// All fields that are read.
pub(super) fn list(sources: &mut Sources) {
    for (section, field, metric) in SECTIONS {
        sources.add(inline::RECORD, &[section], &Field::new(field, metric));
    }
}

/// Reads one record.
pub(super) fn decode(document: &Members<'_>, received_at: Timestamp) -> Result<Decoded, DecodeError> {
    let user_id = user(document)?;
    let moment = moment(document, received_at)?;
    let mut rejected = Rejections::default();
    let mut facts = Vec::new();
    for (section, field, metric) in SECTIONS {
        match document.get(section).and_then(|raw| raw.map(|raw| read(raw, field)).transpose()) {
            Ok(None | Some(Ok(None))) => {}
            Ok(Some(Ok(Some(raw)))) => match value(raw, metric) {
                Ok(value) => facts.push(inline::fact(NAME, &user_id, moment, metric, value)),
                Err(detail) => rejected.push(0, format!("/{section}/{field}"), detail),
            },
            Ok(Some(Err(detail))) => rejected.push(0, format!("/{section}/{field}"), detail),
            Err(detail) => rejected.push(0, format!("/{section}"), detail),
        }
    }
    if facts.is_empty() {
        if rejected.total == 0 {
            rejected.push(0, String::new(), "`heart_rate_data.hrv` or `sleep_data.score` was expected");
        }
        return Err(DecodeError::NothingUsable(rejected));
    }
    Ok(inline::of_facts(DEVICE_TYPE, user_id, moment.at, received_at, facts, rejected))
}

fn user(document: &Members<'_>) -> Result<UserId, DecodeError> {
    const PATH: &str = "/user/user_id";
    let user = document.get("user").and_then(|raw| raw.ok_or("is missing"));
    let user = user.and_then(json::members).map_err(|detail| shape("/user", detail))?;
    let id = user.get("user_id").and_then(|raw| json::id(raw.ok_or("is missing")?));
    let id = id.map_err(|detail| shape(PATH, detail))?;
    UserId::parse(&id).map_err(|error| DecodeError::UserId { path: PATH, error })
}

/// Part of each reading's identity: the time of arrival in its place would make every retry new data.
fn moment(document: &Members<'_>, received_at: Timestamp) -> Result<Moment, DecodeError> {
    let raw = document.get("ts").and_then(|raw| raw.ok_or("is missing"));
    let raw = raw.map_err(|detail| shape("/ts", detail))?;
    Moment::from_json(raw, received_at).map_err(|error| shape("/ts", &error.to_string()))
}

type Found<'a> = Result<Option<&'a RawValue>, &'static str>;

/// The section's member; the outer error is of the section itself.
fn read<'a>(raw: &'a RawValue, field: &str) -> Result<Found<'a>, &'static str> {
    json::members(raw).map(|section| section.get(field))
}

fn value(raw: &RawValue, metric: Metric) -> Result<f64, String> {
    let value = json::number(raw).map_err(str::to_owned)?;
    metric.accept(value).map_err(|error| error.to_string())
}
