//! Which of Terra's fields become which metrics (vendors.md §5, §15).

use crate::domain::event::Context;
use crate::domain::metric::Metric;
use crate::domain::unit::{CENTIMETER, GRAM, HUNDREDTH, PERCENT, SECOND};
use crate::vendors::record::{Field, Section};

const fn minutes(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).given_in(SECOND)
}

const fn day(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).context(Context::Daily)
}

const fn night(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).context(Context::Sleep)
}

const fn effort(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).context(Context::Workout)
}

const DAY_HEART: [Field; 4] = [
    day("avg_hr_bpm", Metric::HeartRate),
    day("resting_hr_bpm", Metric::RestingHeartRate),
    day("avg_hrv_rmssd", Metric::Hrv),
    day("avg_hrv_sdnn", Metric::Hrv).sdnn(),
];

/// Of a day.
pub(super) const DAILY: &[Section] = &[
    Section { at: &["heart_rate_data", "summary"], fields: &DAY_HEART },
    Section {
        at: &["distance_data"],
        fields: &[
            day("steps", Metric::Steps),
            day("distance_meters", Metric::DistanceMeters),
            day("floors_climbed", Metric::FlightsClimbed),
        ],
    },
    Section {
        at: &["calories_data"],
        fields: &[
            day("total_burned_calories", Metric::TotalCalories),
            day("net_activity_calories", Metric::ActiveCalories),
            day("BMR_calories", Metric::BasalCalories),
        ],
    },
    Section {
        at: &["active_durations_data"],
        fields: &[minutes("activity_seconds", Metric::ExerciseMinutes).context(Context::Daily)],
    },
    Section {
        at: &["scores"],
        fields: &[
            day("sleep", Metric::SleepScore),
            day("recovery", Metric::RecoveryScore),
            day("activity", Metric::ActivityScore),
        ],
    },
    Section { at: &["strain_data"], fields: &[day("strain_level", Metric::Strain)] },
    Section {
        at: &["stress_data"],
        fields: &[day("avg_stress_level", Metric::StressLevel).given_in(HUNDREDTH).or_code()],
    },
    Section {
        at: &["oxygen_data"],
        fields: &[
            day("avg_saturation_percentage", Metric::BloodOxygen).given_in(PERCENT),
            day("vo2max_ml_per_min_per_kg", Metric::Vo2Max),
        ],
    },
];

/// Of a night.
pub(super) const SLEEP: &[Section] = &[
    Section {
        at: &["sleep_durations_data", "asleep"],
        fields: &[
            minutes("duration_asleep_state_seconds", Metric::TotalSleepMinutes),
            minutes("duration_deep_sleep_state_seconds", Metric::DeepSleepMinutes),
            minutes("duration_light_sleep_state_seconds", Metric::LightSleepMinutes),
            minutes("duration_REM_sleep_state_seconds", Metric::RemSleepMinutes),
        ],
    },
    Section {
        at: &["sleep_durations_data", "awake"],
        fields: &[
            minutes("duration_awake_state_seconds", Metric::AwakeMinutes),
            minutes("sleep_latency_seconds", Metric::SleepLatencyMinutes),
        ],
    },
    Section {
        at: &["sleep_durations_data", "other"],
        fields: &[minutes("duration_in_bed_seconds", Metric::TimeInBedMinutes)],
    },
    Section {
        at: &["sleep_durations_data"],
        fields: &[Field::new("sleep_efficiency", Metric::SleepEfficiency).given_in(PERCENT)],
    },
    Section {
        at: &["heart_rate_data", "summary"],
        fields: &[
            night("avg_hr_bpm", Metric::HeartRate),
            night("resting_hr_bpm", Metric::RestingHeartRate),
            night("avg_hrv_rmssd", Metric::Hrv),
            night("avg_hrv_sdnn", Metric::Hrv).sdnn(),
        ],
    },
    Section { at: &["scores"], fields: &[Field::new("sleep", Metric::SleepScore)] },
    Section {
        at: &["readiness_data"],
        fields: &[Field::new("readiness", Metric::RecoveryScore).source("readiness")],
    },
    Section {
        at: &["respiration_data", "breaths_data"],
        fields: &[night("avg_breaths_per_min", Metric::RespiratoryRate)],
    },
    Section {
        at: &["respiration_data", "oxygen_saturation_data"],
        fields: &[night("avg_saturation_percentage", Metric::BloodOxygen).given_in(PERCENT)],
    },
    Section { at: &["temperature_data"], fields: &[night("delta", Metric::TemperatureDeviation)] },
];

/// What Terra itself makes of a night. It comes and goes: a copy without it takes nothing back.
pub(super) const ENRICHMENT: Section = Section {
    at: &["data_enrichment"],
    fields: &[
        Field::new("sleep_score", Metric::SleepScore).source("data_enrichment"),
        Field::new("readiness_score", Metric::RecoveryScore).source("data_enrichment"),
    ],
};

/// Of a workout.
pub(super) const ACTIVITY: &[Section] = &[
    Section {
        at: &["heart_rate_data", "summary"],
        fields: &[
            effort("avg_hr_bpm", Metric::WorkoutHeartRateAverage),
            effort("max_hr_bpm", Metric::WorkoutHeartRateMax),
            effort("resting_hr_bpm", Metric::RestingHeartRate),
            effort("avg_hrv_rmssd", Metric::Hrv),
            effort("avg_hrv_sdnn", Metric::Hrv).sdnn(),
        ],
    },
    Section {
        at: &["distance_data", "summary"],
        fields: &[effort("distance_meters", Metric::WorkoutDistanceMeters), effort("steps", Metric::Steps)],
    },
    Section { at: &["calories_data"], fields: &[effort("total_burned_calories", Metric::WorkoutCalories)] },
    Section { at: &["strain_data"], fields: &[effort("strain_level", Metric::WorkoutStrain)] },
];

