//! The local days on which a column's marked samples lie at one hour of the day, or on one weekday.

use std::ops::{BitOrAssign, Range};

use crate::domain::time::{MS_PER_DAY, MS_PER_HOUR, MS_PER_MINUTE, Timestamp, UtcOffset};

use super::{Column, Form, Row, Table, of_any_form};

/// Of so many samples for each offset from UTC all are looked at; among more, those are searched that may count.
const SCANNED_MAX: usize = 128;

/// A time as a wall clock shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct LocalTime {
    /// Days since the epoch.
    day: i64,
    /// Hour of the day.
    hour: i64,
}

impl LocalTime {
    fn at_ms(at_ms: i64, offset_minutes: i16) -> Self {
        let local_ms = at_ms.saturating_add(i64::from(offset_minutes) * MS_PER_MINUTE);
        Self { day: local_ms.div_euclid(MS_PER_DAY), hour: local_ms.rem_euclid(MS_PER_DAY) / MS_PER_HOUR }
    }
}

/// What comes again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::cognition) enum Recurring {
    HourOfDay,
    Weekday,
}

/// One hour of the day, or one weekday, as it has come again up to a moment.
#[derive(Debug, Clone, Copy)]
pub(in crate::cognition) struct Slot {
    what: Recurring,
    at_ms: i64,
    now: LocalTime,
}

impl Slot {
    /// The hour or the weekday of `at` on a clock with this offset.
    pub(in crate::cognition) fn of(what: Recurring, at: Timestamp, offset: UtcOffset) -> Self {
        let at_ms = at.as_ms();
        Self { what, at_ms, now: LocalTime::at_ms(at_ms, offset.minutes() as i16) }
    }

    fn has(&self, local: LocalTime) -> bool {
        match self.what {
            Recurring::HourOfDay => local.hour == self.now.hour,
            Recurring::Weekday => local.day.rem_euclid(7) == self.now.day.rem_euclid(7),
        }
    }

    /// How long it lasts, and after how long it comes again.
    const fn width_and_period_ms(&self) -> (i64, i64) {
        match self.what {
            Recurring::HourOfDay => (MS_PER_HOUR, MS_PER_DAY),
            Recurring::Weekday => (MS_PER_DAY, 7 * MS_PER_DAY),
        }
    }

    /// When it began last, on a clock that is ahead of UTC by `ahead_ms`.
    fn newest_start_ms(&self, ahead_ms: i64) -> i64 {
        let hour = if self.what == Recurring::HourOfDay { self.now.hour } else { 0 };
        let a_start_ms = self.now.day * MS_PER_DAY + hour * MS_PER_HOUR - ahead_ms;
        self.at_ms - (self.at_ms - a_start_ms).rem_euclid(self.width_and_period_ms().1)
    }
}

/// A set of local days of the weeks before a moment, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::cognition) struct LocalDays(u128);

impl LocalDays {
    /// The bit of the moment's own day. Clocks elsewhere may show a day or two later.
    const OWN_DAY: i64 = 8;

    fn add(&mut self, day: i64, slot: &Slot) {
        let bit = u32::try_from(slot.now.day - day + Self::OWN_DAY).ok();
        self.0 |= bit.and_then(|bit| 1_u128.checked_shl(bit)).unwrap_or_default();
    }

    pub(in crate::cognition) fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl BitOrAssign for LocalDays {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl Column {
    /// The different local days of those marked samples of `places` that lie in the slot by their own offset. They are
    /// of the weeks before the slot's moment.
    pub(in crate::cognition) fn marked_days(&self, places: Range<usize>, slot: &Slot) -> LocalDays {
        of_any_form!(&self.0, table => {
            if places.len() <= SCANNED_MAX * table.frame.offsets.len().max(1) || matches!(self.0, Form::Plain(_)) {
                table.scan(places, slot)
            } else {
                table.search(places, slot)
            }
        })
    }
}

impl<R: Row> Table<R> {
    pub(super) fn scan(&self, places: Range<usize>, slot: &Slot) -> LocalDays {
        let mut days = LocalDays::default();
        for row in self.rows[places].iter().filter(|row| row.is_marked()) {
            let local = LocalTime::at_ms(row.at_ms(&self.frame), row.offset_minutes(&self.frame));
            if slot.has(local) {
                days.add(local.day, slot);
            }
        }
        days
    }

    /// The same from slot to slot, back in time. There is one, and all offsets are in the frame.
    pub(super) fn search(&self, places: Range<usize>, slot: &Slot) -> LocalDays {
        let mut days = LocalDays::default();
        let (width_ms, period_ms) = slot.width_and_period_ms();
        // At most one an hour; the slot need not begin with one.
        let rows_max = (width_ms / MS_PER_HOUR) as usize + 1;
        for offset in &self.frame.offsets {
            let ahead_ms = i64::from(*offset) * MS_PER_MINUTE;
            let mut start_ms = slot.newest_start_ms(ahead_ms);
            let mut day = (start_ms + ahead_ms).div_euclid(MS_PER_DAY);
            let mut end = places.end;
            while end > places.start {
                let start = self.count_before(start_ms, end).max(places.start);
                let counts = |row: &R| {
                    row.is_marked()
                        && row.at_ms(&self.frame) < start_ms + width_ms
                        && row.offset_minutes(&self.frame) == *offset
                };
                if self.rows[start..end.min(start + rows_max)].iter().any(counts) {
                    days.add(day, slot);
                }
                end = start;
                start_ms -= period_ms;
                day -= period_ms / MS_PER_DAY;
            }
        }
        days
    }
}
