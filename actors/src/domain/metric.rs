//! The catalogue of canonical metrics: name, dimension (the unit, and the units that are converted to it) and accepted
//! range of each, in one table, and why the range is that.
//!
//! Labels, `docs/metrics.md` and the schema of events come from here; a test compares them. A value outside its range
//! is refused as a reading; it never fails its batch. Which fields of which vendor become a metric stands in the tables
//! that the decoders read by (`vendors::sources`).

use serde::{Deserialize, Serialize};

use super::unit::Dimension;

macro_rules! metrics {
    ($($variant:ident $name:literal $dimension:ident $low:literal..=$high:literal $reason:literal,)*) => {
        /// A canonical metric. Its name, unit and range are the same for every vendor.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Metric {
            $(
                #[doc = concat!(
                    "`", $name, "`, ", stringify!($low), " to ", stringify!($high), " in the unit of [`Dimension::",
                    stringify!($dimension), "`]."
                )]
                #[serde(rename = $name)]
                $variant,
            )*
        }

        impl Metric {
            /// Every metric, in the order of the catalogue.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant,)*];

            /// The name in events, labels and queries.
            pub const fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name,)* }
            }

            /// What it measures.
            pub const fn dimension(self) -> Dimension {
                match self { $(Metric::$variant => Dimension::$dimension,)* }
            }

            /// The smallest and the largest value that is accepted, both included.
            pub const fn range(self) -> (f64, f64) {
                match self { $(Metric::$variant => ($low as f64, $high as f64),)* }
            }

            /// Why the range ends there: what a body can do, and what a sensor makes of it.
            pub const fn range_reason(self) -> &'static str {
                match self { $(Metric::$variant => $reason,)* }
            }

            /// The metric of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Metric::$variant),)* _ => None }
            }
        }
    };
}

