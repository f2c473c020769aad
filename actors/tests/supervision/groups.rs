//! Strategies, limits over several levels, and what a group's restart does to messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, Arbiter, Context};
use actors::supervision::{
    AskError, Backoff, Change, ChildRef, ChildSpec, Fault, GroupSpec, Intensity, NodeState, PoolSpec,
    Restart, Strategy, SupervisionEvent, Supervisor,
};

use crate::support::*;

const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
const POLICIES: [Restart; 3] = [Restart::Permanent, Restart::Transient, Restart::Temporary];
const FAULTS: [Fault; 3] = [Fault::Panic, Fault::Stop, Fault::Hang];

/// A probe whose every death is its group's matter.
fn member(name: &str) -> ChildSpec<Probe> {
    ChildSpec::new(name, "probe", 100, Probe::default).backoff(QUICK).hung_after(Duration::from_millis(20))
}

fn restarts(children: &[ChildRef<Probe>]) -> Vec<u64> {
    children.iter().map(|child| child.snapshot().restarts).collect()
}

fn recovered(event: &SupervisionEvent) -> bool {
    event.change == Change::Recovered
}

/// Has `child` die once, of a message that is then answered.
async fn die(child: &ChildRef<Probe>) {
    assert_eq!(post(child, panics_at_first(1, &Tally::default())).await.unwrap(), 2);
}

async fn escalated(root: &Supervisor) -> String {
    let mut escalations = root.escalations();
    let escalation = soon("escalation", escalations.wait_for(Option::is_some)).await.unwrap().clone();
    escalation.unwrap().path.to_string()
}

#[actix::test]
async fn policy_strategy_and_end_of_life_decide_who_begins_another_life() {
    for strategy in STRATEGIES {
        for policy in POLICIES {
            for fault in FAULTS {
                let case = format!("{strategy:?} {policy:?} {fault:?}");
                let (root, mut events) = tree_of(group(strategy, 1));
                let children = ["a", "b", "c"].map(|name| root.start(&here(), member(name).restart(policy)));
                for child in &children {
                    assert_eq!(post(child, say(1)).await.unwrap(), 1, "{case}");
                }
                children[1].inject(fault).unwrap();
                let verdict = post(&children[1], say(7)).await;
                let is_followed = match policy {
                    Restart::Permanent => true,
                    Restart::Transient => fault != Fault::Stop,
                    Restart::Temporary => false,
                };
                assert_eq!(verdict.is_ok(), is_followed, "{case}");
                let expected = match strategy {
                    _ if !is_followed => [0, 0, 0],
                    Strategy::OneForOne => [0, 1, 0],
                    Strategy::OneForAll => [1, 1, 1],
                    Strategy::RestForOne => [0, 1, 1],
                };
                if is_followed && strategy != Strategy::OneForOne {
                    events.until("recovery", recovered).await;
                }
                assert_eq!(restarts(&children), expected, "{case}");
                let state = if is_followed { NodeState::Running } else { NodeState::Stopped };
                assert_eq!(children[1].snapshot().state, state, "{case}");
                assert!(root.escalations().borrow().is_none(), "{case}");
                soon("stop", root.stop()).await;
            }
        }
    }
}

#[actix::test]
async fn a_group_is_restarted_in_the_order_of_its_start_after_all_of_it_was_held() {
    let (root, mut events) = tree_of(group(Strategy::RestForOne, 1));
    let children = ["a", "b", "c", "d"].map(|name| root.start(&here(), member(name)));
    for child in &children {
        post(child, say(1)).await.unwrap();
    }
    events.rest();
    die(&children[1]).await;
    events.until("recovery", |event| matches!(event.change, Change::Recovering { members: 3, .. })).await;
    let mut seen = Vec::new();
    loop {
        let event = events.until("an event", |_| true).await;
        match event.change {
            Change::Started { .. } => seen.push(event.path),
            Change::Recovered => break,
            _ => {}
        }
    }
    assert_eq!(seen, ["b", "c", "d"]);
}

#[actix::test]
async fn members_start_in_order_whatever_their_threads() {
    let (root, mut events) = tree();
    let (slow, quick) = (Arbiter::new(), Arbiter::new());
    let (let_go, waits) = std::sync::mpsc::channel::<()>();
    let mut waits = Some(waits);
    let factory = move || {
        // Its sender going away lets go, too.
        waits.take().map(|waits| waits.recv().is_ok());
        Probe::default()
    };
    root.start(&slow.handle(), ChildSpec::new("first", "probe", 1, factory));
    let inner = root.group("group", one_for_one(0));
    let second = inner.start(&quick.handle(), member("second"));
    let third = root.start(&here(), member("third"));
    let answer = post(&third, say(3));
    // Time in which somebody could start too early.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(second.snapshot().state, NodeState::Starting);
    assert_eq!(third.snapshot().state, NodeState::Starting);
    let_go.send(()).unwrap();
    assert_eq!(answer.await.unwrap(), 3);
    let started = events.rest().into_iter().filter(|event| matches!(event.change, Change::Started { .. }));
    assert_eq!(started.map(|event| event.path).collect::<Vec<_>>(), ["first", "group/second", "third"]);
    assert_eq!(second.snapshot().state, NodeState::Running);
    soon("stop", root.stop()).await;
    slow.stop();
    quick.stop();
}

