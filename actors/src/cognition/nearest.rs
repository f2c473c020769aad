//! How close a switch was: the input nearest to its limit, and what had been without it.
//!
//! Every condition that made the winning row hold has one value and one limit. The nearest is the one with the
//! smallest |value − limit| / max(|limit|, 1). To say what would have been, the decision is taken once more with
//! that value put just on the other side of its limit; what no row then claims stays in the mode in force.

use serde::Serialize;

use super::choice::choose;
use super::exact::nano;
use super::held::{Held, Input};
use super::mode::{Mode, Rule};
use super::rows::{
    CONTRADICTION_HIGH_BPM, CONTRADICTION_HRV_LOW_MS, CONTRADICTION_HRV_PERCENT, CONTRADICTION_LOW_BPM,
    GUARDIAN_HEART_RATE_BPM, GUARDIAN_HRV_MS, HOUR_PATTERN_DAYS, Verdict, WEEKDAY_PATTERN_DAYS,
    recovery_floor,
};
use super::samples::PatternDays;
use super::situation::{HRV_LOW_WITHOUT_BASELINE_MS, Situation};

/// The smallest step between two readings that rows tell apart.
const STEP: f64 = 0.001;

/// The decisive input that was closest to its limit.
#[derive(Clone, PartialEq, Serialize)]
pub struct Nearest {
    /// A metric's name, or `local_days` for a habit of the hour or weekday.
    pub input: &'static str,
    /// Its value, in the metric's unit.
    pub value: f64,
    /// The mode that would be in force had it been on the other side of its limit.
    pub would_be: Mode,
}

/// One condition that held.
struct Condition {
    input: Input,
    value: f64,
    limit: f64,
    /// A value on the other side.
    otherwise: f64,
}

impl Condition {
    fn distance(&self) -> f64 {
        (self.value - self.limit).abs() / self.limit.abs().max(1.0)
    }
}

/// The nearest input of the decision that `verdict` won.
pub(super) fn nearest(situation: &Situation<'_>, verdict: &Verdict) -> Option<Nearest> {
    if verdict.rule.row() == 3 {
        let days = situation.pattern_days;
        let (days, otherwise) = match verdict.rule {
            Rule::PatternHour => (days.hour, PatternDays { hour: HOUR_PATTERN_DAYS - 1, ..days }),
            _ => (days.weekday, PatternDays { weekday: WEEKDAY_PATTERN_DAYS - 1, ..days }),
        };
        let would_be = mode_after(&Situation { pattern_days: otherwise, ..*situation });
        return Some(Nearest { input: "local_days", value: days as f64, would_be });
    }
    let condition = verdict
        .readings(situation)
        .filter_map(|held| condition(situation, verdict.rule, held))
        .min_by(|one, other| one.distance().total_cmp(&other.distance()))?;
    Some(Nearest {
        input: condition.input.metric().name(),
        value: condition.value,
        would_be: mode_after(&otherwise(situation, verdict.rule, &condition)),
    })
}

fn mode_after(situation: &Situation<'_>) -> Mode {
    choose(situation).map_or(situation.mode, |verdict| verdict.rule.mode())
}

