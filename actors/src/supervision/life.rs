//! One life of a child: an actor from the factory and its context, polled by the driver and by nobody else.
//!
//! A panic is caught here, before it unwinds any further. The actor is then dropped outside the unwinding, so that a
//! second panic in `stopping`, `stopped` or `Drop` is caught too, where it would abort the process otherwise.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::Actor;
use actix::dev::ContextFut;
use actix::dev::channel::{AddressSender, channel};

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
    // Before the sender, so that the actor is still connected while it is told that it stops.
    context: ContextFut<A, actix::Context<A>>,
    mailbox: AddressSender<A>,
    /// A fault keeps it from ever being polled again.
    is_frozen: bool,
}

impl<A: Actor<Context = actix::Context<A>>> Life<A> {
    pub(super) fn begin(factory: &mut Factory<A>, in_flight: usize) -> Result<Self, Arc<str>> {
        let (mailbox, receiver) = channel(in_flight.saturating_add(OWN_MAIL_CAPACITY));
        let actor = contain(factory)?;
        Ok(Self {
            context: actix::Context::with_receiver(receiver).into_future(actor),
            mailbox,
            is_frozen: false,
        })
    }

    /// A panic in the message's `clone` is the actor's.
    pub(super) fn hand_over(&mut self, mail: &mut Mail<A>) -> Result<(), Arc<str>> {
        contain(|| mail.envelope.hand_over(&mut self.mailbox))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, fault: Option<Fault>) -> Poll<End> {
        let polled = contain(|| match fault {
            None if self.is_frozen => Poll::Pending,
            None => Pin::new(&mut self.context).poll(cx),
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

    /// Drops the actor and all that it has spawned into its context.
    pub(super) fn end(self) {
        // The life is over either way; what its `stopped` or `Drop` panics with is on the panic hook's output.
        let _ = contain(|| drop(self));
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
