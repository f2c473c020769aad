//! A child as the rest of the tree sees it: what its driver publishes, what it is asked to do, and its mailbox.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use actix::Actor;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::error::CommandError;
use super::events::{Change, SupervisionEvent, Tree};
use super::life::Fault;
use super::mailbox::Mailbox;
use super::member::{AnyChild, Command, Member, Vitals, join};
use super::progress::{ActiveClock, Occupant};
use super::snapshot::{Failure, MailboxSnapshot, NodeSnapshot, NodeState};

/// What has been asked of a child and is not done yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Orders {
    pub(super) stop: bool,
    pub(super) renew: bool,
    /// Have no life until this is taken back.
    pub(super) hold: bool,
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
    pub(super) clock: ActiveClock,
    /// It has been started once.
    pub(super) has_begun: bool,
    /// A life has ended since it was released.
    pub(super) has_died: bool,
    /// It has no life, as it was ordered.
    pub(super) is_held: bool,
    /// It is to fail, for this reason: the limits of all above it are exceeded.
    pub(super) verdict: Option<Arc<str>>,
    /// Nothing of the child is left on its arbiter.
    is_gone: bool,
}

pub(super) struct Child<A: Actor> {
    tree: Arc<Tree>,
    parent: Arc<str>,
    name: Box<str>,
    kind: &'static str,
    breaker: Option<Breaker>,
    status: Mutex<Status>,
    driver: AtomicWaker,
    /// Told when the child is held, has started, or is gone.
    turn: Notify,
    pub(super) mailbox: Mailbox<A>,
}

impl<A: Actor> Child<A> {
    pub(super) fn new(
        tree: Arc<Tree>,
        parent: Arc<str>,
        name: Box<str>,
        kind: &'static str,
        mailbox_capacity: usize,
        breaker: Option<Breaker>,
    ) -> Self {
        let status = Status {
            state: NodeState::Starting,
            orders: Orders::default(),
            restarts: 0,
            handled: 0,
            oldest_in_hand: None,
            last_failure: None,
            clock: ActiveClock::new(Instant::now()),
            has_begun: false,
            has_died: false,
            is_held: false,
            verdict: None,
            is_gone: false,
        };
        Self {
            tree,
            parent,
            name,
            kind,
            breaker,
            status: Mutex::new(status),
            driver: AtomicWaker::new(),
            turn: Notify::new(),
            mailbox: Mailbox::new(mailbox_capacity),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
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

    /// Changes what is published, and tells those who wait for it.
    pub(super) fn turn(&self, change: impl FnOnce(&mut Status)) {
        self.with_status(change);
        self.turn.notify_waiters();
    }

    /// The last act of a driver, however it ends: nothing of the child is left but this record.
    pub(super) fn depart(&self) {
        self.turn(|status| status.is_gone = true);
    }

    async fn until(&self, is_so: impl Fn(&Status) -> bool) {
        loop {
            let turn = self.turn.notified();
            tokio::pin!(turn);
            turn.as_mut().enable();
            if self.with_status(|status| status.is_gone || is_so(status)) {
                return;
            }
            turn.await;
        }
    }

    /// As [`Member::hold`], without waiting.
    pub(super) fn order_hold(&self) {
        self.order(|status| status.orders.hold = true);
    }

    fn order(&self, order: impl FnOnce(&mut Status)) {
        self.with_status(order);
        self.wake();
    }
}

impl<A: Actor> Occupant for Child<A> {
    fn with_clock(&self, change: &mut dyn FnMut(&mut ActiveClock)) {
        self.with_status(|status| change(&mut status.clock));
    }

    fn blocks_its_thread(&self, blocked: Duration) {
        self.tell(Change::Blocked { blocked });
        self.tree.escalate(self.path().into(), "it does not let go of its thread".into());
    }
}

impl<A: Actor> Member for Child<A> {
    fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> String {
        join(&self.parent, &self.name)
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
            breaker: self.breaker.as_ref().map(Breaker::snapshot),
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
        Box::pin(async move { self.until(|_| false).await })
    }

    fn breakers(&self) -> Vec<Breaker> {
        self.breaker.iter().cloned().collect()
    }

    fn begun(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.until(|status| status.has_begun).await })
    }

    fn hold(self: Arc<Self>) -> BoxFuture<'static, ()> {
        self.order_hold();
        Box::pin(async move { self.until(|status| status.is_held).await })
    }

    fn release(self: Arc<Self>) -> BoxFuture<'static, ()> {
        self.order(|status| {
            status.orders.hold = false;
            status.is_held = false;
            status.has_died = false;
        });
        // One that has died again, before or after it started, is tried again within its limits or held by its group:
        // nobody else waits for that.
        let is_tried = |status: &Status| status.state == NodeState::Running || status.has_died;
        Box::pin(async move { self.until(is_tried).await })
    }

    fn fail(self: Arc<Self>, reason: Arc<str>) -> BoxFuture<'static, ()> {
        self.order(|status| status.verdict = Some(reason));
        Box::pin(async move { self.until(|_| false).await })
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
