#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use actors::domain::time::{MS_PER_HOUR, Timestamp};
use serde_json::Value;

use super::*;
use crate::demo::pace::{DEFAULT_SPEED, HISTORY_MS, Pace};

const NOW_MS: i64 = 1_789_041_600_000;
const SEEDS: [u64; 3] = [1, 42, u64::MAX];

/// A reading as a reader of the bodies sees it, in canonical units.
#[derive(Debug, Clone, PartialEq)]
struct Reading {
    metric: String,
    value: f64,
    at_ms: i64,
}

fn parse_time(value: &Value) -> i64 {
    Timestamp::parse_rfc3339(value.as_str().unwrap()).unwrap().as_ms()
}

/// The quantity in its canonical unit. Written apart from the code under test: the units' factors are their definitions.
fn canonical(value: f64, unit: &str) -> f64 {
    match unit {
        "count/s" => value * 60.0,
        "s" => value * 1000.0,
        "%" if value <= 1.0 => value * 100.0,
        "degF" => (value - 32.0) / 1.8,
        "K" => value - 273.15,
        "km" => value * 1000.0,
        "mi" => value * 1609.344,
        "kJ" => value / 4.184,
        "bpm" | "count/min" | "count" | "ms" | "%" | "degC" | "m" | "kcal" | "Cal" => value,
        other => panic!("unit {other}"),
    }
}

fn readings(delivery: &Delivery) -> Vec<Reading> {
    let body: Value = serde_json::from_slice(&delivery.body).unwrap();
    match delivery.kind {
        Kind::HealthKit => body["samples"].as_array().unwrap().iter().map(read_sample).collect(),
        Kind::OuraReading => {
            let fields = [
                ("rmssd", &body["hrv_data"]["rmssd"]),
                ("stress", &body["stress"]["level"]),
                ("sleep", &body["sleep"]["score"]),
                ("recovery", &body["recovery"]["score"]),
            ];
            let at_ms = parse_time(&body["timestamp"]);
            let told = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
            told.map(|(name, value)| Reading { metric: name.into(), value, at_ms }).collect()
        }
        Kind::OuraNotification => Vec::new(),
    }
}

fn read_sample(sample: &Value) -> Reading {
    let name = sample["type"].as_str().unwrap().trim_start_matches("HKQuantityTypeIdentifier").to_lowercase();
    let time = sample.get("timestamp").unwrap_or(&sample["endDate"]);
    if let Some(start) = sample.get("startDate") {
        assert!(parse_time(start) < parse_time(time), "{sample}");
    }
    assert!(matches!(sample["source"].as_str().unwrap(), "Apple Watch" | "iPhone"));
    Reading {
        metric: name,
        value: canonical(sample["value"].as_f64().unwrap(), sample["unit"].as_str().unwrap()),
        at_ms: parse_time(time),
    }
}

/// A delivery, what it tells, and the real milliseconds after which it is sent.
struct Told {
    delivery: Delivery,
    readings: Vec<Reading>,
    elapsed_ms: i64,
}

/// The first eleven real minutes of a run with the default settings, for each seed; made once for all tests.
static RUNS: LazyLock<BTreeMap<u64, Vec<Told>>> =
    LazyLock::new(|| SEEDS.map(|seed| (seed, run(seed))).into());

fn run(seed: u64) -> Vec<Told> {
    let pace = Pace::new(NOW_MS, DEFAULT_SPEED);
    let deliveries = Population::new(seed, DEFAULT_COUNT).deliveries(pace.start_ms());
    let told = deliveries.map(|delivery| Told {
        readings: readings(&delivery),
        elapsed_ms: pace.elapsed_ms(delivery.due_ms),
        delivery,
    });
    told.take_while(|told| told.elapsed_ms < 11 * MS_PER_MINUTE).collect()
}

fn first_minute(seed: u64) -> impl Iterator<Item = &'static Told> {
    RUNS[&seed].iter().take_while(|told| told.elapsed_ms <= MS_PER_MINUTE)
}

/// What is known of one person: the newest readings, as a mode decision would hold them.
#[derive(Default)]
struct Known {
    heart_rates: BTreeMap<i64, f64>,
    newest: BTreeMap<String, Reading>,
    /// The newest SDNN of each clock hour.
    sdnn_hours: BTreeMap<i64, f64>,
}

impl Known {
    fn apply(&mut self, reading: &Reading) {
        if reading.metric == "heartrate" {
            self.heart_rates.insert(reading.at_ms, reading.value);
        }
        if reading.metric == "heartratevariabilitysdnn" {
            self.sdnn_hours.insert(reading.at_ms / MS_PER_HOUR, reading.value);
        }
        self.newest.insert(reading.metric.clone(), reading.clone());
    }

