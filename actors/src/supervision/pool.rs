//! A pool: up to a million light children of one sort that come and go, restarted one for one.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::Actor;
use actix_rt::ArbiterHandle;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::child::{AnyChild, Child, Command, Member, Vitals};
use super::child_ref::ChildRef;
use super::child_spec::PoolSpec;
use super::driver::{Seed, launch};
use super::error::CommandError;
use super::events::Tree;
use super::restart_limit::RestartLimit;
use super::snapshot::{Failure, MailboxSnapshot, NodeSnapshot, NodeState};

/// A snapshot locks one shard at a time, so that at a million children nobody waits long to start one.
const SHARDS: usize = 64;

/// So many children of a pool are in its snapshot.
const WORST_MAX: usize = 10;

/// The handle to a pool of `A`s.
///
/// A child has no restart limit, only backoff. If all children together exceed the pool's limit, the pool fails and
/// is escalated: each child that dies from then on fails, those that do not die go on.
pub struct Pool<A: Actor> {
    children: Arc<Children>,
    spec: PoolSpec,
    actor: std::marker::PhantomData<fn() -> A>,
}

impl<A: Actor<Context = actix::Context<A>>> Pool<A> {
    pub(super) fn new(
        tree: Arc<Tree>,
        path: Arc<str>,
        name: Box<str>,
        kind: &'static str,
        spec: PoolSpec,
    ) -> Self {
        let children = Children {
            tree,
            name,
            kind,
            limit: RestartLimit::new(Arc::clone(&path), spec.policy.intensity),
            path,
            mailbox_capacity: spec.mailbox_capacity,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            departed: Mutex::default(),
            is_closed: AtomicBool::new(false),
        };
        Self { children: Arc::new(children), spec, actor: std::marker::PhantomData }
    }

    pub(super) fn member(&self) -> Arc<dyn Member> {
        Arc::clone(&self.children) as Arc<dyn Member>
    }

    pub(super) fn close(&self) {
        self.children.is_closed.store(true, Ordering::SeqCst);
    }

    /// Starts a child on `arbiter`, as [`Supervisor::start`](super::Supervisor::start) does.
    ///
    /// `id` is what operators see: a mask, never a user's id. Masks may collide; by a path only the first is found.
    pub fn start(
        &self,
        arbiter: &ArbiterHandle,
        id: impl Into<Box<str>>,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> ChildRef<A> {
        let pool = &self.children;
        let child = Arc::new(Child::new(
            Arc::clone(&pool.tree),
            Arc::clone(&pool.path),
            id.into(),
            pool.kind,
            pool.mailbox_capacity,
        ));
        pool.shard(child.name()).lock().insert(address(&child), Arc::clone(&child) as Arc<dyn AnyChild>);
        // After the insert: whoever closes the pool sees either this child in it, or is seen here.
        if pool.is_closed.load(Ordering::SeqCst) {
            // Never refused: the child is new.
            let _ = child.command(Command::Stop);
        }
        let seed = Seed {
            factory: Box::new(factory),
            policy: Arc::clone(&self.spec.policy),
            limit: pool.limit.clone(),
            child: Arc::clone(&child),
        };
        launch(arbiter, seed);
        ChildRef { child }
    }

    /// Stops `child` after what it has accepted, or after `stop_within`, and forgets it.
    pub async fn put_away(&self, child: &ChildRef<A>) {
        Arc::clone(&child.child).stop().await;
        let pool = &self.children;
        // The shard first: a snapshot in between misses the child's figures, but never counts them twice.
        if pool.shard(child.child.name()).lock().remove(&address(&child.child)).is_some() {
            pool.departed.lock().add(&*child.child);
        }
    }

    /// How many children the pool has.
    pub fn live(&self) -> usize {
        self.children.live()
    }
}

impl<A: Actor> Clone for Pool<A> {
    fn clone(&self) -> Self {
        Self {
            children: Arc::clone(&self.children),
            spec: self.spec.clone(),
            actor: std::marker::PhantomData,
        }
    }
}

impl<A: Actor> fmt::Debug for Pool<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Children { path, .. } = &*self.children;
        f.debug_struct("Pool").field("path", path).field("live", &self.children.live()).finish()
    }
}

