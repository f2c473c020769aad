//! The bodies that phones and rings send, in the variety of spellings and units that real apps use.

use actors::domain::time::{MS_PER_MINUTE, Timestamp, UtcOffset};

use super::vitals::Body;
use crate::traffic::formats::{self, Hrv, Level, Push, RingReading, Sample, Score};

/// Minutes between two heart rates before the opening, where there is one.
const HEART_RATE_EVERY: i64 = 5;
/// Minutes that a sample of steps, energy or distance covers in the history.
const ACTIVITY_EVERY: i64 = 15;
const METERS_PER_STEP: f64 = 0.72;
const KCAL_PER_STEP: f64 = 0.04;

/// Someone who wears a ring and a watch and carries a phone.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) id: String,
    pub(super) body: Body,
    index: usize,
}

/// A body and how many readings it holds.
pub(super) type Payload = (Vec<u8>, u32);

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

impl Person {
    /// The person `index` of `count` in the population of `seed`.
    pub(super) fn new(seed: u64, index: usize, count: usize, opening: Option<i64>) -> Self {
        let id = format!("cloud-{:04x}-{}", seed & 0xffff, index + 1);
        Self { id, body: Body::new(seed, index, count, opening), index }
    }

    /// Whether a minute is the turn of what is measured so often: at the opening it is everything's.
    fn is_turn(&self, minute: i64, every: i64) -> bool {
        (minute - self.body.opening.unwrap_or_default()).rem_euclid(every) == 0
    }

    /// Whether a minute is told in all detail: what was before the opening is summed up.
    fn is_recent(&self, minute: i64) -> bool {
        self.body.opening.is_none_or(|opening| minute > opening)
    }

    /// One of `styles` ways to write the same fact, the same for all that this person sends.
    fn style<T: Copy, const N: usize>(&self, styles: [T; N]) -> T {
        styles[self.index % N]
    }

    /// `minute` in UTC or with the person's own offset.
    fn time(&self, minute: i64) -> String {
        let at = Timestamp::from_ms(minute * MS_PER_MINUTE);
        let offset = UtcOffset::from_minutes(self.body.phase as i32).filter(|_| self.style([true, false]));
        let Some(offset) = offset.filter(|offset| offset.minutes() != 0) else { return at.to_string() };
        let local = at.plus_ms(i64::from(offset.minutes()) * MS_PER_MINUTE).to_string();
        format!("{}{offset}", local.trim_end_matches('Z'))
    }

    /// What the phone pushes for the minutes after `from` up to `to`.
    pub(super) fn healthkit(&self, from: i64, to: i64) -> Payload {
        let mut samples = Vec::new();
        for minute in from + 1..=to {
            self.push_measured(&mut samples, minute);
            self.push_activity(&mut samples, minute);
        }
        let count = samples.len() as u32;
        (formats::json(&Push { user_id: &self.id, samples }), count)
    }

    fn push_measured(&self, samples: &mut Vec<Sample<'_>>, minute: i64) {
        let recent = self.is_recent(minute);
        let turn = |every: i64| self.is_turn(minute + self.index as i64, every);
        let takes_pulse = recent || self.is_turn(minute, HEART_RATE_EVERY);
        let takes_hrv = turn(if recent { 5 } else { 20 });
        if !takes_pulse && !takes_hrv {
            return;
        }
        let vitals = self.body.vitals(minute);
        let mut push = |name: &str, value: f64, unit: &'static str| {
            samples.push(Sample {
                kind: self.type_name(name).into(),
                value,
                unit,
                timestamp: Some(self.time(minute)),
                start_date: None,
                end_date: None,
                source: "Apple Watch",
            });
        };
        if takes_pulse {
            let bpm = vitals.heart_rate.round();
            let (value, unit) =
                self.style([(bpm, "bpm"), (bpm, "count/min"), (round(bpm / 60.0, 4), "count/s")]);
            push("HeartRate", value, unit);
        }
        if takes_hrv {
            let ms = round(vitals.sdnn, 1);
            let (value, unit) = self.style([(ms, "ms"), (round(ms / 1000.0, 4), "s")]);
            push("HeartRateVariabilitySDNN", value, unit);
        }
        if turn(60) {
            let percent = vitals.blood_oxygen.round();
            push("OxygenSaturation", self.style([percent, percent / 100.0]), "%");
            push("RespiratoryRate", round(vitals.respiratory_rate, 1), "count/min");
            let celsius = round(vitals.body_temperature, 2);
            let styles = [
                (celsius, "degC"),
                (round(celsius * 1.8 + 32.0, 2), "degF"),
                (round(celsius + 273.15, 2), "K"),
            ];
            let (value, unit) = self.style(styles);
            push("BodyTemperature", value, unit);
        }
        if turn(24 * 60) {
            push("RestingHeartRate", self.body.resting_heart_rate, "count/min");
        }
    }

    /// Steps, and what follows from them, once per interval in which any were taken.
    fn push_activity(&self, samples: &mut Vec<Sample<'_>>, minute: i64) {
        let every = if self.is_recent(minute) { 1 } else { ACTIVITY_EVERY };
        let steps: i64 = (minute - every + 1..=minute).map(|m| self.body.steps(m)).sum();
        if !self.is_turn(minute, every) || steps == 0 {
            return;
        }
        let walked = steps as f64;
        let (meters, kcal) = (walked * METERS_PER_STEP, walked * KCAL_PER_STEP);
        let distance = self.style([(meters, "m"), (meters / 1000.0, "km"), (meters / 1609.344, "mi")]);
        let energy = self.style([(kcal, "kcal"), (kcal * 4.184, "kJ"), (kcal, "Cal")]);
        let quantities = [
            ("StepCount", (walked, "count"), "iPhone"),
            ("DistanceWalkingRunning", distance, "iPhone"),
            ("ActiveEnergyBurned", energy, "Apple Watch"),
        ];
        samples.extend(quantities.map(|(name, (value, unit), source)| Sample {
            kind: self.type_name(name).into(),
            value: round(value, 4),
            unit,
            timestamp: None,
            start_date: Some(self.time(minute - every)),
            end_date: Some(self.time(minute)),
            source,
        }));
    }

    /// Apps write `heartRate` or HealthKit's own `HKQuantityTypeIdentifierHeartRate`.
    fn type_name(&self, name: &str) -> String {
        let (first, rest) = name.split_at(1);
        self.style([
            format!("{}{rest}", first.to_lowercase()).as_str(),
            &format!("HKQuantityTypeIdentifier{name}"),
        ])
        .to_owned()
    }

    /// What the ring tells at minute `to`, in the inline format: levels that no API has, and what a nap after `from` did.
    pub(super) fn ring(&self, from: i64, to: i64) -> Payload {
        let vitals = self.body.vitals(to);
        let recovery = self.body.nap_told(from, to);
        let told = RingReading {
            user_id: &self.id,
            timestamp: self.time(to),
            hrv_data: Hrv { rmssd: round(vitals.rmssd, 1) },
            stress: Level { level: round(vitals.stress.clamp(0.0, 1.0), 3) },
            sleep: None,
            recovery: recovery.map(|score| Score { score }),
        };
        (formats::json(&told), 2 + u32::from(recovery.is_some()))
    }
}
