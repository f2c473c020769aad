//! The cache of newest events that other programs read. Nothing here rests on it: what fails is left out.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::value::RawValue;

use super::store::WrittenEvent;
use crate::domain::event::DeviceType;
use crate::domain::ids::UserId;

/// Why the cache did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// It cannot be reached, is full or refuses to be written.
    #[error("the cache is unavailable: {0}")]
    Unavailable(String),
    /// It did not answer within its budget.
    #[error("the cache did not answer in time")]
    Late,
}

/// A cache of each user's newest events (contract §3).
///
/// Promises: an event never takes the place of a newer one, in whatever order and by however many bridges they are
/// put; a series holds each event once and no more than its limit, the newest; no call takes longer than its
/// budget; what cannot be read counts as absent and is replaced by the next event.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// Takes committed events in: the user's newest, the newest of the device, and the series.
    async fn put(&self, events: &[Arc<WrittenEvent>]) -> Result<(), CacheError>;

    /// A user's newest event, or the newest of one device, as on the topic.
    async fn latest(
        &self,
        user: &UserId,
        device: Option<DeviceType>,
    ) -> Result<Option<Box<RawValue>>, CacheError>;

    /// The newest of a user's series, at most `limit`, oldest first:
    /// `{"event_id","timestamp","device_type","readings"}`.
    async fn series(&self, user: &UserId, limit: usize) -> Result<Vec<Box<RawValue>>, CacheError>;

    /// A question that proves that it can be reached.
    async fn check(&self) -> Result<(), CacheError>;
}
