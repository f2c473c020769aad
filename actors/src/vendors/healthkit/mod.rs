//! Apple HealthKit. Apple has no cloud for it: an app on the phone pushes samples.
//!
//! The body is `{"user_id","samples":[…]}`, `{"data":{"records","sleep","workouts"}}` or Health Auto Export's
//! `{"data":{"metrics","workouts"}}`, or a list of such objects; its user ids are ours.

mod batch;
pub mod bound_key;
mod clock;
mod export;
mod exported_sleep;
mod fields;
mod inventory;
mod item;
mod long;
mod nights;
mod pressure;
mod quantity;
mod reader;
mod sample;
mod sections;
mod sleep;
mod source;
mod types;
mod workout;

use std::fmt;

use self::reader::Reader;
use super::long::LongBodies;
use super::signing::{SharedKeys, SigningSecret, bearer, trusted_field};
use super::verified::{OutsideUsers, SenderTold};
use super::{Device, Handshake, RawDelivery, Verified, json};
use crate::domain::delivery::{DecodeError, Decoded, Format, Header, Headers, VerifyError};
use crate::domain::event::DeviceType;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

pub(super) use inventory::list;

/// The longest word for what a point sums up; the app's own are `minutes` and the like.
const AGGREGATION_MAX_BYTES: usize = 32;

/// The secrets of the HealthKit door. Blank ones let nobody in.
#[derive(Clone, Default)]
pub struct HealthKitConfig {
    /// Keys that apps send as `Authorization: Bearer K` or `X-API-Key: K`.
    pub api_keys: Vec<String>,
    /// The secret behind `Signature`, hex HMAC-SHA256 of the body.
    pub signature_secret: String,
}

impl fmt::Debug for HealthKitConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HealthKitConfig(<secrets hidden>)")
    }
}

/// The device `healthkit`.
pub struct HealthKit {
    api_keys: SharedKeys,
    signature_secret: SigningSecret,
}

struct Credentials<'h> {
    signature: Option<&'h str>,
    keys: [Option<Result<(), VerifyError>>; 2],
}

impl HealthKit {
    /// Takes its secrets; without any, every delivery is refused.
    pub fn new(config: &HealthKitConfig) -> Self {
        Self {
            api_keys: SharedKeys::new(config.api_keys.iter().map(String::as_str)),
            signature_secret: SigningSecret::new(&config.signature_secret),
        }
    }

    /// What a delivery brings to be believed by. Keys can be judged at once.
    fn credentials<'h>(&self, headers: &'h dyn Headers) -> Result<Credentials<'h>, VerifyError> {
        if self.api_keys.is_empty() && !self.signature_secret.is_set() {
            return Err(VerifyError::NoSecret);
        }
        let signature = trusted_field(headers, "signature")?;
        let api_key = trusted_field(headers, "x-api-key")?;
        let authorization = trusted_field(headers, "authorization")?;
        let keys = [
            api_key.map(|key| self.api_keys.verify(key)),
            authorization.map(|value| self.verify_bearer(value)),
        ];
        Ok(Credentials { signature, keys })
    }

    fn verify_bearer(&self, value: &str) -> Result<(), VerifyError> {
        bearer(value).map_or(Err(VerifyError::Malformed), |key| self.api_keys.verify(key))
    }
}

/// What Health Auto Export's header fields tell: what its points sum up (vendors.md §4b).
fn told(headers: &dyn Headers) -> SenderTold {
    let aggregation = match headers.get("automation-aggregation") {
        Header::One(text) => Some(text.trim().to_ascii_lowercase()),
        Header::Missing | Header::Repeated | Header::NotText => None,
    };
    let is_word = |text: &String| !text.is_empty() && text.len() <= AGGREGATION_MAX_BYTES;
    SenderTold { aggregation: aggregation.filter(is_word), ..SenderTold::default() }
}

impl Device for HealthKit {
    fn name(&self) -> &'static str {
        "healthkit"
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::AppleHealth
    }

    /// One good credential is enough: a proxy in front may have put an `Authorization` of its own beside the app's.
    /// A credential field that occurs twice is refused whatever the others are.
    fn verify(&self, raw: RawDelivery<'_>) -> Result<Verified, VerifyError> {
        let Credentials { signature, keys: [api_key, authorization] } = self.credentials(raw.headers)?;
        let signature = signature.map(|hex| self.signature_secret.verify_hex(&[&raw.body], hex));
        let mut outcome = Err(VerifyError::Missing);
        for check in [signature, api_key, authorization].into_iter().flatten() {
            if check.is_ok() || outcome == Err(VerifyError::Missing) {
                outcome = check;
            }
        }
        outcome?;
        let (users, told) = (OutsideUsers::of(&raw), told(raw.headers));
        Ok(Verified::new(Format::Inline, raw.body, users).with_told(told))
    }

    fn bound_keys(&self, headers: &dyn Headers) -> Vec<[u8; 32]> {
        bound_key::offered_hashes(headers)
    }

    /// A bound key is a credential beside the others: a field that occurs twice is refused here too.
    fn verify_bound(
        &self,
        raw: RawDelivery<'_>,
        key_hash: &[u8; 32],
        user: &UserId,
    ) -> Result<Verified, VerifyError> {
        for field in ["signature", "x-api-key", "authorization"] {
            trusted_field(raw.headers, field)?;
        }
        bound_key::verify(raw.headers, key_hash)?;
        let users = OutsideUsers { bound: Some(user.clone()), ..OutsideUsers::of(&raw) };
        let told = told(raw.headers);
        Ok(Verified::new(Format::Inline, raw.body, users).with_told(told))
    }

    fn long_bodies(&self) -> Option<&dyn LongBodies> {
        Some(self)
    }

    fn handshake(&self, _query: &[(String, String)]) -> Handshake {
        Handshake::None
    }

    fn decode(&self, verified: &Verified, received_at: Timestamp) -> Result<Decoded, DecodeError> {
        let document = json::document(verified.body())?;
        let mut reader = Reader::new(verified, received_at);
        for (at, envelope) in sections::envelopes(document)? {
            for section in sections::sections(&at, envelope, verified.users())? {
                for (position, item) in section.elements()?.into_iter().enumerate() {
                    reader.read(&section, position, item);
                }
            }
        }
        Ok(reader.finish())
    }
}

/// The names of all rows of the table of types, and whether a sample's type is found by each.
#[cfg(test)]
pub(in crate::vendors) fn types_by_name() -> Vec<(&'static str, bool)> {
    types::ALL
        .iter()
        .map(|row| row.kind)
        .map(|kind| (kind.name, types::find(kind.name) == Some(types::SampleType::Quantity(kind))))
        .collect()
}
