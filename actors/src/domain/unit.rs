//! Units that senders use, and the way from each to the catalogue's (vendors.md §4a, §17): the one place where a factor
//! between two units stands.
//!
//! A unit is spelled exactly: `Cal` is a thousand `cal`. One that is not listed is refused by name, never guessed.

use std::fmt;

/// From a value in some unit to the value in the catalogue's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Conversion {
    /// It is the catalogue's unit.
    Same,
    /// Times a factor.
    Times(f64),
    /// Divided by a factor: what is exact in this form stays exact.
    Over(f64),
    /// Another zero, then a factor.
    Offset {
        /// Where the catalogue's unit has its zero.
        minus: f64,
        /// How many of these are one of the catalogue's.
        over: f64,
    },
    /// Senders mean a share by up to 1, and percents by more: a true 1 % does not occur in a living body.
    ShareOrPercent,
}

impl Conversion {
    /// Converts.
    pub fn apply(self, value: f64) -> f64 {
        let converted = match self {
            Self::Same => value,
            Self::Times(factor) => value * factor,
            Self::Over(factor) => value / factor,
            Self::Offset { minus, over } => (value - minus) / over,
            Self::ShareOrPercent if value <= 1.0 => value * 100.0,
            Self::ShareOrPercent => value,
        };
        without_float_noise(converted)
    }
}

impl fmt::Display for Conversion {
    /// As it goes after the unit's name; nothing for the catalogue's own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => Ok(()),
            Self::Times(factor) => write!(f, " × {factor}"),
            Self::Over(factor) => write!(f, " / {factor}"),
            Self::Offset { minus, over: 1.0 } => write!(f, " − {minus}"),
            Self::Offset { minus, over } => write!(f, " − {minus}, / {over}"),
            Self::ShareOrPercent => write!(f, ", up to 1 × 100"),
        }
    }
}

/// 0.57 × 100 is 56.99999999999999 in doubles: what differs from a decimal by less than a billionth is that decimal,
/// so that one fact in two units is one value.
pub fn without_float_noise(value: f64) -> f64 {
    let rounded = (value * 1e9).round() / 1e9;
    if rounded.is_finite() { rounded } else { value }
}

/// A unit, and how a value in it becomes one of the catalogue's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// Every way in which it is written; the first is how we write it.
    pub names: &'static [&'static str],
    /// To the unit of its dimension.
    pub conversion: Conversion,
}

const fn own(names: &'static [&'static str]) -> Unit {
    Unit { names, conversion: Conversion::Same }
}

const fn times(names: &'static [&'static str], factor: f64) -> Unit {
    Unit { names, conversion: Conversion::Times(factor) }
}

const fn over(names: &'static [&'static str], factor: f64) -> Unit {
    Unit { names, conversion: Conversion::Over(factor) }
}

const fn offset(names: &'static [&'static str], minus: f64, over: f64) -> Unit {
    Unit { names, conversion: Conversion::Offset { minus, over } }
}

/// Of a duration.
pub const HOUR: Unit = times(&["hr", "h"], 60.0);
/// Of a duration.
pub const SECOND: Unit = over(&["s", "sec"], 60.0);
/// Of a duration.
pub const MILLISECOND: Unit = over(&["ms"], 60_000.0);
/// Of an energy.
pub const KILOJOULE: Unit = over(&["kJ"], 4.184);
/// Of a length.
pub const CENTIMETER: Unit = over(&["cm"], 100.0);
/// Of a mass.
pub const GRAM: Unit = over(&["g"], 1000.0);
/// Of a percentage, where senders are not of one mind about what 1 is.
pub const PERCENT: Unit = Unit { names: &["%", "percent"], conversion: Conversion::ShareOrPercent };
/// Of a fraction of one.
pub const HUNDREDTH: Unit = over(&["%"], 100.0);

const FAHRENHEIT: Unit = offset(&["degF", "°F", "ºF", "F"], 32.0, 1.8);
/// HealthKit writes glucose's molar mass into its unit as well: `mmol<180.1558800000541>/L`.
const MILLIMOLE: Unit = times(&["mmol/L", "mmol/l"], 18.0156);

/// Above this a temperature without a unit must be Fahrenheit: nobody lives at 45 °C, nor at 45 °F.
const CELSIUS_MAX: f64 = 45.0;

