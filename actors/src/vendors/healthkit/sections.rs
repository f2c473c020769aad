//! Where a body's items stand: its envelopes, and in each of them the arrays of items with what is said of all of them
//! at once, such as whose they are.
//!
//! Nothing here looks into an item, so the arrays may be stand-ins for what lies in a file.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::export::{self, Points};
use crate::domain::delivery::DecodeError;
use crate::domain::ids::UserId;
use crate::vendors::json::{self, Members};
use crate::vendors::json_walk::{EACH, Path};
use crate::vendors::verified::{HeaderUser, OutsideUsers};

/// Where the arrays stand in an envelope of which [`sections`] makes sections. One that is missing here is read in memory
/// only: in a long body it looks empty.
pub(super) const ITEM_ARRAYS: &[Path] = &[
    &["samples"],
    &["data", "records"],
    &["data", "sleep"],
    &["data", "workouts"],
    &["data", "metrics", EACH, "data"],
    &["workouts"],
];

/// An array of items.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// JSON Pointer to the array.
    pub(super) at: String,
    /// Whose items.
    pub(super) user_id: UserId,
    /// The array, unread.
    pub(super) items: &'a RawValue,
    /// What its items are.
    pub(super) kind: Kind<'a>,
}

/// What the items of an array are.
#[derive(Debug)]
pub(super) enum Kind<'a> {
    /// Samples that tell their types.
    Samples,
    /// Intervals of sleep.
    Sleep,
    /// Workouts.
    Workouts,
    /// Points of a metric of Health Auto Export, with the unit of all of them.
    Export(Points, Option<Cow<'a, str>>),
    /// Points of a metric of which a field is wrong: each of them is refused for that.
    Unreadable(&'static str, &'static str),
    /// Of a metric whose points cannot be found: it counts as one item.
    Refused(&'static str, &'static str),
}

impl<'a> Section<'a> {
    /// The items, each unread.
    pub(super) fn elements(&self) -> Result<Vec<&'a RawValue>, DecodeError> {
        if self.is_refused() {
            return Ok(vec![self.items]);
        }
        json::array(self.items).map_err(|detail| shape(self.at.clone(), detail))
    }

    /// Whether it cannot be read, and counts as one item.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.kind, Kind::Refused(..))
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

/// The arrays of items of the envelope at the JSON Pointer `at`, in the order in which they stand there.
pub(super) fn sections<'a>(
    at: &str,
    envelope: &'a RawValue,
    outside: &OutsideUsers,
) -> Result<Vec<Section<'a>>, DecodeError> {
    let members = json::members(envelope).map_err(|detail| shape(at.to_owned(), detail))?;
    for key in ["user_id", "samples", "data", "workouts"] {
        members.get(key).map_err(|_| shape(at.to_owned(), "a key occurs twice"))?;
    }
    let mut found = Found { arrays: Vec::new(), is_any: false };
    for (key, raw) in members.iter() {
        match key {
            "samples" if raw.get() != "null" => {
                found.array(format!("{at}/samples"), raw, Kind::Samples)?;
            }
            "workouts" if raw.get() != "null" => {
                found.array(format!("{at}/workouts"), raw, Kind::Workouts)?;
            }
            "data" => found.data(&format!("{at}/data"), raw)?,
            _ => {}
        }
    }
    if !found.is_any {
        return Err(shape(format!("{at}/samples"), "an array of samples was expected"));
    }
    let user = members.get("user_id").ok().flatten().map(json::text).transpose();
    let user = user.map_err(|detail| shape(format!("{at}/user_id"), detail))?;
    let user_id = resolve_user(user.as_deref(), outside)?;
    let section = |(at, items, kind)| Section { at, user_id: user_id.clone(), items, kind };
    Ok(found.arrays.into_iter().map(section).collect())
}

/// What was found in an envelope.
struct Found<'a> {
    arrays: Vec<(String, &'a RawValue, Kind<'a>)>,
    /// Whether there was a place for items, if only an empty one.
    is_any: bool,
}

impl<'a> Found<'a> {
    fn array(&mut self, at: String, raw: &'a RawValue, kind: Kind<'a>) -> Result<(), DecodeError> {
        if !json::is_array(raw) {
            return Err(shape(at, "an array was expected"));
        }
        self.is_any = true;
        self.arrays.push((at, raw, kind));
        Ok(())
    }

    /// `data` of an app's envelope or of Health Auto Export; other arrays in it are passed by.
    fn data(&mut self, at: &str, raw: &'a RawValue) -> Result<(), DecodeError> {
        self.is_any = true;
        if raw.get() == "null" || json::array(raw).is_ok_and(|list| list.is_empty()) {
            return Ok(());
        }
        let members = json::members(raw).map_err(|detail| shape(at.to_owned(), detail))?;
        for (key, raw) in members.iter().filter(|(_, raw)| raw.get() != "null") {
            let here = format!("{at}/{key}");
            let kind = match key {
                "records" => Kind::Samples,
                "sleep" => Kind::Sleep,
                "workouts" => Kind::Workouts,
                "metrics" => {
                    let metrics = json::array(raw).map_err(|detail| shape(here.clone(), detail))?;
                    for (place, metric) in metrics.into_iter().enumerate() {
                        self.metric(format!("{here}/{place}"), metric);
                    }
                    continue;
                }
                _ => continue,
            };
            members.get(key).map_err(|detail| shape(here.clone(), detail))?;
            self.array(here, raw, kind)?;
        }
        Ok(())
    }

    /// A metric of Health Auto Export, whose points may be absent.
    fn metric(&mut self, at: String, metric: &'a RawValue) {
        match points(metric) {
            Ok(None) => {}
            Ok(Some((items, kind))) => self.arrays.push((format!("{at}/data"), items, kind)),
            Err((field, detail)) => self.arrays.push((at, metric, Kind::Refused(field, detail))),
        }
    }
}

/// The points of a metric and what they are; or which of its fields is wrong, and how.
fn points(metric: &RawValue) -> Result<Option<(&RawValue, Kind<'_>)>, (&'static str, &'static str)> {
    let at = |field: &'static str| move |detail: &'static str| (field, detail);
    let members: Members<'_> = json::members(metric).map_err(at(""))?;
    let Some(data) = members.get("data").map_err(at("/data"))? else { return Ok(None) };
    if !json::is_array(data) {
        return Err(("/data", "an array was expected"));
    }
    let kind = series(&members).unwrap_or_else(|(field, detail)| Kind::Unreadable(field, detail));
    Ok(Some((data, kind)))
}

/// What all points of a metric are.
fn series<'a>(members: &Members<'a>) -> Result<Kind<'a>, (&'static str, &'static str)> {
    let name = members.get("name").and_then(|raw| raw.ok_or("is missing")).and_then(json::text);
    let name = name.map_err(|detail| ("/name", detail))?;
    let units = members.get("units").and_then(|raw| raw.map(json::text).transpose());
    Ok(Kind::Export(export::find(&name), units.map_err(|detail| ("/units", detail))?))
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
