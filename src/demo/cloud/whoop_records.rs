//! WHOOP's records as its API v2 gives them (`vendors.md` §3).

use actors::domain::time::{MS_PER_DAY, MS_PER_MINUTE};
use serde_json::{Value, json};

use super::world::{Resident, round, utc};
use crate::demo::nights::{Slept, Stage};
use crate::demo::vitals::Channel;

/// Minutes from a sleep's or workout's end until its record is there …
pub(super) const CREATED_AFTER: i64 = 3;
/// … and until it is scored.
pub(super) const SCORED_AFTER: i64 = 12;
const DAY: i64 = MS_PER_DAY / MS_PER_MINUTE;
/// What part of all nights is never scored.
const UNSCORABLE: f64 = 0.02;
const MS_PER_S: i64 = 1_000;
const KJ_PER_KCAL: f64 = 4.184;
const FLAG_OF_A_NIGHT: i64 = 998;

/// A collection of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    Sleep = 64,
    Recovery,
    Cycle,
    Workout,
}

/// How far the vendor has come with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Scored,
    Unscorable,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING_SCORE",
            Self::Scored => "SCORED",
            Self::Unscorable => "UNSCORABLE",
        }
    }
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Sleep, Self::Recovery, Self::Cycle, Self::Workout];

    /// Behind `/v2/`.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Sleep => "activity/sleep",
            Self::Recovery => "recovery",
            Self::Cycle => "cycle",
            Self::Workout => "activity/workout",
        }
    }

    /// From when on what the day's record tells counts, and until when it lasts, in UTC minutes since 1970.
    pub(super) fn span(self, resident: &Resident, day: i64) -> Option<(i64, i64)> {
        let body = resident.body();
        let bed = |day: i64| body.minute_of(day - 1, body.bed_time());
        match self {
            Self::Sleep | Self::Recovery => Some((bed(day), body.minute_of(day, body.wake_time(day)))),
            Self::Cycle => Some((bed(day), bed(day + 1))),
            Self::Workout => body.workout(day).map(|workout| (workout.start, workout.end)),
        }
    }

    /// When the day's record first is there.
    pub(super) fn known_at(self, resident: &Resident, day: i64) -> Option<i64> {
        let (start, end) = self.span(resident, day)?;
        Some(if self == Self::Cycle { start } else { end } + CREATED_AFTER)
    }
}

/// The day's record as it is at `now` (UTC minutes since 1970); `None` if there is none yet.
pub(super) fn record(resident: &Resident, kind: Kind, day: i64, now: i64) -> Option<Value> {
    let (start, end) = kind.span(resident, day)?;
    let created = kind.known_at(resident, day).filter(|known| *known <= now)?;
    let scored = end + SCORED_AFTER;
    let is_night = matches!(kind, Kind::Sleep | Kind::Recovery);
    let flag = resident.body().unit(Channel::Stage, day * 1_000 + FLAG_OF_A_NIGHT);
    let state = match kind {
        Kind::Cycle => State::Scored,
        _ if now < scored => State::Pending,
        _ if is_night && flag < UNSCORABLE => State::Unscorable,
        _ => State::Scored,
    };
    let updated = match kind {
        // A running cycle is scored anew every hour, and the last time at its end.
        Kind::Cycle if end <= now => end,
        Kind::Cycle => now - (now - created).rem_euclid(60),
        _ if state == State::Pending => created,
        _ => scored,
    };
    let mut record = json!({
        "user_id": resident.whoop_id(),
        "created_at": utc(created),
        "updated_at": utc(updated),
        "score_state": state.name(),
    });
    identify(&mut record, resident, kind, day);
    if kind != Kind::Recovery {
        record["start"] = utc(start).into();
        record["timezone_offset"] = resident.offset().into();
        if kind != Kind::Cycle || end <= now {
            record["end"] = utc(end).into();
        }
    }
    if state == State::Scored {
        record["score"] = match kind {
            Kind::Sleep => sleep_score(resident, day),
            Kind::Recovery => recovery_score(resident, day),
            Kind::Cycle => cycle_score(resident, day, updated),
            Kind::Workout => workout_score(resident, day),
        };
    }
    Some(record)
}

fn identify(record: &mut Value, resident: &Resident, kind: Kind, day: i64) {
    let cycle = resident.cycle_id(day);
    match kind {
        Kind::Sleep => {
            record["id"] = resident.record_id(kind as u8, day).into();
            record["cycle_id"] = cycle.into();
            record["v1_id"] = v1_id(cycle, kind).into();
            record["nap"] = false.into();
        }
        Kind::Recovery => {
            record["cycle_id"] = cycle.into();
            record["sleep_id"] = resident.record_id(Kind::Sleep as u8, day).into();
        }
        Kind::Cycle => record["id"] = cycle.into(),
        Kind::Workout => {
            record["id"] = resident.record_id(kind as u8, day).into();
            record["v1_id"] = v1_id(cycle, kind).into();
            let sport = resident.body().workout(day).map(|workout| workout.sport.name());
            record["sport_name"] = sport.into();
        }
    }
}

