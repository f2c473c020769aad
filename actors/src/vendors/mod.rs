//! Vendors' webhooks, as pure functions: raw bytes are verified, then decoded into drafts of events.
//!
//! One folder a vendor, behind one trait. Nothing here waits, reads a clock or does I/O: what a decoder must know
//! comes with the delivery. A new vendor is a folder with a [`Device`]; a new HealthKit type is a row of a table.

use crate::domain::delivery::{DecodeError, Decoded, Headers, VerifyError};
use crate::domain::event::DeviceType;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

pub mod fetch;
pub mod healthkit;
mod inline;
mod json;
mod json_check;
mod json_walk;
pub mod long;
pub mod oura;
pub mod polls;
mod record;
pub mod signing;
pub mod sources;
pub mod terra;
#[cfg(test)]
mod tests;
mod timestamp;
mod verified;
pub mod whoop;

use self::long::LongBodies;
pub use inline::identity as inline_identity;
pub use record::{Fetched, Owner};
pub use verified::{DeliveryKey, RawDelivery, Verified, Zones, delivery_key, key_within};

/// A vendor's side of the webhook door. Built once, with its secrets; shared by all deliveries.
pub trait Device: Send + Sync + 'static {
    /// The path segment of `/webhook/{device}`, and the value of labels: `oura`.
    fn name(&self) -> &'static str;

    /// The family of devices that its events name.
    fn device_type(&self) -> DeviceType;

    /// Believes a delivery or not. Nothing of the body is parsed before this; comparisons take constant time.
    ///
    /// # Errors
    /// Everybody outside gets the same 401; the variant is for the metric.
    fn verify(&self, raw: RawDelivery<'_>) -> Result<Verified, VerifyError>;

    /// The hashes of the keys of a delivery that may be bound to one user, two at most: for looking up whose they are.
    /// Most devices have no such keys.
    fn bound_keys(&self, headers: &dyn Headers) -> Vec<[u8; 32]> {
        let _ = headers;
        Vec::new()
    }

    /// As [`Device::verify`], by a key that is bound to `user` and has this hash.
    ///
    /// # Errors
    /// As there.
    fn verify_bound(
        &self,
        raw: RawDelivery<'_>,
        key_hash: &[u8; 32],
        user: &UserId,
    ) -> Result<Verified, VerifyError> {
        let _ = (key_hash, user);
        self.verify(raw)
    }

    /// How it takes bodies that are too long for memory, if it does.
    fn long_bodies(&self) -> Option<&dyn LongBodies> {
        None
    }

    /// Answers the vendor's question (a `GET` on the webhook's path) whether this address is ours.
    fn handshake(&self, query: &[(String, String)]) -> Handshake;

    /// Reads a verified delivery. One bad sample or field refuses itself and nothing else.
    ///
    /// # Errors
    /// The delivery as a whole cannot be read: 400, and its bytes go to quarantine.
    fn decode(&self, verified: &Verified, received_at: Timestamp) -> Result<Decoded, DecodeError>;
}

/// The answer to a vendor's handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// 200 with this JSON text.
    Answer(String),
    /// The question was not asked by our vendor, or not completely: 401.
    Refused,
    /// This vendor asks no questions: 405.
    None,
}
