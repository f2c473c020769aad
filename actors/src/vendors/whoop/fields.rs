//! Which of WHOOP's fields become which metrics (vendors.md §3, §15). `hrv_rmssd_milli` is in milliseconds already.

use crate::domain::event::Context;
use crate::domain::metric::Metric;
use crate::domain::unit::{HUNDREDTH, KILOJOULE, MILLISECOND, without_float_noise};
use crate::vendors::record::{Field, Section};
use crate::vendors::sources::Sources;

const fn minutes(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).given_in(MILLISECOND)
}

const fn night(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).context(Context::Sleep)
}

const fn day(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).context(Context::Daily)
}

const fn effort(name: &'static str, metric: Metric) -> Field {
    Field::new(name, metric).context(Context::Workout)
}

pub(super) const STAGES: Section = Section {
    at: &["score", "stage_summary"],
    fields: &[
        minutes("total_in_bed_time_milli", Metric::TimeInBedMinutes),
        minutes("total_awake_time_milli", Metric::AwakeMinutes),
        minutes("total_light_sleep_time_milli", Metric::LightSleepMinutes),
        minutes("total_slow_wave_sleep_time_milli", Metric::DeepSleepMinutes),
        minutes("total_rem_sleep_time_milli", Metric::RemSleepMinutes),
    ],
};

/// The stages in which one sleeps: together they are the sleep.
pub(super) const ASLEEP: [Metric; 3] =
    [Metric::LightSleepMinutes, Metric::DeepSleepMinutes, Metric::RemSleepMinutes];

pub(super) const SLEEP_SCORE: Section = Section {
    at: &["score"],
    fields: &[
        night("respiratory_rate", Metric::RespiratoryRate),
        Field::new("sleep_performance_percentage", Metric::SleepScore),
        Field::new("sleep_efficiency_percentage", Metric::SleepEfficiency),
    ],
};

pub(super) const RECOVERY_SCORE: Section = Section {
    at: &["score"],
    fields: &[
        Field::new("recovery_score", Metric::RecoveryScore),
        night("resting_heart_rate", Metric::RestingHeartRate),
        night("hrv_rmssd_milli", Metric::Hrv),
        night("spo2_percentage", Metric::BloodOxygen),
        night("skin_temp_celsius", Metric::SkinTemperature),
    ],
};

/// How far from recovered (vendors.md §15): an estimate, said to be one.
pub(super) const STRESS: Field =
    Field::new("recovery_score", Metric::StressLevel).given_in(HUNDREDTH).derived();

/// How far from recovered somebody is who is recovered by so much: both are parts of one.
pub(super) fn stress(recovery_score: f64) -> f64 {
    without_float_noise(1.0 - HUNDREDTH.conversion.apply(recovery_score))
}

pub(super) const CYCLE_SCORE: Section = Section {
    at: &["score"],
    fields: &[
        day("strain", Metric::Strain).source("WHOOP"),
        day("kilojoule", Metric::TotalCalories).given_in(KILOJOULE),
        day("average_heart_rate", Metric::HeartRate),
    ],
};

pub(super) const WORKOUT_SCORE: Section = Section {
    at: &["score"],
    fields: &[
        effort("strain", Metric::WorkoutStrain).source("WHOOP"),
        effort("average_heart_rate", Metric::WorkoutHeartRateAverage),
        effort("max_heart_rate", Metric::WorkoutHeartRateMax),
        effort("kilojoule", Metric::WorkoutCalories).given_in(KILOJOULE),
        effort("distance_meter", Metric::WorkoutDistanceMeters),
    ],
};

pub(super) const MEASUREMENTS: Section = Section {
    at: &[],
    fields: &[Field::new("height_meter", Metric::Height), Field::new("weight_kilogram", Metric::Weight)],
};

/// What the stages come to, if all of them are there.
pub(super) const SLEEP_TOTAL: Field = Field::new("light + slow wave + REM", Metric::TotalSleepMinutes);

/// How long a workout was.
pub(super) const WORKOUT_LENGTH: Field =
    Field::from_times(Metric::WorkoutDurationMinutes).context(Context::Workout);

/// All of them.
pub(in crate::vendors) fn list(sources: &mut Sources) {
    sources.add("sleep", STAGES.at, &SLEEP_TOTAL);
    sources.add("recovery", RECOVERY_SCORE.at, &STRESS);
    sources.add("workout", &[], &WORKOUT_LENGTH);
    let sections = [
        ("sleep", STAGES),
        ("sleep", SLEEP_SCORE),
        ("recovery", RECOVERY_SCORE),
        ("cycle", CYCLE_SCORE),
        ("workout", WORKOUT_SCORE),
        ("body", MEASUREMENTS),
    ];
    sections.iter().for_each(|(record, section)| sources.add_section(record, section));
}
