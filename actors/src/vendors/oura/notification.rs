//! What the bodies on Oura's endpoint say: that there is something to fetch or to forget, or (the Python system's) data
//! inline.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DEVICE_TYPE, NAME, records};
use crate::domain::account::VendorUserId;
use crate::domain::admission::Version;
use crate::domain::delivery::{DecodeError, Decoded, Rejections};
use crate::domain::fetch::{Fetch, FetchPlan, OuraDataType, OuraFetch, Whose};
use crate::domain::ids::UserId;
use crate::domain::time::{MS_PER_DAY, Timestamp};
use crate::vendors::fetch::record_id;
use crate::vendors::record::Owner;
use crate::vendors::timestamp::Moment;
use crate::vendors::{inline, json};

const EVENT_TYPES: &[&str] = &["create", "update", "delete"];

/// The Python system's words, and what each of them is about (mission §4).
const PYTHON_EVENT_TYPES: &[(&str, &[OuraDataType])] = &[
    ("sleep.updated", &[OuraDataType::Sleep, OuraDataType::DailySleep]),
    ("readiness.updated", &[OuraDataType::DailyReadiness]),
    ("activity.updated", &[OuraDataType::DailyActivity]),
];

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
    object_id: Option<&'a RawValue>,
    #[serde(borrow)]
    event_time: Option<&'a RawValue>,
}

/// Oura's own: `{"event_type","data_type","object_id","event_time","user_id"}` with Oura's user id.
pub(super) fn decode_native(document: &RawValue, received_at: Timestamp) -> Result<Decoded, DecodeError> {
    let fields = read(document)?;
    let event_type = required(fields.event_type, "/event_type")?;
    let data_type = required(fields.data_type, "/data_type")?;
    let oura_id = read_user(fields.user_id)?;
    // Checked by itself first: behind the prefix a blank id would no longer look blank.
    let account = parse_account(&oura_id)?;
    let user_id = parse_user(&format!("{NAME}:{oura_id}"))?;
    if !EVENT_TYPES.contains(&&*event_type) {
        return Ok(Decoded::Ignored { reason: "unknown event type" });
    }
    let Some(data_type) = OuraDataType::from_name(&data_type) else {
        return Ok(Decoded::Ignored { reason: "no metrics are kept of this data type" });
    };
    let object_id = read_object_id(fields.object_id)?;
    let event_time = fields.event_time.and_then(|raw| Moment::from_json(raw, received_at).ok());
    // Not after it has arrived: a version of the future would hide what comes until then.
    let event_time = event_time.map(|moment| moment.at.min(received_at));
    let changed_at = event_time.unwrap_or(received_at);

    let fetch = match object_id {
        Some(id) if event_type == "delete" => {
            // By the time of its deletion, so that no older version comes back; untold, it is the time of arrival.
            let version = event_time.map_or(Version::Arrival, |at| Version::Given(at.as_ms()));
            let owner = Owner::notified(oura_id.into_owned(), user_id, changed_at, received_at);
            let draft = records::kind(data_type).tombstone(&owner, &id, version);
            let draft = records::replacing_series(draft, data_type, &owner, &id);
            return Ok(Decoded::Events { drafts: vec![draft], rejected: Rejections::default() });
        }
        Some(id) => OuraFetch::Record { data_type, id },
        // Which record it was is not told, only what it was about.
        None => days_around(data_type, changed_at),
    };
    let whose = Whose::Vendor(account);
    let plan = FetchPlan { whose, changed_at, fetches: vec![Fetch::Oura(fetch)], is_backfill: false };
    Ok(Decoded::Notification { user_id, is_dated: event_time.is_some(), plan })
}

/// The Python system's: with an `event_type` a notification, else data inline; the user id is ours.
pub(super) fn decode_python(document: &RawValue, received_at: Timestamp) -> Result<Decoded, DecodeError> {
    let fields = read(document)?;
    let user_id = parse_user(&read_user(fields.user_id)?)?;
    if fields.event_type.is_none() {
        return inline::decode((NAME, DEVICE_TYPE), document, user_id, received_at);
    }
    let event_type = required(fields.event_type, "/event_type")?;
    let Some((_, data_types)) = PYTHON_EVENT_TYPES.iter().find(|(name, _)| *name == event_type) else {
        return Ok(Decoded::Ignored { reason: "unknown event type" });
    };
    let days = |data_type: &OuraDataType| Fetch::Oura(days_around(*data_type, received_at));
    let plan = FetchPlan {
        whose: Whose::User(user_id.clone()),
        changed_at: received_at,
        fetches: data_types.iter().map(days).collect(),
        is_backfill: false,
    };
    Ok(Decoded::Notification { user_id, is_dated: false, plan })
}

const QUARTER_MS: i64 = 15 * 60_000;

/// From the day before to the day after.
fn days_around(data_type: OuraDataType, at: Timestamp) -> OuraFetch {
    // The quarter of an hour, of which all offsets from UTC are multiples, is on the same day everywhere: so questions of
    // one moment are the same question.
    let at = Timestamp::from_ms(at.as_ms() - at.as_ms().rem_euclid(QUARTER_MS));
    OuraFetch::Days {
        data_type,
        from: at.plus_ms(-MS_PER_DAY),
        to: at.plus_ms(MS_PER_DAY),
        page: None,
        turned: 0,
    }
}

/// The record's id; a blank one is none.
fn read_object_id(raw: Option<&RawValue>) -> Result<Option<String>, DecodeError> {
    const PATH: &str = "/object_id";
    let Some(raw) = raw else { return Ok(None) };
    let text = json::id(raw).map_err(|detail| shape(PATH, detail))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    record_id(&text).map(Some).map_err(|detail| shape(PATH, &detail))
}

fn read(document: &RawValue) -> Result<Fields<'_>, DecodeError> {
    json::object(document).map_err(|detail| shape("", detail))
}

fn required<'a>(raw: Option<&'a RawValue>, path: &str) -> Result<Cow<'a, str>, DecodeError> {
    raw.ok_or("is missing").and_then(json::text).map_err(|detail| shape(path, detail))
}

fn read_user(raw: Option<&RawValue>) -> Result<Cow<'_, str>, DecodeError> {
    if raw.is_none() {
        return Err(DecodeError::NoUser("no user id: /user_id is missing"));
    }
    required(raw, "/user_id")
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