    fn fresh(&self, metric: &str, arrival_ms: i64, limit_ms: i64) -> Option<f64> {
        let reading = self.newest.get(metric)?;
        (arrival_ms - reading.at_ms <= limit_ms).then_some(reading.value)
    }

    /// Over 100 bpm in all readings of the last ten minutes, the oldest of which is at least five minutes older.
    fn has_sustained_high_heart_rate(&self, arrival_ms: i64) -> bool {
        let Some((&newest_ms, _)) = self.heart_rates.last_key_value() else { return false };
        let mut window = self.heart_rates.range(newest_ms - 10 * MS_PER_MINUTE..);
        let oldest_ms = *window.clone().next().unwrap().0;
        arrival_ms - newest_ms <= 30 * MS_PER_MINUTE
            && newest_ms - oldest_ms >= 5 * MS_PER_MINUTE
            && window.all(|(_, bpm)| *bpm > 100.0)
    }

    /// 30 % under the mean of at least five earlier clock hours of the same method.
    fn has_low_hrv(&self, arrival_ms: i64) -> bool {
        let Some(sdnn) = self.fresh("heartratevariabilitysdnn", arrival_ms, 6 * MS_PER_HOUR) else {
            return false;
        };
        let earlier: Vec<_> = self.sdnn_hours.values().rev().skip(1).collect();
        let mean = earlier.iter().copied().sum::<f64>() / earlier.len() as f64;
        earlier.len() >= 5 && (mean - sdnn) > 0.3 * mean
    }

    fn stress_over(&self, limit: f64, arrival_ms: i64) -> bool {
        self.fresh("stress", arrival_ms, 30 * MS_PER_MINUTE).is_some_and(|level| level > limit)
    }

    fn has_low_recovery(&self, arrival_ms: i64) -> bool {
        self.fresh("recovery", arrival_ms, 36 * MS_PER_HOUR).is_some_and(|score| score < 40.0)
    }

    fn is_calm(&self, arrival_ms: i64) -> bool {
        let heart_rate = self.fresh("heartrate", arrival_ms, 30 * MS_PER_MINUTE);
        heart_rate.is_some_and(|bpm| bpm < 80.0)
            && !self.has_low_hrv(arrival_ms)
            && !self.stress_over(0.7, arrival_ms)
            && !self.has_low_recovery(arrival_ms)
    }
}

#[test]
fn the_same_seed_sends_the_same_deliveries() {
    let run = |seed| Population::new(seed, 5).deliveries(NOW_MS).take(2000).collect::<Vec<_>>();
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
}

#[test]
fn deliveries_come_by_due_time_and_tell_only_what_has_happened() {
    let mut last_ms = i64::MIN;
    for delivery in Population::new(42, 7).deliveries(NOW_MS).take(5000) {
        assert!(delivery.due_ms >= last_ms);
        last_ms = delivery.due_ms;
        assert!(readings(&delivery).iter().all(|reading| reading.at_ms <= delivery.due_ms), "{delivery:?}");
    }
}

#[test]
fn every_body_is_json_with_values_that_a_body_can_have() {
    let limits = |metric: &str| match metric {
        "heartrate" => 40.0..=135.0,
        "restingheartrate" => 48.0..=64.0,
        "heartratevariabilitysdnn" | "rmssd" => 15.0..=100.0,
        "oxygensaturation" => 94.0..=100.0,
        "respiratoryrate" => 10.0..=24.0,
        "bodytemperature" => 35.5..=37.6,
        "stepcount" => 1.0..=30_000.0,
        "distancewalkingrunning" => 0.1..=20_000.0,
        "activeenergyburned" => 0.01..=1_000.0,
        "stress" => 0.0..=1.0,
        "sleep" | "recovery" => 0.0..=100.0,
        other => panic!("metric {other}"),
    };
    for seed in SEEDS {
        let (mut metrics, mut kinds) = (BTreeSet::new(), BTreeSet::new());
        for Told { delivery, readings, .. } in first_minute(seed) {
            kinds.insert(delivery.kind);
            assert_eq!(readings.len() as u32, delivery.readings);
            assert_eq!(readings.is_empty(), delivery.kind == Kind::OuraNotification);
            for Reading { metric, value, .. } in readings {
                assert!(limits(metric).contains(value), "seed {seed}: {metric} is {value}");
                metrics.insert(metric);
            }
        }
        assert_eq!(metrics.len(), 13, "seed {seed}: {metrics:?}");
        assert_eq!(kinds.len(), 3, "seed {seed}: {kinds:?}");
    }
}

