//! Moves committed messages from the outbox to the log, in order, and only then deletes them.
//!
//! If the process dies between the two, the next life appends them again: consumers see a run of messages twice,
//! and apply each once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cognition::state::APPLIED_IDS_MAX;
use crate::domain::message::Message;
use crate::messages::EventsCommitted;
use crate::ports::event_log::Refusal;
use crate::ports::store::{DeadLetter, OutboxEntry};
use crate::ports::telemetry::PipelineEvent;
use crate::ports::{Clock, EventLog, Store, Telemetry};
use crate::supervision::{Backoff, ChildRef, idle, waiting};

/// Messages moved at a time.
pub const PUBLISH_BATCH_MAX: usize = 500;
/// Messages of one key moved at a time: as many as a state remembers, so that it knows every one that comes twice.
const KEY_BATCH_MAX: usize = APPLIED_IDS_MAX;
/// How long the outbox goes unwatched when nobody says that there is something in it: as another bridge's commits do not.
const IDLE_LOOK: Duration = Duration::from_millis(100);
/// How often the log may refuse a message before it is set aside.
const TRIES: u32 = 3;

/// After so long without a failure, delays begin with the shortest again.
const QUIET: Duration = Duration::from_secs(30);

/// What the publisher works with; all of it outlives the publisher.
pub struct PublisherParts {
    store: Arc<dyn Store>,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    telemetry: Arc<dyn Telemetry>,
    /// One a shard.
    wakes: Vec<Notify>,
    /// Messages that came to the log with their commits, and that nobody has told yet.
    untold: AtomicUsize,
}

impl PublisherParts {
    /// For a publisher from `store`'s outbox to `log`.
    pub fn new(
        store: Arc<dyn Store>,
        log: Arc<dyn EventLog>,
        clock: Arc<dyn Clock>,
        telemetry: Arc<dyn Telemetry>,
    ) -> Self {
        let wakes = (0..store.outbox_shards()).map(|_| Notify::new()).collect();
        Self { store, log, clock, telemetry, wakes, untold: AtomicUsize::new(0) }
    }

    async fn publish(&self, shard: u32) {
        let mut delays = Backoff::default().delays(QUIET);
        let mut tries = HashMap::new();
        loop {
            match self.move_batch(shard, &mut tries).await {
                Ok(0) => {
                    let wake = self.wakes[shard as usize].notified();
                    let _ = idle(tokio::time::timeout(IDLE_LOOK, wake)).await;
                }
                Ok(messages) => self.telemetry.emit(PipelineEvent::Published { messages }),
                Err(error) => {
                    self.telemetry.emit(PipelineEvent::Retrying { actor: "publisher", error });
                    idle(tokio::time::sleep(delays.next(Instant::now()))).await;
                }
            }
        }
    }

    /// Moves the oldest batch of a shard, and tells how many messages it had. `tries` counts what the log refused.
    async fn move_batch(&self, shard: u32, tries: &mut HashMap<i64, u32>) -> Result<usize, String> {
        let read = waiting(self.store.read_outbox(shard, PUBLISH_BATCH_MAX)).await;
        let mut entries = read.map_err(|error| error.to_string())?;
        if entries.is_empty() {
            return Ok(0);
        }
        entries.truncate(batch_len(&entries));
        let (mut ids, messages): (Vec<i64>, Vec<Message>) =
            entries.into_iter().map(|OutboxEntry { id, message }| (id, message)).unzip();
        let messages = Arc::new(messages);
        let appended = waiting(self.log.append(Arc::clone(&messages))).await;
        let refusals = appended.map_err(|error| error.to_string())?;
        let mut refused = Vec::new();
        for Refusal { index, reason } in &refusals {
            let count = tries.entry(ids[*index]).or_default();
            *count += 1;
            if *count >= TRIES {
                refused.push((ids[*index], self.dead_letter(ids[*index], &messages[*index], reason)));
            }
        }
        if !refused.is_empty() {
            waiting(self.store.bury_outbox(shard, &refused)).await.map_err(|error| error.to_string())?;
            tries.retain(|id, _| refused.iter().all(|(buried, _)| buried != id));
        }
        for refusal in refusals.iter().rev() {
            ids.remove(refusal.index);
        }
        waiting(self.store.delete_outbox(shard, &ids)).await.map_err(|error| error.to_string())?;
        match refusals.first() {
            Some(refusal) if refused.len() < refusals.len() => Err(refusal.reason.clone()),
            _ => Ok(messages.len()),
        }
    }

