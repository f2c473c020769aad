//! The five rows of the decision table: which of them hold, and with what confidence. The first has the say.

use crate::domain::time::{MS_PER_MINUTE, Timestamp};

use super::exact::{confidence, nano};
use super::held::{Held, Input};
use super::mode::{Mode, Rule};
use super::situation::{HRV_FRESH_FOR_GUARDIAN_MS, HRV_LOW_WITHOUT_BASELINE_MS, Situation};

/// Under this, in ms, a heart rate variability is one of GUARDIAN's indicators.
pub(super) const GUARDIAN_HRV_MS: f64 = 30.0;
/// Under this, in ms, it adds to GUARDIAN's confidence.
const GUARDIAN_HRV_ADDS_MS: f64 = 40.0;
/// Over this, in bpm, a heart rate is one of GUARDIAN's indicators.
pub(super) const GUARDIAN_HEART_RATE_BPM: f64 = 80.0;
const GUARDIAN_CONFIDENCE_MAX: f64 = 0.9;
/// Local days that make a habit of the hour.
pub(super) const HOUR_PATTERN_DAYS: usize = 5;
/// Local days that make a habit of the weekday.
pub(super) const WEEKDAY_PATTERN_DAYS: usize = 3;
/// A heart rate variability of this many % of its baseline contradicts a high heart rate.
pub(super) const CONTRADICTION_HRV_PERCENT: i128 = 150;
pub(super) const CONTRADICTION_HIGH_BPM: f64 = 90.0;
pub(super) const CONTRADICTION_HRV_LOW_MS: f64 = 20.0;
pub(super) const CONTRADICTION_LOW_BPM: f64 = 50.0;
const CONTRADICTION_APART_MS: i64 = 30 * MS_PER_MINUTE;

/// The readings that made a row hold, as a set of [`Input`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Used(u8);

impl Used {
    fn of(readings: impl IntoIterator<Item = Option<Held>>) -> Self {
        Self(readings.into_iter().flatten().fold(0, |set, held| set | 1 << held.input as u8))
    }

    pub(super) fn has(self, input: Input) -> bool {
        self.0 & 1 << input as u8 != 0
    }
}

/// A row that holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    pub(super) rule: Rule,
    pub(super) confidence: f64,
    pub(super) used: Used,
}

impl Verdict {
    fn new(rule: Rule, value: f64, used: Used) -> Self {
        Self { rule, confidence: confidence(value), used }
    }

    /// The readings that the row used: what was considered, and what contradicted it.
    pub(super) fn readings<'s>(&self, situation: &'s Situation<'_>) -> impl Iterator<Item = Held> + 's {
        let (used, rule) = (self.used, self.rule);
        let hrv = if rule.row() == 2 { situation.hrv_of_the_day } else { situation.hrv };
        let others = [situation.other_hrv, situation.other_heart_rate];
        [hrv, situation.heart_rate, situation.stress, situation.recovery]
            .into_iter()
            .chain(others.into_iter().filter(move |_| rule == Rule::HypothesisDevices))
            .flatten()
            .filter(move |held| used.has(held.input))
    }

    /// The last moment at which everything that the row used is still fresh; none where only the past decided.
    pub(super) fn valid_until(&self, situation: &Situation<'_>) -> Option<Timestamp> {
        self.readings(situation)
            .map(|held| match held.input {
                Input::Hrv if self.rule.row() == 2 => held.at.plus_ms(HRV_FRESH_FOR_GUARDIAN_MS),
                input => held.at.plus_ms(input.fresh_ms()),
            })
            .min()
    }
}

