//! A child as the rest of the tree sees it: what its driver publishes, what it is asked to do, and its mailbox.

use std::sync::Arc;
use std::task::Waker;

use actix::Actor;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::CommandError;
use super::events::{Change, SupervisionEvent, Tree};
use super::life::Fault;
use super::mailbox::Mailbox;
use super::snapshot::{Failure, MailboxSnapshot, NodeSnapshot, NodeState};

/// What can be asked of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Finish what is accepted, then end for good.
    Stop,
    /// Finish what is in hand, then begin another life.
    Renew,
    /// Suffer a fault at the next message.
    Suffer(Fault),
}

/// What has been asked of a child and is not done yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Orders {
    pub(super) stop: bool,
    pub(super) renew: bool,
    pub(super) fault: Option<Fault>,
}

impl Orders {
    /// Whether no message is to be handed over: a restart waits for what is in hand.
    pub(super) fn pause_intake(self) -> bool {
        self.renew && !self.stop
    }
}

/// What a child's driver publishes.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) state: NodeState,
    pub(super) orders: Orders,
    pub(super) restarts: u64,
    pub(super) handled: u64,
    pub(super) oldest_in_hand: Option<Instant>,
    pub(super) last_failure: Option<Failure>,
    /// Nothing of the child is left on its arbiter.
    is_gone: bool,
}

/// A node of the tree, of whatever sort.
pub(super) trait Member: Send + Sync {
    fn name(&self) -> &str;
    fn snapshot(&self) -> NodeSnapshot;
    /// The node at `path` under this one.
    fn member(&self, path: &str) -> Option<Arc<dyn Member>>;
    fn command(&self, command: Command) -> Result<(), CommandError>;
    /// Ends the node and all under it; returns when nothing of them is left.
    fn stop(self: Arc<Self>) -> BoxFuture<'static, ()>;
}

/// The figures by which a pool judges its children.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Vitals {
    pub(super) restarts: u64,
    pub(super) handled: u64,
    pub(super) depth: usize,
    pub(super) oldest_ms: u64,
}

/// A child whose actor's type is not known.
pub(super) trait AnyChild: Member {
    fn vitals(&self) -> Vitals;
    fn last_failure(&self) -> Option<Failure>;
}

pub(super) struct Child<A: Actor> {
    tree: Arc<Tree>,
    parent: Arc<str>,
    name: Box<str>,
    kind: &'static str,
    status: Mutex<Status>,
    driver: AtomicWaker,
    gone: Notify,
    pub(super) mailbox: Mailbox<A>,
}

impl<A: Actor> Child<A> {
    pub(super) fn new(
        tree: Arc<Tree>,
        parent: Arc<str>,
        name: Box<str>,
        kind: &'static str,
        mailbox_capacity: usize,
    ) -> Self {
        let status = Status {
            state: NodeState::Starting,
            orders: Orders::default(),
            restarts: 0,
            handled: 0,
            oldest_in_hand: None,
            last_failure: None,
            is_gone: false,
        };
        Self {
            tree,
            parent,
            name,
            kind,
            status: Mutex::new(status),
            driver: AtomicWaker::new(),
            gone: Notify::new(),
            mailbox: Mailbox::new(mailbox_capacity),
        }
    }

    pub(super) fn path(&self) -> String {
        join(&self.parent, &self.name)
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(super) fn state(&self) -> NodeState {
        self.status.lock().state
    }

    /// Reads or changes what is published. `change` must not block or call out.
    pub(super) fn with_status<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        change(&mut self.status.lock())
    }

    pub(super) fn tell(&self, change: Change) {
        self.tree.tell(&SupervisionEvent { path: self.path(), kind: self.kind, change });
    }

    /// Takes note that a message was answered, and makes room for another.
    pub(super) fn count_answer(&self) {
        self.with_status(|status| status.handled += 1);
        self.mailbox.release(1);
    }

    /// Makes room for a message that is refused after two deaths.
    pub(super) fn count_refused(&self, reason: &Arc<str>) {
        self.mailbox.release(1);
        self.tell(Change::Refused { reason: Arc::clone(reason) });
    }

    /// Has `driver` woken by what happens from now on.
    pub(super) fn listen(&self, driver: &Waker) {
        self.driver.register(driver);
    }

    /// Wakes the driver: there is a message or a command.
    pub(super) fn wake(&self) {
        self.driver.wake();
    }

    /// The last act of a driver, however it ends: nothing of the child is left but this record.
    pub(super) fn depart(&self) {
        self.with_status(|status| status.is_gone = true);
        self.gone.notify_waiters();
    }

    async fn departure(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            gone.as_mut().enable();
            if self.with_status(|status| status.is_gone) {
                return;
            }
            gone.await;
        }
    }
}

impl<A: Actor> Member for Child<A> {
    fn name(&self) -> &str {
        &self.name
    }

    fn snapshot(&self) -> NodeSnapshot {
        let vitals = self.vitals();
        self.with_status(|status| NodeSnapshot {
            path: self.path(),
            kind: self.kind,
            state: status.state,
            restarts: status.restarts,
            last_failure: status.last_failure.clone(),
            mailbox: MailboxSnapshot { depth: vitals.depth, capacity: self.mailbox.capacity() },
            handled: status.handled,
            oldest_ms: vitals.oldest_ms,
            breaker: (),
            live: None,
            children: Vec::new(),
        })
    }

    fn member(&self, _: &str) -> Option<Arc<dyn Member>> {
        None
    }

    fn command(&self, command: Command) -> Result<(), CommandError> {
        self.with_status(|status| {
            if status.state.is_over() {
                return Err(CommandError::Over);
            }
            match command {
                Command::Stop => status.orders.stop = true,
                Command::Renew => status.orders.renew = true,
                Command::Suffer(fault) => status.orders.fault = Some(fault),
            }
            Ok(())
        })?;
        if command == Command::Stop {
            self.mailbox.close();
        }
        self.wake();
        Ok(())
    }

    fn stop(self: Arc<Self>) -> BoxFuture<'static, ()> {
        // A child that is over already needs no order, only the time to clear away.
        let _ = self.command(Command::Stop);
        Box::pin(async move { self.departure().await })
    }
}

impl<A: Actor> AnyChild for Child<A> {
    fn vitals(&self) -> Vitals {
        let waiting = self.mailbox.oldest();
        let depth = self.mailbox.depth();
        self.with_status(|status| {
            let oldest = status.oldest_in_hand.into_iter().chain(waiting).min();
            Vitals {
                restarts: status.restarts,
                handled: status.handled,
                depth,
                oldest_ms: oldest.map_or(0, |since| since.elapsed().as_millis() as u64),
            }
        })
    }

    fn last_failure(&self) -> Option<Failure> {
        self.with_status(|status| status.last_failure.clone())
    }
}

/// The path of `name` under `parent`; the root's children have no prefix.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}
