//! One partition that the group has given to this member: what was fetched of it, and what is still wanted.

use std::collections::VecDeque;

use actors::ports::event_log::LogRecord;

/// What a record costs beside its bytes.
const RECORD_OVERHEAD_BYTES: usize = 200;

/// Whether librdkafka fetches a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetching {
    /// It does not know that it should.
    No,
    /// It does.
    Yes,
    /// Not at the moment: there is enough in the buffer.
    Paused,
}

/// How much of one partition is held in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// A partition of this member.
///
/// The buffer holds every record from `start` to `next`, so that a poll at a place in between needs no broker. A
/// place outside of it is `wanted`, and fetching begins anew there.
#[derive(Debug)]
pub(super) struct Share {
    /// Whether the member was told that it is its.
    pub(super) is_told: bool,
    /// Whether the member has polled it since.
    pub(super) is_held: bool,
    pub(super) fetching: Fetching,
    /// Where fetching is to begin anew.
    pub(super) wanted: Option<i64>,
    /// The place of the last poll.
    asked: i64,
    start: i64,
    next: i64,
    /// Nothing has come since fetching began at `next`.
    is_fresh: bool,
    /// The place that the log did not have: it stands for `start` until another is asked for.
    missing: Option<i64>,
    records: VecDeque<LogRecord>,
    bytes: usize,
}

impl Share {
    pub(super) fn new() -> Self {
        Self {
            is_told: false,
            is_held: false,
            fetching: Fetching::No,
            wanted: None,
            asked: 0,
            start: 0,
            next: 0,
            is_fresh: false,
            missing: None,
            records: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The member asks for what is at and beyond `place`; what is before it goes.
    pub(super) fn ask(&mut self, place: i64) {
        self.is_held = true;
        self.asked = place;
        if self.missing != Some(place) {
            self.missing = None;
        }
        let place = self.place();
        if self.wanted.is_some() || self.fetching == Fetching::No || place < self.start || place > self.next {
            self.want(place);
            return;
        }
        while self.records.front().is_some_and(|record| record.offset < place) {
            self.bytes -= self.records.pop_front().map_or(0, |record| weight(&record));
        }
        self.start = place;
    }

    /// Where the member really is.
    fn place(&self) -> i64 {
        if self.missing.is_some() { self.start } else { self.asked }
    }

    fn want(&mut self, place: i64) {
        self.wanted = Some(place);
        self.records.clear();
        self.bytes = 0;
    }

    /// Fetching has begun at `place`.
    pub(super) fn begin(&mut self, place: i64) {
        self.fetching = Fetching::Yes;
        self.records.clear();
        self.bytes = 0;
        (self.start, self.next, self.is_fresh) = (place, place, true);
        if self.wanted == Some(place) {
            self.wanted = None;
        }
    }

    /// A record has come.
    pub(super) fn push(&mut self, record: LogRecord) {
        if self.fetching == Fetching::No || self.wanted.is_some() {
            return;
        }
        if record.offset < self.next {
            if !self.is_fresh {
                // The log has gone back while it was read. Whether the member's place is still there is found out
                // by asking for it again.
                self.want(self.place());
                return;
            }
            // The place is not on the log, and librdkafka has gone to the earliest that is.
            self.missing = Some(self.asked);
            self.start = record.offset;
        }
        self.is_fresh = false;
        self.next = record.offset + 1;
        self.bytes += weight(&record);
        self.records.push_back(record);
    }

    /// The oldest records that are there.
    pub(super) fn records(&self) -> impl ExactSizeIterator<Item = &LogRecord> {
        self.records.iter()
    }

    /// The member knows nothing of it any more.
    pub(super) fn forget(&mut self) {
        (self.is_told, self.is_held) = (false, false);
    }

    pub(super) fn is_full(&self, room: Room) -> bool {
        self.records.len() >= room.records || self.bytes >= room.bytes
    }

    /// Whether so much has gone that fetching is worth while again.
    pub(super) fn is_drained(&self, room: Room) -> bool {
        self.records.len() <= room.records / 2 && self.bytes <= room.bytes / 2
    }
}

fn weight(record: &LogRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    RECORD_OVERHEAD_BYTES + record.key.len() + record.value.len() + headers
}
