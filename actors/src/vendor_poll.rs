//! Asks for what vendors tell nothing of, at intervals: of every linked account with tokens, and over all bridges once.
//!
//! Time is cut into intervals, and what is polled in one is a delivery whose key is made from the account, the question
//! and the interval. Whichever bridge commits it first has put the question into the fetch queue; for the others it is
//! a duplicate. So nothing is polled twice, whatever dies; and a poll that no bridge was there for is made good by the
//! next one, which looks back further than to the one before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, WrapFuture};
use bytes::Bytes;
use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::device_handler::commit;
use crate::domain::account::{Account, Vendor, VendorUserId};
use crate::domain::fetch::Whose;
use crate::domain::ids::RequestId;
use crate::domain::rate_budget::RateLimit;
use crate::domain::time::Timestamp;
use crate::event_writer::EventWriter;
use crate::messages::{CommitError, FetchesQueued};
use crate::ports::fetch_queue::NewFetch;
use crate::ports::store::{Committed, DeliveryStatus, NewDelivery, StoreError};
use crate::ports::telemetry::PipelineEvent;
use crate::ports::{Accounts, Clock, Telemetry};
use crate::supervision::{ChildRef, idle, waiting};
use crate::vendor_fetch::VendorFetch;
use crate::vendors::polls::{Poll, polls};

/// How often it is looked what is due, at the most …
const SWEEP_LONGEST: Duration = Duration::from_secs(60);
/// … and at the least.
const SWEEP_SHORTEST: Duration = Duration::from_millis(100);
/// So many looks come to an interval.
const SWEEPS: u32 = 15;
/// Accounts in one look into the store.
const PAGE: usize = 500;
/// Polls that are committed together.
const TOGETHER: usize = 64;
/// What part of a vendor's budget polls may take: the rest is for what the vendor tells of.
const SHARE: f64 = 0.25;
/// A limit over a longer time than this bears what many accounts ask at once.
const BURST_WINDOW: Duration = Duration::from_secs(3_600);
/// An interval is doubled for want of budget so often at most.
const STRETCH_MAX: u32 = 10;

/// A vendor that is polled.
pub struct Polled {
    /// Whose API is asked.
    pub vendor: Vendor,
    /// The interval that its polls count by.
    pub interval: Duration,
    /// How many requests all bridges together may send.
    pub rate_limits: Vec<RateLimit>,
    /// Who fetches.
    pub fetcher: ChildRef<VendorFetch>,
    /// Accounts without tokens of their own can be asked about as well.
    pub has_common_token: bool,
}

/// What the poller works with.
pub struct PollParts {
    /// What is polled; never empty.
    pub polled: Vec<Polled>,
    /// Whose accounts there are.
    pub accounts: Arc<dyn Accounts>,
    /// Who makes polls durable.
    pub writer: ChildRef<EventWriter>,
    /// By which intervals are told.
    pub clock: Arc<dyn Clock>,
    /// Who is told.
    pub telemetry: Arc<dyn Telemetry>,
}

