//! The task that a child is: it gives the actor its messages, and another life after a death.
//!
//! One task holds both the driver and the actor's context, so an idle child costs one allocation of a task, and the
//! order "the actor died, then its answers were found missing" is certain. The driver, the mailbox and the factory
//! outlive every life.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use actix::Actor;
use actix_rt::ArbiterHandle;
use futures_util::future::poll_fn;
use tokio::time::{Instant, Sleep, sleep};

use super::backoff::Delays;
use super::child::{Child, Orders};
use super::child_spec::{Factory, Policy, Restart};
use super::events::Change;
use super::hands::{Collected, Hands};
use super::life::{Death, Fault, Life};
use super::restart_limit::RestartLimit;
use super::snapshot::{Failure, NodeState};

const ANSWER_DROPPED: &str = "the future that was to answer a message panicked";

/// What the driver of a child is made of, on its way to the child's arbiter.
pub(super) struct Seed<A: Actor> {
    pub(super) factory: Factory<A>,
    pub(super) policy: Arc<Policy>,
    pub(super) limit: RestartLimit,
    pub(super) child: Arc<Child<A>>,
}

/// Starts the child on `arbiter`. On one that has stopped the child is stopped at once.
pub(super) fn launch<A>(arbiter: &ArbiterHandle, seed: Seed<A>)
where
    A: Actor<Context = actix::Context<A>>,
{
    let tenure = Tenure { child: Arc::clone(&seed.child), limit: seed.limit.clone() };
    // If the arbiter drops the function unrun, the tenure ends the child.
    arbiter.spawn_fn(move || {
        let mut driver = Driver::new(seed, tenure);
        // By reference: a future keeps what it takes by value twice.
        actix_rt::spawn(async move { driver.run().await });
    });
}

/// How a life came to its end.
enum Exit {
    Died(Death),
    /// A message's handler vanished, though not the actor: a future of its own panicked.
    AnswerDropped {
        reason: Arc<str>,
        /// It was the message's second time: it was refused.
        is_solved: bool,
    },
    /// Restart on request; what is still in hand has had its time.
    Renewed,
    /// Stop on request, with nothing left to do or no time left.
    Ended,
}

enum Next {
    Live { after: Duration },
    Stop,
    Fail { reason: Arc<str> },
}

struct Deadline {
    is_of_stop: bool,
    sleep: Pin<Box<Sleep>>,
}

struct Driver<A: Actor<Context = actix::Context<A>>> {
    life: Option<Life<A>>,
    /// The actor of this life has run its `started`.
    has_started: bool,
    /// To befall the message that was handed over last.
    fault: Option<Fault>,
    hands: Hands<A>,
    /// When an order to stop or restart runs out of time.
    deadline: Option<Deadline>,
    delays: Option<Box<Delays>>,
    factory: Factory<A>,
    policy: Arc<Policy>,
    limit: RestartLimit,
    child: Arc<Child<A>>,
    // Last, so that the child is gone only when all the rest is.
    tenure: Tenure<A>,
}

impl<A: Actor<Context = actix::Context<A>>> Driver<A> {
    fn new(seed: Seed<A>, tenure: Tenure<A>) -> Self {
        Self {
            life: None,
            has_started: false,
            fault: None,
            hands: Hands::new(),
            deadline: None,
            delays: None,
            factory: seed.factory,
            policy: seed.policy,
            limit: seed.limit,
            child: seed.child,
            tenure,
        }
    }

    async fn run(&mut self) {
        loop {
            let exit = match self.begin_life() {
                Ok(()) => poll_fn(|cx| self.poll_life(cx)).await,
                Err(reason) => Exit::Died(Death::Panicked(reason)),
            };
            match self.bury(exit) {
                Next::Live { after } => {
                    let mut delay = Box::pin(sleep(after));
                    if poll_fn(|cx| self.poll_between_lives(cx, delay.as_mut())).await.is_break() {
                        return self.finish(None);
                    }
                }
                Next::Stop => return self.finish(None),
                Next::Fail { reason } => return self.finish(Some(reason)),
            }
        }
    }

    fn begin_life(&mut self) -> Result<(), Arc<str>> {
        self.life = Some(Life::begin(&mut self.factory, self.policy.in_flight)?);
        self.has_started = false;
        self.hands.begin_life();
        Ok(())
    }

