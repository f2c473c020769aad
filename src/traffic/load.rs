//! Sends a crowd's deliveries at a rate (open loop) or as fast as they are answered (closed loop).
//!
//! Each sender is a thread of its own with a share of the users, of the rate and of the connections, so that no lock is
//! between them. It makes and signs a body right before it sends it: that takes about a tenth of the request.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::LocalSet;

use super::crowd::{Crowd, Plan};
use super::kind::MissingSecret;
use super::report::Report;
use super::schedule::Schedule;
use super::sender::{ClosedEnd, Pacer, Sender};
use super::target::Target;

/// Open loop: requests under way at once, over all senders. Arrivals beyond are counted as overflow.
pub const IN_FLIGHT_MAX: usize = 1_000;
/// How long what is under way may still take once the run is interrupted.
const INTERRUPTED_GRACE: Duration = Duration::from_secs(2);
/// How often progress is told, and the timer of an open loop looks whether it is to stop.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How requests follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many a second in all, on a schedule that does not wait for answers; [`IN_FLIGHT_MAX`] at once.
    Open {
        /// More than 0.
        per_second: f64,
    },
    /// On so many connections, on each as soon as the one before was answered.
    Closed {
        /// More than 0.
        connections: usize,
    },
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After so many requests.
    Count(u64),
    /// After this time; what is under way then is still waited for.
    After(Duration),
}

/// What to send, where, how fast and how long.
#[derive(Debug, Clone)]
pub struct Order {
    /// Where.
    pub target: Target,
    /// By whom.
    pub plan: Plan,
    /// How fast.
    pub pace: Pace,
    /// How long.
    pub end: End,
}

/// How far a run has come, for who watches it.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

impl Progress {
    /// Requests that are done, answered or not.
    pub fn done(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sends until the order's end, or until `stop` becomes true (or its sender is gone); what is under way then has two more
/// seconds. Blocks its thread.
///
/// # Errors
/// A kind has no secret; nothing was sent.
pub fn send(
    order: &Order,
    progress: &Progress,
    stop: &watch::Receiver<bool>,
) -> Result<Report, MissingSecret> {
    order.plan.kinds.iter().try_for_each(|kind| order.target.secrets.get(*kind).map(drop))?;
    let connections = match order.pace {
        Pace::Open { .. } => IN_FLIGHT_MAX,
        Pace::Closed { connections } => connections,
    };
    // Half of the cores are left to the bridge, if it is on the same machine.
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let senders = (cores / 2).max(1).min(connections).min(order.plan.users);
    let started = Instant::now();
    let reports = thread::scope(|scope| {
        let start = |index| {
            let share = Share { index, of: senders, started };
            scope.spawn(move || share.send(order, progress, stop.clone()))
        };
        let threads: Vec<_> = (0..senders).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    Ok(reports.iter().fold(Report::default(), |mut all, report| {
        all.merge(report);
        all
    }))
}

/// Which part of the order a thread takes.
#[derive(Clone, Copy)]
struct Share {
    index: usize,
    of: usize,
    started: Instant,
}

impl Share {
    /// This share of `all`.
    fn part(self, all: u64) -> u64 {
        let (index, of) = (self.index as u64, self.of as u64);
        all / of + u64::from(index < all % of)
    }

    fn send(self, order: &Order, progress: &Progress, stop: watch::Receiver<bool>) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Without a runtime nothing is sent, and the report says so.
        let Ok(runtime) = runtime else { return Report::default() };
        let crowd = Crowd::share(&order.plan, self.index, self.of);
        let sender = Sender::new(order.target.clone(), crowd, stop.clone());
        let tell = || {
            progress.0.fetch_add(sender.take_done(), Ordering::Relaxed);
        };
        let interrupted = async {
            let _ = stop.clone().wait_for(|stop| *stop).await;
            tokio::time::sleep(INTERRUPTED_GRACE).await;
        };
        let telling = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                tell();
            }
        };
        let tasks = LocalSet::new();
        let run = async {
            tokio::select! {
                () = self.run(order, &sender, &stop) => {}
                () = interrupted => {}
                () = telling => {}
            }
        };
        runtime.block_on(tasks.run_until(run));
        // What was interrupted goes before the report is taken.
        drop(tasks);
        tell();
        Report { elapsed: self.started.elapsed(), ..sender.take_report() }
    }

    async fn run(self, order: &Order, sender: &Rc<Sender>, stop: &watch::Receiver<bool>) {
        match order.pace {
            Pace::Closed { connections } => {
                let connections = self.part(connections as u64);
                sender.closed_loop(connections, self.closed_end(order.end)).await;
            }
            Pace::Open { per_second } => {
                let schedule = Schedule::share(per_second, self.index, self.of);
                let total = self.arrivals(&schedule, order.end);
                let pacer = Pacer { schedule, total, started: self.started, stop: stop.clone() };
                let in_flight = self.part(IN_FLIGHT_MAX as u64) as usize;
                sender.open_loop(pacer, in_flight).await;
            }
        }
    }

    fn closed_end(self, end: End) -> ClosedEnd {
        match end {
            End::Count(count) => ClosedEnd::new(self.part(count), None),
            End::After(time) => ClosedEnd::new(u64::MAX, self.started.checked_add(time)),
        }
    }

    fn arrivals(self, schedule: &Schedule, end: End) -> u64 {
        match end {
            End::Count(count) => self.part(count),
            End::After(time) => schedule.due_by(time),
        }
    }
}
