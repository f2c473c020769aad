//! Oura: its cloud's notifications, and on the same endpoint the Python system's formats.
//!
//! Oura signs with headers of its own and sends no data, only where to fetch it. A body under the header
//! `Signature` is the Python system's: data inline, or a notification with our user id.

mod convert;
mod fetch;
mod fields;
mod notification;
mod records;
mod series;

use std::fmt;

use super::signing::{SharedKeys, SigningSecret, check_signed_at, timestamp_digits, trusted_field};
use super::verified::OutsideUsers;
use super::{Device, Handshake, RawDelivery, Verified, json};
use crate::domain::delivery::{DecodeError, Decoded, Format, VerifyError};
use crate::domain::event::DeviceType;
use crate::domain::time::{MS_PER_SECOND, Timestamp};

pub(super) use convert::read;
pub(super) use fetch::request;
pub(super) use fields::list;

const NAME: &str = "oura";
const DEVICE_TYPE: DeviceType = DeviceType::OuraRing;

/// From here on a signed timestamp is in milliseconds. Oura sends seconds; its documentation does not promise it.
const TIMESTAMP_MS_MIN: i64 = 1_000_000_000_000;

/// The secrets of the Oura door. Blank ones match nothing.
#[derive(Clone, Default)]
pub struct OuraConfig {
    /// The application's client secret: the key of `x-oura-signature`, and of `Signature`.
    pub webhook_secret: String,
    /// What Oura sends back in the handshake.
    pub verification_token: String,
    /// How far a signed timestamp may be from the time of arrival, in seconds, inclusive.
    pub tolerance_s: u32,
}

impl fmt::Debug for OuraConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OuraConfig").field("tolerance_s", &self.tolerance_s).finish_non_exhaustive()
    }
}

/// The device `oura`.
pub struct Oura {
    webhook_secret: SigningSecret,
    verification_token: SharedKeys,
    tolerance_ms: i64,
}

impl Oura {
    /// Takes its secrets; without a webhook secret every delivery is refused.
    pub fn new(config: &OuraConfig) -> Self {
        Self {
            webhook_secret: SigningSecret::new(&config.webhook_secret),
            verification_token: SharedKeys::new([config.verification_token.as_str()]),
            tolerance_ms: i64::from(config.tolerance_s) * MS_PER_SECOND,
        }
    }

    /// HMAC-SHA256 over timestamp ‖ body. The time is looked at last: only a sender who has the secret learns that
    /// it was wrong.
    fn verify_native(&self, raw: &RawDelivery<'_>, signature: &str) -> Result<(), VerifyError> {
        let timestamp = trusted_field(raw.headers, "x-oura-timestamp")?.ok_or(VerifyError::Missing)?;
        let signed_at = read_signed_timestamp(timestamp)?;
        self.webhook_secret.verify_hex(&[timestamp.as_bytes(), &raw.body], signature)?;
        check_signed_at(signed_at, raw.received_at, self.tolerance_ms)
    }
}

fn read_signed_timestamp(text: &str) -> Result<Timestamp, VerifyError> {
    let number = timestamp_digits(text)?;
    let ms = if number < TIMESTAMP_MS_MIN { number * MS_PER_SECOND } else { number };
    Ok(Timestamp::from_ms(ms))
}

impl Device for Oura {
    fn name(&self) -> &'static str {
        NAME
    }

    fn device_type(&self) -> DeviceType {
        DEVICE_TYPE
    }

    /// With both signature headers Oura's own decides: proxies put a `Signature` of their own (RFC 9421) beside it.
    fn verify(&self, raw: RawDelivery<'_>) -> Result<Verified, VerifyError> {
        if !self.webhook_secret.is_set() {
            return Err(VerifyError::NoSecret);
        }
        let format = if let Some(signature) = trusted_field(raw.headers, "x-oura-signature")? {
            self.verify_native(&raw, signature)?;
            Format::Vendor
        } else {
            let signature = trusted_field(raw.headers, "signature")?.ok_or(VerifyError::Missing)?;
            self.webhook_secret.verify_hex(&[&raw.body], signature)?;
            Format::Inline
        };
        Ok(Verified::new(format, raw.body, OutsideUsers::default()))
    }

    /// `?verification_token=…&challenge=…`: whoever knows our token gets the challenge back.
    fn handshake(&self, query: &[(String, String)]) -> Handshake {
        match (only(query, "verification_token"), only(query, "challenge")) {
            (Some(token), Some(challenge)) if self.verification_token.verify(token).is_ok() => {
                Handshake::Answer(serde_json::json!({ "challenge": challenge }).to_string())
            }
            _ => Handshake::Refused,
        }
    }

    fn decode(&self, verified: &Verified, received_at: Timestamp) -> Result<Decoded, DecodeError> {
        let document = json::document(verified.body())?;
        match verified.format() {
            Format::Vendor => notification::decode_native(document, received_at),
            Format::Inline => notification::decode_python(document, received_at),
        }
    }
}

/// The parameter's value, if it occurs once.
fn only<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
    values.next().filter(|_| values.next().is_none())
}

/// The event's kind of records of this type, for tests of whole deliveries.
#[cfg(test)]
pub(super) fn kind_of(data_type: crate::domain::fetch::OuraDataType) -> &'static str {
    records::kind(data_type).kind
}
