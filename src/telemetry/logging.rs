//! Log lines: JSON, or pretty on a terminal; what is not ours is capped at WARN.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write, stderr, stdout};
use std::os::fd::AsFd;

use parking_lot::Mutex;
use tracing::{Level, event};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// What is written to the sink at once.
const BUFFER_BYTES: usize = 64 << 10;

/// The thread that writes lines out. Here, so that whoever ends the process can wait for the last ones.
static WRITING: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Writes out what is buffered when it goes.
#[must_use = "log lines are lost when this goes too early"]
pub struct LogGuard {
    /// Whether they go to the sink that it was made with.
    is_first: bool,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        if self.is_first {
            drop(WRITING.lock().take());
        }
    }
}

/// Says why, and ends the process with 1 here and now: nothing is finished, closed or dropped. For when to go on would
/// lose what is safe as long as it is not touched.
pub fn end_process(reason: &str) -> ! {
    match WRITING.lock().take() {
        Some(writing) => {
            event!(Level::ERROR, request_id = "none", "{reason}");
            drop(writing);
        }
        // A command, without a log.
        None => drop(writeln!(stderr(), "{reason}")),
    }
    std::process::exit(1)
}

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// Standard output: for a service, whose output they are.
    Stdout,
    /// Standard error: beside a command's own output.
    Stderr,
}

/// Sends log lines to `sink` from now on. A sink that blocks costs lines, never a webhook.
///
/// A second call in one process changes nothing.
pub fn init(level: &str, sink: Sink) -> LogGuard {
    let (copy, is_terminal) = match sink {
        Sink::Stdout => (stdout().as_fd().try_clone_to_owned(), stdout().is_terminal()),
        Sink::Stderr => (stderr().as_fd().try_clone_to_owned(), stderr().is_terminal()),
    };
    let (writer, guard) = match copy {
        // Not as standard output is: that writes line by line, and under load lines come in hundreds. The writing
        // thread flushes as soon as it has nothing more to write.
        Ok(file) => tracing_appender::non_blocking(BufWriter::with_capacity(BUFFER_BYTES, File::from(file))),
        // It has been closed.
        Err(_) => tracing_appender::non_blocking(std::io::sink()),
    };
    let level: LevelFilter = level.parse().unwrap_or(LevelFilter::INFO);
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // It tells each malformed request, without an id and as often as a stranger likes.
        .with_target("actix_http", LevelFilter::OFF)
        .with_target("biometric_bridge", level)
        .with_target("actors", level);
    let lines = fmt::layer().with_writer(writer);
    let lines = if is_terminal {
        lines.with_target(false).boxed()
    } else {
        lines.with_ansi(false).json().flatten_event(true).boxed()
    };
    super::events::tell_panics();
    let is_first = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init().is_ok();
    if is_first {
        *WRITING.lock() = Some(guard);
    }
    LogGuard { is_first }
}
