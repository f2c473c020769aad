//! What every node of the tree can do, of whatever sort it is.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::error::CommandError;
use super::life::Fault;
use super::snapshot::{Failure, NodeSnapshot};

/// What can be asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Finish what is accepted, then end for good.
    Stop,
    /// Finish what is in hand, then begin another life.
    Renew,
    /// Suffer a fault at the next message.
    Suffer(Fault),
}

/// A node of the tree.
pub(super) trait Member: Send + Sync {
    fn name(&self) -> &str;
    fn path(&self) -> String;
    fn snapshot(&self) -> NodeSnapshot;
    /// The node at `path` under this one.
    fn member(&self, path: &str) -> Option<Arc<dyn Member>>;
    /// Of the node and of all under it.
    fn breakers(&self) -> Vec<Breaker> {
        Vec::new()
    }
    fn command(&self, command: Command) -> Result<(), CommandError>;
    /// Returns when the node and all that is under it now have been started, or are over.
    fn begun(self: Arc<Self>) -> BoxFuture<'static, ()>;
    /// Ends the node and all under it; returns when nothing of them is left.
    fn stop(self: Arc<Self>) -> BoxFuture<'static, ()>;
    /// Cuts the lives under this node at their next await and lets none begin; returns when there are none. What they
    /// had in hand goes back to their mailboxes without blame.
    fn hold(self: Arc<Self>) -> BoxFuture<'static, ()>;
    /// Lets what was held live again, with its limits as new; returns when it has started, or died again.
    fn release(self: Arc<Self>) -> BoxFuture<'static, ()>;
    /// Ends what was held for good: it failed.
    fn fail(self: Arc<Self>, reason: Arc<str>) -> BoxFuture<'static, ()>;
}

/// The figures by which a pool judges its children.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Vitals {
    pub(super) restarts: u64,
    pub(super) handled: u64,
    pub(super) depth: usize,
    pub(super) oldest_ms: u64,
}

/// A child whose actor's type is not known.
pub(super) trait AnyChild: Member {
    fn vitals(&self) -> Vitals;
    fn last_failure(&self) -> Option<Failure>;
}

/// A death that the child does not deal with by itself.
#[derive(Debug, Clone)]
pub(super) struct Death {
    pub(super) reason: Arc<str>,
    pub(super) at: Instant,
    /// The message in hand was at fault and is refused: neither of the two deaths that it caused counts.
    pub(super) is_excused: bool,
}

/// What follows a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    /// The child begins another life by itself.
    Alone,
    /// Its group has taken over: the child waits until it is released.
    Held,
    /// The group is closed, and the child has died too often: it fails.
    Failed,
}

/// Who decides what follows the death of a child.
pub(super) trait Superior: Send + Sync {
    fn rule(&self, death: Death) -> Ruling;
    /// The child was held and is released: its own restarts count from now.
    fn reset(&self);
}

/// The path of `name` under `parent`; the root's children have no prefix.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}
