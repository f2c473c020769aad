//! What follows the end of a life: its messages are sorted, and somebody decides about another one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::Actor;
use tokio::time::Instant;

use super::backoff::Delays;
use super::child_spec::Restart;
use super::driver::Driver;
use super::events::Change;
use super::exit::{Exit, Next};
use super::member::{Death, Member as _, Ruling};
use super::post_mortem::{Cause, PostMortem, whole_ms};
use super::snapshot::{Failure, NodeState};

/// After so long without a failure, delays begin with the shortest again.
const QUIET: Duration = Duration::from_secs(30);

impl<A: Actor<Context = actix::Context<A>>> Driver<A> {
    /// Drops the life that has ended, sorts what it had in hand, and decides what comes next.
    pub(super) fn bury(&mut self, exit: &Exit) -> Next {
        self.life = None;
        self.fault = None;
        self.child.turn(|status| status.has_died = true);
        let Some(cause) = exit.cause() else { return Next::Stop };
        let reason = exit.reason();
        let mut in_hand = self.hands.names_in_hand();
        if let Exit::AnswerDropped { message, .. } = exit {
            in_hand.insert(0, message);
        }
        let is_solved = self.hands.sort_after_death(&self.child, cause, &reason)
            || matches!(exit, Exit::AnswerDropped { is_solved: true, .. });
        let next = self.judge(cause, &reason, is_solved);
        self.write_post_mortem(cause, &reason, in_hand, &next);
        match &next {
            Next::Live { after } => self.tell_restart(reason, *after),
            Next::Wait => self.held_for = Some(reason),
            Next::Stop | Next::Fail { .. } => {}
        }
        next
    }

    fn judge(&mut self, cause: Cause, reason: &Arc<str>, is_solved: bool) -> Next {
        if cause == Cause::Request {
            self.deadline = None;
            self.child.with_status(|status| status.orders.renew = false);
            return Next::Live { after: Duration::ZERO };
        }
        let is_abnormal = !matches!(cause, Cause::Stop | Cause::Cut);
        let is_followed = match self.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => cause != Cause::Stop,
            Restart::Temporary => false,
        };
        if is_abnormal || is_followed && cause == Cause::Stop {
            let failure = Failure { at: SystemTime::now(), reason: Arc::clone(reason) };
            self.child.with_status(|status| status.last_failure = Some(failure));
        }
        if !is_followed {
            return Next::Stop;
        }
        if cause == Cause::Cut {
            return Next::Wait;
        }
        let at = Instant::now();
        // A message that is refused was at fault, not the actor: neither of the two deaths that it caused counts, or a
        // few bad messages would take the whole tree down.
        match self.superior.rule(Death { reason: Arc::clone(reason), at, is_excused: is_solved }) {
            Ruling::Held => {
                self.child.with_status(|status| status.orders.hold = true);
                return Next::Wait;
            }
            Ruling::Failed => return Next::Fail { reason: Arc::clone(reason) },
            Ruling::Alone => {}
        }
        if is_solved {
            self.delays = None;
        }
        let delays = self.delays.get_or_insert_with(|| Box::new(Delays::new(self.policy.backoff, QUIET)));
        Next::Live { after: delays.next(at) }
    }

    fn write_post_mortem(&self, cause: Cause, reason: &Arc<str>, in_hand: Vec<&'static str>, next: &Next) {
        let child = &self.child;
        let post_mortem = Arc::new(PostMortem {
            path: child.path().into(),
            kind: child.kind(),
            at: SystemTime::now(),
            cause,
            reason: Arc::clone(reason),
            lived_ms: whole_ms(self.began.elapsed()),
            in_hand,
            waiting: child.mailbox.waiting(),
            restarts: child.with_status(|status| status.restarts),
            sequel: next.sequel(),
        });
        child.tree().morgue.take_in(Arc::clone(&post_mortem));
        child.tell(Change::Died(post_mortem));
    }

    pub(super) fn tell_restart(&self, reason: Arc<str>, delay: Duration) {
        let restarts = self.child.with_status(|status| {
            status.state = NodeState::Restarting;
            status.restarts += 1;
            status.restarts
        });
        self.child.tell(Change::Restarted { reason, restarts, delay });
    }
}