macro_rules! dimensions {
    ($($(#[$doc:meta])* $name:ident [$($unit:expr),+ $(,)?];)*) => {
        /// What a quantity measures: it decides in which units it may come.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Dimension {
            $($(#[$doc])* $name,)*
        }

        impl Dimension {
            /// Every dimension.
            pub const ALL: &'static [Dimension] = &[$(Dimension::$name,)*];

            /// The units in which it may come; the first is the catalogue's.
            pub const fn units(self) -> &'static [Unit] {
                match self { $(Dimension::$name => const { &[$($unit,)*] },)* }
            }
        }
    };
}

dimensions! {
    /// Beats in a time.
    HeartRate [own(&["bpm", "BPM", "count/min", "beats/min"]), times(&["count/s"], 60.0)];
    /// Breaths in a time.
    BreathingRate [own(&["breaths/min", "count/min"]), times(&["count/s"], 60.0)];
    /// The time between two beats, or how it varies.
    BeatInterval [own(&["ms"]), times(&["s"], 1000.0)];
    /// A part of a hundred.
    Percentage [PERCENT];
    /// A part of one.
    Fraction [own(&["fraction"]), HUNDREDTH];
    /// Of the body or the skin.
    Temperature [own(&["degC", "°C", "ºC", "C"]), FAHRENHEIT, offset(&["K"], 273.15, 1.0)];
    /// By how much a temperature is another than usual.
    TemperatureDifference [own(&["degC", "°C", "ºC", "C"]), over(FAHRENHEIT.names, 1.8), own(&["K"])];
    /// A time that something took.
    Duration [own(&["min"]), SECOND, HOUR, MILLISECOND];
    /// On a vendor's scale to a hundred.
    Score [own(&["score"])];
    /// On WHOOP's scale.
    Strain [own(&["strain"])];
    /// Pieces.
    Count [own(&["count", "steps"])];
    /// Of food and exercise.
    Energy [own(&["kcal", "Cal"]), KILOJOULE, over(&["J"], 4184.0), over(&["cal"], 1000.0)];
    /// Of ways and bodies.
    Length [
        own(&["m"]), times(&["km"], 1000.0), CENTIMETER, times(&["mi"], 1609.344), times(&["ft"], 0.3048),
        times(&["yd"], 0.9144), times(&["in"], 0.0254), over(&["mm"], 1000.0),
    ];
    /// Oxygen by weight and time.
    OxygenUptake [own(&[
        "mL/kg/min", "ml/kg/min", "ml/kg*min", "mL/kg*min", "mL/min·kg", "ml/min·kg", "ml/(kg*min)", "mL/(kg*min)",
        "ml/(kg·min)", "mL/(kg·min)", "ml/kg·min", "mL/kg·min", "ml/(min*kg)", "ml/min*kg", "ml/min/kg", "mL/min/kg",
    ])];
    /// A weight.
    Mass [
        own(&["kg"]), times(&["lb", "lbs"], 0.453_592_37), GRAM, times(&["st"], 6.350_293_18),
        times(&["oz"], 0.028_349_523_125),
    ];
    /// A weight by height; HealthKit counts it.
    MassIndex [own(&["kg/m2", "kg/m^2", "kg/m²", "count"])];
    /// Sugar in blood.
    Glucose [own(&["mg/dL", "mg/dl"]), MILLIMOLE];
    /// Of blood.
    Pressure [own(&["mmHg"]), times(&["kPa"], 7.50062)];
    /// Of a person.
    Age [own(&["years"])];
    /// One of a vendor's words, in their order.
    Level [own(&["level"])];
    /// One of our own codes.
    Category [own(&["category"])];
}

impl Dimension {
    /// The catalogue's unit.
    pub const fn unit(self) -> &'static str {
        self.units()[0].names[0]
    }

    /// How a value in this unit becomes one in the catalogue's; `None` if the unit is none of this dimension's.
    pub fn conversion(self, unit: &str) -> Option<Conversion> {
        let is_molar = || self == Self::Glucose && unit.starts_with("mmol<") && unit.ends_with(">/L");
        let listed = self.units().iter().find(|listed| listed.names.contains(&unit));
        listed.or_else(|| is_molar().then_some(&MILLIMOLE)).map(|unit| unit.conversion)
    }

    /// The same for a value without a unit: it is in the catalogue's, unless it tells by itself that it is not.
    pub fn conversion_without_unit(self, value: f64) -> Conversion {
        match self {
            Self::Temperature if value > CELSIUS_MAX => FAHRENHEIT.conversion,
            _ => self.units()[0].conversion,
        }
    }

    /// `value` in the catalogue's unit; `None` if `unit` is none of this dimension's. A blank unit is none.
    pub fn convert(self, value: f64, unit: Option<&str>) -> Option<f64> {
        let conversion = match unit.map(str::trim).filter(|unit| !unit.is_empty()) {
            Some(unit) => self.conversion(unit)?,
            None => self.conversion_without_unit(value),
        };
        Some(conversion.apply(value))
    }

    /// Every spelling of every unit, for the sentence that refuses another.
    pub fn unit_names(self) -> impl Iterator<Item = &'static str> {
        self.units().iter().flat_map(|unit| unit.names).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_unit_of_a_dimension_is_listed_twice_and_the_first_changes_no_value_of_its_own() {
        for dimension in Dimension::ALL {
            let mut names: Vec<_> = dimension.unit_names().collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{dimension:?}");
            for value in [1.5, 37.0] {
                assert_eq!(dimension.units()[0].conversion.apply(value), value, "{dimension:?}");
            }
        }
    }

    #[test]
    fn conversions_are_told_as_they_are_done() {
        let told = |conversion: Conversion| conversion.to_string();
        assert_eq!(told(KILOJOULE.conversion), " / 4.184");
        assert_eq!(told(FAHRENHEIT.conversion), " − 32, / 1.8");
        assert_eq!(told(MILLIMOLE.conversion), " × 18.0156");
        assert_eq!(told(Dimension::Temperature.units()[2].conversion), " − 273.15");
        assert_eq!(told(Conversion::Same), "");
    }
}
