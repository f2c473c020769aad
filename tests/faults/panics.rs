//! Actors that die under load. These run in the test's own process, where faults can be injected into any actor.

use std::time::Instant;

use actors::domain::ids::UserId;
use actors::supervision::{Fault, NodeSnapshot};
use biometric_bridge::app::{Ending, Reason, Running};
use biometric_bridge::settings::{Settings, Sources};
use futures_util::future::join;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::signal::unix::SignalKind;

use crate::bridge::{Bridge, HEALTHKIT_KEY, PATIENCE, SETTINGS, now_ms};
use crate::load::{Answer, Load, Target, Traffic, seeds};
use crate::oracle::{judge, read};

/// A bridge in this process, whose actors can be reached.
struct InProcess {
    running: Running,
    target: Target,
    home: TempDir,
    /// What probes tell is as old as this, less some.
    began_ms: i64,
}

impl InProcess {
    async fn start() -> Self {
        let home = TempDir::new().expect("a temporary folder");
        let data_dir = home.path().join("data").display().to_string();
        let own = [("DATA_DIR", data_dir.as_str()), ("SHUTDOWN_TIMEOUT_SECONDS", "5"), ("WORKERS", "1")];
        let settings =
            Settings::read(Sources::from_pairs(SETTINGS.into_iter().chain(own))).expect("settings");
        let running = Running::start(settings, Instant::now()).await.expect("it starts");
        let target = Target::new(&format!("http://{}", running.address));
        Self { running, target, home, began_ms: now_ms() }
    }

    fn node(&self, path: &str) -> NodeSnapshot {
        self.running.doors.tree.root.find(path).expect("a node of the tree")
    }

    fn inject(&self, path: &str) {
        self.running.doors.tree.root.inject(path, Fault::Panic).expect("the actor lives");
    }

    /// Waits for the node to become as `holds` wants it.
    async fn until(&self, path: &str, holds: impl Fn(&NodeSnapshot) -> bool) -> NodeSnapshot {
        let looking = async {
            loop {
                let node = self.node(path);
                if holds(&node) {
                    return node;
                }
                tokio::task::yield_now().await;
            }
        };
        let Ok(node) = tokio::time::timeout(PATIENCE, looking).await else {
            panic!("the actor does not get there: {:?}", self.node(path));
        };
        node
    }

    /// Waits until the root has dealt with every death.
    async fn until_settled(&self) {
        let settling = async {
            while self.running.doors.tree.root.is_recovering() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, settling).await.expect("the root is done");
    }

    /// Sends one event of a user of its own, and waits until it is applied: by then every stage has gone on.
    async fn probe(&self, number: u64) {
        let sample = json!({"type": "respiratoryRate", "value": 14, "timestamp": self.began_ms - 1_000_000 + number as i64});
        let body = json!({"user_id": "probe", "samples": [sample]}).to_string();
        let request = self.target.client.post(format!("{}/webhook/healthkit", self.target.url));
        let response = request.bearer_auth(HEALTHKIT_KEY).body(body).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let probe = UserId::parse("probe").expect("an id");
        let users = &self.running.doors.tree.users;
        let applying = async {
            while users.live(&probe).is_none_or(|live| live.state.seq() < number) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, applying).await.expect("the probe is applied");
    }

    async fn dead_letters(&self) -> u64 {
        self.running.doors.store.dead_letters_len().await.expect("a count")
    }

    async fn stop(self, reason: Reason) -> (Ending, TempDir) {
        (self.running.stop(reason).await, self.home)
    }
}

const TERMINATE: fn() -> Reason = || Reason::Signal(SignalKind::terminate());

