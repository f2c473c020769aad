//! Terra's messages: data, what happens to accounts, and what happens on Terra's side.

use std::borrow::Cow;
use std::cell::Cell;

use serde_json::value::RawValue;

use super::convert::{self, DataType};
use super::payload;
use super::times::Clocks;
use super::{NAME, shape};
use crate::domain::account::VendorUserId;
use crate::domain::admission::Version;
use crate::domain::delivery::{DecodeError, Decoded, Rejections};
use crate::domain::ids::UserId;
use crate::domain::time::{Timestamp, Zone};
use crate::vendors::json::{self, Members};
use crate::vendors::record::Owner;
use crate::vendors::verified::SenderTold;

/// The trace ids of the parts of a history that was asked for end in `:chunk:<n>`.
const CHUNK: &str = ":chunk:";

/// Between two parts of an account's name, which as ids hold no control characters.
const SEPARATOR: char = '\u{1f}';

/// Types that tell of what becomes of accounts.
const LIFE_CYCLE: [&str; 6] =
    ["auth", "auth_cancelled", "deauth", "access_revoked", "permission_change", "connection_error"];
/// Types that tell of what Terra is doing.
const OPERATIONS: [&str; 6] = [
    "large_request_processing",
    "large_request_sending",
    "processing",
    "rate_limit_hit",
    "google_no_datasource",
    "healthcheck",
];
/// Types of data in which there is no metric of ours.
const WITHOUT_METRICS: [&str; 7] =
    ["athlete", "menstruation", "nutrition", "hormone", "planned_workout", "route", "lab_report"];

/// What is known of a message beside its words.
pub(super) struct Around<'d> {
    pub(super) told: &'d SenderTold,
    /// Of the user's clock, if it is known.
    pub(super) zone: Option<&'d Zone>,
    pub(super) received_at: Timestamp,
    /// Where larger messages are laid down: scheme and host.
    pub(super) payload_host: &'d str,
    /// It is a part of a history that was asked for.
    pub(super) is_history: bool,
}

/// Whether what was told with a message says that it is a part of a history.
pub(super) fn is_history(told: &SenderTold) -> bool {
    told.delivery_id.as_ref().is_some_and(|id| id.contains(CHUNK))
}

/// Reads a message of this `kind`.
pub(super) fn decode(kind: &str, members: &Members<'_>, around: &Around<'_>) -> Result<Decoded, DecodeError> {
    let ignored = |reason| Ok(Decoded::Ignored { reason });
    if let Some(data_type) = DataType::from_name(kind) {
        return data(data_type, members, around);
    }
    match kind {
        "s3_payload" | "s3_upload" => payload::notification(members, around),
        "user_reauth" => reauth(members),
        kind if LIFE_CYCLE.contains(&kind) => ignored("life cycle handled"),
        kind if OPERATIONS.contains(&kind) => ignored("operation noted"),
        kind if WITHOUT_METRICS.contains(&kind) => ignored("no metrics are kept of this data type"),
        _ => ignored("unknown type"),
    }
}

/// The account has a new id; Terra sends both users.
fn reauth(members: &Members<'_>) -> Result<Decoded, DecodeError> {
    let account = |place: &'static str, path: &'static str| {
        let user = members.get(place).and_then(|raw| json::members(raw.ok_or("is missing")?));
        let user = user.map_err(|detail| shape(&format!("/{place}"), detail))?;
        let id = user.get("user_id").and_then(|raw| json::id(raw.ok_or("is missing")?));
        let id = id.map_err(|detail| shape(path, detail))?;
        VendorUserId::parse(&id).map_err(|error| DecodeError::UserId { path, error })
    };
    let from = account("old_user", "/old_user/user_id")?;
    let to = account("new_user", "/new_user/user_id")?;
    // Data with a reference is that user's without any link (contract §1): the old one's may be all that tells whose it was.
    let user_id = reference(members, "new_user").or_else(|| reference(members, "old_user"));
    Ok(Decoded::AccountMoved { from, to, user_id, reason: "life cycle handled" })
}

