//! What the bodies on WHOOP's endpoint say: that there is something to fetch or to forget, or (the Python system's) data inline.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DEVICE_TYPE, NAME, records};
use crate::domain::account::VendorUserId;
use crate::domain::admission::{Facts, Version};
use crate::domain::delivery::{DecodeError, Decoded, Rejections};
use crate::domain::fetch::{Fetch, FetchPlan, WhoopActivity, WhoopFetch, Whose};
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::vendors::fetch::record_id;
use crate::vendors::record::Owner;
use crate::vendors::{inline, json};

const UNKNOWN_TYPE: &str = "unknown notification type";

/// What WHOOP tells of (vendors.md §3).
#[derive(Clone, Copy)]
enum Subject {
    Sleep,
    Recovery,
    Workout,
}

/// A creation comes as `updated`, and of cycles nothing is told. Whether it is a deletion stands last.
const TYPES: &[(&str, Subject, bool)] = &[
    ("sleep.updated", Subject::Sleep, false),
    ("sleep.deleted", Subject::Sleep, true),
    ("recovery.updated", Subject::Recovery, false),
    ("recovery.deleted", Subject::Recovery, true),
    ("workout.updated", Subject::Workout, false),
    ("workout.deleted", Subject::Workout, true),
];

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
pub(super) fn decode_native(document: &RawValue, received_at: Timestamp) -> Result<Decoded, DecodeError> {
    let fields = read(document)?;
    let kind = required(fields.kind, "/type", json::text)?;
    let whoop_id = read_user(&fields)?;
    // Checked by itself first: behind the prefix a blank id would no longer look blank.
    let account = parse_account(&whoop_id)?;
    let user_id = parse_user(&format!("{NAME}:{whoop_id}"))?;
    let Some(&(_, subject, is_deleted)) = TYPES.iter().find(|(name, ..)| *name == kind) else {
        return Ok(Decoded::Ignored { reason: UNKNOWN_TYPE });
    };
    let id = read_id(&fields)?;
    if !is_deleted {
        return Ok(notification(&fields, subject, id, user_id, Whose::Vendor(account), received_at));
    }
    if is_v1(&id) {
        return Ok(Decoded::Ignored { reason: "no record is kept under an id of version 1" });
    }
    let kind = match subject {
        Subject::Sleep => records::SLEEP,
        Subject::Recovery => records::RECOVERY,
        Subject::Workout => records::WORKOUT,
    };
    // WHOOP does not tell when: it is newer than whatever has arrived before it.
    let owner = Owner::notified(whoop_id.into_owned(), user_id, received_at, received_at);
    let mut draft = kind.tombstone(&owner, &id, Version::Arrival);
    // A recovery goes with its sleep (vendors.md §3), and is known by its id; the notification of it may get lost.
    if let (Subject::Sleep, Facts::Record { also, .. }) = (subject, &mut draft.facts) {
        *also = Some(records::RECOVERY.identity(&owner.account, &id));
    }
    Ok(Decoded::Events { drafts: vec![draft], rejected: Rejections::default() })
}

/// The Python system's: with a `type` a notification, else data inline; the user id is ours.
pub(super) fn decode_python(document: &RawValue, received_at: Timestamp) -> Result<Decoded, DecodeError> {
    let fields = read(document)?;
    let user_id = parse_user(&read_user(&fields)?)?;
    if fields.kind.is_none() {
        return inline::decode((NAME, DEVICE_TYPE), document, user_id, received_at);
    }
    let kind = required(fields.kind, "/type", json::text)?;
    // The Python system knows no deletions.
    let Some(&(_, subject, _)) = TYPES.iter().find(|(name, _, deleted)| *name == kind && !deleted) else {
        return Ok(Decoded::Ignored { reason: UNKNOWN_TYPE });
    };
    let id = read_id(&fields)?;
    Ok(notification(&fields, subject, id, user_id.clone(), Whose::User(user_id), received_at))
}

/// What to fetch for it. Its `trace_id` tells it from the next one about the same record (vendors.md §14).
fn notification(
    fields: &Fields<'_>,
    subject: Subject,
    id: String,
    user_id: UserId,
    whose: Whose,
    received_at: Timestamp,
) -> Decoded {
    let fetch = match (subject, is_v1(&id)) {
        (Subject::Sleep, false) => WhoopFetch::Activity { kind: WhoopActivity::Sleep, id },
        (Subject::Sleep, true) => WhoopFetch::Mapped { kind: WhoopActivity::Sleep, v1_id: id },
        (Subject::Workout, false) => WhoopFetch::Activity { kind: WhoopActivity::Workout, id },
        (Subject::Workout, true) => WhoopFetch::Mapped { kind: WhoopActivity::Workout, v1_id: id },
        // The id of a recovery is that of its sleep, in version 1 that of its cycle.
        (Subject::Recovery, false) => WhoopFetch::CycleOfSleep { sleep_id: id },
        (Subject::Recovery, true) => WhoopFetch::Recovery { cycle_id: id },
    };
    let fetches = vec![Fetch::Whoop(fetch)];
    let plan = FetchPlan { whose, changed_at: received_at, fetches, is_backfill: false };
    Decoded::Notification { user_id, is_dated: fields.trace_id.is_some(), plan }
}

/// Ids were whole numbers once, and are UUIDs since version 2.
fn is_v1(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_digit())
}

fn read_id(fields: &Fields<'_>) -> Result<String, DecodeError> {
    let id = required(fields.id, "/id", json::id)?;
    record_id(&id).map_err(|detail| shape("/id", &detail))
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

fn parse_account(text: &str) -> Result<VendorUserId, DecodeError> {
    VendorUserId::parse(text).map_err(|error| DecodeError::UserId { path: "/user_id", error })
}

fn parse_user(text: &str) -> Result<UserId, DecodeError> {
    UserId::parse(text).map_err(|error| DecodeError::UserId { path: "/user_id", error })
}

fn shape(path: &str, detail: &str) -> DecodeError {
    DecodeError::Shape { path: path.to_owned(), detail: detail.to_owned() }
}
