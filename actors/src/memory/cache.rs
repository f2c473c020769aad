//! The cache of newest events in memory: for tests, and the one of a bridge without Redis.
//!
//! It holds what was committed as it is, and writes JSON only when somebody reads. It is bounded in users, in events
//! and in bytes; whose events were put or read the longest ago goes first. All of it is lost with the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lru::LruCache;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::faults::Faults;
use crate::domain::cached::{SeriesMember, newness};
use crate::domain::event::{DeviceType, Event};
use crate::domain::ids::{EventId, UserId};
use crate::domain::time::Timestamp;
use crate::ports::Cache;
use crate::ports::cache::CacheError;
use crate::ports::store::WrittenEvent;

/// Users in the cache.
pub const CACHE_USERS_MAX: usize = 2_500;
/// Events in all series together.
pub const CACHE_EVENTS_MAX: usize = 5_000;
/// What all events together may weigh, counted in each place that holds them: little, beside what a bridge is allowed to
/// take for a delivery of a million readings.
pub const CACHE_BYTES_MAX: usize = 8 << 20;
/// Deletions that are remembered for one user.
const DELETIONS_MAX: usize = 64;

/// An operation of the cache, for its [`Faults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as in the trait")]
pub enum CacheCall {
    Put,
    Latest,
    Series,
    Check,
}

/// A handle to a cache in memory. What it holds lives as long as any handle to it.
#[derive(Debug)]
pub struct MemoryCache {
    contents: Arc<Mutex<Contents>>,
    faults: Faults<CacheCall, CacheError>,
}

impl MemoryCache {
    /// An empty cache: newest events live for `ttl`, and a series holds `series_max` events.
    pub fn new(ttl: Duration, series_max: usize) -> Self {
        let users = LruCache::unbounded();
        let contents = Contents { users, events: 0, bytes: 0, ttl, series_max };
        Self { contents: Arc::new(Mutex::new(contents)), faults: Faults::default() }
    }

    /// Another handle to the same contents: without the faults of this one.
    pub fn reopen(&self) -> Self {
        Self { contents: Arc::clone(&self.contents), faults: Faults::default() }
    }

    /// What is to befall the calls of this handle.
    pub fn faults(&self) -> &Faults<CacheCall, CacheError> {
        &self.faults
    }

    async fn call<T: Send>(
        &self,
        call: CacheCall,
        effect: impl FnOnce(&mut Contents) -> T + Send,
    ) -> Result<T, CacheError> {
        let rest = self.faults.before(call).await?;
        let result = effect(&mut self.contents.lock());
        self.faults.after(rest).await.map(|()| result)
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn put(&self, events: &[Arc<WrittenEvent>]) -> Result<(), CacheError> {
        let now = Instant::now();
        self.call(CacheCall::Put, |contents| events.iter().for_each(|event| contents.put(event, now))).await
    }

    async fn latest(
        &self,
        user: &UserId,
        device: Option<DeviceType>,
    ) -> Result<Option<Box<RawValue>>, CacheError> {
        let now = Instant::now();
        let found = self.call(CacheCall::Latest, |contents| contents.latest(user, device, now)).await?;
        Ok(found.and_then(|written| {
            let text = std::str::from_utf8(&written.message.value).ok()?;
            RawValue::from_string(text.to_owned()).ok()
        }))
    }

    async fn series(&self, user: &UserId, limit: usize) -> Result<Vec<Box<RawValue>>, CacheError> {
        let found = self.call(CacheCall::Series, |contents| contents.series(user, limit)).await?;
        let member = |written: &Arc<WrittenEvent>| {
            serde_json::value::to_raw_value(&SeriesMember::of(&written.event)).ok()
        };
        Ok(found.iter().filter_map(member).collect())
    }

    async fn check(&self) -> Result<(), CacheError> {
        self.call(CacheCall::Check, |_| ()).await
    }
}

/// Where an event stands in its user's series.
type Place = (Timestamp, EventId);

fn place(event: &Event) -> Place {
    (event.timestamp, event.event_id.clone())
}

#[derive(Debug)]
struct Newest {
    written: Arc<WrittenEvent>,
    until: Instant,
}

/// What is held of one user.
#[derive(Debug, Default)]
struct Held {
    /// The newest of all (under `None`) and of each device.
    latest: Vec<(Option<DeviceType>, Newest)>,
    series: BTreeMap<Place, Arc<WrittenEvent>>,
    /// The version of each record that is in the series, and where it stands.
    records: HashMap<Arc<str>, (i64, Place)>,
    /// Versions that deleted their records, and until when that is remembered.
    deletions: HashMap<Arc<str>, (i64, Instant)>,
    bytes: usize,
}

impl Held {
    fn put(&mut self, written: &Arc<WrittenEvent>, until: Instant, now: Instant) {
        let event = &written.event;
        let is_deleted = self
            .deletions
            .get(&event.record_id)
            .is_some_and(|(version, until)| *until > now && *version >= event.version);
        let held = self.records.get(&event.record_id).cloned();
        if is_deleted || held.as_ref().is_some_and(|(version, _)| *version > event.version) {
            return;
        }
        if let Some((_, place)) = held {
            self.take_out(&place);
        }
        if event.deleted {
            self.delete(event, until, now);
            return;
        }
        self.bytes += written.weight();
        self.records.insert(Arc::clone(&event.record_id), (event.version, place(event)));
        self.series.insert(place(event), Arc::clone(written));
        for device in [None, Some(event.device_type)] {
            self.offer(device, written, until, now);
        }
    }

