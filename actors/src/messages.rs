//! Every message between actors, in the order in which data meets them.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use futures_util::future::BoxFuture;

use crate::cognition::state::Vitals;
use crate::cognition::switch::ModeSwitch;
use crate::domain::account::{Account, Token};
use crate::domain::delivery::{DecodeError, Rejections};
use crate::domain::event::Event;
use crate::domain::ids::{RequestId, UserId};
use crate::domain::time::Timestamp;
use crate::ports::event_log::LogRecord;
use crate::ports::store::{Claim, Committed, DeadLetter, NewDelivery, Receipt, StoreError};
use crate::ports::vault::VaultError;
use crate::ports::vendor_api::OAuthError;
use crate::user_state::LiveState;
use crate::vendors::Verified;

/// To a device's handler: read this verified delivery and have it committed.
#[derive(Clone)]
pub struct HandleDelivery {
    /// What the vendor's verifier believed.
    pub verified: Arc<Verified>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Of the request that brought it.
    pub request_id: RequestId,
}

/// What becomes of a delivery, in the end. What it says is durable is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its data is durable.
    Processed {
        /// One for each draft.
        receipts: Vec<Receipt>,
        /// What was refused in it.
        rejected: Rejections,
    },
    /// A notification, durable; its data has still to be fetched.
    Accepted {
        /// Whom it is about.
        user: UserId,
    },
    /// The same delivery was durable before.
    Duplicate {
        /// Whom it is about, if anybody.
        user: Option<UserId>,
    },
    /// Nothing for us; not stored.
    Ignored {
        /// Why.
        reason: &'static str,
    },
    /// It cannot be read; its bytes are in quarantine.
    Unreadable(DecodeError),
    /// It was not committed.
    NotCommitted(CommitError),
}

/// The outcome, once it is known. The wait belongs to the one who waits: the handler is free as soon as it has
/// decided, and its death takes no decided delivery with it.
pub type PendingOutcome = BoxFuture<'static, Outcome>;

impl Message for HandleDelivery {
    type Result = PendingOutcome;
}

/// To the writer: make this delivery durable.
#[derive(Clone)]
pub struct CommitDelivery(pub Arc<NewDelivery>);

/// Why a delivery is not durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The outbox is full: the log has been away for long.
    #[error("too many messages wait for the event log")]
    Backlog,
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It killed the writer twice.
    #[error("the delivery could not be processed")]
    Crashed,
    /// The bridge is stopping.
    #[error("the bridge is stopping")]
    Stopping,
}

impl Message for CommitDelivery {
    type Result = Result<Committed, CommitError>;
}

/// To the publisher: messages were committed. It may be lost: the publisher also looks by itself, and counts with the next.
#[derive(Debug, Clone, Copy)]
pub struct EventsCommitted;

impl Message for EventsCommitted {
    type Result = ();
}

/// To a fetcher: something came into the queue, or what waited for an account is due. It may be lost: the fetcher also looks
/// by itself.
#[derive(Debug, Clone, Copy)]
pub struct FetchesQueued;

impl Message for FetchesQueued {
    type Result = ();
}

/// From the consumer to the router: apply these, in order.
#[derive(Clone)]
pub struct ApplyRecords {
    /// As read from the log.
    pub records: Arc<Vec<LogRecord>>,
}

/// Why records were not applied. They are read again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The states cannot be loaded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It killed the user's actor twice.
    #[error("the event could not be applied")]
    Crashed,
    /// The user's partition is not this bridge's.
    #[error("the user's partition belongs to another bridge, or has not been given to one yet")]
    Elsewhere,
    /// The user's checkpoint is not of a layout that this build knows.
    #[error("the user's checkpoint cannot be read by this build")]
    Unreadable,
    /// The tree is stopping.
    #[error("the next actor has stopped")]
    Stopped,
}

impl From<ApplyError> for CommitError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Store(error) => Self::Store(error),
            ApplyError::Crashed | ApplyError::Unreadable => Self::Crashed,
            ApplyError::Elsewhere => Self::Store(StoreError::Unavailable(error.to_string())),
            ApplyError::Stopped => Self::Stopping,
        }
    }
}

impl Message for ApplyRecords {
    type Result = Result<(), ApplyError>;
}

/// From the consumer to the router: these partitions go to somebody else; it puts their users' actors away.
#[derive(Debug, Clone)]
pub struct EvictUsers {
    /// The partitions.
    pub partitions: Arc<[u32]>,
}

