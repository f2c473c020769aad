//! What other thresholds would have made of a user's past: one history, folded twice.
//!
//! Pure, as the fold is: who calls it brings the events in the order in which they were committed.

use serde::Serialize;

use crate::domain::event::Event;
use crate::domain::time::Timestamp;

use super::fold::{fold, is_ahead};
use super::mode::{Mode, Rule};
use super::state::UserState;
use super::switch::ModeSwitch;
use super::thresholds::Thresholds;

/// How many differing switches of a user are kept to be shown; all are counted.
pub const CHANGES_KEPT_MAX: usize = 50;

/// Two ways to decide, and the time in which they are compared.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What decides everything before `from`, and one side from then on.
    pub current: Thresholds,
    /// What decides the other side from then on.
    pub candidate: Thresholds,
    /// Switches before this are history.
    pub from: Option<Timestamp>,
    /// Switches at this time and later do not count.
    pub to: Option<Timestamp>,
    /// A switch that the next one takes back within this time is a flap.
    pub flap_ms: i64,
}

/// One side's switches in the time that is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many there are.
    pub switches: u64,
    /// How many of them the next one takes back, within the time that makes it a flap.
    pub flaps: u64,
    /// How many go to each mode.
    pub to: ToModes,
}

/// Switches by the mode that they go to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the modes' names")]
pub struct ToModes {
    pub reflex: u64,
    pub guardian: u64,
    pub pattern: u64,
    pub hypothesis: u64,
}

impl ToModes {
    fn of(&mut self, mode: Mode) -> &mut u64 {
        match mode {
            Mode::Reflex => &mut self.reflex,
            Mode::Guardian => &mut self.guardian,
            Mode::Pattern => &mut self.pattern,
            Mode::Hypothesis => &mut self.hypothesis,
        }
    }
}

impl Tally {
    /// Adds another user's.
    pub fn add(&mut self, other: &Self) {
        self.switches += other.switches;
        self.flaps += other.flaps;
        self.to.reflex += other.to.reflex;
        self.to.guardian += other.to.guardian;
        self.to.pattern += other.to.pattern;
        self.to.hypothesis += other.to.hypothesis;
    }
}

/// A switch without whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "as in the message of a switch")]
pub struct Switched {
    pub from_mode: Mode,
    pub to_mode: Mode,
    pub reason: Rule,
}

/// A moment at which the two sides did not do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The decision's time.
    pub timestamp: Timestamp,
    /// What the current thresholds switch.
    pub current: Option<Switched>,
    /// What the candidate switches.
    pub candidate: Option<Switched>,
}

/// One user's history on the way through both.
#[derive(Debug, Default)]
pub struct Replay {
    current: Side,
    /// From the beginning of the comparison on; before, one state serves both.
    candidate: Option<Box<Side>>,
    is_over: bool,
    /// Moments at which the sides did not do the same.
    pub changed: u64,
    /// The first of them.
    pub changes: Vec<Change>,
}

#[derive(Debug, Default)]
struct Side {
    state: UserState,
    tally: Tally,
    /// The newest counted switch: where from, and when.
    last: Option<(Mode, Timestamp)>,
}

impl Replay {
    /// Takes the user's next event.
    pub fn apply(&mut self, event: &Event, comparison: &Comparison) {
        if self.is_over {
            return;
        }
        let Comparison { current, candidate, from, to, .. } = comparison;
        let is_silent = event.is_backfill || is_ahead(event.timestamp, event);
        let begins = from.is_none_or(|from| !is_silent && event.timestamp >= from);
        if begins && self.candidate.is_none() {
            let state = self.current.state.clone();
            self.candidate = Some(Box::new(Side { state, ..Side::default() }));
        }
        let before = self.current.apply(event, current, comparison);
        let Some(other) = &mut self.candidate else { return };
        let after = other.apply(event, candidate, comparison);
        if let Some(timestamp) = before.or(after).map(|(at, _)| at)
            && before != after
        {
            self.changed += 1;
            if self.changes.len() < CHANGES_KEPT_MAX {
                let [current, candidate] = [before, after].map(|side| side.map(|(_, switched)| switched));
                self.changes.push(Change { timestamp, current, candidate });
            }
        }
        // Every later decision is taken at this time or after it.
        self.is_over = to.is_some_and(|to| self.current.state.newest_live >= Some(to));
    }

    /// The switches by the current thresholds.
    pub fn current(&self) -> Tally {
        self.current.tally
    }

    /// The switches by the candidate.
    pub fn candidate(&self) -> Tally {
        self.candidate.as_ref().map(|side| side.tally).unwrap_or_default()
    }
}

impl Side {
    fn apply(
        &mut self,
        event: &Event,
        thresholds: &Thresholds,
        comparison: &Comparison,
    ) -> Option<(Timestamp, Switched)> {
        let folded = fold(std::mem::take(&mut self.state), event, thresholds);
        self.state = folded.state;
        let ModeSwitch { timestamp, from_mode, to_mode, reason, .. } = folded.switch?;
        let counts = comparison.from.is_none_or(|from| timestamp >= from)
            && comparison.to.is_none_or(|to| timestamp < to);
        if !counts {
            return None;
        }
        self.tally.switches += 1;
        *self.tally.to.of(to_mode) += 1;
        let takes_back = self
            .last
            .is_some_and(|(from, at)| from == to_mode && timestamp.ms_since(at) <= comparison.flap_ms);
        self.tally.flaps += u64::from(takes_back);
        self.last = Some((from_mode, timestamp));
        Some((timestamp, Switched { from_mode, to_mode, reason }))
    }
}
