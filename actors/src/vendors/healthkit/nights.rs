//! Nightly totals, merged from what several devices tell of the same night.
//!
//! Intervals of one user that overlap, touch or lie at most [`GAP_MAX_MS`] apart are one night; it is called after the
//! day on which a night that begins then ends: from noon to noon at the user's offset. At each moment one device
//! counts: one that tells stages before one that tells none, then the more trusted, then the one with more sleep, then
//! by name; where it says nothing the next one does. Time in bed is never sleep.
//!
//! What is here when the process dies comes again with the delivery: nothing was answered yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::batch::Batch;
use super::sleep::{self, State};
use crate::domain::admission::{ReadingFact, Version};
use crate::domain::event::Reading;
use crate::domain::ids::{Identity, UserId};
use crate::domain::metric::Metric;
use crate::domain::time::{MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, MS_PER_SECOND, Timestamp, UtcOffset};

/// How long one may be up in one night.
const GAP_MAX_MS: i64 = 3 * MS_PER_HOUR;
/// The longest interval that may be a part of a night: a longer one would swallow others.
const INTERVAL_MAX_MS: i64 = MS_PER_DAY;
/// The most intervals that wait for the rest of their night; then the nights that are behind are closed.
const HELD_MAX: usize = 50_000;
/// The bits of a sum of a night's seconds in a version …
pub(super) const SUM_BITS: u32 = 17;
/// … and of all that several devices tell of it.
const TOLD_BITS: u32 = 20;
/// The confidence in what is derived (contract §3).
const CONFIDENCE: f64 = 0.8;
/// The source of what is derived.
const SOURCE: &str = "derived";

/// What a night is summed up in.
pub(super) const SUMS: [Metric; 6] = [
    Metric::TotalSleepMinutes,
    Metric::DeepSleepMinutes,
    Metric::LightSleepMinutes,
    Metric::RemSleepMinutes,
    Metric::AwakeMinutes,
    Metric::TimeInBedMinutes,
];

/// What sleep is made of, where it is told exactly.
const STAGES: [State; 3] = [State::Light, State::Deep, State::Rem];

/// Some time in one state, as one device tells it.
#[derive(Debug, Clone)]
pub(super) struct Interval {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) state: State,
    pub(super) source: Option<Arc<str>>,
    pub(super) confidence: f64,
    pub(super) utc_offset: Option<UtcOffset>,
}

impl Interval {
    fn length_ms(&self) -> i64 {
        self.end.ms_since(self.start)
    }

    /// One order for every order of arrival.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let key = |one: &Self| (one.start, one.end, one.state, one.utc_offset.map(UtcOffset::minutes));
        key(self).cmp(&key(other)).then_with(|| self.source.cmp(&other.source))
    }
}

/// The sleep of a delivery that has not been summed up yet.
#[derive(Debug, Default)]
pub(super) struct Nights {
    of_users: HashMap<UserId, Vec<Interval>>,
    held: usize,
}

impl Nights {
    /// Takes in an interval. Where too many wait, the nights before the latest of each user are closed, and if these
    /// are no fewer then, all: a night that goes on afterwards is summed up once more, and of the two its larger part counts.
    pub(super) fn add(&mut self, user: &UserId, interval: Interval, batch: &mut Batch) {
        if interval.length_ms() > INTERVAL_MAX_MS {
            return;
        }
        self.of_users.entry(user.clone()).or_default().push(interval);
        self.held += 1;
        if self.held > HELD_MAX {
            self.close(batch, true);
            if self.held > HELD_MAX / 2 {
                self.close(batch, false);
            }
        }
    }

    /// Sums up what is left.
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        self.close(batch, false);
    }

    fn close(&mut self, batch: &mut Batch, keeps_latest: bool) {
        let mut users: Vec<(UserId, Vec<Interval>)> = self.of_users.drain().collect();
        users.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.held = 0;
        for (user, mut intervals) in users {
            intervals.sort_by(Interval::order);
            let mut nights = split(&intervals);
            let latest = if keeps_latest { nights.pop() } else { None };
            nights.into_iter().for_each(|night| Night::of(night).push(&user, batch));
            if let Some(latest) = latest {
                self.held += latest.len();
                self.of_users.insert(user, latest.to_vec());
            }
        }
    }
}

