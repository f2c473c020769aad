//! One person's body as a pure function of time: days and nights, walks, stress, good and bad sleep.
//!
//! Times are UTC minutes since 1970; days are those of the person's own clock. The same seed tells the same story.
//! Levels are ordinary adult ones; they are illustrations, not a physiological model.

use crate::traffic::noise;

const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;
/// A waking day is cut into slots of this length, each with at most one stressful episode.
const SLOT: i64 = 50;
const EPISODE_LIKELY: f64 = 0.8;
/// The length of the episode that some are in, or come into, at the opening.
const OPENING_EPISODE: i64 = 18;
const BAD_NIGHT_LIKELY: f64 = 0.2;
/// Minutes in which the body calms down after an episode.
const CALMING: i64 = 4;
const NAP: i64 = 45;

/// What a body shows at one minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vitals {
    /// bpm.
    pub(super) heart_rate: f64,
    /// HRV as the ring measures it (rMSSD), ms.
    pub(super) rmssd: f64,
    /// HRV as the watch measures it (SDNN), ms.
    pub(super) sdnn: f64,
    /// 0 to 1.
    pub(super) stress: f64,
    /// Breaths per minute.
    pub(super) respiratory_rate: f64,
    /// Percent.
    pub(super) blood_oxygen: f64,
    /// °C.
    pub(super) body_temperature: f64,
}

/// The scores that a ring shows in the morning, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Night {
    /// How well the night went.
    pub(super) sleep_score: i64,
    /// How well the body has recovered.
    pub(super) recovery_score: i64,
    /// The recovery score after a nap, which people take after a bad night.
    pub(super) after_nap: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Episode {
    acute: bool,
    /// 1 inside the episode, falling to 0 while the body calms down.
    strength: f64,
}

/// A person's constitution and habits.
#[derive(Debug, Clone)]
pub(super) struct Body {
    seed: u64,
    /// Minutes by which this person's clock is ahead of UTC: whole half hours.
    pub(super) phase: i64,
    pub(super) resting_heart_rate: f64,
    rmssd: f64,
    /// How much later than others this person rises and goes to bed, minutes.
    shift: i64,
    /// The minute around which there is something to see: some are in acute stress then, others badly rested.
    pub(super) opening: Option<i64>,
    /// When an acute episode begins around the opening; `None` for most people, and for who is asleep then.
    opening_episode: Option<i64>,
    /// Badly rested at the opening.
    opens_tired: bool,
}

/// What [`noise`] is asked for; each gives independent numbers.
#[derive(Clone, Copy)]
pub(super) enum Channel {
    Constitution,
    Wake,
    NightKind,
    SleepScore,
    RecoveryScore,
    Episode,
    EpisodeStart,
    EpisodeLength,
    EpisodeKind,
    HeartRate,
    Hrv,
    Stress,
    Breath,
    Oxygen,
    Temperature,
    Walk,
    Steps,
    Illness,
    IllnessStart,
    IllnessLength,
    Workout,
    WorkoutStart,
    WorkoutLength,
    WorkoutEffort,
    Sport,
    Session,
    Stage,
}

impl Body {
    /// The body of the person `index` of `count`, who live spread around the world: at any time some are at work,
    /// some asleep and some getting up. At an opening it is late morning where the first one lives.
    pub(super) fn new(seed: u64, index: usize, count: usize, opening: Option<i64>) -> Self {
        let (i, n) = (index as i64, count.max(1) as i64);
        let ahead = opening.map_or(HOUR, |opening| 11 * HOUR - opening) + i * DAY / n;
        let ahead = (ahead + DAY / 2).rem_euclid(DAY) - DAY / 2;
        let late = 3 * (i / 4 % 12) - 15;
        let mut body = Self {
            seed: seed.wrapping_add((i as u64).wrapping_mul(0xA076_1D64_78BD_642F)),
            phase: ahead.div_euclid(30) * 30,
            resting_heart_rate: 0.0,
            rmssd: 0.0,
            shift: 0,
            opening,
            opening_episode: opening.filter(|_| index.is_multiple_of(4)).map(|opening| opening + late),
            opens_tired: index % 4 == 1,
        };
        body.resting_heart_rate = (50.0 + 12.0 * body.unit(Channel::Constitution, 0)).round();
        body.rmssd = 46.0 + 32.0 * body.unit(Channel::Constitution, 1);
        body.shift = (90.0 * body.unit(Channel::Constitution, 2)) as i64 - 45;
        let is_awake =
            |start: &i64| (start - HOUR..=start + HOUR).step_by(15).all(|minute| !body.is_asleep(minute));
        body.opening_episode = body.opening_episode.filter(is_awake);
        body
    }

