//! Reads the log in batches and has the router apply them, one batch at a time.
//!
//! Its position lives in its cell, and in the store only together with the checkpoints that cover it. If the
//! process dies, the next one reads from there again; what states have seen they pass over.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, WrapFuture};
use tokio::time::Instant;

use crate::domain::message::Topic;
use crate::messages::{ApplyError, ApplyRecords};
use crate::ports::event_log::LogRecord;
use crate::ports::telemetry::PipelineEvent;
use crate::ports::{EventLog, Store, Telemetry};
use crate::supervision::{AskError, Backoff, ChildRef, StateCell, idle, waiting};
use crate::user_router::{SetAside, UserRouter};

/// Records applied at a time.
pub const CONSUME_BATCH_MAX: usize = 500;

/// After so long without a failure, delays begin with the shortest again.
const QUIET: Duration = Duration::from_secs(30);

/// The next offset of each partition; `None` until they have been read from the store.
pub type Positions = Option<Vec<i64>>;

/// The one consumer of `biometric-events`.
#[derive(Clone)]
pub struct LogConsumer {
    store: Arc<dyn Store>,
    log: Arc<dyn EventLog>,
    telemetry: Arc<dyn Telemetry>,
    router: ChildRef<UserRouter>,
    group: Arc<str>,
    cell: StateCell<Positions>,
}

impl LogConsumer {
    /// A consumer of `log` in front of `router`, as a member of `group`.
    pub fn new(
        store: Arc<dyn Store>,
        log: Arc<dyn EventLog>,
        telemetry: Arc<dyn Telemetry>,
        router: ChildRef<UserRouter>,
        group: Arc<str>,
        cell: StateCell<Positions>,
    ) -> Self {
        Self { store, log, telemetry, router, group, cell }
    }

    async fn consume(self) {
        let mut delays = Backoff::default().delays(QUIET);
        loop {
            if let Err(error) = self.consume_batch().await {
                self.telemetry.emit(PipelineEvent::Retrying { actor: "consumer", error });
                idle(tokio::time::sleep(delays.next(Instant::now()))).await;
            }
        }
    }

    async fn consume_batch(&self) -> Result<(), String> {
        let mut positions = match &*self.cell.get() {
            Some(positions) => positions.clone(),
            None => waiting(self.store.positions(&self.group, self.log.partitions()))
                .await
                .map_err(|error| error.to_string())?,
        };
        let topic = Topic::BiometricEvents;
        let records = idle(self.log.poll(topic, &positions, CONSUME_BATCH_MAX))
            .await
            .map_err(|error| error.to_string())?;
        for record in &records {
            positions[record.partition as usize] = record.offset + 1;
        }
        self.apply(Arc::new(records)).await.map_err(|error| error.to_string())?;
        if let Ok(ends) = waiting(self.log.end_offsets(topic)).await {
            let messages = ends.iter().zip(&positions).map(|(end, position)| (end - position).max(0)).sum();
            self.telemetry.emit(PipelineEvent::Lag { messages });
        }
        self.cell.replace(Some(positions));
        Ok(())
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

impl Actor for LogConsumer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.spawn(self.clone().consume().into_actor(self));
    }
}