/// Sorted intervals, by night.
fn split(intervals: &[Interval]) -> Vec<&[Interval]> {
    let (mut nights, mut from) = (Vec::new(), 0);
    let mut until = intervals.first().map_or(Timestamp::default(), |first| first.end);
    for (place, interval) in intervals.iter().enumerate() {
        if interval.start.ms_since(until) > GAP_MAX_MS {
            nights.push(&intervals[from..place]);
            from = place;
        }
        until = until.max(interval.end);
    }
    if from < intervals.len() {
        nights.push(&intervals[from..]);
    }
    nights
}

/// How long a night was spent in each state.
#[derive(Debug)]
struct Night {
    /// How much was told of it, by all devices together: whoever tells the same and something more tells more.
    told_ms: i64,
    /// Noon of the first day to noon of this one, in days since 1970.
    day: i64,
    start: Timestamp,
    end: Timestamp,
    utc_offset: Option<UtcOffset>,
    in_bed_ms: i64,
    /// By the code of the state.
    in_state_ms: [i64; 6],
    /// The states of which anybody told, by their codes: one that another device leaves no time is told as none.
    is_told: [bool; 6],
}

impl Night {
    /// Sums up intervals, sorted and at least one.
    fn of(intervals: &[Interval]) -> Self {
        let ranks = rank(intervals);
        // Where an interval begins and ends, with the rank of its device.
        let mut bounds: Vec<(i64, bool, Option<usize>, State)> = Vec::with_capacity(intervals.len() * 2);
        for interval in intervals {
            let in_bed = interval.state == State::InBed;
            let device = (!in_bed).then(|| ranks.get(&interval.source).copied().unwrap_or_default());
            bounds.push((interval.start.as_ms(), true, device, interval.state));
            bounds.push((interval.end.as_ms(), false, device, interval.state));
        }
        bounds.sort_unstable_by_key(|(at, ..)| *at);

        let (mut in_bed_ms, mut in_state_ms) = (0, [0; 6]);
        let (mut beds, mut active) = (0_usize, BTreeMap::<(usize, u8, u8), usize>::new());
        let mut since = intervals[0].start.as_ms();
        for (at, begins, device, state) in bounds {
            let length = at - since;
            since = at;
            in_bed_ms += if beds > 0 { length } else { 0 };
            if let Some(((_, _, code), _)) = active.first_key_value() {
                in_state_ms[usize::from(*code)] += length;
            }
            match (device, begins) {
                (None, true) => beds += 1,
                (None, false) => beds -= 1,
                (Some(rank), begins) => {
                    let key = (rank, vagueness(state), state as u8);
                    let count = active.entry(key).or_default();
                    *count = if begins { *count + 1 } else { count.saturating_sub(1) };
                    if *count == 0 {
                        active.remove(&key);
                    }
                }
            }
        }
        let asleep = || intervals.iter().filter(|interval| interval.state != State::InBed);
        let told = |of: &dyn Fn(&Interval) -> Timestamp, pick: fn(Timestamp, Timestamp) -> Timestamp| {
            let all = || intervals.iter().map(of).reduce(pick);
            asleep().map(of).reduce(pick).or_else(all).unwrap_or_default()
        };
        let utc_offset = intervals.iter().find_map(|interval| interval.utc_offset);
        let offset_ms = i64::from(utc_offset.map_or(0, UtcOffset::minutes)) * MS_PER_MINUTE;
        let facts = asleep().map(|one| ((one.start, one.end, one.state, &one.source), one.length_ms()));
        Self {
            told_ms: facts.collect::<BTreeMap<_, _>>().into_values().sum(),
            day: (intervals[0].start.as_ms() + offset_ms + MS_PER_DAY / 2).div_euclid(MS_PER_DAY),
            start: told(&|interval| interval.start, Timestamp::min),
            end: told(&|interval| interval.end, Timestamp::max),
            utc_offset,
            in_bed_ms,
            in_state_ms,
            is_told: State::ALL.map(|state| intervals.iter().any(|interval| interval.state == state)),
        }
    }

