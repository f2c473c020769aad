//! What a group does about deaths: one task at a time holds and releases its members.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::events::Change;
use super::group::Group;
use super::member::{Death, Member, Ruling};
use super::place::Place;

impl Group {
    pub(super) async fn recover(self: Arc<Self>) {
        while let Some(deaths) = self.next_deaths() {
            let reason = Arc::clone(&deaths[0].1.reason);
            let (mut concerned, too_many) = self.hold_concerned(deaths).await;
            if let Some((_, death)) = too_many.first()
                && let Some(place) = self.place.get().filter(|place| place.is_there())
            {
                return self.give_up(place, Arc::clone(&death.reason)).await;
            }
            for (culprit, death) in too_many {
                self.fail_with(culprit, death.reason, &mut concerned).await;
            }
            if !concerned.is_empty() {
                self.restart(concerned, reason).await;
            }
        }
    }

    /// The deaths to deal with; `None` if there are none, and the recovery is over.
    fn next_deaths(&self) -> Option<Vec<(usize, Death)>> {
        let mut state = self.state.lock();
        let deaths = std::mem::take(&mut state.deaths);
        if deaths.is_empty() || self.halt.borrow().is_on() {
            self.is_recovering.send_replace(false);
            return None;
        }
        Some(deaths)
    }

    /// Holds all whom these deaths, and those that come to light meanwhile, take along. Beside them it gives the deaths
    /// that are too many.
    async fn hold_concerned(
        &self,
        mut deaths: Vec<(usize, Death)>,
    ) -> (BTreeSet<usize>, Vec<(usize, Death)>) {
        let (mut concerned, mut too_many) = (BTreeSet::new(), Vec::new());
        while !deaths.is_empty() {
            let members = {
                let mut state = self.state.lock();
                for (index, death) in deaths {
                    concerned.extend(self.spec.strategy.restart_set(index, state.in_start_order.len()));
                    if !state.window.bears(&death) {
                        too_many.push((index, death));
                    }
                }
                state.in_start_order.clone()
            };
            for &index in concerned.iter().rev() {
                Arc::clone(&members[index]).hold().await;
            }
            deaths = std::mem::take(&mut self.state.lock().deaths);
        }
        (concerned, too_many)
    }

    async fn restart(&self, concerned: BTreeSet<usize>, reason: Arc<str>) {
        let (members, delay) = {
            let mut state = self.state.lock();
            (state.in_start_order.clone(), state.delays.next(Instant::now()))
        };
        self.tell(Change::Recovering { reason, members: concerned.len(), delay });
        let mut halt = self.halt.subscribe();
        tokio::select! {
            () = sleep(delay) => {}
            // The sender is ours: no error.
            _ = halt.wait_for(|halt| halt.is_on()) => return,
        }
        self.release_each(concerned.into_iter().map(|index| Arc::clone(&members[index]))).await;
        self.tell(Change::Recovered);
    }

    /// Releases members one after the other, until somebody above or a stop takes over.
    pub(super) async fn release_each(&self, members: impl IntoIterator<Item = Arc<dyn Member>>) {
        let mut halt = self.halt.subscribe();
        for member in members {
            tokio::select! {
                () = member.release() => {}
                _ = halt.wait_for(|halt| halt.is_on()) => return,
            }
        }
    }

    /// The group's limit is exceeded: its parent's turn.
    async fn give_up(&self, place: &Place, reason: Arc<str>) {
        self.hold_all().await;
        {
            let mut state = self.state.lock();
            // Whoever died meanwhile is held like all others, and goes with them.
            state.deaths.clear();
            self.is_recovering.send_replace(false);
        }
        let death = Death { reason: Arc::clone(&reason), at: Instant::now(), is_excused: false };
        if place.hand_up(death) != Some(Ruling::Held) {
            self.fail_all(reason).await;
        }
    }

    /// Above the root is only the application: whom `culprit` takes along fails. All others go on, so that it can finish
    /// what it must.
    async fn fail_with(&self, culprit: usize, reason: Arc<str>, concerned: &mut BTreeSet<usize>) {
        let members = self.members();
        for index in self.spec.strategy.restart_set(culprit, members.len()).rev() {
            if concerned.remove(&index) {
                Arc::clone(&members[index]).fail(Arc::clone(&reason)).await;
            }
        }
        self.tree.escalate(members[culprit].path().into(), reason);
    }

    pub(super) async fn fail_all(&self, reason: Arc<str>) {
        for member in self.members().into_iter().rev() {
            member.fail(Arc::clone(&reason)).await;
        }
    }

    pub(super) async fn hold_all(&self) {
        for member in self.members().into_iter().rev() {
            member.hold().await;
        }
    }
}
