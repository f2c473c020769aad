//! The way of committed events into the cache: behind their answers, best effort, one put at a time.
//!
//! Whatever dies or fails here loses nothing but the cache's freshness: it is counted, and not tried again.

use std::sync::Arc;

use crate::ports::cache::CacheError;
use crate::ports::store::WrittenEvent;
use crate::ports::telemetry::{CacheOutcome, PipelineEvent};
use crate::ports::{Cache, Telemetry};

/// Events in one put: so many that a busy Redis takes them within its 20 ms, at some 50 µs each.
pub const PUT_MAX_EVENTS: usize = 200;
/// Events that may wait for the put before theirs …
pub const WAITING_MAX_EVENTS: usize = 2_000;
/// … and what they may weigh together; beyond either the oldest are left out.
pub const WAITING_MAX_BYTES: usize = 8 << 20;

/// What waits for the cache.
pub(crate) struct CacheFeed {
    cache: Arc<dyn Cache>,
    telemetry: Arc<dyn Telemetry>,
    waiting: Vec<Arc<WrittenEvent>>,
    is_putting: bool,
}

impl CacheFeed {
    pub(crate) fn new(cache: Arc<dyn Cache>, telemetry: Arc<dyn Telemetry>) -> Self {
        Self { cache, telemetry, waiting: Vec::new(), is_putting: false }
    }

    /// Lets these events wait for their put.
    pub(crate) fn offer(&mut self, events: impl Iterator<Item = Arc<WrittenEvent>>) {
        self.waiting.extend(events);
        let mut bytes = 0;
        let newest = self.waiting.iter().rev().take(WAITING_MAX_EVENTS).take_while(|written| {
            bytes += written.weight();
            bytes <= WAITING_MAX_BYTES
        });
        let excess = self.waiting.len() - newest.count();
        if excess > 0 {
            self.waiting.drain(..excess);
            self.tell(CacheOutcome::Skipped, excess);
        }
    }

    /// The next put, unless one is under way or nothing waits. Its end belongs to [`CacheFeed::end`].
    pub(crate) fn begin(&mut self) -> Option<impl Future<Output = Put> + use<>> {
        if self.is_putting || self.waiting.is_empty() {
            return None;
        }
        self.is_putting = true;
        let events: Vec<_> = self.waiting.drain(..self.waiting.len().min(PUT_MAX_EVENTS)).collect();
        let (cache, events_len) = (Arc::clone(&self.cache), events.len());
        // On a task of its own: a cache that panics takes nobody with it.
        let put = tokio::spawn(async move { cache.put(&events).await });
        Some(async move {
            let outcome = match put.await {
                Ok(Ok(())) => CacheOutcome::Written,
                Ok(Err(CacheError::Late)) => CacheOutcome::Late,
                Ok(Err(CacheError::Unavailable(_))) | Err(_) => CacheOutcome::Failed,
            };
            Put { outcome, events_len }
        })
    }

    /// The put is over.
    pub(crate) fn end(&mut self, put: Put) {
        self.is_putting = false;
        self.tell(put.outcome, put.events_len);
    }

    fn tell(&self, outcome: CacheOutcome, events: usize) {
        self.telemetry.emit(PipelineEvent::Cached { outcome, events });
    }
}

/// How a put ended.
pub(crate) struct Put {
    outcome: CacheOutcome,
    events_len: usize,
}
