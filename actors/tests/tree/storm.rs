//! Many faults at once on the whole tree, more than its limits bear now and then: it ends healthy or escalated, never
//! wedged, and nothing acknowledged is lost either way.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use actors::domain::message::Topic;
use actors::messages::Outcome;
use actors::supervision::{Fault, NodeState};
use futures_util::future::join_all;
use tokio::sync::Notify;

use crate::bridge::*;
use crate::dice::Dice;
use crate::judge::*;

const SEEDS: std::ops::RangeInclusive<u64> = 1..=12;
const USERS: [&str; 3] = ["a", "b", "c"];
/// Sent for each user under the storm.
const DELIVERIES: usize = 100;
/// Sent for each user after it: they find the faults that still wait for a message, and the last one finds none.
const AFTERWARDS: usize = 4;

/// What was acknowledged, by user and number.
type Acknowledged = HashSet<(&'static str, usize)>;

async fn send(
    bridge: &Bridge,
    name: &'static str,
    numbers: std::ops::Range<usize>,
    answered: &Notify,
) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    for number in numbers {
        match bridge.deliver(hrv(name, number, 40.0 + number as f64)).await {
            Outcome::Processed { .. } | Outcome::Duplicate { .. } => {
                acknowledged.insert((name, number));
            }
            Outcome::NotCommitted(_) => {}
            other => panic!("{other:?}"),
        }
        answered.notify_one();
    }
    acknowledged
}

/// Strikes at whatever there is, a few times for each answer that a sender gets, until `is_over`.
async fn strike(bridge: &Bridge, dice: &mut Dice, answered: &Notify, is_over: &Cell<bool>) {
    let users = USERS.map(path_of);
    let mut paths =
        vec!["devices", "users", "devices/healthkit", "writer", "publisher", "consumer", "router", "flusher"];
    paths.extend(users.iter().map(String::as_str));
    // Some storms blow everywhere, each limit bears them; some at one stage with all their might.
    let mut one_in = 1 + dice.below(8);
    if dice.below(2) == 0 {
        (one_in, paths) = (1, vec![dice.pick(&["writer", "router", "flusher", "devices/healthkit"])]);
    }
    while !is_over.get() {
        answered.notified().await;
        if dice.below(one_in) > 0 {
            continue;
        }
        let path = dice.pick(&paths);
        let root = &bridge.tree.root;
        // Refused for what is not there, is a group, or has failed.
        let _ = match dice.below(8) {
            0 => root.restart(path),
            1 => root.inject(path, Fault::Stop),
            2 => root.inject(path, Fault::Hang),
            _ => root.inject(path, Fault::Panic),
        };
    }
}

/// How many restarts there were.
async fn storm(seed: u64) -> u64 {
    let mut dice = Dice::new(seed);
    let checkpoint_interval = Duration::from_millis(10);
    let bridge = Bridge::with(Setup { checkpoint_interval, ..Setup::default() });
    let (answered, is_over) = (Notify::new(), Cell::new(false));
    let sending = async {
        let acknowledged = join_all(USERS.map(|name| send(&bridge, name, 0..DELIVERIES, &answered))).await;
        is_over.set(true);
        answered.notify_one();
        acknowledged
    };
    let storm = strike(&bridge, &mut dice, &answered, &is_over);
    let (acknowledged, ()) = within("every sender hears", async { tokio::join!(sending, storm) }).await;
    let mut acknowledged: Acknowledged = acknowledged.into_iter().flatten().collect();
    for _ in 0..AFTERWARDS {
        let numbers = DELIVERIES..DELIVERIES + AFTERWARDS;
        let more = join_all(USERS.map(|name| send(&bridge, name, numbers.clone(), &answered)));
        acknowledged.extend(within("the calm", more).await.into_iter().flatten());
    }
    let is_escalated = bridge.tree.root.escalations().borrow().is_some();
    if !is_escalated {
        assert_eq!(
            acknowledged.iter().filter(|(_, number)| *number >= DELIVERIES).count(),
            USERS.len() * AFTERWARDS
        );
        assert_recovered(&bridge).await;
    }
    for (name, number) in &acknowledged {
        assert!(numbers_in_store(&bridge, name).contains(number), "{name} {number} was acknowledged");
    }
    within("the end", bridge.tree.stop()).await;
    bridge.lives.all_restarts()
}

/// Everybody lives, and every event is in its user's state or set aside.
async fn assert_recovered(bridge: &Bridge) {
    let root = &bridge.tree.root;
    within("everybody lives", async {
        while root.snapshot().state != NodeState::Running || root.is_recovering() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bridge.settle().await;
    // Dead letters become durable with the states around them.
    within("a flush", bridge.tree.flush()).await.unwrap();
    for (user, events) in first_appearances(bridge) {
        let stored = numbers_in_store(bridge, user.as_str()).len();
        assert_eq!(stored, events.len(), "what is stored is on the log, once");
        let set_aside = bridge.store.read(|contents| {
            let letters = contents.dead_letters.values();
            letters
                .filter(|letter| {
                    letter.message.topic == Topic::BiometricEvents && *letter.message.key == *user.as_str()
                })
                .count()
        });
        let applied = bridge.state_seq(user.as_str()) as usize;
        assert!(applied <= stored && stored <= applied + set_aside, "{applied} and {set_aside} of {stored}");
    }
}

#[actix::test]
async fn a_storm_over_the_whole_tree_ends_healthy_or_escalated_and_loses_nothing() {
    let mut restarts = 0;
    for seed in SEEDS {
        println!("seed {seed}");
        restarts += storm(seed).await;
        println!("{restarts} restarts so far");
    }
    assert!(restarts > 100, "{restarts} restarts are no storm");
}

#[actix::test]
async fn a_stage_that_keeps_failing_is_escalated_to_the_root_and_then_to_the_application() {
    let bridge = Bridge::start();
    let root = &bridge.tree.root;
    // The stage itself bears 5 deaths, and the root restarts it 3 times.
    let borne = 3 * (5 + 1) + 5;
    for number in 0..borne {
        root.inject("writer", Fault::Panic).unwrap();
        let outcome = bridge.deliver(hrv("a", number, 50.0)).await;
        assert!(matches!(outcome, Outcome::Processed { .. }), "{number}: {outcome:?}");
    }
    assert!(root.escalations().borrow().is_none());
    root.inject("writer", Fault::Panic).unwrap();
    let outcome = bridge.deliver(hrv("a", borne, 50.0)).await;
    assert!(matches!(outcome, Outcome::NotCommitted(_)), "{outcome:?}");
    let mut escalations = root.escalations();
    let escalation = within("escalation", escalations.wait_for(Option::is_some)).await.unwrap().clone();
    assert_eq!(&*escalation.unwrap().path, "writer");
    // All others go on, and finish what was taken in.
    bridge.settle().await;
    assert_eq!(bridge.state_seq("a"), borne as u64);
    within("a flush", bridge.tree.flush()).await.unwrap();
    assert_positions_are_covered(&bridge);
}