    fn push(&self, user: &UserId, batch: &mut Batch) {
        let in_state = |state: State| self.in_state_ms[state as usize];
        let total_ms = STAGES.map(in_state).iter().sum::<i64>() + in_state(State::Asleep);
        let is_told = |states: &[State]| states.iter().any(|state| self.is_told[*state as usize]);
        let is_staged = is_told(&STAGES);
        // In the order of `SUMS`.
        let sums = [
            (total_ms, is_staged || is_told(&[State::Asleep])),
            (in_state(State::Deep), is_staged),
            (in_state(State::Light), is_staged),
            (in_state(State::Rem), is_staged),
            (in_state(State::Awake), is_staged || is_told(&[State::Awake])),
            (self.in_bed_ms, is_told(&[State::InBed])),
        ];
        let times = [self.start, self.end].map(Timestamp::as_ms);
        let offset = self.utc_offset.map_or(i64::MIN, |offset| offset.minutes().into());
        let rest = self.in_state_ms.iter().chain(&times).chain([&offset]);
        let version = version(&[(self.told_ms, TOLD_BITS), (self.in_bed_ms, SUM_BITS)], rest);
        for (metric, (ms, is_told)) in SUMS.into_iter().zip(sums) {
            let Some(minutes) = metric.accept(ms as f64 / MS_PER_MINUTE as f64).ok().filter(|_| is_told)
            else {
                continue;
            };
            let mut reading = Reading::new(metric, minutes, self.end, CONFIDENCE);
            reading.source = Some(SOURCE.into());
            reading.utc_offset = self.utc_offset;
            if self.start < self.end {
                (reading.start, reading.end) = (Some(self.start), Some(self.end));
            }
            let identity = Identity::of(&[
                b"healthkit",
                user.as_str().as_bytes(),
                b"night",
                &self.day.to_be_bytes(),
                metric.name().as_bytes(),
            ]);
            batch.push(user, sleep::KIND, ReadingFact { identity, version, reading });
        }
    }
}

/// The version of a night: of two the one with the larger first sum is newer, then that with the larger second one … Each
/// takes so many bits, in seconds. What is left tells others apart by all that they say, so that the order of arrival decides
/// nothing.
pub(super) fn version<'a>(sums: &[(i64, u32)], rest: impl Iterator<Item = &'a i64>) -> Version {
    let (mut version, mut left) = (0, i64::BITS - 1);
    for &(ms, bits) in sums {
        version = (version << bits) | (ms / MS_PER_SECOND).clamp(0, (1 << bits) - 1);
        left -= bits;
    }
    let mix =
        |mixed: u64, said: &i64| (mixed ^ *said as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let rest = (rest.fold(0, mix) & ((1 << left) - 1)) as i64;
    Version::Given((version << left) | rest)
}

/// Within one device, asleep in general gives way to anything that says more.
const fn vagueness(state: State) -> u8 {
    matches!(state, State::Asleep) as u8
}

/// The devices of a night, the one that counts first.
fn rank(intervals: &[Interval]) -> HashMap<Option<Arc<str>>, usize> {
    struct Device {
        has_stages: bool,
        confidence: f64,
        asleep_ms: i64,
    }
    let mut devices: BTreeMap<Option<Arc<str>>, Device> = BTreeMap::new();
    for interval in intervals.iter().filter(|interval| interval.state != State::InBed) {
        let device = devices.entry(interval.source.clone()).or_insert(Device {
            has_stages: false,
            confidence: 0.0,
            asleep_ms: 0,
        });
        device.has_stages |= STAGES.contains(&interval.state);
        device.confidence = device.confidence.max(interval.confidence);
        device.asleep_ms += if interval.state == State::Awake { 0 } else { interval.length_ms() };
    }
    let mut ranked: Vec<_> = devices.into_iter().collect();
    // Stable: of equals the first by name stays first.
    ranked.sort_by(|(_, one), (_, other)| {
        (other.has_stages.cmp(&one.has_stages))
            .then(other.confidence.total_cmp(&one.confidence))
            .then(other.asleep_ms.cmp(&one.asleep_ms))
    });
    ranked.into_iter().enumerate().map(|(rank, (source, _))| (source, rank)).collect()
}
