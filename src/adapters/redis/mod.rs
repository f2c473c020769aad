//! The cache in Redis, for other programs that read the keys of contract §3. Nothing of ours rests on it.
//!
//! Each event goes in by one script, so that two bridges that put at once never leave an older event over a newer one.
//! A new version of a record takes the place of the older one in the series. A deletion takes its record out of the
//! series and, if the newest event is that record's, removes that key: the next event of the user makes it again.
//! What the script needs to know for that stands in a key of our own, under `bridge:`.
//!
//! A call that is late or fails costs its budget once or twice; then Redis is left alone for a moment. Connections are
//! opened in the background, so that a Redis that takes longer to connect than a call may last is reached all the same.
//! A cluster is not supported: the contract's keys of one user may lie on different nodes.

mod answers;
mod keys;
mod put;

use std::sync::Arc;
use std::time::Duration;

use actors::domain::event::DeviceType;
use actors::domain::ids::UserId;
use actors::ports::Cache;
use actors::ports::cache::CacheError;
use actors::ports::store::WrittenEvent;
use actors::supervision::{Breaker, BreakerSpec};
use async_trait::async_trait;
use deadpool_redis::redis::aio::ConnectionLike;
use deadpool_redis::redis::{AsyncConnectionConfig, Cmd, Pipeline, Value};
use deadpool_redis::{Connection, Manager, Pool};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use put::PutScript;

/// A whole call, its connection included.
pub const CALL_BUDGET: Duration = Duration::from_millis(20);
/// Opening a connection, and answering a probe.
const PATIENCE: Duration = Duration::from_secs(1);
/// A check is believed for so long: probes come without a key.
const CHECK_REST: Duration = Duration::from_secs(1);
/// The writer's call, two readers and a check.
const CONNECTIONS_MAX: usize = 4;
/// A Redis that failed so often in a row is left alone for [`REST`].
const FAILURES_MAX: u32 = 3;
/// How long a Redis that fails is left alone.
const REST: Duration = Duration::from_secs(1);
/// How often events are sent in one call: once more if the server has forgotten the script in between.
const ROUNDS_MAX: usize = 2;

/// What the adapter needs to know.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://` or, over TLS with the system's roots, `rediss://`; it may hold a password.
    pub url: String,
    /// How long newest events live; whole seconds, at least one.
    pub ttl: Duration,
    /// Events in a user's series; at least one.
    pub series_max: usize,
}

/// The URL is none that can be used. It is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no URL as redis://127.0.0.1:6379 or rediss://:password@cache.example:6379/0")]
pub struct RedisUrlError;

/// What the last check came to, and when.
type LastCheck = Option<(Instant, Result<(), CacheError>)>;

/// The cache in Redis.
pub struct RedisCache {
    pool: Pool,
    /// Connections live here, and not on the thread of whoever happened to need one first.
    runtime: Handle,
    breaker: Breaker,
    last_check: Mutex<LastCheck>,
    script: PutScript,
    series_max: usize,
    budget: Duration,
}

impl RedisCache {
    /// A cache at the URL. Nothing is asked of Redis yet: it may be down.
    ///
    /// # Errors
    /// If the URL is none.
    ///
    /// # Panics
    /// Outside of a Tokio runtime; its connections live on the one that it is called in.
    pub fn new(config: &RedisConfig) -> Result<Self, RedisUrlError> {
        let patience = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let manager = Manager::new_with_config(config.url.as_str(), patience).map_err(|_| RedisUrlError)?;
        let pool = Pool::builder(manager).max_size(CONNECTIONS_MAX).build().map_err(|_| RedisUrlError)?;
        let rest = BreakerSpec { failures_max: FAILURES_MAX, open_for: REST, probe_within: REST };
        Ok(Self {
            pool,
            runtime: Handle::current(),
            breaker: Breaker::new("redis", rest),
            last_check: Mutex::default(),
            script: PutScript::new(config.ttl, config.series_max),
            series_max: config.series_max,
            budget: CALL_BUDGET,
        })
    }

    /// The same with another budget for each call than [`CALL_BUDGET`].
    #[must_use]
    pub fn with_budget(self, budget: Duration) -> Self {
        Self { budget, ..self }
    }

