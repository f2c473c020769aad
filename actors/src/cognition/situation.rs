//! What one decision may look at: readings that are fresh at its time, what is usual, and the mode in force.

use crate::domain::time::{MS_PER_HOUR, Timestamp};

use super::exact::{Baseline, nano};
use super::held::{Held, Input};
use super::mode::Mode;
use super::samples::PatternDays;
use super::state::UserState;
use super::thresholds::{Limits, Yardstick};

/// For GUARDIAN a heart rate variability counts longer than elsewhere: a night's is the day's.
pub(super) const HRV_FRESH_FOR_GUARDIAN_MS: i64 = 36 * MS_PER_HOUR;

/// One decision's view of a user.
#[derive(Clone, Copy)]
pub(super) struct Situation<'a> {
    pub(super) limits: &'a Limits,
    /// The decision's time.
    pub(super) at: Timestamp,
    /// What ages run from: the decision's time, or the arrival if that was later.
    pub(super) now: Timestamp,
    /// The mode in force.
    pub(super) mode: Mode,
    /// The row that set it.
    pub(super) row: u8,
    /// The last switch was less than the cooldown ago.
    pub(super) is_cooling: bool,
    /// The heart rate variability that GUARDIAN considers.
    pub(super) hrv_of_the_day: Option<Held>,
    /// Known readings: fresh, outside workouts, and of disagreeing devices the more alarming one.
    pub(super) hrv: Option<Held>,
    pub(super) heart_rate: Option<Held>,
    pub(super) stress: Option<Held>,
    pub(super) recovery: Option<Held>,
    /// What another device said about the same moment, where the two disagree.
    pub(super) other_hrv: Option<Held>,
    pub(super) other_heart_rate: Option<Held>,
    /// What is usual for [`Self::hrv`].
    pub(super) hrv_baseline: Baseline,
    /// What is usual for [`Self::heart_rate`].
    pub(super) heart_rate_baseline: Baseline,
    /// The heart rate is over the limit and has been for as long as it must.
    pub(super) is_heart_rate_elevated: bool,
    /// A newest known reading came with the event that is being decided on.
    pub(super) has_news: bool,
    pub(super) pattern_days: PatternDays,
}

impl<'a> Situation<'a> {
    /// What a decision at `at` on the event applied last sees; `received_at` is that event's.
    pub(super) fn of(
        state: &UserState,
        at: Timestamp,
        received_at: Timestamp,
        yardstick: &'a Yardstick,
    ) -> Self {
        let Yardstick { limits, baselines } = yardstick;
        let now = at.max(received_at);
        let fresh = |input: Input, fresh_ms| {
            state.held.newest(input).copied().filter(|held| held.is_fresh(now, fresh_ms))
        };
        let known = |input: Input| fresh(input, input.fresh_ms());
        let hrv = known(Input::Hrv);
        let heart_rate = known(Input::HeartRate).filter(|held| !state.workouts.cover(held.at));
        let (stress, recovery) = (known(Input::StressLevel), known(Input::RecoveryScore));
        let has_news = [hrv, heart_rate, stress, recovery].iter().flatten().any(|held| held.seq == state.seq);

        let (hrv, other_hrv) = consider(hrv, state, now, limits);
        let (heart_rate, other_heart_rate) = consider(heart_rate, state, now, limits);
        let baseline = |input, held: Option<Held>| match held {
            Some(held) => state.samples.baseline(input, held.method, held.at, baselines),
            None => Baseline::of(0, 0, input, baselines),
        };
        let is_cooling =
            state.last_switch.as_ref().is_some_and(|last| at.ms_since(last.at) < limits.cooldown_ms());
        let mode = state.mode();
        // Row 3 is out while these are in force, and its fixed confidence never survives the cooldown.
        let pattern_days = if is_cooling || matches!(mode, Mode::Reflex | Mode::Guardian) {
            PatternDays::default()
        } else {
            let offset = state.utc_offset.unwrap_or_default();
            state.samples.pattern_days(at, offset)
        };
        Self {
            limits,
            at,
            now,
            mode,
            row: state.row_in_force(),
            is_cooling,
            hrv_of_the_day: hrv.or_else(|| fresh(Input::Hrv, HRV_FRESH_FOR_GUARDIAN_MS)),
            hrv,
            heart_rate,
            stress,
            recovery,
            other_hrv,
            other_heart_rate,
            hrv_baseline: baseline(Input::Hrv, hrv),
            heart_rate_baseline: baseline(Input::HeartRate, heart_rate),
            is_heart_rate_elevated: heart_rate.is_some_and(|held| {
                held.value > limits.heart_rate_elevated && state.was_sustained(held, limits)
            }),
            has_news,
            pattern_days,
        }
    }

