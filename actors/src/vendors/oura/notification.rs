//! What the bodies on Oura's endpoint say: that there is something to fetch, or (the Python system's) data inline.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DEVICE_TYPE, NAME};
use crate::domain::delivery::{DecodeError, Decoded};
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::vendors::{inline, json};

/// The data types in which there are metrics of ours to fetch (the enum of Oura's OpenAPI document, less tags,
/// settings and cycle phases).
const DATA_TYPES: &[&str] = &[
    "sleep",
    "daily_sleep",
    "daily_readiness",
    "daily_activity",
    "daily_spo2",
    "daily_stress",
    "daily_resilience",
    "daily_cardiovascular_age",
    "vo2_max",
    "blood_glucose",
    "workout",
    "session",
];

const EVENT_TYPES: &[&str] = &["create", "update", "delete"];

/// The Python system's words for `sleep` and `daily_sleep`, `daily_readiness`, `daily_activity`.
const PYTHON_EVENT_TYPES: &[&str] = &["sleep.updated", "readiness.updated", "activity.updated"];

/// `object_id` and `event_time` may be missing, and are needed only for fetching.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    event_type: Option<&'a RawValue>,
    #[serde(borrow)]
    data_type: Option<&'a RawValue>,
    #[serde(borrow)]
    event_time: Option<&'a RawValue>,
}

/// Oura's own: `{"event_type","data_type","object_id","event_time","user_id"}` with Oura's user id.
pub(super) fn decode_native(document: &RawValue) -> Result<Decoded, DecodeError> {
    let fields = read(document)?;
    let event_type = required(fields.event_type, "/event_type")?;
    let data_type = required(fields.data_type, "/data_type")?;
    let oura_id = read_user(fields.user_id)?;
    // Checked by itself first: behind the prefix a blank id would no longer look blank.
    parse_user(&oura_id)?;
    let user_id = parse_user(&format!("{NAME}:{oura_id}"))?;
    if !EVENT_TYPES.contains(&&*event_type) {
        return Ok(Decoded::Ignored { reason: "unknown event type" });
    }
    if !DATA_TYPES.contains(&&*data_type) {
        return Ok(Decoded::Ignored { reason: "no metrics are kept of this data type" });
    }
    Ok(Decoded::Notification { user_id, is_dated: fields.event_time.is_some() })
}

/// The Python system's: with an `event_type` a notification, else data inline; the user id is ours.
pub(super) fn decode_python(document: &RawValue, received_at: Timestamp) -> Result<Decoded, DecodeError> {
    let fields = read(document)?;
    let user_id = parse_user(&read_user(fields.user_id)?)?;
    if fields.event_type.is_none() {
        return inline::decode((NAME, DEVICE_TYPE), document, user_id, received_at);
    }
    let event_type = required(fields.event_type, "/event_type")?;
    match PYTHON_EVENT_TYPES.contains(&&*event_type) {
        true => Ok(Decoded::Notification { user_id, is_dated: false }),
        false => Ok(Decoded::Ignored { reason: "unknown event type" }),
    }
}

fn read(document: &RawValue) -> Result<Fields<'_>, DecodeError> {
    json::object(document)
        .map_err(|detail| DecodeError::Shape { path: String::new(), detail: detail.to_owned() })
}

fn required<'a>(raw: Option<&'a RawValue>, path: &str) -> Result<Cow<'a, str>, DecodeError> {
    raw.ok_or("is missing")
        .and_then(json::text)
        .map_err(|detail| DecodeError::Shape { path: path.to_owned(), detail: detail.to_owned() })
}

fn read_user(raw: Option<&RawValue>) -> Result<Cow<'_, str>, DecodeError> {
    if raw.is_none() {
        return Err(DecodeError::NoUser("no user id: /user_id is missing"));
    }
    required(raw, "/user_id")
}

fn parse_user(text: &str) -> Result<UserId, DecodeError> {
    UserId::parse(text).map_err(|error| DecodeError::UserId { path: "/user_id", error })
}
