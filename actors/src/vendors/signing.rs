//! HMAC-SHA256 signatures and shared keys: how ours are made, and how a sender's are checked in constant time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::delivery::{Header, Headers, VerifyError};
use crate::domain::time::Timestamp;

/// A signed timestamp of so many digits or fewer is read; unix milliseconds have 13.
const TIMESTAMP_DIGITS_MAX: usize = 16;

/// The value of `x-oura-signature` when `x-oura-timestamp` is `timestamp_s` (unix seconds) in decimal digits.
///
/// Upper-case hex of HMAC-SHA256(client secret, timestamp ‖ body), as Oura's cloud sends it.
pub fn oura(secret: &str, timestamp_s: i64, body: &[u8]) -> String {
    hex::encode_upper(digest(secret, &[timestamp_s.to_string().as_bytes(), body]))
}

/// The value of `X-WHOOP-Signature` when `X-WHOOP-Signature-Timestamp` is `timestamp_ms` (unix milliseconds) in decimal
/// digits.
///
/// Standard base64 of HMAC-SHA256(client secret, timestamp ‖ body), as WHOOP's cloud sends it (vendors.md §3).
pub fn whoop(secret: &str, timestamp_ms: i64, body: &[u8]) -> String {
    BASE64.encode(digest(secret, &[timestamp_ms.to_string().as_bytes(), body]))
}

/// The value of `terra-signature` and `X-Terra-Signature` at `timestamp_s` (unix seconds), as Terra's cloud sends it
/// (vendors.md §5): lower-case hex of HMAC-SHA256(signing secret, timestamp ‖ "." ‖ body).
pub fn terra(secret: &str, timestamp_s: i64, body: &[u8]) -> String {
    let digits = timestamp_s.to_string();
    format!("t={digits},v1={}", hex::encode(digest(secret, &[digits.as_bytes(), b".", body])))
}

/// The value of `Signature`, the header of the Python system's formats: lower-case hex of HMAC-SHA256(secret, body).
pub fn inline(secret: &str, body: &[u8]) -> String {
    hex::encode(digest(secret, &[body]))
}

pub(super) fn digest(secret: &str, message: &[&[u8]]) -> [u8; 32] {
    mac(secret, message).finalize().into_bytes().into()
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn mac(secret: &str, message: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    message.iter().for_each(|part| mac.update(part));
    mac
}

/// Whether `held` is the digest of this. Takes the same time whatever it is.
pub(super) fn is_digest_of(secret: &str, message: &[&[u8]], held: &[u8; 32]) -> bool {
    mac(secret, message).verify_slice(held).is_ok()
}

/// `Authorization: Bearer K`; another scheme is no key.
pub(super) fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim_start())
}

/// A secret that signs bodies. A blank one matches nothing.
pub(super) struct SigningSecret(Option<Hmac<Sha256>>);

impl SigningSecret {
    pub(super) fn new(secret: &str) -> Self {
        Self((!secret.trim().is_empty()).then(|| mac(secret, &[])))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Believes `signature`, 64 hex digits in either case, over the concatenated `message`.
    pub(super) fn verify_hex(&self, message: &[&[u8]], signature: &str) -> Result<(), VerifyError> {
        let Some(key) = &self.0 else { return Err(VerifyError::NoSecret) };
        let mut given = [0; 32];
        hex::decode_to_slice(signature, &mut given).map_err(|_| VerifyError::Malformed)?;
        compare(key, message, &given)
    }

    /// What believes `signature` once the whole message has gone through the first, by comparing it with the second.
    pub(super) fn begin_hex(&self, signature: &str) -> Result<(Hmac<Sha256>, [u8; 32]), VerifyError> {
        let Some(key) = &self.0 else { return Err(VerifyError::NoSecret) };
        let mut given = [0; 32];
        hex::decode_to_slice(signature, &mut given).map_err(|_| VerifyError::Malformed)?;
        Ok((key.clone(), given))
    }

    /// Believes `signature`, 44 characters of standard base64 with its padding, over the concatenated `message`.
    pub(super) fn verify_base64(&self, message: &[&[u8]], signature: &str) -> Result<(), VerifyError> {
        let Some(key) = &self.0 else { return Err(VerifyError::NoSecret) };
        // One byte more than a digest has: whoever sends more is told so before anything is compared.
        let mut given = [0; 33];
        let decoded = BASE64.decode_slice(signature, &mut given).map_err(|_| VerifyError::Malformed)?;
        let given = given.get(..decoded).filter(|given| given.len() == 32).ok_or(VerifyError::Malformed)?;
        compare(key, message, given)
    }
}

fn compare(key: &Hmac<Sha256>, message: &[&[u8]], given: &[u8]) -> Result<(), VerifyError> {
    let mut mac = key.clone();
    message.iter().for_each(|part| mac.update(part));
    mac.verify_slice(given).map_err(|_| VerifyError::Mismatch)
}

/// The number in a signed timestamp: ASCII digits and nothing else.
pub(super) fn timestamp_digits(text: &str) -> Result<i64, VerifyError> {
    if text.len() > TIMESTAMP_DIGITS_MAX || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(VerifyError::Malformed);
    }
    text.parse().map_err(|_| VerifyError::Malformed)
}

/// Believes a signed time that is at most `tolerance_ms` from the time of arrival, either way.
pub(super) fn check_signed_at(
    signed_at: Timestamp,
    received_at: Timestamp,
    tolerance_ms: i64,
) -> Result<(), VerifyError> {
    match received_at.ms_since(signed_at) {
        age_ms if age_ms > tolerance_ms => Err(VerifyError::Stale),
        age_ms if age_ms < -tolerance_ms => Err(VerifyError::Future),
        _ => Ok(()),
    }
}

/// Keys that are sent as they are. Only their digests are kept, so that comparing takes the same time for every
/// key of whatever length.
pub(super) struct SharedKeys(Vec<[u8; 32]>);

/// Any constant does: it makes texts of every length into digests of one length.
const SHARED_KEY_DOMAIN: &str = "biometric-bridge shared key";

impl SharedKeys {
    /// Blank keys are left out: they would let in everybody.
    pub(super) fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = keys.into_iter().filter(|key| !key.trim().is_empty());
        Self(keys.map(|key| digest(SHARED_KEY_DOMAIN, &[key.as_bytes()])).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares with every key, whichever matches.
    pub(super) fn verify(&self, given: &str) -> Result<(), VerifyError> {
        let given = mac(SHARED_KEY_DOMAIN, &[given.as_bytes()]);
        let matches = |key: &[u8; 32]| given.clone().verify_slice(key).is_ok();
        match self.0.iter().fold(false, |found, key| found | matches(key)) {
            true => Ok(()),
            false if self.is_empty() => Err(VerifyError::NoSecret),
            false => Err(VerifyError::Mismatch),
        }
    }
}

/// A field that decides on trust: it may be missing, but not occur twice or be anything but text.
pub(super) fn trusted_field<'a>(
    headers: &'a dyn Headers,
    name: &str,
) -> Result<Option<&'a str>, VerifyError> {
    match headers.get(name) {
        Header::Missing => Ok(None),
        Header::One(text) => Ok(Some(text)),
        Header::Repeated | Header::NotText => Err(VerifyError::Malformed),
    }
}
