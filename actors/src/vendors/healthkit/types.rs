//! HealthKit's quantity types, and the metrics that they become. A new type is a row here.

use super::units::Quantity;
use crate::domain::event::HrvMethod;
use crate::domain::metric::Metric;

/// One quantity type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QuantityType {
    /// Apple's identifier without its prefix, in lower case. Part of identities: never to be changed.
    pub(super) name: &'static str,
    pub(super) metric: Metric,
    pub(super) method: Option<HrvMethod>,
    pub(super) quantity: Quantity,
}

const PREFIX: &str = "HKQuantityTypeIdentifier";

const TYPES: &[QuantityType] = &[
    plain("heartrate", Metric::HeartRate, Quantity::HeartRate),
    plain("restingheartrate", Metric::RestingHeartRate, Quantity::HeartRate),
    QuantityType {
        name: "heartratevariabilitysdnn",
        metric: Metric::Hrv,
        method: Some(HrvMethod::Sdnn),
        quantity: Quantity::Interval,
    },
    plain("oxygensaturation", Metric::BloodOxygen, Quantity::Saturation),
    plain("respiratoryrate", Metric::RespiratoryRate, Quantity::BreathingRate),
    plain("bodytemperature", Metric::BodyTemperature, Quantity::Temperature),
    plain("basalbodytemperature", Metric::BodyTemperature, Quantity::Temperature),
    plain("stepcount", Metric::Steps, Quantity::Count),
    plain("distancewalkingrunning", Metric::DistanceMeters, Quantity::Length),
    plain("distancecycling", Metric::DistanceMeters, Quantity::Length),
    plain("distanceswimming", Metric::DistanceMeters, Quantity::Length),
    plain("activeenergyburned", Metric::ActiveCalories, Quantity::Energy),
];

const fn plain(name: &'static str, metric: Metric, quantity: Quantity) -> QuantityType {
    QuantityType { name, metric, method: None, quantity }
}

/// The type of this name, which apps write as `HKQuantityTypeIdentifierHeartRate`, `heartRate` or `heart_rate`.
pub(super) fn find(name: &str) -> Option<&'static QuantityType> {
    let name = match name.get(..PREFIX.len()) {
        Some(start) if start.eq_ignore_ascii_case(PREFIX) => &name[PREFIX.len()..],
        _ => name,
    };
    TYPES.iter().find(|known| {
        let letters = name.bytes().filter(|&b| b != b'_').map(|b| b.to_ascii_lowercase());
        letters.eq(known.name.bytes())
    })
}
