//! Reads the log in batches and has the router apply them, one batch at a time; takes partitions over and hands them
//! over.
//!
//! Its places live in its cell, and in the store only together with the checkpoints that cover them. If the process
//! dies, whoever takes its partitions over reads from there again; what states have seen they pass over.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, WrapFuture};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::checkpoint_flusher::CheckpointFlusher;
use crate::messages::{
    ApplyError, ApplyRecords, EvictUsers, FlushCheckpoints, PartitionsClaimed, PartitionsGivenUp, PutAwayIdle,
};
use crate::ports::event_log::{LogError, LogRecord, Places, Polled};
use crate::ports::store::Claim;
use crate::ports::telemetry::PipelineEvent;
use crate::ports::{EventLog, Store, Telemetry};
use crate::supervision::{AskError, Backoff, ChildRef, StateCell, idle, waiting};
use crate::user_router::{SetAside, UserRouter};

/// Records applied at a time.
pub const CONSUME_BATCH_MAX: usize = 500;

/// After so long without a failure, delays begin with the shortest again.
const QUIET: Duration = Duration::from_secs(30);

/// What the consumer works with; all of it outlives the consumer.
pub struct ConsumerParts {
    /// Where claims and positions are.
    pub store: Arc<dyn Store>,
    /// What is read.
    pub log: Arc<dyn EventLog>,
    /// Who is told.
    pub telemetry: Arc<dyn Telemetry>,
    /// Who applies what is read.
    pub router: ChildRef<UserRouter>,
    /// Who makes it durable.
    pub flusher: ChildRef<CheckpointFlusher>,
    /// The group that it is a member of.
    pub group: Arc<str>,
    /// The partitions that this bridge holds, each with the next offset to read.
    pub places: StateCell<Places>,
    /// `true` when the store has told that a partition has another owner.
    pub fenced: watch::Sender<bool>,
    /// How often idle users are looked for.
    pub sweep_every: Duration,
}

/// What a step is about.
enum Next {
    Polled(Result<Polled, LogError>),
    BeginAgain,
    Sweep,
}

/// The one consumer of `biometric-events`.
pub struct LogConsumer {
    parts: Arc<ConsumerParts>,
}

impl LogConsumer {
    /// A consumer over `parts`.
    pub fn new(parts: Arc<ConsumerParts>) -> Self {
        Self { parts }
    }
}

impl ConsumerParts {
    async fn consume(self: Arc<Self>) {
        let mut delays = Backoff::default().delays(QUIET);
        let mut sweep_at = Instant::now() + self.sweep_every;
        loop {
            if let Err(error) = self.step(&mut sweep_at).await {
                self.telemetry.emit(PipelineEvent::Retrying { actor: "consumer", error });
                idle(tokio::time::sleep(delays.next(Instant::now()))).await;
            }
        }
    }

    /// Does the next thing that the clock, the log or the store asks for.
    async fn step(&self, sweep_at: &mut Instant) -> Result<(), String> {
        if *sweep_at <= Instant::now() {
            self.sweep(sweep_at).await?;
        }
        let mut fenced = self.fenced.subscribe();
        let places = self.places.get();
        let next = idle(async {
            tokio::select! {
                biased;
                // Refused only when the sender is gone, and it is ours.
                _ = fenced.wait_for(|fenced| *fenced) => Next::BeginAgain,
                polled = self.log.poll(&places, CONSUME_BATCH_MAX) => Next::Polled(polled),
                // A poll takes nothing away, so one that is given up loses nothing.
                () = tokio::time::sleep_until(*sweep_at) => Next::Sweep,
            }
        })
        .await;
        match next {
            Next::Polled(polled) => match polled.map_err(|error| error.to_string())? {
                Polled::Records(records) => self.apply_records(&places, records).await,
                Polled::Gained(partitions) => self.take_over(&places, &partitions).await,
                Polled::Lost(partitions) => self.hand_over(&places, &partitions).await,
            },
            Next::BeginAgain => self.begin_again(&places).await,
            Next::Sweep => Ok(()),
        }
    }

    /// Has idle users put away, some at a time: what comes from the log need not wait for all of them.
    async fn sweep(&self, sweep_at: &mut Instant) -> Result<(), String> {
        *sweep_at = Instant::now() + self.sweep_every;
        let put_away = self.router.ask(PutAwayIdle).await.map_err(|_| ApplyError::Stopped.to_string())?;
        if put_away.map_err(|error| error.to_string())? {
            *sweep_at = Instant::now();
        }
        Ok(())
    }

