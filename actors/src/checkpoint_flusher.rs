//! Makes states durable: every interval all dirty ones, and at once those whose mode or readings changed much.
//!
//! States, the switches and dead letters beside them, and the positions that they cover go in one transaction.
//! Positions move only with a flush of everything dirty. If the process dies here, the log is read again from the
//! stored positions, and each stored state knows how far it has come.
//!
//! What is urgent goes in flushes of its own, at the same time and of different users. Mode switches have two of them:
//! while one is being committed, the next one waits in the store's queue, and goes with the commit after it. Other
//! changes have a third one, small unless many are due, and dead letters go with those. A flush of everything leaves them
//! room between its transactions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, MessageResult, ResponseActFuture, WrapFuture};
use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::cognition::thresholds::Thresholds;
use crate::dirty_states::{DirtyStates, FLUSH_MAX_STATES, Urgency};
use crate::domain::ids::UserId;
use crate::domain::message::{Message, Topic};
use crate::kafka_publisher::Outlet;
use crate::messages::{FlushCheckpoints, PartitionsClaimed, PartitionsGivenUp, SettleUsers, StatesChanged};
use crate::ports::store::{Checkpoint, CheckpointBatch, PositionMove, StoreError, SwitchRow};
use crate::ports::telemetry::PipelineEvent;
use crate::ports::{Clock, Store, Telemetry};
use crate::supervision::{idle, waiting};

/// How often states that wait for their turn are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Of switches one that is being committed, and one that waits for the next commit.
const URGENT_AT_ONCE: [Urgency; 3] = [Urgency::Switched, Urgency::Switched, Urgency::Changed];

/// What the flusher works with; all of it outlives the flusher.
pub struct FlusherParts {
    /// Where checkpoints go.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Woken when a flush has put messages into the outbox.
    pub outlet: Outlet,
    /// Who is told.
    pub telemetry: Arc<dyn Telemetry>,
    /// For what is published of a state.
    pub thresholds: Arc<ArcSwap<Thresholds>>,
    /// The consumer whose positions are stored.
    pub group: Arc<str>,
    /// How many partitions there are.
    pub partitions: u32,
    /// Told `true` when the store says that a partition of ours has another owner.
    pub fenced: watch::Sender<bool>,
    /// How often everything dirty is flushed.
    pub interval: Duration,
    /// What is dirty: kept outside the actor, so that its death forgets nothing.
    pub dirty: parking_lot::Mutex<DirtyStates>,
    /// Woken when switches should be flushed.
    pub switched: tokio::sync::Notify,
    /// Woken when significant changes should be flushed.
    pub changed: tokio::sync::Notify,
    /// One flush of everything at a time.
    pub flushing: tokio::sync::Mutex<()>,
    /// Shared by urgent flushes, whose users are different; whoever else saves has it alone.
    pub saving: tokio::sync::RwLock<()>,
}

/// The one flusher of a bridge.
pub struct CheckpointFlusher {
    parts: Arc<FlusherParts>,
}

impl CheckpointFlusher {
    /// A flusher over `parts`.
    pub fn new(parts: Arc<FlusherParts>) -> Self {
        Self { parts }
    }
}

impl FlusherParts {
    async fn run(self: Arc<Self>) {
        let mut everything = tokio::time::interval(self.interval);
        everything.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        everything.tick().await;
        loop {
            idle(everything.tick()).await;
            if let Err(error) = self.flush().await {
                self.rest_after(&error).await;
            }
        }
    }

    async fn run_urgent(self: Arc<Self>, urgency: Urgency) {
        let wake = match urgency {
            Urgency::Switched => &self.switched,
            Urgency::Changed => &self.changed,
        };
        loop {
            // Also when nobody calls: a change becomes urgent with time.
            let _ = idle(tokio::time::timeout(TICK, wake.notified())).await;
            if let Err(error) = self.flush_urgent(urgency).await {
                self.rest_after(&error).await;
            }
            // What has come of the same users meanwhile was left to us.
            self.wake_urgent();
        }
    }

    fn wake_urgent(&self) {
        let dirty = self.dirty.lock();
        for (urgency, wake) in [(Urgency::Switched, &self.switched), (Urgency::Changed, &self.changed)] {
            if dirty.is_urgent(urgency) {
                wake.notify_one();
            }
        }
    }

