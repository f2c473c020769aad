//! Oura's records as its API gives them (`vendors.md` §2).

use actors::domain::time::{MS_PER_DAY, MS_PER_MINUTE};
use serde_json::{Value, json};

use super::world::{Resident, date, round, utc};
use crate::demo::days::{SESSION, Workout};
use crate::demo::nights::{EPOCH, Slept, Stage};

/// Minutes from getting up, or from a workout's end, until the ring has been synced.
pub(super) const SYNCED_AFTER: i64 = 10;
/// Minutes between two syncs that tell how a day's activity grows.
pub(super) const ACTIVITY_EVERY: i64 = 120;
/// The minute of the local day from which the day's stress is told.
const STRESS_FROM: i64 = 21 * 60;
/// Minutes after which a workout is deleted again, by who deletes it.
pub(super) const DELETED_AFTER: i64 = 180;
const METERS_PER_STEP: f64 = 0.72;
const KCAL_PER_STEP: f64 = 0.04;
const RESTING_KCAL: f64 = 1_600.0;
const DAY: i64 = MS_PER_DAY / MS_PER_MINUTE;
/// Minutes between two heart rates.
const HEART_RATE_EVERY: i64 = 5;

/// A collection of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    Sleep,
    DailySleep,
    DailyReadiness,
    DailyActivity,
    DailySpo2,
    DailyStress,
    DailyResilience,
    CardiovascularAge,
    Vo2Max,
    Workout,
    Session,
}

impl Kind {
    pub(super) const ALL: [Self; 11] = [
        Self::Sleep,
        Self::DailySleep,
        Self::DailyReadiness,
        Self::DailyActivity,
        Self::DailySpo2,
        Self::DailyStress,
        Self::DailyResilience,
        Self::CardiovascularAge,
        Self::Vo2Max,
        Self::Workout,
        Self::Session,
    ];

    /// In notifications and subscriptions.
    pub(super) const fn data_type(self) -> &'static str {
        match self {
            Self::Sleep => "sleep",
            Self::DailySleep => "daily_sleep",
            Self::DailyReadiness => "daily_readiness",
            Self::DailyActivity => "daily_activity",
            Self::DailySpo2 => "daily_spo2",
            Self::DailyStress => "daily_stress",
            Self::DailyResilience => "daily_resilience",
            Self::CardiovascularAge => "daily_cardiovascular_age",
            Self::Vo2Max => "vo2_max",
            Self::Workout => "workout",
            Self::Session => "session",
        }
    }

    /// In the API's paths; one of them is spelled otherwise.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Vo2Max => "vO2_max",
            other => other.data_type(),
        }
    }

    /// When the day's record first is there, in UTC minutes since 1970; `None` if that day has none.
    pub(super) fn known_at(self, resident: &Resident, day: i64) -> Option<i64> {
        let body = resident.body();
        let up = || body.minute_of(day, body.wake_time(day)) + SYNCED_AFTER;
        match self {
            Self::DailyActivity => Some(body.minute_of(day, ACTIVITY_EVERY)),
            Self::DailyStress => Some(body.minute_of(day, STRESS_FROM)),
            Self::Workout => body.workout(day).map(|workout| workout.end + SYNCED_AFTER),
            Self::Session => body.session(day).map(|start| start + SESSION + SYNCED_AFTER),
            // Told on Mondays.
            Self::Vo2Max => (day.rem_euclid(7) == 4).then(up),
            _ => Some(up()),
        }
    }
}

/// Whether the day's workout is one of those that are deleted again.
pub(super) fn is_deleted(workout: &Workout) -> bool {
    workout.minutes() % 10 == 0
}

/// The day's record as it is at `now` (UTC minutes since 1970); `None` if there is none, not yet or no more.
pub(super) fn record(resident: &Resident, kind: Kind, day: i64, now: i64) -> Option<Value> {
    let known = kind.known_at(resident, day).filter(|known| *known <= now)?;
    let mut record = match kind {
        Kind::Sleep => sleep(resident, day),
        Kind::DailySleep => daily_sleep(resident, day),
        Kind::DailyReadiness => daily_readiness(resident, day),
        Kind::DailyActivity => return Some(daily_activity(resident, day, now)),
        Kind::DailySpo2 => {
            let average = round(Slept::before(resident.body(), day).blood_oxygen, 2);
            json!({"spo2_percentage": {"average": average}, "breathing_disturbance_index": 2 + day % 4})
        }
        Kind::DailyStress => daily_stress(resident, day),
        Kind::DailyResilience => daily_resilience(resident, day),
        Kind::CardiovascularAge => json!({"vascular_age": 28 + resident.index % 40}),
        Kind::Vo2Max => {
            json!({"vo2_max": 34 + resident.index % 20, "timestamp": resident.local(known)})
        }
        Kind::Workout => workout(resident, day).filter(|_| !is_gone(resident, day, now))?,
        Kind::Session => session(resident, day)?,
    };
    finish(&mut record, resident, kind, day, (1, known));
    Some(record)
}