#[actix::test]
async fn what_a_neighbour_has_in_hand_and_what_waits_survives_the_groups_restart_without_blame() {
    let (root, mut events) = tree_of(group(Strategy::OneForAll, 100));
    let [culprit, bystander] = ["a", "b"]
        .map(|name| root.start(&here(), member(name).in_flight(2).hung_after(Duration::from_secs(20))));
    let (gate, tally) = (Gate::closed(), Tally::default());
    let in_hand = post(&bystander, {
        let (gate, tally) = (gate.clone(), tally.clone());
        inside(move || {
            let (gate, tally) = (gate.clone(), tally.clone());
            async move {
                tally.count();
                gate.pass().await;
                7
            }
        })
    });
    let queued: Vec<_> = (0..10).map(|number| post(&bystander, say(number))).collect();
    // Far more often than a message that is to blame is tried.
    for deaths in 1..=5 {
        die(&culprit).await;
        events.until("recovery", recovered).await;
        assert_eq!(bystander.snapshot().restarts, deaths);
    }
    gate.open();
    assert_eq!(in_hand.await.unwrap(), 7);
    assert!(tally.get() > 2, "it was tried in each life");
    for (number, answer) in queued.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), number as u32);
    }
}

#[actix::test]
async fn of_a_restarted_group_the_temporary_end_and_the_dead_stay_dead() {
    let (root, mut events) = tree_of(group(Strategy::OneForAll, 1));
    let permanent = root.start(&here(), member("permanent"));
    let temporary = root.start(&here(), member("temporary").restart(Restart::Temporary));
    let transient = root.start(&here(), member("transient").restart(Restart::Transient));
    let done = root.start(&here(), member("done").restart(Restart::Transient));
    done.inject(Fault::Stop).unwrap();
    assert!(post(&done, say(1)).await.is_err());
    post(&transient, say(1)).await.unwrap();
    post(&temporary, say(1)).await.unwrap();
    die(&permanent).await;
    events.until("recovery", recovered).await;
    let children = [permanent, temporary, transient, done];
    assert_eq!(restarts(&children), [1, 0, 1, 0]);
    let states = children.map(|child| child.snapshot().state);
    assert_eq!(states, [NodeState::Running, NodeState::Stopped, NodeState::Running, NodeState::Stopped]);
}

#[actix::test]
async fn the_death_beyond_the_groups_limit_escalates_and_one_less_does_not() {
    for strategy in STRATEGIES {
        let (root, _events) = tree_of(group(strategy, 3));
        let children = ["a", "b"].map(|name| root.start(&here(), member(name)));
        for _ in 0..3 {
            die(&children[0]).await;
        }
        assert_eq!(children[0].snapshot().restarts, 3, "{strategy:?}");
        assert!(root.escalations().borrow().is_none(), "{strategy:?}");
        assert!(post(&children[0], panics_at_first(1, &Tally::default())).await.is_err(), "{strategy:?}");
        assert_eq!(escalated(&root).await, "a", "{strategy:?}");
        assert_eq!(children[0].snapshot().restarts, 3, "{strategy:?}: there is no fourth restart");
        let is_concerned = strategy != Strategy::OneForOne;
        assert_eq!(post(&children[1], say(1)).await.is_err(), is_concerned, "{strategy:?}");
        soon("stop", root.stop()).await;
    }
}

#[actix::test]
async fn deaths_at_a_slower_rate_never_escalate() {
    let window = Duration::from_millis(1);
    let slow = GroupSpec::new(Strategy::OneForAll).intensity(Intensity { max_restarts: 1, window });
    // The backoff before each restart is as long as the window.
    let backoff = Backoff { initial: window, max: window, jitter: 0.0 };
    let (root, mut events) = tree_of(slow.backoff(backoff));
    let child = root.start(&here(), member("a"));
    for _ in 0..20 {
        die(&child).await;
        events.until("recovery", recovered).await;
    }
    assert!(root.escalations().borrow().is_none());
    assert_eq!(child.snapshot().restarts, 20);
}