    fn delete(&mut self, event: &Event, until: Instant, now: Instant) {
        let bytes = &mut self.bytes;
        self.latest.retain(|(_, newest)| {
            let is_kept = newest.written.event.record_id != event.record_id;
            if !is_kept {
                *bytes -= newest.written.weight();
            }
            is_kept
        });
        self.deletions.retain(|_, (_, until)| *until > now);
        if self.deletions.len() >= DELETIONS_MAX {
            let oldest = self.deletions.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(oldest) = oldest.map(|(record, _)| Arc::clone(record)) {
                self.deletions.remove(&oldest);
            }
        }
        self.deletions.insert(Arc::clone(&event.record_id), (event.version, until));
    }

    /// Lets an event be the newest of `device` if nothing newer is.
    fn offer(
        &mut self,
        device: Option<DeviceType>,
        written: &Arc<WrittenEvent>,
        until: Instant,
        now: Instant,
    ) {
        let event = &written.event;
        let newest = Newest { written: Arc::clone(written), until };
        match self.latest.iter_mut().find(|(of, _)| *of == device) {
            Some((_, held)) => {
                let other = &held.written.event;
                let is_newer = other.record_id == event.record_id || newness(event) >= newness(other);
                if is_newer || held.until <= now {
                    self.bytes = self.bytes + written.weight() - held.written.weight();
                    *held = newest;
                }
            }
            None => {
                self.bytes += written.weight();
                self.latest.push((device, newest));
            }
        }
    }

    /// Takes what stands at `place` out of the series.
    fn take_out(&mut self, place: &Place) {
        let Some(written) = self.series.remove(place) else { return };
        self.bytes -= written.weight();
        let record = &written.event.record_id;
        if self.records.get(record).is_some_and(|(_, of_record)| of_record == place) {
            self.records.remove(record);
        }
    }

    /// Shortens the series to its newest `len` events.
    fn shorten(&mut self, len: usize) {
        while self.series.len() > len
            && let Some(oldest) = self.series.keys().next().cloned()
        {
            self.take_out(&oldest);
        }
    }
}

#[derive(Debug)]
struct Contents {
    users: LruCache<UserId, Held>,
    events: usize,
    bytes: usize,
    ttl: Duration,
    series_max: usize,
}

impl Contents {
    fn put(&mut self, written: &Arc<WrittenEvent>, now: Instant) {
        let user = &written.event.user_id;
        // Not every entry needs a key of its own, as `get_or_insert_mut` would.
        if !self.users.contains(user) {
            self.users.push(user.clone(), Held::default());
        }
        let Some(held) = self.users.get_mut(user) else { return };
        let (events, bytes) = (held.series.len(), held.bytes);
        held.put(written, now + self.ttl, now);
        held.shorten(self.series_max);
        self.events = self.events + held.series.len() - events;
        self.bytes = self.bytes + held.bytes - bytes;
        self.make_room();
    }

    fn is_over(&self) -> bool {
        self.events > CACHE_EVENTS_MAX || self.bytes > CACHE_BYTES_MAX
    }

    /// Forgets the users that were used the longest ago, and of the last one its oldest events.
    fn make_room(&mut self) {
        while self.users.len() > 1 && (self.users.len() > CACHE_USERS_MAX || self.is_over()) {
            let Some((_, held)) = self.users.pop_lru() else { return };
            self.events -= held.series.len();
            self.bytes -= held.bytes;
        }
        while self.is_over() {
            let Some((_, held)) = self.users.peek_lru() else { return };
            let len = held.series.len();
            if len <= 1 {
                // One event that is too large for any cache.
                self.users.clear();
                (self.events, self.bytes) = (0, 0);
                return;
            }
            let Some((user, mut held)) = self.users.pop_lru() else { return };
            let bytes = held.bytes;
            held.shorten(len / 2);
            self.events -= len - held.series.len();
            self.bytes -= bytes - held.bytes;
            self.users.push(user, held);
        }
    }

    fn latest(
        &mut self,
        user: &UserId,
        device: Option<DeviceType>,
        now: Instant,
    ) -> Option<Arc<WrittenEvent>> {
        let held = self.users.get(user)?;
        let (_, newest) = held.latest.iter().find(|(of, _)| *of == device)?;
        (newest.until > now).then(|| Arc::clone(&newest.written))
    }

    fn series(&mut self, user: &UserId, limit: usize) -> Vec<Arc<WrittenEvent>> {
        let Some(held) = self.users.get(user) else { return Vec::new() };
        let mut newest: Vec<_> = held.series.values().rev().take(limit).cloned().collect();
        newest.reverse();
        newest
    }
}