    /// 0 to 1.
    pub(super) fn unit(&self, channel: Channel, index: i64) -> f64 {
        noise(self.seed, channel as u64 + 1, index)
    }

    /// −1 to 1.
    pub(super) fn swing(&self, channel: Channel, index: i64) -> f64 {
        2.0 * self.unit(channel, index) - 1.0
    }

    /// The local day, and the minute of it.
    pub(super) fn day_and_time(&self, minute: i64) -> (i64, i64) {
        let local = self.phase + minute;
        (local.div_euclid(DAY), local.rem_euclid(DAY))
    }

    /// When this person gets up, in minutes of the local day.
    pub(super) fn wake_time(&self, day: i64) -> i64 {
        7 * HOUR + self.shift + (20.0 * self.swing(Channel::Wake, day)) as i64
    }

    /// When this person goes to bed, in minutes of the local day.
    pub(super) fn bed_time(&self) -> i64 {
        23 * HOUR + self.shift
    }

    fn nap_end_time(&self, day: i64) -> i64 {
        self.wake_time(day) + 7 * HOUR
    }

    /// Whether the person sleeps at this minute, at night or in a nap.
    pub(super) fn is_asleep(&self, minute: i64) -> bool {
        let (day, time) = self.day_and_time(minute);
        let nap_end = self.nap_end_time(day);
        let naps = (nap_end - NAP..nap_end).contains(&time) && self.night_before(day).after_nap.is_some();
        time < self.wake_time(day) || time >= self.bed_time() || naps
    }

    /// The night that ended on this local day.
    pub(super) fn night_before(&self, day: i64) -> Night {
        let is_last = |opening: i64| {
            let (opening_day, time) = self.day_and_time(opening);
            day == if time > self.wake_time(opening_day) { opening_day } else { opening_day - 1 }
        };
        let bad = self.unit(Channel::NightKind, day) < BAD_NIGHT_LIKELY
            || (self.opens_tired && self.opening.is_some_and(is_last));
        let (sleep, recovery) = (self.unit(Channel::SleepScore, day), self.unit(Channel::RecoveryScore, day));
        let score = |low: f64, width: f64, unit: f64| (low + width * unit).round() as i64;
        if bad {
            Night {
                sleep_score: score(40.0, 18.0, sleep),
                recovery_score: score(20.0, 17.0, recovery),
                after_nap: Some(score(62.0, 8.0, recovery)),
            }
        } else {
            Night {
                sleep_score: score(71.0, 24.0, sleep),
                recovery_score: score(63.0, 30.0, recovery),
                after_nap: None,
            }
        }
    }

    /// The recovery score that a nap ended after minute `from`, up to and including `to`, has raised.
    pub(super) fn nap_told(&self, from: i64, to: i64) -> Option<i64> {
        let (day, time) = self.day_and_time(to);
        let since = time - self.nap_end_time(day);
        (0..to - from).contains(&since).then(|| self.night_before(day).after_nap).flatten()
    }

