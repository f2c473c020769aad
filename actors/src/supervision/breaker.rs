//! Circuit breaker: stops asking what fails, and finds out gently when it works again.
//!
//! Closed until so many failures in a row, then open for a time, then one probe at a time: its success closes the
//! breaker, its failure opens it again. Verdicts on calls that began before the latest change count no more.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSpec {
    /// So many failures in a row open it; at least 1.
    pub failures_max: u32,
    /// How long it is open before a probe.
    pub open_for: Duration,
    /// How long a probe has until another may take its place: one that never ends must not wedge the breaker.
    pub probe_within: Duration,
}

impl Default for BreakerSpec {
    /// 5 failures, 60 s open, 60 s for the probe.
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { failures_max: 5, open_for: minute, probe_within: minute }
    }
}

/// The state of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// No call goes through.
    Open,
    /// One call at a time goes through, as a probe.
    HalfOpen,
}

/// A breaker as `/actors` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BreakerSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// Its state.
    pub state: BreakerState,
    /// When the next call can go through at the earliest; 0 if one can now.
    pub retry_in_ms: u64,
    /// How often it has opened, failed probes among it. Not in `/actors`.
    #[serde(skip)]
    pub openings: u64,
}

/// The breaker is open, or a probe is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open; try again in {} ms", retry_in.as_millis())]
pub struct CircuitOpen {
    /// When to try again: then the open time is over, or at the latest the probe's.
    pub retry_in: Duration,
}

/// A circuit breaker; clones are the same one.
///
/// Lost with the process: a new one begins closed.
#[derive(Debug, Clone)]
pub struct Breaker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: Arc<str>,
    spec: BreakerSpec,
    circuit: Mutex<Circuit>,
}

#[derive(Debug)]
struct Circuit {
    phase: Phase,
    /// Grows with each change of phase and each probe: permits of another epoch say nothing any more.
    epoch: u64,
    openings: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed {
        failures: u32,
    },
    /// From `until` on a probe may go through.
    Open {
        until: Instant,
    },
    Probing {
        until: Instant,
    },
}

impl Circuit {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

impl Breaker {
    /// A closed breaker.
    pub fn new(name: impl Into<Arc<str>>, spec: BreakerSpec) -> Self {
        let circuit = Circuit { phase: Phase::Closed { failures: 0 }, epoch: 0, openings: 0 };
        Self(Arc::new(Shared { name: name.into(), spec, circuit: Mutex::new(circuit) }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The right to make one call.
    ///
    /// # Errors
    /// [`CircuitOpen`], at once.
    pub fn permit(&self) -> Result<Permit, CircuitOpen> {
        self.permit_at(Instant::now())
    }

    fn permit_at(&self, now: Instant) -> Result<Permit, CircuitOpen> {
        let mut circuit = self.0.circuit.lock();
        if let Phase::Open { until } | Phase::Probing { until } = circuit.phase {
            if now < until {
                return Err(CircuitOpen { retry_in: until - now });
            }
            circuit.enter(Phase::Probing { until: now + self.0.spec.probe_within });
        }
        Ok(Permit { breaker: self.clone(), epoch: circuit.epoch, is_settled: false })
    }

    /// Closes it, whatever it has seen.
    pub fn reset(&self) {
        self.0.circuit.lock().enter(Phase::Closed { failures: 0 });
    }

    /// As `/actors` shows it.
    pub fn snapshot(&self) -> BreakerSnapshot {
        self.snapshot_at(Instant::now())
    }

    fn snapshot_at(&self, now: Instant) -> BreakerSnapshot {
        let circuit = self.0.circuit.lock();
        let (state, until) = match circuit.phase {
            Phase::Closed { .. } => (BreakerState::Closed, now),
            Phase::Open { until } if now < until => (BreakerState::Open, until),
            Phase::Open { until } | Phase::Probing { until } => (BreakerState::HalfOpen, until),
        };
        let retry_in_ms = until.saturating_duration_since(now).as_millis() as u64;
        BreakerSnapshot { name: Arc::clone(&self.0.name), state, retry_in_ms, openings: circuit.openings }
    }

    fn settle_at(&self, epoch: u64, verdict: Verdict, now: Instant) {
        let mut circuit = self.0.circuit.lock();
        if circuit.epoch != epoch {
            return;
        }
        match (circuit.phase, verdict) {
            (Phase::Closed { .. }, Verdict::Success) => circuit.phase = Phase::Closed { failures: 0 },
            (Phase::Closed { failures }, Verdict::Failure) if failures + 1 < self.0.spec.failures_max => {
                circuit.phase = Phase::Closed { failures: failures + 1 };
            }
            (Phase::Closed { .. } | Phase::Probing { .. }, Verdict::Failure) => {
                circuit.openings += 1;
                circuit.enter(Phase::Open { until: now + self.0.spec.open_for });
            }
            (Phase::Probing { .. }, Verdict::Success) => circuit.enter(Phase::Closed { failures: 0 }),
            // The next caller may probe at once.
            (Phase::Probing { .. }, Verdict::Neither) => circuit.enter(Phase::Open { until: now }),
            // Nobody has a permit of an epoch in which it was open.
            (Phase::Closed { .. }, Verdict::Neither) | (Phase::Open { .. }, _) => {}
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Success,
    Failure,
    Neither,
}

/// The right to make one call. Dropped without a verdict, because the call was cancelled or said nothing about the
/// other side's health (a 429, say), it counts as never made.
#[derive(Debug)]
#[must_use = "say how the call ended"]
pub struct Permit {
    breaker: Breaker,
    epoch: u64,
    is_settled: bool,
}

impl Permit {
    /// The call succeeded.
    pub fn succeeded(self) {
        self.settle_at(Verdict::Success, Instant::now());
    }

    /// The call failed.
    pub fn failed(self) {
        self.settle_at(Verdict::Failure, Instant::now());
    }

    fn settle_at(mut self, verdict: Verdict, now: Instant) {
        self.is_settled = true;
        self.breaker.settle_at(self.epoch, verdict, now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_settled {
            self.breaker.settle_at(self.epoch, Verdict::Neither, Instant::now());
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
