//! What the machine itself does: its disk and the time of its processors.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

/// Clock ticks a second in `/proc`: the same on every Linux that anybody runs.
const TICKS_PER_SECOND: f64 = 100.0;
const FSYNCS: usize = 200;
const BLOCK: [u8; 4_096] = [7; 4_096];

/// How long the disk under the temporary folder takes to make a block durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fsync {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Measures it, in the folder in which the bridges will have theirs.
pub(crate) fn fsync() -> Fsync {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let mut times: Vec<Duration> = (0..FSYNCS)
        .map(|_| {
            file.seek(SeekFrom::Start(0)).expect("a file");
            let started = Instant::now();
            file.write_all(&BLOCK).expect("room on the disk");
            File::sync_data(&file).expect("a disk");
            started.elapsed()
        })
        .collect();
    times.sort();
    Fsync { p50: times[FSYNCS / 2], p99: times[FSYNCS * 99 / 100] }
}

/// The processor time that a process has used so far, with its children, living and ended.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stats: HashMap<u32, Stat> = fs::read_dir("/proc")
        .expect("a Linux")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::of(pid)?)))
        .collect();
    let is_ours = |mut other: u32| {
        while other != pid {
            match stats.get(&other) {
                Some(stat) if stat.parent > 1 => other = stat.parent,
                _ => return false,
            }
        }
        true
    };
    let ticks: u64 = stats.iter().filter(|(other, _)| is_ours(**other)).map(|(_, stat)| stat.ticks).sum();
    Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
}

/// What other machines on the same hardware have taken of the processors' time, in ticks since this one was started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stolen {
    ticks: u64,
    of: u64,
}

impl Stolen {
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").expect("a Linux");
        // proc(5): user, nice, system, idle, iowait, irq, softirq, steal.
        let line = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let ticks: Vec<u64> = line.filter_map(|ticks| ticks.parse().ok()).collect();
        Self { ticks: ticks.get(7).copied().unwrap_or_default(), of: ticks.iter().sum() }
    }

    /// Their part since then, in percent: latencies follow it.
    pub(crate) fn percent_since(self) -> f64 {
        let now = Self::now();
        100.0 * (now.ticks - self.ticks) as f64 / (now.of - self.of).max(1) as f64
    }
}

/// The processor time of this process alone: its children are the bridges.
pub(crate) fn own_cpu() -> Duration {
    let stat = Stat::of(std::process::id()).expect("this process lives");
    Duration::from_secs_f64(stat.own_ticks as f64 / TICKS_PER_SECOND)
}

struct Stat {
    parent: u32,
    own_ticks: u64,
    /// With those of children that have ended.
    ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before may hold anything, the last bracket ends it. What follows is field 3 of proc(5).
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let own_ticks = number(14)? + number(15)?;
        Some(Self { parent: number(4)? as u32, own_ticks, ticks: own_ticks + number(16)? + number(17)? })
    }
}

/// A line of `/proc/PID/status`, in KiB: `VmRSS`, `VmHWM`.
pub(crate) fn memory_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
