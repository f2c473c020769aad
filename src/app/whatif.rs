//! Replays every stored event by the thresholds in force and by others, without running a bridge and without changing
//! anything.
//!
//! Events are read in the order of their commits, a page at a time, and folded by threads, each of which has its part of
//! the users. So many users are in memory at once as [`USERS_MAX`] says; of more, the events are read in several rounds.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use actors::cognition::replay::{Change, Comparison, Replay, Tally};
use actors::domain::event::Event;
use actors::domain::ids::{Masker, UserId};
use actors::ports::store::StoreError;
use serde::Serialize;

use super::build::{StartError, masker};
use super::data_dir::DataDir;
use super::engines::postgres_config;
use crate::adapters::postgres::history as postgres;
use crate::adapters::postgres::history::{HistoryRow, UserRange};
use crate::adapters::sqlite::history as sqlite;
use crate::settings::Settings;

/// Users in memory at once: some 50 KiB each, with both states.
const USERS_MAX: usize = 5_000;
/// Threads beyond which reading is what takes the time.
const THREADS_MAX: usize = 16;
/// Pages that may wait for a thread.
const PAGES_MAX: usize = 2;

/// What a replay came to.
#[derive(Debug, Default, Serialize)]
pub struct Comparisons {
    /// How many users have events.
    pub users: u64,
    /// How many events were replayed.
    pub events: u64,
    /// How many could not be read, and were left out.
    pub unreadable: u64,
    /// Switches by the thresholds in force.
    pub current: Tally,
    /// Switches by the candidate.
    pub candidate: Tally,
    /// How many users switch otherwise.
    pub changed_users: u64,
    /// Those who differ most, most of all first.
    pub most_changed: Vec<UserComparison>,
}

/// What a replay came to for one user.
#[derive(Debug, Serialize)]
pub struct UserComparison {
    /// The id as asked for: masked, or plain.
    pub user: String,
    /// Moments at which the two did not do the same.
    pub changed: u64,
    /// Switches by the thresholds in force.
    pub current: Tally,
    /// Switches by the candidate.
    pub candidate: Tally,
    /// The first of the moments.
    pub changes: Vec<Change>,
}

/// How users are shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// So many of those who differ most.
    pub users: usize,
    /// By their ids, and not by their masks.
    pub ids: bool,
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum WhatifError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nothing has been stored.
    #[error("there is no store in DATA_DIR {0}: run the bridge first")]
    NoStore(std::path::PathBuf),
    /// A thread that folds has died.
    #[error("a thread that replays events has panicked")]
    Panicked,
}

impl From<StoreError> for WhatifError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

/// The store's events, wherever they are.
enum History {
    Sqlite(sqlite::History),
    Postgres(postgres::History),
}

impl History {
    async fn open(settings: &Settings) -> Result<Self, WhatifError> {
        if let Some(postgres) = &settings.postgres {
            let config = postgres_config(postgres, &settings.stream);
            let opened = postgres::History::open(&config).await.map_err(|error| match error {
                StoreError::Refused(_) => StartError::Postgres(error),
                away => away.into(),
            });
            return Ok(Self::Postgres(opened?));
        }
        let path = DataDir::database_in(&settings.data_dir);
        if !path.exists() {
            return Err(WhatifError::NoStore(settings.data_dir.clone()));
        }
        Ok(Self::Sqlite(sqlite::History::open(&path).await?))
    }

    async fn span(&mut self) -> Result<Option<(i64, i64)>, StoreError> {
        match self {
            Self::Sqlite(history) => history.span().await,
            Self::Postgres(history) => history.span().await,
        }
    }

    async fn ranges(&mut self) -> Result<Vec<UserRange>, StoreError> {
        match self {
            Self::Sqlite(history) => history.ranges(USERS_MAX).await,
            Self::Postgres(history) => history.ranges(USERS_MAX).await,
        }
    }

    async fn page(
        &mut self,
        range: &UserRange,
        after: i64,
        last: i64,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        match self {
            Self::Sqlite(history) => history.page(range, after, last).await,
            Self::Postgres(history) => history.page(range, after, last).await,
        }
    }
}

