//! What the agenda tells around an opening: enough for modes to switch soon, and to go on switching.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use actors::domain::time::{MS_PER_HOUR, MS_PER_MINUTE, Timestamp};
use serde_json::Value;

use super::agenda::{Agenda, Event, What};
use super::clock::SimulatedClock;
use super::world::World;
use super::{Config, Vendor};
use crate::demo::story::{self, DEFAULT_PEOPLE, DEFAULT_SPEED};

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

fn readings(what: What, body: &[u8]) -> Vec<Reading> {
    let body: Value = serde_json::from_slice(body).unwrap();
    match what {
        What::HealthKit { .. } => body["samples"].as_array().unwrap().iter().map(read_sample).collect(),
        What::Ring { .. } => {
            let fields = [
                ("rmssd", &body["hrv_data"]["rmssd"]),
                ("stress", &body["stress"]["level"]),
                ("recovery", &body["recovery"]["score"]),
            ];
            let at_ms = parse_time(&body["timestamp"]);
            let told = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
            told.map(|(name, value)| Reading { metric: name.into(), value, at_ms }).collect()
        }
        What::Oura { .. } | What::Whoop { .. } | What::Terra { .. } => Vec::new(),
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

/// An event, what it tells, and the real milliseconds after which it is sent.
struct Told {
    event: Event,
    readings: Vec<Reading>,
    elapsed_ms: i64,
}

fn config(seed: u64, people: usize) -> Config {
    story::config(seed, people, NOW_MS, DEFAULT_SPEED)
}

fn world(config: &Config) -> World {
    World::new(config.seed, config.people, config.opening.map(|opening| opening.at_ms / MS_PER_MINUTE))
}

/// What the cloud of a demonstration with these settings tells.
fn events(config: &Config, until_ms: i64) -> Vec<Told> {
    let (world, clock) = (world(config), SimulatedClock::new(config.start_ms, config.speed, config.opening));
    let told = Agenda::new(&world, &config.vendors, config.start_ms).map(|event| {
        let (body, count) = event.body(world.get(event.person).unwrap());
        let readings = readings(event.what, &body);
        assert_eq!(readings.len() as u32, count);
        Told { readings, elapsed_ms: clock.elapsed_ms(event.at_ms), event }
    });
    told.take_while(|told| told.elapsed_ms < until_ms).collect()
}

/// The first eleven real minutes of a run with the default settings, for each seed; made once for all tests.
static RUNS: LazyLock<BTreeMap<u64, Vec<Told>>> = LazyLock::new(|| {
    SEEDS.map(|seed| (seed, events(&config(seed, DEFAULT_PEOPLE), 11 * MS_PER_MINUTE))).into()
});

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

    fn is_calm(&self, arrival_ms: i64) -> bool {
        let heart_rate = self.fresh("heartrate", arrival_ms, 30 * MS_PER_MINUTE);
        heart_rate.is_some_and(|bpm| bpm < 80.0)
            && !self.has_low_hrv(arrival_ms)
            && !self.stress_over(0.7, arrival_ms)
    }
}

#[test]
fn the_same_seed_tells_the_same_and_nothing_that_has_not_happened_or_was_told() {
    let config = config(42, 7);
    let (world, mut last_ms, mut told) = (world(&config), i64::MIN, BTreeSet::new());
    let run = |world| Agenda::new(world, &config.vendors, config.start_ms).take(5_000).collect::<Vec<_>>();
    let run: (Vec<Event>, Vec<Event>) = (run(&world), run(&self::world(&config)));
    assert_eq!(run.0, run.1);
    for event in run.0 {
        assert!(event.at_ms >= last_ms.max(config.start_ms));
        last_ms = event.at_ms;
        for Reading { metric, at_ms, .. } in
            readings(event.what, &event.body(world.get(event.person).unwrap()).0)
        {
            assert!(at_ms <= event.at_ms, "{event:?}");
            assert!(told.insert((event.person, metric, at_ms)), "{event:?}");
        }
    }
}

#[test]
fn every_body_has_values_that_a_body_can_have_and_all_vendors_tell() {
    let limits = |metric: &str| match metric {
        "heartrate" => 40.0..=160.0,
        "restingheartrate" => 48.0..=64.0,
        "heartratevariabilitysdnn" | "rmssd" => 5.0..=100.0,
        "oxygensaturation" => 94.0..=100.0,
        "respiratoryrate" => 10.0..=36.0,
        "bodytemperature" => 35.5..=38.7,
        "stepcount" => 1.0..=30_000.0,
        "distancewalkingrunning" => 0.1..=20_000.0,
        "activeenergyburned" => 0.01..=1_000.0,
        "stress" => 0.0..=1.0,
        "recovery" => 0.0..=100.0,
        other => panic!("metric {other}"),
    };
    for seed in SEEDS {
        let (mut metrics, mut vendors) = (BTreeSet::new(), BTreeSet::new());
        for Told { event, readings, .. } in first_minute(seed) {
            vendors.insert(event.vendor());
            for Reading { metric, value, .. } in readings {
                assert!(limits(metric).contains(value), "seed {seed}: {metric} is {value}");
                metrics.insert(metric);
            }
        }
        assert_eq!(metrics.len(), 12, "seed {seed}: {metrics:?}");
        assert!(vendors.into_iter().eq([Vendor::Oura, Vendor::Whoop, Vendor::HealthKit]), "seed {seed}");
    }
}

#[test]
fn the_first_minute_meets_what_reflex_and_guardian_ask_for() {
    for seed in SEEDS {
        let config = config(seed, DEFAULT_PEOPLE);
        let world = world(&config);
        let mut people: BTreeMap<usize, Known> = BTreeMap::new();
        let (mut reflex, mut tired) = (BTreeSet::new(), BTreeSet::new());
        for Told { event, readings, elapsed_ms } in first_minute(seed) {
            let arrival_ms = NOW_MS + elapsed_ms;
            let known = people.entry(event.person).or_default();
            readings.iter().for_each(|reading| known.apply(reading));
            let stressed = known.stress_over(0.85, arrival_ms);
            if stressed && known.has_low_hrv(arrival_ms) && known.has_sustained_high_heart_rate(arrival_ms) {
                reflex.insert(event.person);
            }
            // Told by Oura, and fetched.
            if let What::Oura { kind: super::oura_records::Kind::DailyReadiness, day, .. } = event.what {
                let slept = crate::demo::nights::Slept::before(world.get(event.person).unwrap().body(), day);
                if slept.recovery_score < 40 {
                    tired.insert(event.person);
                }
            }
        }
        assert!(reflex.contains(&0) && reflex.len() >= 2, "seed {seed}: REFLEX {reflex:?}");
        assert!(tired.len() >= 3, "seed {seed}: GUARDIAN {tired:?}");
    }
}

#[test]
fn people_go_on_becoming_stressed_and_calm_for_the_next_ten_minutes() {
    for seed in SEEDS {
        let mut people: BTreeMap<usize, Known> = BTreeMap::new();
        let mut stressed = BTreeSet::new();
        let mut changes = [0; 11];
        for Told { event, readings, elapsed_ms } in &RUNS[&seed] {
            let arrival_ms = NOW_MS + elapsed_ms;
            let known = people.entry(event.person).or_default();
            readings.iter().for_each(|reading| known.apply(reading));
            if known.stress_over(0.7, arrival_ms) && stressed.insert(event.person)
                || known.is_calm(arrival_ms) && stressed.remove(&event.person)
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
fn local_times_stay_within_the_offsets_that_exist() {
    let config = config(42, DEFAULT_PEOPLE);
    let world = world(&config);
    let mut offsets = BTreeSet::new();
    for event in Agenda::new(&world, &[Vendor::HealthKit], config.start_ms).take(500) {
        let text = String::from_utf8(event.body(world.get(event.person).unwrap()).0).unwrap();
        offsets.extend(text.match_indices('+').map(|(at, _)| text[at..at + 6].to_owned()));
    }
    assert!(offsets.len() > 5 && offsets.iter().all(|offset| offset.as_str() <= "+12:00"), "{offsets:?}");
}

#[test]
fn the_history_is_recent_enough_for_a_recovery_score_to_count() {
    let config = config(1, 1);
    assert!(NOW_MS - config.start_ms < 36 * MS_PER_HOUR);
    let opening = config.opening.unwrap();
    let arrival_ms = NOW_MS + opening.after.as_millis() as i64;
    assert!(arrival_ms - opening.at_ms < 30 * MS_PER_MINUTE && opening.after < Duration::from_secs(30));
}