#[actix_web::test]
async fn a_user_actor_that_panics_under_load_loses_no_fold() {
    for seed in seeds(&[41]) {
        let (load, bridge) = (Load::new(seed, 3), InProcess::start().await);
        let traffic = Traffic::new();
        let panics = async {
            traffic.answered(20).await;
            bridge.until("users", |users| users.live == Some(3)).await;
            for round in 1..=2 {
                for user in bridge.node("users").children {
                    bridge.inject(&user.path);
                    let dead = bridge.until(&user.path, |node| node.restarts == round).await;
                    // Its next life has answered what was in hand, so that nothing dies twice.
                    bridge.until(&user.path, |node| node.handled > dead.handled).await;
                }
            }
            traffic.end();
        };
        join(load.run(&bridge.target, &traffic, &[]), panics).await;
        judge(&load, &bridge.target, bridge.home.path()).await;
        assert_eq!(bridge.dead_letters().await, 0);

        let tree = read(&bridge.target, "/actors").await;
        let nodes = tree["root"]["children"].as_array().expect("children");
        let users = nodes.iter().find(|node| node["path"] == "users").expect("the users' pool");
        assert_eq!((&users["restarts"], &users["live"]), (&json!(6), &json!(3)), "{users}");
        for user in users["children"].as_array().expect("users") {
            let path = user["path"].as_str().expect("a path");
            let alone = read(&bridge.target, &format!("/actors/{path}")).await;
            assert_eq!((&alone["restarts"], &alone["state"]), (&json!(2), &json!("running")), "{alone}");
            assert_eq!(alone["last_failure"]["reason"], "a fault was injected");
        }
        assert_eq!(bridge.stop(TERMINATE()).await.0, Ending::Clean);
    }
}

#[actix_web::test]
async fn a_stage_that_panics_under_load_loses_nothing_and_refuses_nobody() {
    for seed in seeds(&[51]) {
        let (load, bridge) = (Load::new(seed, 4), InProcess::start().await);
        let traffic = Traffic::new();
        let panics = async {
            let mut probes = 0;
            for round in 1..=2 {
                for path in ["devices/healthkit", "devices/oura", "writer", "publisher", "router", "flusher"]
                {
                    bridge.inject(path);
                    bridge.until(path, |node| node.restarts == round).await;
                    probes += 1;
                    bridge.probe(probes).await;
                }
                // Nobody sends to the consumer, so a fault would wait for ever; a restart drops it all the same.
                bridge.running.doors.tree.consumer.restart().expect("it lives");
                bridge.until("consumer", |node| node.restarts == round).await;
                probes += 1;
                bridge.probe(probes).await;
            }
            traffic.end();
        };
        join(load.run(&bridge.target, &traffic, &[]), panics).await;
        judge(&load, &bridge.target, bridge.home.path()).await;
        assert_eq!(load.count(Answer::Refused(500)), 0, "one death is not seen by senders");
        assert_eq!(bridge.dead_letters().await, 0);
        assert_eq!(bridge.stop(TERMINATE()).await.0, Ending::Clean);
    }
}

#[actix_web::test]
async fn a_stage_that_keeps_failing_ends_the_bridge_in_order_and_loses_nothing() {
    for (stage, seed) in [("publisher", 61), ("flusher", 63)] {
        let load = Load::new(seed, 2);
        let mut bridge = InProcess::start().await;
        let traffic = Traffic::new();
        let fail_until = async |restarts| {
            bridge.inject(stage);
            // It dies at its next message.
            bridge.probe(2 * restarts - 1).await;
            let reborn = bridge.until(stage, |node| node.restarts == restarts).await;
            bridge.probe(2 * restarts).await;
            // What was in hand is done by then: a message that dies twice would be blamed in the actor's place.
            bridge.until(stage, |node| node.handled > reborn.handled).await;
        };
        // 5 in each of 4 lives under the root, and 3 of the root's; the last life's under load.
        for restarts in 1..=18 {
            fail_until(restarts).await;
        }
        let failing = async {
            traffic.answered(20).await;
            for restarts in 19..=23 {
                fail_until(restarts).await;
            }
            bridge.inject(stage);
            bridge.until(stage, |node| node.state.is_over()).await;
            traffic.end();
        };
        join(load.run(&bridge.target, &traffic, &[500, 503]), failing).await;
        let reason = bridge.running.wait().await;
        assert_eq!(reason, Reason::Escalation, "{stage}");
        bridge.until_settled().await;
        let ready = bridge.target.client.get(format!("{}/ready", bridge.target.url)).send().await;
        let ready = ready.expect("an answer");
        assert_eq!(ready.status(), 503, "{stage}");
        let ready: Value = serde_json::from_slice(&ready.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(ready["reasons"], json!(["the supervision tree is failing"]), "{stage}");
        let (ending, home) = bridge.stop(reason).await;
        assert_eq!(ending, Ending::Escalated, "{stage}");

        let next = Bridge::start_in(home.path(), &[]).await;
        judge(&load, &Target::new(&next.url), &next.folder).await;
    }
}
