//! The catalogue of canonical metrics: name, unit and accepted range of each, in one table.
//!
//! Source: `vendors.md` §15. A value outside its range is refused as a reading; it never fails its batch.

use serde::{Deserialize, Serialize};

macro_rules! metrics {
    ($($variant:ident $name:literal $unit:literal $low:literal..=$high:literal,)*) => {
        /// A canonical metric. Its name, unit and range are the same for every vendor.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Metric {
            $(
                #[doc = concat!("`", $name, "` in ", $unit, ", ", stringify!($low), " to ", stringify!($high), ".")]
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

            /// The unit of every value of this metric.
            pub const fn unit(self) -> &'static str {
                match self { $(Metric::$variant => $unit,)* }
            }

            /// The smallest and the largest value that is accepted, both included.
            pub const fn range(self) -> (f64, f64) {
                match self { $(Metric::$variant => ($low as f64, $high as f64),)* }
            }

            /// The metric of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Metric::$variant),)* _ => None }
            }
        }
    };
}

metrics! {
    HeartRate "heart_rate" "bpm" 20..=250,
    RestingHeartRate "resting_heart_rate" "bpm" 20..=150,
    WalkingHeartRate "walking_heart_rate" "bpm" 30..=200,
    Hrv "hrv" "ms" 1..=400,
    RespiratoryRate "respiratory_rate" "breaths/min" 4..=60,
    BloodOxygen "blood_oxygen" "%" 50..=100,
    BodyTemperature "body_temperature" "degC" 30..=45,
    SkinTemperature "skin_temperature" "degC" 15..=45,
    TemperatureDeviation "temperature_deviation" "degC" -10..=10,
    TotalSleepMinutes "total_sleep_minutes" "min" 0..=1440,
    DeepSleepMinutes "deep_sleep_minutes" "min" 0..=1440,
    LightSleepMinutes "light_sleep_minutes" "min" 0..=1440,
    RemSleepMinutes "rem_sleep_minutes" "min" 0..=1440,
    AwakeMinutes "awake_minutes" "min" 0..=1440,
    TimeInBedMinutes "time_in_bed_minutes" "min" 0..=1800,
    SleepLatencyMinutes "sleep_latency_minutes" "min" 0..=1440,
    SleepEfficiency "sleep_efficiency" "%" 0..=100,
    SleepScore "sleep_score" "score" 0..=100,
    RecoveryScore "recovery_score" "score" 0..=100,
    ActivityScore "activity_score" "score" 0..=100,
    HrvBalance "hrv_balance" "score" 0..=100,
    TemperatureScore "temperature_score" "score" 0..=100,
    ActivityBalance "activity_balance" "score" 0..=100,
    SleepBalance "sleep_balance" "score" 0..=100,
    PreviousNightScore "previous_night_score" "score" 0..=100,
    RestingHrScore "resting_hr_score" "score" 0..=100,
    Strain "strain" "strain" 0..=21,
    StressLevel "stress_level" "fraction" 0..=1,
    Steps "steps" "count" 0..=200000,
    ActiveCalories "active_calories" "kcal" 0..=20000,
    BasalCalories "basal_calories" "kcal" 0..=20000,
    TotalCalories "total_calories" "kcal" 0..=20000,
    DistanceMeters "distance_meters" "m" 0..=1000000,
    FlightsClimbed "flights_climbed" "count" 0..=2000,
    ExerciseMinutes "exercise_minutes" "min" 0..=1440,
    StandMinutes "stand_minutes" "min" 0..=1440,
    MindfulMinutes "mindful_minutes" "min" 0..=1440,
    Vo2Max "vo2max" "mL/kg/min" 10..=100,
    Weight "weight" "kg" 1..=650,
    BodyFat "body_fat" "%" 1..=80,
    Bmi "bmi" "kg/m2" 5..=200,
    BloodGlucose "blood_glucose" "mg/dL" 10..=1000,
    BloodPressureSystolic "blood_pressure_systolic" "mmHg" 40..=300,
    BloodPressureDiastolic "blood_pressure_diastolic" "mmHg" 20..=200,
    HeartRateRecovery "heart_rate_recovery" "bpm" 0..=120,
    Height "height" "m" 0.3..=2.8,
    LeanMass "lean_mass" "kg" 1..=300,
    CardiovascularAge "cardiovascular_age" "years" 1..=120,
    ResilienceLevel "resilience_level" "level" 1..=5,
    StressMinutes "stress_minutes" "min" 0..=1440,
    RecoveryMinutes "recovery_minutes" "min" 0..=1440,
    WorkoutDurationMinutes "workout_duration_minutes" "min" 0..=5760,
    WorkoutCalories "workout_calories" "kcal" 0..=20000,
    WorkoutDistanceMeters "workout_distance_meters" "m" 0..=1000000,
    WorkoutHeartRateAverage "workout_heart_rate_average" "bpm" 20..=250,
    WorkoutHeartRateMax "workout_heart_rate_max" "bpm" 20..=250,
    WorkoutStrain "workout_strain" "strain" 0..=21,
    SleepState "sleep_state" "category" 0..=5,
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
