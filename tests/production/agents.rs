//! The agent kit of `examples/langgraph` on a bridge's Kafka: a delivery ends in a node of a LangGraph graph.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{PgConnection, Row as _};
use tempfile::TempDir;

use crate::answers::Past;
use crate::bridge::Bridge;
use crate::cluster::Cluster;
use crate::postgres_server::PostgresServer;
use crate::services::{Service, optional};

const PARTITIONS: u32 = 12;
/// Longer than Python takes to load LangGraph on a slow machine, and to join Kafka's group; reaching it is a failure.
const LONG: Duration = Duration::from_secs(120);
const DEAD_LETTERS: &str = "agents-dead-letters";

fn kit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/langgraph")
}

/// A Python of the kit's environment, with nothing of ours but what is given, and no files left behind.
fn python(program: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(kit()).env_clear().env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(settings.iter().copied());
    command
}

/// The running app. It is killed when it goes out of scope.
struct App {
    process: Child,
    plans: Receiver<Value>,
}

impl App {
    fn start(program: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = python(program, &["app.py", "--dead-letter-topic", DEAD_LETTERS], settings);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the app starts");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let (tell, plans) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Nobody listens once the test has what it waits for.
                let _ = tell.send(serde_json::from_str(&line).expect("a line of JSON"));
            }
        });
        Self { process, plans }
    }

    fn next(&self) -> Value {
        self.plans.recv_timeout(LONG).expect("a plan")
    }

    /// SIGTERM: exit code 0, and every plan that was not looked at.
    fn stop(mut self) -> Vec<Value> {
        let line = format!("kill -TERM {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &line]).status().expect("a shell").success());
        assert!(self.process.wait().expect("it ends").success());
        self.plans.iter().collect()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn deliver(bridge: &Bridge, past: &Past, user: &str, seconds_ago: i64, section: &str, reading: Value) {
    let record = json!({"user_id": user, "timestamp": past.ago(seconds_ago), section: reading});
    let (status, answer) = bridge.oura_inline(&record).await;
    assert_eq!((status, &answer["status"]), (200, &json!("processed")), "{answer}");
}

async fn switch_of(bridge: &Bridge, user: &str) -> Value {
    bridge.read(&format!("/v1/users/{user}/mode-switches")).await["mode_switches"][0].clone()
}

async fn has_table(connection: &mut PgConnection, table: &str) -> bool {
    let found = sqlx::query("SELECT to_regclass($1) IS NOT NULL AS found").bind(table);
    found.fetch_one(connection).await.expect("an answer").get("found")
}

#[test]
fn the_agent_kit_keeps_its_own_promises() {
    let Some(program) = optional(Service::Agents) else { return };
    let output =
        python(&program, &["-m", "unittest", "discover", "--start-directory", "tests"], &[]).output();
    let output = output.expect("Python runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(!told.contains("Ran 0 tests"), "{told}");
}

#[actix_web::test]
async fn a_low_hrv_that_is_delivered_arrives_in_a_langgraph_graph_as_a_stress_intervention() {
    let Some(program) = optional(Service::Agents) else { return };
    let (cluster, past) = (Cluster::start(PARTITIONS), Past::new());
    let kafka = [("KAFKA_BOOTSTRAP_SERVERS", cluster.servers.as_str())];
    let bridge = Bridge::start_with(&kafka).await;
    let app = App::start(&program, &kafka);
    deliver(&bridge, &past, "ada", 60, "hrv_data", json!({"rmssd": 20.0})).await;
    let plan = app.next();
    let switch = switch_of(&bridge, "ada").await;
    let steps = [
        "breathe out slowly, six breaths a minute, for five minutes",
        "look again when the next readings are in",
    ];
    let expected = json!({
        "event_id": switch["event_id"], "user_id": "ada", "mode": "REFLEX", "reason": "reflex.hrv_drop",
        "path": ["recall", "stress_intervention"],
        "plan": {"protocol": "stress_intervention", "urgency": "now", "steps": steps},
        "state_seq": null,
    });
    assert_eq!(plan, expected);
    // A message that is none holds up neither its partition nor, once it is a dead letter, the next start.
    for partition in 0..PARTITIONS {
        let partition = i32::try_from(partition).expect("a small number");
        cluster.write("neuros-mode-switches", partition, Some(b"eve"), Some(b"not a switch"));
    }
    deliver(&bridge, &past, "bob", 60, "recovery", json!({"score": 30.0})).await;
    let plan = app.next();
    assert_eq!(plan["path"], json!(["recall", "recovery_protocol"]), "{plan}");
    let letters = cluster.read(DEAD_LETTERS, PARTITIONS as usize);
    for letter in &letters {
        let told = crate::cluster::header(letter, "original_topic").map(String::from_utf8_lossy);
        assert_eq!(told.as_deref(), Some("neuros-mode-switches"));
    }
    assert_eq!(app.stop(), Vec::<Value>::new());

    // What was done was committed: the next one begins behind it.
    let app = App::start(&program, &kafka);
    deliver(&bridge, &past, "eve", 60, "hrv_data", json!({"rmssd": 20.0})).await;
    assert_eq!(app.next()["user_id"], "eve");
    assert_eq!(app.stop(), Vec::<Value>::new());
}

#[actix_web::test]
async fn the_newest_state_is_in_langgraphs_store_and_its_threads_are_left_alone() {
    let Some(program) = optional(Service::Agents) else { return };
    let Some(server) = PostgresServer::start() else { return };
    let (home, past) = (TempDir::new().expect("a folder"), Past::new());
    let (cluster, url) = (Cluster::start(PARTITIONS), server.url());
    let kafka = [("KAFKA_BOOTSTRAP_SERVERS", cluster.servers.as_str())];
    let bridge = Bridge::start_in(home.path(), &kafka).await;
    let with_store = [kafka[0], ("AGENT_STORE_URL", url.as_str())];
    let mut connection = server.connection().await;

    // Without LangGraph's table the agent works, and makes none.
    let app = App::start(&program, &with_store);
    deliver(&bridge, &past, "bob", 60, "recovery", json!({"score": 30.0})).await;
    assert_eq!(app.next()["mode"], "GUARDIAN");
    assert_eq!(app.stop(), Vec::<Value>::new());
    assert!(!has_table(&mut connection, "store").await);

    let set_up = "import sys; from langgraph.store.postgres import PostgresStore as S\n\
        with S.from_conn_string(sys.argv[1]) as s: s.setup()";
    assert!(python(&program, &["-c", set_up, &url], &[]).status().expect("Python runs").success());
    let app = App::start(&program, &with_store);
    deliver(&bridge, &past, "ada", 60, "hrv_data", json!({"rmssd": 20.0})).await;
    assert_eq!(app.next()["mode"], "REFLEX");
    let kept = "SELECT prefix, key, value->>'mode' AS mode, (value->>'state_seq')::int AS seq FROM store \
        WHERE key = 'ada'";
    let began = Instant::now();
    let row = loop {
        if let Some(row) = sqlx::query(kept).fetch_optional(&mut connection).await.expect("the table") {
            break row;
        }
        assert!(began.elapsed() < LONG, "no state is kept");
    };
    let column = |name: &str| row.get::<String, _>(name);
    let found = (column("prefix"), column("key"), column("mode"), row.get::<i32, _>("seq"));
    assert_eq!(found, ("biometric_bridge.state".into(), "ada".into(), "REFLEX".into(), 1));
    assert_eq!(app.stop(), Vec::<Value>::new());
    assert!(!has_table(&mut connection, "checkpoints").await);
}
