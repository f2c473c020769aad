//! What is new on the log, read once for all readers of this bridge.

use std::collections::VecDeque;
use std::sync::Arc;

use actors::domain::message::{Topic, header};
use actors::event_message::SCHEMA;
use actors::ports::EventLog;
use actors::ports::event_log::{LogError, LogRecord};
use actors::ports::follow::{Begin, FOLLOWED, Followed, Lanes, Scope};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use tokio::sync::{Semaphore, watch};

use super::query::Filter;
use crate::settings::{
    STREAM_BEHIND_MAX, STREAM_CATCH_UPS_MAX, STREAM_PAGE, STREAM_PAGE_MAX_BYTES, STREAM_READERS_MAX,
    STREAM_RETRY, STREAM_RING_MAX, STREAM_RING_MAX_BYTES, STREAM_START_WAIT,
};

/// The newest messages, for all readers. It reads the log only while there are readers.
pub struct Hub {
    log: Arc<dyn EventLog>,
    readers: watch::Sender<usize>,
    ring: Mutex<Option<Ring>>,
    grown: watch::Sender<()>,
    /// Readers that read the log for themselves.
    pub(super) catch_ups: Semaphore,
}

/// The newest messages, numbered as they came.
struct Ring {
    /// From these places on every message is here …
    from: Lanes,
    /// … up to these.
    to: Lanes,
    /// The number of the first one that is here; never used twice, in the next ring either.
    first: u64,
    messages: VecDeque<Arc<Followed>>,
    bytes: usize,
    /// What had no room any more and came right before the first one: whose it was, without what it said. So readers of
    /// large messages can be seen to be behind, too.
    gone: VecDeque<Followed>,
}

/// What a reader finds from a number on.
pub(super) enum Look {
    /// Some; none may be the reader's.
    Found {
        /// These …
        messages: Vec<Arc<Followed>>,
        /// … the number to go on with …
        next: u64,
        /// … and whether nothing is there from it on.
        is_all: bool,
    },
    /// What comes there is not in memory.
    Gone,
}

/// A reader is counted as long as this is held.
pub(super) struct Seat(Arc<Hub>);

impl Hub {
    /// A hub that reads `log`, once [`Hub::run`] runs.
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self {
            log,
            readers: watch::Sender::new(0),
            ring: Mutex::new(None),
            grown: watch::Sender::new(()),
            catch_ups: Semaphore::new(STREAM_CATCH_UPS_MAX),
        }
    }

    /// Reads along while there are readers, for ever. Whatever befalls the log, it goes on from where it was.
    pub async fn run(&self) {
        let mut readers = self.readers.subscribe();
        let scope = Scope { topics: FOLLOWED.to_vec(), partition: None };
        let mut first = 0;
        // Never an error: the sender is ours.
        while readers.wait_for(|readers| *readers > 0).await.is_ok() {
            let Ok(begun) = self.log.follow(&scope, Begin::Now).await else {
                tokio::time::sleep(STREAM_RETRY).await;
                continue;
            };
            let mut follower = begun.follower;
            *self.ring.lock() = Some(Ring::new(first, follower.lanes()));
            self.grown.send_replace(());
            while *readers.borrow() > 0 {
                match follower.next(STREAM_PAGE).await {
                    Ok(records) => self.put(records, follower.lanes()),
                    Err(_) => tokio::time::sleep(STREAM_RETRY).await,
                }
            }
            // One number is left out: who waits for it has not seen what came in between.
            first = self.ring.lock().take().map_or(first, |ring| ring.end() + 1);
        }
    }

    fn put(&self, records: Vec<Followed>, to: &Lanes) {
        let records: Vec<_> =
            records.into_iter().filter(|followed| is_ours(&followed.record)).map(Arc::new).collect();
        let is_empty = records.is_empty();
        if let Some(ring) = &mut *self.ring.lock() {
            records.into_iter().for_each(|message| ring.push(message));
            ring.to.clone_from(to);
        }
        if !is_empty {
            self.grown.send_replace(());
        }
    }

    /// The log that it reads.
    pub(super) fn log(&self) -> &dyn EventLog {
        &*self.log
    }

    /// A place for another reader, if there is one left.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let mut is_seated = false;
        self.readers.send_modify(|readers| {
            is_seated = *readers < STREAM_READERS_MAX;
            *readers += usize::from(is_seated);
        });
        is_seated.then(|| Seat(Arc::clone(self)))
    }

    /// Waits until it reads along, and gives back where it is: the number of the next message, and its place.
    pub(super) async fn now(&self) -> Result<(u64, Lanes), LogError> {
        let mut grown = self.grown.subscribe();
        let reads_along = async {
            loop {
                if let Some(ring) = &*self.ring.lock() {
                    return (ring.end(), ring.to.clone());
                }
                // Never an error: the sender is ours.
                let _ = grown.changed().await;
            }
        };
        let unavailable = |_| LogError::Unavailable("it cannot be read now".to_owned());
        tokio::time::timeout(STREAM_START_WAIT, reads_along).await.map_err(unavailable)
    }

    /// Sees when something new has come.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    /// The number from which on everything at and behind these places is in memory.
    pub(super) fn reach(&self, lanes: &Lanes) -> Option<u64> {
        let ring = self.ring.lock();
        let ring = ring.as_ref()?;
        let reaches = |(lane, place): (&u32, &i64)| ring.from.get(lane).is_some_and(|from| place >= from);
        lanes.iter().all(reaches).then_some(ring.first)
    }

    /// What is `filter`'s from number `at` on and not before `lanes`, which go along: at most a page.
    pub(super) fn look(&self, at: u64, lanes: &mut Lanes, filter: &Filter) -> Look {
        let ring = self.ring.lock();
        let Some(ring) = ring.as_ref().filter(|ring| at >= ring.first) else { return Look::Gone };
        let (mut found, mut next, mut bytes) = (Vec::new(), at, 0);
        for message in ring.since(at) {
            if found.len() == STREAM_PAGE || bytes >= STREAM_PAGE_MAX_BYTES {
                break;
            }
            next += 1;
            if is_before_it(message, lanes) && filter.takes(&message.record) {
                bytes += message.record.value.len();
                lanes.insert(message.lane, message.place + 1);
                found.push(Arc::clone(message));
            }
        }
        let is_all = next == ring.end();
        if is_all {
            // What was nothing for it is behind it too.
            for (lane, place) in lanes {
                *place = ring.to.get(lane).map_or(*place, |to| (*place).max(*to));
            }
        }
        Look::Found { messages: found, next, is_all }
    }

    /// Whether more than [`STREAM_BEHIND_MAX`] of the newest messages are `filter`'s and not before `lanes`.
    pub(super) fn is_behind(&self, at: Option<u64>, lanes: &Lanes, filter: &Filter) -> bool {
        let ring = self.ring.lock();
        let Some(ring) = &*ring else { return false };
        let rest = ring.since(at.unwrap_or(ring.first)).map(|message| &**message);
        let is_in_memory = at.is_some_and(|at| at >= ring.first);
        let gone = ring.gone.iter().take(if is_in_memory { 0 } else { usize::MAX });
        if gone.len() + rest.len() <= STREAM_BEHIND_MAX {
            return false;
        }
        let due = |message: &&Followed| is_before_it(message, lanes) && filter.takes(&message.record);
        gone.chain(rest).filter(due).nth(STREAM_BEHIND_MAX).is_some()
    }
}

