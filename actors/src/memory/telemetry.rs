//! Counts what the pipeline tells about itself.

use std::collections::HashMap;

use tokio::sync::watch;

use crate::ports::Telemetry;
use crate::ports::telemetry::{CacheOutcome, FetchEvent, PipelineEvent, RefreshOutcome, Skipped};

/// What has been told so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that changed a state.
    pub applied: usize,
    /// Messages that a state had seen.
    pub duplicates: usize,
    /// Messages that are not ours.
    pub foreign: usize,
    /// Messages that were set aside.
    pub dead_lettered: usize,
    /// Events that were looked at; each is told after its state was replaced.
    pub decided: usize,
    /// Mode switches.
    pub switched: usize,
    /// States that were made durable, one for each time.
    pub checkpoints: usize,
    /// Messages that were moved from the outbox to the log.
    pub published: usize,
    /// Events on their way into the cache, by what became of them.
    pub cached: HashMap<CacheOutcome, usize>,
    /// Access tokens that had to be refreshed, by what became of them.
    pub refreshes: HashMap<RefreshOutcome, usize>,
    /// Fetches whose data became durable.
    pub fetched: usize,
    /// Fetches that went back into the queue, by why.
    pub put_back: HashMap<String, usize>,
    /// Fetches that were given up, by their `error_type`.
    pub given_up: HashMap<&'static str, usize>,
    /// Paths of the actors that had to try again, one for each time.
    pub retrying: Vec<&'static str>,
}

/// Telemetry that a test can read and wait for.
#[derive(Debug, Default)]
pub struct Recorder(watch::Sender<Tally>);

impl Recorder {
    /// What has been told so far.
    pub fn tally(&self) -> Tally {
        self.0.borrow().clone()
    }

    /// Sees every change of the tally: `changes().wait_for(|tally| …)`.
    pub fn changes(&self) -> watch::Receiver<Tally> {
        self.0.subscribe()
    }
}

impl Telemetry for Recorder {
    fn emit(&self, event: PipelineEvent<'_>) {
        self.0.send_modify(|tally| match event {
            PipelineEvent::Applied { .. } => tally.applied += 1,
            PipelineEvent::Skipped(Skipped::Duplicate) => tally.duplicates += 1,
            PipelineEvent::Skipped(Skipped::Foreign) => tally.foreign += 1,
            PipelineEvent::Skipped(Skipped::DeadLettered) => tally.dead_lettered += 1,
            PipelineEvent::Decided { events, .. } => tally.decided += events,
            PipelineEvent::Switched { .. } => tally.switched += 1,
            PipelineEvent::CheckpointsSaved { states, .. } => tally.checkpoints += states,
            PipelineEvent::Published { messages } => tally.published += messages,
            PipelineEvent::Cached { outcome, events } => *tally.cached.entry(outcome).or_default() += events,
            PipelineEvent::TokenRefresh { outcome, .. } => *tally.refreshes.entry(outcome).or_default() += 1,
            PipelineEvent::Fetch { event, .. } => match event {
                FetchEvent::Fetched { .. } => tally.fetched += 1,
                FetchEvent::Waits { why, .. } => *tally.put_back.entry(why.to_owned()).or_default() += 1,
                FetchEvent::GivenUp { error_type, .. } => {
                    *tally.given_up.entry(error_type).or_default() += 1;
                }
            },
            PipelineEvent::Lag { .. } => {}
            PipelineEvent::Retrying { actor, .. } => tally.retrying.push(actor),
        });
    }
}
