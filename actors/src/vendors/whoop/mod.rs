//! WHOOP: its cloud's notifications, and on the same endpoint the Python system's formats.
//!
//! WHOOP signs with headers of its own and sends no data, only what has changed. A body under the header `Signature`
//! is the Python system's: data inline, or a notification with our user id. WHOOP asks no questions before it sends:
//! the address is typed into its dashboard (vendors.md §3).

mod convert;
mod fetch;
mod fields;
mod notification;
mod records;

use std::fmt;

use super::signing::{SigningSecret, check_signed_at, timestamp_digits, trusted_field};
use super::verified::OutsideUsers;
use super::{Device, Handshake, RawDelivery, Verified, json};
use crate::domain::delivery::{DecodeError, Decoded, Format, VerifyError};
use crate::domain::event::DeviceType;
use crate::domain::time::{MS_PER_SECOND, Timestamp};

pub(super) use convert::read;
pub(super) use fetch::request;
pub(super) use fields::list;

const NAME: &str = "whoop";
const DEVICE_TYPE: DeviceType = DeviceType::WhoopBand;

/// The secrets of the WHOOP door. Blank ones match nothing.
#[derive(Clone, Default)]
pub struct WhoopConfig {
    /// The application's client secret: the key of `X-WHOOP-Signature`, and of `Signature`.
    pub webhook_secret: String,
    /// How far a signed timestamp may be from the time of arrival, in seconds, inclusive.
    pub tolerance_s: u32,
}

impl fmt::Debug for WhoopConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WhoopConfig").field("tolerance_s", &self.tolerance_s).finish_non_exhaustive()
    }
}

/// The device `whoop`.
pub struct Whoop {
    webhook_secret: SigningSecret,
    tolerance_ms: i64,
}

impl Whoop {
    /// Takes its secret; without one every delivery is refused.
    pub fn new(config: &WhoopConfig) -> Self {
        Self {
            webhook_secret: SigningSecret::new(&config.webhook_secret),
            tolerance_ms: i64::from(config.tolerance_s) * MS_PER_SECOND,
        }
    }

    /// HMAC-SHA256 over timestamp ‖ body, in base64; the timestamp is in milliseconds. It is looked at last: only a
    /// sender who has the secret learns that it was wrong.
    fn verify_native(&self, raw: &RawDelivery<'_>, signature: &str) -> Result<(), VerifyError> {
        let timestamp =
            trusted_field(raw.headers, "x-whoop-signature-timestamp")?.ok_or(VerifyError::Missing)?;
        let signed_at = Timestamp::from_ms(timestamp_digits(timestamp)?);
        self.webhook_secret.verify_base64(&[timestamp.as_bytes(), &raw.body], signature)?;
        check_signed_at(signed_at, raw.received_at, self.tolerance_ms)
    }
}

impl Device for Whoop {
    fn name(&self) -> &'static str {
        NAME
    }

    fn device_type(&self) -> DeviceType {
        DEVICE_TYPE
    }

    /// With both signature headers WHOOP's own decides: proxies put a `Signature` of their own (RFC 9421) beside it.
    fn verify(&self, raw: RawDelivery<'_>) -> Result<Verified, VerifyError> {
        if !self.webhook_secret.is_set() {
            return Err(VerifyError::NoSecret);
        }
        let format = if let Some(signature) = trusted_field(raw.headers, "x-whoop-signature")? {
            self.verify_native(&raw, signature)?;
            Format::Vendor
        } else {
            let signature = trusted_field(raw.headers, "signature")?.ok_or(VerifyError::Missing)?;
            self.webhook_secret.verify_hex(&[&raw.body], signature)?;
            Format::Inline
        };
        Ok(Verified::new(format, raw.body, OutsideUsers::default()))
    }

    fn handshake(&self, _query: &[(String, String)]) -> Handshake {
        Handshake::None
    }

    fn decode(&self, verified: &Verified, received_at: Timestamp) -> Result<Decoded, DecodeError> {
        let document = json::document(verified.body())?;
        match verified.format() {
            Format::Vendor => notification::decode_native(document, received_at),
            Format::Inline => notification::decode_python(document, received_at),
        }
    }
}
