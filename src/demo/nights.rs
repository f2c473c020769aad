//! One night of a person: its stages, and what a ring or strap measures meanwhile.

use super::vitals::{Body, Channel};

/// Minutes in which one stage is told.
pub(super) const EPOCH: i64 = 5;
/// A round of light, deep and REM sleep takes 90 minutes.
const CYCLE_EPOCHS: i64 = 18;
/// What part of each round is deep sleep, and REM sleep: the first rounds are deep, the last ones dream.
const DEEP: [f64; 6] = [0.45, 0.35, 0.2, 0.1, 0.05, 0.0];
const REM: [f64; 6] = [0.06, 0.15, 0.25, 0.35, 0.4, 0.4];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Deep,
    Light,
    Rem,
    Awake,
}

/// The night that ended on a local day. Minutes are UTC ones since 1970.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slept {
    /// When the person went to bed, and got up.
    pub(super) start: i64,
    pub(super) end: i64,
    /// Of each [`EPOCH`].
    pub(super) stages: Vec<Stage>,
    /// bpm, of each epoch.
    pub(super) heart_rates: Vec<f64>,
    /// rMSSD in ms, of each epoch.
    pub(super) rmssds: Vec<f64>,
    /// 1 to 100.
    pub(super) sleep_score: i64,
    /// 1 to 100.
    pub(super) recovery_score: i64,
    /// °C from this person's usual temperature.
    pub(super) temperature_deviation: f64,
    /// Breaths a minute.
    pub(super) respiratory_rate: f64,
    /// Percent.
    pub(super) blood_oxygen: f64,
}

impl Slept {
    /// The night before the local `day` (counted from 1970).
    pub(super) fn before(body: &Body, day: i64) -> Self {
        let start = body.minute_of(day - 1, body.bed_time());
        let end = body.minute_of(day, body.wake_time(day));
        let night = body.night_before(day);
        let ill = body.illness(day);
        let stages: Vec<Stage> =
            (0..(end - start) / EPOCH).map(|epoch| stage(body, day, epoch, night.sleep_score)).collect();
        let felt = |epoch: usize| (body.vitals(start + epoch as i64 * EPOCH), stages[epoch]);
        let heart_rates = (0..stages.len()).map(|epoch| {
            let (vitals, stage) = felt(epoch);
            vitals.heart_rate + [-3.0, 0.0, 3.0, 8.0][stage as usize]
        });
        let rmssds = (0..stages.len()).map(|epoch| {
            let (vitals, stage) = felt(epoch);
            vitals.rmssd * [1.15, 1.0, 0.9, 0.8][stage as usize]
        });
        let middle = body.vitals((start + end) / 2);
        Self {
            start,
            end,
            heart_rates: heart_rates.collect(),
            rmssds: rmssds.collect(),
            sleep_score: (night.sleep_score - (12.0 * ill) as i64).clamp(1, 100),
            recovery_score: (night.recovery_score - (30.0 * ill) as i64).clamp(1, 100),
            temperature_deviation: 1.1 * ill + 0.2 * body.swing(Channel::Temperature, day),
            respiratory_rate: middle.respiratory_rate,
            blood_oxygen: middle.blood_oxygen.min(100.0),
            stages,
        }
    }

    /// Seconds in one stage.
    pub(super) fn seconds(&self, stage: Stage) -> i64 {
        self.stages.iter().filter(|known| **known == stage).count() as i64 * EPOCH * 60
    }

    /// Seconds in bed, as far as stages tell.
    pub(super) fn seconds_in_bed(&self) -> i64 {
        self.stages.len() as i64 * EPOCH * 60
    }

    pub(super) fn seconds_asleep(&self) -> i64 {
        self.seconds_in_bed() - self.seconds(Stage::Awake)
    }

    /// Seconds until sleep came.
    pub(super) fn latency_seconds(&self) -> i64 {
        self.stages.iter().take_while(|stage| **stage == Stage::Awake).count() as i64 * EPOCH * 60
    }

    /// Percent of the time in bed, whole.
    pub(super) fn efficiency(&self) -> i64 {
        100 * self.seconds_asleep() / self.seconds_in_bed().max(1)
    }

    pub(super) fn mean_heart_rate(&self) -> f64 {
        mean(&self.heart_rates)
    }

    pub(super) fn lowest_heart_rate(&self) -> f64 {
        self.heart_rates.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(super) fn mean_rmssd(&self) -> f64 {
        mean(&self.rmssds)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn stage(body: &Body, day: i64, epoch: i64, sleep_score: i64) -> Stage {
    let latency = 1 + (3.0 * body.unit(Channel::Stage, day * 1_000 + 999)) as i64;
    let restless = (100 - sleep_score) as f64 / 350.0;
    if epoch < latency || body.unit(Channel::Stage, day * 1_000 + epoch) < restless {
        return Stage::Awake;
    }
    let cycle = (epoch / CYCLE_EPOCHS).clamp(0, 5) as usize;
    let place = (epoch % CYCLE_EPOCHS) as f64 / CYCLE_EPOCHS as f64;
    if (0.15..0.15 + DEEP[cycle]).contains(&place) {
        Stage::Deep
    } else if place >= 1.0 - REM[cycle] {
        Stage::Rem
    } else {
        Stage::Light
    }
}
