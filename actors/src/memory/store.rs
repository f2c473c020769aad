//! The durable store in memory.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::contents::Contents;
use super::faults::Faults;
use crate::domain::ids::UserId;
use crate::ports::Store;
use crate::ports::event_log::Places;
use crate::ports::store::{
    Checkpoint, CheckpointBatch, Claim, Committed, DeadLetter, EncodeEvent, EventQuery, LatestReading,
    NewDelivery, OutboxEntry, StoreError, StoredEvent, SwitchPage,
};

/// An operation of the store, for its [`Faults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as in the trait")]
pub enum StoreCall {
    CommitDeliveries,
    ReadOutbox,
    DeleteOutbox,
    BuryOutbox,
    ClaimPartitions,
    Positions,
    LoadCheckpoints,
    SaveCheckpoints,
    Events,
    Latest,
    ModeSwitches,
    DeadLettersLen,
    DeadLetters,
    RedriveLetters,
    Check,
    PutLink,
    DeleteLink,
    MoveEvents,
    Link,
    LinksOf,
    LinkByKey,
    Tokens,
    LeaseTokens,
    ExtendLease,
    EndLease,
    ReplaceTokens,
    MarkForReconnection,
    ToReconnect,
    ToPoll,
    SealedOtherwise,
    Reseal,
    ClaimFetches,
    TakeRequest,
    ReturnRequest,
    RestVendor,
    PutBack,
    ExtendLeases,
    DropLeases,
    ReleaseFetches,
    CountFetches,
    DeadFetches,
    RedriveFetches,
}

/// A handle to a store in memory. What it holds lives as long as any handle to it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    contents: Arc<watch::Sender<Contents>>,
    refused: Mutex<HashSet<[u8; 32]>>,
    faults: Faults<StoreCall, StoreError>,
}

impl MemoryStore {
    /// Another handle to the same contents, as a new process has it: without the faults of this one.
    pub fn reopen(&self) -> Self {
        Self { contents: Arc::clone(&self.contents), ..Self::default() }
    }

    /// What is to befall the calls of this handle.
    pub fn faults(&self) -> &Faults<StoreCall, StoreError> {
        &self.faults
    }

    /// From now on this handle refuses the delivery of this key, as an engine refuses a row that it cannot take.
    pub fn refuse_delivery(&self, key: [u8; 32]) {
        self.refused.lock().insert(key);
    }

    /// Looks at the contents, between two transactions.
    pub fn read<T>(&self, look: impl FnOnce(&Contents) -> T) -> T {
        look(&self.contents.borrow())
    }

    /// Sees every transaction: `changes().wait_for(|contents| …)`.
    pub fn changes(&self) -> watch::Receiver<Contents> {
        self.contents.subscribe()
    }

    /// One call: a write if it changes something.
    pub(super) async fn transact<T: Send>(
        &self,
        call: StoreCall,
        change: impl FnOnce(&mut Contents) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let rest = self.faults.before(call).await?;
        let mut result = Err(StoreError::Unavailable("nothing was done".to_owned()));
        self.contents.send_modify(|contents| result = change(contents));
        self.faults.after(rest).await.and(result)
    }

    pub(super) async fn look<T: Send>(
        &self,
        call: StoreCall,
        look: impl FnOnce(&Contents) -> T + Send,
    ) -> Result<T, StoreError> {
        let rest = self.faults.before(call).await?;
        let seen = self.read(look);
        self.faults.after(rest).await.map(|()| seen)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit_deliveries(
        &self,
        deliveries: &[Arc<NewDelivery>],
        encode: &EncodeEvent,
    ) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
        let refused = self.refused.lock().clone();
        self.transact(StoreCall::CommitDeliveries, |contents| {
            let commit = |delivery: &Arc<NewDelivery>| match refused.contains(&delivery.key) {
                true => Err(StoreError::Refused("a scripted refusal".to_owned())),
                false => Ok(contents.commit(delivery, encode)),
            };
            Ok(deliveries.iter().map(commit).collect())
        })
        .await
    }

