//! From records of the log to the actors of their users, one batch at a time.
//!
//! The router brings users to life from their checkpoints, has their events folded, and tells the flusher what has
//! changed before it answers. Told the same batch again, it answers the same: states pass over what they have seen.

mod residence;

use std::collections::HashMap;
use std::sync::Arc;

use actix::{Actor, ArbiterHandle, Context, Handler, Message, ResponseActFuture, WrapFuture};
use arc_swap::ArcSwap;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::checkpoint_flusher::CheckpointFlusher;
use crate::cognition::thresholds::Thresholds;
use crate::domain::event::Event;
use crate::domain::ids::{Masker, UserId};
use crate::domain::message::{Message as LogMessage, partition_of};
use crate::event_message::{self, DecodeMessageError};
use crate::messages::{
    ApplyDirectly, ApplyError, ApplyRecords, Changes, EvictUsers, FoldEvents, Folded, LoggedEvent,
    PutAwayIdle, StatesChanged,
};
use crate::ports::event_log::{LogRecord, Places};
use crate::ports::store::DeadLetter;
use crate::ports::telemetry::{PipelineEvent, Skipped};
use crate::ports::{Clock, Store, Telemetry};
use crate::supervision::{AskError, ChildRef, Pool, StateCell};
use crate::user_directory::{Residence, Resident, UserDirectory};
use crate::user_state::{LiveState, UserStateActor};

/// Deaths of a message's handler before the message is set aside.
const TRIES: u32 = 2;

/// Users whose events are folded at the same time: fewer than the restarts that their pool bears, since each may hold a
/// message that kills its actor once before it is known as the culprit.
pub const FOLDING_MAX: usize = 25;

/// What the router works with; all of it outlives the router.
pub struct RouterParts {
    /// Where checkpoints are.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who is told.
    pub telemetry: Arc<dyn Telemetry>,
    /// For the names of users' actors.
    pub masker: Masker,
    /// What decisions are taken by.
    pub thresholds: Arc<ArcSwap<Thresholds>>,
    /// Who is active.
    pub directory: Arc<UserDirectory>,
    /// Supervises users' actors.
    pub pool: Pool<UserStateActor>,
    /// Where users' actors run.
    pub arbiter: ArbiterHandle,
    /// Who makes states durable.
    pub flusher: ChildRef<CheckpointFlusher>,
    /// The partitions that this bridge holds.
    pub places: StateCell<Places>,
    /// How many partitions there are.
    pub partitions: u32,
    /// How many users are active, and for how long.
    pub residence: Residence,
}

/// The one router of a bridge.
pub struct UserRouter {
    parts: Arc<RouterParts>,
}

impl UserRouter {
    /// A router over `parts`.
    pub fn new(parts: Arc<RouterParts>) -> Self {
        Self { parts }
    }
}

/// To the router: set this record aside, it cannot be applied.
#[derive(Clone)]
pub struct SetAside(pub Arc<LogRecord>);

impl Message for SetAside {
    type Result = Result<(), ApplyError>;
}

/// Events of one user, with the records that they came from.
struct UserEvents {
    user: UserId,
    partition: u32,
    events: Vec<LoggedEvent>,
    records: Vec<usize>,
}

impl RouterParts {
    async fn apply(&self, records: &[LogRecord]) -> Result<(), ApplyError> {
        let mut changes = Changes::default();
        for record in records {
            move_to(&mut changes.next_offsets, record.partition, record.offset + 1);
        }
        let by_user = self.sort_by_user(records, &mut changes);
        let users = by_user.iter().map(|user_events| (&user_events.user, user_events.partition));
        let unreadable = self.bring_to_life(users, &mut changes).await?;
        let mut folding = Vec::with_capacity(by_user.len());
        for user_events in by_user {
            match self.directory.resident(&user_events.user) {
                Some(resident) if !unreadable.contains(&user_events.user) => {
                    folding.push(self.fold(resident, user_events, records));
                }
                _ => {
                    let reason = "the user's checkpoint cannot be read by this build";
                    for &place in &user_events.records {
                        changes.dead_letters.push(self.dead_letter(
                            &records[place],
                            "processing_error",
                            reason,
                            0,
                        ));
                    }
                }
            }
        }
        let mut folding = stream::iter(folding).buffer_unordered(FOLDING_MAX);
        while let Some((user, folded, dead_letters)) = folding.try_next().await? {
            changes.dead_letters.extend(dead_letters);
            if let Some(folded) = folded {
                changes.switches.extend(folded.switches);
                changes.states.push((user, folded.live));
            }
        }
        self.hand_on(changes).await
    }