    fn episode_at(&self, minute: i64) -> Option<Episode> {
        let strength_until = |end: i64| 1.0 - ((minute - end + 1).max(0) as f64 / CALMING as f64).min(1.0);
        if let Some(start) = self.opening_episode.filter(|start| (minute - start).abs() < HOUR) {
            let strength = if minute < start { 0.0 } else { strength_until(start + OPENING_EPISODE) };
            return (strength > 0.0).then_some(Episode { acute: true, strength });
        }
        let (day, time) = self.day_and_time(minute);
        let awake_for = time - self.wake_time(day) - HOUR;
        if awake_for < 0 || time >= self.bed_time() - HOUR || self.is_asleep(minute) {
            return None;
        }
        let slot = day * DAY + awake_for / SLOT;
        if self.unit(Channel::Episode, slot) >= EPISODE_LIKELY {
            return None;
        }
        let start = (20.0 * self.unit(Channel::EpisodeStart, slot)) as i64;
        let length = 13 + (8.0 * self.unit(Channel::EpisodeLength, slot)) as i64;
        let into = awake_for % SLOT - start;
        let strength = if into < 0 { 0.0 } else { strength_until(minute - into + length) };
        let acute = self.unit(Channel::EpisodeKind, slot) < 0.5;
        (strength > 0.0).then_some(Episode { acute, strength })
    }

    /// Steps taken in this one minute: walks come in stretches of ten minutes.
    pub(super) fn steps(&self, minute: i64) -> i64 {
        if self.is_asleep(minute) || self.episode_at(minute).is_some() {
            return 0;
        }
        let pace = self.unit(Channel::Steps, minute);
        if self.workout_at(minute).is_some_and(|workout| workout.sport.is_on_foot()) {
            return 140 + (30.0 * pace) as i64;
        }
        if self.unit(Channel::Walk, minute.div_euclid(10)) < 0.18 {
            return 90 + (25.0 * pace) as i64;
        }
        if pace < 0.12 { 5 + (100.0 * pace) as i64 } else { 0 }
    }

    /// The state of the body at this minute.
    pub(super) fn vitals(&self, minute: i64) -> Vitals {
        let asleep = self.is_asleep(minute);
        let (_, time) = self.day_and_time(minute);
        // Lowest at 4 in the morning, highest at 16: the circadian course of pulse and temperature.
        let course = -((time - 4 * HOUR) as f64 / DAY as f64 * std::f64::consts::TAU).cos();
        let walking = if self.steps(minute) >= 90 { 10.0 } else { 0.0 };
        let level = |awake: f64, sleeping: f64| if asleep { sleeping } else { awake };
        let calm = Vitals {
            heart_rate: self.resting_heart_rate + level(14.0, 3.0) + 2.0 * course + walking,
            rmssd: self.rmssd * level(0.96, 1.07),
            sdnn: 0.0,
            stress: level(0.26, 0.08),
            respiratory_rate: level(15.2, 13.4),
            blood_oxygen: 97.0,
            body_temperature: 36.5 + 0.3 * course,
        };
        let calm = self.on_such_a_day(minute, calm);
        let felt = self.episode_at(minute).map_or(calm, |episode| under(episode, calm));
        let rmssd = felt.rmssd * (1.0 + 0.07 * self.swing(Channel::Hrv, minute));
        Vitals {
            heart_rate: felt.heart_rate + 3.0 * self.swing(Channel::HeartRate, minute),
            rmssd,
            sdnn: 4.0 + 0.85 * rmssd,
            stress: felt.stress + level(0.04, 0.03) * self.swing(Channel::Stress, minute),
            respiratory_rate: felt.respiratory_rate + self.swing(Channel::Breath, minute),
            blood_oxygen: felt.blood_oxygen + 1.4 * self.swing(Channel::Oxygen, minute),
            body_temperature: felt.body_temperature + 0.1 * self.swing(Channel::Temperature, minute),
        }
    }
}

/// What an episode makes of a calm body: an acute one meets every condition of the mode REFLEX, a tense one
/// two indicators of GUARDIAN (heart rate over 80, stress over 0.7) and none of REFLEX.
fn under(Episode { acute, strength }: Episode, calm: Vitals) -> Vitals {
    let (heart_rate, hrv_share, stress, breaths) =
        if acute { (114.0, 0.48, 0.93, 19.0) } else { (91.0, 0.84, 0.77, 17.0) };
    let towards = |from: f64, to: f64| from + (to - from) * strength;
    Vitals {
        heart_rate: towards(calm.heart_rate, heart_rate),
        rmssd: towards(calm.rmssd, calm.rmssd * hrv_share),
        stress: towards(calm.stress, stress),
        respiratory_rate: towards(calm.respiratory_rate, breaths),
        ..calm
    }
}