/// The condition that `held` met; none if it only added to the confidence.
fn condition(situation: &Situation<'_>, rule: Rule, held: Held) -> Option<Condition> {
    let limits = situation.limits;
    let over = |limit: f64| Some((limit, limit));
    let under = over;
    let (limit, otherwise) = match (rule, held.input) {
        (Rule::ReflexHrvDrop | Rule::ReflexHeartRate | Rule::ReflexStress, input) => match input {
            Input::Hrv => under(hrv_limit(situation, 1.0)),
            Input::HeartRate => over(limits.heart_rate_elevated),
            _ => over(limits.stress_level_critical),
        },
        (Rule::GuardianRecovery, _) => under(limits.recovery_score_low),
        (Rule::GuardianIndicators, Input::Hrv) => {
            under(GUARDIAN_HRV_MS).filter(|_| held.value < GUARDIAN_HRV_MS)
        }
        (Rule::GuardianIndicators, Input::HeartRate) => over(GUARDIAN_HEART_RATE_BPM),
        (Rule::GuardianIndicators, _) => {
            over(limits.stress_level_high).filter(|_| held.value > limits.stress_level_high)
        }
        (Rule::HypothesisHrvHigh, Input::Hrv) => {
            over(situation.hrv_baseline.value() * CONTRADICTION_HRV_PERCENT as f64 / 100.0)
        }
        (Rule::HypothesisHrvHigh, _) => over(CONTRADICTION_HIGH_BPM),
        (Rule::HypothesisHrvLow, Input::Hrv) => under(CONTRADICTION_HRV_LOW_MS),
        (Rule::HypothesisHrvLow, _) => under(CONTRADICTION_LOW_BPM),
        (Rule::HypothesisDevices, Input::Hrv) => situation
            .other_hrv
            .filter(|other| held.value < other.value)
            .and_then(|other| under(other.value * (1.0 - limits.hrv_drop_percentage / 100.0))),
        (Rule::HypothesisDevices, _) => situation
            .other_heart_rate
            .filter(|other| held.value > other.value)
            .and_then(|other| over(other.value + limits.heart_rate_elevation)),
        (_, Input::Hrv) if situation.hrv_baseline.is_own() => {
            let limit = hrv_limit(situation, 0.9);
            Some((limit, limit - STEP))
        }
        (_, Input::Hrv) => Some((HRV_LOW_WITHOUT_BASELINE_MS, HRV_LOW_WITHOUT_BASELINE_MS - STEP)),
        (_, Input::HeartRate) => {
            let limit = situation.heart_rate_baseline.value() + limits.heart_rate_elevation;
            Some((limit, limit + STEP))
        }
        (_, Input::StressLevel) => Some((limits.stress_level_high, limits.stress_level_high + STEP)),
        (_, Input::RecoveryScore) => {
            let floor = recovery_floor(situation);
            Some((floor, floor - STEP))
        }
    }?;
    Some(Condition { input: held.input, value: held.value, limit, otherwise })
}

/// Under this value the heart rate variability's drop is over `share` of one of its limits.
fn hrv_limit(situation: &Situation<'_>, share: f64) -> f64 {
    let baseline = situation.hrv_baseline;
    if !baseline.is_own() {
        return HRV_LOW_WITHOUT_BASELINE_MS;
    }
    let by_ms = baseline.value() - share * situation.limits.hrv_drop_ms;
    let by_percentage = baseline.value() * (1.0 - share * situation.limits.hrv_drop_percentage / 100.0);
    let limit = by_ms.max(by_percentage);
    // Rounded, so that the limit itself is not a last binary digit beyond it.
    nano(limit) as f64 / 1e9
}

/// The same situation with the condition's reading on the other side of its limit.
fn otherwise<'a>(situation: &Situation<'a>, rule: Rule, condition: &Condition) -> Situation<'a> {
    let set = |held: Option<Held>| held.map(|held| Held { value: condition.otherwise, ..held });
    let mut changed = *situation;
    match condition.input {
        Input::Hrv => {
            changed.hrv = set(changed.hrv);
            changed.hrv_of_the_day = set(changed.hrv_of_the_day);
        }
        Input::HeartRate => {
            changed.heart_rate = set(changed.heart_rate);
            // Nothing is known of how long a heart rate had lasted that never was.
            changed.is_heart_rate_elevated =
                changed.is_heart_rate_elevated && condition.otherwise > changed.limits.heart_rate_elevated;
        }
        Input::StressLevel => changed.stress = set(changed.stress),
        Input::RecoveryScore => changed.recovery = set(changed.recovery),
    }
    if rule == Rule::HypothesisDevices {
        match condition.input {
            Input::Hrv => changed.other_hrv = None,
            _ => changed.other_heart_rate = None,
        }
    }
    changed
}
