//! What the tests of mode decisions share: events in one line, a generator with a printed seed, and the oracle.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod oracle;

use actors::cognition::fold::fold;
use actors::cognition::state::UserState;
use actors::cognition::switch::ModeSwitch;
use actors::cognition::thresholds::Thresholds;
use actors::domain::event::{DeviceType, Event, Reading};
use actors::domain::ids::{EventId, UserId};
use actors::domain::metric::Metric;
use actors::domain::time::Timestamp;

pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// 2026-03-02T10:00:00Z, a Monday.
pub const START: i64 = 1_772_445_600_000;

pub fn user() -> UserId {
    UserId::parse("user-1").unwrap()
}

pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

/// A reading at a time in milliseconds, with confidence 1.
pub fn reading(metric: Metric, value: f64, ms: i64) -> Reading {
    Reading::new(metric, value, at(ms), 1.0)
}

/// An event of an Oura ring that arrives when it happens.
pub fn event(id: impl ToString, ms: i64, readings: Vec<Reading>) -> Event {
    let id = id.to_string();
    Event {
        event_id: EventId::parse(&id).unwrap(),
        record_id: id.as_str().into(),
        version: 0,
        device_type: DeviceType::OuraRing,
        user_id: user(),
        timestamp: at(ms),
        received_at: at(ms),
        kind: "sample".into(),
        is_backfill: false,
        deleted: false,
        readings,
    }
}

/// A user under test: folds events one after the other and numbers them.
pub struct Subject {
    pub state: UserState,
    pub thresholds: Thresholds,
    next_id: u32,
}

impl Default for Subject {
    fn default() -> Self {
        Self::with("")
    }
}

impl Subject {
    pub fn with(yaml: &str) -> Self {
        Self { state: UserState::default(), thresholds: Thresholds::parse(yaml).unwrap(), next_id: 0 }
    }

    pub fn fold(&mut self, event: &Event) -> Option<ModeSwitch> {
        let folded = fold(std::mem::take(&mut self.state), event, &self.thresholds);
        self.state = folded.state;
        folded.switch
    }

    /// Folds an event of these readings at `ms`.
    pub fn live(&mut self, ms: i64, readings: Vec<Reading>) -> Option<ModeSwitch> {
        let event = self.event(ms, readings);
        self.fold(&event)
    }

    /// An event with the next id.
    pub fn event(&mut self, ms: i64, readings: Vec<Reading>) -> Event {
        self.next_id += 1;
        event(format!("event-{}", self.next_id), ms, readings)
    }

    /// Ten hours of samples of `value`, backfilled, ending an hour before `ms`.
    pub fn usual(&mut self, metric: Metric, value: f64, ms: i64) {
        let readings = (1..=10).map(|hour| reading(metric, value, ms - hour * HOUR)).collect();
        let mut event = self.event(ms - HOUR, readings);
        event.is_backfill = true;
        self.fold(&event);
    }

    pub fn mode(&self) -> &'static str {
        self.state.mode().name()
    }

    pub fn view(&self, ms: i64) -> serde_json::Value {
        serde_json::to_value(self.state.view(&user(), at(ms), &self.thresholds)).unwrap()
    }
}

/// A small generator (SplitMix64), so that a printed seed is all there is to repeat a run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
