//! What the actors tell about themselves: one typed event each, from which the shell makes the log line and the
//! metric.

use std::time::Duration;

use crate::domain::account::Vendor;
use crate::domain::event::Event;
use crate::domain::ids::{MaskedUserId, RequestId};

/// Why a message of the log was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// The state has seen it.
    Duplicate,
    /// It has not our `schema` header.
    Foreign,
    /// It could not be applied and was set aside.
    DeadLettered,
}

impl Skipped {
    /// The value of the label `status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Foreign => "foreign",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

/// What became of events on their way into the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheOutcome {
    /// The cache took them.
    Written,
    /// It did not answer in time.
    Late,
    /// It could not take them.
    Failed,
    /// They were left out, because too many waited.
    Skipped,
}

impl CacheOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Written, Self::Late, Self::Failed, Self::Skipped];

    /// The value of the label `outcome`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What became of an access token that had to be refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefreshOutcome {
    /// The vendor has given a new pair, and it is stored.
    Refreshed,
    /// Somebody else's refresh has served.
    Reused,
    /// The vendor gave none, this time.
    Failed,
    /// The account is marked for reconnection.
    Reconnect,
}

impl RefreshOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Refreshed, Self::Reused, Self::Failed, Self::Reconnect];

    /// The value of the label `outcome`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refreshed => "refreshed",
            Self::Reused => "reused",
            Self::Failed => "failed",
            Self::Reconnect => "reconnect",
        }
    }
}

/// What happened to a fetch.
#[derive(Debug, Clone, Copy)]
pub enum FetchEvent<'a> {
    /// Its data is durable.
    Fetched {
        /// Of the request that brought the notification.
        request_id: &'a RequestId,
        /// Whose data, masked.
        user: MaskedUserId,
        /// New events.
        events: usize,
        /// New readings.
        readings: usize,
        /// Refused fields.
        rejected: usize,
    },
    /// It goes back into the queue.
    Waits {
        /// As above.
        request_id: &'a RequestId,
        /// For people.
        why: &'a str,
        /// When it is due again; none while it waits for its account.
        again_in: Option<Duration>,
    },
    /// It is a dead letter.
    GivenUp {
        /// As above.
        request_id: &'a RequestId,
        /// For people.
        why: &'a str,
        /// For programs.
        error_type: &'static str,
    },
}

/// Something that happened in the pipeline.
#[derive(Debug)]
pub enum PipelineEvent<'a> {
    /// An event was folded into its user's state.
    Applied {
        /// The event.
        event: &'a Event,
    },
    /// A message of the log was passed over.
    Skipped(Skipped),
    /// A fold of one user's events took so long.
    Decided {
        /// Seconds for all of them.
        seconds: f64,
        /// How many there were.
        events: usize,
    },
    /// A user's mode changed.
    Switched {
        /// Whose, masked.
        user: MaskedUserId,
        /// The mode before.
        from: &'static str,
        /// The mode now.
        to: &'static str,
        /// The rule's word.
        reason: &'static str,
    },
    /// A flush is durable.
    CheckpointsSaved {
        /// How many states were in it.
        states: usize,
        /// How long it took.
        seconds: f64,
    },
    /// Messages went from the outbox to the log.
    Published {
        /// How many.
        messages: usize,
    },
    /// Committed events went to the cache, or not.
    Cached {
        /// What became of them.
        outcome: CacheOutcome,
        /// How many.
        events: usize,
    },
    /// How many messages of the log lie behind the consumer.
    Lag {
        /// Over all partitions.
        messages: i64,
    },
    /// An access token had to be refreshed.
    TokenRefresh {
        /// By whom.
        vendor: Vendor,
        /// What became of it.
        outcome: RefreshOutcome,
    },
    /// Something happened to a fetch from a vendor's API.
    Fetch {
        /// From whose.
        vendor: Vendor,
        /// What.
        event: FetchEvent<'a>,
    },
    /// An actor could not go on and tries again; nothing is lost by it.
    Retrying {
        /// Its path in the tree.
        actor: &'static str,
        /// What went wrong, for people.
        error: String,
    },
}

/// Takes the events. It must be quick, and must not fail.
pub trait Telemetry: Send + Sync + 'static {
    /// Tells one event.
    fn emit(&self, event: PipelineEvent<'_>);
}
