//! Which fetches have been answered of late: the same question about the same version has the same answer.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::domain::fetch::{Fetch, Whose};
use crate::domain::time::Timestamp;
use crate::ports::fetch_queue::NewFetch;

/// So many are remembered; one that is forgotten is only asked once more.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

type Question = (Whose, Fetch, Timestamp, bool);

/// What this process has fetched and committed.
pub(super) struct Recent {
    answered: LruCache<Question, Instant>,
    lasts: Duration,
}

impl Recent {
    /// A memory of `lasts`.
    pub(super) fn new(lasts: Duration) -> Self {
        Self { answered: LruCache::new(REMEMBERED), lasts }
    }

    /// Remembers that the answer to `job` is committed.
    pub(super) fn add(&mut self, job: &NewFetch) {
        self.answered.put(question(job), Instant::now());
    }

    /// Whether an answer that is committed serves `job` as well.
    pub(super) fn serves(&mut self, job: &NewFetch) -> bool {
        let answered = self.answered.get(&question(job)).copied();
        answered.is_some_and(|at| at.elapsed() < self.lasts)
    }
}

/// Its version is when the record changed: what was read after that holds the change.
fn question(job: &NewFetch) -> Question {
    (job.whose.clone(), job.fetch.clone(), job.changed_at, job.is_backfill)
}