    /// What is dirty stays dirty, and goes with the next flush.
    async fn rest_after(&self, error: &StoreError) {
        let error = error.to_string();
        self.telemetry.emit(PipelineEvent::Retrying { actor: "flusher", error });
        idle(tokio::time::sleep(TICK)).await;
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.flushing.lock().await;
        // Taken first: the states taken after it have come at least as far.
        let positions = self.positions_to_move().await?;
        let users = self.dirty.lock().users();
        self.flush_users(&users, positions).await
    }

    async fn flush_urgent(&self, urgency: Urgency) -> Result<(), StoreError> {
        let _beside_others = self.saving.read().await;
        let started = Instant::now();
        let users = InHand::take(&self.dirty, urgency);
        // What is left is for those who rest.
        self.wake_urgent();
        // Switches wait for no dead letter.
        let with_dead_letters = urgency == Urgency::Changed && self.dirty.lock().has_dead_letters();
        if !users.0.is_empty() || with_dead_letters {
            self.flush_some(&users.0, Vec::new(), with_dead_letters).await?;
        }
        self.tell_saved(users.0.len(), started);
        Ok(())
    }

    /// Makes everything of these users durable, before they are put away.
    async fn settle(&self, users: &[UserId]) -> Result<(), StoreError> {
        let dirty = self.dirty.lock().dirty_of(users);
        if !dirty.is_empty() {
            self.flush_users(&dirty, Vec::new()).await?;
        }
        self.dirty.lock().forget(users);
        Ok(())
    }

    async fn flush_users(
        &self,
        users: &[UserId],
        positions: Vec<(PositionMove, i64)>,
    ) -> Result<(), StoreError> {
        let started = Instant::now();
        let has_more = !positions.is_empty() || self.dirty.lock().has_dead_letters();
        let chunks = chunks(users, has_more);
        // The positions go with the last states that they cover.
        let last = chunks.len().saturating_sub(1);
        for (index, some_users) in chunks.into_iter().enumerate() {
            let covered = if index == last { positions.clone() } else { Vec::new() };
            let _alone = self.saving.write().await;
            self.flush_some(some_users, covered, true).await?;
        }
        self.tell_saved(users.len(), started);
        Ok(())
    }

    fn tell_saved(&self, states: usize, started: Instant) {
        if states > 0 {
            let seconds = started.elapsed().as_secs_f64();
            self.telemetry.emit(PipelineEvent::CheckpointsSaved { states, seconds });
        }
    }

    async fn flush_some(
        &self,
        users: &[UserId],
        positions: Vec<(PositionMove, i64)>,
        with_dead_letters: bool,
    ) -> Result<(), StoreError> {
        let (taken, claims, positions) = {
            let mut dirty = self.dirty.lock();
            // A partition that was given up since has taken its users' states with it, also if it is ours again: its
            // position covers nothing now.
            let is_ours =
                |(position, epoch): &(PositionMove, i64)| dirty.is_claimed(position.partition, *epoch);
            let positions: Vec<PositionMove> =
                positions.into_iter().filter(is_ours).map(|(position, _)| position).collect();
            // Should this life end in the middle, nobody knows whether they have moved.
            dirty.doubt_positions(&positions);
            (dirty.take(users, with_dead_letters), dirty.claims(), positions)
        };
        let batch = CheckpointBatch { claims, positions: positions.clone(), ..self.batch(&taken) };
        let saved = waiting(self.store.save_checkpoints(&batch)).await;
        match &saved {
            Ok(messages) => {
                let mut dirty = self.dirty.lock();
                dirty.settle(taken);
                let to = |moved: &PositionMove| (moved.partition, moved.to);
                dirty.set_stored_positions(&positions.iter().map(to).collect());
                self.outlet.committed(*messages);
            }
            Err(StoreError::Fenced(_)) => {
                self.fenced.send_replace(true);
            }
            Err(StoreError::Unavailable(_) | StoreError::Refused(_)) => {}
        }
        saved.map(drop)
    }

    async fn positions_to_move(&self) -> Result<Vec<(PositionMove, i64)>, StoreError> {
        let unknown = self.dirty.lock().unknown_positions();
        if !unknown.is_empty() {
            let stored = waiting(self.store.positions(&self.group, &unknown)).await?;
            self.dirty.lock().set_stored_positions(&stored);
        }
        Ok(self.dirty.lock().positions_to_move())
    }

