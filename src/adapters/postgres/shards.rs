//! Who publishes a shard of the outbox: a lease in the database, by the database's clock.
//!
//! A bridge that loses its lease without knowing, because it stood still, may publish once more what it had read: a run
//! of messages that comes again. What it then wants to delete is refused.

use std::time::Duration;

use actors::domain::message::partition_of;
use parking_lot::Mutex;
use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use super::fault::Fault;

/// Into how many shards the outbox is split.
pub const OUTBOX_SHARDS: u32 = 4;
/// How long a lease lasts. A bridge that dies is followed by another after so long.
const LEASE: Duration = Duration::from_secs(20);
/// A lease is renewed when less is left of it.
pub const RENEW_BELOW: Duration = Duration::from_secs(15);
/// How long another bridge's shard is left alone before it is asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The shard of a key.
pub(super) fn shard_of(key: &str) -> i16 {
    partition_of(key, OUTBOX_SHARDS) as i16
}

/// What this bridge knows of a shard. It errs to its own disadvantage: each time is taken before the question is sent.
#[derive(Debug, Clone, Copy)]
enum Hold {
    Unknown,
    Ours { until: Instant },
    Others { ask_again: Instant },
}

/// The shards, as one bridge sees them.
pub(super) struct Shards {
    owner: Uuid,
    holds: Mutex<[Hold; OUTBOX_SHARDS as usize]>,
}

impl Shards {
    /// A bridge that holds none.
    pub(super) fn new() -> Self {
        Self { owner: Uuid::now_v7(), holds: Mutex::new([Hold::Unknown; OUTBOX_SHARDS as usize]) }
    }

    /// Whose name stands in the leases.
    pub(super) fn owner(&self) -> Uuid {
        self.owner
    }

    /// Whether the shard is another bridge's as far as is known: then there is nothing to ask the database.
    pub(super) fn is_others(&self, shard: u32) -> bool {
        matches!(self.hold(shard), Hold::Others { ask_again } if Instant::now() < ask_again)
    }

    /// Makes sure that the shard is this bridge's, if it can be.
    pub(super) async fn claim(&self, connection: &mut PgConnection, shard: u32) -> Result<bool, Fault> {
        let now = Instant::now();
        if matches!(self.hold(shard), Hold::Ours { until } if until.duration_since(now) > RENEW_BELOW) {
            return Ok(true);
        }
        // A lease that would last longer than any does is of a clock that has been set back since.
        let claimed = sqlx::query(
            "INSERT INTO outbox_shards (shard, owner, expires_at) \
             VALUES ($1, $2, now() + $3 * interval '1 second') \
             ON CONFLICT (shard) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at \
             WHERE outbox_shards.owner = excluded.owner OR outbox_shards.expires_at < now() \
             OR outbox_shards.expires_at > now() + 2 * $3 * interval '1 second'",
        )
        .bind(shard as i16)
        .bind(self.owner)
        .bind(LEASE.as_secs_f64())
        .execute(connection)
        .await?;
        let is_ours = claimed.rows_affected() == 1;
        let others = Hold::Others { ask_again: now + ASK_AGAIN_AFTER };
        self.set(shard, if is_ours { Hold::Ours { until: now + LEASE } } else { others });
        Ok(is_ours)
    }

    /// Forgets what was known of a shard, which has turned out to be another's.
    pub(super) fn lost(&self, shard: u32) -> Fault {
        self.set(shard, Hold::Unknown);
        Fault::Fenced(format!("shard {shard} of the outbox is another bridge's"))
    }

    /// Gives all shards back, so that the others need not wait for the leases to end.
    pub(super) async fn give_back(&self, connection: &mut PgConnection) -> Result<(), Fault> {
        *self.holds.lock() = [Hold::Unknown; OUTBOX_SHARDS as usize];
        sqlx::query("DELETE FROM outbox_shards WHERE owner = $1")
            .bind(self.owner)
            .execute(connection)
            .await?;
        Ok(())
    }

    fn hold(&self, shard: u32) -> Hold {
        self.holds.lock().get(shard as usize).copied().unwrap_or(Hold::Unknown)
    }

    fn set(&self, shard: u32, hold: Hold) {
        if let Some(held) = self.holds.lock().get_mut(shard as usize) {
            *held = hold;
        }
    }
}
