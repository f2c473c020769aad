//! The tree: named groups of children, groups and pools.

use std::fmt;
use std::sync::Arc;

use actix::Actor;
use actix_rt::ArbiterHandle;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::child::{Child, Command, Member, join};
use super::child_ref::ChildRef;
use super::child_spec::{ChildSpec, PoolSpec};
use super::driver::{Seed, launch};
use super::error::CommandError;
use super::events::{Escalation, Observer, Tree};
use super::life::Fault;
use super::pool::Pool;
use super::restart_limit::RestartLimit;
use super::snapshot::NodeSnapshot;

const ROOT: &str = "root";
const KIND: &str = "supervisor";

/// A group of the supervision tree, and the handle to all that is under it.
///
/// One for one: a child that dies is restarted alone. Children are started in the order of the calls and stopped in
/// the reverse order.
#[derive(Clone)]
pub struct Supervisor {
    group: Arc<Group>,
}

impl Supervisor {
    /// The root of a new tree, whose events `observer` hears.
    pub fn root(observer: impl Observer) -> Self {
        Self { group: Group::new(Arc::new(Tree::new(observer)), "".into(), ROOT.into()) }
    }

    /// A group called `name` under this one. Names of a group's members are unique and contain no `/`.
    pub fn group(&self, name: impl Into<Box<str>>) -> Self {
        let name = name.into();
        let group = Group::new(Arc::clone(&self.group.tree), join(&self.group.path, &name).into(), name);
        self.group.admit(Arc::clone(&group) as Arc<dyn Member>);
        Self { group }
    }

    /// Starts a child on `arbiter`. It is ready for messages at once: they wait until its actor has started.
    ///
    /// In a group that was stopped, and on an arbiter that was, the child is stopped from the beginning.
    pub fn start<A>(&self, arbiter: &ArbiterHandle, spec: ChildSpec<A>) -> ChildRef<A>
    where
        A: Actor<Context = actix::Context<A>>,
    {
        let Group { tree, path, .. } = &*self.group;
        let limit = RestartLimit::new(join(path, &spec.name).into(), spec.policy.intensity);
        let child =
            Child::new(Arc::clone(tree), Arc::clone(path), spec.name, spec.kind, spec.mailbox_capacity);
        let child = Arc::new(child);
        if !self.group.admit(Arc::clone(&child) as Arc<dyn Member>) {
            // Never refused: the child is new.
            let _ = child.command(Command::Stop);
        }
        let seed =
            Seed { factory: spec.factory, policy: Arc::new(spec.policy), limit, child: Arc::clone(&child) };
        launch(arbiter, seed);
        ChildRef { child }
    }

    /// A pool called `name`, of children that come and go.
    pub fn pool<A>(&self, name: impl Into<Box<str>>, kind: &'static str, spec: PoolSpec) -> Pool<A>
    where
        A: Actor<Context = actix::Context<A>>,
    {
        let name = name.into();
        let path = join(&self.group.path, &name).into();
        let pool = Pool::new(Arc::clone(&self.group.tree), path, name, kind, spec);
        if !self.group.admit(pool.member()) {
            pool.close();
        }
        pool
    }

    /// The group and all that is under it, as `/actors` shows it.
    pub fn snapshot(&self) -> NodeSnapshot {
        self.group.snapshot()
    }

    /// The node at `path`, counted from this group: `devices/oura`, `users/1a2b3c4d`.
    pub fn find(&self, path: &str) -> Option<NodeSnapshot> {
        self.group.member(path).map(|member| member.snapshot())
    }

    /// As [`ChildRef::restart`], for the child at `path`.
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

    /// The first child or pool of the whole tree that failed for good, once there is one. It stays.
    pub fn escalations(&self) -> watch::Receiver<Option<Escalation>> {
        self.group.tree.escalations()
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
        f.debug_struct("Supervisor").field("path", &self.group.path).finish_non_exhaustive()
    }
}

struct Group {
    tree: Arc<Tree>,
    /// Empty for the root.
    path: Arc<str>,
    name: Box<str>,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    in_start_order: Vec<Arc<dyn Member>>,
    is_closed: bool,
}

impl Group {
    fn new(tree: Arc<Tree>, path: Arc<str>, name: Box<str>) -> Arc<Self> {
        Arc::new(Self { tree, path, name, members: Mutex::default() })
    }

    /// Lists the member. False: the group was stopped, and the member must be, too.
    fn admit(&self, member: Arc<dyn Member>) -> bool {
        let mut members = self.members.lock();
        members.in_start_order.push(member);
        !members.is_closed
    }

    fn members(&self) -> Vec<Arc<dyn Member>> {
        self.members.lock().in_start_order.clone()
    }
}

impl Member for Group {
    fn name(&self) -> &str {
        &self.name
    }

    fn snapshot(&self) -> NodeSnapshot {
        let path = if self.path.is_empty() { ROOT } else { &self.path };
        let children = self.members().iter().map(|member| member.snapshot()).collect();
        NodeSnapshot::of_group(path.to_owned(), KIND, children)
    }

    fn member(&self, path: &str) -> Option<Arc<dyn Member>> {
        let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let member = self.members().into_iter().find(|member| member.name() == name)?;
        match rest {
            None => Some(member),
            Some(rest) => member.member(rest),
        }
    }

    fn command(&self, _: Command) -> Result<(), CommandError> {
        Err(CommandError::NotOneChild)
    }

    fn stop(self: Arc<Self>) -> BoxFuture<'static, ()> {
        self.members.lock().is_closed = true;
        Box::pin(async move {
            for member in self.members().into_iter().rev() {
                member.stop().await;
            }
        })
    }
}
