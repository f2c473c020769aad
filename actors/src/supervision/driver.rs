//! The task that a child is: it gives the actor its messages, and another life after a death.
//!
//! One task holds both the driver and the actor's context, so an idle child costs one allocation of a task, and the
//! order "the actor died, then its answers were found missing" is certain. The driver, the mailbox and the factory
//! outlive every life.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::Actor;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, poll_fn};
use tokio::time::{Instant, Sleep, sleep};

use super::backoff::Delays;
use super::child::{Child, Orders};
use super::child_spec::{Factory, Policy};
use super::events::Change;
use super::exit::{Exit, Next};
use super::hands::{Collected, Hands};
use super::launch::Seed;
use super::life::{End, Fault, Life};
use super::member::Superior;
use super::progress::StallWatch;
use super::snapshot::NodeState;
use super::tenure::Tenure;

const ANSWER_DROPPED: &str = "the future that was to answer a message panicked";
/// A child that has much to do leaves its thread to others after so long.
const SLICE_MAX: Duration = Duration::from_millis(10);

pub(super) struct Deadline {
    is_of_stop: bool,
    sleep: Pin<Box<Sleep>>,
}

pub(super) struct Driver<A: Actor<Context = actix::Context<A>>> {
    pub(super) life: Option<Life<A>>,
    /// The actor of this life has run its `started`.
    pub(super) has_started: bool,
    /// To befall the message that was handed over last.
    pub(super) fault: Option<Fault>,
    pub(super) hands: Hands<A>,
    /// When an order to stop or restart runs out of time.
    pub(super) deadline: Option<Deadline>,
    pub(super) delays: Option<Box<Delays>>,
    stall: StallWatch,
    pub(super) began: Instant,
    predecessor: Option<BoxFuture<'static, ()>>,
    was_held: bool,
    /// Why the life before this hold ended.
    pub(super) held_for: Option<Arc<str>>,
    factory: Factory<A>,
    pub(super) policy: Arc<Policy>,
    pub(super) superior: Arc<dyn Superior>,
    pub(super) child: Arc<Child<A>>,
    // Last, so that the child is gone only when all the rest is.
    tenure: Tenure<A>,
}

impl<A: Actor<Context = actix::Context<A>>> Driver<A> {
    pub(super) fn new(seed: Seed<A>, tenure: Tenure<A>) -> Self {
        Self {
            life: None,
            has_started: false,
            fault: None,
            hands: Hands::new(),
            deadline: None,
            delays: None,
            stall: StallWatch::default(),
            began: Instant::now(),
            predecessor: seed.predecessor,
            was_held: false,
            held_for: None,
            factory: seed.factory,
            policy: seed.policy,
            superior: seed.superior,
            child: seed.child,
            tenure,
        }
    }

    pub(super) async fn run(&mut self) {
        loop {
            if poll_fn(|cx| self.poll_held(cx)).await.is_break() {
                return self.finish();
            }
            let exit = match self.begin_life() {
                Ok(()) => poll_fn(|cx| self.poll_life(cx)).await,
                Err(reason) => Exit::Died(End::Panicked(reason)),
            };
            match self.bury(&exit) {
                Next::Live { after } => {
                    let mut delay = Box::pin(sleep(after));
                    if poll_fn(|cx| self.poll_between_lives(cx, delay.as_mut())).await.is_break() {
                        return self.finish();
                    }
                }
                Next::Wait => {}
                Next::Stop => return self.finish(),
                Next::Fail { reason } => {
                    self.child.with_status(|status| status.verdict = Some(reason));
                    return self.finish();
                }
            }
        }
    }

    fn begin_life(&mut self) -> Result<(), Arc<str>> {
        self.began = Instant::now();
        self.child.with_status(|status| {
            status.clock.progress(self.began);
            // What was to be renewed was the life before: this one is new.
            status.orders.renew &= !status.has_begun;
        });
        self.has_started = false;
        self.life = Some(Life::begin(&mut self.factory, self.policy.in_flight)?);
        self.hands.begin_life();
        Ok(())
    }

