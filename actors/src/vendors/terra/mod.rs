//! Terra: pushes what other vendors' devices have measured, with the data in the webhook (vendors.md §5).
//!
//! A body with a `type` is Terra's own; without one it is the Python system's. Both may come under Terra's signature, and
//! under the Python system's `Signature`. Terra asks no questions before it sends.

mod convert;
mod fields;
mod message;
mod payload;
mod python;
mod series;
mod times;

use std::fmt;

use self::message::Around;
use super::signing::{SigningSecret, check_signed_at, timestamp_digits, trusted_field};
use super::verified::{OutsideUsers, SenderTold};
use super::{Device, Handshake, RawDelivery, Verified, json};
use crate::domain::delivery::{DecodeError, Decoded, Format, Header, VerifyError};
use crate::domain::event::DeviceType;
use crate::domain::time::{MS_PER_DAY, MS_PER_SECOND, Timestamp};

pub(super) use convert::list;
pub(super) use payload::{EXPIRED, good_until, read, request};

const NAME: &str = "terra";
const DEVICE_TYPE: DeviceType = DeviceType::Terra;

/// The header as Terra sends it now, and as its documentation has it.
const SIGNATURE_FIELDS: [&str; 2] = ["x-terra-signature", "terra-signature"];
/// While a secret is changed a header holds two signatures. Whoever sends many has us compute for nothing.
const SIGNATURES_MAX: usize = 5;
/// The longest id of a delivery that is taken for one.
const DELIVERY_ID_MAX_BYTES: usize = 256;
/// How far ahead of its arrival a delivery may have come about, by Terra's clock.
const ORDER_AHEAD_MAX_MS: i64 = MS_PER_DAY;

/// The secrets of the Terra door. Blank ones match nothing.
#[derive(Clone, Default)]
pub struct TerraConfig {
    /// The signing secret of the destination: the key of Terra's signature, and of `Signature`.
    pub webhook_secret: String,
    /// How far a signed timestamp may be from the time of arrival, in seconds, inclusive.
    pub tolerance_s: u32,
    /// Where messages that are too large for a webhook are laid down, as `https://host` or `https://host:port`: addresses
    /// in webhooks must be there. Blank: nowhere.
    pub payload_host: String,
}

impl fmt::Debug for TerraConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerraConfig").field("tolerance_s", &self.tolerance_s).finish_non_exhaustive()
    }
}

/// The device `terra`.
pub struct Terra {
    webhook_secret: SigningSecret,
    tolerance_ms: i64,
    payload_host: String,
}

impl Terra {
    /// Takes its secret; without one every delivery is refused.
    pub fn new(config: &TerraConfig) -> Self {
        Self {
            webhook_secret: SigningSecret::new(&config.webhook_secret),
            tolerance_ms: i64::from(config.tolerance_s) * MS_PER_SECOND,
            payload_host: config.payload_host.clone(),
        }
    }

    /// `t=<unix seconds>,v1=<hex>`: HMAC-SHA256 over t ‖ "." ‖ body. The time is looked at last: only a sender who has the
    /// secret learns that it was wrong.
    fn verify_native(&self, raw: &RawDelivery<'_>, header: &str) -> Result<(), VerifyError> {
        let Signatures { timestamp, signatures } = Signatures::parse(header)?;
        let signed_at = Timestamp::from_ms(timestamp_digits(timestamp)?.saturating_mul(MS_PER_SECOND));
        let message = [timestamp.as_bytes(), b".".as_slice(), &raw.body];
        // All of them, whichever matches; a well-formed one tells more of what is wrong.
        let mut outcome = Err(VerifyError::Malformed);
        for signature in signatures {
            let checked = self.webhook_secret.verify_hex(&message, signature);
            if checked.is_ok() || outcome == Err(VerifyError::Malformed) {
                outcome = checked;
            }
        }
        outcome?;
        check_signed_at(signed_at, raw.received_at, self.tolerance_ms)
    }
}

/// The parts of Terra's signature header.
struct Signatures<'h> {
    timestamp: &'h str,
    signatures: Vec<&'h str>,
}

