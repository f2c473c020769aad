//! What belongs to whole days of a person's calendar: workouts and illness.
//!
//! Days are local ones, counted from 1970-01-01; minutes are UTC ones since then.

use super::vitals::{Body, Channel, Vitals};

const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;
/// Each stretch of so many days holds at most one illness.
const ILLNESS_EVERY: i64 = 28;
const ILLNESS_LIKELY: f64 = 0.4;
const WORKOUT_LIKELY: f64 = 0.45;
const SESSION_LIKELY: f64 = 0.3;
/// Minutes of quiet breathing in the evening.
pub(super) const SESSION: i64 = 10;

/// What people train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sport {
    Running,
    Walking,
    Cycling,
    Strength,
}

impl Sport {
    const ALL: [Self; 4] = [Self::Running, Self::Walking, Self::Cycling, Self::Strength];

    pub(super) fn is_on_foot(self) -> bool {
        matches!(self, Self::Running | Self::Walking)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Walking => "walking",
            Self::Cycling => "cycling",
            Self::Strength => "strength_training",
        }
    }

    /// Metres a minute.
    const fn speed(self) -> f64 {
        match self {
            Self::Running => 165.0,
            Self::Walking => 85.0,
            Self::Cycling => 400.0,
            Self::Strength => 0.0,
        }
    }
}

/// One workout; from minute `start` up to `end`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Workout {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) sport: Sport,
    /// 0 to 1.
    pub(super) effort: f64,
}

impl Workout {
    pub(super) fn minutes(&self) -> i64 {
        self.end - self.start
    }

    /// bpm, on the average, for a heart that rests at `resting` bpm.
    pub(super) fn heart_rate(&self, resting: f64) -> f64 {
        resting + 48.0 + 40.0 * self.effort
    }

    pub(super) fn meters(&self) -> f64 {
        self.sport.speed() * (0.8 + 0.4 * self.effort) * self.minutes() as f64
    }

    pub(super) fn kcal(&self) -> f64 {
        (5.0 + 8.0 * self.effort) * self.minutes() as f64
    }

    /// On WHOOP's scale, 0 to 21.
    pub(super) fn strain(&self) -> f64 {
        (4.0 + 9.0 * self.effort + 0.04 * self.minutes() as f64).min(20.0)
    }
}

impl Body {
    /// The UTC minute at which the local `day` is `time` minutes old.
    pub(super) fn minute_of(&self, day: i64, time: i64) -> i64 {
        day * DAY + time - self.phase
    }

    /// How ill this person is on that day, 0 to 1: worst on the second day.
    pub(super) fn illness(&self, day: i64) -> f64 {
        let stretch = day.div_euclid(ILLNESS_EVERY);
        if self.unit(Channel::Illness, stretch) >= ILLNESS_LIKELY {
            return 0.0;
        }
        let start = stretch * ILLNESS_EVERY + (20.0 * self.unit(Channel::IllnessStart, stretch)) as i64;
        let length = 3 + (3.0 * self.unit(Channel::IllnessLength, stretch)) as i64;
        match day - start {
            0 => 0.6,
            into if (1..length).contains(&into) => 1.0 - 0.7 * (into - 1) as f64 / length as f64,
            _ => 0.0,
        }
    }

    /// The day's workout, in the late afternoon. Whoever is ill has none.
    pub(super) fn workout(&self, day: i64) -> Option<Workout> {
        if self.illness(day) > 0.0 || self.unit(Channel::Workout, day) >= WORKOUT_LIKELY {
            return None;
        }
        let time = self.wake_time(day) + 10 * HOUR + (90.0 * self.unit(Channel::WorkoutStart, day)) as i64;
        let length = 25 + (45.0 * self.unit(Channel::WorkoutLength, day)) as i64;
        let start = self.minute_of(day, time);
        let sport = Sport::ALL[(4.0 * self.unit(Channel::Sport, day)) as usize % 4];
        Some(Workout { start, end: start + length, sport, effort: self.unit(Channel::WorkoutEffort, day) })
    }

    pub(super) fn workout_at(&self, minute: i64) -> Option<Workout> {
        let (day, _) = self.day_and_time(minute);
        self.workout(day).filter(|workout| (workout.start..workout.end).contains(&minute))
    }

    /// The minute at which the day's breathing session begins.
    pub(super) fn session(&self, day: i64) -> Option<i64> {
        let sits = self.unit(Channel::Session, day) < SESSION_LIKELY;
        sits.then(|| self.minute_of(day, self.bed_time() - HOUR))
    }

    /// What illness and training make of a calm body.
    pub(super) fn on_such_a_day(&self, minute: i64, calm: Vitals) -> Vitals {
        let (day, _) = self.day_and_time(minute);
        let ill = self.illness(day);
        let ill = Vitals {
            heart_rate: calm.heart_rate + 9.0 * ill,
            rmssd: calm.rmssd * (1.0 - 0.4 * ill),
            respiratory_rate: calm.respiratory_rate + 2.0 * ill,
            body_temperature: calm.body_temperature + 1.1 * ill,
            ..calm
        };
        match self.workout_at(minute) {
            Some(workout) => Vitals {
                heart_rate: workout.heart_rate(self.resting_heart_rate),
                rmssd: ill.rmssd * 0.35,
                respiratory_rate: 24.0 + 10.0 * workout.effort,
                ..ill
            },
            None => ill,
        }
    }

    /// Steps of the local `day` up to minute `until`, exclusive.
    pub(super) fn steps_of_day(&self, day: i64, until: i64) -> i64 {
        let (start, end) = (self.minute_of(day, 0), self.minute_of(day, DAY).min(until));
        (start..end).map(|minute| self.steps(minute)).sum()
    }
}
