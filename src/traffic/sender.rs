//! One thread's sending.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use actors::ports::Clock;
use actors::ports::clock::SystemClock;
use tokio::sync::{Semaphore, watch};

use super::client::{Answer, Connection};
use super::crowd::Crowd;
use super::kind::Kind;
use super::load::LOOK_EVERY;
use super::report::Report;
use super::schedule::Schedule;
use super::target::Target;

/// How long an answer is waited for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Closed loop: how long a sender waits after a connection that was refused or broke.
const RECONNECT_AFTER: Duration = Duration::from_millis(100);

/// When a closed loop is done.
pub(super) struct ClosedEnd {
    left: Cell<u64>,
    until: Option<Instant>,
}

impl ClosedEnd {
    /// After `left` more requests, or at `until`.
    pub(super) fn new(left: u64, until: Option<Instant>) -> Self {
        Self { left: Cell::new(left), until }
    }

    /// Whether there is another request to send; it counts as sent.
    fn take(&self) -> bool {
        let left = self.left.get();
        if left == 0 || self.until.is_some_and(|until| Instant::now() >= until) {
            return false;
        }
        self.left.set(left - 1);
        true
    }
}

/// Tells how many arrivals are due, exact to the timer of the system: the runtime's own counts whole milliseconds.
pub(super) struct Pacer {
    pub(super) schedule: Schedule,
    pub(super) total: u64,
    pub(super) started: Instant,
    pub(super) stop: watch::Receiver<bool>,
}

impl Pacer {
    fn run(self, due: &watch::Sender<u64>) {
        loop {
            let elapsed = self.started.elapsed();
            let now = self.schedule.due_by(elapsed).min(self.total);
            due.send_replace(now);
            if now == self.total || *self.stop.borrow() || due.is_closed() {
                return;
            }
            thread::park_timeout(self.schedule.due(now).saturating_sub(elapsed).min(LOOK_EVERY));
        }
    }
}

/// A request found no connection, or lost it.
struct Lost;

/// What the requests of one thread share.
pub(super) struct Sender {
    target: Target,
    crowd: RefCell<Crowd>,
    report: RefCell<Report>,
    /// Requests that are done since it was asked last.
    done: Cell<u64>,
    stop: watch::Receiver<bool>,
}

impl Sender {
    pub(super) fn new(target: Target, crowd: Crowd, stop: watch::Receiver<bool>) -> Rc<Self> {
        let (crowd, report, done) = (RefCell::new(crowd), RefCell::default(), Cell::new(0));
        Rc::new(Self { target, crowd, report, done, stop })
    }

    pub(super) fn take_done(&self) -> u64 {
        self.done.take()
    }

    pub(super) fn take_report(&self) -> Report {
        self.report.take()
    }

    pub(super) async fn closed_loop(self: &Rc<Self>, connections: u64, end: ClosedEnd) {
        let end = Rc::new(end);
        let mut lanes = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let (sender, end) = (Rc::clone(self), Rc::clone(&end));
            lanes.spawn_local(async move {
                let mut connection = None;
                while !*sender.stop.borrow() && end.take() {
                    connection = match sender.deliver(None, connection).await {
                        Ok(open) => open,
                        Err(Lost) => {
                            tokio::time::sleep(RECONNECT_AFTER).await;
                            None
                        }
                    };
                }
            });
        }
        lanes.join_all().await;
    }

    pub(super) async fn open_loop(self: &Rc<Self>, pacer: Pacer, in_flight_max: usize) {
        let (schedule, started) = (pacer.schedule, pacer.started);
        let (due, mut arrivals) = watch::channel(0);
        let timer = thread::spawn(move || pacer.run(&due));
        let slots = Arc::new(Semaphore::new(in_flight_max));
        let idle: Rc<RefCell<Vec<Connection>>> = Rc::default();
        let mut next = 0;
        // It ends when the pacer has: after the last arrival, or when stopped.
        loop {
            let due = *arrivals.borrow_and_update();
            while next < due {
                let scheduled = started + schedule.due(next);
                next += 1;
                let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                    self.report.borrow_mut().overflow += 1;
                    self.done.set(self.done.get() + 1);
                    continue;
                };
                let (sender, idle) = (Rc::clone(self), Rc::clone(&idle));
                tokio::task::spawn_local(async move {
                    let _slot = slot;
                    let connection = idle.borrow_mut().pop().filter(Connection::is_fresh);
                    let open = sender.deliver(Some(scheduled), connection).await;
                    idle.borrow_mut().extend(open.ok().flatten());
                });
            }
            if arrivals.changed().await.is_err() {
                break;
            }
        }
        // It has ended: its half of the channel is gone.
        let _ = timer.join();
        self.report.borrow_mut().scheduled = Some(next);
        // Everything under way is answered once all slots are free.
        let _ = slots.acquire_many(u32::try_from(in_flight_max).unwrap_or(u32::MAX)).await;
    }

    /// Sends one delivery, and counts what comes of it. Gives the connection back unless that was its last answer.
    async fn deliver(
        &self,
        scheduled: Option<Instant>,
        connection: Option<Connection>,
    ) -> Result<Option<Connection>, Lost> {
        let now_ms = SystemClock.now().as_ms();
        let delivery = self.crowd.borrow_mut().next(now_ms);
        let request = self.target.request(&delivery, now_ms / 1_000);
        self.report.borrow_mut().of(delivery.kind).sent += 1;
        let since = scheduled.unwrap_or_else(Instant::now);
        let exchange = exchange(self.target.address, connection, &request);
        let answered = tokio::time::timeout(REQUEST_TIMEOUT, exchange).await;
        self.done.set(self.done.get() + 1);
        self.count(delivery.kind, since, answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
    }

    fn count(
        &self,
        kind: Kind,
        since: Instant,
        answered: io::Result<(Connection, Answer)>,
    ) -> Result<Option<Connection>, Lost> {
        let mut report = self.report.borrow_mut();
        match answered {
            Ok((connection, answer)) => {
                report.of(kind).count(&answer, since.elapsed());
                Ok((!answer.is_last).then_some(connection))
            }
            Err(_) => {
                report.of(kind).connection_errors += 1;
                Err(Lost)
            }
        }
    }
}

async fn exchange(
    address: SocketAddr,
    connection: Option<Connection>,
    request: &[u8],
) -> io::Result<(Connection, Answer)> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => Connection::open(address).await?,
    };
    let answer = connection.exchange(request).await?;
    Ok((connection, answer))
}