    /// Waits as long as the child is held, and before its first life for those before it. `Break`: no other life is due.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<ControlFlow<()>> {
        self.child.listen(cx.waker());
        let (orders, is_condemned) =
            self.child.with_status(|status| (status.orders, status.verdict.is_some()));
        if is_condemned {
            return Poll::Ready(ControlFlow::Break(()));
        }
        if !orders.hold {
            // Who is to stop does not wait to begin: it only has to finish what it has accepted.
            let predecessor = self.predecessor.as_mut().filter(|_| !orders.stop);
            if predecessor.is_some_and(|begun| begun.poll_unpin(cx).is_pending()) {
                return Poll::Pending;
            }
            self.predecessor = None;
            if std::mem::take(&mut self.was_held) {
                self.superior.reset();
                self.delays = None;
            }
            if let Some(reason) = self.held_for.take() {
                self.tell_restart(reason, Duration::ZERO);
            }
            return Poll::Ready(ControlFlow::Continue(()));
        }
        if orders.stop {
            // Nobody will release it: what waits is refused.
            return Poll::Ready(ControlFlow::Break(()));
        }
        self.was_held = true;
        // From now on the group says when it begins: it releases in order, and must not wait for one that waits.
        self.predecessor = None;
        self.child.turn(|status| {
            // Not if it was released since the look above: that has woken us.
            if status.orders.hold {
                status.is_held = true;
                status.state = NodeState::Restarting;
            }
        });
        self.collect_late_answers(cx);
        Poll::Pending
    }

    /// Hands over, lets the actor work and collects answers, until there is nothing more to do.
    fn poll_life(&mut self, cx: &mut Context<'_>) -> Poll<Exit> {
        self.child.listen(cx.waker());
        let begun = std::time::Instant::now();
        loop {
            let (orders, is_condemned) =
                self.child.with_status(|status| (status.orders, status.verdict.is_some()));
            if is_condemned {
                return Poll::Ready(Exit::Ended);
            }
            if orders.hold && !orders.stop {
                return Poll::Ready(Exit::Cut);
            }
            if let Poll::Ready(exit) = self.obey(orders, cx) {
                return Poll::Ready(exit);
            }
            if let Err(reason) = self.hand_over(orders) {
                return Poll::Ready(Exit::Died(End::Panicked(reason)));
            }
            if let Poll::Ready(end) = self.poll_actor(cx) {
                return Poll::Ready(Exit::Died(end));
            }
            let collected = self.hands.collect(cx);
            if let Collected::Dropped { mail, is_of_this_life } = collected {
                let (reason, message) = (Arc::from(ANSWER_DROPPED), mail.envelope.message_name());
                let is_solved = self.hands.count_death(&self.child, mail, &reason);
                if is_of_this_life {
                    return Poll::Ready(Exit::AnswerDropped { reason, message, is_solved });
                }
                // An earlier life's: this one has nothing to do with it.
                continue;
            }
            if begun.elapsed() > SLICE_MAX {
                // Others on this thread have their turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let is_idle =
                orders.pause_intake() || !self.hands.has_next(&self.child.mailbox, self.policy.in_flight);
            if is_idle && matches!(collected, Collected::Nothing) {
                self.publish_oldest();
                return self.poll_stall(cx);
            }
        }
    }

    /// Ready when the actor hangs. A late answer that does not come any more is given up, and its message tried again.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Exit> {
        let is_self_driven = self.policy.is_self_driven;
        loop {
            let moved = self.child.with_status(|status| status.clock.loop_moved()).filter(|_| is_self_driven);
            let (own, late) = (self.hands.longest_held(true), self.hands.longest_held(false));
            let own = own.into_iter().chain(moved).min();
            let since = own.into_iter().chain(late).min();
            if self.stall.poll(cx, self.policy.hung_after, since, &*self.child).is_pending() {
                return Poll::Pending;
            }
            if since == own {
                return Poll::Ready(Exit::Hung);
            }
            if let Some(mail) = self.hands.take_latest_to_come(&self.child) {
                self.hands.count_death(&self.child, mail, &Arc::from(ANSWER_DROPPED));
            }
            cx.waker().wake_by_ref();
        }
    }

    /// Between two lives only late answers and the deadline of a stop matter. `Break`: no other life is due.
    fn poll_between_lives(&mut self, cx: &mut Context<'_>, delay: Pin<&mut Sleep>) -> Poll<ControlFlow<()>> {
        self.child.listen(cx.waker());
        self.collect_late_answers(cx);
        let orders = self.child.with_status(|status| status.orders);
        if orders.stop && self.obey(orders, cx).is_ready() {
            return Poll::Ready(ControlFlow::Break(()));
        }
        if orders.hold {
            return Poll::Ready(ControlFlow::Continue(()));
        }
        delay.poll(cx).map(ControlFlow::Continue)
    }

    fn collect_late_answers(&mut self, cx: &mut Context<'_>) {
        while let Collected::Dropped { mail, .. } = self.hands.collect(cx) {
            self.hands.count_death(&self.child, mail, &Arc::from(ANSWER_DROPPED));
        }
        self.publish_oldest();
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
        if orders.fault.is_some() && self.policy.is_self_driven {
            // Its work is not only in messages, and perhaps in none.
            self.fault = self.child.with_status(|status| status.orders.fault.take());
            return Ok(());
        }
        while let Some(mut mail) = self.hands.next(&self.child.mailbox, self.policy.in_flight) {
            let handed_over = life.hand_over(&mut mail);
            let since = self.child.with_status(|status| status.clock.read(Instant::now()));
            self.hands.hold(&self.child, mail, since);
            handed_over?;
            if orders.fault.is_some() {
                // A fault hits its own message: none is handed over with it.
                self.fault = self.child.with_status(|status| status.orders.fault.take());
                break;
            }
        }
        Ok(())
    }

    fn poll_actor(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some(life) = &mut self.life else { return Poll::Pending };
        if self.fault == Some(Fault::Hang) {
            self.child.with_status(|status| status.clock.freeze(Instant::now()));
        }
        let end = life.poll(cx, self.fault.take());
        if end.is_pending() && !self.has_started {
            self.has_started = true;
            let restarts = self.child.with_status(|status| {
                status.state = NodeState::Running;
                status.restarts
            });
            self.child.tell(Change::Started { restarts });
            // Last, so that those who wait for it are told of after it.
            self.child.turn(|status| status.has_begun = true);
        }
        end
    }

    /// Refuses what is left, tells everybody and leaves.
    fn finish(&mut self) {
        let verdict = self.child.with_status(|status| status.verdict.clone());
        self.tenure.close(if verdict.is_some() { NodeState::Failed } else { NodeState::Stopped });
        let refused = self.child.mailbox.empty().len() + self.hands.clear();
        self.child.mailbox.release(refused);
        self.publish_oldest();
        self.child.tell(match verdict {
            None => Change::Stopped { refused },
            Some(reason) => Change::Failed { reason, refused },
        });
    }

    fn publish_oldest(&self) {
        let oldest = self.hands.oldest();
        self.child.with_status(|status| status.oldest_in_hand = oldest);
    }
}
