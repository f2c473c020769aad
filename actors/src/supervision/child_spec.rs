//! What a child is, how it is brought back, and how it is stopped.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::breaker::Breaker;
use super::restart_limit::Intensity;
use super::strategy::Strategy;

/// Makes the actor of each life. A panic in it is a death like any other.
pub(super) type Factory<A> = Box<dyn FnMut() -> A + Send>;

/// Which ends of a life are followed by another life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Every one.
    #[default]
    Permanent,
    /// Only a panic.
    Transient,
    /// None.
    Temporary,
}

/// How children are brought back and stopped.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) in_flight: usize,
    pub(super) restart: Restart,
    pub(super) backoff: Backoff,
    pub(super) stop_within: Duration,
    pub(super) hung_after: Duration,
    pub(super) is_self_driven: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            in_flight: 1,
            restart: Restart::default(),
            backoff: Backoff::default(),
            stop_within: Duration::from_secs(5),
            hung_after: Duration::from_secs(30),
            is_self_driven: false,
        }
    }
}

/// Everything that [`Supervisor::start`](super::Supervisor::start) must know about a child.
pub struct ChildSpec<A> {
    pub(super) name: Box<str>,
    pub(super) kind: &'static str,
    pub(super) mailbox_capacity: usize,
    pub(super) factory: Factory<A>,
    pub(super) alone: Option<Intensity>,
    pub(super) breaker: Option<Breaker>,
    pub(super) policy: Policy,
}

impl<A> ChildSpec<A> {
    /// A child called `name`, unique in its group and without `/`.
    ///
    /// The mailbox holds `mailbox_capacity` messages (at least 1) that are accepted and not yet answered, waiting
    /// or in hand. `factory` is called on the child's arbiter for each life. The rest has defaults: one message
    /// in hand at a time, permanent, no restarts but its group's, backoff from 100 ms to 10 s, 5 s to stop, hung after
    /// 30 s without progress.
    pub fn new(
        name: impl Into<Box<str>>,
        kind: &'static str,
        mailbox_capacity: usize,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            kind,
            mailbox_capacity,
            factory: Box::new(factory),
            alone: None,
            breaker: None,
            policy: Policy::default(),
        }
    }

    /// The breaker that the actor uses, for operators to see. The factory gives it to each life.
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// How many messages the actor has in hand at once (at least 1). More than one only pays when handlers answer
    /// later, by a future.
    pub fn in_flight(mut self, messages: usize) -> Self {
        self.policy.in_flight = messages.max(1);
        self
    }

    /// Which ends of a life are followed by another one.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.policy.restart = restart;
        self
    }

    /// How many restarts in how long the child has on its own, as if it had a supervisor to itself: only beyond them it
    /// is a matter of its group. Without this every death is.
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.alone = Some(intensity);
        self
    }

    /// The delay before each restart. It starts over after 30 s without a failure.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.policy.backoff = backoff;
        self
    }

    /// How long the child may go on with what it has accepted when it is asked to stop or to restart.
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.policy.stop_within = limit;
        self
    }

    /// How long a message may be in hand without progress until the life is aborted as hung.
    ///
    /// Time in [`waiting`](super::waiting) does not count, and that is where a child is while it asks another.
    pub fn hung_after(mut self, limit: Duration) -> Self {
        self.policy.hung_after = limit;
        self
    }

    /// The actor works without messages, in a loop of its own: it is hung, too, when that makes no progress, which it
    /// shows by [`progress`](super::progress), or by being in [`idle`](super::idle) or [`waiting`](super::waiting).
    pub fn self_driven(mut self) -> Self {
        self.policy.is_self_driven = true;
        self
    }
}

/// How a group restarts its members.
#[derive(Debug, Clone, Copy)]
pub struct GroupSpec {
    pub(super) strategy: Strategy,
    pub(super) intensity: Intensity,
    pub(super) backoff: Backoff,
}

impl GroupSpec {
    /// By `strategy`, 3 times in 60 s, after a backoff from 100 ms to 10 s.
    pub fn new(strategy: Strategy) -> Self {
        let intensity = Intensity { max_restarts: 3, window: Duration::from_secs(60) };
        Self { strategy, intensity, backoff: Backoff::default() }
    }

    /// How many deaths in how long the group bears. Beyond them its parent restarts the group as a whole. Limits
    /// multiply over levels: keep the top small.
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// The delay before the group restarts members. It starts over after a window of the intensity without that. A
    /// child that nobody goes along with has its own backoff.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }
}

/// What the children of a [`Pool`](super::Pool) have in common.
#[derive(Debug, Clone)]
pub struct PoolSpec {
    pub(super) mailbox_capacity: usize,
    pub(super) intensity: Intensity,
    pub(super) policy: Arc<Policy>,
}

impl PoolSpec {
    /// Children with `mailbox_capacity` each, and so many restarts of all together borne.
    ///
    /// A single child has no limit of its own, only backoff. Children of a pool are permanent. Beyond the limit the
    /// pool's group restarts all of them.
    pub fn new(mailbox_capacity: usize, intensity: Intensity) -> Self {
        Self { mailbox_capacity, intensity, policy: Arc::default() }
    }

    /// As [`ChildSpec::in_flight`].
    pub fn in_flight(mut self, messages: usize) -> Self {
        Arc::make_mut(&mut self.policy).in_flight = messages.max(1);
        self
    }

    /// As [`ChildSpec::backoff`].
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        Arc::make_mut(&mut self.policy).backoff = backoff;
        self
    }

    /// As [`ChildSpec::stop_within`].
    pub fn stop_within(mut self, limit: Duration) -> Self {
        Arc::make_mut(&mut self.policy).stop_within = limit;
        self
    }

    /// As [`ChildSpec::hung_after`].
    pub fn hung_after(mut self, limit: Duration) -> Self {
        Arc::make_mut(&mut self.policy).hung_after = limit;
        self
    }
}
