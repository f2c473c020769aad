//! A clock that stands still until it is turned.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::domain::time::Timestamp;
use crate::ports::Clock;

/// A wall clock in the hands of a test.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_ms()))
    }

    /// Turns the clock on by `ms`, or back if negative.
    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}