    fn dead_letter(&self, id: i64, message: &Message, reason: &str) -> DeadLetter {
        DeadLetter {
            id: format!("outbox:{id}").into(),
            original_topic: message.topic,
            place: None,
            error_type: "processing_error",
            error_message: format!("the event log refuses the message: {reason}"),
            failed_at: self.clock.now(),
            retry_count: TRIES,
            message: message.clone(),
        }
    }
}

/// The publisher as those see it who commit messages.
#[derive(Clone)]
pub struct Outlet {
    publisher: ChildRef<KafkaPublisher>,
    parts: Arc<PublisherParts>,
}

impl Outlet {
    /// The way out by `publisher`, which is made of `parts`.
    pub fn new(publisher: ChildRef<KafkaPublisher>, parts: Arc<PublisherParts>) -> Self {
        Self { publisher, parts }
    }

    /// Tells of a commit that sends `messages`: they wait in the outbox, or are on the log already.
    pub fn committed(&self, messages: usize) {
        if self.parts.wakes.is_empty() {
            self.parts.untold.fetch_add(messages, Ordering::Relaxed);
        }
        // A full mailbox means that it is awake already.
        let _ = self.publisher.try_tell(EventsCommitted);
    }
}

/// The one publisher of a bridge: one loop a shard of the outbox; idle where there is none.
pub struct KafkaPublisher {
    parts: Arc<PublisherParts>,
}

impl KafkaPublisher {
    /// A publisher over `parts`.
    pub fn new(parts: Arc<PublisherParts>) -> Self {
        Self { parts }
    }
}

impl Actor for KafkaPublisher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        for shard in 0..self.parts.store.outbox_shards() {
            let parts = Arc::clone(&self.parts);
            context.spawn(async move { parts.publish(shard).await }.into_actor(self));
        }
    }
}

impl Handler<EventsCommitted> for KafkaPublisher {
    type Result = ();

    fn handle(&mut self, EventsCommitted: EventsCommitted, _: &mut Self::Context) {
        let messages = self.parts.untold.swap(0, Ordering::Relaxed);
        if messages > 0 {
            self.parts.telemetry.emit(PipelineEvent::Published { messages });
        }
        self.parts.wakes.iter().for_each(Notify::notify_one);
    }
}

/// How many of the oldest entries make a batch: it ends where one key would have too many in it.
fn batch_len(entries: &[OutboxEntry]) -> usize {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for (place, entry) in entries.iter().enumerate() {
        let count = counts.entry(&entry.message.key).or_default();
        if *count == KEY_BATCH_MAX {
            return place;
        }
        *count += 1;
    }
    entries.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::Topic;

    fn entry(id: usize, key: &str) -> OutboxEntry {
        let message = Message {
            topic: Topic::BiometricEvents,
            key: key.into(),
            value: Vec::new(),
            headers: Vec::new(),
        };
        OutboxEntry { id: id as i64, message }
    }

    #[test]
    fn a_batch_that_comes_twice_holds_no_more_of_a_user_than_a_state_remembers() {
        let entries: Vec<_> = (0..300).map(|id| entry(id, if id % 2 == 0 { "a" } else { "b" })).collect();
        assert_eq!(batch_len(&entries), 2 * APPLIED_IDS_MAX);
        assert_eq!(batch_len(&entries[..100]), 100);
    }
}
