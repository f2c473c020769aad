//! What a demonstration shows and when: a quick history first, then the recent past faster than real time, then now.
//!
//! Modes are decided on fresh readings only, and freshness is measured against the arrival: heart rate and
//! stress count for 30 minutes, HRV for 6 hours, recovery for 36. So a history alone can build baselines and
//! show a bad night, but no racing heart. The clock therefore hurries through [`HISTORY_MS`], steps out of it
//! [`RECENT_MS`] behind now, where everything is fresh, and closes that gap slowly while modes come and go.

use std::time::Duration;

use actors::domain::time::{MS_PER_HOUR, MS_PER_MINUTE};

use super::cloud::{Config, Fault, FaultKind, Limit, Limits, Opening, Vendor};

/// How many people live in a demonstration that was not told otherwise.
pub const DEFAULT_PEOPLE: usize = 60;
/// The history that precedes the recent past, in simulated time: enough hours for baselines of one's own (five),
/// and with [`RECENT_MS`] still under the 36 hours for which a recovery score counts.
pub const HISTORY_MS: i64 = 34 * MS_PER_HOUR;
/// How far behind now the recent past begins: under the 30 minutes for which a heart rate counts.
pub const RECENT_MS: i64 = 24 * MS_PER_MINUTE;
/// Real time that the history takes, whatever the speed.
pub const HISTORY_TAKES: Duration = Duration::from_secs(20);
/// Simulated seconds per real second in the recent past: the gap is closed after 12 more minutes.
pub const DEFAULT_SPEED: f64 = 3.0;
/// Webhooks under way at once: few enough for WHOOP's second on a machine that builds something beside it.
pub const IN_FLIGHT: usize = 16;
/// One webhook in so many is sent a second time, as vendors do when an answer got lost.
pub const REPEAT_EVERY: u32 = 50;
/// The vendors' limits with seconds for minutes: a day and a half passes in twenty seconds, which their own would make
/// take hours. Both the cloud and the bridge keep to these.
pub const LIMITS: Limits = Limits {
    oura: Limit { requests: 5_000, window: Duration::from_secs(5) },
    whoop: Limit { requests: 100, window: Duration::from_secs(1) },
    whoop_day: Limit { requests: 10_000, window: Duration::from_secs(24 * 60) },
};

const _: () = assert!(HISTORY_MS + RECENT_MS < 36 * MS_PER_HOUR);

/// A cloud whose story begins now (Unix milliseconds).
pub fn config(seed: u64, people: usize, now_ms: i64, speed: f64) -> Config {
    let at_ms = now_ms + HISTORY_TAKES.as_millis() as i64 - RECENT_MS;
    let repeated = Fault { share: 1.0 / f64::from(REPEAT_EVERY), ..Fault::new(FaultKind::Duplicate) };
    Config {
        speed,
        opening: Some(Opening { at_ms, after: HISTORY_TAKES }),
        limits: LIMITS,
        in_flight: IN_FLIGHT,
        faults: vec![repeated],
        // Terra would tell the same nights a second time.
        vendors: vec![Vendor::Oura, Vendor::Whoop, Vendor::HealthKit],
        ..Config::new(seed, people, at_ms - HISTORY_MS)
    }
}
