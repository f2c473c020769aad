//! The bounded queue in front of a child. It outlives every life.

use std::collections::VecDeque;

use actix::Actor;
use parking_lot::Mutex;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::envelope::Envelope;

/// A message that was accepted and is not yet answered.
pub(super) struct Mail<A: Actor> {
    pub(super) envelope: Box<dyn Envelope<A>>,
    /// The order of acceptance.
    pub(super) number: u64,
    pub(super) accepted: Instant,
    /// How many lives ended with it in hand.
    pub(super) deaths: u32,
}

struct Queue<A: Actor> {
    waiting: VecDeque<Mail<A>>,
    next_number: u64,
    is_closed: bool,
}

/// Room for a fixed number of unanswered messages, and those of them that wait.
pub(super) struct Mailbox<A: Actor> {
    queue: Mutex<Queue<A>>,
    room: Semaphore,
    capacity: usize,
}

impl<A: Actor> Mailbox<A> {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, Semaphore::MAX_PERMITS);
        let queue = Queue { waiting: VecDeque::new(), next_number: 0, is_closed: false };
        Self { queue: Mutex::new(queue), room: Semaphore::new(capacity), capacity }
    }

    /// Waits for room, first come, first served.
    pub(super) async fn room(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.room.acquire().await
    }

    /// Room, if there is some now.
    pub(super) fn room_now(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.room.try_acquire()
    }

    /// Queues `envelope` in `room`, or gives it back when the mailbox was closed in the meantime.
    pub(super) fn accept<E>(&self, room: SemaphorePermit<'_>, envelope: Box<E>) -> Result<(), Box<E>>
    where
        E: Envelope<A> + 'static,
    {
        let mut queue = self.queue.lock();
        if queue.is_closed {
            return Err(envelope);
        }
        let number = queue.next_number;
        queue.next_number += 1;
        queue.waiting.push_back(Mail { envelope, number, accepted: Instant::now(), deaths: 0 });
        room.forget();
        Ok(())
    }

    /// The message that waits longest.
    pub(super) fn take(&self) -> Option<Mail<A>> {
        self.queue.lock().waiting.pop_front()
    }

    /// Makes room for as many messages as were answered or refused.
    pub(super) fn release(&self, messages: usize) {
        self.room.add_permits(messages);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.lock().waiting.is_empty()
    }

    /// How many messages wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// Accepts nothing more; what waits stays.
    pub(super) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.room.close();
    }

    /// Takes out everything that waits.
    pub(super) fn empty(&self) -> VecDeque<Mail<A>> {
        std::mem::take(&mut self.queue.lock().waiting)
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many messages are accepted and not yet answered, waiting or in hand.
    pub(super) fn depth(&self) -> usize {
        self.capacity.saturating_sub(self.room.available_permits())
    }

    /// When the message that waits longest was accepted.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.queue.lock().waiting.front().map(|mail| mail.accepted)
    }
}
