//! A bridge's life: doors open last and close first.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::web;
use actors::ports::EventLog;
use actors::ports::event_log::Places;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::build::{Bridge, StartError, build};
use super::data_dir::DataDir;
use super::engines::Engines;
use super::{open_files, reload};
use crate::http::{self, Doors};
use crate::settings::Settings;

/// How often what must still be moved is looked at during shutdown.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// Publishing, catching up and publishing again each have this part of `SHUTDOWN_TIMEOUT_SECONDS` at most.
const DRAIN_PARTS: u32 = 4;

/// How a bridge's life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything that was taken in is finished and flushed.
    Clean,
    /// It took longer than `SHUTDOWN_TIMEOUT_SECONDS`; what is committed is not lost.
    TimedOut,
    /// The root of the tree gave up.
    Escalated,
    /// Asked a second time.
    Impatient(SignalKind),
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::TimedOut => "timed_out",
            Self::Escalated => "escalated",
            Self::Impatient(_) => "second_signal",
        }
    }

    /// The process's exit code.
    pub fn code(self) -> ExitCode {
        match self {
            Self::Clean => ExitCode::SUCCESS,
            Self::TimedOut => ExitCode::from(1),
            Self::Escalated => ExitCode::from(70),
            Self::Impatient(kind) if kind == SignalKind::terminate() => ExitCode::from(143),
            Self::Impatient(_) => ExitCode::from(130),
        }
    }
}

/// A bridge with open doors.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// What the doors work with: the actors' handles among it.
    pub doors: web::Data<Doors>,
    engines: Engines,
    data_dir: DataDir,
    handle: ServerHandle,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    reloading: tokio::task::JoinHandle<()>,
    reading_along: tokio::task::JoinHandle<()>,
    signals: Signals,
}

/// Why a bridge is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// SIGTERM or SIGINT.
    Signal(SignalKind),
    /// A part of the tree failed more often than its limit allows.
    Escalation,
}

impl Running {
    /// Builds everything, and opens the doors last.
    pub async fn start(settings: Settings, started: Instant) -> Result<Self, StartError> {
        open_files::raise_limit();
        let signals =
            Signals::listen().map_err(|error| StartError::Listen { address: "signals".to_owned(), error })?;
        let Bridge { doors, engines, data_dir } = build(settings, started).await?;
        let (server, address) = listen(&doors)?;
        let handle = server.handle();
        let serving = actix_rt::spawn(server);
        let reloading = actix_rt::spawn(reload::keep_thresholds(doors.clone()));
        let hub = Arc::clone(&doors.hub);
        let reading_along = actix_rt::spawn(async move { hub.run().await });
        doors.teller.note(&format!("listening on {address} after {} ms", started.elapsed().as_millis()));
        Ok(Self { address, doors, engines, data_dir, handle, serving, reloading, reading_along, signals })
    }

    /// Waits until something ends it.
    pub async fn wait(&mut self) -> Reason {
        let mut escalations = self.doors.tree.root.escalations();
        tokio::select! {
            kind = self.signals.next() => Reason::Signal(kind),
            // The sender lives in the tree, which is there as long as the doors.
            _ = escalations.wait_for(Option::is_some) => Reason::Escalation,
        }
    }

