//! Messages that are too large for a webhook: Terra lays them down, and tells where for some minutes (vendors.md §5).
//!
//! The address comes from outside. Only what is behind the configured host is ever asked, and no token goes with it:
//! whoever sends requests makes sure of that.

use super::message::{self, Around};
use super::{NAME, shape};
use crate::domain::account::VendorUserId;
use crate::domain::api_request::ApiRequest;
use crate::domain::delivery::{DecodeError, Decoded};
use crate::domain::fetch::{FetchPlan, TerraFetch, Whose};
use crate::domain::ids::UserId;
use crate::domain::time::{MS_PER_SECOND, Timestamp, Zone};
use crate::vendors::json::{self, Members};
use crate::vendors::record::{Fetched, Owner};
use crate::vendors::verified::SenderTold;

/// The longest address; those that a storage signs have one or two thousand characters.
const ADDRESS_MAX_BYTES: usize = 8 << 10;
/// What there is to do about an address that was good for a while only.
pub(in crate::vendors) const EXPIRED: &str = "the address of the data has expired: ask Terra to send these days again, by a \
    request of historical data (its dashboard, or GET /v2/{type} of its API with to_webhook=true)";
/// Stands for whose it is until it has been read: the webhook does not tell.
const NOBODY: &str = "payload";

/// `{"type":"s3_payload","status","url","expires_in"}`.
pub(super) fn notification(members: &Members<'_>, around: &Around<'_>) -> Result<Decoded, DecodeError> {
    const PATH: &str = "/url";
    let url = members.get("url").and_then(|raw| raw.map(json::text).transpose());
    let Some(url) = url.map_err(|detail| shape(PATH, detail))? else {
        return Ok(Decoded::Ignored { reason: "no payload to download" });
    };
    if !is_web_address(&url) {
        return Err(shape(PATH, "is not a web address"));
    }
    // One that is not on our host becomes a dead letter, which tells the operator what to set; Terra is not told to try
    // again, since it would send the same one, that leads nowhere by then.
    let address = on_host(&url, around.payload_host).unwrap_or(&url).to_owned();
    let nobody = |error| DecodeError::UserId { path: PATH, error };
    Ok(Decoded::Notification {
        user_id: UserId::parse(&format!("{NAME}:{NOBODY}")).map_err(nobody)?,
        is_dated: true,
        plan: FetchPlan {
            whose: Whose::Vendor(VendorUserId::parse(NOBODY).map_err(nobody)?),
            changed_at: around.told.ordered_at.unwrap_or(around.received_at),
            fetches: vec![TerraFetch::Payload { address }.into()],
            is_backfill: around.is_history,
        },
    })
}

/// What follows the host in an address, if that is the host: to the letter, so that nothing can be read in two ways.
fn on_host<'u>(url: &'u str, host: &str) -> Option<&'u str> {
    let (begin, address) = url.split_at_checked(host.len())?;
    let is_there = !host.is_empty() && begin.eq_ignore_ascii_case(host) && address.starts_with('/');
    (is_there && !address.contains(['\\', '#'])).then_some(address)
}

/// Whether a text can be an address in the web: without spaces, and not too long to be kept.
fn is_web_address(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_plain = url.len() <= ADDRESS_MAX_BYTES && url.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain && matches!(scheme.as_deref(), Some("http" | "https"))
}

/// What to ask for it.
pub(in crate::vendors) fn request(fetch: &TerraFetch) -> ApiRequest {
    match fetch {
        TerraFetch::Payload { address } => ApiRequest::link(address),
    }
}

/// When an address ends, if that stands in it: S3 signs it with `X-Amz-Date` and the seconds from then on in `X-Amz-Expires`,
/// or, as it did before, with `Expires` in unix time.
pub(in crate::vendors) fn good_until(fetch: &TerraFetch) -> Option<Timestamp> {
    let TerraFetch::Payload { address } = fetch;
    let (_, query) = address.split_once('?')?;
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let seconds = |name| value(name)?.parse::<u32>().ok().map(i64::from);
    let Some(signed) = value("X-Amz-Date") else {
        return seconds("Expires").map(|at| Timestamp::from_ms(at * MS_PER_SECOND));
    };
    let signed: jiff::Timestamp = signed.parse().ok()?;
    let lasts_ms = seconds("X-Amz-Expires")? * MS_PER_SECOND;
    Some(Timestamp::from_ms(signed.as_millisecond()).plus_ms(lasts_ms))
}

/// Reads a message that was laid down: the same words as in a webhook, in the order of the webhook that told of it.
pub(in crate::vendors) fn read(
    answer: &[u8],
    owner: &Owner,
    zone: Option<&Zone>,
) -> Result<Fetched, DecodeError> {
    let members = json::members(json::document(answer)?).map_err(|detail| shape("", detail))?;
    let kind = members.get("type").and_then(|raw| json::text(raw.ok_or("is missing")?));
    let kind = kind.map_err(|detail| shape("/type", detail))?;
    let told = SenderTold { ordered_at: Some(owner.changed_at), ..SenderTold::default() };
    // What was laid down lays down nothing further.
    let (received_at, is_history) = (owner.fetched_at, owner.is_backfill);
    let around = Around { told: &told, zone, received_at, payload_host: "", is_history };
    let (decoded, local_to) = match message::decode(&kind, &members, &around)? {
        Decoded::LocalTimes { account, as_utc } => (*as_utc, Some(account)),
        decoded => (decoded, None),
    };
    Ok(match decoded {
        Decoded::Events { drafts, rejected } => Fetched { drafts, rejected, local_to, ..Fetched::default() },
        _ => Fetched::default(),
    })
}
