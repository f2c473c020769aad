//! What observers are told, and what the application must act on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_rt::ArbiterHandle;
use tokio::sync::watch;

use super::life::contain;
use super::post_mortem::{Morgue, PostMortem};
use super::threads::Threads;

/// Something happened to a child or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisionEvent {
    /// Its path in the tree.
    pub path: String,
    /// What sort of node it is.
    pub kind: &'static str,
    /// What happened.
    pub change: Change,
}

/// What happened. Every reason is ours, or at most 200 characters of a panic's literal text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A life has run its `started`.
    Started {
        /// 0 for the first life.
        restarts: u64,
    },
    /// A life ended.
    Died(Arc<PostMortem>),
    /// A life ended, and the next begins after `delay`.
    Restarted {
        /// Why the life ended.
        reason: Arc<str>,
        /// Restarts so far, this one included.
        restarts: u64,
        /// The backoff.
        delay: Duration,
    },
    /// The child gave up for good: the limits of all above it are exceeded.
    Failed {
        /// Why the last life ended.
        reason: Arc<str>,
        /// How many messages were refused with it.
        refused: usize,
    },
    /// The child stopped for good: on request, or because its restart policy ends there.
    Stopped {
        /// How many messages were refused with it.
        refused: usize,
    },
    /// A group restarts members, because of the death of one of them.
    Recovering {
        /// Why that one died.
        reason: Arc<str>,
        /// How many members are held until `delay` is over.
        members: usize,
        /// The backoff.
        delay: Duration,
    },
    /// All members that a group restarted have begun another life.
    Recovered,
    /// The child does not let go of its thread, which nobody can take from it: see [`Supervisor::watch_threads`].
    ///
    /// [`Supervisor::watch_threads`]: super::Supervisor::watch_threads
    Blocked {
        /// For how long already.
        blocked: Duration,
    },
    /// A message was in hand at two deaths, and is not tried again. It may have had an effect.
    Refused {
        /// What the second death was.
        reason: Arc<str>,
    },
}

/// Hears every event of a tree, on the thread of the child that it is about.
pub trait Observer: Send + Sync + 'static {
    /// Takes note of `event`. Must not block; a panic in here is contained.
    fn on(&self, event: &SupervisionEvent);
}

/// Hears nothing.
impl Observer for () {
    fn on(&self, _: &SupervisionEvent) {}
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn on(&self, event: &SupervisionEvent) {
        (**self).on(event);
    }
}

/// A child or a pool has failed for good, or blocks its thread: nobody in the tree takes care of it, the application must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// The path of the child, or of the pool that it belongs to.
    pub path: Arc<str>,
    /// Why the last life ended, or what else is wrong.
    pub reason: Arc<str>,
    /// When it was.
    pub at: SystemTime,
}

/// What all nodes of a tree share.
pub(super) struct Tree {
    observer: Box<dyn Observer>,
    /// Where groups restart their members.
    arbiter: ArbiterHandle,
    first_escalation: watch::Sender<Option<Escalation>>,
    pub(super) morgue: Morgue,
    pub(super) threads: Threads,
}

impl Tree {
    pub(super) fn new(arbiter: ArbiterHandle, observer: impl Observer) -> Self {
        Self {
            observer: Box::new(observer),
            arbiter,
            first_escalation: watch::Sender::new(None),
            morgue: Morgue::default(),
            threads: Threads::default(),
        }
    }

    pub(super) fn tell(&self, event: &SupervisionEvent) {
        // An observer's panic must not become a child's.
        let _ = contain(|| self.observer.on(event));
    }

    /// Runs `task` where groups restart their members.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if !self.arbiter.spawn(task) {
            self.escalate("root".into(), "the arbiter of the supervisors has stopped".into());
        }
    }

    /// The first one stays: what fails after it is mostly its consequence.
    pub(super) fn escalate(&self, path: Arc<str>, reason: Arc<str>) {
        self.first_escalation.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| Escalation { path, reason, at: SystemTime::now() });
            is_first
        });
    }

    pub(super) fn escalations(&self) -> watch::Receiver<Option<Escalation>> {
        self.first_escalation.subscribe()
    }
}
