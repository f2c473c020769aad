//! A seeded simulation of the whole: deliveries of several users under random faults, deaths and restarts, and a judge
//! at the end. The seed fixes what is sent and what befalls it; threads run as they will.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actors::memory::{Fate, Held, LogCall, Moment, StoreCall};
use actors::messages::Outcome;
use actors::supervision::Fault;
use actors::user_directory::Residence;
use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::bridge::*;
use crate::dice::Dice;
use crate::judge::*;
use crate::outages::{log_down, store_down};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=20;
/// Simulated at a time: each has three threads.
const AT_ONCE: usize = 5;
const ROUNDS: usize = 12;
const USERS: [&str; 4] = ["a", "b", "c", "d"];
/// Deaths of actors in one process: fewer than any restart limit.
const DEATHS_MAX: usize = 3;

const STORE_CALLS: [StoreCall; 7] = [
    StoreCall::CommitDeliveries,
    StoreCall::ReadOutbox,
    StoreCall::DeleteOutbox,
    StoreCall::ClaimPartitions,
    StoreCall::Positions,
    StoreCall::LoadCheckpoints,
    StoreCall::SaveCheckpoints,
];
const LOG_CALLS: [LogCall; 3] = [LogCall::Append, LogCall::Poll, LogCall::Release];
const MOMENTS: [Moment; 2] = [Moment::Before, Moment::After];

/// What the sender of one user knows of a delivery; times are ticks of the sender.
struct Sent {
    body: String,
    first_sent: usize,
    acknowledged: Option<usize>,
}

/// The sender of one user: it sends one delivery after the other, and again what was not acknowledged.
#[derive(Default)]
struct Sender {
    tick: usize,
    unknown_outcomes: usize,
    deliveries: Vec<Sent>,
}

impl Sender {
    async fn send(&mut self, bridge: &Bridge, number: usize) {
        let delivery = &mut self.deliveries[number];
        self.tick += 1;
        let was_acknowledged = delivery.acknowledged.is_some();
        match bridge.deliver(delivery.body.clone()).await {
            Outcome::Duplicate { .. } => {}
            Outcome::Processed { .. } => assert!(!was_acknowledged, "what was acknowledged is new again"),
            Outcome::NotCommitted(_) => {
                self.unknown_outcomes += 1;
                return;
            }
            other => panic!("{other:?}"),
        }
        self.tick += 1;
        delivery.acknowledged.get_or_insert(self.tick);
    }

    async fn send_next(&mut self, bridge: &Bridge, name: &str, value: f64) {
        let number = self.deliveries.len();
        let (body, first_sent) = (hrv(name, number, value), self.tick + 1);
        self.deliveries.push(Sent { body, first_sent, acknowledged: None });
        self.send(bridge, number).await;
    }

    async fn send_unknown(&mut self, bridge: &Bridge) {
        for number in 0..self.deliveries.len() {
            if self.deliveries[number].acknowledged.is_none() {
                self.send(bridge, number).await;
            }
        }
    }
}

impl Sender {
    /// What was acknowledged before another was sent appears before it.
    fn assert_order(&self, on_log: &[usize]) {
        for (place, later) in on_log.iter().enumerate() {
            for earlier in &on_log[place + 1..] {
                let (later, earlier) = (&self.deliveries[*later], &self.deliveries[*earlier]);
                let acknowledged = earlier.acknowledged.unwrap_or(usize::MAX);
                assert!(acknowledged > later.first_sent, "{on_log:?} is not the order of the answers");
            }
        }
    }
}

/// How often what was to be shown has happened.
#[derive(Debug, Default)]
struct Happened {
    failed_calls: usize,
    actor_deaths: u64,
    processes: usize,
    unknown_outcomes: usize,
    repeats_on_log: usize,
    switches: usize,
}

impl Happened {
    fn add(&mut self, other: &Self) {
        self.failed_calls += other.failed_calls;
        self.actor_deaths += other.actor_deaths;
        self.processes += other.processes;
        self.unknown_outcomes += other.unknown_outcomes;
        self.repeats_on_log += other.repeats_on_log;
        self.switches += other.switches;
    }
}

