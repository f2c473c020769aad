//! The operator's file `biometric_thresholds.yaml`: thresholds, default baselines and trigger rules.
//!
//! A file is taken whole or refused whole; what it leaves out keeps the compiled-in default.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::metric::Metric;

use super::held::Input;
use super::triggers::{Severity, TriggerRule};

/// The longest time that a heart rate can be asked to have been elevated: its history in a state is bounded.
pub const SUSTAINED_MINUTES_MAX: f64 = 30.0;

/// The limits that rows compare readings with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// A drop of the heart rate variability under its baseline, in ms, that counts as down.
    #[serde(deserialize_with = "amount")]
    pub hrv_drop_ms: f64,
    /// The same drop in % of the baseline; also how far two devices may differ, in % of the larger.
    #[serde(deserialize_with = "amount")]
    pub hrv_drop_percentage: f64,
    /// A heart rate over this many bpm is elevated.
    #[serde(deserialize_with = "amount")]
    pub heart_rate_elevated: f64,
    /// bpm over the baseline that are still normal; also how far two devices may differ.
    #[serde(deserialize_with = "amount")]
    pub heart_rate_elevation: f64,
    /// How many minutes a heart rate must have been elevated; 0 = at once.
    #[serde(deserialize_with = "sustained_minutes")]
    pub heart_rate_sustained_minutes: f64,
    /// A stress level over this fraction is high.
    #[serde(deserialize_with = "amount")]
    pub stress_level_high: f64,
    /// A stress level over this fraction is critical.
    #[serde(deserialize_with = "amount")]
    pub stress_level_critical: f64,
    /// A recovery score under this one is low.
    #[serde(deserialize_with = "amount")]
    pub recovery_score_low: f64,
    /// From this recovery score on GUARDIAN may end.
    #[serde(deserialize_with = "amount")]
    pub recovery_score_moderate: f64,
    /// For how many seconds after a switch only a more urgent row may switch again.
    #[serde(deserialize_with = "amount")]
    pub mode_switch_cooldown_seconds: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hrv_drop_ms: 25.0,
            hrv_drop_percentage: 30.0,
            heart_rate_elevated: 100.0,
            heart_rate_elevation: 20.0,
            heart_rate_sustained_minutes: 5.0,
            stress_level_high: 0.7,
            stress_level_critical: 0.85,
            recovery_score_low: 40.0,
            recovery_score_moderate: 60.0,
            mode_switch_cooldown_seconds: 300.0,
        }
    }
}

impl Limits {
    /// The cooldown in whole milliseconds.
    pub(super) fn cooldown_ms(&self) -> i64 {
        (self.mode_switch_cooldown_seconds * 1e3).round() as i64
    }
}

/// What stands in for a user's own baselines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DefaultBaselines {
    /// In ms.
    #[serde(alias = "hrv_default", deserialize_with = "amount")]
    pub hrv: f64,
    /// In bpm.
    #[serde(alias = "heart_rate_default", deserialize_with = "amount")]
    pub heart_rate: f64,
    /// A score.
    #[serde(alias = "recovery_score_default", deserialize_with = "amount")]
    pub recovery_score: f64,
}

impl Default for DefaultBaselines {
    fn default() -> Self {
        Self { hrv: 60.0, heart_rate: 70.0, recovery_score: 75.0 }
    }
}

impl DefaultBaselines {
    /// The default of one metric; a stress level has none.
    pub(super) fn of(&self, input: Input) -> f64 {
        match input {
            Input::Hrv => self.hrv,
            Input::HeartRate => self.heart_rate,
            Input::RecoveryScore => self.recovery_score,
            Input::StressLevel => 0.0,
        }
    }
}

/// Everything that the file holds, as it is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    limits: Limits,
    baselines: DefaultBaselines,
    triggers: Vec<TriggerRule>,
    hash: Arc<str>,
}

/// Why a file was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ThresholdsError {
    /// The line, from 1, where the parser could tell it.
    pub line: Option<u64>,
    /// The column, from 1, where the parser could tell it.
    pub column: Option<u64>,
    /// What is wrong, with its place.
    problem: String,
}

/// The file as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    thresholds: Option<Limits>,
    baselines: Option<DefaultBaselines>,
    #[serde(deserialize_with = "rules")]
    triggers: Option<Vec<RuleInFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleInFile {
    metric: Metric,
    #[serde(deserialize_with = "amount")]
    below: f64,
    #[serde(rename = "type", deserialize_with = "word")]
    kind: Arc<str>,
    severity: Severity,
    #[serde(deserialize_with = "word")]
    recommendation: Arc<str>,
}