#[actix::test]
async fn limits_multiply_over_levels_and_no_more() {
    let (root, _events) = tree_of(group(Strategy::OneForOne, 2));
    let inner = root.group("group", group(Strategy::OneForAll, 3));
    let child = inner.start(&here(), member("a"));
    let sibling = inner.start(&here(), member("b"));
    // The group bears 3, then the root restarts it; twice; then 3 again.
    let borne = 3 + 1 + 3 + 1 + 3;
    for _ in 0..borne {
        die(&child).await;
    }
    assert!(root.escalations().borrow().is_none());
    assert!(post(&child, panics_at_first(1, &Tally::default())).await.is_err());
    assert_eq!(escalated(&root).await, "group");
    assert_eq!(restarts(&[child, sibling]), [borne; 2]);
    assert_eq!(root.snapshot().state, NodeState::Failed);
}

#[actix::test]
async fn a_childs_own_restarts_bother_nobody_and_beyond_them_its_group_acts() {
    let (root, mut events) = tree_of(group(Strategy::OneForAll, 1));
    let own = Intensity { max_restarts: 2, window: Duration::from_secs(3_600) };
    let child = root.start(&here(), member("a").intensity(own));
    let sibling = root.start(&here(), member("b"));
    post(&sibling, say(1)).await.unwrap();
    for _ in 0..2 {
        die(&child).await;
    }
    assert!(!root.is_recovering());
    assert_eq!(sibling.snapshot().restarts, 0);
    die(&child).await;
    events.until("recovery", recovered).await;
    assert_eq!(restarts(&[child.clone(), sibling.clone()]), [3, 1]);
    // Its own restarts count anew.
    for _ in 0..2 {
        die(&child).await;
    }
    assert_eq!(restarts(&[child, sibling]), [5, 1]);
}

#[actix::test]
async fn a_strategy_takes_groups_and_pools_along_like_children() {
    let (root, mut events) = tree_of(group(Strategy::RestForOne, 1));
    let before = root.start(&here(), member("before"));
    let culprit = root.start(&here(), member("culprit"));
    let inner = root.group("group", group(Strategy::OneForOne, 0));
    let in_group = inner.start(&here(), member("child"));
    let pool = root.pool::<Probe>("pool", "probe", PoolSpec::new(4, MANY));
    let in_pool = pool.start(&here(), "1", Probe::default);
    let children = [before, culprit, in_group, in_pool];
    for child in &children {
        post(child, say(1)).await.unwrap();
    }
    die(&children[1]).await;
    events.until("recovery", recovered).await;
    assert_eq!(restarts(&children), [0, 1, 1, 1]);
    for child in &children {
        assert_eq!(post(child, say(1)).await.unwrap(), 1);
    }
}

/// Cannot start.
struct Stillborn;

impl Actor for Stillborn {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        panic!("in started");
    }
}

#[actix::test]
async fn a_member_that_cannot_start_again_escalates_and_wedges_nobody() {
    let (root, _events) = tree_of(group(Strategy::OneForAll, 4));
    let healthy = root.start(&here(), member("healthy"));
    root.start(&here(), ChildSpec::new("stillborn", "test", 1, || Stillborn).backoff(QUICK));
    assert_eq!(escalated(&root).await, "stillborn");
    assert!(matches!(post(&healthy, say(1)).await, Err(AskError::Stopped(_))));
    soon("stop", root.stop()).await;
}

#[actix::test]
async fn a_stop_does_not_wait_for_a_groups_backoff_and_refuses_what_waits() {
    let hour = Duration::from_secs(3_600);
    let patient = group(Strategy::OneForAll, 1).backoff(Backoff { initial: hour, max: hour, jitter: 0.0 });
    let (root, mut events) = tree_of(patient);
    let child = root.start(&here(), member("a"));
    let sibling = root.start(&here(), member("b"));
    let suspect = post(&child, panics_at_first(1, &Tally::default()));
    events.until("recovery", |event| matches!(event.change, Change::Recovering { .. })).await;
    assert!(root.is_recovering());
    let queued = post(&sibling, say(1));
    soon("stop", root.stop()).await;
    assert!(!root.is_recovering());
    assert!(suspect.await.unwrap_err().may_have_had_effect());
    assert!(matches!(queued.await, Err(AskError::Stopped(_))));
    assert_eq!(root.snapshot().state, NodeState::Stopped);
}

#[actix::test]
async fn a_restart_of_a_group_on_request_restarts_each_member_and_counts_against_no_limit() {
    let (root, mut events) = tree();
    let inner = root.group("group", group(Strategy::OneForAll, 0));
    let children = ["a", "b"].map(|name| inner.start(&here(), member(name)));
    for child in &children {
        post(child, say(1)).await.unwrap();
    }
    root.restart("group").unwrap();
    events.started(1).await;
    events.started(1).await;
    assert_eq!(restarts(&children), [1, 1]);
    assert!(root.escalations().borrow().is_none());
}