    /// Closes the doors, finishes what is in flight, and flushes, inside `SHUTDOWN_TIMEOUT_SECONDS`.
    pub async fn stop(mut self, reason: Reason) -> Ending {
        let since = Instant::now();
        let (doors, engines, handle, serving) = (self.doors, self.engines, self.handle, self.serving);
        doors.entrance.close();
        self.reloading.abort();
        self.reading_along.abort();
        doors.teller.shutdown_started(match reason {
            Reason::Signal(kind) if kind == SignalKind::terminate() => "SIGTERM",
            Reason::Signal(_) => "SIGINT",
            Reason::Escalation => "escalation",
        });
        let limit = doors.settings.server.shutdown_timeout;
        let shutdown = async {
            // Until the last delivery is answered the doors say that they are closing; then they are gone.
            while !doors.entrance.is_empty() {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
            handle.stop(true).await;
            let _ = serving.await;
            let is_flushed = drain(&doors, &*engines.log).await;
            engines.close().await;
            is_flushed
        };
        let (ending, is_flushed) = tokio::select! {
            is_flushed = shutdown => (Ending::Clean, is_flushed),
            kind = self.signals.next() => (Ending::Impatient(kind), false),
            () = tokio::time::sleep(limit) => (Ending::TimedOut, false),
        };
        let ending = match (ending, reason) {
            (Ending::Clean | Ending::TimedOut, Reason::Escalation) => Ending::Escalated,
            (ending, _) => ending,
        };
        doors.teller.shutdown_ended(ending.name(), doors.store.outbox_depth(), is_flushed, since.elapsed());
        drop(self.data_dir);
        ending
    }
}

fn listen(doors: &web::Data<Doors>) -> Result<(actix_web::dev::Server, SocketAddr), StartError> {
    let settings = &doors.settings.server;
    if let Some(port) = settings.metrics_port {
        let server = http::serve_metrics(doors.clone(), port)
            .map_err(|error| StartError::Listen { address: format!("METRICS_PORT {port}"), error })?;
        actix_rt::spawn(server);
    }
    http::serve(doors.clone())
        .map_err(|error| StartError::Listen { address: format!("BIND_ADDR {}", settings.bind_addr), error })
}

/// Lets the log take what is committed and the states take what is on the log, and makes them durable. Whether they
/// are. Nothing is waited for that a failed part of the tree cannot do any more, nor for what other bridges add meanwhile:
/// they will go on with it.
async fn drain(doors: &Doors, log: &dyn EventLog) -> bool {
    let part = doors.settings.server.shutdown_timeout / DRAIN_PARTS;
    // What is not published by then is durable where it is.
    let _ = tokio::time::timeout(part, publish_all(doors, log)).await;
    let (since, ends) = (Instant::now(), ends_of_held(doors, log).await);
    // A store that refuses now may take it a moment later; the time for all of this ends in any case.
    let is_flushed = loop {
        let is_flushed = doors.tree.flush().await.is_ok();
        let is_enough = is_flushed && (is_covered(doors, &ends).await || since.elapsed() > part);
        if is_enough || doors.tree.flusher.is_over() {
            break is_flushed;
        }
        tokio::time::sleep(DRAIN_LOOK).await;
    };
    // The flushes have put messages of their own into the outbox.
    let _ = tokio::time::timeout(part, publish_all(doors, log)).await;
    doors.tree.stop().await;
    log.leave().await;
    is_flushed
}

/// Waits until this bridge's part of the outbox is empty, unless the log cannot take it: it is durable where it is.
async fn publish_all(doors: &Doors, log: &dyn EventLog) {
    // Asks the store: the depth that it keeps in memory may lag behind a commit.
    let is_empty = async || {
        for shard in 0..doors.store.outbox_shards() {
            if !doors.store.read_outbox(shard, 1).await.is_ok_and(|entries| entries.is_empty()) {
                return false;
            }
        }
        true
    };
    while !doors.tree.publisher.is_over() && log.check().await.is_ok() && !is_empty().await {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

/// Where the log ends now in the partitions that this bridge holds; nowhere if nobody can tell.
async fn ends_of_held(doors: &Doors, log: &dyn EventLog) -> Places {
    let held: Vec<u32> = doors.tree.places.get().keys().copied().collect();
    match log.check().await {
        Ok(()) => log.end_offsets(&held).await.unwrap_or_default(),
        Err(_) => Places::new(),
    }
}

/// Whether the checkpoints cover the log up to `ends`, as far as its partitions are still this bridge's.
async fn is_covered(doors: &Doors, ends: &Places) -> bool {
    if doors.tree.root.escalations().borrow().is_some() {
        return true;
    }
    let places = doors.tree.places.get();
    let held: Vec<u32> = ends.keys().filter(|partition| places.contains_key(partition)).copied().collect();
    let positions = doors.store.positions(&doors.settings.stream.group_id, &held).await;
    positions.is_ok_and(|positions| positions.iter().all(|(partition, at)| *at >= ends[partition]))
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}
