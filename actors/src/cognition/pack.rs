//! Points in time and value as bits: what lets a month of hourly samples fit into a few kilobytes.
//!
//! Per series: the coarsest unit of time (minute, second, millisecond) and of value (1, 0.1, 0.01, 0.001) that
//! loses nothing, and the fewest bits that hold every point in these units. Hours are gaps from point to point in
//! Elias gamma code: one bit where every hour has its sample.

use crate::domain::time::MS_PER_HOUR;

/// One value at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Milliseconds since the epoch.
    pub(super) at_ms: i64,
    /// The value in thousandths.
    pub(super) milli: i32,
}

const TIME_UNITS_MS: [i64; 3] = [60_000, 1_000, 1];
const VALUE_UNITS_MILLI: [i64; 4] = [1_000, 100, 10, 1];

/// Writes bits, the first one lowest in its byte.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    used: u32,
}

impl BitWriter {
    /// The lowest `width` bits of `value`.
    pub(super) fn push(&mut self, mut value: u64, mut width: u32) {
        while width > 0 {
            let taken = self.used % 8;
            if taken == 0 {
                self.bytes.push(0);
            }
            let step = width.min(8 - taken);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (low_bits(value, step) as u8) << taken;
            }
            value >>= step;
            self.used += step;
            width -= step;
        }
    }

    /// A number in Elias gamma code; the smaller, the shorter.
    pub(super) fn push_gamma(&mut self, value: u64) {
        let value = value.saturating_add(1);
        let width = value.ilog2();
        self.push(0, width);
        self.push(1, 1);
        self.push(value, width);
    }

    /// A signed number in Elias gamma code.
    pub(super) fn push_signed(&mut self, value: i64) {
        self.push_gamma((value << 1 ^ value >> 63) as u64);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads what [`BitWriter`] wrote; `None` past the end.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    used: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, used: 0 }
    }

    pub(super) fn take(&mut self, width: u32) -> Option<u64> {
        let (mut value, mut got) = (0, 0);
        while got < width {
            let byte = u64::from(*self.bytes.get(self.used / 8)?);
            let taken = (self.used % 8) as u32;
            let step = (width - got).min(8 - taken);
            value |= low_bits(byte >> taken, step) << got;
            self.used += step as usize;
            got += step;
        }
        Some(value)
    }

    pub(super) fn take_gamma(&mut self) -> Option<u64> {
        let mut width = 0;
        while self.take(1)? == 0 {
            width += 1;
        }
        let highest = 1_u64.checked_shl(width)?;
        Some((highest | self.take(width)?) - 1)
    }

    pub(super) fn take_signed(&mut self) -> Option<i64> {
        let value = self.take_gamma()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

fn low_bits(value: u64, width: u32) -> u64 {
    value & ((1 << width) - 1)
}

fn bits_of(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// The place of the coarsest unit that divides all of `values`.
fn coarsest(units: &[i64], values: impl Iterator<Item = i64> + Clone) -> usize {
    units.iter().position(|unit| values.clone().all(|value| value % unit == 0)).unwrap_or(units.len() - 1)
}

/// Writes points that ascend in time.
pub(super) fn write_points(out: &mut BitWriter, points: &[Point]) {
    out.push_gamma(points.len() as u64);
    let Some(first) = points.first() else { return };
    let hours = || points.iter().map(|point| point.at_ms.div_euclid(MS_PER_HOUR));
    let within = || points.iter().map(|point| point.at_ms.rem_euclid(MS_PER_HOUR));
    let values = || points.iter().map(|point| i64::from(point.milli));

    let time_unit = coarsest(&TIME_UNITS_MS, within());
    let time_bits = bits_of((within().max().unwrap_or_default() / TIME_UNITS_MS[time_unit]) as u64);
    let value_unit = coarsest(&VALUE_UNITS_MILLI, values());
    let least = values().min().unwrap_or_default() / VALUE_UNITS_MILLI[value_unit];
    let most = values().max().unwrap_or_default() / VALUE_UNITS_MILLI[value_unit];
    let value_bits = bits_of((most - least) as u64);
    let gap_least =
        hours().zip(hours().skip(1)).map(|(before, after)| after - before).min().unwrap_or(0).min(1);

    out.push_signed(first.at_ms.div_euclid(MS_PER_HOUR));
    out.push(gap_least as u64, 1);
    out.push(time_unit as u64, 2);
    out.push(u64::from(time_bits), 6);
    out.push(value_unit as u64, 2);
    out.push_signed(least);
    out.push(u64::from(value_bits), 6);
    let mut hour_before = first.at_ms.div_euclid(MS_PER_HOUR) - gap_least;
    for point in points {
        let hour = point.at_ms.div_euclid(MS_PER_HOUR);
        out.push_gamma((hour - hour_before - gap_least) as u64);
        out.push((point.at_ms.rem_euclid(MS_PER_HOUR) / TIME_UNITS_MS[time_unit]) as u64, time_bits);
        out.push((i64::from(point.milli) / VALUE_UNITS_MILLI[value_unit] - least) as u64, value_bits);
        hour_before = hour;
    }
}

/// Reads what [`write_points`] wrote; `None` if it is damaged.
pub(super) fn read_points(bits: &mut BitReader<'_>) -> Option<Vec<Point>> {
    let len = bits.take_gamma()?;
    let mut points = Vec::new();
    if len == 0 {
        return Some(points);
    }
    let mut hour = bits.take_signed()?;
    let gap_least = bits.take(1)? as i64;
    let time_unit = TIME_UNITS_MS.get(bits.take(2)? as usize)?;
    let time_bits = bits.take(6)? as u32;
    let value_unit = VALUE_UNITS_MILLI.get(bits.take(2)? as usize)?;
    let least = bits.take_signed()?;
    let value_bits = bits.take(6)? as u32;
    hour = hour.checked_sub(gap_least)?;
    for _ in 0..len {
        hour = hour.checked_add_unsigned(bits.take_gamma()?)?.checked_add(gap_least)?;
        let within_ms = i64::try_from(bits.take(time_bits)?).ok()?.checked_mul(*time_unit)?;
        if within_ms >= MS_PER_HOUR {
            return None;
        }
        // Wrapping: the very first hour of all begins before the first millisecond of all.
        let at_ms = hour.wrapping_mul(MS_PER_HOUR).wrapping_add(within_ms);
        let value =
            i64::try_from(bits.take(value_bits)?).ok()?.checked_add(least)?.checked_mul(*value_unit)?;
        points.push(Point { at_ms, milli: i32::try_from(value).ok()? });
    }
    Some(points)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn points_come_back_as_they_were(
            mut times in prop::collection::vec(-9_000_000_000_000_i64..9_000_000_000_000, 0..50),
            milli in any::<[i32; 50]>(),
            coarse in 0_usize..3,
        ) {
            times.sort_unstable();
            let unit = TIME_UNITS_MS[coarse];
            let points: Vec<Point> = times
                .iter()
                .zip(milli)
                .map(|(at_ms, milli)| Point { at_ms: at_ms / unit * unit, milli })
                .collect();
            let mut out = BitWriter::default();
            write_points(&mut out, &points);
            let bytes = out.into_bytes();
            prop_assert_eq!(read_points(&mut BitReader::new(&bytes)).unwrap(), points);
        }

        #[test]
        fn numbers_come_back_as_they_were(value in any::<i64>(), shift in 0_u32..64) {
            let (number, gamma) = (value >> shift, ((value as u64) >> shift).min(u64::MAX - 1));
            let mut out = BitWriter::default();
            out.push_signed(number.max(i64::MIN + 1));
            out.push_gamma(gamma);
            let bytes = out.into_bytes();
            let mut bits = BitReader::new(&bytes);
            prop_assert_eq!(bits.take_signed(), Some(number.max(i64::MIN + 1)));
            prop_assert_eq!(bits.take_gamma(), Some(gamma));
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_but_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let points = read_points(&mut BitReader::new(&bytes)).unwrap_or_default();
            prop_assert!(points.len() <= bytes.len() * 8);
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_damage() {
        let bytes = [[0; 9], [0xff; 9], [0xff; 9]].concat();
        assert_eq!(BitReader::new(&bytes).take_gamma(), None);
    }

    #[test]
    fn an_hourly_value_to_the_second_takes_about_three_bytes() {
        let points: Vec<Point> = (0..912)
            .map(|hour| Point {
                at_ms: hour * MS_PER_HOUR + hour * 7_919 % 3_600 * 1_000,
                milli: 30_000 + (hour * 271 % 500) as i32 * 100,
            })
            .collect();
        let mut out = BitWriter::default();
        write_points(&mut out, &points);
        assert!(out.into_bytes().len() < 912 * 3, "1 bit of hour, 12 of second, 9 of value");
    }
}