fn finish(record: &mut Value, resident: &Resident, kind: Kind, day: i64, (version, updated): (i64, i64)) {
    record["id"] = resident.record_id(kind as u8, day).into();
    record["day"] = date(day).into();
    record["meta"] = json!({"version": version, "updated_at": utc(updated)});
}

fn is_gone(resident: &Resident, day: i64, now: i64) -> bool {
    let workout = resident.body().workout(day);
    workout.is_some_and(|workout| is_deleted(&workout) && workout.end + DELETED_AFTER <= now)
}

fn sleep(resident: &Resident, day: i64) -> Value {
    let night = Slept::before(resident.body(), day);
    let start = resident.local(night.start);
    let series = |values: &[f64], digits: i32| {
        // The ring misses one value in 23: its series hold nulls.
        let items: Vec<Value> = values
            .iter()
            .enumerate()
            .map(|(i, value)| if i % 23 == 7 { Value::Null } else { round(*value, digits).into() })
            .collect();
        json!({"interval": EPOCH * 60, "items": items, "timestamp": start})
    };
    let phases: String = night.stages.iter().map(|stage| ['1', '2', '3', '4'][*stage as usize]).collect();
    json!({
        "bedtime_start": start,
        "bedtime_end": resident.local(night.end),
        "type": "long_sleep",
        "period": 0,
        "total_sleep_duration": night.seconds_asleep(),
        "deep_sleep_duration": night.seconds(Stage::Deep),
        "light_sleep_duration": night.seconds(Stage::Light),
        "rem_sleep_duration": night.seconds(Stage::Rem),
        "awake_time": night.seconds(Stage::Awake),
        "time_in_bed": night.seconds_in_bed(),
        "latency": night.latency_seconds(),
        "efficiency": night.efficiency(),
        "average_breath": round(night.respiratory_rate, 2),
        "average_heart_rate": round(night.mean_heart_rate(), 2),
        "lowest_heart_rate": night.lowest_heart_rate() as i64,
        "average_hrv": night.mean_rmssd() as i64,
        "heart_rate": series(&night.heart_rates, 0),
        "hrv": series(&night.rmssds, 0),
        "sleep_phase_30_sec": phases.chars().flat_map(|phase| [phase; 10]).collect::<String>(),
        "sleep_phase_5_min": phases,
        "readiness": {"score": night.recovery_score, "temperature_deviation": round(night.temperature_deviation, 2)},
        "sleep_score_delta": null,
        "readiness_score_delta": null,
        "low_battery_alert": false,
    })
}

/// A score beside another one, for contributors.
fn near(score: i64, by: i64) -> i64 {
    (score + by).clamp(1, 100)
}

fn daily_sleep(resident: &Resident, day: i64) -> Value {
    let night = Slept::before(resident.body(), day);
    let score = night.sleep_score;
    json!({
        "score": score,
        "timestamp": format!("{}T00:00:00{}", date(day), resident.offset()),
        "contributors": {
            "deep_sleep": near(score, 5), "efficiency": near(night.efficiency(), 4), "latency": near(score, -6),
            "rem_sleep": near(score, -3), "restfulness": near(score, -9), "timing": near(score, 8),
            "total_sleep": near(score, 2),
        },
    })
}

fn daily_readiness(resident: &Resident, day: i64) -> Value {
    let night = Slept::before(resident.body(), day);
    let score = night.recovery_score;
    json!({
        "score": score,
        "timestamp": format!("{}T00:00:00{}", date(day), resident.offset()),
        "temperature_deviation": round(night.temperature_deviation, 2),
        "temperature_trend_deviation": round(night.temperature_deviation * 0.6, 2),
        "contributors": {
            "activity_balance": near(score, 3), "body_temperature": near(score, 6), "hrv_balance": near(score, -4),
            "previous_day_activity": near(score, 1), "previous_night": night.sleep_score, "recovery_index": near(score, -2),
            "resting_heart_rate": near(score, 4), "sleep_balance": near(score, -1), "sleep_regularity": near(score, 7),
        },
    })
}

