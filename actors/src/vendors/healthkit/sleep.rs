//! Samples of sleep: intervals in one state, which HealthKit writes as a number and apps also by name.

use serde_json::value::RawValue;

use super::fields::{Fields, identify};
use super::item::{Item, Refusal, refuse};
use super::nights::Interval;
use super::types::Folded;
use crate::domain::admission::Version;
use crate::domain::metric::Metric;
use crate::vendors::json;

/// The kind of every event of sleep.
pub(super) const KIND: &str = "sleep";

/// The type's name in identities: never to be changed.
const TYPE: &str = "sleepanalysis";

/// A state of sleep, with our code (vendors.md §15). HealthKit's own codes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    InBed = 0,
    Asleep = 1,
    Light = 2,
    Deep = 3,
    Rem = 4,
    Awake = 5,
}

impl State {
    /// Every state, in the order of the codes.
    pub(super) const ALL: [Self; 6] =
        [Self::InBed, Self::Asleep, Self::Light, Self::Deep, Self::Rem, Self::Awake];

    /// Its name, as the reading's label.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InBed => "in_bed",
            Self::Asleep => "asleep",
            Self::Light => "light",
            Self::Deep => "deep",
            Self::Rem => "rem",
            Self::Awake => "awake",
        }
    }

    /// By HealthKit's number or by any of the names that apps write.
    fn read(raw: &RawValue) -> Option<Self> {
        const OF_HEALTHKIT: [State; 6] =
            [State::InBed, State::Asleep, State::Awake, State::Light, State::Deep, State::Rem];
        if let Ok(number) = json::number(raw) {
            let is_code = number.fract() == 0.0 && (0.0..6.0).contains(&number);
            return is_code.then(|| OF_HEALTHKIT[number as usize]);
        }
        let folded = Folded::of(&json::text(raw).ok()?)?;
        Some(match folded.without(&["hkcategoryvaluesleepanalysis"]) {
            b"inbed" => Self::InBed,
            b"asleep" | b"asleepunspecified" | b"unspecified" | b"sleeping" => Self::Asleep,
            b"awake" => Self::Awake,
            b"asleepcore" | b"core" | b"light" | b"asleeplight" => Self::Light,
            b"asleepdeep" | b"deep" => Self::Deep,
            b"asleeprem" | b"rem" => Self::Rem,
            _ => return None,
        })
    }
}

/// Reads an interval in one state: a reading of its own, and a part of a night.
pub(super) fn read(fields: &Fields<'_>, item: &mut Item<'_>) -> Result<(), Refusal> {
    let (field, raw) = match (fields.value, fields.stage) {
        (None, Some(stage)) => ("/stage", stage),
        (value, _) => ("/value", value.ok_or_else(|| refuse("/value")("is missing"))?),
    };
    let state = State::read(raw).ok_or_else(|| {
        refuse(field)("a state of sleep was expected: 0 to 5, or a name such as asleepCore or In Bed")
    })?;
    let times = fields.interval(&item.clock)?;
    let source = fields.source()?;
    let id = fields.id()?;
    let code = f64::from(state as u8);
    let mut reading = item.reading(Metric::SleepState, code, &times, &source);
    reading.label = Some(state.name().into());
    let identity = identify(item, id.as_deref(), TYPE, &times, (reading.source.as_deref(), code));
    item.push_interval(Interval {
        start: times.start,
        end: times.end.at,
        state,
        source: reading.source.clone(),
        confidence: source.confidence(),
        utc_offset: times.end.utc_offset,
    });
    item.push(KIND, identity, Version::Fixed, reading);
    Ok(())
}
