//! One sample per metric, method and UTC clock hour: what baselines and patterns are made of.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::event::HrvMethod;
use crate::domain::time::{MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, Timestamp, UtcOffset};

use super::exact::{Baseline, milli, nano_of_milli};
use super::held::Input;
use super::pack::{BitReader, BitWriter, Point, read_points, write_points};
use super::thresholds::DefaultBaselines;

/// A baseline looks at this many clock hours before the reading's own.
const BASELINE_HOURS: i64 = 168;
/// A sample of a pattern of the hour lies this far under its own baseline.
const PATTERN_DROP_MS: f64 = 15.0;
/// A sample of a pattern of the weekday is under this score.
const PATTERN_RECOVERY_BELOW: i32 = 50_000;
const HOUR_PATTERN_MS: i64 = 30 * MS_PER_DAY;
const WEEKDAY_PATTERN_MS: i64 = 56 * MS_PER_DAY;
/// Vectors grow by this many samples: a population of short histories must not pay for doubling.
const GROWTH: usize = 8;

/// How many days of samples a row can ask for; 0 for a metric without baseline.
const fn kept_days(input: Input) -> i64 {
    match input {
        Input::Hrv => 38,
        Input::HeartRate => 9,
        Input::StressLevel => 0,
        Input::RecoveryScore => 57,
    }
}

/// A time as the user's wall clock shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LocalTime {
    /// Days since the epoch.
    pub(super) day: i64,
    /// Hour of the day.
    pub(super) hour: i64,
}

impl LocalTime {
    pub(super) fn of(at: Timestamp, offset: UtcOffset) -> Self {
        Self::at_ms(at.as_ms(), offset.minutes() as i16)
    }

    fn at_ms(at_ms: i64, offset_minutes: i16) -> Self {
        let local_ms = at_ms.saturating_add(i64::from(offset_minutes) * MS_PER_MINUTE);
        Self { day: local_ms.div_euclid(MS_PER_DAY), hour: local_ms.rem_euclid(MS_PER_DAY) / MS_PER_HOUR }
    }

    fn weekday(self) -> i64 {
        self.day.rem_euclid(7)
    }
}

/// On how many local days the user's past looked like a habit (row 3).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct PatternDays {
    /// Days on which the heart rate variability was low at this hour.
    pub(super) hour: usize,
    /// Days like this weekday on which the recovery was poor.
    pub(super) weekday: usize,
}

/// An hour's newest reading.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    at_ms: i64,
    milli: i32,
    offset_minutes: i16,
}

impl Sample {
    fn clock_hour(&self) -> i64 {
        self.at_ms.div_euclid(MS_PER_HOUR)
    }

    fn local(&self) -> LocalTime {
        LocalTime::at_ms(self.at_ms, self.offset_minutes)
    }
}

/// The samples of one metric and method, ascending, at most one per clock hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Series {
    input: Input,
    method: Option<HrvMethod>,
    #[serde(with = "packed")]
    samples: Vec<Sample>,
}

impl Series {
    fn insert(&mut self, sample: Sample) {
        let hour = sample.clock_hour();
        let place = match self.samples.last() {
            Some(last) if last.clock_hour() >= hour => {
                self.samples.partition_point(|other| other.clock_hour() < hour)
            }
            _ => self.samples.len(),
        };
        match self.samples.get_mut(place) {
            Some(same) if same.clock_hour() == hour => {
                if sample.at_ms >= same.at_ms {
                    *same = sample;
                }
            }
            _ => {
                if self.samples.len() == self.samples.capacity() {
                    self.samples.reserve_exact(GROWTH);
                }
                self.samples.insert(place, sample);
                // Without a live event nothing ages: the hours that a row could ask for at once are the bound.
                if self.samples.len() as i64 > kept_days(self.input) * 24 {
                    self.samples.remove(0);
                }
            }
        }
    }

    fn forget_before(&mut self, newest_live: Timestamp) {
        let horizon_ms = newest_live.plus_ms(-kept_days(self.input) * MS_PER_DAY).as_ms();
        if self.samples.first().is_some_and(|first| first.at_ms < horizon_ms) {
            self.samples.drain(..self.samples.partition_point(|sample| sample.at_ms < horizon_ms));
        }
    }

    fn baseline(&self, clock_hour: i64, defaults: &DefaultBaselines) -> Baseline {
        let start_ms = clock_hour.saturating_sub(BASELINE_HOURS).saturating_mul(MS_PER_HOUR);
        let end_ms = clock_hour.saturating_mul(MS_PER_HOUR);
        let end = self.samples.partition_point(|sample| sample.at_ms < end_ms);
        let week = self.samples[..end].iter().rev().take_while(|sample| sample.at_ms >= start_ms);
        let (sum_milli, count) =
            week.fold((0, 0), |(sum, count), sample| (sum + i64::from(sample.milli), count + 1));
        Baseline::of(sum_milli, count, self.input, defaults)
    }

    /// The samples less than `span_ms` before `at`, and not after it.
    fn within(&self, at: Timestamp, span_ms: i64) -> &[Sample] {
        let start = self.samples.partition_point(|sample| sample.at_ms <= at.plus_ms(-span_ms).as_ms());
        let end = self.samples.partition_point(|sample| sample.at_ms <= at.as_ms());
        &self.samples[start..end.max(start)]
    }
}