    /// Reads the records' events, and groups them by user in the order of the log.
    fn sort_by_user(&self, records: &[LogRecord], changes: &mut Changes) -> Vec<UserEvents> {
        let mut by_user: Vec<UserEvents> = Vec::new();
        let mut places: HashMap<UserId, usize> = HashMap::new();
        for (place, record) in records.iter().enumerate() {
            let event = match event_message::decode(&record.headers, &record.value) {
                Ok(event) => event,
                Err(DecodeMessageError::Foreign) => {
                    self.telemetry.emit(PipelineEvent::Skipped(Skipped::Foreign));
                    continue;
                }
                Err(error) => {
                    let reason = format!("the message {error}");
                    changes.dead_letters.push(self.dead_letter(record, "validation_error", &reason, 0));
                    continue;
                }
            };
            let index = *places.entry(event.user_id.clone()).or_insert_with(|| {
                let user = event.user_id.clone();
                let partition = record.partition;
                by_user.push(UserEvents { user, partition, events: Vec::new(), records: Vec::new() });
                by_user.len() - 1
            });
            by_user[index].events.push(LoggedEvent { offset: Some(record.offset), event: Arc::new(event) });
            by_user[index].records.push(place);
        }
        by_user
    }

    /// Has one user's events folded. Events that kill the actor twice go one by one, and the one that does it alone
    /// is set aside.
    async fn fold(
        &self,
        resident: Resident,
        user_events: UserEvents,
        records: &[LogRecord],
    ) -> Result<(UserId, Option<Folded>, Vec<DeadLetter>), ApplyError> {
        let UserEvents { user, events, records: places, .. } = user_events;
        let all: Arc<[LoggedEvent]> = events.into();
        let told_before = records[places[0]].offset;
        match resident.child.ask(FoldEvents { events: Arc::clone(&all), told_before }).await {
            Ok(folded) => {
                self.tell_applied(&all, Some(&folded.live));
                return Ok((user, Some(folded), Vec::new()));
            }
            Err(AskError::Died { .. }) if all.len() == 1 => {
                self.tell_applied(&all, None);
                return Ok((user, None, vec![self.fold_failed(&records[places[0]])]));
            }
            Err(AskError::Died { .. }) => {}
            Err(_) => return Err(ApplyError::Stopped),
        }
        let mut dead_letters = Vec::new();
        // Each answer tells the whole batch so far.
        let mut newest: Option<Folded> = None;
        for (logged, place) in all.iter().zip(places) {
            let alone: Arc<[LoggedEvent]> = Arc::new([logged.clone()]);
            match resident.child.ask(FoldEvents { events: Arc::clone(&alone), told_before }).await {
                Ok(folded) => {
                    self.tell_applied(&alone, Some(&folded.live));
                    newest = Some(folded);
                }
                Err(AskError::Died { .. }) => {
                    self.tell_applied(&alone, None);
                    dead_letters.push(self.fold_failed(&records[place]));
                }
                Err(_) => return Err(ApplyError::Stopped),
            }
        }
        Ok((user, newest, dead_letters))
    }

    fn fold_failed(&self, record: &LogRecord) -> DeadLetter {
        self.dead_letter(record, "processing_error", "the event's fold failed twice", TRIES)
    }

    fn tell_applied(&self, events: &[LoggedEvent], live: Option<&Arc<LiveState>>) {
        if self.directory.is_waited_for() {
            events.iter().for_each(|logged| self.directory.tell_applied(&logged.event.event_id, live));
        }
    }

    fn dead_letter(
        &self,
        record: &LogRecord,
        error_type: &'static str,
        reason: &str,
        retry_count: u32,
    ) -> DeadLetter {
        self.telemetry.emit(PipelineEvent::Skipped(Skipped::DeadLettered));
        DeadLetter {
            id: format!("{}:{}:{}", record.topic.name(), record.partition, record.offset).into(),
            original_topic: record.topic,
            place: Some((record.partition, record.offset)),
            error_type,
            error_message: reason.to_owned(),
            failed_at: self.clock.now(),
            retry_count,
            message: LogMessage {
                topic: record.topic,
                key: Arc::clone(&record.key),
                value: record.value.clone(),
                headers: record.headers.clone(),
            },
        }
    }

