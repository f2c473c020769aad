//! A pool: up to a million light children of one sort that come and go, restarted one for one.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use actix::Actor;
use actix_rt::ArbiterHandle;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::child::Child;
use super::child_ref::ChildRef;
use super::child_spec::PoolSpec;
use super::error::CommandError;
use super::events::Tree;
use super::launch::{Seed, launch};
use super::member::{AnyChild, Command, Death, Member, Ruling, Superior, Vitals};
use super::place::Place;
use super::restart_limit::RestartWindow;
use super::snapshot::{Failure, MailboxSnapshot, NodeSnapshot, NodeState};

/// A snapshot locks one shard at a time, so that at a million children nobody waits long to start one.
const SHARDS: usize = 64;

/// So many children of a pool are in its snapshot.
const WORST_MAX: usize = 10;

/// The handle to a pool of `A`s.
///
/// A child has no restart limit, only backoff. If all children together exceed the pool's limit, the pool's group
/// restarts them all, and their mailboxes wait for it.
pub struct Pool<A: Actor> {
    children: Arc<Children>,
    spec: PoolSpec,
    actor: std::marker::PhantomData<fn() -> A>,
}

impl<A: Actor<Context = actix::Context<A>>> Pool<A> {
    pub(super) fn new(
        tree: Arc<Tree>,
        path: Arc<str>,
        kind: &'static str,
        spec: PoolSpec,
        admit: impl FnOnce(Arc<dyn Member>) -> Place,
    ) -> Self {
        let children = Arc::new(Children {
            tree,
            kind,
            window: Mutex::new(RestartWindow::new(spec.intensity)),
            has_handed_up: AtomicBool::new(false),
            place: OnceLock::new(),
            path,
            mailbox_capacity: spec.mailbox_capacity,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            departed: Mutex::default(),
            is_closed: AtomicBool::new(false),
            is_held: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        });
        // Never set before: the pool is new, and has no children yet.
        let _ = children.place.set(admit(Arc::clone(&children) as Arc<dyn Member>));
        Self { children, spec, actor: std::marker::PhantomData }
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
            None,
        ));
        pool.shard(child.name()).lock().insert(address(&child), Arc::clone(&child) as Arc<dyn AnyChild>);
        // After the insert: whoever closes or holds the pool sees either this child in it, or is seen here.
        if pool.is_closed.load(Ordering::SeqCst) {
            // Never refused: the child is new.
            let _ = child.command(Command::Stop);
        } else if pool.is_held.load(Ordering::SeqCst) {
            child.order_hold();
            if !pool.is_held.load(Ordering::SeqCst) {
                // Released in between, perhaps without seeing this child held.
                drop(Arc::clone(&child).release());
            }
        }
        let seed = Seed {
            factory: Box::new(factory),
            policy: Arc::clone(&self.spec.policy),
            superior: Arc::clone(pool) as Arc<dyn Superior>,
            child: Arc::clone(&child),
            predecessor: None,
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
    kind: &'static str,
    /// Of the restarts of all children together.
    window: Mutex<RestartWindow>,
    /// The pool's group is dealing with it already.
    has_handed_up: AtomicBool,
    place: OnceLock<Place>,
    mailbox_capacity: usize,
    shards: Box<[Mutex<Shard>]>,
    departed: Mutex<Departed>,
    is_closed: AtomicBool,
    is_held: AtomicBool,
    has_failed: AtomicBool,
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

    fn all(&self) -> Vec<Arc<dyn AnyChild>> {
        self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect()
    }

    fn state(&self) -> NodeState {
        if self.has_failed.load(Ordering::SeqCst) {
            NodeState::Failed
        } else if self.is_held.load(Ordering::SeqCst) {
            NodeState::Restarting
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
        self.path.rsplit_once('/').map_or(&self.path, |(_, name)| name)
    }

    fn path(&self) -> String {
        self.path.to_string()
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
            breaker: None,
            live: Some(live),
            children: worst.0.iter().map(|(_, child)| child.snapshot()).collect(),
        }
    }

    fn member(&self, path: &str) -> Option<Arc<dyn Member>> {
        let shard = self.shard(path).lock();
        let child = shard.values().find(|child| child.name() == path)?;
        Some(Arc::clone(child) as Arc<dyn Member>)
    }

    fn command(&self, command: Command) -> Result<(), CommandError> {
        match command {
            Command::Renew if self.is_closed.load(Ordering::SeqCst) => Err(CommandError::Over),
            Command::Renew => {
                // Refused only by one that is over, which has nothing to restart.
                for child in self.all() {
                    let _ = child.command(command);
                }
                Ok(())
            }
            Command::Stop | Command::Suffer(_) => Err(CommandError::NotOneChild),
        }
    }

    // Each of these deals with all children at once: their order means nothing, and their deadlines must not add up.

    /// A pool is there without any child.
    fn begun(self: Arc<Self>) -> BoxFuture<'static, ()> {
        match self.place.get().and_then(Place::before) {
            Some(before) => before.begun(),
            None => Box::pin(async {}),
        }
    }

    fn stop(self: Arc<Self>) -> BoxFuture<'static, ()> {
        self.is_closed.store(true, Ordering::SeqCst);
        one_by_one(self.all().into_iter().map(Member::stop).collect())
    }

    fn hold(self: Arc<Self>) -> BoxFuture<'static, ()> {
        self.is_held.store(true, Ordering::SeqCst);
        one_by_one(self.all().into_iter().map(Member::hold).collect())
    }

    fn release(self: Arc<Self>) -> BoxFuture<'static, ()> {
        self.window.lock().reset();
        self.has_handed_up.store(false, Ordering::SeqCst);
        self.is_held.store(false, Ordering::SeqCst);
        one_by_one(self.all().into_iter().map(Member::release).collect())
    }

    fn fail(self: Arc<Self>, reason: Arc<str>) -> BoxFuture<'static, ()> {
        self.has_failed.store(true, Ordering::SeqCst);
        self.is_closed.store(true, Ordering::SeqCst);
        one_by_one(self.all().into_iter().map(|child| child.fail(Arc::clone(&reason))).collect())
    }
}

/// Awaits what is under way already.
fn one_by_one(futures: Vec<BoxFuture<'static, ()>>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        for future in futures {
            future.await;
        }
    })
}

impl Superior for Children {
    fn rule(&self, death: Death) -> Ruling {
        if self.window.lock().bears(&death) {
            return Ruling::Alone;
        }
        if self.has_handed_up.swap(true, Ordering::SeqCst) {
            return Ruling::Held;
        }
        let reason = Arc::clone(&death.reason);
        let ruling = self.place.get().and_then(|place| place.hand_up(death)).unwrap_or_else(|| {
            self.tree.escalate(Arc::clone(&self.path), reason);
            Ruling::Failed
        });
        if ruling != Ruling::Held {
            // Nobody will release the pool: the next child must not wait for it.
            self.has_handed_up.store(false, Ordering::SeqCst);
        }
        ruling
    }

    fn reset(&self) {}
}