/// Whether a reader that has come as far as `lanes` still has this message before it.
fn is_before_it(message: &Followed, lanes: &Lanes) -> bool {
    lanes.get(&message.lane).is_some_and(|place| message.place >= *place)
}

/// Whether a record is one of ours, and JSON: what others have put onto the topics is no reader's.
pub(super) fn is_ours(record: &LogRecord) -> bool {
    let is_told = record.topic != Topic::BiometricEvents || header(&record.headers, "schema") == Some(SCHEMA);
    // What is only passed over is not checked for UTF-8 by the parser, and no WebSocket may carry anything else.
    let text = std::str::from_utf8(&record.value).ok().filter(|_| is_told);
    text.is_some_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

impl Ring {
    fn new(first: u64, at: &Lanes) -> Self {
        let (messages, gone) = (VecDeque::new(), VecDeque::new());
        Self { from: at.clone(), to: at.clone(), first, messages, bytes: 0, gone }
    }

    fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    fn since(&self, at: u64) -> std::collections::vec_deque::Iter<'_, Arc<Followed>> {
        let passed = usize::try_from(at.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.messages.range(passed.min(self.messages.len())..)
    }

    fn push(&mut self, message: Arc<Followed>) {
        self.bytes += size(&message);
        self.messages.push_back(message);
        while self.messages.len() > STREAM_RING_MAX || self.bytes > STREAM_RING_MAX_BYTES {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= size(&oldest);
            self.first += 1;
            self.from.insert(oldest.lane, oldest.place + 1);
            self.gone.push_back(without_content(&oldest));
        }
        let excess = (self.messages.len() + self.gone.len()).saturating_sub(STREAM_RING_MAX);
        self.gone.drain(..excess.min(self.gone.len()));
    }
}

/// What is needed to know whose a message was.
fn without_content(message: &Followed) -> Followed {
    let Followed { lane, place, record } = message;
    let LogRecord { topic, partition, offset, key, .. } = record;
    let (value, headers) = (Vec::new(), Vec::new());
    let (topic, partition, offset, key) = (*topic, *partition, *offset, Arc::clone(key));
    Followed {
        lane: *lane,
        place: *place,
        record: LogRecord { topic, partition, offset, key, value, headers },
    }
}

/// About how much memory a message takes.
fn size(message: &Followed) -> usize {
    let headers: usize = message.record.headers.iter().map(|(_, value)| value.len() + 64).sum();
    message.record.value.len() + headers + 256
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.readers.send_modify(|readers| *readers -= 1);
    }
}
