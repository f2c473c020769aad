//! One sample per metric, method and UTC clock hour: what baselines and patterns are made of.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::event::HrvMethod;
use crate::domain::time::{MS_PER_DAY, MS_PER_HOUR, Timestamp, UtcOffset};

use super::column::{Column, LocalDays, Recurring, Sample, Slot};
use super::exact::{Baseline, OWN_SAMPLES_MIN, milli};
use super::held::Input;
use super::pack::{BitReader, BitWriter, Point, read_points, write_points};
use super::thresholds::DefaultBaselines;

/// A baseline looks at this many clock hours before the reading's own.
const BASELINE_HOURS: i64 = 168;
/// A sample of a pattern of the hour lies so many thousandths of a millisecond under its own baseline.
const PATTERN_DROP_MILLI: i64 = 15_000;
/// A sample of a pattern of the weekday is under this score.
const PATTERN_RECOVERY_BELOW: i32 = 50_000;
const HOUR_PATTERN_MS: i64 = 30 * MS_PER_DAY;
const WEEKDAY_PATTERN_MS: i64 = 56 * MS_PER_DAY;

/// How many days of samples a row can ask for; 0 for a metric without baseline.
const fn kept_days(input: Input) -> i64 {
    match input {
        Input::Hrv => 38,
        Input::HeartRate => 9,
        Input::StressLevel => 0,
        Input::RecoveryScore => 57,
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

/// The samples of one metric and method, ascending, at most one per clock hour.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "StoredSeries")]
struct Series {
    input: Input,
    method: Option<HrvMethod>,
    /// Of heart rate variabilities those are marked that lie far under their own baseline, of recoveries the poor ones
    /// (row 3): to ask again at every decision would cost more than all the rest of it.
    samples: Column,
}

impl Series {
    fn new(input: Input, method: Option<HrvMethod>, samples: Column) -> Self {
        let mut series = Self { input, method, samples };
        if let Some(first) = series.samples.first() {
            series.mark_low(0, first.clock_hour(), i64::MAX);
        }
        (0..series.samples.len()).for_each(|place| series.mark_poor(place));
        series
    }

    fn insert(&mut self, sample: Sample) {
        let hour = sample.clock_hour();
        let place = match self.samples.last().map(|last| last.clock_hour()) {
            Some(last) if last == hour => self.samples.len() - 1,
            Some(last) if last > hour => self.samples.count_before(hour.saturating_mul(MS_PER_HOUR)),
            _ => self.samples.len(),
        };
        match self.samples.get(place).filter(|same| same.clock_hour() == hour) {
            Some(same) if sample.at_ms < same.at_ms => return,
            Some(_) => self.samples.replace(place, sample),
            None => self.samples.insert(place, sample),
        }
        self.mark_low(place, hour, hour.saturating_add(BASELINE_HOURS));
        self.mark_poor(place);
        // Without a live event nothing ages: the hours that a row could ask for at once are the bound.
        if self.samples.len() as i64 > kept_days(self.input) * 24
            && let Some(oldest) = self.samples.first().map(|oldest| oldest.clock_hour())
        {
            self.samples.remove(0..1);
            self.mark_low(0, oldest, oldest.saturating_add(BASELINE_HOURS));
        }
    }

    /// Marks anew the samples from `place` on up to the clock hour `until`: what one is worth depends on the week before.
    fn mark_low(&mut self, place: usize, from_hour: i64, until: i64) {
        if self.input != Input::Hrv {
            return;
        }
        let mut start = self.week_before(from_hour).start;
        let mut sum_milli = self.samples.sum_milli(start.min(place)..place);
        for place in place..self.samples.len() {
            let Some(sample) = self.samples.get(place).filter(|sample| sample.clock_hour() <= until) else {
                return;
            };
            let week_start = sample.clock_hour().saturating_sub(BASELINE_HOURS);
            while let Some(oldest) = self.samples.get(start).filter(|_| start < place)
                && oldest.clock_hour() < week_start
            {
                sum_milli -= i64::from(oldest.milli);
                start += 1;
            }
            let count = place.saturating_sub(start) as i64;
            let drop_milli = sum_milli - count * i64::from(sample.milli);
            let is_low = count >= i64::from(OWN_SAMPLES_MIN) && drop_milli >= count * PATTERN_DROP_MILLI;
            self.samples.mark(place, is_low);
            sum_milli += i64::from(sample.milli);
        }
    }

    /// Marks the recovery at `place` if it is poor.
    fn mark_poor(&mut self, place: usize) {
        if self.input == Input::RecoveryScore {
            let is_poor = self.samples.get(place).is_some_and(|sample| sample.milli < PATTERN_RECOVERY_BELOW);
            self.samples.mark(place, is_poor);
        }
    }

    fn forget_before(&mut self, newest_live: Timestamp) {
        let horizon_ms = newest_live.plus_ms(-kept_days(self.input) * MS_PER_DAY).as_ms();
        if self.samples.first().is_some_and(|first| first.at_ms < horizon_ms) {
            // Marks of what was less than a week younger stay as they are: no row asks for samples so old.
            self.samples.remove(0..self.samples.count_before(horizon_ms));
        }
    }

    /// The places of the samples in the clock hours before this one that make its baseline.
    fn week_before(&self, clock_hour: i64) -> std::ops::Range<usize> {
        let start_ms = clock_hour.saturating_sub(BASELINE_HOURS).saturating_mul(MS_PER_HOUR);
        let end_ms = clock_hour.saturating_mul(MS_PER_HOUR);
        let start = self.samples.count_before(start_ms);
        start..self.samples.count_before(end_ms).max(start)
    }

    fn baseline(&self, clock_hour: i64, defaults: &DefaultBaselines) -> Baseline {
        let week = self.week_before(clock_hour);
        let samples = week.len() as u32;
        Baseline::of(self.samples.sum_milli(week), samples, self.input, defaults)
    }

    /// The places of the samples less than `span_ms` before `at`, and not after it.
    fn within(&self, at: Timestamp, span_ms: i64) -> std::ops::Range<usize> {
        let count_until = |until: Timestamp| match until.as_ms().checked_add(1) {
            Some(after_ms) => self.samples.count_before(after_ms),
            None => self.samples.len(),
        };
        let start = count_until(at.plus_ms(-span_ms));
        start..count_until(at).max(start)
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
                && series
                    .samples
                    .iter()
                    .is_sorted_by(|before, after| before.clock_hour() < after.clock_hour())
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
                self.0.push(Series::new(input, method, Column::of([sample])));
            }
        }
    }

    /// Forgets what no decision at `newest_live` or later can ask for.
    pub(super) fn forget_before(&mut self, newest_live: Timestamp) {
        self.0.iter_mut().for_each(|series| series.forget_before(newest_live));
        self.0.retain(|series| series.samples.len() > 0);
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
    pub(super) fn pattern_days(&self, at: Timestamp, offset: UtcOffset) -> PatternDays {
        let (mut low_days, mut poor_days) = (LocalDays::default(), LocalDays::default());
        let hour = Slot::of(Recurring::HourOfDay, at, offset);
        let weekday = Slot::of(Recurring::Weekday, at, offset);
        for series in &self.0 {
            let marked_days = |span_ms, slot| series.samples.marked_days(series.within(at, span_ms), slot);
            match series.input {
                Input::Hrv => low_days |= marked_days(HOUR_PATTERN_MS, &hour),
                Input::RecoveryScore => poor_days |= marked_days(WEEKDAY_PATTERN_MS, &weekday),
                Input::HeartRate | Input::StressLevel => {}
            }
        }
        PatternDays { hour: low_days.len(), weekday: poor_days.len() }
    }
}

/// As it is stored.
#[derive(Serialize, Deserialize)]
struct StoredSeries {
    input: Input,
    method: Option<HrvMethod>,
    #[serde(with = "packed")]
    samples: Vec<Sample>,
}

impl From<StoredSeries> for Series {
    fn from(StoredSeries { input, method, samples }: StoredSeries) -> Self {
        Self::new(input, method, Column::of(samples))
    }
}

impl Serialize for Series {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { input, method, samples } = self;
        StoredSeries { input: *input, method: *method, samples: samples.iter().collect() }
            .serialize(serializer)
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
