//! One life of a child: an actor from the factory and its context, polled by the driver and by nobody else.
//!
//! A panic is caught here, before it unwinds any further. The actor is then stopped and dropped outside the unwinding,
//! one after the other, so that panics in `stopping`, `stopped` and `Drop` are caught too, where they would abort the
//! process otherwise.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use actix::dev::ContextFut;
use actix::dev::channel::{AddressSender, channel};
use actix::{Actor, ActorContext as _};

use super::child_spec::Factory;
use super::mailbox::Mail;

/// So much of a panic's text is kept.
const REASON_MAX_CHARS: usize = 200;

/// Room in the actor's own mailbox for what it sends to itself.
const OWN_MAIL_CAPACITY: usize = 16;

/// What is to befall a child at its next message, on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A panic, as if in the handler.
    Panic,
    /// The end of the life, as if the handler had stopped the actor without an answer.
    Stop,
    /// The life makes no progress any more, as if the handler awaited what never comes.
    Hang,
    /// The thread is never given back, as if the handler were in an endless loop. The process must end: only for
    /// tests of exactly that.
    Block,
}

/// How a life ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The actor stopped.
    Stopped,
    /// It panicked, with this text.
    Panicked(Arc<str>),
}

pub(super) struct Life<A: Actor<Context = actix::Context<A>>> {
    /// Taken out only by `Drop`.
    context: Option<ContextFut<A, actix::Context<A>>>,
    mailbox: AddressSender<A>,
    /// A fault keeps it from ever being polled again.
    is_frozen: bool,
    /// The actor has been polled, and so started.
    has_begun: bool,
}

impl<A: Actor<Context = actix::Context<A>>> Life<A> {
    pub(super) fn begin(factory: &mut Factory<A>, in_flight: usize) -> Result<Self, Arc<str>> {
        let (mailbox, receiver) = channel(in_flight.saturating_add(OWN_MAIL_CAPACITY));
        let actor = contain(factory)?;
        let context = Some(actix::Context::with_receiver(receiver).into_future(actor));
        Ok(Self { context, mailbox, is_frozen: false, has_begun: false })
    }

    /// A panic in the message's `clone` is the actor's.
    pub(super) fn hand_over(&mut self, mail: &mut Mail<A>) -> Result<(), Arc<str>> {
        contain(|| mail.envelope.hand_over(&mut self.mailbox))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, fault: Option<Fault>) -> Poll<End> {
        let Some(context) = &mut self.context else { return Poll::Pending };
        self.has_begun = true;
        let polled = contain(|| match fault {
            None if self.is_frozen => Poll::Pending,
            None => Pin::new(context).poll(cx),
            Some(Fault::Stop) => Poll::Ready(()),
            Some(Fault::Panic) => panic!("a fault was injected"),
            Some(Fault::Hang) => {
                self.is_frozen = true;
                Poll::Pending
            }
            Some(Fault::Block) => loop {
                std::thread::park();
            },
        });
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(End::Stopped),
            Err(reason) => Poll::Ready(End::Panicked(reason)),
        }
    }
}

impl<A: Actor<Context = actix::Context<A>>> Drop for Life<A> {
    /// Drops the actor and all that it has spawned into its context. The life is over either way; what `stopping`,
    /// `stopped` or `Drop` panic with is on the panic hook's output.
    fn drop(&mut self) {
        let Some(mut context) = self.context.take() else { return };
        // The end and the drop one after the other: a panic in each is caught alone, where both at once would abort.
        if self.has_begun && context.alive() {
            let _ = contain(|| {
                context.ctx().stop();
                let _ = Pin::new(&mut context).poll(&mut Context::from_waker(Waker::noop()));
            });
        }
        // Else it would be told to stop, or even to start, once more.
        context.ctx().terminate();
        let _ = contain(|| drop(context));
    }
}

/// Runs `f`; a panic becomes its reason.
pub(super) fn contain<T>(f: impl FnOnce() -> T) -> Result<T, Arc<str>> {
    // Whatever a panic may have left half-changed is dropped by the caller, never used again.
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| reason_of(&*payload))
}

/// A literal text is the program's own. One that was formatted may hold what the actor works on: it is not repeated.
fn reason_of(payload: &(dyn Any + Send)) -> Arc<str> {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => match text.char_indices().nth(REASON_MAX_CHARS) {
            Some((end, _)) => text[..end].into(),
            None => (*text).into(),
        },
        None => "a panic whose text may hold data".into(),
    }
}
