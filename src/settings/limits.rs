//! Limits that are not settings, each with its unit in its name, and what must hold between them.

use std::time::Duration;

/// How long a request's body may take, from its head to its last byte.
pub const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// A body that announces more than this, as HealthKit's may …
pub const BIG_BODY_FROM_BYTES: usize = 1 << 20;
/// … may take so long: a phone uploads it.
pub const BIG_BODY_DEADLINE: Duration = Duration::from_secs(120);
/// A body must bring so many bytes a second …
pub const BODY_RATE_MIN_BYTES_PER_SECOND: usize = 1_024;
/// … in each stretch of this length until it is whole. The first stretch is its grace: who has sent all by then was
/// fast enough.
pub const BODY_RATE_WINDOW: Duration = Duration::from_secs(5);
/// Bodies larger than [`BIG_BODY_FROM_BYTES`] may hold this part of `BODY_BUDGET_BYTES`: the rest is for ordinary ones,
/// which must not wait for them.
pub const BIG_BODIES_BUDGET_PERCENT: usize = 75;
/// How long a body that is under way may still take once the bridge is stopping; never more than half of what
/// `SHUTDOWN_TIMEOUT_SECONDS` gives, since states have to be flushed after it.
pub const BODY_GRACE_MAX: Duration = Duration::from_secs(10);
/// How long a request's head may take: from its first byte, or from the connection's begin if it is the first one.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection may idle between requests.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long an answer may wait for its reader to take the next byte of it.
pub const ANSWER_STALL_MAX: Duration = Duration::from_secs(10);
/// How long the system waits for the other side's to confirm what it was sent.
pub const UNCONFIRMED_MAX: Duration = Duration::from_secs(30);
/// How long a connection that is being closed may still bring what was on its way.
pub const LINGER: Duration = Duration::from_secs(1);
/// Connections that the system may hold for us while all threads are busy.
pub const BACKLOG_MAX: u32 = 2_048;
/// HealthKit's bodies that are longer than [`BIG_BODY_FROM_BYTES`] are spooled to files: so many for each slot of theirs, and
/// as many again of senders whose body has yet to prove them.
pub const SPOOLED_PER_SLOT: usize = 2;
/// What is written to such a file at once.
pub const SPOOL_BLOCK_BYTES: usize = 256 << 10;
/// A body may not inflate by more than this …
pub const INFLATE_RATIO_MAX: usize = 100;
/// … once it is larger than this.
pub const INFLATE_RATIO_FROM_BYTES: usize = 1 << 20;
/// A body is inflated in pieces of this size, each under the memory of all bodies.
pub const INFLATE_PIECE_BYTES: usize = 64 << 10;
/// How long `/admin/inject?wait=applied` waits.
pub const APPLIED_WAIT: Duration = Duration::from_secs(5);
/// What a 503 asks a sender to wait.
pub const RETRY_AFTER_SECONDS: u64 = 1;
/// Events on one page when nothing else is asked for, and at most.
pub const PAGE_DEFAULT: usize = 100;
/// At most so many rows on a page.
pub const PAGE_MAX: usize = 1_000;
/// Points on one page of a time series when nothing else is asked for: a day of minutes is 1,440.
pub const POINTS_DEFAULT: usize = 2_000;
/// At most so many.
pub const POINTS_MAX: usize = 10_000;
/// A body of `/admin`.
pub const ADMIN_BODY_MAX_BYTES: usize = 8 << 20;
/// The body of a link: tokens may be long.
pub const LINK_BODY_MAX_BYTES: usize = 64 << 10;
/// Keys that are bound to one user, looked up at once: so many that were good before, and so many others …
pub const KEY_LOOKUPS_MAX: usize = 2;
/// … while so many wait, of each kind …
pub const KEY_LOOKUP_QUEUE_MAX: usize = 500;
/// … and for so long; then they are answered 503.
pub const KEY_LOOKUP_WAIT: Duration = Duration::from_secs(1);
/// Keys that were good, and keys that were not, of which that is remembered.
pub const KEYS_REMEMBERED_MAX: usize = 4_096;
/// A key that was nobody's is not looked up again before this is over.
pub const UNKNOWN_KEY_FOR: Duration = Duration::from_secs(60);
/// The body that names what is to be redriven: the ids of a page and more.
pub const REDRIVE_BODY_MAX_BYTES: usize = 128 << 10;
/// Dead letters redriven in one transaction.
pub const REDRIVE_CHUNK: usize = 500;
/// Dead letters redriven in a second, at most, where a rate is asked for.
pub const REDRIVE_RATE_MAX: u32 = 100_000;
/// Events moved to the user of a linked account in one transaction: commits of webhooks wait for it where the store has
/// one writer.
pub const MOVE_CHUNK: usize = 200;
/// The body of a command of `/admin`.
pub const COMMAND_BODY_MAX_BYTES: usize = 1 << 10;
/// Connections of one HTTP thread.
pub const CONNECTIONS_MAX: usize = 10_000;