metrics! {
    HeartRate "heart_rate" HeartRate 20..=250 "a trained heart at rest beats 25 times; 220 less the age, and the sensor's error",
    RestingHeartRate "resting_heart_rate" HeartRate 20..=150 "as for `heart_rate`, at rest",
    WalkingHeartRate "walking_heart_rate" HeartRate 30..=200 "as for `heart_rate`, on foot",
    Hrv "hrv" BeatInterval 1..=400 "the sick and old have less than 5, the best trained more than 200",
    RespiratoryRate "respiratory_rate" BreathingRate 4..=60 "from deep sleep to distress",
    BloodOxygen "blood_oxygen" Percentage 50..=100 "sensors fail below 70; altitude",
    BodyTemperature "body_temperature" Temperature 30..=45 "what people survive",
    SkinTemperature "skin_temperature" Temperature 15..=45 "a wrist in the cold; what people survive",
    TemperatureDeviation "temperature_deviation" TemperatureDifference -10..=10 "from the wearer's own baseline",
    TotalSleepMinutes "total_sleep_minutes" Duration 0..=1440 "a day",
    DeepSleepMinutes "deep_sleep_minutes" Duration 0..=1440 "a day",
    LightSleepMinutes "light_sleep_minutes" Duration 0..=1440 "a day",
    RemSleepMinutes "rem_sleep_minutes" Duration 0..=1440 "a day",
    AwakeMinutes "awake_minutes" Duration 0..=1440 "a day",
    TimeInBedMinutes "time_in_bed_minutes" Duration 0..=1800 "the ill lie longer than a day",
    SleepLatencyMinutes "sleep_latency_minutes" Duration 0..=1440 "a day",
    SleepEfficiency "sleep_efficiency" Percentage 0..=100 "a share",
    SleepScore "sleep_score" Score 0..=100 "the vendors' scale",
    RecoveryScore "recovery_score" Score 0..=100 "the vendors' scale",
    ActivityScore "activity_score" Score 0..=100 "the vendors' scale",
    HrvBalance "hrv_balance" Score 0..=100 "a contributor to a score is a score",
    TemperatureScore "temperature_score" Score 0..=100 "a contributor to a score is a score",
    ActivityBalance "activity_balance" Score 0..=100 "a contributor to a score is a score",
    SleepBalance "sleep_balance" Score 0..=100 "a contributor to a score is a score",
    PreviousNightScore "previous_night_score" Score 0..=100 "a contributor to a score is a score",
    RestingHrScore "resting_hr_score" Score 0..=100 "a contributor to a score is a score",
    Strain "strain" Strain 0..=21 "WHOOP's scale; those of others are not comparable with it",
    StressLevel "stress_level" Fraction 0..=1 "a share; a negative one stands for none",
    Steps "steps" Count 0..=200000 "a day's run over 300 km is a record",
    ActiveCalories "active_calories" Energy 0..=20000 "riders of the Tour burn 9000 a day",
    BasalCalories "basal_calories" Energy 0..=20000 "as for `active_calories`",
    TotalCalories "total_calories" Energy 0..=20000 "as for `active_calories`",
    DistanceMeters "distance_meters" Length 0..=1000000 "the longest rides of a day",
    FlightsClimbed "flights_climbed" Count 0..=2000 "towers are run up for charity",
    ExerciseMinutes "exercise_minutes" Duration 0..=1440 "a day",
    StandMinutes "stand_minutes" Duration 0..=1440 "a day",
    MindfulMinutes "mindful_minutes" Duration 0..=1440 "a day",
    Vo2Max "vo2max" OxygenUptake 10..=100 "the record is about 97",
    Weight "weight" Mass 1..=650 "the record is 635",
    BodyFat "body_fat" Percentage 1..=80 "a share of the weight",
    Bmi "bmi" MassIndex 5..=200 "follows from `weight` and `height`",
    BloodGlucose "blood_glucose" Glucose 10..=1000 "meters show 20 to 600, laboratories more",
    BloodPressureSystolic "blood_pressure_systolic" Pressure 40..=300 "from shock to lifting weights",
    BloodPressureDiastolic "blood_pressure_diastolic" Pressure 20..=200 "from shock to lifting weights",
    HeartRateRecovery "heart_rate_recovery" HeartRate 0..=120 "the fall in the first minute after exercise",
    Height "height" Length 0.3..=2.8 "from newborn to the tallest",
    LeanMass "lean_mass" Mass 1..=300 "a part of `weight`",
    CardiovascularAge "cardiovascular_age" Age 1..=120 "an age",
    ResilienceLevel "resilience_level" Level 1..=5 "Oura's words: limited 1, adequate 2, solid 3, strong 4, exceptional 5",
    StressMinutes "stress_minutes" Duration 0..=1440 "a day",
    RecoveryMinutes "recovery_minutes" Duration 0..=1440 "a day",
    WorkoutDurationMinutes "workout_duration_minutes" Duration 0..=5760 "races of several days",
    WorkoutCalories "workout_calories" Energy 0..=20000 "as for `active_calories`",
    WorkoutDistanceMeters "workout_distance_meters" Length 0..=1000000 "as for `distance_meters`",
    WorkoutHeartRateAverage "workout_heart_rate_average" HeartRate 20..=250 "as for `heart_rate`",
    WorkoutHeartRateMax "workout_heart_rate_max" HeartRate 20..=250 "as for `heart_rate`",
    WorkoutStrain "workout_strain" Strain 0..=21 "as for `strain`",
    SleepState "sleep_state" Category 0..=5 "0 in bed, 1 asleep, 2 light, 3 deep, 4 REM, 5 awake",
}

/// Why a number is not a reading of its metric.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// NaN or infinite.
    #[error("is not a finite number")]
    NotFinite,
    /// Outside the catalogue's range.
    #[error("is outside {low} to {high} {unit}")]
    OutOfRange {
        /// The smallest accepted value.
        low: f64,
        /// The largest accepted value.
        high: f64,
        /// The unit of both.
        unit: &'static str,
    },
}

impl Metric {
    /// The unit of every value of this metric.
    pub const fn unit(self) -> &'static str {
        self.dimension().unit()
    }

    /// Accepts `value`, given in this metric's unit, or says why not. Negative zero becomes zero.
    pub fn accept(self, value: f64) -> Result<f64, ValueError> {
        if !value.is_finite() {
            return Err(ValueError::NotFinite);
        }
        let (low, high) = self.range();
        if value < low || value > high {
            return Err(ValueError::OutOfRange { low, high, unit: self.unit() });
        }
        Ok(value + 0.0)
    }
}