/// The number under which the old API knew it.
fn v1_id(cycle: i64, kind: Kind) -> i64 {
    cycle * 10 + if kind == Kind::Sleep { 1 } else { 2 }
}

/// What the old API's number is now: kind and cycle.
pub(super) fn of_v1(id: i64) -> Option<(Kind, i64)> {
    match id % 10 {
        1 => Some((Kind::Sleep, id / 10)),
        2 => Some((Kind::Workout, id / 10)),
        _ => None,
    }
}

fn sleep_score(resident: &Resident, day: i64) -> Value {
    let night = Slept::before(resident.body(), day);
    let milli = |stage| night.seconds(stage) * MS_PER_S;
    json!({
        "stage_summary": {
            "total_in_bed_time_milli": night.seconds_in_bed() * MS_PER_S,
            "total_awake_time_milli": milli(Stage::Awake),
            "total_no_data_time_milli": 0,
            "total_light_sleep_time_milli": milli(Stage::Light),
            "total_slow_wave_sleep_time_milli": milli(Stage::Deep),
            "total_rem_sleep_time_milli": milli(Stage::Rem),
            "sleep_cycle_count": night.stages.len() / 18,
            "disturbance_count": night.stages.windows(2).filter(|pair| pair[0] != pair[1] && pair[1] == Stage::Awake).count(),
        },
        "sleep_needed": {
            "baseline_milli": 27_600_000,
            "need_from_sleep_debt_milli": (100 - night.sleep_score) * 30_000,
            "need_from_recent_strain_milli": 300_000,
            "need_from_recent_nap_milli": 0,
        },
        "respiratory_rate": round(night.respiratory_rate, 3),
        "sleep_performance_percentage": night.sleep_score,
        "sleep_consistency_percentage": (night.sleep_score + 7).min(100),
        "sleep_efficiency_percentage": round(100.0 * night.seconds_asleep() as f64 / night.seconds_in_bed().max(1) as f64, 2),
    })
}

fn recovery_score(resident: &Resident, day: i64) -> Value {
    let night = Slept::before(resident.body(), day);
    json!({
        "user_calibrating": false,
        "recovery_score": night.recovery_score,
        "resting_heart_rate": night.lowest_heart_rate().round(),
        "hrv_rmssd_milli": round(night.mean_rmssd(), 3),
        "spo2_percentage": round(night.blood_oxygen, 2),
        "skin_temp_celsius": round(33.4 + night.temperature_deviation, 2),
    })
}

fn cycle_score(resident: &Resident, day: i64, until: i64) -> Value {
    let body = resident.body();
    let start = body.minute_of(day, 0);
    let trained = body.workout(day).filter(|workout| workout.end <= until);
    let walked = body.steps_of_day(day, until) as f64;
    let kcal = 1_600.0 * (until - start).max(0) as f64 / DAY as f64
        + walked * 0.04
        + trained.map_or(0.0, |workout| workout.kcal());
    let strain = 2.0 + walked / 3_000.0 + trained.map_or(0.0, |workout| workout.strain() * 0.7);
    let max = trained
        .map_or(body.resting_heart_rate + 55.0, |workout| workout.heart_rate(body.resting_heart_rate) + 18.0);
    json!({
        "strain": round(strain.min(21.0), 4),
        "kilojoule": round(kcal * KJ_PER_KCAL, 2),
        "average_heart_rate": (body.resting_heart_rate + 14.0) as i64,
        "max_heart_rate": max as i64,
    })
}

fn workout_score(resident: &Resident, day: i64) -> Value {
    let body = resident.body();
    let Some(workout) = body.workout(day) else { return Value::Null };
    let average = workout.heart_rate(body.resting_heart_rate);
    let milli = workout.minutes() * 60 * MS_PER_S;
    let hard = (workout.effort * milli as f64 / 2.0) as i64;
    json!({
        "strain": round(workout.strain(), 4),
        "average_heart_rate": average as i64,
        "max_heart_rate": (average + 18.0) as i64,
        "kilojoule": round(workout.kcal() * KJ_PER_KCAL, 2),
        "percent_recorded": 100.0,
        "distance_meter": round(workout.meters(), 2),
        "altitude_gain_meter": round(workout.meters() / 250.0, 1),
        "altitude_change_meter": 0.0,
        "zone_durations": {
            "zone_zero_milli": 60_000, "zone_one_milli": 120_000, "zone_two_milli": milli - 180_000 - hard,
            "zone_three_milli": hard / 2, "zone_four_milli": hard - hard / 2, "zone_five_milli": 0,
        },
    })
}