/// The rows in the order in which they are tried; the first is row 1.
pub(super) const ROWS: [fn(&Situation<'_>) -> Option<Verdict>; 5] =
    [reflex, guardian, pattern, hypothesis, normal];

/// Row 1: acute strain.
pub(super) fn reflex(situation: &Situation<'_>) -> Option<Verdict> {
    let limits = situation.limits;
    let hrv = situation.hrv_down();
    let heart_rate = situation.heart_rate.filter(|_| situation.is_heart_rate_elevated);
    let stress = situation.stress.filter(|held| held.value > limits.stress_level_critical);
    let rule = match (hrv, heart_rate, stress) {
        (Some(_), ..) => Rule::ReflexHrvDrop,
        (None, Some(_), _) => Rule::ReflexHeartRate,
        (None, None, Some(_)) => Rule::ReflexStress,
        (None, None, None) => return None,
    };
    let factor = |held: Option<Held>, size: &dyn Fn(f64) -> f64| {
        held.map_or(0.0, |held| size(held.value).clamp(0.0, 1.0) * held.confidence)
    };
    let drop = factor(hrv, &|value| (situation.hrv_baseline.value() - value) / 30.0);
    let rise = factor(heart_rate, &|value| (value - 90.0) / 30.0);
    let level = factor(stress, &|value| value);
    Some(Verdict::new(rule, drop.max(rise).max(level).max(0.5), Used::of([hrv, heart_rate, stress])))
}

/// Row 2: worn down.
pub(super) fn guardian(situation: &Situation<'_>) -> Option<Verdict> {
    let limits = situation.limits;
    let recovery = situation.recovery.filter(|held| held.value < limits.recovery_score_low);
    let by_recovery = recovery.map(|held| confidence(1.0 - held.value / 100.0));

    let hrv = situation.hrv_of_the_day.filter(|held| held.value < GUARDIAN_HRV_ADDS_MS);
    let heart_rate = situation.heart_rate.filter(|held| held.value > GUARDIAN_HEART_RATE_BPM);
    let stress = situation.stress;
    let indicators = [
        hrv.is_some_and(|held| held.value < GUARDIAN_HRV_MS),
        heart_rate.is_some(),
        stress.is_some_and(|held| held.value > limits.stress_level_high),
    ];
    let by_indicators = (indicators.into_iter().filter(|holds| *holds).count() >= 2).then(|| {
        let from_hrv = hrv.map_or(0.0, |_| 0.3);
        let from_heart_rate = heart_rate.map_or(0.0, |_| 0.25);
        confidence(from_hrv + stress.map_or(0.0, |held| 0.5 * held.value) + from_heart_rate)
    });

    let (rule, value, used) = match (by_recovery, by_indicators) {
        (Some(first), second) if second.is_none_or(|second| first >= second) => {
            (Rule::GuardianRecovery, first, Used::of([recovery]))
        }
        (_, Some(second)) => (Rule::GuardianIndicators, second, Used::of([hrv, heart_rate, stress])),
        (_, None) => return None,
    };
    Some(Verdict::new(rule, value.min(GUARDIAN_CONFIDENCE_MAX), used))
}

/// Row 3: a habit of this hour or this weekday.
fn pattern(situation: &Situation<'_>) -> Option<Verdict> {
    if matches!(situation.mode, Mode::Reflex | Mode::Guardian) {
        return None;
    }
    let rule = if situation.pattern_days.hour >= HOUR_PATTERN_DAYS {
        Rule::PatternHour
    } else if situation.pattern_days.weekday >= WEEKDAY_PATTERN_DAYS {
        Rule::PatternWeekday
    } else {
        return None;
    };
    Some(Verdict::new(rule, 0.7, Used::default()))
}

/// Row 4: readings that contradict each other.
fn hypothesis(situation: &Situation<'_>) -> Option<Verdict> {
    let verdict = |rule, used| Some(Verdict::new(rule, 0.6, used));
    if let (Some(hrv), Some(heart_rate)) = (situation.hrv, situation.heart_rate)
        && hrv.at.ms_since(heart_rate.at).saturating_abs() <= CONTRADICTION_APART_MS
    {
        let used = Used::of([Some(hrv), Some(heart_rate)]);
        let baseline = situation.hrv_baseline;
        let is_high =
            baseline.is_own() && baseline.share_against(CONTRADICTION_HRV_PERCENT, nano(hrv.value)).is_lt();
        if is_high && heart_rate.value > CONTRADICTION_HIGH_BPM {
            return verdict(Rule::HypothesisHrvHigh, used);
        }
        if hrv.value < CONTRADICTION_HRV_LOW_MS && heart_rate.value < CONTRADICTION_LOW_BPM {
            return verdict(Rule::HypothesisHrvLow, used);
        }
    }
    let others = [situation.other_hrv, situation.other_heart_rate];
    if others.iter().all(Option::is_none) {
        return None;
    }
    verdict(Rule::HypothesisDevices, Used::of(others))
}

/// Row 5: nothing out of the ordinary.
fn normal(situation: &Situation<'_>) -> Option<Verdict> {
    let limits = situation.limits;
    let is_hrv_normal = |held: Held| match situation.hrv_baseline.is_own() {
        true => situation.hrv_nearly_down().is_none(),
        false => held.value >= HRV_LOW_WITHOUT_BASELINE_MS,
    };
    let is_heart_rate_normal = |held: Held| {
        let over = nano(held.value) - nano(limits.heart_rate_elevation);
        situation.heart_rate_baseline.share_against(100, over).is_ge()
    };
    let are_normal = situation.has_news
        && situation.hrv.is_none_or(is_hrv_normal)
        && situation.heart_rate.is_none_or(is_heart_rate_normal)
        && situation.stress.is_none_or(|held| held.value <= limits.stress_level_high)
        && situation.recovery.is_none_or(|held| held.value >= recovery_floor(situation));
    let used = Used::of([situation.hrv, situation.heart_rate, situation.stress, situation.recovery]);
    are_normal.then(|| Verdict::new(Rule::PatternNormal, 0.8, used))
}

/// From this score on a recovery is normal: GUARDIAN is left later than it is entered.
pub(super) fn recovery_floor(situation: &Situation<'_>) -> f64 {
    match situation.mode {
        Mode::Guardian => situation.limits.recovery_score_moderate,
        _ => situation.limits.recovery_score_low,
    }
}