    /// A connection. Its opening goes on in the background when the caller no longer waits: the next one finds it.
    async fn connection(&self) -> Result<Connection, CacheError> {
        let pool = self.pool.clone();
        let opening = self.runtime.spawn(async move { timeout(PATIENCE, pool.get()).await });
        match opening.await {
            Ok(Ok(Ok(connection))) => Ok(connection),
            Ok(Ok(Err(error))) => Err(answers::pool_failure(&error)),
            Ok(Err(_)) => Err(CacheError::Late),
            Err(_) => Err(CacheError::Unavailable("the bridge is stopping".to_owned())),
        }
    }

    /// Sends all commands at once and gives back their answers, refusals among them.
    async fn ask(&self, commands: &Pipeline, deadline: Instant) -> Result<Vec<Value>, CacheError> {
        let late = |_| CacheError::Late;
        let mut connection = timeout_at(deadline, self.connection()).await.map_err(late)??;
        let sent = connection.req_packed_commands(commands, 0, commands.len());
        let result = match timeout_at(deadline, sent).await {
            Ok(Ok(answers)) => return Ok(answers),
            Ok(Err(error)) => Err(answers::failure(&error)),
            Err(_) => Err(CacheError::Late),
        };
        // Answers may still come on it: nobody else gets it.
        drop(Connection::take(connection));
        result
    }

    /// A call: at once refused while Redis is left alone, and part of the decision whether it is.
    async fn guarded<T>(&self, call: impl Future<Output = Result<T, CacheError>>) -> Result<T, CacheError> {
        let permit = self.breaker.permit().map_err(|open| CacheError::Unavailable(open.to_string()))?;
        let result = call.await;
        match &result {
            Ok(_) => permit.succeeded(),
            Err(_) => permit.failed(),
        }
        result
    }

    async fn ask_one(&self, command: Cmd) -> Result<Value, CacheError> {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(command);
        let deadline = Instant::now() + self.budget;
        let mut answers = self.guarded(self.ask(&commands, deadline)).await?;
        answers.pop().ok_or_else(answers::unreadable)
    }

    async fn put_all(&self, events: &[Arc<WrittenEvent>]) -> Result<(), CacheError> {
        let deadline = Instant::now() + self.budget;
        let mut waiting: Vec<&WrittenEvent> = events.iter().map(AsRef::as_ref).collect();
        for _ in 0..ROUNDS_MAX {
            if waiting.is_empty() {
                break;
            }
            let answers = self.ask(&self.script.commands(&waiting), deadline).await?;
            let forgotten = answers::forgotten(&answers)?;
            waiting =
                waiting.into_iter().zip(forgotten).filter_map(|(event, is)| is.then_some(event)).collect();
        }
        match waiting.is_empty() {
            true => Ok(()),
            false => Err(CacheError::Unavailable("its scripts are removed all the time".to_owned())),
        }
    }

    async fn ping(&self) -> Result<(), CacheError> {
        let mut commands = Pipeline::with_capacity(1);
        commands.cmd("PING");
        let answers = self.ask(&commands, Instant::now() + PATIENCE).await?;
        answers::forgotten(&answers).map(drop)
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn put(&self, events: &[Arc<WrittenEvent>]) -> Result<(), CacheError> {
        if events.is_empty() {
            return Ok(());
        }
        self.guarded(self.put_all(events)).await
    }

    async fn latest(
        &self,
        user: &UserId,
        device: Option<DeviceType>,
    ) -> Result<Option<Box<RawValue>>, CacheError> {
        let mut command = Cmd::new();
        command.arg("GET").arg(keys::latest(user, device));
        Ok(answers::latest(self.ask_one(command).await?, user, device)?)
    }

    async fn series(&self, user: &UserId, limit: usize) -> Result<Vec<Box<RawValue>>, CacheError> {
        let limit = limit.min(self.series_max);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut command = Cmd::new();
        command.arg("ZRANGE").arg(keys::series(user)).arg(-(limit as i64)).arg(-1);
        answers::series(self.ask_one(command).await?)
    }

    async fn check(&self) -> Result<(), CacheError> {
        let mut last = self.last_check.lock().await;
        if let Some((at, result)) = &*last
            && at.elapsed() < CHECK_REST
        {
            return result.clone();
        }
        let result = self.ping().await;
        *last = Some((Instant::now(), result.clone()));
        result
    }
}