/// The children of a shard, by the address of their record, which is unique while it is in here.
type Shard = HashMap<usize, Arc<dyn AnyChild>, BuildHasherDefault<DefaultHasher>>;

fn address<A: Actor>(child: &Arc<Child<A>>) -> usize {
    Arc::as_ptr(child).addr()
}

struct Children {
    tree: Arc<Tree>,
    path: Arc<str>,
    name: Box<str>,
    kind: &'static str,
    limit: RestartLimit,
    mailbox_capacity: usize,
    shards: Box<[Mutex<Shard>]>,
    departed: Mutex<Departed>,
    is_closed: AtomicBool,
}

/// What children that were put away leave in the pool's figures.
#[derive(Debug, Default, Clone)]
struct Departed {
    restarts: u64,
    handled: u64,
    last_failure: Option<Failure>,
}

impl Departed {
    fn add(&mut self, child: &dyn AnyChild) {
        let Vitals { restarts, handled, .. } = child.vitals();
        self.restarts += restarts;
        self.handled += handled;
        self.last_failure = latest(self.last_failure.take(), child.last_failure());
    }
}

fn latest(one: Option<Failure>, other: Option<Failure>) -> Option<Failure> {
    one.into_iter().chain(other).max_by_key(|failure| failure.at)
}

impl Children {
    fn shard(&self, id: &str) -> &Mutex<Shard> {
        let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(id);
        &self.shards[hash as usize % SHARDS]
    }

    fn live(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn state(&self) -> NodeState {
        if self.limit.window.lock().is_exceeded() {
            NodeState::Failed
        } else if self.is_closed.load(Ordering::SeqCst) {
            NodeState::Stopped
        } else {
            NodeState::Running
        }
    }
}

/// The worst children of a pool: most restarts first, then the deepest mailbox.
#[derive(Default)]
struct Worst(Vec<((u64, usize), Arc<dyn AnyChild>)>);

impl Worst {
    fn consider(&mut self, vitals: Vitals, child: &Arc<dyn AnyChild>) {
        let badness = (vitals.restarts, vitals.depth);
        if self.0.len() == WORST_MAX && self.0.last().is_some_and(|(least, _)| *least >= badness) {
            return;
        }
        let place = self.0.partition_point(|(other, _)| *other >= badness);
        self.0.insert(place, (badness, Arc::clone(child)));
        self.0.truncate(WORST_MAX);
    }
}

impl Member for Children {
    fn name(&self) -> &str {
        &self.name
    }

    fn snapshot(&self) -> NodeSnapshot {
        let Departed { mut restarts, mut handled, mut last_failure } = self.departed.lock().clone();
        let (mut live, mut depth, mut oldest_ms, mut worst) = (0, 0, 0, Worst::default());
        for shard in &self.shards {
            for child in shard.lock().values() {
                let vitals = child.vitals();
                live += 1;
                restarts += vitals.restarts;
                handled += vitals.handled;
                depth += vitals.depth;
                oldest_ms = oldest_ms.max(vitals.oldest_ms);
                last_failure = latest(last_failure, child.last_failure());
                worst.consider(vitals, child);
            }
        }
        NodeSnapshot {
            path: self.path.to_string(),
            kind: self.kind,
            state: self.state(),
            restarts,
            last_failure,
            mailbox: MailboxSnapshot { depth, capacity: live * self.mailbox_capacity },
            handled,
            oldest_ms,
            breaker: (),
            live: Some(live),
            children: worst.0.iter().map(|(_, child)| child.snapshot()).collect(),
        }
    }

    fn member(&self, path: &str) -> Option<Arc<dyn Member>> {
        let shard = self.shard(path).lock();
        let child = shard.values().find(|child| child.name() == path)?;
        Some(Arc::clone(child) as Arc<dyn Member>)
    }

    fn command(&self, _: Command) -> Result<(), CommandError> {
        Err(CommandError::NotOneChild)
    }

    fn stop(self: Arc<Self>) -> BoxFuture<'static, ()> {
        self.is_closed.store(true, Ordering::SeqCst);
        // All at once: their order means nothing, and their deadlines must not add up.
        let stops: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>())
            .map(Member::stop)
            .collect();
        Box::pin(async move {
            for stop in stops {
                stop.await;
            }
        })
    }
}
