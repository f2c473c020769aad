//! What is written of the catalogue elsewhere is what it says: `docs/metrics.md`.
//!
//! `UPDATE_CATALOGUE=1 cargo test -p actors --test catalogue` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod written;

use std::fmt::Write as _;

use actors::domain::metric::Metric;
use actors::domain::unit::{Conversion, Dimension, Unit};
use actors::vendors::sources::{self, Source};

use written::hold;

const HEAD: &str = "# Metrics

Every reading of every vendor is one of these, in this unit and inside this range, both ends included. What lies outside is
refused by itself and told in `rejected`; it takes nothing else of its delivery with it. The ranges are what bodies can
do and sensors make of it, not what is healthy.

This page and [the schema of events](schemas/biometric-event.schema.json) are made from the tables that the code works by:
`actors/src/domain/metric.rs` and `unit.rs`, and those of the vendors' decoders. A test compares them.

| metric | unit | range | converted from | why |
|---|---|---|---|---|
";

const UNITS: &str = "
## Units

As they may be written, by senders who tell one (HealthKit, Health Auto Export). A unit that is not here refuses its reading by
the unit's name. Without one the first counts; a body temperature above 45 is Fahrenheit then.

| | unit | others |
|---|---|---|
";

const SOURCES: &str = "
## Sources

Which fields of which vendor become a metric, as the vendor calls them, and their unit where it is another one and always the
same. `samples` are an app's types, `metrics` those of Health Auto Export, matched without Apple's prefixes, case, `_`, `-` and
spaces; `inline` are the Python system's formats. What each is taken for in detail: [Oura](vendors/oura.md),
[WHOOP](vendors/whoop.md), [HealthKit](vendors/healthkit.md), [Terra](vendors/terra.md).

| metric | Oura | WHOOP | HealthKit, Health Auto Export | Terra |
|---|---|---|---|---|
";

/// The devices, in the order of the columns.
const VENDORS: [&str; 4] = ["oura", "whoop", "healthkit", "terra"];

const TAIL: &str = "
- `hrv` has a `method`: `rmssd` or `sdnn`. The two are never compared with each other.
- A reading over a night, a workout or a whole day says so in `context` and is never one at rest.
- `sleep_state` has a `start`, an `end` and the state's name as its `label`.
- What is no value: null, NaN and infinities, negative codes, and 0 where nobody alive has a 0.
";

/// A unit as it is written, in all ways or in ours, and how it is converted.
fn written(unit: &Unit, in_all_ways: bool) -> String {
    let names = if in_all_ways { unit.names } else { &unit.names[..1] };
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("{}{}", names.join(" "), unit.conversion)
}

/// The units that are converted.
fn others(dimension: Dimension, in_all_ways: bool) -> String {
    let converted =
        dimension.units().iter().filter(|unit| in_all_ways || unit.conversion != Conversion::Same);
    let skipped = usize::from(in_all_ways);
    converted.skip(skipped).map(|unit| written(unit, in_all_ways)).collect::<Vec<_>>().join("; ")
}

/// `HeartRate` in words.
fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// Where a vendor has a metric.
fn fields(all: &[Source], metric: Metric, vendor: &str) -> String {
    let own = all.iter().filter(|source| source.metric == metric && source.vendor == vendor);
    let tell = |source: &Source| {
        let unit = source.unit.map(|unit| format!(" ({})", unit.names[0]));
        format!("`{}`{}", source.field, unit.unwrap_or_default())
    };
    own.map(tell).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_page_of_metrics_is_the_catalogue() {
    let mut page = HEAD.to_owned();
    for metric in Metric::ALL {
        let ((low, high), reason) = (metric.range(), metric.range_reason());
        let (name, unit, others) = (metric.name(), metric.unit(), others(metric.dimension(), false));
        writeln!(page, "| `{name}` | {unit} | {low} to {high} | {others} | {reason} |").unwrap();
    }
    page.push_str(TAIL);
    page.push_str(UNITS);
    for dimension in Dimension::ALL {
        let own = dimension.units()[0];
        let (own, others) = (written(&own, true), others(*dimension, true));
        writeln!(page, "| {} | {own} | {others} |", words(&format!("{dimension:?}"))).unwrap();
    }
    page.push_str(SOURCES);
    let all = sources::all();
    for metric in Metric::ALL {
        let columns = VENDORS.map(|vendor| fields(&all, *metric, vendor));
        writeln!(page, "| `{}` | {} |", metric.name(), columns.join(" | ")).unwrap();
    }
    assert!(all.iter().all(|source| VENDORS.contains(&source.vendor)), "a vendor without a column");
    hold("metrics.md", &page);
}
