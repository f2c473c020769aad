//! The rows of a column, each in as few bytes as it may be.

use crate::domain::time::{MS_PER_HOUR, MS_PER_SECOND};

use super::Sample;

/// A row has 12 bits for the hours since the column's first possible one, and 5 for a place in its list of offsets.
const HOURS: i64 = 1 << 12;
const OFFSETS_MAX: usize = 1 << 5;
/// In thousandths.
const UNITS_MILLI: [i32; 4] = [1_000, 100, 10, 1];
/// Hours for which no product with an hour's milliseconds overflows.
const HOUR_MOST: i64 = i64::MAX / MS_PER_HOUR / 4;
/// What the rows of a column have in common.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    first_hour: i64,
    unit_milli: i32,
    pub(super) offsets: Vec<i16>,
}

impl Frame {
    /// One into which these fit, if any does, with as much room before them as after them.
    pub(super) fn of(samples: &[(Sample, bool)]) -> Self {
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

    /// The hour that comes so many after the first.
    fn clock_hour(&self, after: u64) -> i64 {
        self.first_hour + (after & (HOURS as u64 - 1)) as i64
    }

    fn offset(&self, place: u64) -> i16 {
        self.offsets.get(place as usize).copied().unwrap_or_default()
    }
}

/// A sample with its mark, in as many bytes as it takes.
pub(super) trait Row: Copy {
    /// Unmarked; `None` if the sample does not fit.
    fn pack(sample: &Sample, frame: &mut Frame) -> Option<Self>;
    fn at_ms(&self, frame: &Frame) -> i64;
    fn clock_hour(&self, frame: &Frame) -> i64;
    fn milli(&self, frame: &Frame) -> i64;
    fn offset_minutes(&self, frame: &Frame) -> i16;
    fn is_marked(&self) -> bool;
    fn mark(&mut self, is_marked: bool);

    fn sum_milli(rows: &[Self], frame: &Frame) -> i64 {
        rows.iter().map(|row| row.milli(frame)).sum()
    }
}

/// From the lowest bit of a time on: 12 of seconds within the hour, 12 of hours, 5 of an offset's place, the mark.
#[derive(Debug, Clone, Copy)]
pub(super) struct Narrow {
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
        let within_ms = (self.time() % (1 << Self::HOUR_SHIFT)) as i64 * MS_PER_SECOND;
        self.clock_hour(frame) * MS_PER_HOUR + within_ms
    }

    fn clock_hour(&self, frame: &Frame) -> i64 {
        frame.clock_hour(self.time() >> Self::HOUR_SHIFT)
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

    /// Every decision asks for it, of a week.
    fn sum_milli(rows: &[Self], frame: &Frame) -> i64 {
        let sum: u32 = rows.iter().map(|row| u32::from(row.value)).sum();
        i64::from(sum) * i64::from(frame.unit_milli)
    }
}

/// From the lowest bit on: 22 of milliseconds within the hour, 12 of hours, 5 of an offset's place, the mark, and 24 of
/// thousandths from the least one on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wide(u64);

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
        self.clock_hour(frame) * MS_PER_HOUR + within_ms
    }

    fn clock_hour(&self, frame: &Frame) -> i64 {
        frame.clock_hour(self.0 >> Self::HOUR_SHIFT)
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

    fn clock_hour(&self, _: &Frame) -> i64 {
        self.0.clock_hour()
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
