//! One connection, and how long it may keep us waiting.
//!
//! The HTTP library limits the first head of a connection and idling after an answer, and nothing else: a later head
//! may drip for ever, so may a chunked body that was refused, and an answer may wait for ever to be read. Here every
//! wait for the other side has an end, while no request of it is in hand: those have deadlines of their own.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::settings::{ANSWER_STALL_MAX, HEAD_DEADLINE, KEEP_ALIVE, UNCONFIRMED_MAX};

/// What a head that comes too slowly is answered; no request is there yet that a problem could belong to.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Whose turn it is: known by the stream and by the requests on it.
pub(super) struct Turn {
    in_hand: Cell<usize>,
    awaits: Cell<Awaits>,
    deadline: Cell<Instant>,
    is_cut_off: Cell<bool>,
    /// Of the connection's task.
    waker: Cell<Option<Waker>>,
}

/// What is waited for while no request is in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// The rest of a head, or of what is no head at all.
    Head,
    /// The next byte.
    AnyByte,
}

/// A request is in hand as long as this is held.
#[must_use = "the other side is waited for again when this goes"]
pub(super) struct InHand(Rc<Turn>);

impl Turn {
    fn new() -> Self {
        let deadline = Cell::new(Instant::now() + HEAD_DEADLINE);
        let (is_cut_off, waker) = (Cell::new(false), Cell::new(None));
        Self { in_hand: Cell::new(0), awaits: Cell::new(Awaits::Head), deadline, is_cut_off, waker }
    }

    /// A request's head is whole.
    pub(super) fn begin(turn: &Rc<Self>) -> InHand {
        turn.in_hand.set(turn.in_hand.get() + 1);
        InHand(Rc::clone(turn))
    }

    /// Gives the connection up, though the other side may still take a byte now and then.
    pub(super) fn cut_off(&self) {
        self.is_cut_off.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn bytes_came(&self) {
        if self.in_hand.get() == 0 && self.awaits.get() == Awaits::AnyByte {
            self.awaits.set(Awaits::Head);
            self.deadline.set(Instant::now() + HEAD_DEADLINE);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        (self.in_hand.get() == 0).then(|| self.deadline.get())
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let turn = &self.0;
        turn.in_hand.set(turn.in_hand.get().saturating_sub(1));
        if turn.in_hand.get() == 0 {
            turn.awaits.set(Awaits::AnyByte);
            turn.deadline.set(Instant::now() + KEEP_ALIVE);
        }
    }
}

/// A connection that is given up when its turn takes too long.
pub(super) struct Connection {
    stream: TcpStream,
    turn: Rc<Turn>,
    /// By when the next byte of an answer must be taken; `None` while nothing is held up.
    taken_by: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    is_woken: bool,
}

impl Connection {
    /// A fresh one.
    pub(super) fn new(stream: TcpStream) -> Self {
        limit_silence(&stream);
        let turn = Rc::new(Turn::new());
        let timer = Box::pin(sleep_until(turn.deadline.get()));
        Self { stream, turn, taken_by: None, timer, is_woken: false }
    }

    /// For the requests on it.
    pub(super) fn turn(&self) -> Rc<Turn> {
        Rc::clone(&self.turn)
    }

    /// By when it is the other side's turn to send; `None` while it is not, or has first to take what it was answered.
    fn deadline(&self) -> Option<Instant> {
        self.turn.deadline().filter(|_| self.taken_by.is_none())
    }

    /// Whether `deadline` has passed. If not, the task is woken then, or earlier.
    fn is_over(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        if deadline <= Instant::now() {
            return true;
        }
        // A timer that is early is set again when it strikes: most deadlines move before they are reached.
        if deadline < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(context).is_ready() {
            if deadline <= Instant::now() {
                return true;
            }
            self.timer.as_mut().reset(deadline);
        }
        false
    }

    /// Tells a sender whose head drips why nobody listens any more. What cannot be written at once is left unsaid.
    fn say_too_slow(&mut self, context: &mut Context<'_>) {
        if self.turn.awaits.get() == Awaits::Head {
            let _ = Pin::new(&mut self.stream).poll_write(context, TOO_SLOW);
        }
    }
}

/// Lets the system give up what the other side's system does not confirm: a machine that has gone without a word else
/// keeps its connection for a quarter of an hour. Where this cannot be set, it does.
fn limit_silence(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = u32::try_from(UNCONFIRMED_MAX.as_millis())
        .is_ok_and(|millis| rustix::net::sockopt::set_tcp_user_timeout(stream, millis).is_ok());
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, UNCONFIRMED_MAX);
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.turn.bytes_came();
        }
        match self.deadline() {
            Some(deadline) if self.is_over(deadline, context) => {
                self.say_too_slow(context);
                // The end of the stream: the library closes the connection, and what it has read is for nobody.
                buffer.set_filled(before);
                Poll::Ready(Ok(()))
            }
            _ => read,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.turn.is_cut_off.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.taken_by = None;
            return written;
        }
        self.turn.waker.set(Some(context.waker().clone()));
        let deadline = *self.taken_by.get_or_insert_with(|| Instant::now() + ANSWER_STALL_MAX);
        match self.is_over(deadline, context) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The library comes by here when it has answered: from now on the other side is waited for.
        if let Some(deadline) = self.deadline()
            && self.is_over(deadline, context)
            && !std::mem::replace(&mut self.is_woken, true)
        {
            context.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustix::net::sockopt::tcp_user_timeout;
    use tokio::net::TcpListener;

    use super::*;

    #[actix_web::test]
    async fn the_system_is_told_how_long_it_may_wait_for_a_machine_that_has_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let connection = Connection::new(stream);
        assert_eq!(tcp_user_timeout(&connection.stream).unwrap(), 30_000);
    }
}