    async fn apply_records(&self, places: &Places, records: Vec<LogRecord>) -> Result<(), String> {
        let mut places = places.clone();
        for record in &records {
            let next_offset = places.insert(record.partition, record.offset + 1);
            if let Some(next_offset) = next_offset.filter(|next_offset| record.offset < *next_offset) {
                return Err(made_anew(record, next_offset));
            }
        }
        let applied = self.apply(Arc::new(records)).await.map_err(|error| error.to_string());
        self.tell_lag(&places).await;
        if applied.is_ok() {
            self.places.replace(places);
        }
        applied
    }

    async fn tell_lag(&self, places: &Places) {
        let partitions: Vec<u32> = places.keys().copied().collect();
        if let Ok(ends) = waiting(self.log.end_offsets(&partitions)).await {
            let behind = |(partition, end): (&u32, &i64)| (end - places.get(partition).unwrap_or(end)).max(0);
            self.telemetry.emit(PipelineEvent::Lag { messages: ends.iter().map(behind).sum() });
        }
    }

    /// Takes partitions over, from where their checkpoints end.
    async fn take_over(&self, places: &Places, partitions: &[u32]) -> Result<(), String> {
        let claims = waiting(self.store.claim_partitions(&self.group, partitions)).await;
        let claims = claims.map_err(|error| error.to_string())?;
        let begins = claims.iter().map(|&Claim { partition, next_offset, .. }| (partition, next_offset));
        let mut places = places.clone();
        places.extend(begins);
        self.flusher.ask(PartitionsClaimed(claims)).await.map_err(|_| ApplyError::Stopped.to_string())?;
        self.places.replace(places);
        Ok(())
    }

    /// Makes durable what is known of partitions that go to another bridge, and forgets them. Nothing of them is in
    /// anybody's hands meanwhile: a batch is applied whole before the next step.
    async fn hand_over(&self, places: &Places, partitions: &[u32]) -> Result<(), String> {
        let limit = self.log.hand_over_limit();
        // What is not durable by then, the next owner finds out from the log.
        let _ = waiting(timeout(limit, self.flusher.ask(FlushCheckpoints))).await;
        self.give_up(places, partitions).await?;
        waiting(self.log.release(partitions)).await.map_err(|error| error.to_string())
    }

    /// Somebody else has claimed what this bridge believes to hold: everything is asked for and read again.
    async fn begin_again(&self, places: &Places) -> Result<(), String> {
        // All of them: a life that ended in the middle may have left claims whose places it had forgotten.
        let partitions: Vec<u32> = (0..self.log.partitions()).collect();
        self.give_up(places, &partitions).await?;
        self.fenced.send_replace(false);
        Ok(())
    }

    async fn give_up(&self, places: &Places, partitions: &[u32]) -> Result<(), String> {
        let stopped = || ApplyError::Stopped.to_string();
        let mut places = places.clone();
        places.retain(|partition, _| !partitions.contains(partition));
        // First: from now on nothing new of them comes to the router.
        self.places.replace(places);
        let partitions: Arc<[u32]> = partitions.into();
        let evict = EvictUsers { partitions: Arc::clone(&partitions) };
        self.router.ask(evict).await.map_err(|_| stopped())?;
        self.flusher.ask(PartitionsGivenUp { partitions }).await.map_err(|_| stopped())
    }

    /// Has a batch applied. A batch that kills the router twice goes record by record, and the record that does it
    /// alone is set aside.
    async fn apply(&self, records: Arc<Vec<LogRecord>>) -> Result<(), ApplyError> {
        match self.router.ask(ApplyRecords { records: Arc::clone(&records) }).await {
            Ok(applied) => return applied,
            Err(AskError::Died { .. }) => {}
            Err(_) => return Err(ApplyError::Stopped),
        }
        if let [record] = records.as_slice() {
            return self.set_aside(record).await;
        }
        for record in records.iter() {
            let alone = ApplyRecords { records: Arc::new(vec![record.clone()]) };
            match self.router.ask(alone).await {
                Ok(applied) => applied?,
                Err(AskError::Died { .. }) => self.set_aside(record).await?,
                Err(_) => return Err(ApplyError::Stopped),
            }
        }
        Ok(())
    }

    async fn set_aside(&self, record: &LogRecord) -> Result<(), ApplyError> {
        let set_aside = self.router.ask(SetAside(Arc::new(record.clone()))).await;
        set_aside.map_err(|_| ApplyError::Stopped)?
    }
}

/// States know how far they have come by offsets: a log that gives the same ones to other records cannot be applied.
fn made_anew(record: &LogRecord, next_offset: i64) -> String {
    let LogRecord { partition, offset, .. } = record;
    format!(
        "partition {partition} of biometric-events holds offset {offset} where {next_offset} was expected: the topic \
         was made anew. Restore it, or give the bridge another KAFKA_GROUP_ID and an empty store"
    )
}

impl Actor for LogConsumer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.spawn(Arc::clone(&self.parts).consume().into_actor(self));
    }
}
