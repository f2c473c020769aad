//! Decimal arithmetic without floating-point noise.
//!
//! Readings and thresholds are decimals. As billionths in integers, `drop × 100 > percentage × baseline` is right
//! at its boundary too, also for a baseline that is a mean of thousandths.

use std::cmp::Ordering;

use super::held::Input;
use super::thresholds::DefaultBaselines;

const NANO_PER_UNIT: f64 = 1e9;
const NANO_PER_MILLI: i64 = 1_000_000;
/// A million units: far beyond every reading that a row compares, and small enough for products in 128 bits.
const NANO_MAX: f64 = 1e15;

/// How many samples make a baseline the user's own.
pub(super) const OWN_SAMPLES_MIN: u32 = 5;

/// `value` in billionths; exact for decimals of up to nine places.
pub(super) fn nano(value: f64) -> i128 {
    // Within 64 bits, which are quicker to make.
    i128::from((value * NANO_PER_UNIT).round().clamp(-NANO_MAX, NANO_MAX) as i64)
}

/// `value` in thousandths, half away from zero, as samples are kept.
pub(super) fn milli(value: f64) -> i32 {
    // In billionths first: 0.0005 is not a binary fraction, and its half must not depend on that.
    let (nano, half) = (nano(value), i128::from(NANO_PER_MILLI) / 2);
    ((nano + half * nano.signum()) / i128::from(NANO_PER_MILLI)) as i32
}

/// A sample of thousandths in billionths.
pub(super) fn nano_of_milli(milli: i32) -> i128 {
    i128::from(milli) * i128::from(NANO_PER_MILLI)
}

/// A confidence as it is compared and published: without the noise of the last binary digits.
pub(super) fn confidence(value: f64) -> f64 {
    (value * NANO_PER_UNIT).round() / NANO_PER_UNIT
}

/// What is usual for a user: a mean of samples, or the file's default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Baseline {
    /// Sum of what the mean is taken of, in billionths.
    total: i128,
    /// How many values the sum is of; at least 1.
    count: i128,
    /// How many samples there were, whether or not they were enough.
    pub(super) samples: u32,
}

impl Baseline {
    /// The mean of `samples` values that sum up to `sum_milli` thousandths, or the default if they are too few.
    pub(super) fn of(sum_milli: i64, samples: u32, input: Input, defaults: &DefaultBaselines) -> Self {
        if samples >= OWN_SAMPLES_MIN {
            let total = i128::from(sum_milli) * i128::from(NANO_PER_MILLI);
            Self { total, count: i128::from(samples), samples }
        } else {
            Self { total: nano(defaults.of(input)), count: 1, samples }
        }
    }

    /// It comes from the user's own samples, not from the file.
    pub(super) fn is_own(&self) -> bool {
        self.samples >= OWN_SAMPLES_MIN
    }

    /// The mean, to compute with.
    pub(super) fn value(&self) -> f64 {
        self.total as f64 / self.count as f64 / NANO_PER_UNIT
    }

    /// The mean in thousandths, to be shown.
    pub(super) fn rounded(&self) -> f64 {
        f64::from(milli(self.value())) / 1e3
    }

    /// Orders baseline − `value_nano` against `share_percent` % of `limit`.
    pub(super) fn drop_against(&self, value_nano: i128, limit: f64, share_percent: i128) -> Ordering {
        (self.scaled_drop(value_nano) * 100).cmp(&(share_percent * self.count * nano(limit)))
    }

    /// Orders (baseline − `value_nano`) × 100 against `share_percent` % of `percentage` × baseline.
    pub(super) fn relative_drop_against(
        &self,
        value_nano: i128,
        percentage: f64,
        share_percent: i128,
    ) -> Ordering {
        let drop = self.scaled_drop(value_nano) * 100 * 100 * nano(1.0);
        drop.cmp(&(share_percent * nano(percentage) * self.total))
    }

    /// Orders baseline × `percent` % against `value_nano`.
    pub(super) fn share_against(&self, percent: i128, value_nano: i128) -> Ordering {
        (self.total * percent).cmp(&(value_nano * self.count * 100))
    }

    fn scaled_drop(&self, value_nano: i128) -> i128 {
        self.total - self.count * value_nano
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_round_half_away_from_zero() {
        for (value, expected) in
            [(45.0, 45_000), (0.0005, 1), (-0.0005, -1), (1.0004, 1_000), (1.0005, 1_001), (64.4995, 64_500)]
        {
            assert_eq!(milli(value), expected, "{value}");
        }
    }

    #[test]
    fn every_thousandth_of_a_reading_is_exact() {
        for milli_value in 0..=400_000_i32 {
            let value = f64::from(milli_value) / 1e3;
            assert_eq!(nano(value), nano_of_milli(milli_value));
            assert_eq!(milli(value), milli_value);
        }
    }
}
