//! What to run, and how long.

use std::time::Duration;

/// A part that can be run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// Verifying and decoding alone.
    Decode,
    /// The doors without a store.
    Floors,
    /// End to end on the embedded engines.
    Embedded,
    /// End to end on PostgreSQL, Redis and a mock of Kafka.
    Production,
    /// HealthKit in batches.
    Batches,
    /// HealthKit in one body.
    HealthKitMillion,
    /// Many live users.
    States,
    /// Many more users known than live.
    Known,
    /// What notifications tell of, from a vendor cloud.
    Fetches,
    /// Folding alone.
    Folds,
    /// A month replayed by other thresholds.
    Whatif,
    /// From the log to the published switch.
    SwitchLatency,
}

impl Section {
    const ALL: [Self; 12] = [
        Self::Decode,
        Self::Floors,
        Self::Embedded,
        Self::Production,
        Self::Batches,
        Self::HealthKitMillion,
        Self::States,
        Self::Known,
        Self::Fetches,
        Self::Folds,
        Self::Whatif,
        Self::SwitchLatency,
    ];

    /// As `ONLY` has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Floors => "floors",
            Self::Embedded => "embedded",
            Self::Production => "production",
            Self::Batches => "batches",
            Self::HealthKitMillion => "healthkit_million",
            Self::States => "states",
            Self::Known => "known",
            Self::Fetches => "fetches",
            Self::Folds => "folds",
            Self::Whatif => "whatif",
            Self::SwitchLatency => "switch_latency",
        }
    }
}

/// From the environment.
pub(crate) struct Options {
    /// `BENCH_SECONDS`: how long each load lasts.
    pub(crate) seconds: Duration,
    /// `BENCH_USERS`: how many users are live in `states` and `known`.
    pub(crate) users: usize,
    /// `BENCH_KNOWN`: how many are known in `known`; at least twice as many.
    pub(crate) known: usize,
    only: Vec<Section>,
}

const DEFAULT_SECONDS: u64 = 8;
const DEFAULT_USERS: usize = 100_000;
const DEFAULT_KNOWN: usize = 1_000_000;

impl Options {
    /// Ends the program with 2 at a mistake.
    pub(crate) fn from_process() -> Self {
        let only = text("ONLY").unwrap_or_default();
        let names = only.split([',', ' ']).filter(|name| !name.is_empty());
        let only = names.map(|name| {
            let known = Section::ALL.into_iter().find(|section| section.name() == name);
            known.unwrap_or_else(|| {
                mistake(&format!(
                    "ONLY names {name}; there are: {}",
                    Section::ALL.map(Section::name).join(", ")
                ))
            })
        });
        Self {
            only: only.collect(),
            seconds: Duration::from_secs(number("BENCH_SECONDS", DEFAULT_SECONDS)),
            users: number("BENCH_USERS", DEFAULT_USERS as u64) as usize,
            known: number("BENCH_KNOWN", DEFAULT_KNOWN as u64) as usize,
        }
    }

    /// Those that were asked for; all unless `ONLY` says otherwise.
    pub(crate) fn sections(&self) -> impl Iterator<Item = Section> {
        Section::ALL.into_iter().filter(|section| self.only.is_empty() || self.only.contains(section))
    }
}

fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str, default: u64) -> u64 {
    let Some(text) = text(name) else { return default };
    let number = text.parse().ok().filter(|number| *number > 0);
    number.unwrap_or_else(|| mistake(&format!("{name} must be a whole number above 0")))
}

fn mistake(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(2)
}
