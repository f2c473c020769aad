//! What the bodies on WHOOP's endpoint say: that a record has changed, or (the Python system's) data inline.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DEVICE_TYPE, NAME};
use crate::domain::delivery::{DecodeError, Decoded};
use crate::domain::ids::{UserId, check_id};
use crate::domain::time::Timestamp;
use crate::vendors::{inline, json};

/// What WHOOP tells of (vendors.md §3); a creation comes as `updated`, and of cycles nothing is told.
const TYPES: &[&str] = &[
    "sleep.updated",
    "sleep.deleted",
    "recovery.updated",
    "recovery.deleted",
    "workout.updated",
    "workout.deleted",
];

/// The ones that the Python system takes.
const PYTHON_TYPES: &[&str] = &["sleep.updated", "recovery.updated", "workout.updated"];

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    trace_id: Option<&'a RawValue>,
}

/// WHOOP's own: `{"user_id","id","type","trace_id"}` with WHOOP's user id, a whole number of up to 64 bits.
pub(super) fn decode_native(document: &RawValue) -> Result<Decoded, DecodeError> {
    let fields = read(document)?;
    let kind = required(fields.kind, "/type", json::text)?;
    let whoop_id = read_user(&fields)?;
    // Checked by itself first: behind the prefix a blank id would no longer look blank.
    parse_user(&whoop_id)?;
    let user_id = parse_user(&format!("{NAME}:{whoop_id}"))?;
    notification(&fields, &kind, TYPES, user_id)
}

/// The Python system's: with a `type` a notification, else data inline; the user id is ours.
pub(super) fn decode_python(document: &RawValue, received_at: Timestamp) -> Result<Decoded, DecodeError> {
    let fields = read(document)?;
    let user_id = parse_user(&read_user(&fields)?)?;
    if fields.kind.is_none() {
        return inline::decode((NAME, DEVICE_TYPE), document, user_id, received_at);
    }
    let kind = required(fields.kind, "/type", json::text)?;
    notification(&fields, &kind, PYTHON_TYPES, user_id)
}

/// What to make of a notification of `kind`, if that is one of `known`.
///
/// Its `trace_id` tells it from the next one about the same record (vendors.md §14).
fn notification(
    fields: &Fields<'_>,
    kind: &str,
    known: &[&str],
    user_id: UserId,
) -> Result<Decoded, DecodeError> {
    if !known.contains(&kind) {
        return Ok(Decoded::Ignored { reason: "unknown notification type" });
    }
    let id = required(fields.id, "/id", json::id)?;
    check_id(&id).map_err(|error| shape("/id", &error.to_string()))?;
    Ok(Decoded::Notification { user_id, is_dated: fields.trace_id.is_some() })
}

fn read(document: &RawValue) -> Result<Fields<'_>, DecodeError> {
    json::object(document).map_err(|detail| shape("", detail))
}

fn required<'a>(
    raw: Option<&'a RawValue>,
    path: &str,
    read: fn(&'a RawValue) -> Result<Cow<'a, str>, &'static str>,
) -> Result<Cow<'a, str>, DecodeError> {
    raw.ok_or("is missing").and_then(read).map_err(|detail| shape(path, detail))
}

/// A whole number keeps all its digits. The inline format's ids are texts alone, as on every endpoint.
fn read_user<'a>(fields: &Fields<'a>) -> Result<Cow<'a, str>, DecodeError> {
    if fields.user_id.is_none() {
        return Err(DecodeError::NoUser("no user id: /user_id is missing"));
    }
    required(fields.user_id, "/user_id", if fields.kind.is_some() { json::id } else { json::text })
}

fn parse_user(text: &str) -> Result<UserId, DecodeError> {
    UserId::parse(text).map_err(|error| DecodeError::UserId { path: "/user_id", error })
}

fn shape(path: &str, detail: &str) -> DecodeError {
    DecodeError::Shape { path: path.to_owned(), detail: detail.to_owned() }
}
