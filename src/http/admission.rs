//! How much is let in at once: slots for processing, a bounded queue in front of them, and memory for bodies.
//!
//! Big bodies have a lane of their own, and only a part of the memory: nothing ordinary ever waits for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::settings::{BIG_BODIES_BUDGET_PERCENT, BIG_BODY_FROM_BYTES, IntakeSettings};
use crate::telemetry::SlotCounts;

/// The gate of the bridge.
pub struct Admission {
    ordinary: Lane,
    big: Lane,
    body_bytes: Arc<Semaphore>,
    big_body_bytes: Arc<Semaphore>,
}

/// Slots, and a bounded queue in front of them.
pub(super) struct Lane {
    slots: Arc<Semaphore>,
    slots_max: usize,
    waiting: AtomicUsize,
    queue_max: usize,
    queue_wait: Duration,
}

/// Whose slots a delivery takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// `MAX_CONCURRENT_WEBHOOKS`.
    Ordinary,
    /// `HEALTHKIT_CONCURRENT`: it takes long, and nobody else waits for it.
    Big,
}

/// Lets deliveries in until it is closed, and knows how many are inside.
#[derive(Clone, Default)]
pub struct Entrance(Arc<EntranceState>);

#[derive(Default)]
struct EntranceState {
    is_closed: watch::Sender<bool>,
    inside: AtomicUsize,
}

/// A delivery is inside as long as this is held.
#[must_use = "the delivery is outside again when this goes"]
pub struct Inside(Entrance);

impl Entrance {
    /// Lets a delivery in; `None` once it is closed.
    pub fn enter(&self) -> Option<Inside> {
        // Counted before the look: whoever closes either sees this one inside, or has closed before it.
        self.0.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(self.clone());
        (!self.is_closed()).then_some(inside)
    }

    /// From now on nothing new is let in.
    pub fn close(&self) {
        self.0.is_closed.send_replace(true);
    }

    /// Whether it has been closed.
    pub fn is_closed(&self) -> bool {
        *self.0.is_closed.borrow()
    }

    /// Returns once it is closed.
    pub async fn closed(&self) {
        // An error would mean that the sender is gone, but it is ours.
        let _ = self.0.is_closed.subscribe().wait_for(|is_closed| *is_closed).await;
    }

    /// Returns once it has been closed for so long.
    pub async fn closed_for(&self, grace: Duration) {
        self.closed().await;
        tokio::time::sleep(grace).await;
    }

    /// Whether nobody is inside.
    pub fn is_empty(&self) -> bool {
        self.0.inside.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// There was no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// As many deliveries wait as may.
    #[error("too many deliveries wait already")]
    QueueFull,
    /// It waited as long as it may.
    #[error("no slot became free in time")]
    WaitedTooLong,
    /// Bodies fill their memory.
    #[error("too many bodies are being received")]
    BodyBudget,
    /// Bodies that are too long for memory fill the room on disk.
    #[error("too many long bodies are being received")]
    SpoolFull,
}

/// The right to be processed; given back when it goes.
#[must_use = "the slot is free again when this goes"]
pub struct Slot(#[expect(dead_code, reason = "kept for its Drop")] OwnedSemaphorePermit);

/// Memory for a body; given back when it goes.
#[must_use = "the memory is free again when this goes"]
pub struct BodyMemory {
    all: Held,
    /// The part of it that counts as that of a big body: nothing, or everything.
    big: Held,
}

/// Bytes of one budget.
struct Held {
    budget: Arc<Semaphore>,
    bytes: Option<OwnedSemaphorePermit>,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    pub(super) fn new(slots: usize, queue_max: usize, queue_wait: Duration) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            slots_max: slots,
            waiting: AtomicUsize::new(0),
            queue_max,
            queue_wait,
        }
    }

    pub(super) async fn slot(&self) -> Result<(Slot, Duration), NoRoom> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok((Slot(permit), Duration::ZERO));
        }
        let started = Instant::now();
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.queue_max {
            drop(Waiting(&self.waiting));
            return Err(NoRoom::QueueFull);
        }
        let _waiting = Waiting(&self.waiting);
        match tokio::time::timeout(self.queue_wait, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(permit)) => Ok((Slot(permit), started.elapsed())),
            Ok(Err(_)) | Err(_) => Err(NoRoom::WaitedTooLong),
        }
    }

    fn counts(&self) -> SlotCounts {
        let free = self.slots.available_permits();
        let used = self.slots_max.saturating_sub(free);
        SlotCounts { free, used, waiting: self.waiting.load(Ordering::Relaxed) }
    }
}

impl Admission {
    /// A gate with the operator's numbers.
    pub fn new(settings: &IntakeSettings) -> Self {
        let lane = |slots| Lane::new(slots, settings.queue_max, settings.queue_wait);
        let body_bytes = settings.body_budget_bytes;
        let big_body_bytes = body_bytes / 100 * BIG_BODIES_BUDGET_PERCENT;
        Self {
            ordinary: lane(settings.slots),
            big: lane(settings.healthkit_slots),
            body_bytes: Arc::new(Semaphore::new(body_bytes)),
            big_body_bytes: Arc::new(Semaphore::new(big_body_bytes)),
        }
    }

    /// A slot: at once, after a bounded wait, or not. Tells how long it took.
    pub async fn slot(&self, size: Size) -> Result<(Slot, Duration), NoRoom> {
        self.lane(size).slot().await
    }

    /// An account for the memory of one body.
    pub fn body_memory(&self) -> BodyMemory {
        BodyMemory { all: Held::none_of(&self.body_bytes), big: Held::none_of(&self.big_body_bytes) }
    }

    /// How the slots of this size stand.
    pub fn counts(&self, size: Size) -> SlotCounts {
        self.lane(size).counts()
    }

    fn lane(&self, size: Size) -> &Lane {
        match size {
            Size::Ordinary => &self.ordinary,
            Size::Big => &self.big,
        }
    }
}

impl BodyMemory {
    /// Whether so many bytes would find room now. Nothing is held for them: what is announced may never come.
    pub fn has_room(&self, bytes: usize) -> Result<(), NoRoom> {
        let is_big = bytes > BIG_BODY_FROM_BYTES;
        if self.all.has_room(bytes) && (!is_big || self.big.has_room(bytes)) {
            return Ok(());
        }
        Err(NoRoom::BodyBudget)
    }

    /// Takes `bytes` more from the budget.
    pub fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let total = self.all.len() + bytes;
        if total > BIG_BODY_FROM_BYTES {
            self.big.grow(total - self.big.len())?;
        }
        self.all.grow(bytes)
    }
}

impl Held {
    fn none_of(budget: &Arc<Semaphore>) -> Self {
        Self { budget: Arc::clone(budget), bytes: None }
    }

    fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.budget.available_permits()
    }

    fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let bytes = u32::try_from(bytes).map_err(|_| NoRoom::BodyBudget)?;
        let more = Arc::clone(&self.budget).try_acquire_many_owned(bytes).map_err(|_| NoRoom::BodyBudget)?;
        match &mut self.bytes {
            Some(held) => held.merge(more),
            None => self.bytes = Some(more),
        }
        Ok(())
    }
}