    /// Hands over, lets the actor work and collects answers, until there is nothing more to do.
    fn poll_life(&mut self, cx: &mut Context<'_>) -> Poll<Exit> {
        self.child.listen(cx.waker());
        loop {
            let orders = self.child.with_status(|status| status.orders);
            if let Poll::Ready(exit) = self.obey(orders, cx) {
                return Poll::Ready(exit);
            }
            if let Err(reason) = self.hand_over(orders) {
                return Poll::Ready(Exit::Died(Death::Panicked(reason)));
            }
            if let Poll::Ready(death) = self.poll_actor(cx) {
                return Poll::Ready(Exit::Died(death));
            }
            let collected = self.hands.collect(&self.child, cx);
            if let Collected::Dropped(mail) = collected {
                let reason = Arc::from(ANSWER_DROPPED);
                let is_solved = self.hands.count_death(&self.child, mail, &reason);
                return Poll::Ready(Exit::AnswerDropped { reason, is_solved });
            }
            let is_idle =
                orders.pause_intake() || !self.hands.has_next(&self.child.mailbox, self.policy.in_flight);
            if is_idle && matches!(collected, Collected::Nothing) {
                self.publish_oldest();
                return Poll::Pending;
            }
        }
    }

    /// Between two lives only late answers and the deadline of a stop matter. `Break`: no other life is due.
    fn poll_between_lives(&mut self, cx: &mut Context<'_>, delay: Pin<&mut Sleep>) -> Poll<ControlFlow<()>> {
        self.child.listen(cx.waker());
        while let Collected::Dropped(mail) = self.hands.collect(&self.child, cx) {
            self.hands.count_death(&self.child, mail, &Arc::from(ANSWER_DROPPED));
        }
        self.publish_oldest();
        let orders = self.child.with_status(|status| status.orders);
        if orders.stop && self.obey(orders, cx).is_ready() {
            return Poll::Ready(ControlFlow::Break(()));
        }
        delay.poll(cx).map(ControlFlow::Continue)
    }