/// The last interval in which this bridge has seen to a poll of an account: it need not ask the store again.
type Seen = HashMap<(VendorUserId, &'static str), i64>;

/// A poll that is due.
struct Due {
    account: VendorUserId,
    poll: &'static Poll,
    interval_ms: i64,
    number: i64,
}

impl Due {
    /// The same for every bridge.
    fn key(&self, vendor: Vendor) -> [u8; 32] {
        let mut hash = Sha256::new();
        let (interval_ms, number) = (self.interval_ms.to_be_bytes(), self.number.to_be_bytes());
        let account = self.account.as_str().as_bytes();
        let name = self.poll.name.as_bytes();
        for part in [b"poll".as_slice(), vendor.name().as_bytes(), account, name, &interval_ms, &number] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn delivery(&self, vendor: Vendor, now: Timestamp) -> NewDelivery {
        let request_id = RequestId::generate();
        let fetch = NewFetch {
            whose: Whose::Vendor(self.account.clone()),
            fetch: self.poll.fetch(now, self.interval_ms),
            changed_at: now,
            received_at: now,
            request_id: request_id.clone(),
            is_backfill: false,
        };
        NewDelivery {
            key: self.key(vendor),
            device: vendor.name(),
            request_id,
            received_at: now,
            status: DeliveryStatus::Accepted,
            body: Bytes::new(),
            drafts: Vec::new(),
            fetches: vec![fetch],
            ends: None,
        }
    }
}

impl Polled {
    fn interval_ms(&self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX).max(1)
    }

    /// By how much the interval is stretched so that the polls of so many accounts stay within their share. A power of
    /// two: bridges that count differently for a moment mean the same intervals.
    fn stretch(&self, accounts: usize) -> i64 {
        let per_interval: f64 = polls(self.vendor).iter().map(|poll| 1.0 / f64::from(poll.every)).sum();
        stretch(per_interval * accounts as f64, self.interval, &self.rate_limits)
    }

    /// How many polls may begin in one look, so that accounts that are new do not fill the queue before everybody else.
    fn burst(&self, sweep: Duration) -> usize {
        burst(sweep, &self.rate_limits)
    }

    /// What of an account's is due and not seen to.
    fn due<'a>(
        &'a self,
        account: &'a VendorUserId,
        stretch: i64,
        now: Timestamp,
        seen: &'a Seen,
    ) -> impl Iterator<Item = Due> + 'a {
        polls(self.vendor).iter().filter_map(move |poll| {
            let interval_ms = self.interval_ms().saturating_mul(stretch).saturating_mul(poll.every.into());
            // Each account begins its intervals at another moment: they are not all due at once.
            let number = (now.as_ms() + offset_ms(account, poll, interval_ms)).div_euclid(interval_ms);
            let is_seen = seen.get(&(account.clone(), poll.name)) == Some(&number);
            (!is_seen).then(|| Due { account: account.clone(), poll, interval_ms, number })
        })
    }
}

/// By how much an interval in which so many requests are `wanted` is stretched.
fn stretch(wanted: f64, interval: Duration, rate_limits: &[RateLimit]) -> i64 {
    let allowed = |limit: &RateLimit| {
        SHARE * f64::from(limit.requests) * interval.as_secs_f64() / limit.window.as_secs_f64()
    };
    let allowed = rate_limits.iter().map(allowed).fold(f64::INFINITY, f64::min);
    let doubled = (0..STRETCH_MAX).find(|doubled| wanted <= allowed * f64::from(1_u32 << doubled));
    1 << doubled.unwrap_or(STRETCH_MAX)
}

/// How many polls may begin in a look, if there is one every `sweep`.
fn burst(sweep: Duration, rate_limits: &[RateLimit]) -> usize {
    let short = rate_limits.iter().filter(|limit| limit.window <= BURST_WINDOW);
    let allowed = short.map(|limit| {
        let part = (sweep.as_secs_f64() / limit.window.as_secs_f64()).min(1.0);
        (SHARE * f64::from(limit.requests) * part) as usize
    });
    allowed.min().unwrap_or(usize::MAX).max(1)
}

fn offset_ms(account: &VendorUserId, poll: &Poll, interval_ms: i64) -> i64 {
    let hash = Sha256::new().chain_update(account.as_str()).chain_update(poll.name).finalize();
    let number = hash.iter().take(7).fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
    number.rem_euclid(interval_ms)
}

impl PollParts {
    async fn run(self: Arc<Self>) {
        let shortest = self.polled.iter().map(|polled| polled.interval).min().unwrap_or(SWEEP_LONGEST);
        let sweep = (shortest / SWEEPS).clamp(SWEEP_SHORTEST, SWEEP_LONGEST);
        let mut seen: Vec<Seen> = self.polled.iter().map(|_| Seen::new()).collect();
        loop {
            idle(sleep(sweep)).await;
            for (polled, seen) in self.polled.iter().zip(&mut seen) {
                if let Err(error) = self.sweep(polled, sweep, seen).await {
                    self.telemetry.emit(PipelineEvent::Retrying { actor: "polls", error: error.to_string() });
                }
            }
        }
    }

