//! Samples as they lie in memory: eight bytes each, so that a hundred thousand users with a month of hours behind them fit.
//!
//! Bits of a row, from the lowest: 22 of milliseconds within the hour, 12 of hours since the column's first possible one,
//! 5 for a place in the column's list of offsets, 1 mark, 24 of thousandths. Times so lie in order. What does not fit, as
//! no plausible user's samples do, makes the whole column a plain list.

use crate::domain::time::MS_PER_HOUR;

const HOUR_SHIFT: u32 = 22;
const OFFSET_SHIFT: u32 = 34;
const MARK: u64 = 1 << 39;
const MILLI_SHIFT: u32 = 40;
const HOURS: i64 = 1 << 12;
const OFFSETS_MAX: usize = 1 << 5;
/// Thousandths are written from this one on, so that none is negative.
const MILLI_LEAST: i64 = -(1 << 23);
const MILLI_MOST: i64 = (1 << 23) - 1;
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

/// Samples that ascend, at most one per clock hour, each with a mark that is no part of its value.
#[derive(Debug, Clone)]
pub(super) struct Column(Rows);

#[derive(Debug, Clone)]
enum Rows {
    Packed { first_hour: i64, offsets: Vec<i16>, rows: Vec<u64> },
    Plain(Vec<(Sample, bool)>),
}

impl Column {
    /// A column of these, unmarked.
    pub(super) fn of(samples: impl IntoIterator<Item = Sample>) -> Self {
        Self::packed(samples.into_iter().map(|sample| (sample, false)).collect())
    }

    fn packed(samples: Vec<(Sample, bool)>) -> Self {
        let hours = samples.first().zip(samples.last());
        let (first, last) = hours.map_or((0, 0), |(first, last)| (first.0.clock_hour(), last.0.clock_hour()));
        // In the middle: there is room on both sides before all must be written anew.
        let first_hour = first - (HOURS - (last - first)) / 2;
        let mut offsets = Vec::new();
        let rows = samples.iter().map(|(sample, is_marked)| {
            Some(pack(*sample, first_hour, &mut offsets)? | if *is_marked { MARK } else { 0 })
        });
        match rows.collect::<Option<Vec<u64>>>() {
            Some(mut rows) => {
                rows.shrink_to_fit();
                Self(Rows::Packed { first_hour, offsets, rows })
            }
            None => Self(Rows::Plain(samples)),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Rows::Packed { rows, .. } => rows.len(),
            Rows::Plain(samples) => samples.len(),
        }
    }

    pub(super) fn get(&self, place: usize) -> Option<Sample> {
        match &self.0 {
            Rows::Packed { first_hour, offsets, rows } => {
                Some(unpack(*rows.get(place)?, *first_hour, offsets))
            }
            Rows::Plain(samples) => samples.get(place).map(|(sample, _)| *sample),
        }
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
        match &self.0 {
            Rows::Packed { first_hour, rows, .. } => {
                rows.partition_point(|row| is_before(at_ms(*row, *first_hour)))
            }
            Rows::Plain(samples) => samples.partition_point(|(sample, _)| is_before(sample.at_ms)),
        }
    }

    /// The sum of the values at these places, which exist.
    pub(super) fn sum_milli(&self, places: std::ops::Range<usize>) -> i64 {
        let count = places.len() as i64;
        match &self.0 {
            Rows::Packed { rows, .. } => {
                let sum: u64 = rows[places].iter().map(|row| row >> MILLI_SHIFT).sum();
                sum as i64 + count * MILLI_LEAST
            }
            Rows::Plain(samples) => samples[places].iter().map(|(sample, _)| i64::from(sample.milli)).sum(),
        }
    }

    /// Puts a sample before the one at `place`, unmarked.
    pub(super) fn insert(&mut self, place: usize, sample: Sample) {
        match &mut self.0 {
            Rows::Packed { first_hour, offsets, rows } => match pack(sample, *first_hour, offsets) {
                Some(row) => {
                    if rows.len() == rows.capacity() {
                        rows.reserve_exact(GROWTH);
                    }
                    rows.insert(place, row);
                }
                None => {
                    let mut samples = self.marked();
                    samples.insert(place, (sample, false));
                    *self = Self::packed(samples);
                }
            },
            Rows::Plain(samples) => samples.insert(place, (sample, false)),
        }
    }

    /// Puts a sample in the place of another.
    pub(super) fn replace(&mut self, place: usize, sample: Sample) {
        self.remove(place..place + 1);
        self.insert(place, sample);
    }

    pub(super) fn remove(&mut self, places: std::ops::Range<usize>) {
        match &mut self.0 {
            Rows::Packed { rows, .. } => drop(rows.drain(places)),
            Rows::Plain(samples) => drop(samples.drain(places)),
        }
    }

    /// Marks the sample at `place`, or takes the mark away.
    pub(super) fn mark(&mut self, place: usize, is_marked: bool) {
        match &mut self.0 {
            Rows::Packed { rows, .. } => {
                if let Some(row) = rows.get_mut(place) {
                    *row = *row & !MARK | if is_marked { MARK } else { 0 };
                }
            }
            Rows::Plain(samples) => {
                if let Some((_, mark)) = samples.get_mut(place) {
                    *mark = is_marked;
                }
            }
        }
    }

