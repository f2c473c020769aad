//! Samples as they lie in memory: six or eight bytes each, so that a hundred thousand users with a month of hours behind
//! them fit.
//!
//! Six bytes hold times to the second and values that are, in the coarsest of four units, below 65,536; eight bytes times
//! to the millisecond and thousandths up to 8,388 units. What fits into neither, as no plausible user's samples do, makes
//! the whole column a plain list.

use std::ops::Range;

use crate::domain::time::{MS_PER_HOUR, MS_PER_SECOND};

/// A row has 12 bits for the hours since the column's first possible one, and 5 for a place in its list of offsets.
const HOURS: i64 = 1 << 12;
const OFFSETS_MAX: usize = 1 << 5;
/// In thousandths.
const UNITS_MILLI: [i32; 4] = [1_000, 100, 10, 1];
/// Hours for which no product with an hour's milliseconds overflows.
const HOUR_MOST: i64 = i64::MAX / MS_PER_HOUR / 4;
/// Vectors grow by this many samples: a population of short histories must not pay for doubling.
const GROWTH: usize = 8;

/// An hour's newest reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) at_ms: i64,
    pub(super) milli: i32,
    pub(super) offset_minutes: i16,
}

impl Sample {
    pub(super) fn clock_hour(&self) -> i64 {
        self.at_ms.div_euclid(MS_PER_HOUR)
    }
}

/// What the rows of a column have in common.
#[derive(Debug, Clone)]
struct Frame {
    first_hour: i64,
    unit_milli: i32,
    offsets: Vec<i16>,
}

impl Frame {
    /// One into which these fit, if any does, with as much room before them as after them.
    fn of(samples: &[(Sample, bool)]) -> Self {
        let ends = samples.first().zip(samples.last());
        let (first, last) = ends.map_or((0, 0), |(first, last)| (first.0.clock_hour(), last.0.clock_hour()));
        let divides_all = |unit: &&i32| samples.iter().all(|(sample, _)| sample.milli % **unit == 0);
        Self {
            first_hour: first - (HOURS - (last - first)) / 2,
            unit_milli: UNITS_MILLI.iter().find(divides_all).copied().unwrap_or(1),
            offsets: Vec::new(),
        }
    }

    /// The hour of a sample by this frame, and the place of its offset, which may come into the list by it.
    fn place(&mut self, sample: &Sample) -> Option<(u64, u64)> {
        let hour = sample.clock_hour();
        let after = hour.checked_sub(self.first_hour).filter(|after| (0..HOURS).contains(after))?;
        if hour.saturating_abs() > HOUR_MOST {
            return None;
        }
        let known = self.offsets.iter().position(|offset| *offset == sample.offset_minutes);
        let offset = match known {
            Some(offset) => offset,
            None if self.offsets.len() < OFFSETS_MAX => {
                self.offsets.reserve_exact(1);
                self.offsets.push(sample.offset_minutes);
                self.offsets.len() - 1
            }
            None => return None,
        };
        Some((after as u64, offset as u64))
    }

    fn at_ms(&self, after: u64, within_ms: i64) -> i64 {
        (self.first_hour + after as i64) * MS_PER_HOUR + within_ms
    }

    fn offset(&self, place: u64) -> i16 {
        self.offsets.get(place as usize).copied().unwrap_or_default()
    }
}

/// A sample with its mark, in as many bytes as it takes.
trait Row: Copy {
    /// Unmarked; `None` if the sample does not fit.
    fn pack(sample: &Sample, frame: &mut Frame) -> Option<Self>;
    fn at_ms(&self, frame: &Frame) -> i64;
    fn milli(&self, frame: &Frame) -> i64;
    fn offset_minutes(&self, frame: &Frame) -> i16;
    fn is_marked(&self) -> bool;
    fn mark(&mut self, is_marked: bool);
}

/// From the lowest bit of a time on: 12 of seconds within the hour, 12 of hours, 5 of an offset's place, the mark.
#[derive(Debug, Clone, Copy)]
struct Narrow {
    time: [u16; 2],
    value: u16,
}

impl Narrow {
    const HOUR_SHIFT: u32 = 12;
    const OFFSET_SHIFT: u32 = 24;
    const MARK: u16 = 1 << 13;

    fn time(self) -> u64 {
        u64::from(self.time[0]) | u64::from(self.time[1]) << 16
    }
}

