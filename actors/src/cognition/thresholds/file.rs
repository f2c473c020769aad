//! Reads the operator's file.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Visitor};
use serde_saphyr::Error as YamlError;

use super::{DefaultBaselines, Limits, SUSTAINED_MINUTES_MAX, Thresholds, Yardstick};
use crate::cognition::triggers::{Severity, TriggerRule};
use crate::domain::ids::UserId;
use crate::domain::metric::Metric;

/// Why a file was refused, and where. Of a file that speaks of users it repeats nothing: keys of it may be their ids.
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

impl ThresholdsError {
    fn new(error: &YamlError, yaml: &str) -> Self {
        let place = error.location();
        let (line, column) = (place.map(|place| place.line()), place.map(|place| place.column()));
        // Also where the section's name is misspelt. What stands in a comment is never repeated.
        let mut read = yaml.lines().map(|line| line.split('#').next().unwrap_or_default());
        let may_name_users = read.any(|line| line.to_ascii_lowercase().contains("user"));
        let problem = match (may_name_users, line, column) {
            (false, Some(line), Some(column)) => match in_words_of_the_file(error.without_snippet()) {
                Some(words) => format!("{words} at line {line}, column {column}"),
                None => error.without_snippet().to_string(),
            },
            (false, ..) => error.without_snippet().to_string(),
            (true, Some(line), Some(column)) => {
                format!("line {line} column {column}: {}", without_content(error))
            }
            (true, ..) => without_content(error),
        };
        Self { line, column, problem }
    }
}

/// What is wrong where the parser speaks of itself: of its options, functions and events.
fn in_words_of_the_file(error: &YamlError) -> Option<String> {
    let words = match error {
        YamlError::DuplicateMappingKey { key: Some(key), .. } => {
            return Some(format!("{key} stands there twice"));
        }
        YamlError::DuplicateMappingKey { .. } => "this key stands there twice",
        YamlError::NonFiniteFloat { .. } => "expected a number that is not infinite",
        YamlError::MultipleDocuments { .. } => "expected nothing more: one file is one document",
        YamlError::Unexpected { expected: "mapping start", .. } => "expected keys with values",
        YamlError::Unexpected { expected: "sequence start", .. } => "expected a list",
        _ => return None,
    };
    Some(words.to_owned())
}

/// What is wrong, in words that hold nothing of the file.
fn without_content(error: &YamlError) -> String {
    match error.without_snippet() {
        YamlError::SerdeUnknownField { expected, .. } => {
            format!("unknown key, expected one of {}", expected.join(", "))
        }
        YamlError::SerdeUnknownVariant { expected, .. } => {
            format!("unknown word, expected one of {}", expected.join(", "))
        }
        YamlError::SerdeMissingField { field, .. } => format!("{field} is missing"),
        YamlError::SerdeInvalidType { expected, .. } | YamlError::SerdeInvalidValue { expected, .. } => {
            format!("expected {expected}")
        }
        YamlError::DuplicateMappingKey { .. } => "this key stands there twice".to_owned(),
        // Our own.
        YamlError::Message { msg, .. } if msg.starts_with("expected ") => msg.clone(),
        _ => "this is not what was expected here".to_owned(),
    }
}

/// The file as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    thresholds: Option<LimitsInFile>,
    baselines: Option<BaselinesInFile>,
    #[serde(deserialize_with = "rules")]
    triggers: Option<Vec<RuleInFile>>,
    users: Option<HashMap<UserKey, Option<UserInFile>>>,
}

/// What the file says of limits; the rest is as it is without it.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsInFile {
    #[serde(deserialize_with = "amount")]
    hrv_drop_ms: Option<f64>,
    #[serde(deserialize_with = "amount")]
    hrv_drop_percentage: Option<f64>,
    #[serde(deserialize_with = "amount")]
    heart_rate_elevated: Option<f64>,
    #[serde(deserialize_with = "amount")]
    heart_rate_elevation: Option<f64>,
    #[serde(deserialize_with = "sustained_minutes")]
    heart_rate_sustained_minutes: Option<f64>,
    #[serde(deserialize_with = "amount")]
    stress_level_high: Option<f64>,
    #[serde(deserialize_with = "amount")]
    stress_level_critical: Option<f64>,
    #[serde(deserialize_with = "amount")]
    recovery_score_low: Option<f64>,
    #[serde(deserialize_with = "amount")]
    recovery_score_moderate: Option<f64>,
    #[serde(deserialize_with = "amount")]
    mode_switch_cooldown_seconds: Option<f64>,
}