/// Grows until its day is over.
fn daily_activity(resident: &Resident, day: i64, now: i64) -> Value {
    let body = resident.body();
    let start = body.minute_of(day, 0);
    let version = ((now - start) / ACTIVITY_EVERY).min(DAY / ACTIVITY_EVERY);
    let until = start + version * ACTIVITY_EVERY;
    let steps = body.steps_of_day(day, until);
    let trained = body.workout(day).filter(|workout| workout.end <= until);
    let (kcal, high) = trained.map_or((0.0, 0), |workout| (workout.kcal(), workout.minutes() * 60));
    let active_calories = (steps as f64 * KCAL_PER_STEP + kcal).round();
    let resting = (start..until).filter(|minute| body.is_asleep(*minute)).count() as i64 * 60;
    let low = (steps / 2).min((until - start) * 60 - resting - high).max(0);
    let met: Vec<f64> = (start..until)
        .step_by(HEART_RATE_EVERY as usize)
        .map(|minute| if body.is_asleep(minute) { 0.9 } else { 1.3 + body.steps(minute) as f64 / 60.0 })
        .map(|met| round(met, 1))
        .collect();
    let mut record = json!({
        "score": near(55 + steps / 250, 0),
        "steps": steps,
        "active_calories": active_calories,
        "total_calories": (active_calories + RESTING_KCAL * (until - start) as f64 / DAY as f64).round(),
        "equivalent_walking_distance": (steps as f64 * METERS_PER_STEP).round(),
        "high_activity_time": high,
        "medium_activity_time": 0,
        "low_activity_time": low,
        "sedentary_time": ((until - start) * 60 - resting - high - low).max(0),
        "resting_time": resting,
        "non_wear_time": 0,
        "met": {"interval": HEART_RATE_EVERY * 60, "items": met, "timestamp": resident.local(start)},
        "timestamp": resident.local(start),
    });
    finish(&mut record, resident, Kind::DailyActivity, day, (version, until));
    record
}

fn daily_stress(resident: &Resident, day: i64) -> Value {
    let body = resident.body();
    let levels = (0..STRESS_FROM).step_by(15).map(|time| body.vitals(body.minute_of(day, time)).stress);
    let seconds = |count: usize| count as i64 * 15 * 60;
    let levels: Vec<f64> = levels.collect();
    let stressed = seconds(levels.iter().filter(|level| **level > 0.7).count());
    let recovering = seconds(levels.iter().filter(|level| **level < 0.07).count());
    let summary = match stressed {
        ..7_200 => "restored",
        7_200..14_400 => "normal",
        _ => "stressful",
    };
    json!({"stress_high": stressed, "recovery_high": recovering, "day_summary": summary})
}

fn daily_resilience(resident: &Resident, day: i64) -> Value {
    let score = Slept::before(resident.body(), day).recovery_score;
    let level = match score {
        ..30 => "limited",
        30..55 => "adequate",
        55..75 => "solid",
        75..88 => "strong",
        _ => "exceptional",
    };
    let contributors = json!({"sleep_recovery": near(score, 2), "daytime_recovery": near(score, -5), "stress": near(score, -8)});
    json!({"level": level, "contributors": contributors})
}

fn workout(resident: &Resident, day: i64) -> Option<Value> {
    let workout = resident.body().workout(day)?;
    let intensity = match workout.effort {
        ..0.33 => "easy",
        0.33..0.66 => "moderate",
        _ => "hard",
    };
    Some(json!({
        "activity": workout.sport.name(),
        "calories": round(workout.kcal(), 1),
        "distance": round(workout.meters(), 1),
        "start_datetime": resident.local(workout.start),
        "end_datetime": resident.local(workout.end),
        "intensity": intensity,
        "source": "confirmed",
        "label": null,
    }))
}

fn session(resident: &Resident, day: i64) -> Option<Value> {
    let body = resident.body();
    let start = body.session(day)?;
    let samples = |value: &dyn Fn(i64) -> f64| {
        let items: Vec<f64> = (start..start + SESSION).map(|minute| round(value(minute), 0)).collect();
        json!({"interval": 60, "items": items, "timestamp": resident.local(start)})
    };
    Some(json!({
        "type": "breathing",
        "start_datetime": resident.local(start),
        "end_datetime": resident.local(start + SESSION),
        "heart_rate": samples(&|minute| body.vitals(minute).heart_rate - 5.0),
        "heart_rate_variability": samples(&|minute| body.vitals(minute).rmssd * 1.2),
        "motion_count": samples(&|minute| (minute % 3) as f64),
        "mood": "good",
    }))
}

/// The polled heart rates after minute `from`, up to `to` and to `now`: rows, at most `max`, and the minute after which
/// the next page goes on.
pub(super) fn heart_rates(
    resident: &Resident,
    (from, to): (i64, i64),
    now: i64,
    max: usize,
) -> (Vec<Value>, Option<i64>) {
    let body = resident.body();
    let first = from.div_euclid(HEART_RATE_EVERY) * HEART_RATE_EVERY + HEART_RATE_EVERY;
    let mut minutes = (first..=to.min(now)).step_by(HEART_RATE_EVERY as usize);
    let row = |minute: i64| {
        let source = if body.is_asleep(minute) {
            "sleep"
        } else if body.workout_at(minute).is_some() {
            "workout"
        } else {
            "awake"
        };
        let bpm = body.vitals(minute).heart_rate.round() as i64;
        let (timestamp, unix_ms) = (utc(minute), minute * MS_PER_MINUTE);
        json!({"timestamp": timestamp, "timestamp_unix": unix_ms, "bpm": bpm, "source": source})
    };
    let rows: Vec<Value> = minutes.by_ref().take(max).map(row).collect();
    let next = minutes.next().map(|minute| minute - HEART_RATE_EVERY);
    (rows, next)
}
