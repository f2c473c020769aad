//! Samples as they lie in memory: six or eight bytes each, so that a hundred thousand users with a month of hours behind
//! them fit.
//!
//! Six bytes hold times to the second and values that are, in the coarsest of four units, below 65,536; eight bytes times
//! to the millisecond and thousandths up to 8,388 units. What fits into neither, as no plausible user's samples do, makes
//! the whole column a plain list.

use std::ops::Range;

use crate::domain::time::MS_PER_HOUR;

mod habits;
mod row;

pub(super) use habits::{LocalDays, Recurring, Slot};
use row::{Frame, Narrow, Row, Wide};

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

    /// How many of the first `end` rows are of before `at_ms`.
    fn count_before(&self, at_ms: i64, end: usize) -> usize {
        let (rows, frame, hour) = (&self.rows[..end], &self.frame, at_ms.div_euclid(MS_PER_HOUR));
        let Some(last_hour) = rows.last().map(|last| last.clock_hour(frame)).filter(|last| *last >= hour)
        else {
            return end;
        };
        // No hour has more than one, and usually each has one: then the place follows.
        let least = end.saturating_sub((last_hour - hour) as usize + 1);
        let is_of_an_hour_before = |row: &R| row.clock_hour(frame) < hour;
        let place = match is_of_an_hour_before(&rows[least]) {
            true => least + rows[least..].partition_point(is_of_an_hour_before),
            false => least,
        };
        let is_before = |row: &R| row.clock_hour(frame) == hour && row.at_ms(frame) < at_ms;
        place + usize::from(rows.get(place).is_some_and(is_before))
    }

    /// False if the sample does not fit: then nothing has changed.
    fn replace(&mut self, place: usize, sample: &Sample) -> bool {
        let row = R::pack(sample, &mut self.frame);
        let Some((old, new)) = self.rows.get_mut(place).zip(row) else { return false };
        *old = new;
        true
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
use of_any_form;

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

    /// How many samples are of before this moment.
    pub(super) fn count_before(&self, at_ms: i64) -> usize {
        of_any_form!(&self.0, table => table.count_before(at_ms, table.rows.len()))
    }

    /// The sum of the values at these places, which exist.
    pub(super) fn sum_milli(&self, places: Range<usize>) -> i64 {
        of_any_form!(&self.0, table => Row::sum_milli(&table.rows[places], &table.frame))
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
        if !of_any_form!(&mut self.0, table => table.replace(place, &sample)) {
            self.remove(place..place + 1);
            self.insert(place, sample);
        }
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
