//! A delivery whose body is too long for memory: read on a thread of its own, and committed part by part as it is read.
//!
//! Its device's handler and everybody else's deliveries go on beside it: each part is a delivery to the writer like any
//! other. All parts are one delivery in the store, which is known as such with the last of them: what dies in between
//! leaves readings that are stored and a delivery that is not, and its sender's retry goes on with it. A reader that
//! panics is tried once more from the begin; what it has stored by then is known.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::device_handler::commit;
use crate::domain::account::Vendor;
use crate::domain::admission::EventDraft;
use crate::domain::delivery::{DecodeError, Decoded, Rejections};
use crate::domain::ids::{RequestId, UserId};
use crate::domain::time::Timestamp;
use crate::event_writer::{EventWriter, GROUP_MAX_READINGS};
use crate::linked_users::zones_of;
use crate::messages::CommitError;
use crate::ports::Accounts;
use crate::ports::store::{Committed, DeliveryStatus, NewDelivery};
use crate::supervision::ChildRef;
use crate::vendors::long::{LongBodies, LongError, Source, Surveyed};
use crate::vendors::{Device, Verified};

/// Readings in one part, a whole number of full events: every other commit waits for no more of them than that, times the
/// long bodies that are taken in at once.
pub const PART_MAX_READINGS: usize = 3_000;
/// How often a reader that panics is started.
const TRIES: usize = 2;
/// Parts that wait for the writer, besides the one in its hands.
const PARTS_AHEAD: usize = 1;

const _: () = assert!(PART_MAX_READINGS <= GROUP_MAX_READINGS);

/// A verified delivery, and where its body lies.
#[derive(Clone)]
pub struct LongDelivery {
    /// Whose format it is in; one that takes long bodies.
    pub device: Arc<dyn Device>,
    /// What its verifier believed, without the body.
    pub verified: Arc<Verified>,
    /// The body.
    pub source: Arc<dyn Source>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Of the request that brought it.
    pub request_id: RequestId,
}

/// What becomes of a long delivery.
#[derive(Debug)]
pub enum LongOutcome {
    /// Its data is durable.
    Processed(Stored),
    /// The same delivery was durable before.
    Duplicate,
    /// Nothing for us; not stored.
    Ignored {
        /// Why.
        reason: &'static str,
    },
    /// It cannot be read; nothing of it is stored.
    Unreadable(DecodeError),
    /// Its bytes cannot be had: what the [`Source`] said.
    Lost(std::io::Error),
    /// It is not durable as a whole. What of it is, will be known when it comes again.
    NotCommitted(CommitError),
}

/// What was new in a delivery, over all its parts.
#[derive(Debug, Default)]
pub struct Stored {
    /// Whom the first of it is about.
    pub user: Option<UserId>,
    /// New events.
    pub events: usize,
    /// New readings.
    pub readings: usize,
    /// What was refused.
    pub rejected: Rejections,
}

/// How a part ended the delivery.
enum End {
    /// Nothing more is to be done.
    Done(LongOutcome),
    /// The reader has died.
    Died,
}

/// Takes in a delivery, unless it is `stopping` before the end. What was stored by then is known when it comes again; a
/// part that is in the writer's hands may still be stored, and is known then too.
pub async fn take_in(
    delivery: LongDelivery,
    accounts: &dyn Accounts,
    writer: &ChildRef<EventWriter>,
    stopping: impl Future<Output = ()>,
) -> LongOutcome {
    tokio::select! {
        biased;
        outcome = take_in_whole(delivery, accounts, writer) => outcome,
        () = stopping => LongOutcome::NotCommitted(CommitError::Stopping),
    }
}

async fn take_in_whole(
    mut delivery: LongDelivery,
    accounts: &dyn Accounts,
    writer: &ChildRef<EventWriter>,
) -> LongOutcome {
    let Surveyed { key, users } = match survey(&delivery).await {
        Ok(surveyed) => surveyed,
        Err(outcome) => return outcome,
    };
    match zones_of(accounts, users, Vendor::parse(delivery.device.name())).await {
        Ok(zones) => delivery.verified = Arc::new(delivery.verified.in_zones(zones)),
        Err(error) => return LongOutcome::NotCommitted(error.into()),
    }
    let mut stored = Stored::default();
    for _ in 0..TRIES {
        match read(&delivery, key, writer, &mut stored).await {
            End::Done(outcome) => return outcome,
            End::Died => {}
        }
    }
    LongOutcome::NotCommitted(CommitError::Crashed)
}

