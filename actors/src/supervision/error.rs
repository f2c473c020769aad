//! Why a message or a command was refused.

use std::fmt;
use std::sync::Arc;

/// Why a message was not answered. It gives the message back and says whether it may have had an effect.
///
/// Neither `Debug` nor `Display` shows the message or a panic's text: both may hold what no log may see.
#[derive(thiserror::Error)]
pub enum AskError<M> {
    /// There was no room in the mailbox. No effect; worth another try later.
    #[error("the mailbox is full; the message had no effect")]
    Full(M),
    /// The child is stopped or failed for good and never saw the message. No effect.
    #[error("the actor is stopped; the message had no effect")]
    Stopped(M),
    /// The message was in the actor's hands when it died, and is not tried again. It may have had an effect.
    #[error("the actor died with the message in hand; it may have had an effect")]
    Died {
        /// The message.
        message: M,
        /// What the last death was, as in [`Failure::reason`](super::Failure::reason).
        reason: Arc<str>,
    },
}

impl<M> AskError<M> {
    /// The refused message.
    pub fn into_message(self) -> M {
        match self {
            Self::Full(message) | Self::Stopped(message) | Self::Died { message, .. } => message,
        }
    }

    /// Whether the actor may have acted on the message before it was refused.
    pub fn may_have_had_effect(&self) -> bool {
        matches!(self, Self::Died { .. })
    }
}

impl<M> fmt::Debug for AskError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Stopped(_) => "Stopped(..)",
            Self::Died { .. } => "Died { .. }",
        })
    }
}

/// Why a restart or a fault was not taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No node has this path.
    #[error("there is no such actor")]
    Unknown,
    /// The path names a group or a pool.
    #[error("the path names a group of actors, not one")]
    NotOneChild,
    /// The child is stopped or failed for good.
    #[error("the actor is stopped for good")]
    Over,
}
