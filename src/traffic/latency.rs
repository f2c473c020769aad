//! A histogram of answer times.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest time that is told apart from longer ones, in microseconds: an hour.
const MAX_US: u64 = 3_600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Answer times from 1 µs to an hour; quantiles are exact to 0.1 %.
#[derive(Debug, Clone, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    #[expect(clippy::expect_used, reason = "the bounds are constants that hdrhistogram accepts")]
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_US, SIGNIFICANT_DIGITS).expect("constant bounds"))
    }
}

impl Latencies {
    /// Counts one answer; what is beyond the scale falls into its ends.
    pub fn record(&mut self, taken: Duration) {
        let us = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(us.clamp(1, MAX_US));
    }

    /// Takes over what another one counted.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so nothing is out of range.
        let _ = self.0.add(&other.0);
    }

    /// How many were counted.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time within which the part `q` (0 to 1) of the answers came; `None` when nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        (!self.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(q)))
    }

    /// The longest; `None` when nothing was counted.
    pub fn max(&self) -> Option<Duration> {
        (!self.is_empty()).then(|| Duration::from_micros(self.0.max()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn quantiles_are_exact_to_a_thousandth_and_survive_a_merge() {
        let (mut low, mut high) = (Latencies::default(), Latencies::default());
        assert_eq!((low.quantile(0.5), low.max()), (None, None));
        (1..=90).for_each(|_| low.record(Duration::from_millis(2)));
        (1..=10).for_each(|_| high.record(Duration::from_millis(80)));
        low.merge(&high);
        assert_eq!(low.len(), 100);
        for (q, ms) in [(0.0, 2.0), (0.5, 2.0), (0.9, 2.0), (0.91, 80.0), (0.99, 80.0), (1.0, 80.0)] {
            let found_ms = low.quantile(q).unwrap().as_secs_f64() * 1000.0;
            assert!((ms..=ms * 1.001).contains(&found_ms), "q {q}: {found_ms} ms");
        }
    }

    #[test]
    fn times_beyond_the_scale_fall_into_its_ends() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);
        assert_eq!(latencies.quantile(0.0).unwrap(), Duration::from_micros(1));
        assert!(latencies.max().unwrap() >= Duration::from_secs(3600));
    }
}