    /// Tells the flusher, and then everybody who watches modes.
    async fn hand_on(&self, changes: Changes) -> Result<(), ApplyError> {
        let changes = Arc::new(changes);
        self.flusher.ask(StatesChanged(Arc::clone(&changes))).await.map_err(|_| ApplyError::Stopped)?;
        self.directory.hand_on(changes.states.iter().map(|(user, _)| user));
        for switch in &changes.switches {
            self.telemetry.emit(PipelineEvent::Switched {
                user: self.masker.mask(&switch.user_id),
                from: switch.from_mode.name(),
                to: switch.to_mode.name(),
                reason: switch.reason.name(),
            });
        }
        Ok(())
    }

    async fn apply_directly(&self, event: Arc<Event>) -> Result<Arc<LiveState>, ApplyError> {
        let user = event.user_id.clone();
        let partition = partition_of(user.as_str(), self.partitions);
        if !self.places.get().contains_key(&partition) {
            return Err(ApplyError::Elsewhere);
        }
        // Before this call, which takes him in hand: a batch may have failed of which the flusher knows nothing, and with
        // this state it would make durable what that batch has come to.
        let told_before = if self.directory.is_in_hand(&user) { i64::MIN } else { i64::MAX };
        let mut changes = Changes::default();
        let unreadable = self.bring_to_life(std::iter::once((&user, partition)), &mut changes).await?;
        let resident =
            self.directory.resident(&user).filter(|_| unreadable.is_empty()).ok_or(ApplyError::Unreadable)?;
        let events: Arc<[LoggedEvent]> = Arc::new([LoggedEvent { offset: None, event }]);
        let folded = resident.child.ask(FoldEvents { events, told_before }).await;
        let folded = folded.map_err(|error| match error {
            AskError::Died { .. } => ApplyError::Crashed,
            _ => ApplyError::Stopped,
        })?;
        let live = Arc::clone(&folded.live);
        self.hand_on(Changes { states: vec![(user, folded.live)], switches: folded.switches, ..changes })
            .await?;
        Ok(live)
    }

    async fn set_aside(&self, record: &LogRecord) -> Result<(), ApplyError> {
        let dead_letter =
            self.dead_letter(record, "processing_error", "the message could not be routed", TRIES);
        self.hand_on(Changes {
            dead_letters: vec![dead_letter],
            next_offsets: vec![(record.partition, record.offset + 1)],
            ..Changes::default()
        })
        .await
    }
}

fn move_to(next_offsets: &mut Vec<(u32, i64)>, partition: u32, next_offset: i64) {
    match next_offsets.iter_mut().find(|(held, _)| *held == partition) {
        Some((_, held)) => *held = (*held).max(next_offset),
        None => next_offsets.push((partition, next_offset)),
    }
}

impl Actor for UserRouter {
    type Context = Context<Self>;
}

impl Handler<ApplyRecords> for UserRouter {
    type Result = ResponseActFuture<Self, Result<(), ApplyError>>;

    fn handle(&mut self, message: ApplyRecords, _: &mut Context<Self>) -> Self::Result {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move { parts.apply(&message.records).await }.into_actor(self))
    }
}

impl Handler<ApplyDirectly> for UserRouter {
    type Result = ResponseActFuture<Self, Result<Arc<LiveState>, ApplyError>>;

    fn handle(&mut self, ApplyDirectly(event): ApplyDirectly, _: &mut Context<Self>) -> Self::Result {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move { parts.apply_directly(event).await }.into_actor(self))
    }
}

impl Handler<EvictUsers> for UserRouter {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, EvictUsers { partitions }: EvictUsers, _: &mut Context<Self>) -> Self::Result {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move { parts.evict(&partitions).await }.into_actor(self))
    }
}

impl Handler<PutAwayIdle> for UserRouter {
    type Result = ResponseActFuture<Self, Result<bool, ApplyError>>;

    fn handle(&mut self, PutAwayIdle: PutAwayIdle, _: &mut Context<Self>) -> Self::Result {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move { parts.put_away_idle().await }.into_actor(self))
    }
}

impl Handler<SetAside> for UserRouter {
    type Result = ResponseActFuture<Self, Result<(), ApplyError>>;

    fn handle(&mut self, SetAside(record): SetAside, _: &mut Context<Self>) -> Self::Result {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move { parts.set_aside(&record).await }.into_actor(self))
    }
}