impl Message for EvictUsers {
    type Result = ();
}

/// From the consumer to the router: put away users who have been idle for long. `true`: ask again, there may be more.
#[derive(Debug, Clone, Copy)]
pub struct PutAwayIdle;

impl Message for PutAwayIdle {
    type Result = Result<bool, ApplyError>;
}

/// To the router: apply this event straight to its user's state, past the log.
#[derive(Clone)]
pub struct ApplyDirectly(pub Arc<Event>);

impl Message for ApplyDirectly {
    type Result = Result<Arc<LiveState>, ApplyError>;
}

/// An event with its place in its user's partition; none when it came past the log.
#[derive(Debug, Clone)]
pub struct LoggedEvent {
    /// Its offset.
    pub offset: Option<i64>,
    /// The event.
    pub event: Arc<Event>,
}

/// To a user's actor: fold these, in order.
#[derive(Clone)]
pub struct FoldEvents {
    /// Of this user alone.
    pub events: Arc<[LoggedEvent]>,
    /// The flusher knows of the user's switches before this offset: they are told no more.
    pub told_before: i64,
}

/// What folding came to.
#[derive(Clone)]
pub struct Folded {
    /// The state after all of them.
    pub live: Arc<LiveState>,
    /// The switches of which the flusher may not know yet.
    pub switches: Vec<ModeSwitch>,
}

impl Message for FoldEvents {
    type Result = Folded;
}

/// From the router to the flusher: these states are dirty, and cover these positions.
#[derive(Clone)]
pub struct StatesChanged(pub Arc<Changes>);

/// What one batch changed. Telling it twice changes nothing more.
#[derive(Default)]
pub struct Changes {
    /// Users who came to life with the batch: what their checkpoints told.
    pub restored: Vec<(UserId, Vitals)>,
    /// The newest state of each user in the batch.
    pub states: Vec<(UserId, Arc<LiveState>)>,
    /// The switches in the batch.
    pub switches: Vec<ModeSwitch>,
    /// What could not be applied.
    pub dead_letters: Vec<DeadLetter>,
    /// The next offset of each partition that the batch came from.
    pub next_offsets: Vec<(u32, i64)>,
}

impl Message for StatesChanged {
    type Result = ();
}

/// From the consumer to the flusher: these partitions are ours, and what follows rests on it.
#[derive(Debug, Clone)]
pub struct PartitionsClaimed(pub Vec<Claim>);

impl Message for PartitionsClaimed {
    type Result = ();
}

/// From the consumer to the flusher: these partitions are no longer ours; what is still dirty of them is somebody
/// else's to find out.
#[derive(Debug, Clone)]
pub struct PartitionsGivenUp {
    /// The partitions.
    pub partitions: Arc<[u32]>,
}

impl Message for PartitionsGivenUp {
    type Result = ();
}

/// From the router to the flusher: make everything of these users durable now, and forget them: they are put away.
#[derive(Debug, Clone)]
pub struct SettleUsers {
    /// Nothing changes of them until this is answered.
    pub users: Arc<[UserId]>,
}

impl Message for SettleUsers {
    type Result = Result<(), StoreError>;
}

/// To the flusher: make everything durable now.
#[derive(Debug, Clone, Copy)]
pub struct FlushCheckpoints;

impl Message for FlushCheckpoints {
    type Result = Result<(), StoreError>;
}

/// To token refresh: give out an account's access token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GiveToken {
    /// Whose.
    pub account: Account,
    /// The version of the token that the vendor has just answered 401: a newer one is wanted.
    pub refused: Option<i64>,
}

/// An access token that may be used. It is not kept: whoever needs one again asks again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The token.
    pub token: Token,
    /// Which it is: to be given back in [`GiveToken::refused`] if the vendor answers it 401. 0 is `OURA_ACCESS_TOKEN`.
    pub version: i64,
    /// When it ends, if anybody knows.
    pub expires_at: Option<Timestamp>,
}

/// Why there is no access token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The account has no tokens yet.
    #[error("the account is not connected")]
    NoTokens,
    /// The vendor takes its tokens no more.
    #[error("the account must be connected again")]
    NeedsReconnection,
    /// The vendor gave none.
    #[error("{error}")]
    Vendor {
        /// Its word.
        error: OAuthError,
        /// Until then it is not asked about this account.
        retry_in: Duration,
    },
    /// The row cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Message for GiveToken {
    type Result = Result<AccessToken, TokenError>;
}
