//! Redis servers of a test's own: on free ports of this machine, without persistence, gone with their test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{Client, Cmd, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::services::{Service, optional};

/// Longer than anything that is waited for takes on a slow machine; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// A port that was free may be taken before the server has it.
const PORTS_TRIED_MAX: usize = 20;

/// A server. It is killed when it goes out of scope, and by the system when the test's thread ends.
pub(crate) struct RedisServer {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl RedisServer {
    /// A running one. `None`: there is no Redis on this machine, and the calling test returns.
    #[track_caller]
    pub(crate) fn optional() -> Option<impl Future<Output = Self>> {
        let program = optional(Service::Redis)?;
        Some(async move {
            let folder = TempDir::new().expect("a temporary folder");
            let mut server = Self { program, folder, port: 0, child: None };
            for _ in 0..PORTS_TRIED_MAX {
                server.port = free_port();
                if server.try_start().await {
                    return server;
                }
            }
            panic!("no Redis started on any of {PORTS_TRIED_MAX} ports");
        })
    }

    /// `redis://127.0.0.1:<port>`
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running server").id()
    }

    /// Starts it again on its port, empty.
    pub(crate) async fn start(&mut self) {
        assert!(self.try_start().await, "Redis did not start again on its port");
    }

    /// `kill -9`.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It lives, and does nothing.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a pause.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running server");
        let pid = Pid::from_raw(child.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("its own process takes signals");
    }

    /// A connection of the test's own, past the adapter.
    pub(crate) async fn connect(&self) -> MultiplexedConnection {
        let client = Client::open(self.url()).expect("a URL");
        client.get_multiplexed_async_connection().await.expect("a connection")
    }

    /// One command past the adapter, its words separated by single spaces.
    pub(crate) async fn run<T: FromRedisValue>(&self, words: &str) -> T {
        let words: Vec<&str> = words.split(' ').collect();
        self.run_words(&words).await
    }

    /// The same with words that may hold spaces.
    pub(crate) async fn run_words<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut self.connect().await).await.expect("Redis does what a test says")
    }

    /// False: it has ended, because its port was taken.
    async fn try_start(&mut self) -> bool {
        let child = self.child.insert(spawn(&self.program, self.folder.path(), self.port));
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if child.try_wait().expect("a child can be waited for").is_some() {
                self.child = None;
                return false;
            }
            // Somebody else's server on that port would be another process than the child.
            let client = Client::open(format!("redis://127.0.0.1:{}", self.port)).expect("a URL");
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                let info: Result<String, _> =
                    Cmd::new().arg("INFO").arg("server").query_async(&mut connection).await;
                let line = format!("process_id:{}\r", child.id());
                if info.is_ok_and(|info| info.lines().any(|found| found == line.trim_end())) {
                    return true;
                }
            }
            sleep(LOOK_EVERY).await;
        }
        panic!("Redis neither answered nor ended within {PATIENCE:?}");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `setpriv` becomes the server, so the child's id is the server's.
fn spawn(program: &Path, folder: &Path, port: u16) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("setpriv and the server can be started")
}

/// A port of 127.0.0.1 that nobody has at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Looks until `is_so`, or fails.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(LOOK_EVERY).await;
    }
}
