//! Group commit: everything that arrived during the last commit goes into the next one, without artificial delay.
//!
//! A delivery is answered only once it is durable. If the process dies here, what was not answered may or may not
//! be in the store; the sender's retry is then a duplicate or a first arrival, and either way counts once.

use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use tokio::sync::oneshot;

use crate::domain::admission::EventDraft;
use crate::kafka_publisher::KafkaPublisher;
use crate::messages::{CommitDelivery, CommitError, EventsCommitted};
use crate::ports::Store;
use crate::ports::store::{Committed, EncodeEvent, NewDelivery, StoreError};
use crate::supervision::{ChildRef, waiting};

/// Deliveries in one commit.
pub const GROUP_MAX_DELIVERIES: usize = 500;
/// Readings in one commit, unless one delivery alone has more: everybody else's commit waits for it.
pub const GROUP_MAX_READINGS: usize = 20_000;

type Reply = oneshot::Sender<Result<Committed, CommitError>>;

/// The one writer of deliveries.
pub struct EventWriter {
    store: Arc<dyn Store>,
    encode: EncodeEvent,
    publisher: ChildRef<KafkaPublisher>,
    outbox_max_entries: u64,
    waiting: Vec<(Arc<NewDelivery>, Reply)>,
    committing: bool,
}

impl EventWriter {
    /// A writer to `store` that wakes `publisher`; it refuses while the outbox holds `outbox_max_entries`.
    pub fn new(
        store: Arc<dyn Store>,
        encode: EncodeEvent,
        publisher: ChildRef<KafkaPublisher>,
        outbox_max_entries: u64,
    ) -> Self {
        Self { store, encode, publisher, outbox_max_entries, waiting: Vec::new(), committing: false }
    }

    /// How many of those who wait go into the next commit: at least one.
    fn group_len(&self) -> usize {
        let mut readings = 0;
        let fits = |(delivery, _): &&(Arc<NewDelivery>, Reply)| {
            readings += delivery.drafts.iter().map(EventDraft::readings_len).sum::<usize>();
            readings <= GROUP_MAX_READINGS
        };
        self.waiting.iter().take(GROUP_MAX_DELIVERIES).take_while(fits).count().max(1)
    }

    fn commit_waiting(&mut self, context: &mut Context<Self>) {
        if self.committing || self.waiting.is_empty() {
            return;
        }
        self.committing = true;
        let group_len = self.group_len();
        let (deliveries, replies): (Vec<_>, Vec<_>) = self.waiting.drain(..group_len).unzip();
        let (store, encode) = (Arc::clone(&self.store), Arc::clone(&self.encode));
        let commit = async move { waiting(store.commit_deliveries(&deliveries, &encode)).await };
        context.spawn(commit.into_actor(self).map(move |results, writer, context| {
            answer(results, replies);
            // A full mailbox means that it is awake already.
            let _ = writer.publisher.try_tell(EventsCommitted);
            writer.committing = false;
            writer.commit_waiting(context);
        }));
    }
}

/// Tells everybody what became of theirs. Who waits no more is not told.
fn answer(results: Result<Vec<Result<Committed, StoreError>>, StoreError>, replies: Vec<Reply>) {
    match results {
        Ok(results) => {
            for (result, reply) in results.into_iter().zip(replies) {
                let _ = reply.send(result.map_err(CommitError::Store));
            }
        }
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(CommitError::Store(error.clone())));
            }
        }
    }
}

impl Actor for EventWriter {
    type Context = Context<Self>;
}

impl Handler<CommitDelivery> for EventWriter {
    // Ends with the actor, unlike a `ResponseFuture`: what a dead writer held is tried once more by the next one.
    type Result = ResponseActFuture<Self, Result<Committed, CommitError>>;

    fn handle(
        &mut self,
        CommitDelivery(delivery): CommitDelivery,
        context: &mut Context<Self>,
    ) -> Self::Result {
        if self.store.outbox_depth() >= self.outbox_max_entries {
            return Box::pin(async { Err(CommitError::Backlog) }.into_actor(self));
        }
        let (reply, answer) = oneshot::channel();
        self.waiting.push((delivery, reply));
        self.commit_waiting(context);
        Box::pin(async move { answer.await.unwrap_or(Err(CommitError::Crashed)) }.into_actor(self))
    }
}
