//! A driver's hold on its child: whatever becomes of the driver, nobody waits for the child in vain.

use std::sync::Arc;

use actix::Actor;

use super::child::Child;
use super::member::Member as _;
use super::snapshot::NodeState;

/// If the driver is dropped before it has finished, because its arbiter stopped or because of a bug of its own, the
/// child is closed all the same.
pub(super) struct Tenure<A: Actor>(pub(super) Arc<Child<A>>);

impl<A: Actor> Tenure<A> {
    pub(super) fn close(&self, state: NodeState) {
        self.0.with_status(|status| status.state = state);
        self.0.mailbox.close();
    }
}

impl<A: Actor> Drop for Tenure<A> {
    fn drop(&mut self) {
        let child = &self.0;
        if !child.state().is_over() {
            let is_bug = std::thread::panicking();
            self.close(if is_bug { NodeState::Failed } else { NodeState::Stopped });
            if is_bug {
                let reason = "the supervision of the actor panicked";
                child.tree().escalate(child.path().into(), reason.into());
            }
        }
        let refused = child.mailbox.empty().len();
        child.mailbox.release(refused);
        child.depart();
    }
}
