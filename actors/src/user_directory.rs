//! Who is active: the users' actors and states, readable without asking anybody.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use crate::domain::ids::{EventId, UserId};
use crate::supervision::{ChildRef, StateCell};
use crate::user_state::{LiveState, UserStateActor};

/// A user's actor, and the cell that outlives its lives.
#[derive(Clone)]
pub struct Resident {
    /// The actor.
    pub child: ChildRef<UserStateActor>,
    /// Its state.
    pub cell: StateCell<LiveState>,
    /// Where the user's events are on the log.
    pub partition: u32,
}

/// The active users of this bridge. It outlives the router's lives.
#[derive(Default)]
pub struct UserDirectory {
    residents: RwLock<HashMap<UserId, Resident>>,
    waiting: Mutex<HashMap<EventId, Vec<oneshot::Sender<Arc<LiveState>>>>>,
}

impl UserDirectory {
    /// The state of an active user, as of the last fold.
    pub fn live(&self, user: &UserId) -> Option<Arc<LiveState>> {
        self.residents.read().get(user).map(|resident| resident.cell.get())
    }

    /// Tells when its user's state has applied each event. To be asked for before the events are committed; the
    /// answer is dropped when the event could not be applied.
    pub fn when_applied(
        &self,
        event_ids: impl IntoIterator<Item = EventId>,
    ) -> Vec<oneshot::Receiver<Arc<LiveState>>> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        let mut wait_for = |event_id| {
            let (reply, applied) = oneshot::channel();
            waiting.entry(event_id).or_default().push(reply);
            applied
        };
        event_ids.into_iter().map(&mut wait_for).collect()
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiting.lock().is_empty()
    }

    /// Answers those who wait for this event; `None` when it was set aside.
    pub(crate) fn tell_applied(&self, event_id: &EventId, live: Option<&Arc<LiveState>>) {
        let waiters = self.waiting.lock().remove(event_id).unwrap_or_default();
        for (waiter, live) in waiters.into_iter().zip(std::iter::repeat(live)) {
            if let Some(live) = live {
                let _ = waiter.send(Arc::clone(live));
            }
        }
    }

    /// An active user's actor and its cell.
    pub fn resident(&self, user: &UserId) -> Option<Resident> {
        self.residents.read().get(user).cloned()
    }

    pub(crate) fn move_in(&self, user: UserId, resident: Resident) {
        self.residents.write().insert(user, resident);
    }

    /// Takes the users of these partitions out.
    pub(crate) fn move_out(&self, partitions: &[u32]) -> Vec<Resident> {
        let of_them = |_: &UserId, resident: &mut Resident| partitions.contains(&resident.partition);
        self.residents.write().extract_if(of_them).map(|(_, resident)| resident).collect()
    }
}
