//! Keys that are bound to one user: what an app on that user's phone is given instead of the key of all.

use crate::domain::delivery::{Header, Headers, VerifyError};
use crate::vendors::signing::{bearer, digest, is_digest_of};

/// What each of them begins with, so that other keys are never looked up.
pub const PREFIX: &str = "hk_";
/// The prefix, and 32 random bytes in base64 without padding.
pub const LEN: usize = PREFIX.len() + 43;
/// Any constant does: it keeps these hashes apart from others.
const DOMAIN: &str = "biometric-bridge bound key";

/// What is stored of a key. It is random enough for one round.
pub fn hash(key: &str) -> [u8; 32] {
    digest(DOMAIN, &[key.as_bytes()])
}

/// Whether a text may be such a key.
fn is_bound(key: &str) -> bool {
    key.len() == LEN && key.starts_with(PREFIX)
}

/// What may be a bound key of a delivery: in `X-API-Key`, and in `Authorization: Bearer`. A proxy may have put another one
/// beside the app's.
fn offered(headers: &dyn Headers) -> impl Iterator<Item = &str> {
    let one = |name| match headers.get(name) {
        Header::One(text) => Some(text),
        Header::Missing | Header::Repeated | Header::NotText => None,
    };
    let keys = [one("x-api-key"), one("authorization").and_then(bearer)];
    keys.into_iter().flatten().filter(|key| is_bound(key))
}

/// The hashes of these, each once, for looking them up.
pub(super) fn offered_hashes(headers: &dyn Headers) -> Vec<[u8; 32]> {
    let mut hashes: Vec<_> = offered(headers).map(hash).collect();
    hashes.dedup();
    hashes
}

/// Believes a delivery one of whose bound keys has this hash. Takes the same time for every key.
pub(super) fn verify(headers: &dyn Headers, held: &[u8; 32]) -> Result<(), VerifyError> {
    let mut outcome = Err(VerifyError::Missing);
    for key in offered(headers) {
        let is_it = is_digest_of(DOMAIN, &[key.as_bytes()], held);
        outcome = if is_it || outcome == Ok(()) { Ok(()) } else { Err(VerifyError::Mismatch) };
    }
    outcome
}
