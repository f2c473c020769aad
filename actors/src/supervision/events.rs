//! What observers are told, and what the application must act on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::life::contain;

/// Something happened to a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisionEvent {
    /// The child's path in the tree.
    pub path: String,
    /// What sort of child it is.
    pub kind: &'static str,
    /// What happened.
    pub change: Change,
}

/// What happened to a child. Every reason is ours, or at most 200 characters of a panic's literal text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A life has run its `started`.
    Started {
        /// 0 for the first life.
        restarts: u64,
    },
    /// A life ended, and the next begins after `delay`.
    Restarted {
        /// Why the life ended.
        reason: Arc<str>,
        /// Restarts so far, this one included.
        restarts: u64,
        /// The backoff.
        delay: Duration,
    },
    /// The child gave up for good: its restart limit was exceeded.
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

/// A child or a pool has failed for good: nobody in the tree takes care of it, the application must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// The path of the child, or of the pool that it belongs to.
    pub path: Arc<str>,
    /// Why the last life ended.
    pub reason: Arc<str>,
    /// When it was.
    pub at: SystemTime,
}

/// What all nodes of a tree share.
pub(super) struct Tree {
    observer: Box<dyn Observer>,
    first_escalation: watch::Sender<Option<Escalation>>,
}

impl Tree {
    pub(super) fn new(observer: impl Observer) -> Self {
        Self { observer: Box::new(observer), first_escalation: watch::Sender::new(None) }
    }

    pub(super) fn tell(&self, event: &SupervisionEvent) {
        // An observer's panic must not become a child's.
        let _ = contain(|| self.observer.on(event));
    }

    /// The first one stays: what fails after it is mostly its consequence.
    pub(super) fn escalate(&self, path: &Arc<str>, reason: &Arc<str>) {
        self.first_escalation.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| Escalation {
                path: Arc::clone(path),
                reason: Arc::clone(reason),
                at: SystemTime::now(),
            });
            is_first
        });
    }

    pub(super) fn escalations(&self) -> watch::Receiver<Option<Escalation>> {
        self.first_escalation.subscribe()
    }
}
