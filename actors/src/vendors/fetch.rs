//! From a fetch to the request that asks it, and from the answer to events. Nothing here speaks HTTP: whoever sends the
//! request adds the address of the vendor's API and the account's token.

use uuid::Uuid;

use super::record::{Fetched, Owner};
use super::{oura, terra, whoop};
use crate::domain::api_request::ApiRequest;
use crate::domain::delivery::DecodeError;
use crate::domain::fetch::Fetch;
use crate::domain::ids::check_id;
use crate::domain::time::{MS_PER_MINUTE, Timestamp, UtcOffset, Zone};

/// What to ask a vendor's API. Where whole days are asked for they are the user's: `zone` is the user's offset from
/// UTC, UTC where nobody knows it.
pub fn request(fetch: &Fetch, zone: UtcOffset) -> ApiRequest {
    match fetch {
        Fetch::Oura(fetch) => oura::request(fetch, zone),
        Fetch::Whoop(fetch) => whoop::request(fetch),
        Fetch::Terra(fetch) => terra::request(fetch),
    }
}

/// What to do instead of a fetch whose address was good for a while only, if by its own words that is over at `now`.
pub fn expired(fetch: &Fetch, now: Timestamp) -> Option<&'static str> {
    let Fetch::Terra(link) = fetch else { return None };
    terra::good_until(link).filter(|until| *until < now).and(instead(fetch))
}

/// What to do instead of a fetch whose address is good no longer; none if it has no address of its own.
pub const fn instead(fetch: &Fetch) -> Option<&'static str> {
    match fetch {
        Fetch::Oura(_) | Fetch::Whoop(_) => None,
        Fetch::Terra(_) => Some(terra::EXPIRED),
    }
}

/// Reads the answer to a fetch: 200, and this body. Fields that are wrong are refused one by one.
///
/// # Errors
/// The answer as a whole is not what the API answers to this question.
pub fn read(fetch: &Fetch, answer: &[u8], owner: &Owner) -> Result<Fetched, DecodeError> {
    match fetch {
        Fetch::Oura(fetch) => oura::read(fetch, answer, owner),
        Fetch::Whoop(fetch) => whoop::read(fetch, answer, owner),
        Fetch::Terra(_) => terra::read(answer, owner, None),
    }
}

/// As [`read`], if times in the answer tell no offset: they are as the clocks of this zone showed them.
///
/// # Errors
/// As there.
pub fn read_in_zone(
    fetch: &Fetch,
    answer: &[u8],
    owner: &Owner,
    zone: &Zone,
) -> Result<Fetched, DecodeError> {
    match fetch {
        Fetch::Oura(_) | Fetch::Whoop(_) => read(fetch, answer, owner),
        Fetch::Terra(_) => terra::read(answer, owner, Some(zone)),
    }
}

/// A record's id as it goes into paths and identities: of a UUID there is one spelling. Dots alone are none, since in
/// a path they lead elsewhere, encoded or not.
pub(super) fn record_id(text: &str) -> Result<String, String> {
    check_id(text).map_err(|error| error.to_string())?;
    if text.bytes().all(|byte| byte == b'.') {
        return Err("is no id of a record".to_owned());
    }
    let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == Uuid::nil().to_string().len());
    Ok(uuid.map_or_else(|| text.to_owned(), |uuid| uuid.to_string()))
}

/// The date of a moment at an offset, as `2026-09-10`.
pub(super) fn date(at: Timestamp, zone: UtcOffset) -> String {
    let mut local = at.plus_ms(i64::from(zone.minutes()) * MS_PER_MINUTE).to_string();
    local.truncate(local.find('T').unwrap_or(local.len()));
    local
}
