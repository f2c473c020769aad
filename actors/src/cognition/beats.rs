//! The last hour's heart rates, which tell whether one was sustained. Eight bytes each: somebody who trains has hundreds.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::time::MS_PER_MINUTE;

use super::pack::{BitReader, BitWriter, Point, read_points, write_points};

/// Of a minute with more heart rates only the first, the lowest and the last are kept.
const PER_MINUTE_MAX: usize = 3;
/// The vector grows by this many.
const GROWTH: usize = 8;

/// A heart rate.
#[derive(Debug, Clone, Copy)]
struct Beat {
    /// Since the first moment of all.
    after_ms: u32,
    milli: i32,
}

/// Heart rates, ascending in time.
#[derive(Debug, Clone, Default)]
pub(super) struct Beats {
    /// From this moment on times are counted.
    from_ms: i64,
    beats: Vec<Beat>,
}

impl Beats {
    fn at_ms(&self, beat: &Beat) -> i64 {
        self.from_ms + i64::from(beat.after_ms)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Point> + Clone + '_ {
        self.beats.iter().map(|beat| Point { at_ms: self.at_ms(beat), milli: beat.milli })
    }

    /// Keeps a heart rate, and drops those of before `horizon_ms`, which it is not.
    pub(super) fn keep(&mut self, beat: Point, horizon_ms: i64) {
        if !self.reach(beat.at_ms) {
            // Further apart than beats that are kept together.
            self.drop_before(horizon_ms);
            self.begin_with_first(beat.at_ms);
            if !self.reach(beat.at_ms) {
                return;
            }
        }
        let after_ms = (beat.at_ms - self.from_ms) as u32;
        let place = self.beats.partition_point(|other| other.after_ms <= after_ms);
        if self.beats.len() == self.beats.capacity() {
            self.beats.reserve_exact(GROWTH);
        }
        self.beats.insert(place, Beat { after_ms, milli: beat.milli });
        self.thin_out(beat.at_ms);
        self.drop_before(horizon_ms);
    }

    /// Drops one of the minute of `at_ms` that neither begins nor ends it and is not its lowest, if it has too many.
    fn thin_out(&mut self, at_ms: i64) {
        let minute = |at_ms: i64| at_ms.div_euclid(MS_PER_MINUTE);
        let wanted = minute(at_ms);
        let start = self.beats.partition_point(|other| minute(self.at_ms(other)) < wanted);
        let end = self.beats.partition_point(|other| minute(self.at_ms(other)) <= wanted);
        if end - start > PER_MINUTE_MAX {
            let spare = if self.beats[start + 1].milli > self.beats[start + 2].milli { 1 } else { 2 };
            self.beats.remove(start + spare);
        }
    }

    fn drop_before(&mut self, horizon_ms: i64) {
        if self.beats.first().is_some_and(|first| self.at_ms(first) < horizon_ms) {
            let stale = self.beats.partition_point(|other| self.at_ms(other) < horizon_ms);
            self.beats.drain(..stale);
        }
    }

    /// Counts from the first beat, or, without one, from `at_ms`.
    fn begin_with_first(&mut self, at_ms: i64) {
        let Some(first) = self.beats.first().copied() else {
            self.from_ms = at_ms;
            return;
        };
        self.from_ms += i64::from(first.after_ms);
        self.beats.iter_mut().for_each(|beat| beat.after_ms -= first.after_ms);
    }

    /// Whether a beat at `at_ms` can be kept with the others; makes room for it before them.
    fn reach(&mut self, at_ms: i64) -> bool {
        if at_ms >= self.from_ms {
            return at_ms.checked_sub(self.from_ms).is_some_and(|after| u32::try_from(after).is_ok());
        }
        let shift = self.from_ms.checked_sub(at_ms).and_then(|before| u32::try_from(before).ok());
        let Some(shift) = shift else { return false };
        if self.beats.last().is_some_and(|last| last.after_ms.checked_add(shift).is_none()) {
            return false;
        }
        self.beats.iter_mut().for_each(|beat| beat.after_ms += shift);
        self.from_ms = at_ms;
        true
    }

    fn of(points: &[Point]) -> Option<Self> {
        let Some(first) = points.first() else { return Some(Self::default()) };
        let beat = |point: &Point| {
            let after_ms = u32::try_from(point.at_ms.checked_sub(first.at_ms)?).ok()?;
            Some(Beat { after_ms, milli: point.milli })
        };
        let mut beats: Vec<Beat> = points.iter().map(beat).collect::<Option<_>>()?;
        beats.shrink_to_fit();
        Some(Self { from_ms: first.at_ms, beats })
    }

    /// Whether they ascend, which the search among them relies on.
    pub(super) fn are_sound(&self) -> bool {
        self.beats.is_sorted_by_key(|beat| beat.after_ms)
    }
}

/// By the beats alone, from whatever moment they are counted.
impl PartialEq for Beats {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// As packed points.
impl Serialize for Beats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let points: Vec<Point> = self.iter().collect();
        let mut out = BitWriter::default();
        write_points(&mut out, &points);
        serializer.serialize_bytes(&out.into_bytes())
    }
}

impl<'de> Deserialize<'de> for Beats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let points = read_points(&mut BitReader::new(<&[u8]>::deserialize(deserializer)?));
        points
            .and_then(|points| Self::of(&points))
            .ok_or_else(|| serde::de::Error::custom("the heart rates are damaged"))
    }
}
