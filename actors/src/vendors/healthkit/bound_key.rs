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

/// The bound key of a delivery, if it has one: in `X-API-Key`, else in `Authorization: Bearer`.
fn offered(headers: &dyn Headers) -> Option<&str> {
    let one = |name| match headers.get(name) {
        Header::One(text) => Some(text),
        Header::Missing | Header::Repeated | Header::NotText => None,
    };
    let keys = [one("x-api-key"), one("authorization").and_then(bearer)];
    keys.into_iter().flatten().find(|key| is_bound(key))
}

/// The hash of the bound key of a delivery, for looking it up.
pub(super) fn offered_hash(headers: &dyn Headers) -> Option<[u8; 32]> {
    offered(headers).map(hash)
}

/// Believes a delivery whose bound key has this hash. Takes the same time for every key.
pub(super) fn verify(headers: &dyn Headers, held: &[u8; 32]) -> Result<(), VerifyError> {
    let key = offered(headers).ok_or(VerifyError::Missing)?;
    if is_digest_of(DOMAIN, &[key.as_bytes()], held) { Ok(()) } else { Err(VerifyError::Mismatch) }
}
