//! Moves committed messages from the outbox to the log, in order, and only then deletes them.
//!
//! If the process dies between the two, the next life appends them again: consumers see a run of messages twice,
//! and apply each once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cognition::state::APPLIED_IDS_MAX;
use crate::messages::EventsCommitted;
use crate::ports::store::OutboxEntry;
use crate::ports::telemetry::PipelineEvent;
use crate::ports::{EventLog, Store, Telemetry};
use crate::supervision::{Backoff, idle, waiting};

/// Messages moved at a time.
pub const PUBLISH_BATCH_MAX: usize = 500;
/// Messages of one key moved at a time: as many as a state remembers, so that it knows every one that comes twice.
const KEY_BATCH_MAX: usize = APPLIED_IDS_MAX;
/// How long the outbox goes unwatched when nobody says that there is something in it.
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// After so long without a failure, delays begin with the shortest again.
const QUIET: Duration = Duration::from_secs(30);

/// The one publisher of an outbox.
pub struct KafkaPublisher {
    store: Arc<dyn Store>,
    log: Arc<dyn EventLog>,
    telemetry: Arc<dyn Telemetry>,
    wake: Arc<Notify>,
}

impl KafkaPublisher {
    /// A publisher from `store`'s outbox to `log`.
    pub fn new(store: Arc<dyn Store>, log: Arc<dyn EventLog>, telemetry: Arc<dyn Telemetry>) -> Self {
        Self { store, log, telemetry, wake: Arc::new(Notify::new()) }
    }
}

impl Actor for KafkaPublisher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let (store, log) = (Arc::clone(&self.store), Arc::clone(&self.log));
        let (telemetry, wake) = (Arc::clone(&self.telemetry), Arc::clone(&self.wake));
        context.spawn(async move { publish(&*store, &*log, &*telemetry, &wake).await }.into_actor(self));
    }
}

impl Handler<EventsCommitted> for KafkaPublisher {
    type Result = ();

    fn handle(&mut self, EventsCommitted: EventsCommitted, _: &mut Self::Context) {
        self.wake.notify_one();
    }
}

async fn publish(store: &dyn Store, log: &dyn EventLog, telemetry: &dyn Telemetry, wake: &Notify) {
    let mut delays = Backoff::default().delays(QUIET);
    loop {
        match move_batch(store, log).await {
            Ok(0) => {
                let _ = idle(tokio::time::timeout(IDLE_LOOK, wake.notified())).await;
            }
            Ok(messages) => telemetry.emit(PipelineEvent::Published { messages }),
            Err(error) => {
                telemetry.emit(PipelineEvent::Retrying { actor: "publisher", error });
                idle(tokio::time::sleep(delays.next(Instant::now()))).await;
            }
        }
    }
}

/// Moves the oldest batch, and tells how many messages it had.
async fn move_batch(store: &dyn Store, log: &dyn EventLog) -> Result<usize, String> {
    let mut entries =
        waiting(store.read_outbox(PUBLISH_BATCH_MAX)).await.map_err(|error| error.to_string())?;
    if entries.is_empty() {
        return Ok(0);
    }
    entries.truncate(batch_len(&entries));
    let (ids, messages): (Vec<i64>, Vec<_>) =
        entries.into_iter().map(|OutboxEntry { id, message }| (id, message)).unzip();
    waiting(log.append(messages)).await.map_err(|error| error.to_string())?;
    waiting(store.delete_outbox(&ids)).await.map_err(|error| error.to_string())?;
    Ok(ids.len())
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
    use crate::domain::message::{Message, Topic};

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
