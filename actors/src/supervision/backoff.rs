//! How long to wait before the next restart. The only module that knows the `backoff` crate.

use std::time::Duration;

use ::backoff::backoff::Backoff as _;
use ::backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use tokio::time::Instant;

/// Exponential backoff: `initial`, doubled at each failure up to `max`, each spread by ± `jitter`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first delay.
    pub initial: Duration,
    /// No delay is longer, jitter included.
    pub max: Duration,
    /// The share by which a delay is spread, 0 to 1, so that what failed together does not return together.
    pub jitter: f64,
}

impl Backoff {
    /// Delays for something else than a child, which tries again by itself.
    pub fn delays(self, quiet: Duration) -> Delays {
        Delays::new(self, quiet)
    }
}

impl Default for Backoff {
    /// 100 ms up to 10 s, ± 20 %.
    fn default() -> Self {
        Self { initial: Duration::from_millis(100), max: Duration::from_secs(10), jitter: 0.2 }
    }
}

/// The delays between tries: they start over after `quiet` without a failure.
#[derive(Debug)]
pub struct Delays {
    exponential: ExponentialBackoff,
    max: Duration,
    quiet: Duration,
    last_failure: Option<Instant>,
}

impl Delays {
    pub(super) fn new(backoff: Backoff, quiet: Duration) -> Self {
        let exponential = ExponentialBackoffBuilder::new()
            .with_initial_interval(backoff.initial)
            .with_max_interval(backoff.max)
            .with_multiplier(2.0)
            .with_randomization_factor(backoff.jitter.clamp(0.0, 1.0))
            .with_max_elapsed_time(None)
            .build();
        Self { exponential, max: backoff.max, quiet, last_failure: None }
    }

    /// The delay after a failure at `now`.
    pub fn next(&mut self, now: Instant) -> Duration {
        if self.last_failure.is_some_and(|last| now.duration_since(last) >= self.quiet) {
            self.exponential.reset();
        }
        self.last_failure = Some(now);
        self.exponential.next_backoff().unwrap_or(self.max).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn delays(jitter: f64) -> Delays {
        Delays::new(Backoff { initial: 100 * MS, max: 1_000 * MS, jitter }, 10_000 * MS)
    }

    #[test]
    fn delays_double_up_to_the_maximum() {
        let (mut delays, now) = (delays(0.0), Instant::now());
        let seen: Vec<_> = (0..6).map(|_| delays.next(now).as_millis()).collect();
        assert_eq!(seen, [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn delays_start_over_after_a_quiet_period_and_not_before() {
        let (mut delays, now) = (delays(0.0), Instant::now());
        assert_eq!(delays.next(now), 100 * MS);
        assert_eq!(delays.next(now + 9_999 * MS), 200 * MS);
        assert_eq!(delays.next(now + 19_999 * MS), 100 * MS);
    }

    #[test]
    fn jitter_spreads_delays_and_never_passes_the_maximum() {
        let now = Instant::now();
        let firsts: Vec<_> = (0..200).map(|_| delays(0.5).next(now)).collect();
        assert!(firsts.iter().all(|delay| (50 * MS..=151 * MS).contains(delay)), "{firsts:?}");
        assert!(firsts.iter().any(|delay| *delay != firsts[0]));
        let mut delays = delays(0.5);
        assert!((0..200).all(|_| delays.next(now) <= 1_000 * MS));
    }
}
