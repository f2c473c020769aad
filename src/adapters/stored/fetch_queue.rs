//! What a claim hands out, and rows of the fetch queue.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use actors::domain::account::Vendor;
use actors::domain::fetch::{Fetch, Whose};
use actors::domain::ids::RequestId;
use actors::domain::rate_budget::{Given, RateBudget};
use actors::domain::time::Timestamp;
use actors::ports::fetch_queue::{
    ClaimFetches, ClaimedFetch, ClaimedFetches, DeadFetch, FetchCounts, FetchEnd, NewFetch,
};
use actors::ports::store::StoreError;

use super::{damaged, damaged_json};

/// What lasts longer than this, ten years, lasts no shorter for it.
const DURATION_LONGEST_MS: u128 = 10 * 365 * 86_400_000;
/// What is told of a row that this build cannot read.
pub(crate) const DAMAGED: [&str; 2] = ["processing_error", "its row cannot be read by this build"];

/// A duration in a row, in milliseconds.
pub(crate) fn duration_ms(duration: Duration) -> i64 {
    duration.as_millis().min(DURATION_LONGEST_MS) as i64
}

/// What a batch of deliveries changes in the queue.
#[derive(Debug, Default)]
pub(crate) struct QueueChange {
    pub(crate) fetches: Vec<NewFetch>,
    pub(crate) ends: Vec<FetchEnd>,
}

/// A fetch as it is laid down.
#[derive(Debug)]
pub(crate) struct FetchColumns<'f> {
    pub(crate) job: &'f NewFetch,
    pub(crate) vendor: &'static str,
    pub(crate) whose: String,
    pub(crate) fetch: String,
}

/// Fetches as they are laid down.
pub(crate) fn columns(fetches: &[NewFetch]) -> Result<Vec<FetchColumns<'_>>, StoreError> {
    let text = |fetch: &Fetch| serde_json::to_string(fetch).map_err(|error| damaged_json(&error));
    let mut columns = Vec::with_capacity(fetches.len());
    for job in fetches {
        let (vendor, whose, fetch) = (job.fetch.vendor().name(), job.whose.to_text(), text(&job.fetch)?);
        columns.push(FetchColumns { job, vendor, whose, fetch });
    }
    Ok(columns)
}

/// A budget from its row.
pub(crate) fn budget(text: &str) -> Result<RateBudget, StoreError> {
    serde_json::from_str(text).map_err(|error| damaged_json(&error))
}

/// A budget as it is laid down.
pub(crate) fn budget_text(budget: &RateBudget) -> Result<String, StoreError> {
    serde_json::to_string(budget).map_err(|error| damaged_json(&error))
}

/// `id, whose, question` of a row that is due.
pub(crate) type DueRow = (i64, String, String);
/// `id, changed_at, received_at, request_id, created_at, attempts, looks`, times in milliseconds.
pub(crate) type LeasedRow = (i64, i64, i64, String, i64, i64, i64);

/// A row that is due, the first of those that ask its question.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) id: i64,
    /// As in its row.
    pub(crate) key: (String, String),
    whose: Whose,
    fetch: Fetch,
}

/// Splits rows that are due, longest first, into heads and those that nobody can read.
pub(crate) fn heads(rows: Vec<DueRow>) -> (Vec<Head>, Vec<i64>) {
    let (mut heads, mut unreadable, mut keys) = (Vec::new(), Vec::new(), HashSet::new());
    for (id, whose, fetch) in rows {
        let parsed = (Whose::from_text(&whose), serde_json::from_str(&fetch));
        let key = (whose, fetch);
        match parsed {
            (Some(whose), Ok(fetch)) if keys.insert(key.clone()) => {
                heads.push(Head { id, key, whose, fetch });
            }
            (Some(_), Ok(_)) => {}
            _ => unreadable.push(id),
        }
    }
    (heads, unreadable)
}

/// A claim on its way. Rows go in, and what is to be leased comes out, as far as the budget allows.
#[derive(Debug)]
pub(crate) struct Claiming<'c> {
    pub(crate) claim: &'c ClaimFetches,
    pub(crate) now: Timestamp,
    budget: RateBudget,
    is_taken: bool,
    fetches: Vec<ClaimedFetch>,
    /// When the budget allows more, and whether it is only backfill that waits for it.
    more_in: Option<(Duration, bool)>,
}

impl<'c> Claiming<'c> {
    pub(crate) fn new(claim: &'c ClaimFetches, now: Timestamp, budget: RateBudget) -> Self {
        Self { claim, now, budget, is_taken: false, fetches: Vec::new(), more_in: None }
    }

    /// How many more it wants.
    pub(crate) fn wants(&self) -> usize {
        if self.more_in.is_some() { 0 } else { self.claim.limit - self.fetches.len() }
    }

