//! Group commit: everything that arrived during the last commit goes into the next one, without artificial delay.
//!
//! A delivery is answered only once it is durable. If the process dies here, what was not answered may or may not
//! be in the store; the sender's retry is then a duplicate or a first arrival, and either way counts once.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use actix::dev::MessageResponse;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::sync::oneshot;

use crate::cache_feed::CacheFeed;
use crate::domain::admission::EventDraft;
use crate::kafka_publisher::Outlet;
use crate::messages::{CommitDelivery, CommitError};
use crate::ports::store::{Committed, EncodeEvent, NewDelivery, StoreError, WrittenEvent};
use crate::ports::{Cache, Store, Telemetry};
use crate::supervision::waiting;

/// Deliveries in one commit.
pub const GROUP_MAX_DELIVERIES: usize = 500;
/// Readings in one commit, unless one delivery alone has more: everybody else's commit waits for it.
pub const GROUP_MAX_READINGS: usize = 20_000;

type Verdict = Result<Committed, CommitError>;

/// The way back to one sender: actix puts it here when the handler has returned, and a commit takes it out. It goes
/// with the actor: what a dead writer held is tried once more by the next one.
///
/// Not a future of the actor's context: it polls each of those whenever anything happens, and hundreds wait here.
#[derive(Default)]
pub struct Reply(Rc<Cell<Option<oneshot::Sender<Verdict>>>>);

impl Reply {
    /// Who waits no more is not told.
    fn give(&self, verdict: Verdict) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(verdict);
        }
    }
}

/// What becomes of a delivery: known now, or when its commit is done.
pub enum Pending {
    /// It is refused.
    Refused(CommitError),
    /// It waits for its commit.
    Waits(Reply),
}

impl MessageResponse<EventWriter, CommitDelivery> for Pending {
    fn handle(self, _: &mut Context<EventWriter>, sender: Option<oneshot::Sender<Verdict>>) {
        match self {
            Self::Refused(error) => drop(sender.map(|sender| sender.send(Err(error)))),
            Self::Waits(Reply(place)) => place.set(sender),
        }
    }
}

/// The one writer of deliveries.
pub struct EventWriter {
    store: Arc<dyn Store>,
    encode: EncodeEvent,
    outlet: Outlet,
    outbox_max_entries: u64,
    cache: CacheFeed,
    waiting: Vec<(Arc<NewDelivery>, Reply)>,
    committing: bool,
}

impl EventWriter {
    /// A writer to `store` that tells `outlet`; it refuses while the outbox holds `outbox_max_entries`. What it has
    /// written goes to `cache`.
    pub fn new(
        store: Arc<dyn Store>,
        encode: EncodeEvent,
        outlet: Outlet,
        outbox_max_entries: u64,
        cache: Arc<dyn Cache>,
        telemetry: Arc<dyn Telemetry>,
    ) -> Self {
        let cache = CacheFeed::new(cache, telemetry);
        Self { store, encode, outlet, outbox_max_entries, cache, waiting: Vec::new(), committing: false }
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
            let written = written(&results);
            answer(results, replies);
            writer.outlet.committed(written.len());
            writer.committing = false;
            writer.commit_waiting(context);
            writer.cache.offer(written.into_iter());
            writer.put_waiting(context);
        }));
    }

    fn put_waiting(&mut self, context: &mut Context<Self>) {
        if let Some(put) = self.cache.begin() {
            context.spawn(put.into_actor(self).map(|put, writer, context| {
                writer.cache.end(put);
                writer.put_waiting(context);
            }));
        }
    }
}

/// The events that a commit has made.
fn written(results: &Result<Vec<Result<Committed, StoreError>>, StoreError>) -> Vec<Arc<WrittenEvent>> {
    let committed = results.iter().flatten().flatten();
    let receipts = committed.flat_map(|committed| match committed {
        Committed::Duplicate => [].as_slice(),
        Committed::Stored(receipts) => receipts,
    });
    receipts.filter_map(|receipt| receipt.written.clone()).collect()
}

/// Tells everybody what became of theirs.
fn answer(results: Result<Vec<Result<Committed, StoreError>>, StoreError>, replies: Vec<Reply>) {
    match results {
        Ok(results) => {
            for (result, reply) in results.into_iter().zip(replies) {
                reply.give(result.map_err(CommitError::Store));
            }
        }
        Err(error) => replies.iter().for_each(|reply| reply.give(Err(CommitError::Store(error.clone())))),
    }
}

impl Actor for EventWriter {
    type Context = Context<Self>;
}

impl Handler<CommitDelivery> for EventWriter {
    type Result = Pending;

    fn handle(&mut self, CommitDelivery(delivery): CommitDelivery, context: &mut Context<Self>) -> Pending {
        if self.store.outbox_depth() >= self.outbox_max_entries {
            return Pending::Refused(CommitError::Backlog);
        }
        let reply = Reply::default();
        self.waiting.push((delivery, Reply(Rc::clone(&reply.0))));
        self.commit_waiting(context);
        Pending::Waits(reply)
    }
}
