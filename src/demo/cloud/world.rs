//! The people of the cloud, and how each vendor calls them and their records.
//!
//! Nothing is stored: a record's id holds whose it is, what and of which day, and its values follow from the seed.

use actors::domain::time::{MS_PER_DAY, MS_PER_MINUTE, Timestamp};
use uuid::Uuid;

use crate::demo::payloads::Person;
use crate::demo::vitals::Body;
use crate::traffic::noise;

/// Days that ids can name: until the year 4707.
const DAYS_MAX: i64 = 1_000_000;

/// All who live here.
#[derive(Debug, Clone)]
pub(super) struct World {
    seed: u64,
    people: Vec<Resident>,
}

/// Somebody who has an account with every vendor.
#[derive(Debug, Clone)]
pub(super) struct Resident {
    pub(super) index: usize,
    pub(super) person: Person,
    seed: u64,
}

impl World {
    /// `opening`: the minute around which there is something to see, if there is to be one.
    pub(super) fn new(seed: u64, count: usize, opening: Option<i64>) -> Self {
        let resident = |index| Resident { index, person: Person::new(seed, index, count, opening), seed };
        Self { seed, people: (0..count).map(resident).collect() }
    }

    pub(super) fn people(&self) -> &[Resident] {
        &self.people
    }

    pub(super) fn get(&self, index: usize) -> Option<&Resident> {
        self.people.get(index)
    }

    /// Whose record it is, and of which day; `None` for ids that are not of this kind or not of here.
    pub(super) fn find(&self, kind: u8, id: &str) -> Option<(&Resident, i64)> {
        let bytes = *Uuid::parse_str(id).ok()?.as_bytes();
        let person = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) ^ self.seed as u32;
        let day = i64::from(u32::from_be_bytes([bytes[9], bytes[10], bytes[11], bytes[12]]));
        let resident = self.get(usize::try_from(person).ok()?)?;
        (resident.record_id(kind, day) == id.to_ascii_lowercase()).then_some((resident, day))
    }

    /// Whose cycle it is, and of which day.
    pub(super) fn find_cycle(&self, id: i64) -> Option<(&Resident, i64)> {
        let index = usize::try_from(id / DAYS_MAX - 1).ok()?;
        Some((self.get(index)?, id % DAYS_MAX))
    }
}

impl Resident {
    pub(super) fn body(&self) -> &Body {
        &self.person.body
    }

    /// Oura's id: capital letters and digits.
    pub(super) fn oura_id(&self) -> String {
        format!("CLOUD{:04X}{:05}", self.seed & 0xffff, self.index + 1)
    }

    /// WHOOP's id: a whole number.
    pub(super) fn whoop_id(&self) -> i64 {
        (self.seed & 0xffff) as i64 * 100_000 + self.index as i64 + 1
    }

    /// Terra's id: a UUID.
    pub(super) fn terra_id(&self) -> String {
        self.record_id(u8::MAX, 0)
    }

    /// The id of a record of that kind and day; the same kind has it in every vendor's cloud.
    pub(super) fn record_id(&self, kind: u8, day: i64) -> String {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&(self.index as u32 ^ self.seed as u32).to_be_bytes());
        bytes[4] = kind;
        bytes[9..13].copy_from_slice(&(day as u32).to_be_bytes());
        let check = noise(self.seed, u64::from(kind) << 32 | self.index as u64, day) * f64::from(1 << 24);
        bytes[13..].copy_from_slice(&(check as u32).to_be_bytes()[1..]);
        Uuid::new_v8(bytes).to_string()
    }

    /// The id of the cycle that began with the night before `day`.
    pub(super) fn cycle_id(&self, day: i64) -> i64 {
        (self.index as i64 + 1) * DAYS_MAX + day
    }

    /// The local day at a moment (Unix milliseconds), counted from 1970.
    pub(super) fn day_at(&self, ms: i64) -> i64 {
        self.body().day_and_time(ms.div_euclid(MS_PER_MINUTE)).0
    }

    /// Minutes by which this person's clock is ahead of UTC.
    pub(super) fn offset_minutes(&self) -> i64 {
        -self.body().minute_of(0, 0)
    }

    /// `+02:00`, also at zero.
    pub(super) fn offset(&self) -> String {
        let offset = self.offset_minutes();
        let sign = if offset < 0 { '-' } else { '+' };
        format!("{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)
    }

    /// A UTC minute since 1970 on this person's clock: `2026-09-10T08:00:00+02:00`.
    pub(super) fn local(&self, minute: i64) -> String {
        let local = Timestamp::from_ms((minute + self.offset_minutes()) * MS_PER_MINUTE).to_string();
        format!("{}{}", local.trim_end_matches('Z'), self.offset())
    }
}

/// `2026-09-10`, of a day counted from 1970.
pub(super) fn date(day: i64) -> String {
    Timestamp::from_ms(day * MS_PER_DAY).to_string().chars().take(10).collect()
}

/// The day that a date names, counted from 1970.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let start = Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z"))?;
    (text.len() == 10).then(|| start.as_ms() / MS_PER_DAY)
}

/// A UTC minute since 1970 in UTC.
pub(super) fn utc(minute: i64) -> String {
    Timestamp::from_ms(minute * MS_PER_MINUTE).to_string()
}

/// With so many digits behind the point.
pub(super) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