    /// What is usual for a reading of `input` that is considered, where it has a baseline.
    pub(super) fn baseline(&self, input: Input) -> Option<&Baseline> {
        match input {
            Input::Hrv => Some(&self.hrv_baseline),
            Input::HeartRate => Some(&self.heart_rate_baseline),
            Input::StressLevel | Input::RecoveryScore => None,
        }
    }

    /// The heart rate variability is known and down.
    pub(super) fn hrv_down(&self) -> Option<Held> {
        let Limits { hrv_drop_ms, hrv_drop_percentage, .. } = *self.limits;
        let baseline = self.hrv_baseline;
        self.hrv.filter(|held| {
            if !baseline.is_own() {
                return held.value < HRV_LOW_WITHOUT_BASELINE_MS;
            }
            let value = nano(held.value);
            baseline.drop_against(value, hrv_drop_ms, 100).is_gt()
                || baseline.relative_drop_against(value, hrv_drop_percentage, 100).is_gt()
        })
    }

    /// The heart rate variability is known and at 90 % of a limit under which it is down, or further.
    pub(super) fn hrv_nearly_down(&self) -> Option<Held> {
        let Limits { hrv_drop_ms, hrv_drop_percentage, .. } = *self.limits;
        let baseline = self.hrv_baseline;
        self.hrv.filter(|held| {
            if !baseline.is_own() {
                return held.value < HRV_LOW_WITHOUT_BASELINE_MS;
            }
            let value = nano(held.value);
            baseline.drop_against(value, hrv_drop_ms, 90).is_ge()
                || baseline.relative_drop_against(value, hrv_drop_percentage, 90).is_ge()
        })
    }
}

/// As long as a user has no baseline of their own, only a heart rate variability under this is down.
pub(super) const HRV_LOW_WITHOUT_BASELINE_MS: f64 = 25.0;

/// Of a held reading and other devices' that disagree with it the most alarming, and what it disagrees with most.
fn consider(
    held: Option<Held>,
    state: &UserState,
    now: Timestamp,
    limits: &Limits,
) -> (Option<Held>, Option<Held>) {
    let Some(held) = held else { return (None, None) };
    // Of equally alarming readings the newer one is considered.
    let alarm = |reading: Held| {
        let value = nano(reading.value);
        (if held.input == Input::HeartRate { value } else { -value }, reading.at)
    };
    let (mut most, mut least) = (held, None::<Held>);
    for rival in state.held.of_other_devices(held, now) {
        let is_of_workout = held.input == Input::HeartRate && state.workouts.cover(rival.at);
        if is_of_workout || !disagree(held, rival, limits) {
            continue;
        }
        if alarm(rival) > alarm(most) {
            most = rival;
        }
        if least.is_none_or(|least| alarm(rival) < alarm(least)) {
            least = Some(rival);
        }
    }
    let other = if most == held { least } else { Some(held) };
    (Some(most), other)
}

fn disagree(one: Held, other: Held, limits: &Limits) -> bool {
    let (one_nano, other_nano) = (nano(one.value), nano(other.value));
    let difference = (one_nano - other_nano).abs();
    match one.input {
        Input::HeartRate => difference > nano(limits.heart_rate_elevation),
        _ => difference * 100 * nano(1.0) > nano(limits.hrv_drop_percentage) * one_nano.max(other_nano),
    }
}
