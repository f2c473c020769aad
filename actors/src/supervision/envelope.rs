//! A message and the way back to its sender, kept outside the actor for as long as it takes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::dev::channel::AddressSender;
use actix::prelude::*;
use tokio::sync::oneshot;

use super::child::Child;
use super::error::AskError;

/// Where the verdict on a message goes.
pub(super) type ReplySender<M> = oneshot::Sender<Result<<M as Message>::Result, AskError<M>>>;

/// What became of a message that was handed to the actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was handled, and its sender has the result.
    Given,
    /// It will never be answered: its handler is gone.
    Dropped,
}

/// A message for `A` of a type that the driver need not know.
///
/// One that is dropped refuses its message, so none can get lost in silence.
pub(super) trait Envelope<A: Actor>: Send {
    /// Puts a copy of the message into the actor's own mailbox.
    fn hand_over(&mut self, actor: &mut AddressSender<A>);
    /// Waits for the handler's answer, has `child` count it, and passes it on.
    fn poll_answer(&mut self, child: &Child<A>, cx: &mut Context<'_>) -> Poll<Answer>;
    /// As `poll_answer`, without waiting and outside tokio's budget.
    fn try_answer(&mut self, child: &Child<A>) -> Poll<Answer>;
    /// The type of the message.
    fn message_name(&self) -> &'static str;
    /// Tells the sender that the message is not tried again.
    fn refuse(self: Box<Self>, reason: &Arc<str>);
}

/// The envelope of an ask, or of a tell when there is no reply.
pub(super) struct Letter<M: Message> {
    message: Option<M>,
    reply: Option<ReplySender<M>>,
    answer: Option<oneshot::Receiver<M::Result>>,
    was_handed_over: bool,
}

impl<M: Message> Letter<M> {
    pub(super) fn new(message: M, reply: Option<ReplySender<M>>) -> Self {
        Self { message: Some(message), reply, answer: None, was_handed_over: false }
    }

    /// Takes the letter back: its sender is asked to keep the message.
    pub(super) fn take_back(mut self) -> Option<M> {
        self.message.take()
    }

    fn settle<A: Actor>(&mut self, child: &Child<A>, result: Option<M::Result>) -> Answer {
        self.answer = None;
        let Some(result) = result else { return Answer::Dropped };
        let message = self.message.take();
        // First, so that the sender finds room and the figures right as soon as it has its answer.
        child.count_answer();
        if let Some(reply) = self.reply.take() {
            // A sender that no longer listens has lost only the answer.
            let _ = reply.send(Ok(result));
        }
        // Last: what it is made of may panic.
        drop(message);
        Answer::Given
    }
}

impl<A, M> Envelope<A> for Letter<M>
where
    A: Actor<Context = actix::Context<A>> + Handler<M>,
    M: Message + Clone + Send + 'static,
    M::Result: Send,
{
    fn hand_over(&mut self, actor: &mut AddressSender<A>) {
        self.was_handed_over = true;
        let Some(message) = self.message.clone() else { return };
        self.answer = match actor.send(message) {
            Ok(answer) => Some(answer),
            Err(SendError::Closed(_)) => None,
            Err(SendError::Full(message)) => {
                // The actor filled its mailbox with messages to itself. Each new sender has a slot of its own, and
                // the driver's limit of messages in hand bounds how often this can happen.
                *actor = actor.clone();
                actor.send(message).ok()
            }
        };
    }

    fn poll_answer(&mut self, child: &Child<A>, cx: &mut Context<'_>) -> Poll<Answer> {
        match self.answer.as_mut().map(|answer| Pin::new(answer).poll(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(result)) => Poll::Ready(self.settle(child, result.ok())),
            None => Poll::Ready(Answer::Dropped),
        }
    }

    fn try_answer(&mut self, child: &Child<A>) -> Poll<Answer> {
        match self.answer.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Err(oneshot::error::TryRecvError::Empty)) => Poll::Pending,
            Some(result) => Poll::Ready(self.settle(child, result.ok())),
            None => Poll::Ready(Answer::Dropped),
        }
    }

    fn message_name(&self) -> &'static str {
        let name = std::any::type_name::<M>();
        // Without the modules in front, which say where the code is and not what happened.
        let start = name.find('<').unwrap_or(name.len());
        name[..start].rfind("::").map_or(name, |end| &name[end + 2..])
    }

    fn refuse(mut self: Box<Self>, reason: &Arc<str>) {
        if let (Some(message), Some(reply)) = (self.message.take(), self.reply.take()) {
            let _ = reply.send(Err(AskError::Died { message, reason: Arc::clone(reason) }));
        }
    }
}

impl<M: Message> Drop for Letter<M> {
    fn drop(&mut self) {
        if let (Some(message), Some(reply)) = (self.message.take(), self.reply.take()) {
            let _ = reply.send(Err(if self.was_handed_over {
                AskError::Died { message, reason: "the actor was stopped with the message in hand".into() }
            } else {
                AskError::Stopped(message)
            }));
        }
    }
}