// Bugs that storms and a review have found.

#[actix::test]
async fn a_member_that_dies_while_its_group_is_being_released_is_dealt_with_afterwards() {
    let (root, _events) = tree_of(one_for_one(3));
    let inner = root.group("group", group(Strategy::OneForAll, 0));
    let children = ["a", "b"].map(|name| inner.start(&here(), member(name)));
    // The first dies again as soon as it is released, before the second is.
    let tallies = [Tally::default(), Tally::default(), Tally::default()];
    let suspects = tallies.each_ref().map(|tally| post(&children[0], panics_at_first(1, tally)));
    let bystander = post(&children[1], say(1));
    for suspect in suspects {
        assert_eq!(suspect.await.unwrap(), 2);
    }
    assert_eq!(bystander.await.unwrap(), 1);
    assert_eq!(children[0].snapshot().restarts, 3);
}

#[actix::test]
async fn of_deaths_at_once_those_within_the_roots_limit_are_followed_and_the_others_fail() {
    let own = Intensity { max_restarts: 0, window: Duration::from_secs(3_600) };
    let (root, _events) = tree_of(one_for_one(1));
    let children = ["a", "b", "c"].map(|name| root.start(&here(), member(name).intensity(own)));
    let suspects = children.each_ref().map(|child| post(child, panics_at_first(1, &Tally::default())));
    let mut borne = 0;
    for suspect in suspects {
        borne += usize::from(suspect.await.is_ok());
    }
    assert_eq!(borne, 1);
    let failed = children.iter().filter(|child| child.snapshot().state == NodeState::Failed).count();
    assert_eq!(failed, 2);
    assert!(root.escalations().borrow().is_some());
}

/// Whether the factory of `broken` works.
fn switch(is_broken: &Arc<AtomicBool>) -> impl FnMut() -> Probe + Send + 'static {
    let is_broken = Arc::clone(is_broken);
    move || {
        assert!(!is_broken.load(Ordering::SeqCst), "it cannot start");
        Probe::default()
    }
}

#[actix::test]
async fn a_member_that_cannot_start_within_its_own_limit_wedges_neither_its_group_nor_a_stop() {
    let (root, mut events) = tree_of(group(Strategy::OneForAll, 10));
    let culprit = root.start(&here(), member("culprit"));
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = root.start(
        &here(),
        ChildSpec::new("broken", "probe", 10, switch(&is_broken)).intensity(MANY).backoff(QUICK),
    );
    let pool = root.pool::<Probe>("pool", "probe", PoolSpec::new(10, MANY).backoff(QUICK));
    let in_pool = pool.start(&here(), "1", switch(&is_broken));
    for child in [&culprit, &broken, &in_pool] {
        post(child, say(1)).await.unwrap();
    }
    is_broken.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        die(&culprit).await;
        events.until("recovery", recovered).await;
    }
    // Tried again and again by themselves, and well as soon as they can be.
    let waits = [post(&broken, say(2)), post(&in_pool, say(2))];
    is_broken.store(false, Ordering::SeqCst);
    for answer in waits {
        assert_eq!(answer.await.unwrap(), 2);
    }
    is_broken.store(true, Ordering::SeqCst);
    die(&culprit).await;
    soon("stop", root.stop()).await;
}

#[test]
fn a_message_that_comes_to_a_held_child_while_it_is_released_changes_nothing() {
    actix_rt::System::new().block_on(async {
        let (supervisors, elsewhere, flood) = (Arbiter::new(), Arbiter::new(), Arbiter::new());
        let blink =
            Backoff { initial: Duration::from_micros(200), max: Duration::from_micros(200), jitter: 0.5 };
        let spec = GroupSpec::new(Strategy::OneForAll).backoff(blink).intensity(MANY);
        let root = Supervisor::root(&supervisors.handle(), spec, ());
        let culprit = root.start(&here(), member("culprit"));
        let spec = ChildSpec::new("flooded", "probe", 100_000, Probe::default);
        let flooded = root.start(&elsewhere.handle(), spec);
        post(&flooded, say(1)).await.unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        flood.spawn({
            let (flooded, is_over) = (flooded.clone(), Arc::clone(&is_over));
            async move {
                while !is_over.load(Ordering::SeqCst) {
                    let _ = flooded.try_tell(say(1));
                    tokio::task::yield_now().await;
                }
            }
        });
        for deaths in 1..=300 {
            die(&culprit).await;
            soon("recovery", async {
                while root.is_recovering() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert_eq!(restarts(&[culprit.clone(), flooded.clone()]), [deaths; 2]);
        }
        is_over.store(true, Ordering::SeqCst);
        soon("stop", root.stop()).await;
        for arbiter in [supervisors, elsewhere, flood] {
            arbiter.stop();
        }
    });
}