struct Simulation {
    dice: Dice,
    senders: BTreeMap<&'static str, Sender>,
    /// Who has died, or will at the next message, in this process: each once, for a message that two deaths hit is
    /// rightly set aside.
    struck: BTreeSet<String>,
    happened: Happened,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let senders = USERS.map(|name| (name, Sender::default())).into();
        Self { dice: Dice::new(seed), senders, struck: BTreeSet::new(), happened: Happened::default() }
    }

    async fn run(mut self) -> Happened {
        let checkpoint_interval = Duration::from_millis(5 + self.dice.below(50) as u64);
        // Users stay for ever, or hardly a moment, or with room for less than half of them.
        let (live_max, idle_ms) = self.dice.pick(&[(100, 60_000), (100, 1), (1, 60_000), (2, 5)]);
        let residence = Residence { live_max, idle_after: Duration::from_millis(idle_ms) };
        let mut bridge = Bridge::with(Setup { checkpoint_interval, residence, ..Setup::default() });
        for _ in 0..ROUNDS {
            bridge = self.round(bridge).await;
        }
        bridge.store.faults().heal();
        bridge.log.faults().heal();
        bridge.log.assign(0..PARTITIONS);
        join_all(self.senders.values_mut().map(|sender| sender.send_unknown(&bridge))).await;
        bridge.settle().await;
        self.take_note(&bridge);
        self.judge(&bridge).await;
        self.happened
    }

    /// Sends some deliveries of every user while something befalls the bridge.
    async fn round(&mut self, bridge: Bridge) -> Bridge {
        let dies_at = self.befall(&bridge);
        let values = USERS.map(|_| (0..self.dice.below(4)).map(|_| self.value()).collect::<Vec<_>>());
        let all_sent = Notify::new();
        let sending = async {
            join_all(self.senders.iter_mut().zip(values).map(async |((name, sender), values)| {
                for value in values {
                    sender.send_next(&bridge, name, value).await;
                }
                sender.send_unknown(&bridge).await;
            }))
            .await;
            all_sent.notify_one();
        };
        let is_dying = dies_at.is_some();
        let dying = async {
            if let Some(mut held) = dies_at {
                // A call that is never made holds up nobody: then the process dies when all is sent.
                tokio::select! {
                    () = held.reached() => {}
                    () = all_sent.notified() => {}
                }
                bridge.die();
            }
        };
        tokio::join!(sending, dying);
        if is_dying {
            self.take_note(&bridge);
            self.happened.processes += 1;
            self.struck.clear();
            let bridge = bridge.next_process().await;
            assert_positions_are_covered(&bridge);
            return bridge;
        }
        bridge.store.faults().come_up();
        bridge.log.faults().come_up();
        if self.dice.below(2) == 0 {
            bridge.log.assign(0..PARTITIONS);
            bridge.settle().await;
        }
        bridge
    }

    /// Heart rate variabilities that often change the mode.
    fn value(&mut self) -> f64 {
        self.dice.pick(&[12.0, 20.0, 35.0, 50.0, 60.0, 70.0, 95.0])
    }

    /// Prepares what befalls the bridge in the next round; the call at which its process is to die, if it is.
    fn befall(&mut self, bridge: &Bridge) -> Option<Held> {
        let (store, log) = (bridge.store.faults(), bridge.log.faults());
        match self.dice.below(12) {
            0 | 1 => {
                let fates = [Fate::Pass, Fate::FailBefore(store_down()), Fate::FailAfter(store_down())];
                let fates = [self.dice.pick(&fates), self.dice.pick(&fates)];
                store.script(self.dice.pick(&STORE_CALLS), fates);
            }
            2 => {
                let fates = [Fate::Pass, Fate::FailBefore(log_down()), Fate::FailAfter(log_down())];
                let fates = [self.dice.pick(&fates), self.dice.pick(&fates)];
                log.script(self.dice.pick(&LOG_CALLS), fates);
            }
            3..=5 if self.struck.len() < DEATHS_MAX => {
                let user = path_of(self.dice.pick(&USERS));
                let actors =
                    ["devices/healthkit", "writer", "publisher", "consumer", "router", "flusher", &user];
                let path = self.dice.pick(&actors);
                if self.struck.contains(path) {
                    return None;
                }
                let root = &bridge.tree.root;
                let struck = root.inject(path, self.dice.pick(&[Fault::Panic, Fault::Stop, Fault::Hang]));
                // Refused for a user that has no actor yet.
                if struck.is_ok() {
                    self.struck.insert(path.to_owned());
                }
            }
            6 => store.go_down(store_down()),
            7 => log.go_down(log_down()),
            8 => return Some(store.hold(self.dice.pick(&STORE_CALLS), self.dice.pick(&MOMENTS))),
            9 => return Some(log.hold(self.dice.pick(&LOG_CALLS), self.dice.pick(&MOMENTS))),
            10 | 11 => bridge.log.assign((0..PARTITIONS).filter(|_| self.dice.below(2) == 0)),
            _ => {}
        }
        None
    }

    /// Counts what happened in a process that is over.
    fn take_note(&mut self, bridge: &Bridge) {
        let failed_calls = bridge.store.faults().failed_calls() + bridge.log.faults().failed_calls();
        self.happened.failed_calls += failed_calls;
        self.happened.actor_deaths += bridge.lives.all_restarts();
    }

    async fn judge(&mut self, bridge: &Bridge) {
        assert_nothing_is_lost_or_counted_twice(bridge);
        for (name, sender) in &self.senders {
            let mut stored = numbers_in_store(bridge, name);
            stored.sort_unstable();
            let sent: Vec<usize> = (0..sender.deliveries.len()).collect();
            assert_eq!(stored, sent, "each delivery of {name} is stored once");
            sender.assert_order(&numbers_on_log(bridge, name));
            self.happened.unknown_outcomes += sender.unknown_outcomes;
        }
        bridge.tree.flush().await.unwrap();
        assert_positions_are_covered(bridge);
        for (user, events) in first_appearances(bridge) {
            let checkpoint = bridge.store.read(|contents| contents.checkpoints[&user].clone());
            assert!(checkpoint.state == folded(&events).encode(), "the checkpoint is the fold of the log");
        }
        assert_switches_are_those_of_plain_folds(bridge);
        let (letters, switches) = bridge.store.read(|c| (c.dead_letters.len(), c.switches.len()));
        assert_eq!(letters, 0, "no message died of what befell its actors");
        self.happened.switches += switches;
        self.happened.repeats_on_log += repeats_on_log(bridge);
    }
}

/// Seeds to run: those of every day, or as in `SEEDS=7` or `SEEDS=21-400`.
fn seeds() -> Vec<u64> {
    let Ok(asked) = std::env::var("SEEDS") else { return SEEDS.collect() };
    let number = |text: &str| text.parse::<u64>().expect("SEEDS is a number or two with a dash");
    let (first, last) = asked.split_once('-').unwrap_or((&asked, &asked));
    (number(first)..=number(last)).collect()
}

#[actix::test]
async fn whatever_fails_whenever_nothing_is_lost_counted_twice_or_out_of_order() {
    let seeds = seeds();
    let mut sum = Happened::default();
    for some in seeds.chunks(AT_ONCE) {
        println!("seeds {some:?}");
        for happened in join_all(some.iter().map(|seed| Simulation::new(*seed).run())).await {
            sum.add(&happened);
        }
    }
    println!("{sum:?}");
    // A run in which nothing happened shows nothing.
    if seeds.len() > 1 {
        assert!(sum.failed_calls > 0 && sum.actor_deaths > 0 && sum.processes > 0, "{sum:?}");
        assert!(sum.unknown_outcomes > 0 && sum.repeats_on_log > 0 && sum.switches > 0, "{sum:?}");
    }
}