impl LimitsInFile {
    fn over(&self, general: &Limits) -> Limits {
        Limits {
            hrv_drop_ms: self.hrv_drop_ms.unwrap_or(general.hrv_drop_ms),
            hrv_drop_percentage: self.hrv_drop_percentage.unwrap_or(general.hrv_drop_percentage),
            heart_rate_elevated: self.heart_rate_elevated.unwrap_or(general.heart_rate_elevated),
            heart_rate_elevation: self.heart_rate_elevation.unwrap_or(general.heart_rate_elevation),
            heart_rate_sustained_minutes: self
                .heart_rate_sustained_minutes
                .unwrap_or(general.heart_rate_sustained_minutes),
            stress_level_high: self.stress_level_high.unwrap_or(general.stress_level_high),
            stress_level_critical: self.stress_level_critical.unwrap_or(general.stress_level_critical),
            recovery_score_low: self.recovery_score_low.unwrap_or(general.recovery_score_low),
            recovery_score_moderate: self.recovery_score_moderate.unwrap_or(general.recovery_score_moderate),
            mode_switch_cooldown_seconds: self
                .mode_switch_cooldown_seconds
                .unwrap_or(general.mode_switch_cooldown_seconds),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BaselinesInFile {
    #[serde(alias = "hrv_default", deserialize_with = "amount")]
    hrv: Option<f64>,
    #[serde(alias = "heart_rate_default", deserialize_with = "amount")]
    heart_rate: Option<f64>,
    #[serde(alias = "recovery_score_default", deserialize_with = "amount")]
    recovery_score: Option<f64>,
}

impl BaselinesInFile {
    fn over(&self, general: &DefaultBaselines) -> DefaultBaselines {
        DefaultBaselines {
            hrv: self.hrv.unwrap_or(general.hrv),
            heart_rate: self.heart_rate.unwrap_or(general.heart_rate),
            recovery_score: self.recovery_score.unwrap_or(general.recovery_score),
        }
    }
}

/// One user's own values; what is left out is as for everybody.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct UserInFile {
    thresholds: Option<LimitsInFile>,
    baselines: Option<BaselinesInFile>,
}

impl UserInFile {
    fn over(&self, general: &Yardstick) -> Yardstick {
        let limits = self.thresholds.as_ref().map(|own| own.over(&general.limits));
        let baselines = self.baselines.as_ref().map(|own| own.over(&general.baselines));
        Yardstick {
            limits: limits.unwrap_or_else(|| general.limits.clone()),
            baselines: baselines.unwrap_or_else(|| general.baselines.clone()),
        }
    }
}

/// A user's id as a key of the file.
#[derive(PartialEq, Eq, Hash)]
struct UserKey(UserId);

impl<'de> Deserialize<'de> for UserKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        UserId::parse(&text)
            .map(Self)
            .map_err(|error| D::Error::custom(format!("expected a user id: this {error}")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleInFile {
    metric: Metric,
    #[serde(deserialize_with = "number")]
    below: f64,
    #[serde(rename = "type", deserialize_with = "word")]
    kind: Arc<str>,
    severity: Severity,
    #[serde(deserialize_with = "word")]
    recommendation: Arc<str>,
}

impl From<RuleInFile> for TriggerRule {
    fn from(rule: RuleInFile) -> Self {
        let RuleInFile { metric, below, kind, severity, recommendation } = rule;
        Self { metric, below, kind, severity, recommendation }
    }
}

impl Thresholds {
    /// Reads the file's text. An empty text gives the defaults.
    pub fn parse(yaml: &str) -> Result<Self, ThresholdsError> {
        let file: Option<File> =
            serde_saphyr::from_str(yaml).map_err(|error| ThresholdsError::new(&error, yaml))?;
        let File { thresholds, baselines, triggers, users } = file.unwrap_or_default();
        let general = UserInFile { thresholds, baselines }.over(&Yardstick::default());
        let own = |(UserKey(user), own): (UserKey, Option<UserInFile>)| {
            (user, own.unwrap_or_default().over(&general))
        };
        let users = users.unwrap_or_default().into_iter().map(own).collect();
        let triggers = match triggers {
            Some(rules) => rules.into_iter().map(TriggerRule::from).collect(),
            None => Self::default().triggers,
        };
        Ok(Self::new(general, users, triggers))
    }
}

/// A number that is written as a number, finite and not negative.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
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

fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    number(deserializer).map(Some)
}

fn sustained_minutes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let minutes = number(deserializer)?;
    if minutes > SUSTAINED_MINUTES_MAX {
        return Err(D::Error::custom(format!("expected at most {SUSTAINED_MINUTES_MAX} minutes")));
    }
    Ok(Some(minutes))
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
