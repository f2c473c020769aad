//! What Terra pushes (`vendors.md` §5): a watch's days, nights and workouts, with the data inline.

use actors::domain::time::{MS_PER_DAY, MS_PER_MINUTE};
use serde_json::{Value, json};

use super::world::{Resident, date, round};
use crate::demo::nights::{EPOCH, Slept, Stage};

const DAY: i64 = MS_PER_DAY / MS_PER_MINUTE;

/// What a push is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Daily,
    Sleep,
    Activity,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Sleep => "sleep",
            Self::Activity => "activity",
        }
    }
}

/// The push of one record as it is at `now` (UTC minutes since 1970).
pub(super) fn push(resident: &Resident, kind: Kind, day: i64, now: i64) -> Option<Value> {
    let data = match kind {
        Kind::Daily => daily(resident, day, now),
        Kind::Sleep => sleep(resident, day),
        Kind::Activity => activity(resident, day)?,
    };
    Some(json!({
        "type": kind.name(),
        "user": {
            "user_id": resident.terra_id(), "provider": "GARMIN", "reference_id": resident.person.id,
            "scopes": "daily,sleep,activity", "active": true,
        },
        "data": [data],
        "version": "2022-03-16",
    }))
}

fn daily(resident: &Resident, day: i64, now: i64) -> Value {
    let body = resident.body();
    let (start, end) = (body.minute_of(day, 0), body.minute_of(day, DAY));
    let steps = body.steps_of_day(day, now);
    let kcal = steps as f64 * 0.04;
    json!({
        "metadata": {
            "start_time": format!("{}T00:00:00.000000{}", date(day), resident.offset()),
            "end_time": resident.local(end.min(now).max(start)),
            "upload_type": 1,
        },
        "distance_data": {"steps": steps, "distance_meters": round(steps as f64 * 0.72, 1), "floors_climbed": steps / 1_500},
        "calories_data": {
            "net_activity_calories": round(kcal, 1), "BMR_calories": 1_600.0, "total_burned_calories": round(1_600.0 + kcal, 1),
        },
        "heart_rate_data": {"summary": {"resting_hr_bpm": body.resting_heart_rate}},
    })
}

fn sleep(resident: &Resident, day: i64) -> Value {
    let night = Slept::before(resident.body(), day);
    // Terra's levels: 1 awake, 4 light, 5 deep, 6 REM.
    let level = |stage: &Stage| [5, 4, 6, 1][*stage as usize];
    let mut samples: Vec<Value> = Vec::new();
    for (epoch, stage) in night.stages.iter().enumerate() {
        if epoch == 0 || night.stages[epoch - 1] != *stage {
            let timestamp = resident.local(night.start + epoch as i64 * EPOCH);
            samples.push(json!({"timestamp": timestamp, "level": level(stage)}));
        }
    }
    json!({
        "metadata": {
            "start_time": resident.local(night.start), "end_time": resident.local(night.end),
            "summary_id": resident.record_id(128, day), "upload_type": 2, "is_nap": false,
        },
        "sleep_durations_data": {
            "asleep": {
                "duration_asleep_state_seconds": night.seconds_asleep(),
                "duration_deep_sleep_state_seconds": night.seconds(Stage::Deep),
                "duration_light_sleep_state_seconds": night.seconds(Stage::Light),
                "duration_REM_sleep_state_seconds": night.seconds(Stage::Rem),
            },
            "awake": {
                "duration_awake_state_seconds": night.seconds(Stage::Awake),
                "sleep_latency_seconds": night.latency_seconds(),
            },
            "other": {"duration_in_bed_seconds": night.seconds_in_bed()},
            "sleep_efficiency": night.efficiency(),
            "hypnogram_samples": samples,
        },
        "heart_rate_data": {"summary": {
            "avg_hr_bpm": round(night.mean_heart_rate(), 1), "min_hr_bpm": night.lowest_heart_rate().round(),
            "avg_hrv_rmssd": round(night.mean_rmssd(), 1),
        }},
        "respiration_data": {"breaths_data": {"avg_breaths_per_min": round(night.respiratory_rate, 1)}},
        "temperature_data": {"delta": round(night.temperature_deviation, 2)},
        "scores": {"sleep": night.sleep_score},
    })
}

fn activity(resident: &Resident, day: i64) -> Option<Value> {
    let workout = resident.body().workout(day)?;
    let average = workout.heart_rate(resident.body().resting_heart_rate);
    Some(json!({
        "metadata": {
            "start_time": resident.local(workout.start), "end_time": resident.local(workout.end),
            "summary_id": resident.record_id(129, day), "name": workout.sport.name(), "upload_type": 1,
        },
        "distance_data": {"summary": {"distance_meters": round(workout.meters(), 1)}},
        "calories_data": {"total_burned_calories": round(workout.kcal(), 1)},
        "heart_rate_data": {"summary": {"avg_hr_bpm": average.round(), "max_hr_bpm": (average + 18.0).round()}},
    }))
}
