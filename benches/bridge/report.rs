//! The results: a table for people, JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use biometric_bridge::traffic::Latencies;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::machine::Fsync;

const HEADER: [&str; 10] = [
    "what",
    "per s",
    "to state per s",
    "of floor 1",
    "of floor 2",
    "CPU µs each",
    "p50",
    "p99",
    "p99.9",
    "RSS max",
];

/// One load.
pub(crate) struct Row {
    what: String,
    /// Answered with success, a second.
    pub(crate) rate: f64,
    /// Applied to states, a second, with the time that the last ones took.
    pub(crate) to_state: Option<f64>,
    /// Microseconds for each that was answered with success, by process.
    pub(crate) cpu_us: Vec<(&'static str, f64)>,
    p50_p99_p999: Option<[Duration; 3]>,
    pub(crate) rss_max_mib: Option<f64>,
    /// Not answered with success.
    pub(crate) refused: u64,
    /// The engines' name, if its rate can be compared with the floors: nobody has given it, and it counts deliveries.
    pub(crate) comparable: Option<&'static str>,
}

impl Row {
    pub(crate) fn new(what: &str, rate: f64) -> Self {
        Self {
            what: what.to_owned(),
            rate,
            to_state: None,
            cpu_us: Vec::new(),
            p50_p99_p999: None,
            rss_max_mib: None,
            refused: 0,
            comparable: None,
        }
    }

    pub(crate) fn latencies(&mut self, latencies: &Latencies) {
        let quantile = |q| latencies.quantile(q).unwrap_or_default();
        self.p50_p99_p999 = Some([quantile(0.5), quantile(0.99), quantile(0.999)]);
    }

    /// Counts samples, of which each delivery has so many, instead of deliveries.
    pub(crate) fn per_sample(&mut self, samples: f64) {
        self.rate *= samples;
        self.to_state = self.to_state.map(|rate| rate * samples);
        self.cpu_us.iter_mut().for_each(|(_, us)| *us /= samples);
        self.comparable = None;
    }
}

/// Everything that was measured.
pub(crate) struct Results {
    fsync: Fsync,
    /// Deliveries a second without a store.
    pub(crate) floor_1: Option<f64>,
    /// Deliveries a second without a bridge, by the engines' name.
    pub(crate) floor_2: BTreeMap<&'static str, f64>,
    rows: Vec<Row>,
    figures: Vec<(String, String)>,
}

impl Results {
    pub(crate) fn new(fsync: Fsync) -> Self {
        Self { fsync, floor_1: None, floor_2: BTreeMap::new(), rows: Vec::new(), figures: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// A number that is no load.
    pub(crate) fn figure(&mut self, what: String, value: String) {
        self.figures.push((what, value));
    }

    /// The row's rate as a part of both floors'.
    fn parts(&self, row: &Row) -> [Option<f64>; 2] {
        let floor_2 = row.comparable.and_then(|family| self.floor_2.get(family).copied());
        let floor_1 = self.floor_1.filter(|_| row.comparable.is_some());
        [floor_1, floor_2].map(|floor| floor.map(|floor| row.rate / floor))
    }

    /// How the row's p99 stands to the disk.
    pub(crate) fn p99_of_fsync(&mut self, row: &Row) {
        let Some([_, p99, _]) = row.p50_p99_p999 else { return };
        let fsyncs = p99.as_secs_f64() / self.fsync.p50.as_secs_f64();
        self.figure(format!("{}: p99 in fsyncs", row.what), format!("{fsyncs:.1}"));
    }

    /// Writes them to `target/bench.json`.
    pub(crate) fn save(&self) -> PathBuf {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target");
        std::fs::create_dir_all(&folder).expect("the folder target");
        let path = folder.join("bench.json");
        let text = serde_json::to_string_pretty(&self.as_json()).expect("JSON");
        std::fs::write(&path, text).expect("a file in target");
        path
    }

    fn as_json(&self) -> Value {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let row = |row: &Row| {
            let [p50, p99, p99_9] = row.p50_p99_p999.map_or([None; 3], |all| all.map(|time| Some(ms(time))));
            let [of_floor_1, of_floor_2] = self.parts(row);
            let cpu: serde_json::Map<_, _> =
                row.cpu_us.iter().map(|(name, us)| ((*name).to_owned(), json!(us))).collect();
            json!({
                "what": row.what, "rate": row.rate, "to_state": row.to_state, "cpu_us": cpu,
                "of_floor_1": of_floor_1, "of_floor_2": of_floor_2,
                "p50_ms": p50, "p99_ms": p99, "p99_9_ms": p99_9,
                "rss_max_mib": row.rss_max_mib, "refused": row.refused,
            })
        };
        json!({
            "fsync_ms": {"p50": ms(self.fsync.p50), "p99": ms(self.fsync.p99)},
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "figures": self.figures.iter().map(|(what, value)| json!({"what": what, "value": value}))
                .collect::<Vec<_>>(),
        })
    }

    fn row(&self, row: &Row) -> [String; HEADER.len()] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let ratio = |ratio: Option<f64>| or_dash(ratio.map(|ratio| format!("{ratio:.2}")));
        let cpu =
            row.cpu_us.iter().map(|(name, us)| format!("{name} {us:.1}")).collect::<Vec<_>>().join("\n");
        let [p50, p99, p99_9] = row.p50_p99_p999.map_or([None; 3], |all| all.map(Some));
        let [of_floor_1, of_floor_2] = self.parts(row);
        let time = |time: Option<Duration>| or_dash(time.map(ms));
        let refused = match row.refused {
            0 => String::new(),
            refused => format!("\n  {refused} not answered 2xx"),
        };
        [
            format!("{}{refused}", row.what),
            format!("{:.0}", row.rate),
            or_dash(row.to_state.map(|rate| format!("{rate:.0}"))),
            ratio(of_floor_1),
            ratio(of_floor_2),
            cpu,
            time(p50),
            time(p99),
            time(p99_9),
            or_dash(row.rss_max_mib.map(|mib| format!("{mib:.0} MiB"))),
        ]
    }
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(HEADER);
        for row in &self.rows {
            table.add_row(self.row(row));
        }
        if !self.rows.is_empty() {
            writeln!(f, "{table}\n")?;
        }
        for (what, value) in &self.figures {
            writeln!(f, "{what}: {value}")?;
        }
        let Fsync { p50, p99 } = self.fsync;
        write!(f, "one fsync of 4 KiB on this disk: p50 {}, p99 {}", ms(p50), ms(p99))
    }
}
