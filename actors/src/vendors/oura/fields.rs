//! Which of Oura's fields become which metrics (vendors.md §2, §15).
//!
//! What looks like a quantity and is a score (the `contributors`) is taken as a score or not at all.

use crate::domain::event::Context;
use crate::domain::fetch::OuraDataType;
use crate::domain::metric::Metric;
use crate::domain::unit::SECOND;
use crate::vendors::record::{Field, Section};
use crate::vendors::sources::Sources;

const fn minutes(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).given_in(SECOND)
}

const fn night(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).context(Context::Sleep)
}

const fn day(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).context(Context::Daily)
}

const SLEEP: Section = Section {
    at: &[],
    fields: &[
        minutes("total_sleep_duration", Metric::TotalSleepMinutes),
        minutes("deep_sleep_duration", Metric::DeepSleepMinutes),
        minutes("light_sleep_duration", Metric::LightSleepMinutes),
        minutes("rem_sleep_duration", Metric::RemSleepMinutes),
        minutes("awake_time", Metric::AwakeMinutes),
        minutes("time_in_bed", Metric::TimeInBedMinutes),
        minutes("latency", Metric::SleepLatencyMinutes),
        Field::new("efficiency", Metric::SleepEfficiency),
        night("average_breath", Metric::RespiratoryRate),
        night("average_heart_rate", Metric::HeartRate),
        night("average_hrv", Metric::Hrv),
    ],
};

/// Only of a whole night: the lowest rate of a nap is nobody's resting rate.
pub(super) const LONG_SLEEP: Section =
    Section { at: &[], fields: &[night("lowest_heart_rate", Metric::RestingHeartRate).derived()] };

const WORKOUT: Section = Section {
    at: &[],
    fields: &[
        Field::new("calories", Metric::WorkoutCalories).context(Context::Workout),
        Field::new("distance", Metric::WorkoutDistanceMeters).context(Context::Workout),
    ],
};

const DAILY_SLEEP: Section = Section { at: &[], fields: &[day("score", Metric::SleepScore)] };

const READINESS: Section = Section {
    at: &[],
    fields: &[
        day("score", Metric::RecoveryScore).source("Oura readiness"),
        day("temperature_deviation", Metric::TemperatureDeviation),
    ],
};

const READINESS_CONTRIBUTORS: Section = Section {
    at: &["contributors"],
    fields: &[
        day("hrv_balance", Metric::HrvBalance),
        day("body_temperature", Metric::TemperatureScore),
        day("activity_balance", Metric::ActivityBalance),
        day("sleep_balance", Metric::SleepBalance),
        day("previous_night", Metric::PreviousNightScore),
        day("resting_heart_rate", Metric::RestingHrScore),
    ],
};

const ACTIVITY: Section = Section {
    at: &[],
    fields: &[
        day("score", Metric::ActivityScore),
        day("steps", Metric::Steps),
        day("active_calories", Metric::ActiveCalories),
        day("total_calories", Metric::TotalCalories),
        day("equivalent_walking_distance", Metric::DistanceMeters),
    ],
};

const SPO2: Section = Section { at: &["spo2_percentage"], fields: &[day("average", Metric::BloodOxygen)] };

/// Seconds, not a level.
const STRESS: Section = Section {
    at: &[],
    fields: &[
        minutes("stress_high", Metric::StressMinutes).context(Context::Daily),
        minutes("recovery_high", Metric::RecoveryMinutes).context(Context::Daily),
    ],
};

const CARDIOVASCULAR_AGE: Section =
    Section { at: &[], fields: &[day("vascular_age", Metric::CardiovascularAge)] };

const VO2_MAX: Section = Section { at: &[], fields: &[Field::new("vo2_max", Metric::Vo2Max)] };

/// The fields of a type that are always read.
pub(super) fn sections(data_type: OuraDataType) -> &'static [Section] {
    match data_type {
        OuraDataType::Sleep => &[SLEEP],
        OuraDataType::Workout => &[WORKOUT],
        OuraDataType::DailySleep => &[DAILY_SLEEP],
        OuraDataType::DailyReadiness => &[READINESS, READINESS_CONTRIBUTORS],
        OuraDataType::DailyActivity => &[ACTIVITY],
        OuraDataType::DailySpo2 => &[SPO2],
        OuraDataType::DailyStress => &[STRESS],
        OuraDataType::DailyCardiovascularAge => &[CARDIOVASCULAR_AGE],
        OuraDataType::Vo2Max => &[VO2_MAX],
        OuraDataType::DailyResilience | OuraDataType::Session => &[],
    }
}

/// How long a workout was.
pub(super) const WORKOUT_LENGTH: Field =
    Field::from_times(Metric::WorkoutDurationMinutes).context(Context::Workout);

/// How long a session was in which somebody was mindful.
pub(super) const SESSION_LENGTH: Field = Field::from_times(Metric::MindfulMinutes);

/// A word.
pub(super) const RESILIENCE: Field = day("level", Metric::ResilienceLevel);

/// The stages of a night, with the seconds of each digit: the finer one first.
pub(super) const STAGES: [(Field, i64); 2] = [
    (Field::new("sleep_phase_30_sec", Metric::SleepState), 30),
    (Field::new("sleep_phase_5_min", Metric::SleepState), 300),
];

/// A row of the heart rates that are polled.
pub(super) const HEART_RATE: Field = Field::new("bpm", Metric::HeartRate);

const NIGHT_SERIES: &[Field] = &[night("heart_rate", Metric::HeartRate), night("hrv", Metric::Hrv)];
const NAP_SERIES: &[Field] =
    &[night("heart_rate", Metric::HeartRate), night("heart_rate_variability", Metric::Hrv)];
const SESSION_SERIES: &[Field] =
    &[Field::new("heart_rate", Metric::HeartRate), Field::new("heart_rate_variability", Metric::Hrv)];

/// What is told by the minute in records of a type; `word` is the record's own `type`.
pub(super) fn series(data_type: OuraDataType, word: Option<&str>) -> &'static [Field] {
    match (data_type, word) {
        (OuraDataType::Sleep, _) => NIGHT_SERIES,
        (OuraDataType::Session, Some("nap")) => NAP_SERIES,
        (OuraDataType::Session, _) => SESSION_SERIES,
        _ => &[],
    }
}

/// All of them.
pub(in crate::vendors) fn list(sources: &mut Sources) {
    for data_type in OuraDataType::ALL {
        let record = data_type.name();
        for section in sections(data_type) {
            sources.add_section(record, section);
        }
        for field in series(data_type, None) {
            sources.add(record, &[field.name()], &Field::new("items", field.metric()));
        }
        match data_type {
            OuraDataType::Sleep => {
                sources.add_section("sleep", &LONG_SLEEP);
                STAGES.iter().for_each(|(field, _)| sources.add("sleep", &[], field));
            }
            OuraDataType::Workout => sources.add(record, &[], &WORKOUT_LENGTH),
            OuraDataType::Session => sources.add(record, &[], &SESSION_LENGTH),
            OuraDataType::DailyResilience => sources.add(record, &[], &RESILIENCE),
            _ => {}
        }
    }
    sources.add("heartrate", &[], &HEART_RATE);
}
