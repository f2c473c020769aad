//! What `/actors` shows of the tree: plain values, as of one moment.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::breaker::BreakerSnapshot;

/// The condition of a node.
///
/// Ordered by what an operator should see first: a group is in the greatest condition of its children, and stopped
/// only when all of them are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Over, on request or by its restart policy.
    Stopped,
    /// At work.
    Running,
    /// The first life has not yet run its `started`.
    Starting,
    /// Between two lives.
    Restarting,
    /// Over: it died more often than all above it bear.
    Failed,
}

impl NodeState {
    /// Whether no further life will come.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }
}

/// The last death of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// When; RFC 3339 in UTC, with milliseconds unless they are zero.
    #[serde(serialize_with = "serialize_rfc3339")]
    pub at: SystemTime,
    /// A panic's text, at most 200 characters, or what else ended the life.
    pub reason: Arc<str>,
}

pub(super) fn serialize_rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let at = jiff::Timestamp::try_from(*at).map_err(serde::ser::Error::custom)?;
    if at.as_millisecond() % 1_000 == 0 {
        serializer.collect_str(&format_args!("{at:.0}"))
    } else {
        serializer.collect_str(&format_args!("{at:.3}"))
    }
}

/// How full a mailbox is, in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MailboxSnapshot {
    /// Accepted and not yet answered, waiting or in hand.
    pub depth: usize,
    /// The most that `depth` can be.
    pub capacity: usize,
}

/// One node of the tree and all that is under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeSnapshot {
    /// `devices/oura`; `root` for the root.
    pub path: String,
    /// What sort of node it is.
    pub kind: &'static str,
    /// Its condition.
    pub state: NodeState,
    /// Restarts since it was started; a group's and a pool's are the sum of its children's.
    pub restarts: u64,
    /// The last death.
    pub last_failure: Option<Failure>,
    /// The mailbox; the sum for a group or pool.
    pub mailbox: MailboxSnapshot,
    /// Messages answered since it was started.
    pub handled: u64,
    /// Age of the oldest message that is accepted and not yet answered; 0 if there is none.
    pub oldest_ms: u64,
    /// Its breaker, if it has one.
    pub breaker: Option<BreakerSnapshot>,
    /// How many children a pool has; nothing else has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<usize>,
    /// In start order; a pool's ten worst.
    pub children: Vec<NodeSnapshot>,
}

impl NodeSnapshot {
    /// A group with the sums of `children`.
    pub(super) fn of_group(path: String, kind: &'static str, children: Vec<Self>) -> Self {
        let state = children.iter().map(|child| child.state).max().unwrap_or(NodeState::Running);
        let last_failure = children.iter().filter_map(|child| child.last_failure.as_ref());
        Self {
            path,
            kind,
            state,
            restarts: children.iter().map(|child| child.restarts).sum(),
            last_failure: last_failure.max_by_key(|failure| failure.at).cloned(),
            mailbox: MailboxSnapshot {
                depth: children.iter().map(|child| child.mailbox.depth).sum(),
                capacity: children.iter().map(|child| child.mailbox.capacity).sum(),
            },
            handled: children.iter().map(|child| child.handled).sum(),
            oldest_ms: children.iter().map(|child| child.oldest_ms).max().unwrap_or(0),
            breaker: None,
            live: None,
            children,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_failures_time_has_milliseconds_only_when_they_are_not_zero() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_760_000_000_000, "2025-10-09T08:53:20Z"),
            (1_760_000_000_120, "2025-10-09T08:53:20.120Z"),
        ] {
            let failure = Failure { at: UNIX_EPOCH + Duration::from_millis(ms), reason: "x".into() };
            assert_eq!(serde_json::to_value(&failure).unwrap()["at"], text);
        }
    }
}