    fn batch(&self, taken: &crate::dirty_states::Taken) -> CheckpointBatch {
        let (now, thresholds) = (self.clock.now(), self.thresholds.load());
        let mut batch = CheckpointBatch { consumer: Arc::clone(&self.group), ..CheckpointBatch::default() };
        for (user, live) in &taken.states {
            batch.checkpoints.push(Checkpoint {
                user_id: user.clone(),
                state_seq: live.state.seq(),
                next_offset: live.next_offset,
                state: live.state.encode(),
            });
            batch.states.push(message(
                Topic::UserState,
                user.as_str(),
                &live.state.view(user, now, &thresholds),
            ));
        }
        batch.switches.extend(taken.switches.iter().map(|switch| SwitchRow {
            switch_id: Arc::clone(&switch.switch_id),
            user_id: switch.user_id.clone(),
            timestamp: switch.timestamp,
            message: message(Topic::ModeSwitches, switch.user_id.as_str(), switch),
        }));
        batch.dead_letters.extend(taken.dead_letters.iter().cloned());
        batch
    }
}

/// Users whose states are in an urgent flush, so that no other one takes them. Also a flush that is given up lets them go.
struct InHand<'a>(Vec<UserId>, &'a parking_lot::Mutex<DirtyStates>);

impl<'a> InHand<'a> {
    fn take(dirty: &'a parking_lot::Mutex<DirtyStates>, urgency: Urgency) -> Self {
        Self(dirty.lock().take_in_hand(urgency), dirty)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.1.lock().let_go(&self.0);
    }
}

/// Users as transactions take them. If there is more to save than states, one at least.
fn chunks(users: &[UserId], has_more: bool) -> Vec<&[UserId]> {
    match users {
        [] if has_more => vec![users],
        users => users.chunks(FLUSH_MAX_STATES).collect(),
    }
}

#[expect(
    clippy::expect_used,
    reason = "these types have string keys and finite numbers only, and a Vec takes all"
)]
fn message(topic: Topic, key: &str, value: &impl serde::Serialize) -> Message {
    let value = serde_json::to_vec(value).expect("plain data becomes JSON");
    Message { topic, key: key.into(), value, headers: Vec::new() }
}

impl Actor for CheckpointFlusher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.spawn(Arc::clone(&self.parts).run().into_actor(self));
        for urgency in URGENT_AT_ONCE {
            context.spawn(Arc::clone(&self.parts).run_urgent(urgency).into_actor(self));
        }
    }
}

impl Handler<StatesChanged> for CheckpointFlusher {
    type Result = MessageResult<StatesChanged>;

    fn handle(&mut self, StatesChanged(changes): StatesChanged, _: &mut Context<Self>) -> Self::Result {
        self.parts.dirty.lock().take_in(&changes);
        self.parts.wake_urgent();
        MessageResult(())
    }
}

impl Handler<PartitionsClaimed> for CheckpointFlusher {
    type Result = MessageResult<PartitionsClaimed>;

    fn handle(
        &mut self,
        PartitionsClaimed(claims): PartitionsClaimed,
        _: &mut Context<Self>,
    ) -> Self::Result {
        self.parts.dirty.lock().claim(&claims);
        MessageResult(())
    }
}

impl Handler<PartitionsGivenUp> for CheckpointFlusher {
    type Result = MessageResult<PartitionsGivenUp>;

    fn handle(&mut self, given_up: PartitionsGivenUp, _: &mut Context<Self>) -> Self::Result {
        self.parts.dirty.lock().give_up(&given_up.partitions, self.parts.partitions);
        MessageResult(())
    }
}

impl Handler<FlushCheckpoints> for CheckpointFlusher {
    type Result = ResponseActFuture<Self, Result<(), StoreError>>;

    fn handle(&mut self, FlushCheckpoints: FlushCheckpoints, _: &mut Context<Self>) -> Self::Result {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move { parts.flush().await }.into_actor(self))
    }
}

impl Handler<SettleUsers> for CheckpointFlusher {
    type Result = ResponseActFuture<Self, Result<(), StoreError>>;

    fn handle(&mut self, SettleUsers { users }: SettleUsers, _: &mut Context<Self>) -> Self::Result {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move { parts.settle(&users).await }.into_actor(self))
    }
}
