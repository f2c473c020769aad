//! The tree: named groups of children, groups and pools.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use actix_rt::ArbiterHandle;
use tokio::sync::watch;

use super::breaker::Breaker;
use super::child::Child;
use super::child_ref::ChildRef;
use super::child_spec::{ChildSpec, GroupSpec, PoolSpec};
use super::error::CommandError;
use super::events::{Escalation, Observer, Tree};
use super::group::Group;
use super::launch::{Seed, launch};
use super::life::Fault;
use super::member::{Command, Member, join};
use super::pool::Pool;
use super::post_mortem::PostMortem;
use super::snapshot::NodeSnapshot;
use super::threads;

/// A group of the supervision tree, and the handle to all that is under it.
///
/// Children are started in the order of the calls and stopped in the reverse order.
#[derive(Clone)]
pub struct Supervisor {
    group: Arc<Group>,
}

impl Supervisor {
    /// The root of a new tree, whose events `observer` hears.
    ///
    /// `arbiter` is where groups restart their members: best one of its own, so that no actor can be in the way. When
    /// the limit of `spec` is exceeded, the tree escalates: see [`Supervisor::escalations`].
    pub fn root(arbiter: &ArbiterHandle, spec: GroupSpec, observer: impl Observer) -> Self {
        Self { group: Group::root(Arc::new(Tree::new(arbiter.clone(), observer)), spec) }
    }

    /// A group called `name` under this one. Names of a group's members are unique and contain no `/`.
    pub fn group(&self, name: impl Into<Box<str>>, spec: GroupSpec) -> Self {
        Self { group: self.group.subgroup(name.into(), spec) }
    }

    /// Starts a child on `arbiter`. It is ready for messages at once: they wait until its actor has started, which is
    /// not before all that was started here before it has.
    ///
    /// In a group that was stopped, and on an arbiter that was, the child is stopped from the beginning.
    pub fn start<A>(&self, arbiter: &ArbiterHandle, spec: ChildSpec<A>) -> ChildRef<A>
    where
        A: Actor<Context = actix::Context<A>>,
    {
        let (tree, parent) = (Arc::clone(self.group.tree()), Arc::clone(self.group.path()));
        let child =
            Arc::new(Child::new(tree, parent, spec.name, spec.kind, spec.mailbox_capacity, spec.breaker));
        let (place, predecessor) = self.group.admit_child(Arc::clone(&child) as Arc<dyn Member>, spec.alone);
        let seed = Seed {
            factory: spec.factory,
            policy: Arc::new(spec.policy),
            superior: Arc::new(place),
            child: Arc::clone(&child),
            predecessor: predecessor.map(Member::begun),
        };
        launch(arbiter, seed);
        ChildRef { child }
    }

    /// A pool called `name`, of children that come and go.
    pub fn pool<A>(&self, name: impl Into<Box<str>>, kind: &'static str, spec: PoolSpec) -> Pool<A>
    where
        A: Actor<Context = actix::Context<A>>,
    {
        let path = join(self.group.path(), &name.into()).into();
        Pool::new(Arc::clone(self.group.tree()), path, kind, spec, |pool| self.group.admit_pool(pool))
    }

    /// Whether members of this group are being restarted by it: because of its strategy, or because one of them has
    /// used up its own restarts. What is under its members does not count.
    pub fn is_recovering(&self) -> bool {
        self.group.is_recovering()
    }

    /// The group and all that is under it, as `/actors` shows it.
    pub fn snapshot(&self) -> NodeSnapshot {
        self.group.snapshot()
    }

    /// The node at `path`, counted from this group: `devices/oura`, `users/1a2b3c4d`.
    pub fn find(&self, path: &str) -> Option<NodeSnapshot> {
        self.group.member(path).map(|member| member.snapshot())
    }

    /// The circuit breakers of all under this group.
    pub fn breakers(&self) -> Vec<Breaker> {
        self.group.breakers()
    }

    /// As [`ChildRef::restart`], for the child at `path`, or for each one of the group or the pool at `path`.
    ///
    /// # Errors
    /// All of [`CommandError`].
    pub fn restart(&self, path: &str) -> Result<(), CommandError> {
        self.command(path, Command::Renew)
    }

    /// As [`ChildRef::inject`], for the child at `path`.
    ///
    /// # Errors
    /// All of [`CommandError`].
    pub fn inject(&self, path: &str, fault: Fault) -> Result<(), CommandError> {
        self.command(path, Command::Suffer(fault))
    }

    fn command(&self, path: &str, command: Command) -> Result<(), CommandError> {
        self.group.member(path).ok_or(CommandError::Unknown)?.command(command)
    }

    /// The first child or pool of the whole tree that failed for good, once there is one: the root's limit is exceeded.
    /// It stays.
    pub fn escalations(&self) -> watch::Receiver<Option<Escalation>> {
        self.group.tree().escalations()
    }

    /// The latest deaths of the node at `path` and of all under it, oldest first; of all for an empty path. Of a whole
    /// tree the latest 128 are kept.
    pub fn post_mortems(&self, path: &str) -> Vec<Arc<PostMortem>> {
        self.group.tree().morgue.of(path)
    }

    /// Looks, from the supervisors' arbiter and until this group is stopped, for children that have not let go of their
    /// thread for `limit`: a busy loop, or a call that blocks. Nobody can abort them, so such a child is escalated:
    /// the application must end the process, and lose nothing by it.
    ///
    /// Sees handlers and all else in an actor's context, not tasks of their own (`ResponseFuture`).
    pub fn watch_threads(&self, limit: Duration) {
        let watch = threads::watch(Arc::downgrade(self.group.tree()), limit);
        let closed = self.group.closed();
        self.group.tree().spawn(async move {
            tokio::select! {
                () = watch => {}
                () = closed => {}
            }
        });
    }

    /// Stops everything under this group, the last started first, each after what it has accepted or after its
    /// `stop_within`. Afterwards no task is left, and nothing can be started here.
    ///
    /// Returns late if an arbiter is blocked: a task can only be dropped between two of its polls.
    pub async fn stop(&self) {
        Arc::clone(&self.group).stop().await;
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("path", self.group.path()).finish_non_exhaustive()
    }
}