/// Replays what is stored now; `progress` is told how much of it is done, and of how much.
///
/// # Errors
/// The store cannot be read.
pub async fn compare(
    settings: &Settings,
    comparison: Comparison,
    shown: Shown,
    mut progress: impl FnMut(u64, u64),
) -> Result<Comparisons, WhatifError> {
    let mut history = History::open(settings).await?;
    let mut total = Comparisons::default();
    let Some((first, last)) = history.span().await? else { return Ok(total) };
    let ranges = history.ranges().await?;
    let round = last.abs_diff(first) + 1;
    let length = round * ranges.len() as u64;
    let comparison = Arc::new(comparison);
    let masker = (!shown.ids).then(|| masker(settings.keys.log_mask_key.as_ref()));
    for (number, range) in ranges.iter().enumerate() {
        let threads = Threads::start(&comparison);
        let mut after = first - 1;
        loop {
            let page = history.page(range, after, last).await?;
            let Some(end) = page.last() else { break };
            after = end.seq;
            threads.send(page)?;
            progress(round * number as u64 + after.abs_diff(first), length);
        }
        for part in threads.finish()? {
            total.add(part, shown.users, masker.as_ref());
        }
    }
    progress(length, length);
    Ok(total)
}

impl Comparisons {
    fn add(&mut self, part: Part, shown: usize, masker: Option<&Masker>) {
        self.events += part.events;
        self.unreadable += part.unreadable;
        for (user, replay) in part.replays {
            let Replay { changed, changes, .. } = &replay;
            let (current, candidate) = (replay.current(), replay.candidate());
            self.users += 1;
            self.current.add(&current);
            self.candidate.add(&candidate);
            if *changed == 0 {
                continue;
            }
            self.changed_users += 1;
            let (changed, changes) = (*changed, changes.clone());
            let user =
                masker.map_or_else(|| user.as_str().to_owned(), |masker| masker.mask(&user).to_string());
            self.most_changed.push(UserComparison { user, changed, current, candidate, changes });
        }
        let more_first = |one: &UserComparison, other: &UserComparison| {
            (Reverse(one.changed), &one.user).cmp(&(Reverse(other.changed), &other.user))
        };
        self.most_changed.sort_unstable_by(more_first);
        self.most_changed.truncate(shown);
    }
}

/// One thread's part of a round.
#[derive(Default)]
struct Part {
    events: u64,
    unreadable: u64,
    replays: HashMap<UserId, Replay>,
}

/// The threads of a round: each user's events go to one of them, in order.
struct Threads {
    pages: Vec<SyncSender<Vec<HistoryRow>>>,
    handles: Vec<JoinHandle<Part>>,
}

impl Threads {
    fn start(comparison: &Arc<Comparison>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let start = |_| {
            let (sender, pages) = sync_channel(PAGES_MAX);
            let comparison = Arc::clone(comparison);
            (sender, std::thread::spawn(move || replay(&pages, &comparison)))
        };
        let (pages, handles) = (0..cores.min(THREADS_MAX)).map(start).unzip();
        Self { pages, handles }
    }

    /// Waits where the threads are slower than the store.
    fn send(&self, page: Vec<HistoryRow>) -> Result<(), WhatifError> {
        let mut parts: Vec<Vec<HistoryRow>> = Vec::new();
        parts.resize_with(self.pages.len(), Vec::new);
        for row in page {
            let mut hasher = DefaultHasher::new();
            row.user_id.hash(&mut hasher);
            parts[(hasher.finish() % self.pages.len() as u64) as usize].push(row);
        }
        for (pages, part) in self.pages.iter().zip(parts).filter(|(_, part)| !part.is_empty()) {
            pages.send(part).map_err(|_| WhatifError::Panicked)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Part>, WhatifError> {
        drop(self.pages);
        let join = |handle: JoinHandle<Part>| handle.join().map_err(|_| WhatifError::Panicked);
        self.handles.into_iter().map(join).collect()
    }
}

fn replay(pages: &Receiver<Vec<HistoryRow>>, comparison: &Comparison) -> Part {
    let mut part = Part::default();
    for row in pages.iter().flatten() {
        // The row says whose it is: an event that was moved to another user says it too.
        let Ok(event) = serde_json::from_slice::<Event>(&row.value) else {
            part.unreadable += 1;
            continue;
        };
        part.events += 1;
        match part.replays.get_mut(&event.user_id) {
            Some(replay) => replay.apply(&event, comparison),
            None => {
                let mut replay = Replay::default();
                replay.apply(&event, comparison);
                part.replays.insert(event.user_id, replay);
            }
        }
    }
    part
}
