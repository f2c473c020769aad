//! The handle by which everybody else speaks to a child.

use std::fmt;
use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::{TryAcquireError, oneshot};

use super::child::Child;
use super::envelope::{Letter, ReplySender};
use super::error::{AskError, CommandError};
use super::life::Fault;
use super::member::{AnyChild as _, Command, Member as _};
use super::progress::waiting;
use super::snapshot::NodeSnapshot;

/// The address of a child: it stays good through every restart.
///
/// A message that was accepted survives panics and restarts; it is handled once, in the order of acceptance, save
/// that one which was in hand at a death is tried once more. A child that asks itself waits for itself: with one
/// message in flight, for ever. An actor that asks another does not count as hung while it waits for room or answer.
pub struct ChildRef<A: Actor> {
    pub(super) child: Arc<Child<A>>,
}

impl<A: Actor<Context = actix::Context<A>>> ChildRef<A> {
    /// Sends `message`, waiting for room, and waits for the result.
    ///
    /// A caller that is dropped while it waits for room has sent nothing; later, the message is handled all the same.
    ///
    /// # Errors
    /// [`AskError::Stopped`] or [`AskError::Died`].
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, AskError<M>>
    where
        A: Handler<M>,
        M: Message + Clone + Send + 'static,
        M::Result: Send,
    {
        let (reply, verdict) = oneshot::channel();
        waiting(async {
            self.deliver(message, Some(reply)).await?;
            read(verdict).await
        })
        .await
    }

    /// As [`ChildRef::ask`], but refuses at once when there is no room.
    ///
    /// # Errors
    /// [`AskError::Full`] besides.
    pub async fn try_ask<M>(&self, message: M) -> Result<M::Result, AskError<M>>
    where
        A: Handler<M>,
        M: Message + Clone + Send + 'static,
        M::Result: Send,
    {
        let (reply, verdict) = oneshot::channel();
        self.deliver_now(message, Some(reply))?;
        waiting(read(verdict)).await
    }

    /// Sends `message`, waiting for room but not for the result.
    ///
    /// # Errors
    /// [`AskError::Stopped`]. What befalls an accepted message, only the observer hears.
    pub async fn tell<M>(&self, message: M) -> Result<(), AskError<M>>
    where
        A: Handler<M>,
        M: Message + Clone + Send + 'static,
        M::Result: Send,
    {
        waiting(self.deliver(message, None)).await
    }

    /// As [`ChildRef::tell`], but refuses at once when there is no room.
    ///
    /// # Errors
    /// [`AskError::Full`] or [`AskError::Stopped`].
    pub fn try_tell<M>(&self, message: M) -> Result<(), AskError<M>>
    where
        A: Handler<M>,
        M: Message + Clone + Send + 'static,
        M::Result: Send,
    {
        self.deliver_now(message, None)
    }

    async fn deliver<M>(&self, message: M, reply: Option<ReplySender<M>>) -> Result<(), AskError<M>>
    where
        A: Handler<M>,
        M: Message + Clone + Send + 'static,
        M::Result: Send,
    {
        match self.child.mailbox.room().await {
            Ok(room) => self.accept(room, message, reply),
            Err(_closed) => Err(AskError::Stopped(message)),
        }
    }

    fn deliver_now<M>(&self, message: M, reply: Option<ReplySender<M>>) -> Result<(), AskError<M>>
    where
        A: Handler<M>,
        M: Message + Clone + Send + 'static,
        M::Result: Send,
    {
        match self.child.mailbox.room_now() {
            Ok(room) => self.accept(room, message, reply),
            Err(TryAcquireError::NoPermits) => Err(AskError::Full(message)),
            Err(TryAcquireError::Closed) => Err(AskError::Stopped(message)),
        }
    }

    fn accept<M>(
        &self,
        room: tokio::sync::SemaphorePermit<'_>,
        message: M,
        reply: Option<ReplySender<M>>,
    ) -> Result<(), AskError<M>>
    where
        A: Handler<M>,
        M: Message + Clone + Send + 'static,
        M::Result: Send,
    {
        match self.child.mailbox.accept(room, Box::new(Letter::new(message, reply))) {
            Ok(()) => self.child.wake(),
            Err(letter) => {
                return letter.take_back().map_or(Ok(()), |message| Err(AskError::Stopped(message)));
            }
        }
        Ok(())
    }
}

impl<A: Actor> ChildRef<A> {
    /// The child's path in the tree.
    pub fn path(&self) -> String {
        self.child.path()
    }

    /// How many messages are accepted and not yet answered.
    pub fn depth(&self) -> usize {
        self.child.mailbox.depth()
    }

    /// Whether the child is stopped or failed for good, so that it takes no more messages.
    pub fn is_over(&self) -> bool {
        self.child.state().is_over()
    }

    /// As `/actors/{path}` shows it.
    pub fn snapshot(&self) -> NodeSnapshot {
        self.child.snapshot()
    }

    /// Restarts the child when what it has in hand is done, at the latest after its `stop_within`.
    ///
    /// It counts as a restart but not against the restart limit.
    ///
    /// # Errors
    /// [`CommandError::Over`].
    pub fn restart(&self) -> Result<(), CommandError> {
        self.child.command(Command::Renew)
    }

    /// Makes the child suffer `fault` at its next message, or at once if it is self-driven.
    ///
    /// # Errors
    /// [`CommandError::Over`].
    pub fn inject(&self, fault: Fault) -> Result<(), CommandError> {
        self.child.command(Command::Suffer(fault))
    }
}

impl<A: Actor> Clone for ChildRef<A> {
    fn clone(&self) -> Self {
        Self { child: Arc::clone(&self.child) }
    }
}

impl<A: Actor> fmt::Debug for ChildRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vitals = self.child.vitals();
        f.debug_struct("ChildRef").field("path", &self.path()).field("vitals", &vitals).finish()
    }
}

async fn read<M: Message>(
    verdict: oneshot::Receiver<Result<M::Result, AskError<M>>>,
) -> Result<M::Result, AskError<M>> {
    match verdict.await {
        Ok(verdict) => verdict,
        // Each of its ways out, `Drop` among them, sends first.
        Err(_) => unreachable!("a letter gives a verdict before it is gone"),
    }
}