impl Default for Thresholds {
    fn default() -> Self {
        let rule = |metric, below, kind: &str, severity, recommendation: &str| TriggerRule {
            metric,
            below,
            kind: kind.into(),
            severity,
            recommendation: recommendation.into(),
        };
        Self::new(
            Limits::default(),
            DefaultBaselines::default(),
            vec![
                rule(
                    Metric::Hrv,
                    25.0,
                    "URGENT_INTERVENTION",
                    Severity::Critical,
                    "immediate_stress_protocol",
                ),
                rule(Metric::Hrv, 40.0, "STRESS_INTERVENTION", Severity::High, "breathing_exercise"),
                rule(
                    Metric::SleepScore,
                    70.0,
                    "RECOVERY_INTERVENTION",
                    Severity::Medium,
                    "sleep_optimization",
                ),
                rule(
                    Metric::RecoveryScore,
                    50.0,
                    "RECOVERY_INTERVENTION",
                    Severity::Medium,
                    "recovery_protocol",
                ),
            ],
        )
    }
}

impl Thresholds {
    /// Reads the file's text. An empty text gives the defaults.
    pub fn parse(yaml: &str) -> Result<Self, ThresholdsError> {
        let file: Option<File> = serde_saphyr::from_str(yaml).map_err(|error| {
            let place = error.location();
            ThresholdsError {
                line: place.map(|place| place.line()),
                column: place.map(|place| place.column()),
                problem: error.without_snippet().to_string(),
            }
        })?;
        let file = file.unwrap_or_default();
        let triggers = file.triggers.map(|rules| {
            let rule = |rule: RuleInFile| TriggerRule {
                metric: rule.metric,
                below: rule.below,
                kind: rule.kind,
                severity: rule.severity,
                recommendation: rule.recommendation,
            };
            rules.into_iter().map(rule).collect()
        });
        Ok(Self::new(
            file.thresholds.unwrap_or_default(),
            file.baselines.unwrap_or_default(),
            triggers.unwrap_or_else(|| Self::default().triggers),
        ))
    }

    fn new(limits: Limits, baselines: DefaultBaselines, triggers: Vec<TriggerRule>) -> Self {
        let values = serde_json::json!([limits, baselines, triggers]);
        let digest = Sha256::digest(values.to_string());
        let hash = hex::encode(&digest[..6]).into();
        Self { limits, baselines, triggers, hash }
    }

    /// The limits that rows compare readings with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What stands in for a user's own baselines.
    pub fn baselines(&self) -> &DefaultBaselines {
        &self.baselines
    }

    /// The trigger rules in the order of the file.
    pub fn triggers(&self) -> &[TriggerRule] {
        &self.triggers
    }

    /// Twelve hex digits, the same for the same values: `thresholds_hash` in `/health` and in explanations.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

/// A number that is written as a number, finite and not negative.
fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    struct Amount;

    impl Visitor<'_> for Amount {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number that is not negative")
        }

        fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<f64, E> {
            if !value.is_finite() || value < 0.0 {
                return Err(E::custom("expected a number that is not negative"));
            }
            Ok(value + 0.0)
        }

        fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<f64, E> {
            self.visit_f64(value as f64)
        }
    }

    // Not `deserialize_f64`: a quoted "25" is a text, and a wrong type is refused.
    deserializer.deserialize_any(Amount)
}

fn sustained_minutes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let minutes = amount(deserializer)?;
    if minutes > SUSTAINED_MINUTES_MAX {
        return Err(D::Error::custom(format!("expected at most {SUSTAINED_MINUTES_MAX} minutes")));
    }
    Ok(minutes)
}

/// A text that is written as a text, and holds something.
fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    struct Word;

    impl Visitor<'_> for Word {
        type Value = Arc<str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Arc<str>, E> {
            if text.trim().is_empty() {
                return Err(E::custom("expected a text that is not empty"));
            }
            Ok(text.into())
        }
    }

    deserializer.deserialize_any(Word)
}

/// A list of rules that is there but has nothing in it means none; only a missing one means the defaults.
fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<RuleInFile>>, D::Error> {
    Option::<Vec<RuleInFile>>::deserialize(deserializer).map(|rules| Some(rules.unwrap_or_default()))
}