#[test]
fn no_reading_of_a_person_is_told_twice() {
    let mut told = BTreeSet::new();
    for delivery in Population::new(42, 6).deliveries(NOW_MS).take(6000) {
        for Reading { metric, at_ms, .. } in readings(&delivery) {
            assert!(told.insert((delivery.person, metric, at_ms)), "{delivery:?}");
        }
    }
}

#[test]
fn the_first_minute_meets_what_reflex_and_guardian_ask_for() {
    for seed in SEEDS {
        let mut people: BTreeMap<usize, Known> = BTreeMap::new();
        let (mut reflex, mut guardian, mut recovered) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for Told { delivery, readings, elapsed_ms } in first_minute(seed) {
            let arrival_ms = NOW_MS + elapsed_ms;
            let (person, known) = (delivery.person, people.entry(delivery.person).or_default());
            readings.iter().for_each(|reading| known.apply(reading));
            if known.has_low_recovery(arrival_ms) {
                guardian.insert(person);
            } else if guardian.contains(&person) {
                recovered.insert(person);
            }
            let stressed = known.stress_over(0.85, arrival_ms);
            if stressed && known.has_low_hrv(arrival_ms) && known.has_sustained_high_heart_rate(arrival_ms) {
                reflex.insert(person);
            }
        }
        assert!(reflex.len() >= 2, "seed {seed}: REFLEX {reflex:?}");
        assert!(guardian.len() >= 3, "seed {seed}: GUARDIAN {guardian:?}");
        assert!(!recovered.is_empty(), "seed {seed}: nobody recovered");
    }
}

#[test]
fn people_go_on_becoming_stressed_and_calm_for_the_next_ten_minutes() {
    for seed in SEEDS {
        let mut people: BTreeMap<usize, Known> = BTreeMap::new();
        let mut stressed = BTreeSet::new();
        let mut changes = [0; 11];
        for Told { delivery, readings, elapsed_ms } in &RUNS[&seed] {
            let arrival_ms = NOW_MS + elapsed_ms;
            let (person, known) = (delivery.person, people.entry(delivery.person).or_default());
            readings.iter().for_each(|reading| known.apply(reading));
            if known.stress_over(0.7, arrival_ms) && stressed.insert(person)
                || known.is_calm(arrival_ms) && stressed.remove(&person)
            {
                changes[(elapsed_ms / MS_PER_MINUTE) as usize] += 1;
            }
        }
        assert!(
            changes.windows(3).all(|minutes| minutes.iter().sum::<u32>() >= 2),
            "seed {seed}: {changes:?}"
        );
    }
}

#[test]
fn a_story_is_the_same_at_whatever_time_it_is_started() {
    let values = |start_ms| {
        let run = Population::new(42, 8).deliveries(start_ms).take(3000);
        run.flat_map(|d| readings(&d)).map(|r| (r.metric, r.value, r.at_ms - start_ms)).collect::<Vec<_>>()
    };
    assert_eq!(values(NOW_MS), values(NOW_MS + 5 * MS_PER_HOUR + 17 * MS_PER_MINUTE));
}

#[test]
fn local_times_stay_within_the_offsets_that_exist() {
    let mut offsets = BTreeSet::new();
    for delivery in Population::new(42, DEFAULT_COUNT).deliveries(NOW_MS).take(500) {
        let text = String::from_utf8(delivery.body).unwrap();
        offsets.extend(text.match_indices('+').map(|(at, _)| text[at..at + 6].to_owned()));
    }
    assert!(offsets.len() > 5 && offsets.iter().all(|offset| offset.as_str() <= "+12:00"), "{offsets:?}");
}

#[test]
fn a_debug_line_shows_no_reading() {
    let delivery = Population::new(42, 1).deliveries(NOW_MS).next().unwrap();
    let line = format!("{delivery:?}");
    assert!(!line.contains("demo-") && !line.contains("samples\""), "{line}");
}

#[test]
fn the_history_is_recent_enough_for_a_recovery_score_to_count() {
    let pace = Pace::new(NOW_MS, DEFAULT_SPEED);
    let first_arrival_ms = NOW_MS + pace.elapsed_ms(pace.start_ms());
    assert!(first_arrival_ms - pace.start_ms() < 36 * MS_PER_HOUR);
    assert_eq!(HISTORY_MS / MS_PER_MINUTE, OPENING);
}
