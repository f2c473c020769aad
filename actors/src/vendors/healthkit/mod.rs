//! Apple HealthKit. Apple has no cloud for it: an app on the phone pushes samples.
//!
//! The body is `{"user_id","samples":[…]}` or a list of such objects; its user ids are ours.

mod batch;
pub mod bound_key;
mod sample;
mod source;
mod types;
mod units;

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::batch::Batch;
use self::source::SourceNames;
use super::signing::{SharedKeys, SigningSecret, bearer, trusted_field};
use super::verified::{HeaderUser, OutsideUsers};
use super::{Device, Handshake, RawDelivery, Verified, json};
use crate::domain::delivery::{DecodeError, Decoded, Format, Headers, Rejections, VerifyError};
use crate::domain::event::DeviceType;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

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

impl HealthKit {
    /// Takes its secrets; without any, every delivery is refused.
    pub fn new(config: &HealthKitConfig) -> Self {
        Self {
            api_keys: SharedKeys::new(config.api_keys.iter().map(String::as_str)),
            signature_secret: SigningSecret::new(&config.signature_secret),
        }
    }

    fn verify_bearer(&self, value: &str) -> Result<(), VerifyError> {
        bearer(value).map_or(Err(VerifyError::Malformed), |key| self.api_keys.verify(key))
    }
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
        if self.api_keys.is_empty() && !self.signature_secret.is_set() {
            return Err(VerifyError::NoSecret);
        }
        let signature = trusted_field(raw.headers, "signature")?;
        let api_key = trusted_field(raw.headers, "x-api-key")?;
        let authorization = trusted_field(raw.headers, "authorization")?;
        let checks = [
            signature.map(|hex| self.signature_secret.verify_hex(&[&raw.body], hex)),
            api_key.map(|key| self.api_keys.verify(key)),
            authorization.map(|value| self.verify_bearer(value)),
        ];
        let mut outcome = Err(VerifyError::Missing);
        for check in checks.into_iter().flatten() {
            if check.is_ok() || outcome == Err(VerifyError::Missing) {
                outcome = check;
            }
        }
        outcome?;
        let users = OutsideUsers::of(&raw);
        Ok(Verified::new(Format::Inline, raw.body, users))
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
        Ok(Verified::new(Format::Inline, raw.body, users))
    }

    fn handshake(&self, _query: &[(String, String)]) -> Handshake {
        Handshake::None
    }

    fn decode(&self, verified: &Verified, received_at: Timestamp) -> Result<Decoded, DecodeError> {
        let document = json::document(verified.body())?;
        let mut batch = Batch::default();
        let mut names = SourceNames::default();
        let mut rejected = Rejections::default();
        let mut index = 0;
        for (at, envelope) in envelopes(document)? {
            let (user_id, samples) = open_envelope(&at, envelope, verified.users())?;
            for (position, raw) in samples.into_iter().enumerate() {
                match sample::read(raw, &user_id, &mut names, received_at) {
                    Ok(fact) => batch.push(&user_id, fact),
                    Err(refusal) => {
                        let path = format!("{at}/samples/{position}{}", refusal.field);
                        rejected.push(index, path, refusal.detail);
                    }
                }
                index += 1;
            }
        }
        if index == 0 {
            return Ok(Decoded::Ignored { reason: "no samples" });
        }
        Ok(Decoded::Events { drafts: batch.into_drafts(received_at), rejected })
    }
}

/// The body's objects, each with the JSON Pointer to it.
fn envelopes(document: &RawValue) -> Result<Vec<(String, &RawValue)>, DecodeError> {
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

/// Whose samples, and the samples.
fn open_envelope<'a>(
    at: &str,
    raw: &'a RawValue,
    outside: &OutsideUsers,
) -> Result<(UserId, Vec<&'a RawValue>), DecodeError> {
    let envelope: Envelope<'a> = json::object(raw).map_err(|detail| shape(at.to_owned(), detail))?;
    let samples_at = || format!("{at}/samples");
    let samples = envelope.samples.ok_or_else(|| shape(samples_at(), "an array of samples was expected"))?;
    let samples = json::array(samples).map_err(|detail| shape(samples_at(), detail))?;
    let user = envelope.user_id.map(json::text).transpose();
    let user = user.map_err(|detail| shape(format!("{at}/user_id"), detail))?;
    Ok((resolve_user(user.as_deref(), outside)?, samples))
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
