//! The four cognitive modes, and the words for why one was taken.

use serde::{Deserialize, Serialize};

/// The mode that a downstream agent should act in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Acute strain: act at once, keep it short.
    Reflex,
    /// Worn down: protect.
    Guardian,
    /// Ordinary, or a habit of the hour or the weekday; where every user begins.
    #[default]
    Pattern,
    /// The readings contradict each other: ask before believing.
    Hypothesis,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Reflex, Self::Guardian, Self::Pattern, Self::Hypothesis];

    /// The name in messages, labels and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reflex => "REFLEX",
            Self::Guardian => "GUARDIAN",
            Self::Pattern => "PATTERN",
            Self::Hypothesis => "HYPOTHESIS",
        }
    }
}

/// Which condition of which row decided. Stored in states by its place: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it, and `name` is what users see")]
pub enum Rule {
    #[serde(rename = "reflex.hrv_drop")]
    ReflexHrvDrop,
    #[serde(rename = "reflex.heart_rate")]
    ReflexHeartRate,
    #[serde(rename = "reflex.stress")]
    ReflexStress,
    #[serde(rename = "guardian.recovery")]
    GuardianRecovery,
    #[serde(rename = "guardian.indicators")]
    GuardianIndicators,
    #[serde(rename = "pattern.hour")]
    PatternHour,
    #[serde(rename = "pattern.weekday")]
    PatternWeekday,
    #[serde(rename = "hypothesis.hrv_high")]
    HypothesisHrvHigh,
    #[serde(rename = "hypothesis.hrv_low")]
    HypothesisHrvLow,
    #[serde(rename = "hypothesis.devices")]
    HypothesisDevices,
    #[serde(rename = "pattern.normal")]
    PatternNormal,
}

impl Rule {
    /// Every rule, in the order of its place.
    pub const ALL: [Self; 11] = [
        Self::ReflexHrvDrop,
        Self::ReflexHeartRate,
        Self::ReflexStress,
        Self::GuardianRecovery,
        Self::GuardianIndicators,
        Self::PatternHour,
        Self::PatternWeekday,
        Self::HypothesisHrvHigh,
        Self::HypothesisHrvLow,
        Self::HypothesisDevices,
        Self::PatternNormal,
    ];

    /// The row of the decision table, 1 to 5; a smaller one is more urgent.
    pub const fn row(self) -> u8 {
        match self {
            Self::ReflexHrvDrop | Self::ReflexHeartRate | Self::ReflexStress => 1,
            Self::GuardianRecovery | Self::GuardianIndicators => 2,
            Self::PatternHour | Self::PatternWeekday => 3,
            Self::HypothesisHrvHigh | Self::HypothesisHrvLow | Self::HypothesisDevices => 4,
            Self::PatternNormal => 5,
        }
    }

    /// The mode that the row names.
    pub const fn mode(self) -> Mode {
        match self.row() {
            1 => Mode::Reflex,
            2 => Mode::Guardian,
            4 => Mode::Hypothesis,
            _ => Mode::Pattern,
        }
    }

    /// The word in messages, labels and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReflexHrvDrop => "reflex.hrv_drop",
            Self::ReflexHeartRate => "reflex.heart_rate",
            Self::ReflexStress => "reflex.stress",
            Self::GuardianRecovery => "guardian.recovery",
            Self::GuardianIndicators => "guardian.indicators",
            Self::PatternHour => "pattern.hour",
            Self::PatternWeekday => "pattern.weekday",
            Self::HypothesisHrvHigh => "hypothesis.hrv_high",
            Self::HypothesisHrvLow => "hypothesis.hrv_low",
            Self::HypothesisDevices => "hypothesis.devices",
            Self::PatternNormal => "pattern.normal",
        }
    }
}