    /// The places among these that are marked.
    pub(super) fn marked_among(&self, places: std::ops::Range<usize>) -> impl Iterator<Item = usize> + '_ {
        places.filter(|place| match &self.0 {
            Rows::Packed { rows, .. } => rows[*place] & MARK != 0,
            Rows::Plain(samples) => samples[*place].1,
        })
    }

    fn marked(&self) -> Vec<(Sample, bool)> {
        let is_marked = |place| self.marked_among(place..place + 1).next().is_some();
        self.iter().enumerate().map(|(place, sample)| (sample, is_marked(place))).collect()
    }
}

/// By the samples alone: how they lie, and what is marked, follows from their past.
impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

fn at_ms(row: u64, first_hour: i64) -> i64 {
    let hour = first_hour + (row >> HOUR_SHIFT & (HOURS as u64 - 1)) as i64;
    hour * MS_PER_HOUR + (row & ((1 << HOUR_SHIFT) - 1)) as i64
}

fn unpack(row: u64, first_hour: i64, offsets: &[i16]) -> Sample {
    let offset = (row >> OFFSET_SHIFT) as usize % OFFSETS_MAX;
    Sample {
        at_ms: at_ms(row, first_hour),
        milli: ((row >> MILLI_SHIFT) as i64 + MILLI_LEAST) as i32,
        offset_minutes: offsets.get(offset).copied().unwrap_or_default(),
    }
}

/// The row of an unmarked sample, whose offset may come into the list by it; `None` if it does not fit.
fn pack(sample: Sample, first_hour: i64, offsets: &mut Vec<i16>) -> Option<u64> {
    let hour = sample.clock_hour();
    let after = hour.checked_sub(first_hour).filter(|after| (0..HOURS).contains(after))?;
    let milli = i64::from(sample.milli);
    if hour.saturating_abs() > HOUR_MOST || !(MILLI_LEAST..=MILLI_MOST).contains(&milli) {
        return None;
    }
    let known = offsets.iter().position(|offset| *offset == sample.offset_minutes);
    let offset = match known {
        Some(offset) => offset,
        None if offsets.len() < OFFSETS_MAX => {
            offsets.reserve_exact(1);
            offsets.push(sample.offset_minutes);
            offsets.len() - 1
        }
        None => return None,
    };
    let within = sample.at_ms.rem_euclid(MS_PER_HOUR) as u64;
    let value = (milli - MILLI_LEAST) as u64;
    Some(within | (after as u64) << HOUR_SHIFT | (offset as u64) << OFFSET_SHIFT | value << MILLI_SHIFT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_sample() -> impl Strategy<Value = Sample> {
        let usual = (400_000_i64..401_500, 0..MS_PER_HOUR, 0..400_000, -18..18_i16);
        let any = (any::<i64>(), any::<i32>(), -1_080..=1_080_i16);
        prop_oneof![
            40 => usual.prop_map(|(hour, within, milli, offset)| Sample {
                at_ms: hour * MS_PER_HOUR + within,
                milli,
                offset_minutes: offset * 60,
            }),
            1 => any.prop_map(|(at_ms, milli, offset_minutes)| Sample { at_ms, milli, offset_minutes }),
        ]
    }

    proptest! {
        #[test]
        fn a_column_is_a_list(
            samples in prop::collection::vec(any_sample(), 1..60),
            removals in prop::collection::vec((0_usize..60, 0_usize..4), 0..20),
        ) {
            let (mut list, mut column): (Vec<(Sample, bool)>, _) = (Vec::new(), Column::of([]));
            let mut removals = removals.into_iter();
            for (number, sample) in samples.into_iter().enumerate() {
                let hour = sample.clock_hour();
                let place = list.partition_point(|(other, _)| other.clock_hour() < hour);
                prop_assert_eq!(column.count_before(|at| at.div_euclid(MS_PER_HOUR) < hour), place);
                if list.get(place).is_some_and(|(same, _)| same.clock_hour() == hour) {
                    list[place] = (sample, false);
                    column.replace(place, sample);
                } else {
                    list.insert(place, (sample, false));
                    column.insert(place, sample);
                }
                list[place].1 = number % 3 == 0;
                column.mark(place, number % 3 == 0);
                if number % 3 == 2 && let Some((from, count)) = removals.next() {
                    let from = from.min(list.len());
                    let places = from..(from + count).min(list.len());
                    list.drain(places.clone());
                    column.remove(places);
                }
                prop_assert!(column.marked() == list);
                let sum: i64 = list.iter().map(|(sample, _)| i64::from(sample.milli)).sum();
                prop_assert_eq!(column.sum_milli(0..column.len()), sum);
                prop_assert!(column == Column::of(list.iter().map(|(sample, _)| *sample)));
            }
            prop_assert_eq!((column.first(), column.last()), (
                list.first().map(|(sample, _)| *sample),
                list.last().map(|(sample, _)| *sample),
            ));
        }
    }

    #[test]
    fn a_month_of_hours_takes_eight_bytes_each_however_long_the_user_is_watched() {
        let mut column = Column::of([]);
        for hour in 0..20_000_i64 {
            let at_ms = hour * MS_PER_HOUR + hour * 7_919 % MS_PER_HOUR;
            column.insert(
                column.len(),
                Sample { at_ms, milli: 60_000, offset_minutes: (hour / 500 % 30) as i16 },
            );
            if column.len() > 912 {
                column.remove(0..1);
            }
            assert!(matches!(column.0, Rows::Packed { .. }), "after {hour} hours");
        }
        let Rows::Packed { rows, .. } = &column.0 else { return };
        assert!(rows.capacity() <= 912 + 2 * GROWTH, "{}", rows.capacity());
    }
}