/// A user's `reference_id`, if it is one.
fn reference(members: &Members<'_>, of: &str) -> Option<UserId> {
    let user = members.get(of).ok()??;
    let reference = json::members(user).ok()?.get("reference_id").ok()??;
    UserId::parse(&json::id(reference).ok()?).ok()
}

/// Whose data it is.
pub(super) struct User {
    /// Terra's id, if it is there.
    pub(super) account: Option<VendorUserId>,
    /// Ours: the `reference_id` that was given to Terra for it, else what the account's link makes of Terra's.
    pub(super) user_id: UserId,
    /// What makes records the same person's. Terra gives an account a new id when it is connected again, and sends its
    /// records anew; what stays is our id, with the provider, of whom a person has one account.
    pub(super) identity: String,
    /// Whose device it was.
    pub(super) provider: Option<String>,
}

fn user(members: &Members<'_>) -> Result<User, DecodeError> {
    let user = members.get("user").and_then(|raw| json::members(raw.ok_or("is missing")?));
    let user = user.map_err(|detail| shape("/user", detail))?;
    let read = |name: &str, path: &'static str| {
        let id: Result<Option<Cow<'_, str>>, _> =
            user.get(name).and_then(|raw| raw.map(json::id).transpose());
        id.map_err(|detail| shape(path, detail))
    };
    const REFERENCE: &str = "/user/reference_id";
    const ACCOUNT: &str = "/user/user_id";
    let provider = user.get("provider").ok().flatten().and_then(|raw| json::text(raw).ok());
    let provider = provider.as_deref().and_then(crate::vendors::record::label).map(|text| text.to_string());
    let account = read("user_id", ACCOUNT)?.map(|id| VendorUserId::parse(&id)).transpose();
    let reference = read("reference_id", REFERENCE)?.filter(|reference| !reference.is_empty());
    let Some(reference) = reference else {
        let account = account.map_err(|error| DecodeError::UserId { path: ACCOUNT, error })?;
        let account = account.ok_or_else(|| shape(ACCOUNT, "is missing"))?;
        let user_id = UserId::parse(&format!("{NAME}:{}", account.as_str()));
        let user_id = user_id.map_err(|error| DecodeError::UserId { path: ACCOUNT, error })?;
        let identity = account.as_str().to_owned();
        return Ok(User { account: Some(account), user_id, identity, provider });
    };
    let user_id = UserId::parse(&reference);
    let user_id = user_id.map_err(|error| DecodeError::UserId { path: REFERENCE, error })?;
    let identity = format!("{}{SEPARATOR}{reference}", provider.as_deref().unwrap_or_default());
    Ok(User { account: account.ok().flatten(), user_id, identity, provider })
}

fn data(data_type: DataType, members: &Members<'_>, around: &Around<'_>) -> Result<Decoded, DecodeError> {
    let Around { told, zone, received_at, .. } = *around;
    let User { account, user_id, identity, provider } = user(members)?;
    let records = members.get("data").and_then(|raw| raw.map_or_else(|| Ok(Vec::new()), json::array));
    let records: Vec<&RawValue> = records.map_err(|detail| shape("/data", detail))?;
    if records.is_empty() {
        return Ok(Decoded::Ignored { reason: "empty data" });
    }
    let owner = Owner {
        account: identity,
        user_id,
        zone: None,
        changed_at: told.ordered_at.unwrap_or(received_at),
        received_at,
        fetched_at: received_at,
        is_backfill: around.is_history,
    };
    let version = told.ordered_at.map_or(Version::Arrival, |at| Version::Given(at.as_ms()));
    let clocks = Clocks { received_at, zone, is_guessed: Cell::new(false) };
    let mut reader = convert::Reader::new(data_type, &owner, version, provider.as_deref(), &clocks);
    for (index, raw) in records.into_iter().enumerate() {
        reader.read(index, raw);
    }
    let (drafts, rejected): (_, Rejections) = reader.finish();
    let decoded = Decoded::Events { drafts, rejected };
    match account.filter(|_| clocks.is_guessed.get() && clocks.zone.is_none()) {
        Some(account) => Ok(Decoded::LocalTimes { account, as_utc: Box::new(decoded) }),
        None => Ok(decoded),
    }
}
