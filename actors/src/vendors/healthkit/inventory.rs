//! What of HealthKit and of Health Auto Export is read, from the tables that decide it.

use super::quantity::QuantityType;
use super::types::{self, HEART_RATE};
use super::{export, exported_sleep, nights, pressure, workout};
use crate::domain::metric::Metric;
use crate::vendors::sources::Sources;

/// Adds all of it: `samples` of an app and `metrics` of an export by their folded names, and members of `workouts`.
pub(in crate::vendors) fn list(sources: &mut Sources) {
    for row in types::ALL {
        row.samples.iter().for_each(|name| add(sources, "samples", name, row.kind));
        row.exports.iter().for_each(|name| add(sources, "metrics", name, row.kind));
    }
    for (name, _, metrics) in types::OTHERS {
        metrics.iter().for_each(|metric| sources.add_named(field("samples", name), *metric, None));
    }
    for metric in nights::SUMS {
        sources.add_named("samples.sleepanalysis, summed up".to_owned(), metric, None);
    }
    let pressure = field("metrics", export::BLOOD_PRESSURE);
    for (name, kind) in pressure::PARTS {
        sources.add_named(format!("{pressure}.{name}"), kind.metric, None);
    }
    let sleep = field("metrics", export::SLEEP);
    sources.add_named(format!("{sleep}.value"), Metric::SleepState, None);
    for (name, metric) in exported_sleep::PARTS {
        sources.add_named(format!("{sleep}.{name}"), metric, Some(exported_sleep::UNIT));
    }
    for total in workout::TOTALS {
        let (metric, unit) = (total.kind.metric, total.unit);
        total.names.iter().for_each(|name| sources.add_named(format!("workouts.{name}"), metric, unit));
    }
    for (name, kind) in workout::OF_RATES {
        sources.add_named(format!("workouts.{}.{name}", workout::RATES), kind.metric, None);
    }
    sources.add_named(format!("workouts.{}", workout::SERIES), HEART_RATE.metric, None);
}

fn add(sources: &mut Sources, list: &str, name: &[u8], kind: &QuantityType) {
    sources.add_named(field(list, name), kind.metric, kind.counted);
    if let Some(deviation) = kind.deviation {
        sources.add_named(format!("{}, small", field(list, name)), deviation, None);
    }
}

fn field(list: &str, name: &[u8]) -> String {
    format!("{list}.{}", String::from_utf8_lossy(name))
}
