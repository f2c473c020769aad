//! A group: members in start order, a strategy, and a limit for what it restarts.
//!
//! Deaths that the strategy makes the matter of more than the dead one, and deaths beyond a member's own limit, are
//! dealt with by one task at a time, on the supervisors' arbiter: it holds the members concerned in reverse order,
//! waits for the backoff, and releases them in order. Beyond the group's limit its parent does the same to the group.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::backoff::Delays;
use super::breaker::Breaker;
use super::child_spec::GroupSpec;
use super::error::CommandError;
use super::events::{Change, SupervisionEvent, Tree};
use super::member::{Command, Death, Member, Ruling, join};
use super::place::{ChildPlace, Place};
use super::restart_limit::{Intensity, RestartWindow};
use super::snapshot::NodeSnapshot;
use super::strategy::Strategy;

pub(super) const ROOT: &str = "root";
const KIND: &str = "supervisor";

pub(super) struct Group {
    pub(super) tree: Arc<Tree>,
    /// Empty for the root.
    path: Arc<str>,
    name: Box<str>,
    pub(super) spec: GroupSpec,
    /// Unset for the root.
    pub(super) place: OnceLock<Place>,
    pub(super) state: Mutex<State>,
    pub(super) halt: watch::Sender<Halt>,
    pub(super) is_recovering: watch::Sender<bool>,
}

pub(super) struct State {
    /// Never removed, so that a member's index is its place for ever.
    pub(super) in_start_order: Vec<Arc<dyn Member>>,
    pub(super) window: RestartWindow,
    pub(super) delays: Delays,
    /// Not yet dealt with.
    pub(super) deaths: Vec<(usize, Death)>,
}

/// Why a group restarts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Halt {
    /// It is being stopped, or is.
    pub(super) is_closed: bool,
    /// Its parent restarts it.
    pub(super) is_held: bool,
}

impl Halt {
    pub(super) fn is_on(self) -> bool {
        self.is_closed || self.is_held
    }
}

impl Group {
    pub(super) fn root(tree: Arc<Tree>, spec: GroupSpec) -> Arc<Self> {
        Arc::new(Self::new(tree, "".into(), ROOT.into(), spec))
    }

    /// A group called `name` under this one.
    pub(super) fn subgroup(self: &Arc<Self>, name: Box<str>, spec: GroupSpec) -> Arc<Self> {
        let path = join(&self.path, &name).into();
        let group = Arc::new(Self::new(Arc::clone(&self.tree), path, name, spec));
        let index = self.admit(Arc::clone(&group) as Arc<dyn Member>);
        // Never set before: the group is new.
        let _ = group.place.set(Place::new(self, index));
        group
    }

    fn new(tree: Arc<Tree>, path: Arc<str>, name: Box<str>, spec: GroupSpec) -> Self {
        let state = State {
            in_start_order: Vec::new(),
            window: RestartWindow::new(spec.intensity),
            delays: Delays::new(spec.backoff, spec.intensity.window),
            deaths: Vec::new(),
        };
        Self {
            tree,
            path,
            name,
            spec,
            place: OnceLock::new(),
            state: Mutex::new(state),
            halt: watch::Sender::default(),
            is_recovering: watch::Sender::default(),
        }
    }

    pub(super) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    pub(super) fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// Whether members are being restarted by the group.
    pub(super) fn is_recovering(&self) -> bool {
        *self.is_recovering.borrow()
    }

    /// Lists a child that has `alone` restarts of its own, if any. Beside its place it gives the member before it.
    pub(super) fn admit_child(
        self: &Arc<Self>,
        child: Arc<dyn Member>,
        alone: Option<Intensity>,
    ) -> (ChildPlace, Option<Arc<dyn Member>>) {
        let index = self.admit(child);
        (ChildPlace::new(Arc::clone(self), index, alone), self.before(index))
    }

    /// Who was started before the member at `index`: in this group, or before it.
    pub(super) fn before(&self, index: usize) -> Option<Arc<dyn Member>> {
        match index.checked_sub(1) {
            Some(before) => self.state.lock().in_start_order.get(before).cloned(),
            None => self.place.get()?.before(),
        }
    }

    /// Lists a pool.
    pub(super) fn admit_pool(self: &Arc<Self>, pool: Arc<dyn Member>) -> Place {
        Place::new(self, self.admit(pool))
    }

    /// Lists the member, halted as the group is. Under the lock, so that whoever halts or releases the group either sees
    /// this member, or is seen here.
    fn admit(&self, member: Arc<dyn Member>) -> usize {
        let mut state = self.state.lock();
        let halt = *self.halt.borrow();
        // The orders are given at once; nobody waits here until they are obeyed.
        if halt.is_closed {
            drop(Arc::clone(&member).stop());
        } else if halt.is_held {
            drop(Arc::clone(&member).hold());
        }
        state.in_start_order.push(member);
        state.in_start_order.len() - 1
    }