    /// As many of these as the budget allows.
    pub(crate) fn give(&mut self, mut heads: Vec<Head>, is_backfill: bool) -> Vec<Head> {
        if heads.is_empty() {
            return heads;
        }
        let wanted = u32::try_from(heads.len()).unwrap_or(u32::MAX);
        let Given { requests, more_in } =
            self.budget.take(&self.claim.rate_limits, self.now, wanted, is_backfill);
        self.is_taken |= requests > 0;
        self.more_in = more_in.map(|more_in| (more_in, is_backfill));
        heads.truncate(requests as usize);
        heads
    }

    /// Takes in what was leased for a head: its own row and those that ask the same.
    pub(crate) fn hand_out(
        &mut self,
        head: Head,
        is_backfill: bool,
        rows: &[LeasedRow],
    ) -> Result<(), StoreError> {
        let own = rows.iter().find(|(id, ..)| *id == head.id);
        let (id, _, _, request_id, ..) = own.ok_or_else(|| damaged("a fetch that is not where it was"))?;
        let mut siblings: Vec<i64> = rows.iter().map(|(id, ..)| *id).filter(|other| other != id).collect();
        siblings.sort_unstable();
        let job = NewFetch {
            whose: head.whose,
            fetch: head.fetch,
            changed_at: Timestamp::from_ms(rows.iter().map(|row| row.1).max().unwrap_or_default()),
            received_at: Timestamp::from_ms(rows.iter().map(|row| row.2).min().unwrap_or_default()),
            // It only tells of whose request it was: what cannot be read must not stop a claim.
            request_id: RequestId::parse(request_id).unwrap_or_else(RequestId::generate),
            is_backfill,
        };
        let created_ms = rows.iter().map(|row| row.4).max().unwrap_or_default();
        let fewest = |counts: fn(&LeasedRow) -> i64| {
            u32::try_from(rows.iter().map(counts).min().unwrap_or_default()).unwrap_or_default()
        };
        self.fetches.push(ClaimedFetch {
            ids: [*id].into_iter().chain(siblings).collect(),
            job,
            attempts: fewest(|row| row.5),
            looks: fewest(|row| row.6),
            waited: from_ms(self.now.as_ms().saturating_sub(created_ms)),
        });
        Ok(())
    }

    /// The budget if something was taken from it.
    pub(crate) fn changed_budget(&self) -> Option<&RateBudget> {
        self.is_taken.then_some(&self.budget)
    }

    /// Of which rows (backfill or not) it matters when the next one is due.
    pub(crate) fn looks_ahead(&self) -> &'static [bool] {
        match self.more_in {
            None => &[false, true],
            // The budget may have something left for what is live.
            Some((_, true)) => &[false],
            Some((_, false)) => &[],
        }
    }

    /// What the claim came to, when the next rows are due at these times.
    pub(crate) fn finish(self, due_at_ms: &[i64]) -> ClaimedFetches {
        let due_in = due_at_ms.iter().map(|at_ms| from_ms(at_ms.saturating_sub(self.now.as_ms())));
        let more_in = self.more_in.map(|(more_in, _)| more_in);
        ClaimedFetches { fetches: self.fetches, next_in: due_in.chain(more_in).min() }
    }
}

fn from_ms(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}

/// `vendor, state, count`.
pub(crate) type CountRow = (String, String, i64);

/// In order of the vendors.
pub(crate) fn counts(rows: Vec<CountRow>) -> Vec<(Vendor, FetchCounts)> {
    let mut counts: BTreeMap<Vendor, FetchCounts> = BTreeMap::new();
    for (vendor, state, count) in rows {
        // What only a newer build asks is that build's.
        let Some(vendor) = Vendor::parse(&vendor) else { continue };
        let (counts, count) = (counts.entry(vendor).or_default(), count.unsigned_abs());
        match state.as_str() {
            "waiting" => counts.waiting = count,
            "awaiting_account" => counts.awaiting_account = count,
            _ => counts.dead = count,
        }
    }
    counts.into_iter().collect()
}

/// `id, vendor, whose, question, error_type, error_message, failed_at, attempts`.
pub(crate) type DeadRow = (i64, String, String, String, String, String, i64, i64);

/// A dead letter from its row, also if this build cannot read what it was; none of a vendor that it does not know.
pub(crate) fn dead(row: DeadRow) -> Option<DeadFetch> {
    let (id, vendor, whose, fetch, error_type, error_message, failed_at, attempts) = row;
    Some(DeadFetch {
        id,
        vendor: Vendor::parse(&vendor)?,
        whose: Whose::from_text(&whose),
        fetch: serde_json::from_str(&fetch).ok(),
        error_type,
        error_message,
        failed_at: Timestamp::from_ms(failed_at),
        attempts: u32::try_from(attempts).unwrap_or_default(),
    })
}

/// The vendors of rows, each `id, vendor`, in order of the rows.
pub(crate) fn vendors(mut rows: Vec<(i64, String)>) -> Vec<Vendor> {
    rows.sort_unstable();
    rows.iter().filter_map(|(_, vendor)| Vendor::parse(vendor)).collect()
}
