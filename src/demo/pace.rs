//! How simulated time runs: a quick history first, then the recent past faster than real time, then now.
//!
//! Modes are decided on fresh readings only, and freshness is measured against the arrival: heart rate and
//! stress count for 30 minutes, HRV for 6 hours, recovery for 36. So a history alone can build baselines and
//! show a bad night, but no racing heart. The clock therefore hurries through [`HISTORY_MS`], steps out of it
//! [`RECENT_MS`] behind now, where everything is fresh, and closes that gap slowly while modes come and go.

use actors::domain::time::{MS_PER_HOUR, MS_PER_MINUTE, MS_PER_SECOND};

/// The history that precedes the recent past, in simulated time: enough hours for baselines of one's own (five),
/// and with [`RECENT_MS`] still under the 36 hours for which a recovery score counts.
pub const HISTORY_MS: i64 = 34 * MS_PER_HOUR;
/// How far behind now the recent past begins: under the 30 minutes for which a heart rate counts.
pub const RECENT_MS: i64 = 24 * MS_PER_MINUTE;
/// Real time that the history takes, whatever the speed.
pub const HISTORY_TAKES_MS: i64 = 20 * MS_PER_SECOND;
/// Simulated seconds per real second in the recent past: the gap is closed after 12 more minutes.
pub const DEFAULT_SPEED: f64 = 3.0;

const _: () = assert!(HISTORY_MS + RECENT_MS < 36 * MS_PER_HOUR);

/// The relation between simulated and real time of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    recent_from_ms: i64,
    began_ms: i64,
    speed: f64,
}

impl Pace {
    /// A run that begins at the real time `now_ms` (Unix milliseconds). A speed below 1 counts as 1: the gap stays.
    pub fn new(now_ms: i64, speed: f64) -> Self {
        let began_ms = now_ms - now_ms.rem_euclid(MS_PER_SECOND);
        Self { recent_from_ms: began_ms + HISTORY_TAKES_MS - RECENT_MS, began_ms, speed: speed.max(1.0) }
    }

    /// The simulated time (Unix milliseconds) with which the run begins.
    pub fn start_ms(&self) -> i64 {
        self.recent_from_ms - HISTORY_MS
    }

    /// The real milliseconds from the run's beginning until simulated time reaches `simulated_ms`.
    pub fn elapsed_ms(&self, simulated_ms: i64) -> i64 {
        let into_recent_ms = simulated_ms - self.recent_from_ms;
        if into_recent_ms < 0 {
            return (simulated_ms - self.start_ms()) * HISTORY_TAKES_MS / HISTORY_MS;
        }
        let hurried_ms = HISTORY_TAKES_MS + (into_recent_ms as f64 / self.speed) as i64;
        hurried_ms.max(simulated_ms - self.began_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_789_041_600_123;

    #[test]
    fn simulated_time_starts_in_the_past_and_catches_up_with_now() {
        let pace = Pace::new(NOW_MS, DEFAULT_SPEED);
        let began_ms = 1_789_041_600_000;
        let caught_up_ms = HISTORY_TAKES_MS + RECENT_MS / 2;
        for (simulated_ms, elapsed_ms) in [
            (pace.start_ms(), 0),
            (pace.start_ms() + HISTORY_MS / 2, HISTORY_TAKES_MS / 2),
            (pace.start_ms() + HISTORY_MS, HISTORY_TAKES_MS),
            (pace.start_ms() + HISTORY_MS + 3 * MS_PER_MINUTE, HISTORY_TAKES_MS + MS_PER_MINUTE),
            (began_ms + caught_up_ms, caught_up_ms),
            (began_ms + caught_up_ms + MS_PER_HOUR, caught_up_ms + MS_PER_HOUR),
        ] {
            assert_eq!(pace.elapsed_ms(simulated_ms), elapsed_ms);
        }
    }

    #[test]
    fn nothing_is_due_before_its_own_time_has_come() {
        for speed in [0.0, 1.0, DEFAULT_SPEED, 1000.0] {
            let pace = Pace::new(NOW_MS, speed);
            for minute in 0..60 * 48 {
                let simulated_ms = pace.start_ms() + minute * MS_PER_MINUTE;
                let arrival_ms = NOW_MS + pace.elapsed_ms(simulated_ms);
                assert!(simulated_ms <= arrival_ms, "speed {speed}, minute {minute}");
            }
        }
    }
}
