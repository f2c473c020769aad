//! Supervision of actix actors: a library that knows nothing of what the actors do.
//!
//! actix's own supervisor dies together with an actor that panics, and with it the mailbox. Here a child is a task of
//! ours: it owns a bounded mailbox, a factory and the restart policy, and polls the actor's context inside itself.
//! When the actor panics or stops, the factory makes the next life, and the mailbox goes on.
//!
//! Start with [`Supervisor::root`], [`Supervisor::start`] and [`ChildSpec`]. The promises are in `README.md`.
//!
//! What is lost if a child dies: nothing but what its actor alone holds. If the process dies: the mailboxes and the
//! [`StateCell`]s.

mod backoff;
mod breaker;
mod burial;
mod child;
mod child_ref;
mod child_spec;
mod driver;
mod envelope;
mod error;
mod events;
mod exit;
mod group;
mod hands;
mod launch;
mod life;
mod mailbox;
mod member;
mod place;
mod pool;
mod post_mortem;
mod progress;
mod recovery;
mod restart_limit;
mod snapshot;
mod state_cell;
mod strategy;
mod supervisor;
mod tenure;
mod threads;

pub use backoff::{Backoff, Delays};
pub use breaker::{Breaker, BreakerSnapshot, BreakerSpec, BreakerState, CircuitOpen, Permit};
pub use child_ref::ChildRef;
pub use child_spec::{ChildSpec, GroupSpec, PoolSpec, Restart};
pub use error::{AskError, CommandError};
pub use events::{Change, Escalation, Observer, SupervisionEvent};
pub use life::Fault;
pub use pool::Pool;
pub use post_mortem::{Cause, PostMortem, Sequel};
pub use progress::{idle, progress, waiting};
pub use restart_limit::Intensity;
pub use snapshot::{Failure, MailboxSnapshot, NodeSnapshot, NodeState};
pub use state_cell::StateCell;
pub use strategy::Strategy;
pub use supervisor::Supervisor;