/// How long a message may be in an actor's hands without progress until that life is aborted. Waiting for the store, the
/// log or another actor does not count.
pub const ACTOR_HUNG_AFTER: Duration = Duration::from_secs(5);
/// How long an actor may keep its thread until the process is given up: decoding the largest body takes a small part of
/// it.
pub const ACTOR_BLOCKED_AFTER: Duration = Duration::from_secs(30);

// Else the rate would never be what cuts a body off …
const _: () = assert!(BODY_RATE_WINDOW.as_secs() < BODY_DEADLINE.as_secs());
// … and it would cut off bodies that arrive in time.
const _: () =
    assert!(BODY_RATE_MIN_BYTES_PER_SECOND * (BIG_BODY_DEADLINE.as_secs() as usize) < BIG_BODY_FROM_BYTES);
const _: () = assert!(BODY_DEADLINE.as_secs() < BIG_BODY_DEADLINE.as_secs());
const _: () = assert!(BODY_GRACE_MAX.as_secs() <= BODY_DEADLINE.as_secs());
const _: () = assert!(HEAD_DEADLINE.as_secs() < KEEP_ALIVE.as_secs());
const _: () = assert!(BIG_BODIES_BUDGET_PERCENT < 100);
const _: () = assert!(SPOOL_BLOCK_BYTES < BIG_BODY_FROM_BYTES);

/// How often the file of thresholds is looked at. What two looks in a row have seen is taken, well within 2 s.
pub const THRESHOLDS_LOOK: Duration = Duration::from_millis(250);

/// The longest file of thresholds: room for the own values of many thousands of users.
pub const THRESHOLDS_MAX_BYTES: u64 = 4 << 20;

/// Readers of `/v1/stream` and `/ws` on one bridge.
pub const STREAM_READERS_MAX: usize = 500;
/// A reader that has more messages than this before it, twice in a row at so much distance, is cut off.
pub const STREAM_BEHIND_MAX: usize = 1_000;
/// How often that is looked at. A burst that is longer is read in less by whoever reads at all.
pub const STREAM_LOOK: Duration = Duration::from_secs(1);
/// The newest messages are kept in memory for all readers together: so many …
pub const STREAM_RING_MAX: usize = 20_000;
/// … of so many bytes. Who is further behind reads the log.
pub const STREAM_RING_MAX_BYTES: usize = 16 << 20;
/// Messages that are read at a time, for all readers or for one …
pub const STREAM_PAGE: usize = 200;
/// … and bytes of them, with one message besides. A reader's connection holds a few such pages.
pub const STREAM_PAGE_MAX_BYTES: usize = 64 << 10;
/// Readers that read the log for themselves at once …
pub const STREAM_CATCH_UPS_MAX: usize = 8;
/// … for so long, while others wait.
pub const STREAM_CATCH_UP_TURN: Duration = Duration::from_secs(5);
/// Who does not take a page for so long reads on later, and others have its turn.
pub const STREAM_CATCH_UP_PAUSE: Duration = Duration::from_millis(250);
/// How long a new reader waits for the log.
pub const STREAM_START_WAIT: Duration = Duration::from_secs(10);
/// A log that cannot be read is tried again after this.
pub const STREAM_RETRY: Duration = Duration::from_millis(500);
/// A reader that nothing comes for is sent a sign of life this often, so that nobody in between gives the connection up.
pub const STREAM_HEARTBEAT: Duration = Duration::from_secs(15);
/// When the bridge stops, a reader may still take for so long what it has been sent.
pub const STREAM_FAREWELL: Duration = Duration::from_secs(1);
/// A WebSocket that has not even answered a ping for so long is closed.
pub const SOCKET_SILENT_MAX: Duration = Duration::from_secs(45);
/// What a WebSocket's other side may send in one frame: nothing of it is needed.
pub const SOCKET_FRAME_MAX_BYTES: usize = 4 << 10;
/// Ids that a reader may come back with: one of each partition of each topic.
pub const STREAM_IDS_MAX: usize = 2_048;

const _: () = assert!(STREAM_BEHIND_MAX < STREAM_RING_MAX);
const _: () = assert!(STREAM_HEARTBEAT.as_secs() * 2 < SOCKET_SILENT_MAX.as_secs());
