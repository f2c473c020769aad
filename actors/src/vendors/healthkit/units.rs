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
    Fraction,
    /// Of the body, in degrees Celsius.
    Temperature,
    /// Of the skin, in degrees Celsius; a small one is a deviation from what is usual.
    WristTemperature,
    /// In pieces.
    Count,
    /// In kilocalories.
    Energy,
    /// In metres.
    Length,
    /// In minutes.
    Duration,
    /// Hours in which something was so, in minutes.
    Hours,
    /// In kilograms.
    Mass,
    /// In kilograms per square metre.
    MassIndex,
    /// In milligrams per decilitre.
    Glucose,
    /// In millimetres of mercury.
    Pressure,
    /// In millilitres per kilogram and minute.
    OxygenUptake,
}

/// From a value in some unit to the canonical one.
type Convert = fn(f64) -> f64;

const SAME: Convert = |value| value;
const PER_SECOND: Convert = |value| value * 60.0;
// A true 1 % does not occur in a living body.
const PERCENT: Convert = |value| if value <= 1.0 { value * 100.0 } else { value };
const FAHRENHEIT: Convert = |value| (value - 32.0) / 1.8;
const KELVIN: Convert = |value| value - 273.15;
const HOURS: Convert = |hours| hours * 60.0;
const MMOL: Convert = |mmol| mmol * 18.0156;
const WRIST_CELSIUS: Convert = |value| value;
const WRIST_FAHRENHEIT: Convert =
    |value| if Quantity::is_deviation(value) { value / 1.8 } else { FAHRENHEIT(value) };
const WRIST_KELVIN: Convert = |value| if Quantity::is_deviation(value) { value } else { KELVIN(value) };

/// Above this a temperature without a unit must be Fahrenheit: nobody lives at 45 °C, nor at 45 °F.
const CELSIUS_MAX: f64 = 45.0;

/// Below this a wrist's temperature is a deviation: nobody's skin is that cold.
const DEVIATION_BELOW: f64 = 10.0;

type Units = &'static [(&'static str, Convert)];

const PER_MINUTE_OF_HEART: Units =
    &[("count/min", SAME), ("bpm", SAME), ("BPM", SAME), ("beats/min", SAME), ("count/s", PER_SECOND)];
const PER_MINUTE_OF_BREATH: Units = &[("count/min", SAME), ("breaths/min", SAME), ("count/s", PER_SECOND)];
const DEGREES: Units = &[
    ("degC", SAME),
    ("°C", SAME),
    ("ºC", SAME),
    ("C", SAME),
    ("degF", FAHRENHEIT),
    ("°F", FAHRENHEIT),
    ("ºF", FAHRENHEIT),
    ("F", FAHRENHEIT),
    ("K", KELVIN),
];
const WRIST_DEGREES: Units = &[
    ("degC", WRIST_CELSIUS),
    ("°C", WRIST_CELSIUS),
    ("ºC", WRIST_CELSIUS),
    ("C", WRIST_CELSIUS),
    ("degF", WRIST_FAHRENHEIT),
    ("°F", WRIST_FAHRENHEIT),
    ("ºF", WRIST_FAHRENHEIT),
    ("F", WRIST_FAHRENHEIT),
    ("K", WRIST_KELVIN),
];
const ENERGIES: Units = &[
    ("kcal", SAME),
    ("Cal", SAME),
    ("kJ", |kj| kj / 4.184),
    ("J", |j| j / 4184.0),
    ("cal", |cal| cal / 1000.0),
];
const LENGTHS: Units = &[
    ("m", SAME),
    ("km", |km| km * 1000.0),
    ("cm", |cm| cm / 100.0),
    ("mi", |mi| mi * 1609.344),
    ("ft", |ft| ft * 0.3048),
    ("yd", |yd| yd * 0.9144),
    ("in", |inches| inches * 0.0254),
    ("mm", |mm| mm / 1000.0),
];
const DURATIONS: Units = &[
    ("min", SAME),
    ("s", |s| s / 60.0),
    ("sec", |s| s / 60.0),
    ("hr", HOURS),
    ("h", HOURS),
    ("ms", |ms| ms / 60_000.0),
];
const MASSES: Units = &[
    ("kg", SAME),
    ("lb", |lb| lb * 0.453_592_37),
    ("lbs", |lb| lb * 0.453_592_37),
    ("g", |g| g / 1000.0),
    ("st", |st| st * 6.350_293_18),
    ("oz", |oz| oz * 0.028_349_523_125),
];
const UPTAKES: Units = &[
    ("ml/kg*min", SAME),
    ("mL/kg*min", SAME),
    ("mL/min·kg", SAME),
    ("ml/min·kg", SAME),
    ("ml/(kg*min)", SAME),
    ("mL/(kg*min)", SAME),
    ("ml/(kg·min)", SAME),
    ("mL/(kg·min)", SAME),
    ("ml/kg·min", SAME),
    ("mL/kg·min", SAME),
    ("ml/(min*kg)", SAME),
    ("ml/min*kg", SAME),
    ("ml/kg/min", SAME),
    ("mL/kg/min", SAME),
    ("ml/min/kg", SAME),
    ("mL/min/kg", SAME),
];