/// Looks whether all of it can be read, before anything is stored: the key of the delivery.
async fn survey(delivery: &LongDelivery) -> Result<Surveyed, LongOutcome> {
    for _ in 0..TRIES {
        let LongDelivery { device, verified, source, .. } = delivery.clone();
        let surveyed = spawn_blocking(move || long(&*device)?.survey(&verified, &*source)).await;
        match surveyed {
            Ok(result) => return result.map_err(failed),
            Err(_panicked) => {}
        }
    }
    Err(LongOutcome::NotCommitted(CommitError::Crashed))
}

/// Reads all of it, and commits it as it comes.
async fn read(
    delivery: &LongDelivery,
    key: [u8; 32],
    writer: &ChildRef<EventWriter>,
    stored: &mut Stored,
) -> End {
    let (sender, mut parts) = mpsc::channel(PARTS_AHEAD);
    let LongDelivery { device, verified, source, received_at, .. } = delivery.clone();
    let reading = spawn_blocking(move || {
        let mut hand = |drafts: Vec<EventDraft>| sender.blocking_send(drafts).is_ok();
        long(&*device)?.read(&verified, received_at, &*source, PART_MAX_READINGS, &mut hand)
    });
    while let Some(drafts) = parts.recv().await {
        let part = delivery.part(key, DeliveryStatus::Partial, drafts);
        if let Some(outcome) = stored.take(commit(writer, part).await) {
            // Whoever reads on finds nobody to hand it to.
            return End::Done(outcome);
        }
    }
    let (drafts, rejected) = match reading.await {
        Ok(Ok(Decoded::Events { drafts, rejected })) => (drafts, rejected),
        Ok(Ok(Decoded::Ignored { reason })) => return End::Done(LongOutcome::Ignored { reason }),
        // Nobody who takes long bodies sends these.
        Ok(Ok(
            Decoded::Notification { .. }
            | Decoded::LocalTimes { .. }
            | Decoded::LocalToUsers { .. }
            | Decoded::AccountMoved { .. },
        )) => {
            return End::Done(LongOutcome::Ignored { reason: "no data" });
        }
        Ok(Err(error)) => return End::Done(failed(error)),
        Err(_panicked) => return End::Died,
    };
    let last = delivery.part(key, DeliveryStatus::Processed, drafts);
    if let Some(outcome) = stored.take(commit(writer, last).await) {
        return End::Done(outcome);
    }
    End::Done(LongOutcome::Processed(Stored { rejected, ..std::mem::take(stored) }))
}

/// A device's way with long bodies.
fn long(device: &dyn Device) -> Result<&dyn LongBodies, LongError> {
    device.long_bodies().ok_or(LongError::Unwanted)
}

fn failed(error: LongError) -> LongOutcome {
    match error {
        LongError::Unreadable(error) => LongOutcome::Unreadable(error),
        LongError::Io(error) => LongOutcome::Lost(error),
        LongError::Unwanted => LongOutcome::NotCommitted(CommitError::Crashed),
    }
}

impl LongDelivery {
    fn part(&self, key: [u8; 32], status: DeliveryStatus, drafts: Vec<EventDraft>) -> NewDelivery {
        NewDelivery {
            key,
            device: self.device.name(),
            request_id: self.request_id.clone(),
            received_at: self.received_at,
            status,
            // Too long to be kept.
            body: Bytes::new(),
            drafts,
            fetches: Vec::new(),
            ends: None,
        }
    }
}

impl Stored {
    /// Adds what a commit has stored; what it ends the delivery with, if it does.
    fn take(&mut self, committed: Result<Committed, CommitError>) -> Option<LongOutcome> {
        match committed {
            Ok(Committed::Stored(receipts)) => {
                for receipt in receipts {
                    self.events += usize::from(receipt.is_new);
                    self.readings += receipt.readings;
                    self.user.get_or_insert(receipt.user_id);
                }
                None
            }
            // It was known, or somebody else who brings the same has just ended it.
            Ok(Committed::Duplicate) if self.user.is_none() => Some(LongOutcome::Duplicate),
            Ok(Committed::Duplicate) => Some(LongOutcome::Processed(std::mem::take(self))),
            Err(error) => Some(LongOutcome::NotCommitted(error)),
        }
    }
}