    /// Begins what is due at a vendor. What is broken off is due at the next look.
    async fn sweep(&self, polled: &Polled, sweep: Duration, seen: &mut Seen) -> Result<(), StoreError> {
        let accounts = self.accounts_of(polled).await?;
        let (stretch, now) = (polled.stretch(accounts.len()), self.clock.now());
        let mut left = polled.burst(sweep);
        let mut known = Seen::with_capacity(seen.len());
        let all_due = accounts.iter().flat_map(|account| polled.due(account, stretch, now, seen));
        let mut all_due = all_due.peekable();
        while left > 0 && all_due.peek().is_some() {
            let due: Vec<Due> = all_due.by_ref().take(left.min(TOGETHER)).collect();
            let commits = due.iter().map(|due| commit(&self.writer, due.delivery(polled.vendor, now)));
            for (due, committed) in due.iter().zip(waiting(join_all(commits)).await) {
                left -= usize::from(committed == Ok(Committed::Stored(Vec::new())));
                match committed {
                    Ok(_) => known.insert((due.account.clone(), due.poll.name), due.number),
                    Err(CommitError::Store(error)) => return Err(error),
                    // There is a backlog, or the bridge stops.
                    Err(_) => return Ok(()),
                };
            }
        }
        drop(all_due);
        // Accounts that are gone are not remembered.
        seen.retain(|(account, _), _| accounts.binary_search(account).is_ok());
        seen.extend(known);
        // A full mailbox means that it is awake already.
        let _ = polled.fetcher.try_tell(FetchesQueued);
        Ok(())
    }

    /// In their order.
    async fn accounts_of(&self, polled: &Polled) -> Result<Vec<VendorUserId>, StoreError> {
        let (mut all, mut after): (Vec<VendorUserId>, Option<Account>) = (Vec::new(), None);
        loop {
            let page =
                waiting(self.accounts.to_poll(polled.vendor, polled.has_common_token, after.as_ref(), PAGE));
            let page = page.await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|link| link.account.clone());
            all.extend(page.into_iter().map(|link| link.account.id));
            if is_last {
                all.sort_unstable();
                return Ok(all);
            }
        }
    }
}

/// The poller of all vendors.
pub struct VendorPoll {
    parts: Arc<PollParts>,
}

impl VendorPoll {
    /// A poller over `parts`.
    pub fn new(parts: Arc<PollParts>) -> Self {
        Self { parts }
    }
}

impl Actor for VendorPoll {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.spawn(Arc::clone(&self.parts).run().into_actor(self));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fetch::{Fetch, OuraFetch};

    fn limit(requests: u32, seconds: u64) -> RateLimit {
        RateLimit { requests, window: Duration::from_secs(seconds) }
    }

    #[test]
    fn polls_of_many_accounts_come_more_rarely_and_within_their_share() {
        let (hour, whoop) = (Duration::from_secs(3_600), [limit(100, 60), limit(10_000, 86_400)]);
        // A quarter of 10,000 a day is 104 an hour.
        for (wanted, by) in [(0.0, 1), (104.0, 1), (105.0, 2), (208.0, 2), (209.0, 4), (1e9, 1_024)] {
            assert_eq!(stretch(wanted, hour, &whoop), by, "{wanted}");
        }
        assert_eq!(stretch(1e9, hour, &[]), 1, "without a limit there is no share of it");
        let minute = Duration::from_secs(60);
        assert_eq!((burst(minute, &whoop), burst(minute, &[limit(5_000, 300)])), (25, 250));
        assert_eq!((burst(minute, &[limit(1, 60)]), burst(minute, &[])), (1, usize::MAX));
    }

    #[test]
    fn an_account_has_one_poll_of_each_kind_an_interval_and_none_between() {
        let account = VendorUserId::parse("A1B2").unwrap();
        let poll = &polls(Vendor::Whoop)[0];
        let interval_ms = 3_600_000;
        let number = |ms: i64| (ms + offset_ms(&account, poll, interval_ms)).div_euclid(interval_ms);
        let begun: Vec<i64> = (0..10_000).map(|minute| number(minute * 60_000)).collect();
        let changes = begun.windows(2).filter(|two| two[0] != two[1]).count();
        assert!((166..=167).contains(&changes) && begun.is_sorted(), "{changes}");
        for poll in polls(Vendor::Oura) {
            let now = Timestamp::from_ms(1_789_041_600_000);
            // Whatever the interval has become, the one before is asked for once more.
            let Fetch::Oura(OuraFetch::HeartRate { from, to, .. }) = poll.fetch(now, 30 * 86_400_000) else {
                panic!("{poll:?}");
            };
            assert_eq!((to, to.ms_since(from)), (now, 60 * 86_400_000));
        }
    }
}