impl Row for Narrow {
    fn pack(sample: &Sample, frame: &mut Frame) -> Option<Self> {
        let within_ms = sample.at_ms.rem_euclid(MS_PER_HOUR);
        if within_ms % MS_PER_SECOND != 0 || sample.milli % frame.unit_milli != 0 {
            return None;
        }
        let value = u16::try_from(sample.milli / frame.unit_milli).ok()?;
        let (after, offset) = frame.place(sample)?;
        let seconds = (within_ms / MS_PER_SECOND) as u64;
        let time = seconds | after << Self::HOUR_SHIFT | offset << Self::OFFSET_SHIFT;
        Some(Self { time: [time as u16, (time >> 16) as u16], value })
    }

    fn at_ms(&self, frame: &Frame) -> i64 {
        let time = self.time();
        let within_ms = (time % (1 << Self::HOUR_SHIFT)) as i64 * MS_PER_SECOND;
        frame.at_ms(time >> Self::HOUR_SHIFT & (HOURS as u64 - 1), within_ms)
    }

    fn milli(&self, frame: &Frame) -> i64 {
        i64::from(self.value) * i64::from(frame.unit_milli)
    }

    fn offset_minutes(&self, frame: &Frame) -> i16 {
        frame.offset((self.time() >> Self::OFFSET_SHIFT) % OFFSETS_MAX as u64)
    }

    fn is_marked(&self) -> bool {
        self.time[1] & Self::MARK != 0
    }

    fn mark(&mut self, is_marked: bool) {
        self.time[1] = self.time[1] & !Self::MARK | if is_marked { Self::MARK } else { 0 };
    }
}

/// From the lowest bit on: 22 of milliseconds within the hour, 12 of hours, 5 of an offset's place, the mark, and 24 of
/// thousandths from the least one on.
#[derive(Debug, Clone, Copy)]
struct Wide(u64);

impl Wide {
    const HOUR_SHIFT: u32 = 22;
    const OFFSET_SHIFT: u32 = 34;
    const MARK: u64 = 1 << 39;
    const MILLI_SHIFT: u32 = 40;
    const MILLI_LEAST: i64 = -(1 << 23);
    const MILLI_MOST: i64 = (1 << 23) - 1;
}

impl Row for Wide {
    fn pack(sample: &Sample, frame: &mut Frame) -> Option<Self> {
        let milli = Some(i64::from(sample.milli));
        let milli = milli.filter(|milli| (Self::MILLI_LEAST..=Self::MILLI_MOST).contains(milli))?;
        let (after, offset) = frame.place(sample)?;
        let within = sample.at_ms.rem_euclid(MS_PER_HOUR) as u64;
        let value = (milli - Self::MILLI_LEAST) as u64;
        let time = within | after << Self::HOUR_SHIFT | offset << Self::OFFSET_SHIFT;
        Some(Self(time | value << Self::MILLI_SHIFT))
    }

    fn at_ms(&self, frame: &Frame) -> i64 {
        let within_ms = (self.0 % (1 << Self::HOUR_SHIFT)) as i64;
        frame.at_ms(self.0 >> Self::HOUR_SHIFT & (HOURS as u64 - 1), within_ms)
    }

    fn milli(&self, _: &Frame) -> i64 {
        (self.0 >> Self::MILLI_SHIFT) as i64 + Self::MILLI_LEAST
    }

    fn offset_minutes(&self, frame: &Frame) -> i16 {
        frame.offset((self.0 >> Self::OFFSET_SHIFT) % OFFSETS_MAX as u64)
    }

    fn is_marked(&self) -> bool {
        self.0 & Self::MARK != 0
    }

    fn mark(&mut self, is_marked: bool) {
        self.0 = self.0 & !Self::MARK | if is_marked { Self::MARK } else { 0 };
    }
}

/// As it is.
impl Row for (Sample, bool) {
    fn pack(sample: &Sample, _: &mut Frame) -> Option<Self> {
        Some((*sample, false))
    }

    fn at_ms(&self, _: &Frame) -> i64 {
        self.0.at_ms
    }

    fn milli(&self, _: &Frame) -> i64 {
        i64::from(self.0.milli)
    }

    fn offset_minutes(&self, _: &Frame) -> i16 {
        self.0.offset_minutes
    }

    fn is_marked(&self) -> bool {
        self.1
    }

    fn mark(&mut self, is_marked: bool) {
        self.1 = is_marked;
    }
}

#[derive(Debug, Clone)]
struct Table<R> {
    frame: Frame,
    rows: Vec<R>,
}

impl<R: Row> Table<R> {
    fn of(samples: &[(Sample, bool)]) -> Option<Self> {
        let (mut frame, mut rows) = (Frame::of(samples), Vec::with_capacity(samples.len()));
        for (sample, is_marked) in samples {
            let mut row = R::pack(sample, &mut frame)?;
            row.mark(*is_marked);
            rows.push(row);
        }
        Some(Self { frame, rows })
    }

