//! One actor for each active user: folds the user's events into the state, in order.
//!
//! The state lives in the cell, and is replaced only once the fold has returned: a panic in it leaves the state
//! that was, and the next life goes on from there. If the process dies, the checkpoint and the log after it give
//! the same state again.

use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Context, Handler, MessageResult};
use arc_swap::ArcSwap;

use crate::cognition::fold::fold;
use crate::cognition::state::UserState;
use crate::cognition::switch::ModeSwitch;
use crate::cognition::thresholds::Thresholds;
use crate::messages::{FoldEvents, Folded};
use crate::ports::Telemetry;
use crate::ports::telemetry::{PipelineEvent, Skipped};
use crate::supervision::StateCell;

/// A user's state in memory.
#[derive(Clone, Default)]
pub struct LiveState {
    /// What has been folded so far.
    pub state: UserState,
    /// The next offset of the user's partition that the state has not seen.
    pub next_offset: i64,
    /// The switches of which the flusher may not know yet, with the offsets that the state had come to: a batch that is
    /// told again must answer the same.
    recent: Vec<(i64, ModeSwitch)>,
}

impl LiveState {
    /// A state at rest in the store comes back to life.
    pub fn restored(state: UserState, next_offset: i64) -> Self {
        Self { state, next_offset, recent: Vec::new() }
    }
}

/// A user's actor.
pub struct UserStateActor {
    cell: StateCell<LiveState>,
    thresholds: Arc<ArcSwap<Thresholds>>,
    telemetry: Arc<dyn Telemetry>,
}

impl UserStateActor {
    /// A new life over the state in `cell`.
    pub fn new(
        cell: StateCell<LiveState>,
        thresholds: Arc<ArcSwap<Thresholds>>,
        telemetry: Arc<dyn Telemetry>,
    ) -> Self {
        Self { cell, thresholds, telemetry }
    }

    fn fold_all(&self, message: &FoldEvents) -> Folded {
        let started = Instant::now();
        let mut live = LiveState::clone(&self.cell.get());
        let thresholds = self.thresholds.load();
        live.recent.retain(|(offset, _)| *offset >= message.told_before);
        let mut applied = Vec::with_capacity(message.events.len());
        for logged in message.events.iter() {
            if logged.offset.is_some_and(|offset| offset < live.next_offset) {
                applied.push(false);
                continue;
            }
            let folded = fold(std::mem::take(&mut live.state), &logged.event, &thresholds);
            live.state = folded.state;
            live.next_offset = logged.offset.map_or(live.next_offset, |offset| offset + 1);
            applied.push(folded.applied);
            if let Some(switch) = folded.switch {
                live.recent.push((live.next_offset - 1, switch));
            }
        }
        // Told once all are folded: a fold that kills its actor is tried again, and its neighbours with it.
        for (logged, applied) in message.events.iter().zip(applied) {
            self.telemetry.emit(match applied {
                true => PipelineEvent::Applied { event: &logged.event },
                false => PipelineEvent::Skipped(Skipped::Duplicate),
            });
        }
        let switches = live.recent.iter().map(|(_, switch)| switch.clone()).collect();
        let live = Arc::new(live);
        self.cell.replace(Arc::clone(&live));
        let seconds = started.elapsed().as_secs_f64();
        self.telemetry.emit(PipelineEvent::Decided { seconds, events: message.events.len() });
        Folded { live, switches }
    }
}

impl Actor for UserStateActor {
    type Context = Context<Self>;
}

impl Handler<FoldEvents> for UserStateActor {
    type Result = MessageResult<FoldEvents>;

    fn handle(&mut self, message: FoldEvents, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.fold_all(&message))
    }
}
