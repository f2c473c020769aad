//! The operator's file `biometric_thresholds.yaml`: thresholds, default baselines and trigger rules.
//!
//! A file is taken whole or refused whole; what it leaves out keeps the compiled-in default. Single users may have limits
//! and baselines of their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::domain::ids::UserId;
use crate::domain::metric::Metric;

use super::held::Input;
use super::triggers::{Severity, TriggerRule};

mod file;

pub use file::ThresholdsError;

/// The longest time that a heart rate can be asked to have been elevated: its history in a state is bounded.
pub const SUSTAINED_MINUTES_MAX: f64 = 30.0;

/// The limits that rows compare readings with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    /// A drop of the heart rate variability under its baseline, in ms, that counts as down.
    pub hrv_drop_ms: f64,
    /// The same drop in % of the baseline; also how far two devices may differ, in % of the larger.
    pub hrv_drop_percentage: f64,
    /// A heart rate over this many bpm is elevated.
    pub heart_rate_elevated: f64,
    /// bpm over the baseline that are still normal; also how far two devices may differ.
    pub heart_rate_elevation: f64,
    /// How many minutes a heart rate must have been elevated; 0 = at once.
    pub heart_rate_sustained_minutes: f64,
    /// A stress level over this fraction is high.
    pub stress_level_high: f64,
    /// A stress level over this fraction is critical.
    pub stress_level_critical: f64,
    /// A recovery score under this one is low.
    pub recovery_score_low: f64,
    /// From this recovery score on GUARDIAN may end.
    pub recovery_score_moderate: f64,
    /// For how many seconds after a switch only a more urgent row may switch again.
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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DefaultBaselines {
    /// In ms.
    pub hrv: f64,
    /// In bpm.
    pub heart_rate: f64,
    /// A score.
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

/// What one user's modes are decided by.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Yardstick {
    pub(super) limits: Limits,
    pub(super) baselines: DefaultBaselines,
}

/// How many bytes tell one file from another.
const HASH_BYTES: usize = 6;

/// Everything that the file holds, as it is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    general: Yardstick,
    /// Of those who have their own.
    users: HashMap<UserId, Yardstick>,
    triggers: Vec<TriggerRule>,
    digest: [u8; HASH_BYTES],
    hash: Arc<str>,
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
            Yardstick::default(),
            HashMap::new(),
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
    fn new(general: Yardstick, users: HashMap<UserId, Yardstick>, triggers: Vec<TriggerRule>) -> Self {
        let mut values = serde_json::json!([general.limits, general.baselines, triggers]);
        if let (Some(values), false) = (values.as_array_mut(), users.is_empty()) {
            let sorted: BTreeMap<&str, &Yardstick> =
                users.iter().map(|(user, own)| (user.as_str(), own)).collect();
            values.push(serde_json::json!(sorted));
        }
        let mut digest = [0; HASH_BYTES];
        digest.copy_from_slice(&Sha256::digest(values.to_string())[..HASH_BYTES]);
        Self { general, users, triggers, digest, hash: hex::encode(digest).into() }
    }

    /// What `user`'s modes are decided by: their own limits where they have some, else everybody's.
    pub fn of(&self, user: &UserId) -> &Yardstick {
        // Most files have no users, and an id is long to hash.
        if self.users.is_empty() { &self.general } else { self.users.get(user).unwrap_or(&self.general) }
    }

    /// The limits of those who have none of their own.
    pub fn limits(&self) -> &Limits {
        &self.general.limits
    }

    /// What stands in for baselines of those who have no defaults of their own.
    pub fn baselines(&self) -> &DefaultBaselines {
        &self.general.baselines
    }

    /// How many users have limits or baselines of their own.
    pub fn users_len(&self) -> usize {
        self.users.len()
    }

    /// The trigger rules in the order of the file.
    pub fn triggers(&self) -> &[TriggerRule] {
        &self.triggers
    }

    /// Twelve hex digits, the same for the same values: `thresholds_hash` in `/health` and in explanations. Users' own
    /// values count too.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The same as bytes, for checkpoints.
    pub(super) fn digest(&self) -> [u8; HASH_BYTES] {
        self.digest
    }
}
