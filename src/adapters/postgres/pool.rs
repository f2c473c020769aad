//! Connections, in shares: webhooks have theirs, whatever the pipeline and the read API are doing.
//!
//! This pool differs from the driver's in three ways. A server that refuses says so at once, and not after the whole
//! patience. A connection whose call was given up is closed, so that nothing of it is found by the next call. And
//! there is no ping around each call: what was used a moment ago is trusted.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use actors::ports::store::ConnectionCounts;
use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::fault::Fault;

/// How long a call waits for a connection, a new one included.
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(1);
/// A connection that has rested longer is tried before it is trusted: the server may have been restarted.
const TRUSTED_REST: Duration = Duration::from_secs(1);
/// How long such a try may take.
const PING_PATIENCE: Duration = Duration::from_millis(300);
/// A role or database may be set up not to wait for the disk; what is answered must be on it. Said here it stays so for
/// this connection, whatever is set up later.
const KEEP_COMMITS: &str = "SELECT set_config('synchronous_commit', \
    coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), false)";
/// How long a transaction that failed may take to be rolled back; else its connection is closed.
const ROLLBACK_PATIENCE: Duration = Duration::from_millis(300);
/// Connections beyond the smallest number rest so long before they are closed.
const REST_MAX: Duration = Duration::from_secs(300);

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Deliveries to commit.
    Webhooks,
    /// Publisher, consumer and flusher.
    Pipeline,
    /// Questions from outside.
    Queries,
}

/// How many connections each share has; of shares that are one and the same, the first has it.
#[derive(Debug, PartialEq, Eq)]
enum Split {
    /// Too few to be shared out.
    One(usize),
    /// Webhooks, and all others.
    Two(usize, usize),
    /// Webhooks, pipeline, queries.
    Three(usize, usize, usize),
}

impl Split {
    /// A quarter each for webhooks and for the pipeline, at least one; the rest for questions.
    fn of(connections_max: usize) -> Self {
        match connections_max {
            0 | 1 => Self::One(1),
            2 => Self::Two(1, 1),
            _ => {
                let quarter = (connections_max / 4).max(1);
                Self::Three(quarter, quarter, connections_max - 2 * quarter)
            }
        }
    }
}

struct Rested {
    connection: PgConnection,
    since: Instant,
}

/// The connections of one store.
pub(super) struct Pool {
    options: PgConnectOptions,
    /// Where sockets are watched: the runtime of the caller, one of many, may end before its connection does.
    runtime: Handle,
    /// As many are kept however long they rest.
    kept: usize,
    connections_max: usize,
    shares: [Arc<Semaphore>; 3],
    /// Used last, taken first.
    resting: Mutex<Vec<Rested>>,
}