    pub(super) fn members(&self) -> Vec<Arc<dyn Member>> {
        self.state.lock().in_start_order.clone()
    }

    /// `is_exhausted`: the member has used up its own restarts.
    pub(super) fn on_death(self: &Arc<Self>, index: usize, death: Death, is_exhausted: bool) -> Ruling {
        let mut state = self.state.lock();
        let is_closed = self.halt.borrow().is_closed;
        if (self.spec.strategy == Strategy::OneForOne && !is_exhausted || is_closed)
            && state.window.bears(&death)
        {
            return Ruling::Alone;
        }
        if is_closed {
            let path = state.in_start_order[index].path();
            self.tree.escalate(path.into(), death.reason);
            return Ruling::Failed;
        }
        state.deaths.push((index, death));
        if !self.is_recovering.send_replace(true) {
            self.tree.spawn(Arc::clone(self).recover());
        }
        Ruling::Held
    }

    /// Done when the group is being stopped, or is gone.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let mut halt = self.halt.subscribe();
        async move {
            let _ = halt.wait_for(|halt| halt.is_closed).await;
        }
    }

    /// Halts the group; what is returned is done when it restarts nothing any more.
    fn halt(&self, change: fn(&mut Halt)) -> impl Future<Output = ()> + use<> {
        let mut is_recovering = {
            let _state = self.state.lock();
            self.halt.send_modify(change);
            self.is_recovering.subscribe()
        };
        async move {
            let _ = is_recovering.wait_for(|is_recovering| !is_recovering).await;
        }
    }

    pub(super) fn tell(&self, change: Change) {
        let path = Member::path(self);
        self.tree.tell(&SupervisionEvent { path, kind: KIND, change });
    }
}

impl Member for Group {
    fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> String {
        if self.path.is_empty() { ROOT.to_owned() } else { self.path.to_string() }
    }

    fn snapshot(&self) -> NodeSnapshot {
        let children = self.members().iter().map(|member| member.snapshot()).collect();
        NodeSnapshot::of_group(Member::path(self), KIND, children)
    }

    fn member(&self, path: &str) -> Option<Arc<dyn Member>> {
        let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let member = self.members().into_iter().find(|member| member.name() == name)?;
        match rest {
            None => Some(member),
            Some(rest) => member.member(rest),
        }
    }

    fn breakers(&self) -> Vec<Breaker> {
        self.members().iter().flat_map(|member| member.breakers()).collect()
    }

    fn command(&self, command: Command) -> Result<(), CommandError> {
        match command {
            // Its members restart each on its own: those that are over stay so.
            Command::Renew => {
                let restarted =
                    self.members().iter().filter(|member| member.command(command).is_ok()).count();
                if restarted == 0 { Err(CommandError::Over) } else { Ok(()) }
            }
            Command::Stop | Command::Suffer(_) => Err(CommandError::NotOneChild),
        }
    }

    fn begun(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Some(before) = self.place.get().and_then(Place::before) {
                before.begun().await;
            }
            for member in self.members() {
                member.begun().await;
            }
        })
    }

    fn stop(self: Arc<Self>) -> BoxFuture<'static, ()> {
        let halted = self.halt(|halt| halt.is_closed = true);
        Box::pin(async move {
            halted.await;
            for member in self.members().into_iter().rev() {
                member.stop().await;
            }
        })
    }

    fn hold(self: Arc<Self>) -> BoxFuture<'static, ()> {
        let halted = self.halt(|halt| halt.is_held = true);
        Box::pin(async move {
            halted.await;
            self.hold_all().await;
        })
    }

    fn release(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            {
                let mut state = self.state.lock();
                state.window.reset();
                state.deaths.clear();
                self.halt.send_modify(|halt| halt.is_held = false);
                // One at a time holds and releases members: whoever dies meanwhile is dealt with afterwards.
                self.is_recovering.send_replace(true);
            }
            let (released, is_released) = oneshot::channel();
            let tree = Arc::clone(&self.tree);
            // A task of its own: whoever waits for it may leave.
            tree.spawn(async move {
                self.release_each(self.members()).await;
                let _ = released.send(());
                self.recover().await;
            });
            let _ = is_released.await;
        })
    }

    fn fail(self: Arc<Self>, reason: Arc<str>) -> BoxFuture<'static, ()> {
        let halted = self.halt(|halt| halt.is_closed = true);
        Box::pin(async move {
            halted.await;
            self.fail_all(reason).await;
        })
    }
}