/// All samples of a user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Samples(Vec<Series>);

impl Samples {
    /// Whether every series is of a metric that has one, no longer than it may be, and ascends by the hour.
    pub(super) fn are_sound(&self) -> bool {
        self.0.iter().all(|series| {
            series.samples.len() as i64 <= kept_days(series.input) * 24
                && series.samples.is_sorted_by(|before, after| before.clock_hour() < after.clock_hour())
                && series
                    .samples
                    .iter()
                    .all(|sample| UtcOffset::from_minutes(i32::from(sample.offset_minutes)).is_some())
        })
    }

    /// Keeps a reading as its hour's sample, unless a newer one of that hour is known.
    pub(super) fn insert(
        &mut self,
        input: Input,
        method: Option<HrvMethod>,
        at: Timestamp,
        value: f64,
        offset: UtcOffset,
    ) {
        if kept_days(input) == 0 {
            return;
        }
        let sample =
            Sample { at_ms: at.as_ms(), milli: milli(value), offset_minutes: offset.minutes() as i16 };
        match self.0.iter_mut().find(|series| series.input == input && series.method == method) {
            Some(series) => series.insert(sample),
            None => {
                self.0.reserve_exact(1);
                self.0.push(Series { input, method, samples: vec![sample] });
            }
        }
    }

    /// Forgets what no decision at `newest_live` or later can ask for.
    pub(super) fn forget_before(&mut self, newest_live: Timestamp) {
        self.0.iter_mut().for_each(|series| series.forget_before(newest_live));
        self.0.retain(|series| !series.samples.is_empty());
    }

    /// What was usual for `input` and `method` in the week before the clock hour of `at`.
    pub(super) fn baseline(
        &self,
        input: Input,
        method: Option<HrvMethod>,
        at: Timestamp,
        defaults: &DefaultBaselines,
    ) -> Baseline {
        let clock_hour = at.as_ms().div_euclid(MS_PER_HOUR);
        self.0.iter().find(|series| series.input == input && series.method == method).map_or_else(
            || Baseline::of(0, 0, input, defaults),
            |series| series.baseline(clock_hour, defaults),
        )
    }

    /// How many past local days make `at` a low hour or a poor weekday, where the user's offset is `offset`.
    pub(super) fn pattern_days(
        &self,
        at: Timestamp,
        offset: UtcOffset,
        defaults: &DefaultBaselines,
    ) -> PatternDays {
        let now = LocalTime::of(at, offset);
        let (mut low_days, mut poor_days) = (BTreeSet::new(), BTreeSet::new());
        for series in &self.0 {
            match series.input {
                Input::Hrv => low_days.extend(
                    series
                        .within(at, HOUR_PATTERN_MS)
                        .iter()
                        .filter(|sample| sample.local().hour == now.hour)
                        .filter(|sample| {
                            let baseline = series.baseline(sample.clock_hour(), defaults);
                            baseline.is_own()
                                && baseline
                                    .drop_against(nano_of_milli(sample.milli), PATTERN_DROP_MS, 100)
                                    .is_ge()
                        })
                        .map(|sample| sample.local().day),
                ),
                Input::RecoveryScore => poor_days.extend(
                    series
                        .within(at, WEEKDAY_PATTERN_MS)
                        .iter()
                        .filter(|sample| sample.milli < PATTERN_RECOVERY_BELOW)
                        .map(Sample::local)
                        .filter(|local| local.weekday() == now.weekday())
                        .map(|local| local.day),
                ),
                Input::HeartRate | Input::StressLevel => {}
            }
        }
        PatternDays { hour: low_days.len(), weekday: poor_days.len() }
    }
}

/// Samples as packed points, and their offsets as runs.
mod packed {
    use super::*;

    pub(super) fn serialize<S: Serializer>(samples: &[Sample], serializer: S) -> Result<S::Ok, S::Error> {
        let points: Vec<Point> =
            samples.iter().map(|sample| Point { at_ms: sample.at_ms, milli: sample.milli }).collect();
        let mut out = BitWriter::default();
        write_points(&mut out, &points);
        for run in samples.chunk_by(|before, after| before.offset_minutes == after.offset_minutes) {
            out.push_gamma(run.len() as u64);
            out.push_signed(i64::from(run[0].offset_minutes));
        }
        serializer.serialize_bytes(&out.into_bytes())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Sample>, D::Error> {
        read(<&[u8]>::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("the samples are damaged"))
    }

    fn read(bytes: &[u8]) -> Option<Vec<Sample>> {
        let mut bits = BitReader::new(bytes);
        let points = read_points(&mut bits)?;
        let mut samples = Vec::with_capacity(points.len());
        let mut run_left = 0;
        let mut offset_minutes = 0;
        for Point { at_ms, milli } in points {
            if run_left == 0 {
                run_left = bits.take_gamma()?;
                offset_minutes = i16::try_from(bits.take_signed()?).ok()?;
            }
            run_left = run_left.checked_sub(1)?;
            samples.push(Sample { at_ms, milli, offset_minutes });
        }
        Some(samples)
    }
}
