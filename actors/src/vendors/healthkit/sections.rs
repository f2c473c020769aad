//! Where a body's items stand: its envelopes, and in each of them the arrays of items with what is said of all of them
//! at once, such as whose they are.
//!
//! Nothing here looks into an item, so the arrays may be stand-ins for what lies in a file.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::delivery::DecodeError;
use crate::domain::ids::UserId;
use crate::vendors::json;
use crate::vendors::json_walk::Path;
use crate::vendors::verified::{HeaderUser, OutsideUsers};

/// Where the arrays stand in an envelope of which [`sections`] makes sections. One that is missing here is read in memory
/// only: in a long body it looks empty.
pub(super) const ITEM_ARRAYS: &[Path] = &[&["samples"]];

/// An array of items.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// JSON Pointer to the array.
    pub(super) at: String,
    /// Whose items.
    pub(super) user_id: UserId,
    /// The array, unread.
    pub(super) items: &'a RawValue,
}

impl<'a> Section<'a> {
    /// The items, each unread.
    pub(super) fn elements(&self) -> Result<Vec<&'a RawValue>, DecodeError> {
        json::array(self.items).map_err(|detail| shape(self.at.clone(), detail))
    }
}

/// The body's objects, each with the JSON Pointer to it.
pub(super) fn envelopes(document: &RawValue) -> Result<Vec<(String, &RawValue)>, DecodeError> {
    if json::is_object(document) {
        return Ok(vec![(String::new(), document)]);
    }
    let list = json::array(document).map_err(|_| {
        shape(
            String::new(),
            "an object with `user_id` and `samples`, or a list of such objects, was expected",
        )
    })?;
    Ok(list.into_iter().enumerate().map(|(i, envelope)| (format!("/{i}"), envelope)).collect())
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    samples: Option<&'a RawValue>,
}

/// The arrays of items of the envelope at the JSON Pointer `at`, in the order in which they stand there.
pub(super) fn sections<'a>(
    at: &str,
    envelope: &'a RawValue,
    outside: &OutsideUsers,
) -> Result<Vec<Section<'a>>, DecodeError> {
    let envelope: Envelope<'a> = json::object(envelope).map_err(|detail| shape(at.to_owned(), detail))?;
    let samples_at = format!("{at}/samples");
    let samples = match envelope.samples {
        None => return Err(shape(samples_at, "an array of samples was expected")),
        Some(samples) if !json::is_array(samples) => return Err(shape(samples_at, "an array was expected")),
        Some(samples) => samples,
    };
    let user = envelope.user_id.map(json::text).transpose();
    let user = user.map_err(|detail| shape(format!("{at}/user_id"), detail))?;
    let user_id = resolve_user(user.as_deref(), outside)?;
    Ok(vec![Section { at: samples_at, user_id, items: samples }])
}

/// The body's own user, else that of a bound key, else `X-User-Id`, else `?user_id=`; where several are given they must be the same.
fn resolve_user(body: Option<&str>, outside: &OutsideUsers) -> Result<UserId, DecodeError> {
    let header = match &outside.header {
        HeaderUser::Missing => None,
        HeaderUser::One(text) => Some(text.as_str()),
        HeaderUser::Unusable(detail) => return Err(shape("X-User-Id".to_owned(), detail)),
    };
    let mut user: Option<UserId> = outside.bound.clone();
    let places = [("/user_id", body), ("X-User-Id", header), ("?user_id=", outside.query.as_deref())];
    for (path, text) in places {
        let Some(text) = text else { continue };
        let id = UserId::parse(text).map_err(|error| DecodeError::UserId { path, error })?;
        if user.get_or_insert_with(|| id.clone()) != &id {
            return Err(DecodeError::UsersDiffer);
        }
    }
    user.ok_or(DecodeError::NoUser("no user id: neither in the body, nor in X-User-Id or ?user_id="))
}

fn shape(path: String, detail: &str) -> DecodeError {
    DecodeError::Shape { path, detail: detail.to_owned() }
}
