//! Who is active: users come to life from their checkpoints, and are put away into them.
//!
//! The router has one message in hand at a time, and nobody else sends to users' actors: while it puts one away, no event
//! of that user is on its way, and the next one finds either the actor or the checkpoint. A checkpoint is durable before
//! its actor goes; a process that dies in between has lost nothing but the actor.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{FOLDING_MAX, RouterParts};
use crate::cognition::state::{UserState, Vitals};
use crate::domain::ids::UserId;
use crate::messages::{ApplyError, Changes, SettleUsers};
use crate::supervision::{StateCell, waiting};
use crate::user_directory::Resident;
use crate::user_state::{LiveState, UserStateActor};

/// Users who are put away together, so that newcomers wait for few commits.
const PUT_AWAY_MAX: usize = 500;

impl RouterParts {
    /// Starts the actors of users that have none, from their checkpoints, and notes what those were. Gives back the
    /// users whose checkpoint cannot be read.
    pub(super) async fn bring_to_life(
        &self,
        users: impl Iterator<Item = (&UserId, u32)>,
        changes: &mut Changes,
    ) -> Result<Vec<UserId>, ApplyError> {
        let (absent, partitions): (Vec<UserId>, Vec<u32>) = users
            .filter(|(user, _)| self.directory.call(user).is_none())
            .map(|(user, partition)| (user.clone(), partition))
            .unzip();
        if absent.is_empty() {
            return Ok(Vec::new());
        }
        self.make_room(absent.len()).await?;
        let mut stored: HashMap<UserId, _> = waiting(self.store.load_checkpoints(&absent))
            .await?
            .into_iter()
            .map(|checkpoint| (checkpoint.user_id.clone(), checkpoint))
            .collect();
        let mut unreadable = Vec::new();
        for (user, partition) in absent.into_iter().zip(partitions) {
            let live = match stored.remove(&user) {
                None => LiveState::default(),
                Some(checkpoint) => match UserState::decode(&checkpoint.state) {
                    Ok(state) => {
                        changes.restored.push((user.clone(), Vitals::of(&state)));
                        LiveState::restored(state, checkpoint.next_offset)
                    }
                    Err(_) => {
                        unreadable.push(user);
                        continue;
                    }
                },
            };
            self.start(user, partition, live);
        }
        Ok(unreadable)
    }

    fn start(&self, user: UserId, partition: u32, live: LiveState) {
        let cell = StateCell::new(live);
        let (thresholds, telemetry) = (Arc::clone(&self.thresholds), Arc::clone(&self.telemetry));
        let of_life = cell.clone();
        let child = self.pool.start(&self.arbiter, self.masker.mask(&user).to_string(), move || {
            UserStateActor::new(of_life.clone(), Arc::clone(&thresholds), Arc::clone(&telemetry))
        });
        self.directory.move_in(user, Resident { child, cell, partition });
    }

    /// Puts users away until so many more may be active.
    async fn make_room(&self, newcomers: usize) -> Result<(), ApplyError> {
        let stay = self.residence.live_max.saturating_sub(newcomers);
        loop {
            let users = self.directory.beyond(stay, PUT_AWAY_MAX);
            if users.is_empty() {
                return Ok(());
            }
            self.put_away(&users).await?;
        }
    }

    /// Puts away users who have been idle for long, some at a time; `true` if there may be more.
    pub(super) async fn put_away_idle(&self) -> Result<bool, ApplyError> {
        let Some(moment) = Instant::now().checked_sub(self.residence.idle_after) else { return Ok(false) };
        let users = self.directory.not_called_since(moment, PUT_AWAY_MAX);
        if !users.is_empty() {
            self.put_away(&users).await?;
        }
        Ok(users.len() == PUT_AWAY_MAX)
    }

    /// Puts these users away, once everything of them is durable.
    async fn put_away(&self, users: &[UserId]) -> Result<(), ApplyError> {
        let settle = SettleUsers { users: users.into() };
        self.flusher.ask(settle).await.map_err(|_| ApplyError::Stopped)??;
        self.dismiss(users).await;
        Ok(())
    }

    /// Dismisses the actors of the users of these partitions, which are ours no more.
    pub(super) async fn evict(&self, partitions: &[u32]) {
        self.dismiss(&self.directory.of_partitions(partitions)).await;
    }

    /// Ends users' actors, as a task of its own: should the router die meanwhile, they end all the same.
    async fn dismiss(&self, users: &[UserId]) {
        let residents = self.directory.move_out(users);
        let (pool, (done, is_done)) = (self.pool.clone(), oneshot::channel());
        self.arbiter.spawn(async move {
            let put_away = |resident: Resident| {
                let pool = pool.clone();
                async move { pool.put_away(&resident.child).await }
            };
            stream::iter(residents.into_iter().map(put_away))
                .buffer_unordered(FOLDING_MAX)
                .collect::<()>()
                .await;
            // Refused when nobody waits any more.
            let _ = done.send(());
        });
        // An error: the thread stops, and everything on it.
        let _ = waiting(is_done).await;
    }
}