const fn units(quantity: Quantity) -> Units {
    match quantity {
        Quantity::HeartRate => PER_MINUTE_OF_HEART,
        Quantity::BreathingRate => PER_MINUTE_OF_BREATH,
        Quantity::Interval => &[("ms", SAME), ("s", |s| s * 1000.0)],
        Quantity::Fraction => &[("%", PERCENT), ("percent", PERCENT)],
        Quantity::Temperature => DEGREES,
        Quantity::WristTemperature => WRIST_DEGREES,
        Quantity::Count => &[("count", SAME), ("steps", SAME)],
        Quantity::Energy => ENERGIES,
        Quantity::Length => LENGTHS,
        Quantity::Duration => DURATIONS,
        Quantity::Hours => &[("count", HOURS), ("hr", HOURS), ("h", HOURS), ("min", SAME)],
        Quantity::Mass => MASSES,
        Quantity::MassIndex => &[("count", SAME), ("kg/m2", SAME), ("kg/m^2", SAME), ("kg/m²", SAME)],
        Quantity::Glucose => &[("mg/dL", SAME), ("mg/dl", SAME), ("mmol/L", MMOL), ("mmol/l", MMOL)],
        Quantity::Pressure => &[("mmHg", SAME), ("kPa", |kpa| kpa * 7.50062)],
        Quantity::OxygenUptake => UPTAKES,
    }
}

impl Quantity {
    /// `value` in the canonical unit; `None` if `unit` is not one of this quantity's. A missing (or empty) unit is
    /// the canonical one.
    pub(super) fn convert(self, value: f64, unit: Option<&str>) -> Option<f64> {
        let convert = match unit.map(str::trim).filter(|unit| !unit.is_empty()) {
            Some(unit) => self.conversion(unit)?,
            None => match self {
                Self::Fraction => PERCENT,
                Self::Temperature | Self::WristTemperature if value > CELSIUS_MAX => FAHRENHEIT,
                Self::Hours => HOURS,
                _ => SAME,
            },
        };
        Some(without_float_noise(convert(value)))
    }

    fn conversion(self, unit: &str) -> Option<Convert> {
        let listed = units(self).iter().find(|(name, _)| *name == unit).map(|(_, convert)| *convert);
        // HealthKit writes glucose's molar mass into its unit: `mmol<180.1558800000541>/L`.
        let is_molar = || self == Self::Glucose && unit.starts_with("mmol<") && unit.ends_with(">/L");
        listed.or_else(|| is_molar().then_some(MMOL))
    }

    /// Whether a wrist's temperature, in any unit, tells by how much it differs from what is usual.
    pub(super) fn is_deviation(value: f64) -> bool {
        value.abs() < DEVIATION_BELOW
    }

    /// The accepted units, for the sentence that refuses another.
    pub(super) fn unit_names(self) -> impl Iterator<Item = &'static str> {
        units(self).iter().map(|(name, _)| *name)
    }
}