impl<'h> Signatures<'h> {
    /// One time, and one signature or more; parts of other names are none of ours.
    fn parse(header: &'h str) -> Result<Self, VerifyError> {
        let (mut timestamp, mut signatures) = (None, Vec::new());
        for part in header.split(',') {
            match part.trim().split_once('=') {
                Some(("t", digits)) if timestamp.replace(digits).is_none() => {}
                Some(("v1", hex)) if signatures.len() < SIGNATURES_MAX => signatures.push(hex),
                Some(("t" | "v1", _)) | None => return Err(VerifyError::Malformed),
                Some(_) => {}
            }
        }
        match timestamp {
            Some(timestamp) if !signatures.is_empty() => Ok(Self { timestamp, signatures }),
            _ => Err(VerifyError::Malformed),
        }
    }
}

/// `X-Terra-Trace-Id` and `X-Terra-Ordering-Timestamp`. They are not signed: one that is no id or time is passed over.
fn told(raw: &RawDelivery<'_>) -> SenderTold {
    let one = |name| match raw.headers.get(name) {
        Header::One(text) => Some(text.trim()),
        Header::Missing | Header::Repeated | Header::NotText => None,
    };
    let is_id = |id: &&str| !id.is_empty() && id.len() <= DELIVERY_ID_MAX_BYTES;
    let delivery_id = one("x-terra-trace-id").filter(is_id).map(str::to_owned);
    let ordered_at = one("x-terra-ordering-timestamp").filter(|text| !text.is_empty());
    let ordered_at = ordered_at.and_then(|text| timestamp_digits(text).ok()).map(Timestamp::from_ms);
    // A version that is never reached would be the last one.
    let latest = raw.received_at.plus_ms(ORDER_AHEAD_MAX_MS);
    SenderTold { delivery_id, ordered_at: ordered_at.filter(|at| *at <= latest), aggregation: None }
}

impl Device for Terra {
    fn name(&self) -> &'static str {
        NAME
    }

    fn device_type(&self) -> DeviceType {
        DEVICE_TYPE
    }

    /// Of Terra's two headers one good one is enough. With either, `Signature` does not count: proxies put one of their own
    /// (RFC 9421) beside them.
    fn verify(&self, raw: RawDelivery<'_>) -> Result<Verified, VerifyError> {
        if !self.webhook_secret.is_set() {
            return Err(VerifyError::NoSecret);
        }
        let mut native = Err(VerifyError::Missing);
        for name in SIGNATURE_FIELDS {
            if let Some(header) = trusted_field(raw.headers, name)?
                && native.is_err()
            {
                native = self.verify_native(&raw, header);
            }
        }
        match native {
            Err(VerifyError::Missing) => {
                let signature = trusted_field(raw.headers, "signature")?.ok_or(VerifyError::Missing)?;
                self.webhook_secret.verify_hex(&[&raw.body], signature)?;
            }
            checked => checked?,
        }
        let told = told(&raw);
        // Which of the formats it is stands in the body.
        Ok(Verified::new(Format::Vendor, raw.body, OutsideUsers::default()).with_told(told))
    }

    fn handshake(&self, _query: &[(String, String)]) -> Handshake {
        Handshake::None
    }

    fn decode(&self, verified: &Verified, received_at: Timestamp) -> Result<Decoded, DecodeError> {
        let document = json::document(verified.body())?;
        let members = json::members(document).map_err(|detail| shape("", detail))?;
        let kind = members.get("type").map_err(|detail| shape("/type", detail))?;
        match kind.and_then(|raw| json::text(raw).ok()) {
            Some(kind) => {
                let (told, zone, payload_host) = (verified.told(), verified.zone(), &self.payload_host);
                let is_history = message::is_history(told);
                message::decode(
                    &kind,
                    &members,
                    &Around { told, zone, received_at, payload_host, is_history },
                )
            }
            None => python::decode(&members, received_at),
        }
    }
}

fn shape(path: &str, detail: &str) -> DecodeError {
    DecodeError::Shape { path: path.to_owned(), detail: detail.to_owned() }
}
