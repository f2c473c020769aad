//! Restart intensity: how many restarts in how long are too many.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::member::Death;

/// More than `max_restarts` restarts within `window` are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// So many restarts within the window are still borne.
    pub max_restarts: usize,
    /// The length of the sliding window.
    pub window: Duration,
}

impl Default for Intensity {
    /// 5 restarts in 30 s.
    fn default() -> Self {
        Self { max_restarts: 5, window: Duration::from_secs(30) }
    }
}

/// The instants of the latest restarts: a window that slides with each of them, not buckets of a clock.
#[derive(Debug)]
pub(super) struct RestartWindow {
    intensity: Intensity,
    restarts: VecDeque<Instant>,
    exceeded: bool,
}

impl RestartWindow {
    pub(super) fn new(intensity: Intensity) -> Self {
        Self { intensity, restarts: VecDeque::new(), exceeded: false }
    }

    /// Whether a restart at `now` is still borne. Once one is not, none is until it is reset.
    ///
    /// A restart that is exactly as old as the window no longer counts. `now` never goes back.
    pub(super) fn allow(&mut self, now: Instant) -> bool {
        let window = self.intensity.window;
        while self.restarts.front().is_some_and(|restart| now.duration_since(*restart) >= window) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= self.intensity.max_restarts {
            self.exceeded = true;
        } else {
            self.restarts.push_back(now);
        }
        !self.exceeded
    }

    /// Counts `death`, or takes back the restart before it if it is excused: the cause of both was found and has
    /// gone. Whether the limit bears it.
    pub(super) fn bears(&mut self, death: &Death) -> bool {
        if death.is_excused {
            self.forgive();
        }
        death.is_excused || self.allow(death.at)
    }

    fn forgive(&mut self) {
        self.restarts.pop_back();
    }

    /// Forgets everything: somebody above has dealt with it.
    pub(super) fn reset(&mut self) {
        self.restarts.clear();
        self.exceeded = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdicts(max_restarts: usize, window_ms: u64, restarts_ms: &[u64]) -> Vec<bool> {
        let start = Instant::now();
        let intensity = Intensity { max_restarts, window: Duration::from_millis(window_ms) };
        let mut window = RestartWindow::new(intensity);
        restarts_ms.iter().map(|ms| window.allow(start + Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn the_restart_beyond_the_limit_inside_the_window_is_refused() {
        let table: &[(usize, u64, &[u64], &[bool])] = &[
            (0, 1_000, &[0], &[false]),
            (1, 1_000, &[0, 999], &[true, false]),
            (1, 1_000, &[0, 1_000], &[true, true]),
            (2, 1_000, &[0, 0, 0], &[true, true, false]),
            (2, 1_000, &[0, 500, 1_000, 1_499], &[true, true, true, false]),
            // A bucketed window would forget the first two at 1000; a sliding one does not.
            (2, 1_000, &[900, 950, 1_050], &[true, true, false]),
            // Refused once is refused for good, however long the silence.
            (1, 1_000, &[0, 1, 9_000], &[true, false, false]),
        ];
        for (max_restarts, window_ms, restarts_ms, expected) in table {
            assert_eq!(&verdicts(*max_restarts, *window_ms, restarts_ms), expected, "{restarts_ms:?}");
        }
    }

    #[test]
    fn what_was_forgiven_no_longer_counts() {
        let intensity = Intensity { max_restarts: 1, window: Duration::from_secs(1) };
        let mut window = RestartWindow::new(intensity);
        let now = Instant::now();
        for _ in 0..5 {
            assert!(window.allow(now));
            window.forgive();
        }
        assert!(window.allow(now));
        assert!(!window.allow(now));
    }

    proptest! {
        #[test]
        fn a_restart_is_borne_as_long_as_no_window_holds_too_many(
            max_restarts in 0_usize..6,
            window_ms in 1_u64..500,
            gaps_ms in prop::collection::vec(0_u64..200, 1..40),
        ) {
            let restarts_ms: Vec<u64> =
                gaps_ms.iter().scan(0, |now, gap| { *now += gap; Some(*now) }).collect();
            let first_too_many = (0..restarts_ms.len()).find(|&i| {
                let now = restarts_ms[i];
                restarts_ms[..=i].iter().filter(|ms| now - **ms < window_ms).count() > max_restarts
            });
            let expected: Vec<bool> =
                (0..restarts_ms.len()).map(|i| first_too_many.is_none_or(|first| i < first)).collect();
            prop_assert_eq!(verdicts(max_restarts, window_ms, &restarts_ms), expected);
        }

        #[test]
        fn a_slower_rate_never_fails(
            max_restarts in 1_usize..6,
            window_ms in 1_u64..500,
            extra_ms in prop::collection::vec(0_u64..50, 1..200),
        ) {
            let gap_ms = window_ms.div_ceil(max_restarts as u64);
            let restarts_ms: Vec<u64> =
                extra_ms.iter().scan(0, |now, extra| { *now += gap_ms + extra; Some(*now) }).collect();
            prop_assert!(verdicts(max_restarts, window_ms, &restarts_ms).iter().all(|borne| *borne));
        }
    }
}
