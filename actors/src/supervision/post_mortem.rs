//! What is known of the dead: how they lived, what killed them, and what followed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;

use super::snapshot::serialize_rfc3339;

/// So many of the latest deaths of a tree are kept.
const KEPT_MAX: usize = 128;

/// What ended a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The actor panicked: in its factory, `started`, a handler, an interval or a future.
    Panic,
    /// A task that was to answer a message panicked or dropped the answer, outside of the actor.
    AnswerDropped,
    /// No progress for too long: it was aborted.
    Hang,
    /// The actor stopped itself.
    Stop,
    /// It was restarted because of another member of its group.
    Cut,
    /// It was restarted on request.
    Request,
}

/// What followed a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sequel {
    /// Another life, after the child's backoff.
    Restart,
    /// Its group took over.
    Recovery,
    /// Nothing: its restart policy ends there, or it was asked to.
    End,
    /// It failed for good.
    Failure,
}

/// The record of a death. Nothing in it is data that the actor worked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PostMortem {
    /// The child's path in the tree.
    pub path: Box<str>,
    /// What sort of child it was.
    pub kind: &'static str,
    /// When it died.
    #[serde(serialize_with = "serialize_rfc3339")]
    pub at: SystemTime,
    /// What ended it.
    pub cause: Cause,
    /// A panic's literal text, at most 200 characters, or what else ended the life.
    pub reason: Arc<str>,
    /// How long this life had lasted.
    pub lived_ms: u64,
    /// The types of the messages in hand at the death that were not answered, in the order of acceptance, at most 8.
    pub in_hand: Vec<&'static str>,
    /// How many messages waited in the mailbox.
    pub waiting: usize,
    /// Restarts before this death.
    pub restarts: u64,
    /// What followed.
    pub sequel: Sequel,
}

/// So many types of messages in hand are told.
pub(super) const IN_HAND_MAX: usize = 8;

/// The latest deaths of a tree, oldest first.
#[derive(Default)]
pub(super) struct Morgue(Mutex<VecDeque<Arc<PostMortem>>>);

impl Morgue {
    pub(super) fn take_in(&self, post_mortem: Arc<PostMortem>) {
        let mut kept = self.0.lock();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(post_mortem);
    }

    /// Those of the node at `path` and of all under it; of all for an empty path.
    pub(super) fn of(&self, path: &str) -> Vec<Arc<PostMortem>> {
        let is_under = |dead: &str| {
            dead.strip_prefix(path)
                .is_some_and(|rest| path.is_empty() || rest.is_empty() || rest.starts_with('/'))
        };
        self.0.lock().iter().filter(|dead| is_under(&dead.path)).cloned().collect()
    }
}

/// Whole milliseconds of `duration`.
pub(super) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(path: &str) -> Arc<PostMortem> {
        Arc::new(PostMortem {
            path: path.into(),
            kind: "test",
            at: SystemTime::UNIX_EPOCH,
            cause: Cause::Panic,
            reason: "as told".into(),
            lived_ms: 0,
            in_hand: Vec::new(),
            waiting: 0,
            restarts: 0,
            sequel: Sequel::Restart,
        })
    }

    #[test]
    fn only_the_latest_deaths_are_kept_and_found_by_path() {
        let morgue = Morgue::default();
        for number in 0..KEPT_MAX + 3 {
            morgue.take_in(dead(&format!("group/{number}")));
        }
        morgue.take_in(dead("groups/9"));
        let group = morgue.of("group");
        assert_eq!((group.len(), &*group[0].path), (KEPT_MAX - 1, "group/4"));
        assert_eq!(morgue.of("").len(), KEPT_MAX);
        assert_eq!(morgue.of("groups/9").len(), 1);
        assert!(morgue.of("group/13/x").is_empty());
    }
}
