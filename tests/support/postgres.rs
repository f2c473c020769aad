//! A PostgreSQL server as a process of the test's own: on a free port of the loopback, with its data in a temporary
//! folder, gone with the test process however that ends.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;

use crate::services::{Service, optional};

/// Longer than a start takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// `nobody`: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;
/// How often a port that somebody else has taken meanwhile is replaced.
const PORT_TRIES: usize = 5;

/// Runs the server until its standard input ends. An end without a word means that the test process is gone: then the
/// folder goes too.
const KEEPER: &str = r#"
folder=$1; shift
"$@" >>"$folder/log" 2>&1 &
server=$!
word=; read -r word
kill -CONT $server $(cat /proc/$server/task/$server/children 2>/dev/null) 2>/dev/null
kill -QUIT $server
wait $server
[ -n "$word" ] || rm -rf "$folder"
"#;

/// A server. It is stopped, and its data removed, when it goes out of scope.
pub(crate) struct PostgresServer {
    programs: PathBuf,
    home: PathBuf,
    port: u16,
    keeper: Mutex<Option<Child>>,
}

/// The server that all tests of this process share; none if the machine has no PostgreSQL. Who stops or pauses a server
/// starts one of its own.
pub(crate) fn shared() -> Option<&'static PostgresServer> {
    // Not inside: each test that is skipped is recorded.
    optional(Service::Postgres)?;
    static SHARED: OnceLock<Option<PostgresServer>> = OnceLock::new();
    SHARED.get_or_init(PostgresServer::start).as_ref()
}

impl PostgresServer {
    /// A new server, ready to be used; none if the machine has no PostgreSQL.
    pub(crate) fn start() -> Option<Self> {
        let initdb = optional(Service::Postgres)?.canonicalize().expect("the path of initdb");
        let programs = initdb.parent().expect("a folder").to_owned();
        let home = TempDir::new().expect("a temporary folder").keep();
        if rustix::process::geteuid().is_root() {
            chown(&home, Some(NOBODY), Some(NOBODY)).expect("the folder becomes nobody's");
        }
        let data = home.join("data");
        let made = as_nobody(&initdb)
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"])
            .arg("--pgdata")
            .arg(&data)
            .current_dir(&home)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self { programs, home, port: 0, keeper: Mutex::default() };
        for _ in 0..PORT_TRIES {
            server.port = free_port();
            if server.try_resume_from_stop() {
                return Some(server);
            }
        }
        panic!("the server does not start: {}", server.log());
    }

    /// Where its database `postgres` is.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Where a new database is.
    pub(crate) async fn new_database(&self) -> String {
        let name = unique("database");
        let mut connection = self.connection().await;
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.expect("a new database");
        self.url_of(&name)
    }

    /// A connection that nobody else has.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("a connection")
    }

    /// Stops it as a crash does: connections break, and nothing is written that was not.
    pub(crate) fn stop(&self) {
        let mut keeper = self.keeper.lock().take().expect("it runs");
        keeper.stdin.take().expect("a pipe").write_all(b"stop\n").expect("it listens");
        keeper.wait().expect("it ends");
    }

    /// Starts it again, on the same port.
    pub(crate) fn start_again(&self) {
        assert!(self.try_resume_from_stop(), "the server does not start again: {}", self.log());
    }

    /// Makes it stand still with everything that it does: what is sent to it is taken and not answered.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        // The server first: then nothing is added to its children.
        for _ in 0..2 {
            let server = self.pid().expect("it runs");
            let children =
                fs::read_to_string(format!("/proc/{server}/task/{server}/children")).expect("children");
            let mut kill = Command::new("kill");
            kill.arg(format!("-{signal}")).arg(&server).args(children.split_whitespace());
            // A child may end on its own meanwhile.
            let _ = kill.stderr(Stdio::null()).status().expect("kill runs");
        }
    }

    /// Its first process, of which all others are children.
    pub(crate) fn pid(&self) -> Option<String> {
        let file = fs::read_to_string(self.home.join("data/postmaster.pid")).ok()?;
        file.lines().next().map(str::to_owned)
    }

    /// Whether it has come up; false if it has ended instead.
    #[expect(clippy::zombie_processes, reason = "who stops the server waits for its keeper")]
    #[expect(
        clippy::disallowed_methods,
        reason = "a start is waited for before there is a runtime to do it on"
    )]
    fn try_resume_from_stop(&self) -> bool {
        let data = self.home.join("data");
        let mut keeper = as_nobody(Path::new("sh"))
            .args(["-c", KEEPER, "keeper"])
            .arg(&self.home)
            .arg(self.programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "max_connections=200", "-c", &format!("port={}", self.port)])
            .current_dir(&self.home)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let started = Instant::now();
        loop {
            let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if file.lines().nth(7).is_some_and(|state| state.trim() == "ready") {
                *self.keeper.lock() = Some(keeper);
                return true;
            }
            let has_ended = started.elapsed() > Duration::from_secs(1) && file.is_empty();
            if has_ended || started.elapsed() > PATIENCE {
                let _ = keeper.stdin.take().expect("a pipe").write_all(b"stop\n");
                keeper.wait().expect("it ends");
                return false;
            }
            thread::sleep(LOOK);
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        match self.keeper.lock().take() {
            // The pipe ends here, without a word.
            Some(mut keeper) => {
                drop(keeper.stdin.take());
                let _ = keeper.wait();
            }
            None => drop(fs::remove_dir_all(&self.home)),
        }
    }
}

/// A name that no other test of this process uses.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test_{what}_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A command of a user that is not root.
fn as_nobody(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let user = format!("{NOBODY}");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]).arg(program);
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