    fn get(&self, place: usize) -> Option<Sample> {
        let (row, frame) = (self.rows.get(place)?, &self.frame);
        let (at_ms, milli) = (row.at_ms(frame), row.milli(frame) as i32);
        Some(Sample { at_ms, milli, offset_minutes: row.offset_minutes(frame) })
    }

    fn insert(&mut self, place: usize, sample: &Sample) -> bool {
        let Some(row) = R::pack(sample, &mut self.frame) else { return false };
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact(GROWTH);
        }
        self.rows.insert(place, row);
        true
    }
}

/// Samples that ascend, at most one per clock hour, each with a mark that is no part of its value.
#[derive(Debug, Clone)]
pub(super) struct Column(Form);

#[derive(Debug, Clone)]
enum Form {
    Narrow(Table<Narrow>),
    Wide(Table<Wide>),
    Plain(Table<(Sample, bool)>),
}

/// The same of whatever form it has.
macro_rules! of_any_form {
    ($form:expr, $table:ident => $what:expr) => {
        match $form {
            Form::Narrow($table) => $what,
            Form::Wide($table) => $what,
            Form::Plain($table) => $what,
        }
    };
}

impl Column {
    /// A column of these, unmarked.
    pub(super) fn of(samples: impl IntoIterator<Item = Sample>) -> Self {
        Self::packed(&samples.into_iter().map(|sample| (sample, false)).collect::<Vec<_>>())
    }

    fn packed(samples: &[(Sample, bool)]) -> Self {
        let narrow = || Table::of(samples).map(Form::Narrow);
        let wide = || Table::of(samples).map(Form::Wide);
        let plain = || Form::Plain(Table { frame: Frame::of(&[]), rows: samples.to_vec() });
        Self(narrow().or_else(wide).unwrap_or_else(plain))
    }

    pub(super) fn len(&self) -> usize {
        of_any_form!(&self.0, table => table.rows.len())
    }

    pub(super) fn get(&self, place: usize) -> Option<Sample> {
        of_any_form!(&self.0, table => table.get(place))
    }

    pub(super) fn first(&self) -> Option<Sample> {
        self.get(0)
    }

    pub(super) fn last(&self) -> Option<Sample> {
        self.get(self.len().checked_sub(1)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Sample> + Clone + '_ {
        (0..self.len()).filter_map(|place| self.get(place))
    }

    /// How many samples come first for whose times this holds.
    pub(super) fn count_before(&self, is_before: impl Fn(i64) -> bool) -> usize {
        of_any_form!(&self.0, table => table.rows.partition_point(|row| is_before(row.at_ms(&table.frame))))
    }

    /// The sum of the values at these places, which exist.
    pub(super) fn sum_milli(&self, places: Range<usize>) -> i64 {
        of_any_form!(&self.0, table => table.rows[places].iter().map(|row| row.milli(&table.frame)).sum())
    }

    /// Puts a sample before the one at `place`, unmarked.
    pub(super) fn insert(&mut self, place: usize, sample: Sample) {
        if !of_any_form!(&mut self.0, table => table.insert(place, &sample)) {
            let mut samples = self.with_marks();
            samples.insert(place, (sample, false));
            *self = Self::packed(&samples);
        }
    }

    /// Puts a sample in the place of another, unmarked.
    pub(super) fn replace(&mut self, place: usize, sample: Sample) {
        self.remove(place..place + 1);
        self.insert(place, sample);
    }

    pub(super) fn remove(&mut self, places: Range<usize>) {
        of_any_form!(&mut self.0, table => drop(table.rows.drain(places)));
    }

    /// Marks the sample at `place`, or takes the mark away.
    pub(super) fn mark(&mut self, place: usize, is_marked: bool) {
        of_any_form!(&mut self.0, table => {
            if let Some(row) = table.rows.get_mut(place) {
                row.mark(is_marked);
            }
        });
    }

    /// The places among these that are marked.
    pub(super) fn marked_among(&self, places: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        places.filter(|place| of_any_form!(&self.0, table => table.rows[*place].is_marked()))
    }

    fn with_marks(&self) -> Vec<(Sample, bool)> {
        let is_marked = |place: usize| of_any_form!(&self.0, table => table.rows[place].is_marked());
        self.iter().enumerate().map(|(place, sample)| (sample, is_marked(place))).collect()
    }
}

/// By the samples alone: how they lie, and what is marked, follows from their past.
impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

#[cfg(test)]
#[path = "column_tests.rs"]
mod tests;