    /// Whether an order to stop or restart is fulfilled or out of time.
    fn obey(&mut self, orders: Orders, cx: &mut Context<'_>) -> Poll<Exit> {
        let is_done = match (orders.stop, orders.renew) {
            (true, _) => self.hands.is_empty() && self.child.mailbox.is_empty(),
            (false, true) => !self.hands.is_life_busy(),
            (false, false) => return Poll::Pending,
        };
        // A stop has all of its time, though it comes in the middle of a restart.
        let mut deadline = match self.deadline.take() {
            Some(deadline) if deadline.is_of_stop == orders.stop => deadline,
            _ => Deadline { is_of_stop: orders.stop, sleep: Box::pin(sleep(self.policy.stop_within)) },
        };
        if is_done || deadline.sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(if orders.stop { Exit::Ended } else { Exit::Renewed });
        }
        self.deadline = Some(deadline);
        Poll::Pending
    }

    fn hand_over(&mut self, orders: Orders) -> Result<(), Arc<str>> {
        let Some(life) = &mut self.life else { return Ok(()) };
        if !self.has_started || orders.pause_intake() {
            return Ok(());
        }
        while let Some(mut mail) = self.hands.next(&self.child.mailbox, self.policy.in_flight) {
            let handed_over = life.hand_over(&mut mail);
            self.hands.hold(mail);
            handed_over?;
            if orders.fault.is_some() {
                // A fault hits its own message: none is handed over with it.
                self.fault = self.child.with_status(|status| status.orders.fault.take());
                break;
            }
        }
        Ok(())
    }

    fn poll_actor(&mut self, cx: &mut Context<'_>) -> Poll<Death> {
        let Some(life) = &mut self.life else { return Poll::Pending };
        let death = life.poll(cx, self.fault.take());
        if death.is_pending() && !self.has_started {
            self.has_started = true;
            let restarts = self.child.with_status(|status| {
                status.state = NodeState::Running;
                status.restarts
            });
            self.child.tell(Change::Started { restarts });
        }
        death
    }

    /// Drops the life that has ended, sorts what it had in hand, and decides what comes next.
    fn bury(&mut self, exit: Exit) -> Next {
        if let Some(life) = self.life.take() {
            life.end();
        }
        self.fault = None;
        let (reason, blame): (Arc<str>, _) = match &exit {
            Exit::Ended => return Next::Stop,
            Exit::Died(Death::Panicked(reason)) => (Arc::clone(reason), true),
            Exit::AnswerDropped { reason, .. } => (Arc::clone(reason), false),
            Exit::Died(Death::Stopped) => ("the actor stopped".into(), true),
            Exit::Renewed => ("a restart was asked for".into(), true),
        };
        let is_solved = self.hands.sort_after_death(&self.child, blame, &reason)
            || matches!(exit, Exit::AnswerDropped { is_solved: true, .. });
        let next = self.judge(&exit, &reason, is_solved);
        if let Next::Live { after } = next {
            let restarts = self.child.with_status(|status| {
                status.state = NodeState::Restarting;
                status.restarts += 1;
                status.restarts
            });
            self.child.tell(Change::Restarted { reason, restarts, delay: after });
        }
        next
    }

    fn judge(&mut self, exit: &Exit, reason: &Arc<str>, is_solved: bool) -> Next {
        if matches!(exit, Exit::Renewed) {
            self.deadline = None;
            self.child.with_status(|status| status.orders.renew = false);
            return Next::Live { after: Duration::ZERO };
        }
        let is_abnormal = !matches!(exit, Exit::Died(Death::Stopped));
        let is_followed = match self.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => is_abnormal,
            Restart::Temporary => false,
        };
        if is_abnormal || is_followed {
            let failure = Failure { at: SystemTime::now(), reason: Arc::clone(reason) };
            self.child.with_status(|status| status.last_failure = Some(failure));
        }
        if !is_followed {
            return Next::Stop;
        }
        let now = Instant::now();
        if is_solved {
            // The message was at fault, not the actor: neither of the two deaths that it caused counts, or a few bad
            // messages would take the whole tree down.
            self.limit.window.lock().forgive();
            self.delays = None;
        } else if !self.limit.window.lock().allow(now) {
            return Next::Fail { reason: Arc::clone(reason) };
        }
        let delays = self
            .delays
            .get_or_insert_with(|| Box::new(Delays::new(self.policy.backoff, self.policy.intensity.window)));
        Next::Live { after: delays.next(now) }
    }

    /// Refuses what is left, tells everybody and leaves.
    fn finish(&mut self, failure: Option<Arc<str>>) {
        let state = if failure.is_some() { NodeState::Failed } else { NodeState::Stopped };
        self.tenure.close(state);
        let refused = self.child.mailbox.empty().len() + self.hands.clear();
        self.child.mailbox.release(refused);
        self.publish_oldest();
        match failure {
            None => self.child.tell(Change::Stopped { refused }),
            Some(reason) => {
                self.child.tell(Change::Failed { reason: Arc::clone(&reason), refused });
                self.child.tree().escalate(&self.limit.owner, &reason);
            }
        }
    }

    fn publish_oldest(&self) {
        let oldest = self.hands.oldest();
        self.child.with_status(|status| status.oldest_in_hand = oldest);
    }
}

/// A driver's hold on its child. If the driver is dropped before it has finished, because its arbiter stopped or
/// because of a bug in this module, the child is closed all the same and nobody waits for it in vain.
struct Tenure<A: Actor> {
    child: Arc<Child<A>>,
    limit: RestartLimit,
}

impl<A: Actor> Tenure<A> {
    fn close(&self, state: NodeState) {
        self.child.with_status(|status| status.state = state);
        self.child.mailbox.close();
    }
}

impl<A: Actor> Drop for Tenure<A> {
    fn drop(&mut self) {
        if !self.child.state().is_over() {
            let is_bug = std::thread::panicking();
            self.close(if is_bug { NodeState::Failed } else { NodeState::Stopped });
            if is_bug {
                self.child
                    .tree()
                    .escalate(&self.limit.owner, &"the supervision of the actor panicked".into());
            }
        }
        let refused = self.child.mailbox.empty().len();
        self.child.mailbox.release(refused);
        self.child.depart();
    }
}
