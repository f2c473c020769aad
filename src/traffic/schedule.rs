//! When arrivals are due, whatever becomes of those before them.

use std::time::Duration;

/// Arrivals at a steady rate. They are due at times that do not depend on how fast anybody answers, so that a server
/// which stalls is charged for all who would have come meanwhile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    per_second: f64,
    first: u64,
    step: u64,
}

impl Schedule {
    /// The share `index` of `of` of `per_second` arrivals a second in all (more than 0).
    pub fn share(per_second: f64, index: usize, of: usize) -> Self {
        Self { per_second, first: index as u64, step: of as u64 }
    }

    /// How long after the beginning this share's arrival `n`, counted from 0, is due.
    pub fn due(&self, n: u64) -> Duration {
        Duration::try_from_secs_f64((self.first + n * self.step) as f64 / self.per_second)
            .unwrap_or(Duration::MAX)
    }

    /// How many of this share's arrivals are due by `elapsed` after the beginning.
    pub fn due_by(&self, elapsed: Duration) -> u64 {
        let last = (elapsed.as_secs_f64() * self.per_second) as u64;
        let mut due = last.checked_sub(self.first).map_or(0, |beyond| beyond / self.step + 1);
        // The two divisions round differently in the last bit.
        while due > 0 && self.due(due - 1) > elapsed {
            due -= 1;
        }
        while self.due(due) <= elapsed {
            due += 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_due_at_even_distances_over_all_shares() {
        let shares = [Schedule::share(1_000.0, 0, 2), Schedule::share(1_000.0, 1, 2)];
        for n in 0..10_000 {
            let due = shares[n as usize % 2].due(n / 2);
            assert_eq!(due.as_micros() as u64, n * 1_000, "{n}");
        }
    }

    #[test]
    fn what_is_due_by_a_moment_is_due_no_later_and_what_follows_is() {
        for per_second in [0.3, 1.0, 7.0, 999.9, 48_000.0] {
            for index in 0..3 {
                let schedule = Schedule::share(per_second, index, 3);
                for ms in [0, 1, 2, 17, 333, 1_000, 59_999, 3_600_000] {
                    let elapsed = Duration::from_millis(ms);
                    let due = schedule.due_by(elapsed);
                    assert!(due == 0 || schedule.due(due - 1) <= elapsed, "{schedule:?} {elapsed:?}");
                    assert!(schedule.due(due) > elapsed, "{schedule:?} {elapsed:?}");
                }
            }
        }
    }

    #[test]
    fn a_share_that_starts_late_owes_nothing_before() {
        let schedule = Schedule::share(1.0, 2, 3);
        assert_eq!(schedule.due_by(Duration::from_millis(1_999)), 0);
        assert_eq!(schedule.due_by(Duration::from_secs(2)), 1);
        assert_eq!(schedule.due_by(Duration::from_secs(5)), 2);
    }
}
