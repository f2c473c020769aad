//! What vendors tell nothing of, and what is asked for all the same (vendors.md §2 and §3).
//!
//! Oura has no notifications of heart rates, WHOOP none of cycles and measurements of the body. Of WHOOP's other records
//! it asks its clients to look for themselves, too, since it gives a notification up after an hour.

use crate::domain::account::Vendor;
use crate::domain::fetch::{Fetch, OuraFetch, WhoopFetch, WhoopRecords};
use crate::domain::time::{MS_PER_DAY, MS_PER_HOUR, Timestamp};

/// One question that is asked again and again.
#[derive(Debug, Clone, Copy)]
pub struct Poll {
    /// Tells it from the vendor's others: part of what makes a poll the same poll.
    pub name: &'static str,
    /// Asked once in so many of the vendor's intervals.
    pub every: u32,
    /// How far back it looks: what a ring or strap hands in later than that is found by the rarer ones.
    back_ms: i64,
    fetch: fn(from: Timestamp, to: Timestamp) -> Fetch,
}

impl Poll {
    /// The question at a moment. Whatever happened since the one before, `interval_ms` ago, is asked for twice.
    pub fn fetch(&self, now: Timestamp, interval_ms: i64) -> Fetch {
        let back_ms = self.back_ms.max(interval_ms.saturating_mul(2));
        (self.fetch)(now.plus_ms(-back_ms), now)
    }
}

const HEART_RATE: fn(Timestamp, Timestamp) -> Fetch =
    |from, to| OuraFetch::HeartRate { from, to, page: None, turned: 0 }.into();
const CYCLES: fn(Timestamp, Timestamp) -> Fetch = |from, to| records(WhoopRecords::Cycles, from, to);

fn records(records: WhoopRecords, from: Timestamp, to: Timestamp) -> Fetch {
    WhoopFetch::Records { records, from, to, page: None, turned: 0 }.into()
}

/// By intervals of a quarter of an hour: every 15 minutes the last three hours, four times a day two days, and once a
/// day what a ring can hold that was not near its phone.
const OURA: [Poll; 3] = [
    Poll { name: "heart_rate", every: 1, back_ms: 3 * MS_PER_HOUR, fetch: HEART_RATE },
    Poll { name: "heart_rate_late", every: 24, back_ms: 2 * MS_PER_DAY, fetch: HEART_RATE },
    Poll { name: "heart_rate_week", every: 96, back_ms: 8 * MS_PER_DAY, fetch: HEART_RATE },
];

/// By intervals of an hour: the running cycle and the one before it every hour, the rest once a day.
const WHOOP: [Poll; 6] = [
    Poll { name: "cycles", every: 1, back_ms: 2 * MS_PER_DAY, fetch: CYCLES },
    Poll { name: "cycles_week", every: 24, back_ms: 8 * MS_PER_DAY, fetch: CYCLES },
    Poll {
        name: "sleeps_week",
        every: 24,
        back_ms: 8 * MS_PER_DAY,
        fetch: |from, to| records(WhoopRecords::Sleeps, from, to),
    },
    Poll {
        name: "recoveries_week",
        every: 24,
        back_ms: 8 * MS_PER_DAY,
        fetch: |from, to| records(WhoopRecords::Recoveries, from, to),
    },
    Poll {
        name: "workouts_week",
        every: 24,
        back_ms: 8 * MS_PER_DAY,
        fetch: |from, to| records(WhoopRecords::Workouts, from, to),
    },
    Poll { name: "body", every: 24, back_ms: 0, fetch: |_, _| WhoopFetch::Body.into() },
];

/// What is polled of every account of a vendor's.
pub const fn polls(vendor: Vendor) -> &'static [Poll] {
    match vendor {
        Vendor::Oura => &OURA,
        Vendor::Whoop => &WHOOP,
        _ => &[],
    }
}
