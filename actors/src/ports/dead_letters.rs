//! Messages that were set aside, as operators see them and send them on their way again.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::store::StoreError;
use crate::domain::time::Timestamp;

/// A message that was set aside, without the message itself.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptLetter {
    /// Grows with each one that is set aside.
    pub place: i64,
    /// As in [`DeadLetter`](super::store::DeadLetter).
    pub id: Arc<str>,
    /// The topic's name.
    pub original_topic: String,
    /// The message's key: the user's id.
    pub key: String,
    /// As in [`DeadLetter`](super::store::DeadLetter).
    pub error_type: String,
    /// As in [`DeadLetter`](super::store::DeadLetter).
    pub error_message: String,
    /// As in [`DeadLetter`](super::store::DeadLetter).
    pub failed_at: Timestamp,
    /// As in [`DeadLetter`](super::store::DeadLetter).
    pub retry_count: u32,
}

impl fmt::Debug for KeptLetter {
    /// Its key is personal, and stays out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptLetter").field("id", &self.id).field("place", &self.place).finish_non_exhaustive()
    }
}

/// Which letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Letters {
    /// These, as far as they are kept.
    Of(Vec<Arc<str>>),
    /// The ones that were set aside first, up to this place.
    Oldest {
        /// The last one that is meant.
        until: i64,
        /// At most so many.
        limit: usize,
    },
}

/// The dead letters of a store.
///
/// Promises: each call is one transaction, and what it returned `Ok` for survives `kill -9`; of many calls about one
/// letter, one alone redrives it.
#[async_trait]
pub trait DeadLetters: Send + Sync + 'static {
    /// What is kept, newest first, with places below `before`.
    async fn dead_letters(&self, before: Option<i64>, limit: usize) -> Result<Vec<KeptLetter>, StoreError>;

    /// Puts the original messages of `letters` on their way to the log as if they were new, in the order in which they
    /// were set aside, and keeps them no more. How many there were.
    async fn redrive_letters(&self, letters: &Letters) -> Result<usize, StoreError>;
}
