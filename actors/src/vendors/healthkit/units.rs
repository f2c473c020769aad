//! Units of HealthKit's quantities, and the factors between them (vendors.md §4a, §17).
//!
//! A unit is spelled exactly: `Cal` is a thousand `cal`. One that is not listed is refused by name, never guessed.

use crate::vendors::numbers::without_float_noise;

/// What a quantity measures: it decides which units it may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// In beats per minute.
    HeartRate,
    /// In breaths per minute.
    BreathingRate,
    /// In milliseconds.
    Interval,
    /// In percent. HealthKit's own `%` goes from 0 to 1, and many apps send 0 to 100.
    Saturation,
    /// In degrees Celsius.
    Temperature,
    /// In pieces.
    Count,
    /// In kilocalories.
    Energy,
    /// In metres.
    Length,
}

/// From a value in some unit to the canonical one.
type Convert = fn(f64) -> f64;

const SAME: Convert = |value| value;
const PER_SECOND: Convert = |value| value * 60.0;
// A true 1 % does not occur in a living body.
const PERCENT: Convert = |value| if value <= 1.0 { value * 100.0 } else { value };
const FAHRENHEIT: Convert = |value| (value - 32.0) / 1.8;

/// Above this a body temperature without a unit must be Fahrenheit: nobody lives at 45 °C, nor at 45 °F.
const CELSIUS_MAX: f64 = 45.0;

const fn units(quantity: Quantity) -> &'static [(&'static str, Convert)] {
    match quantity {
        Quantity::HeartRate => {
            &[("count/min", SAME), ("bpm", SAME), ("BPM", SAME), ("beats/min", SAME), ("count/s", PER_SECOND)]
        }
        Quantity::BreathingRate => &[("count/min", SAME), ("breaths/min", SAME), ("count/s", PER_SECOND)],
        Quantity::Interval => &[("ms", SAME), ("s", |s| s * 1000.0)],
        Quantity::Saturation => &[("%", PERCENT), ("percent", PERCENT)],
        Quantity::Temperature => &[
            ("degC", SAME),
            ("°C", SAME),
            ("C", SAME),
            ("degF", FAHRENHEIT),
            ("°F", FAHRENHEIT),
            ("F", FAHRENHEIT),
            ("K", |kelvin| kelvin - 273.15),
        ],
        Quantity::Count => &[("count", SAME), ("steps", SAME)],
        Quantity::Energy => &[
            ("kcal", SAME),
            ("Cal", SAME),
            ("kJ", |kj| kj / 4.184),
            ("J", |j| j / 4184.0),
            ("cal", |cal| cal / 1000.0),
        ],
        Quantity::Length => &[
            ("m", SAME),
            ("km", |km| km * 1000.0),
            ("cm", |cm| cm / 100.0),
            ("mi", |mi| mi * 1609.344),
            ("ft", |ft| ft * 0.3048),
            ("yd", |yd| yd * 0.9144),
        ],
    }
}

impl Quantity {
    /// `value` in the canonical unit; `None` if `unit` is not one of this quantity's. A missing (or empty) unit is
    /// the canonical one.
    pub(super) fn convert(self, value: f64, unit: Option<&str>) -> Option<f64> {
        let convert = match unit.map(str::trim).filter(|unit| !unit.is_empty()) {
            Some(unit) => units(self).iter().find(|(name, _)| *name == unit)?.1,
            None => match self {
                Self::Saturation => PERCENT,
                Self::Temperature if value > CELSIUS_MAX => FAHRENHEIT,
                _ => SAME,
            },
        };
        Some(without_float_noise(convert(value)))
    }

    /// The accepted units, for the sentence that refuses another.
    pub(super) fn unit_names(self) -> impl Iterator<Item = &'static str> {
        units(self).iter().map(|(name, _)| *name)
    }
}
