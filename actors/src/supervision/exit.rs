//! How a life came to its end, and what comes next.

use std::sync::Arc;
use std::time::Duration;

use super::life::End;
use super::post_mortem::{Cause, Sequel};

/// How a life came to its end.
pub(super) enum Exit {
    /// By itself.
    Died(End),
    /// A message's handler vanished, though not the actor: a future of its own panicked.
    AnswerDropped {
        reason: Arc<str>,
        /// The message's type.
        message: &'static str,
        /// It was the message's second time: it was refused.
        is_solved: bool,
    },
    /// Something in hand has made no progress for too long.
    Hung,
    /// Its group restarts it because of somebody else.
    Cut,
    /// Restart on request; what is still in hand has had its time.
    Renewed,
    /// Stop on request, with nothing left to do or no time left.
    Ended,
}

impl Exit {
    /// `None` for a stop that was asked for: nobody died.
    pub(super) fn cause(&self) -> Option<Cause> {
        Some(match self {
            Self::Died(End::Stopped) => Cause::Stop,
            Self::Died(End::Panicked(_)) => Cause::Panic,
            Self::AnswerDropped { .. } => Cause::AnswerDropped,
            Self::Hung => Cause::Hang,
            Self::Cut => Cause::Cut,
            Self::Renewed => Cause::Request,
            Self::Ended => return None,
        })
    }

    pub(super) fn reason(&self) -> Arc<str> {
        match self {
            Self::Died(End::Panicked(reason)) | Self::AnswerDropped { reason, .. } => Arc::clone(reason),
            Self::Died(End::Stopped) => "the actor stopped".into(),
            Self::Hung => "no progress for too long: it was aborted".into(),
            Self::Cut => "another member of its group died".into(),
            Self::Renewed => "a restart was asked for".into(),
            Self::Ended => "a stop was asked for".into(),
        }
    }
}

/// What comes after a life.
pub(super) enum Next {
    /// Another one.
    Live { after: Duration },
    /// What its group says.
    Wait,
    /// Nothing.
    Stop,
    /// Nothing, and it was too much.
    Fail { reason: Arc<str> },
}

impl Next {
    pub(super) fn sequel(&self) -> Sequel {
        match self {
            Self::Live { .. } => Sequel::Restart,
            Self::Wait => Sequel::Recovery,
            Self::Stop => Sequel::End,
            Self::Fail { .. } => Sequel::Failure,
        }
    }
}