impl Pool {
    /// A pool that opens nothing yet.
    pub(super) fn new(options: PgConnectOptions, runtime: Handle, kept: u32, connections_max: u32) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let shares = match Split::of(connections_max as usize) {
            Split::One(all) => {
                let all = semaphore(all);
                [Arc::clone(&all), Arc::clone(&all), all]
            }
            Split::Two(webhooks, others) => {
                let others = semaphore(others);
                [semaphore(webhooks), Arc::clone(&others), others]
            }
            Split::Three(webhooks, pipeline, queries) => {
                [semaphore(webhooks), semaphore(pipeline), semaphore(queries)]
            }
        };
        let connections_max = distinct(&shares).map(Semaphore::available_permits).sum();
        Self { options, runtime, kept: kept as usize, connections_max, shares, resting: Mutex::default() }
    }

    /// A connection of `share`, until it is given back or dropped, which closes it.
    pub(super) async fn lease(self: &Arc<Self>, share: Share) -> Result<Lease, Fault> {
        let deadline = Instant::now() + ACQUIRE_PATIENCE;
        let permits = match share {
            Share::Webhooks => &self.shares[0],
            Share::Pipeline => &self.shares[1],
            Share::Queries => &self.shares[2],
        };
        let permit = timeout_at(deadline, Arc::clone(permits).acquire_owned()).await;
        let busy = || Fault::Declined("all connections to the database are in use".to_owned());
        let permit = permit.map_err(|_| busy())?.map_err(|_| busy())?;
        let connection = match self.rested().await {
            Some(connection) => connection,
            None => self.open().await?,
        };
        Ok(Lease { connection, in_transaction: false, pool: Arc::clone(self), _permit: permit })
    }

    async fn open(&self) -> Result<PgConnection, Fault> {
        let options = self.options.clone();
        let open = async move {
            let open = async {
                let mut connection = options.connect().await?;
                sqlx::raw_sql(KEEP_COMMITS).execute(&mut connection).await?;
                Ok::<_, sqlx::Error>(connection)
            };
            timeout(ACQUIRE_PATIENCE, open).await
        };
        let ended = |_| Fault::Declined("the bridge is being stopped".to_owned());
        Ok(self.runtime.spawn(open).await.map_err(ended)?.map_err(|_| Fault::late())??)
    }

    /// A connection that has rested and still works.
    async fn rested(&self) -> Option<PgConnection> {
        loop {
            let Rested { mut connection, since } = self.resting.lock().pop()?;
            if since.elapsed() < TRUSTED_REST {
                return Some(connection);
            }
            match timeout(PING_PATIENCE, connection.ping()).await {
                Ok(Ok(())) => return Some(connection),
                // The others have rested longer, and it was the server that went away.
                _ => self.resting.lock().clear(),
            }
        }
    }

    fn rest(&self, connection: PgConnection) {
        let mut resting = self.resting.lock();
        resting.push(Rested { connection, since: Instant::now() });
        // Those at the bottom have rested longest.
        let spare = resting.len().saturating_sub(self.kept);
        let tired = resting.iter().take(spare).take_while(|rested| rested.since.elapsed() > REST_MAX).count();
        resting.drain(..tired);
    }

    /// Opens as many connections as are kept, so that the first calls need not.
    pub(super) async fn warm_up(&self) -> Result<(), Fault> {
        while self.resting.lock().len() < self.kept {
            let connection = self.open().await?;
            self.rest(connection);
        }
        Ok(())
    }

    /// Connections in use and at rest.
    pub(super) fn counts(&self) -> ConnectionCounts {
        let free: usize = distinct(&self.shares).map(Semaphore::available_permits).sum();
        ConnectionCounts { used: self.connections_max.saturating_sub(free), idle: self.resting.lock().len() }
    }
}

/// Each share once, also where two are one and the same.
fn distinct(shares: &[Arc<Semaphore>; 3]) -> impl Iterator<Item = &Semaphore> {
    let is_first = |place: usize| shares[..place].iter().all(|other| !Arc::ptr_eq(other, &shares[place]));
    shares.iter().enumerate().filter(move |(place, _)| is_first(*place)).map(|(_, share)| &**share)
}

/// A connection in use. Dropped in the middle of something, it is closed.
pub(super) struct Lease {
    connection: PgConnection,
    in_transaction: bool,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Begins a transaction.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        self.in_transaction = true;
        self.run("BEGIN").await
    }

    /// Makes the transaction durable. After an error nobody knows whether it is.
    pub(super) async fn commit(&mut self) -> Result<(), Fault> {
        self.run("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Undoes the transaction.
    pub(super) async fn roll_back(&mut self) -> Result<(), Fault> {
        self.run("ROLLBACK").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Runs statements that give nothing back.
    pub(super) async fn run(&mut self, sql: &'static str) -> Result<(), Fault> {
        sqlx::raw_sql(sql).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Takes what the work on this connection came to, and gives the connection back if it is sound.
    pub(super) async fn finish<T>(mut self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        if matches!(outcome, Err(Fault::Broken(_))) {
            // What broke this one has broken the others.
            self.pool.resting.lock().clear();
            return outcome;
        }
        let is_sound = match self.in_transaction {
            false => true,
            true => matches!(timeout(ROLLBACK_PATIENCE, self.roll_back()).await, Ok(Ok(()))),
        };
        if is_sound {
            let Self { connection, pool, .. } = self;
            pool.rest(connection);
        }
        outcome
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// Waits for `work` until `deadline`.
pub(super) async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout_at(deadline, work).await.unwrap_or_else(|_| Err(Fault::late()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_have_connections_of_their_own_from_two_on() {
        assert_eq!(Split::of(1), Split::One(1));
        assert_eq!(Split::of(2), Split::Two(1, 1));
        assert_eq!(Split::of(3), Split::Three(1, 1, 1));
        assert_eq!(Split::of(20), Split::Three(5, 5, 10));
        assert_eq!(Split::of(1000), Split::Three(250, 250, 500));
    }
}