/// Of a body on one day.
pub(super) const BODY: &[Section] = &[
    Section { at: &["heart_data", "heart_rate_data", "summary"], fields: &DAY_HEART },
    Section {
        at: &["oxygen_data"],
        fields: &[
            day("avg_saturation_percentage", Metric::BloodOxygen).given_in(PERCENT),
            day("vo2max_ml_per_min_per_kg", Metric::Vo2Max),
        ],
    },
];

/// How long a workout was.
pub(super) const WORKOUT_LENGTH: Field =
    Field::from_times(Metric::WorkoutDurationMinutes).context(Context::Workout);

/// The states of a night.
pub(super) const HYPNOGRAM: Section = Section {
    at: &["sleep_durations_data", "hypnogram_samples"],
    fields: &[Field::new("level", Metric::SleepState)],
};

/// Samples with a time of their own.
pub(super) struct Series {
    /// The members that lead to the array.
    pub(super) at: &'static [&'static str],
    /// The member with the time.
    pub(super) time: &'static str,
    pub(super) fields: &'static [Field],
    /// Only samples whose `type` is one of these.
    pub(super) only: Option<&'static [&'static str]>,
    /// Not if there are samples here: they are the same, in less detail.
    pub(super) unless: Option<&'static [&'static str]>,
}

const fn series(at: &'static [&'static str], fields: &'static [Field]) -> Series {
    Series { at, time: "timestamp", fields, only: None, unless: None }
}

/// Muscles have their own saturation (1, `SmO2`), which is none of the blood's.
const SATURATION: Series = Series {
    only: Some(&["0", "SpO2"]),
    ..series(
        &["oxygen_data", "saturation_samples"],
        &[Field::new("percentage", Metric::BloodOxygen).given_in(PERCENT)],
    )
};

const HEART_RATE: &[Field] = &[Field::new("bpm", Metric::HeartRate)];
const RMSSD: &[Field] = &[Field::new("hrv_rmssd", Metric::Hrv)];
const SDNN: &[Field] = &[Field::new("hrv_sdnn", Metric::Hrv).sdnn()];

pub(super) const DAILY_SERIES: &[Series] = &[
    series(&["heart_rate_data", "detailed", "hr_samples"], HEART_RATE),
    series(&["heart_rate_data", "detailed", "hrv_samples_rmssd"], RMSSD),
    series(&["heart_rate_data", "detailed", "hrv_samples_sdnn"], SDNN),
    SATURATION,
];

pub(super) const SLEEP_SERIES: &[Series] = &[
    series(&["heart_rate_data", "detailed", "hr_samples"], &[night("bpm", Metric::HeartRate)]),
    series(&["heart_rate_data", "detailed", "hrv_samples_rmssd"], &[night("hrv_rmssd", Metric::Hrv)]),
    series(&["heart_rate_data", "detailed", "hrv_samples_sdnn"], &[night("hrv_sdnn", Metric::Hrv).sdnn()]),
];

pub(super) const ACTIVITY_SERIES: &[Series] = &[
    series(&["heart_rate_data", "detailed", "hr_samples"], &[effort("bpm", Metric::HeartRate)]),
    series(&["heart_rate_data", "detailed", "hrv_samples_rmssd"], &[effort("hrv_rmssd", Metric::Hrv)]),
    series(&["heart_rate_data", "detailed", "hrv_samples_sdnn"], &[effort("hrv_sdnn", Metric::Hrv).sdnn()]),
];

const GLUCOSE: &[Field] = &[Field::new("blood_glucose_mg_per_dL", Metric::BloodGlucose)];
const DETAILED_GLUCOSE: &[&str] = &["glucose_data", "detailed_blood_glucose_samples"];

pub(super) const BODY_SERIES: &[Series] = &[
    series(&["heart_data", "heart_rate_data", "detailed", "hr_samples"], HEART_RATE),
    series(&["heart_data", "heart_rate_data", "detailed", "hrv_samples_rmssd"], RMSSD),
    series(&["heart_data", "heart_rate_data", "detailed", "hrv_samples_sdnn"], SDNN),
    Series {
        time: "measurement_time",
        ..series(
            &["measurements_data", "measurements"],
            &[
                Field::new("weight_kg", Metric::Weight),
                Field::new("bodyfat_percentage", Metric::BodyFat).given_in(PERCENT),
                Field::new("BMI", Metric::Bmi),
                Field::new("height_cm", Metric::Height).given_in(CENTIMETER),
                Field::new("lean_mass_g", Metric::LeanMass).given_in(GRAM),
            ],
        )
    },
    series(DETAILED_GLUCOSE, GLUCOSE),
    Series { unless: Some(DETAILED_GLUCOSE), ..series(&["glucose_data", "blood_glucose_samples"], GLUCOSE) },
    series(
        &["blood_pressure_data", "blood_pressure_samples"],
        &[
            Field::new("systolic_bp", Metric::BloodPressureSystolic),
            Field::new("diastolic_bp", Metric::BloodPressureDiastolic),
        ],
    ),
    series(
        &["temperature_data", "body_temperature_samples"],
        &[Field::new("temperature_celsius", Metric::BodyTemperature)],
    ),
    series(
        &["temperature_data", "skin_temperature_samples"],
        &[Field::new("temperature_celsius", Metric::SkinTemperature)],
    ),
    SATURATION,
];
