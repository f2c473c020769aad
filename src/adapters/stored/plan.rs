//! What a batch of deliveries will write, decided in memory between one round of reads and one of writes.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use actors::domain::admission::{Admitted, Known};
use actors::domain::ids::{EventId, Identity};
use actors::ports::store::{
    Committed, DeliveryStatus, EncodeEvent, NewDelivery, Receipt, StoreError, WrittenEvent,
};

use super::fetch_queue::QueueChange;

/// A delivery's row, as the batch finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// This batch makes it.
    New,
    /// It was there.
    Known(DeliveryStatus),
}

impl Held {
    /// Whether the row takes in a delivery that comes as `next`.
    pub(crate) fn takes(self, next: DeliveryStatus) -> bool {
        match self {
            Self::New => true,
            Self::Known(status) => status.takes(next),
        }
    }
}

/// An event's row to be.
#[derive(Debug)]
pub(crate) struct EventRow {
    pub(crate) seq: i64,
    pub(crate) delivery_id: i64,
    pub(crate) written: Arc<WrittenEvent>,
    facts: Vec<(Identity, Known)>,
    superseded: Vec<Known>,
}

/// The decisions of one batch. The reads go in, the rows to write come out.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The row of each delivery in the batch, by key.
    pub(crate) deliveries: HashMap<[u8; 32], (i64, Held)>,
    /// The newest known versions of all facts in the batch.
    pub(crate) facts: HashMap<Identity, Known>,
    /// Ids that were given with events, and that stored events have.
    pub(crate) ids: HashSet<EventId>,
    /// Numbers for events, at least one for each draft.
    pub(crate) seqs: VecDeque<i64>,
    /// Deliveries that could not be read before, and can be now, or have become whole.
    pub(crate) moved_on: Vec<(i64, DeliveryStatus)>,
    /// In the order of the batch.
    pub(crate) events: Vec<EventRow>,
    /// What comes into the queue of fetches and leaves it; of nearly all batches nothing.
    pub(crate) queue: QueueChange,
}

impl Plan {
    /// Decides what one delivery adds, seeing what those before it in the batch have added.
    pub(crate) fn take(
        &mut self,
        delivery: &NewDelivery,
        encode: &EncodeEvent,
    ) -> Result<Committed, StoreError> {
        let row = self.deliveries.get_mut(&delivery.key);
        let (delivery_id, held) = row.ok_or_else(|| lost("a delivery without a row"))?;
        if !held.takes(delivery.status) {
            return Ok(Committed::Duplicate);
        }
        if matches!(held, Held::Known(status) if *status != delivery.status) {
            self.moved_on.push((*delivery_id, delivery.status));
        }
        *held = Held::Known(delivery.status);
        let delivery_id = *delivery_id;
        self.queue.fetches.extend_from_slice(&delivery.fetches);
        self.queue.ends.extend(delivery.ends.clone());
        let mut receipts = Vec::with_capacity(delivery.drafts.len());
        for draft in &delivery.drafts {
            let (given_id, user_id) = (draft.event_id.clone(), draft.user_id.clone());
            let is_repeated = given_id.as_ref().is_some_and(|event_id| self.ids.contains(event_id));
            let seq = *self.seqs.front().ok_or_else(|| lost("an event without a number"))?;
            let admit = |facts| draft.clone().admit(seq, facts);
            let Some(admitted) = (!is_repeated).then(|| admit(&mut self.facts)).flatten() else {
                let nothing =
                    Receipt { event_id: given_id, user_id, readings: 0, is_new: false, written: None };
                receipts.push(nothing);
                continue;
            };
            self.seqs.pop_front();
            let Admitted { event, facts, superseded } = admitted;
            let message = encode(&event, &delivery.request_id);
            let written = Arc::new(WrittenEvent { event, message });
            receipts.push(Receipt {
                event_id: Some(written.event.event_id.clone()),
                user_id,
                readings: written.event.readings.len(),
                is_new: true,
                written: Some(Arc::clone(&written)),
            });
            self.events.push(EventRow { seq, delivery_id, written, facts, superseded });
        }
        Ok(Committed::Stored(receipts))
    }

    /// The facts of the new events: of one that comes more than once the last one is the newest.
    pub(crate) fn facts(&self) -> impl Iterator<Item = &(Identity, Known)> {
        self.events.iter().flat_map(|row| &row.facts)
    }

    /// The same to upsert, one row each, in order.
    pub(crate) fn newest_facts(&self) -> BTreeMap<Identity, Known> {
        self.facts().copied().collect()
    }

    /// Where older versions stand, to be hidden.
    pub(crate) fn superseded(&self) -> Vec<Known> {
        self.events.iter().flat_map(|row| row.superseded.iter().copied()).collect()
    }
}

/// The reads did not bring what the batch needs: a mistake of ours.
fn lost(what: &str) -> StoreError {
    StoreError::Refused(format!("the store has prepared {what}"))
}