    fn outbox_depth(&self) -> u64 {
        self.read(|contents| contents.outbox.len() as u64)
    }

    fn outbox_shards(&self) -> u32 {
        1
    }

    async fn read_outbox(&self, _: u32, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.look(StoreCall::ReadOutbox, |contents| {
            let entries = contents.outbox.iter().take(limit);
            entries.map(|(id, message)| OutboxEntry { id: *id, message: message.clone() }).collect()
        })
        .await
    }

    async fn delete_outbox(&self, _: u32, ids: &[i64]) -> Result<(), StoreError> {
        self.transact(StoreCall::DeleteOutbox, |contents| {
            ids.iter().for_each(|id| drop(contents.outbox.remove(id)));
            Ok(())
        })
        .await
    }

    async fn bury_outbox(&self, _: u32, refused: &[(i64, DeadLetter)]) -> Result<(), StoreError> {
        self.transact(StoreCall::BuryOutbox, |contents| {
            contents.bury(refused);
            Ok(())
        })
        .await
    }

    async fn claim_partitions(&self, consumer: &str, partitions: &[u32]) -> Result<Vec<Claim>, StoreError> {
        self.transact(StoreCall::ClaimPartitions, |contents| Ok(contents.claim(consumer, partitions))).await
    }

    async fn positions(&self, consumer: &str, partitions: &[u32]) -> Result<Places, StoreError> {
        self.look(StoreCall::Positions, |contents| contents.positions_of(consumer, partitions)).await
    }

    async fn load_checkpoints(&self, users: &[UserId]) -> Result<Vec<Checkpoint>, StoreError> {
        self.look(StoreCall::LoadCheckpoints, |contents| {
            users.iter().filter_map(|user| contents.checkpoints.get(user)).cloned().collect()
        })
        .await
    }

    async fn save_checkpoints(&self, batch: &CheckpointBatch) -> Result<usize, StoreError> {
        self.transact(StoreCall::SaveCheckpoints, |contents| contents.save(batch)).await
    }

    async fn events(&self, query: &EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        self.look(StoreCall::Events, |contents| contents.query(query)).await
    }

    async fn latest(&self, user: &UserId) -> Result<Vec<LatestReading>, StoreError> {
        self.look(StoreCall::Latest, |contents| contents.latest(user)).await
    }

    async fn mode_switches(
        &self,
        user: &UserId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<SwitchPage, StoreError> {
        let mut rows: Vec<(i64, Vec<u8>)> = self
            .look(StoreCall::ModeSwitches, |contents| {
                let numbered = contents.switches.iter().enumerate().map(|(place, row)| (place as i64, row));
                let of_user = numbered.rev().filter(|(seq, switch)| {
                    switch.user_id == *user && before.is_none_or(|before| *seq < before)
                });
                // One more tells whether there is a next page.
                of_user
                    .take(limit.saturating_add(1))
                    .map(|(seq, switch)| (seq, switch.message.value.clone()))
                    .collect()
            })
            .await?;
        let has_next = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_next).map(|(seq, _)| *seq);
        let switches = rows.into_iter().map(|(_, value)| json(value)).collect::<Result<_, _>>()?;
        Ok(SwitchPage { switches, next })
    }

    async fn dead_letters_len(&self) -> Result<u64, StoreError> {
        self.look(StoreCall::DeadLettersLen, |contents| contents.dead_letters.len() as u64).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.transact(StoreCall::Check, |_| Ok(())).await
    }
}

fn json(value: Vec<u8>) -> Result<Box<RawValue>, StoreError> {
    let damaged = || StoreError::Refused("a stored row cannot be read".to_owned());
    let text = String::from_utf8(value).map_err(|_| damaged())?;
    RawValue::from_string(text).map_err(|_| damaged())
}
