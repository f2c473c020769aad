//! Stopping: in which order, within which time, and what is left.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Arbiter, AsyncContext as _, Context};
use actors::supervision::{AskError, Backoff, Change, ChildSpec, NodeState, PoolSpec, Supervisor};
use futures_util::future::join_all;

use crate::support::*;

/// Holds a token for as long as it lives.
struct Holder(#[allow(dead_code, reason = "it is held")] Arc<()>);

impl Actor for Holder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let token = Arc::clone(&self.0);
        ctx.run_interval(Duration::from_millis(1), move |_, _| {
            let _ = &token;
        });
    }
}

#[actix::test]
async fn children_stop_in_reverse_order_and_nothing_of_them_is_left() {
    let (root, mut events) = tree();
    let token = Arc::new(());
    let arbiter = Arbiter::new();
    let start = |supervisor: &Supervisor, place, name: &str| {
        let of_child = Arc::clone(&token);
        supervisor.start(&place, ChildSpec::new(name, "holder", 8, move || Holder(Arc::clone(&of_child))));
    };
    start(&root, here(), "first");
    let group = root.group("group", one_for_one(0));
    start(&group, arbiter.handle(), "second");
    start(&group, here(), "third");
    start(&root, arbiter.handle(), "fourth");
    for _ in 0..4 {
        events.started(0).await;
    }
    assert!(Arc::strong_count(&token) > 8);
    soon("stop", root.stop()).await;
    let stopped: Vec<String> = events
        .rest()
        .into_iter()
        .filter(|event| event.change == Change::Stopped { refused: 0 })
        .map(|event| event.path)
        .collect();
    assert_eq!(stopped, ["fourth", "group/third", "group/second", "first"]);
    assert_eq!(Arc::strong_count(&token), 1);
    assert_eq!(root.snapshot().state, NodeState::Stopped);
    arbiter.stop();
}

#[actix::test]
async fn a_stop_drains_what_is_queued_even_over_a_panic_and_takes_nothing_more() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a"));
    let gate = Gate::closed();
    let tally = Tally::default();
    let first = post(&child, waits_for(&gate));
    let dies_once = post(&child, panics_at_first(1, &tally));
    let queued: Vec<_> = (0..20).map(|number| post(&child, say(number))).collect();
    let stop = actix_rt::spawn({
        let root = root.clone();
        async move { root.stop().await }
    });
    soon("the end of intake", async {
        while !matches!(child.try_tell(say(0)), Err(AskError::Stopped(_))) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    assert_eq!((first.await.unwrap(), dies_once.await.unwrap()), (0, 2));
    assert!(join_all(queued).await.iter().all(Result::is_ok));
    soon("stop", stop).await.unwrap();
}

#[actix::test]
async fn what_is_not_done_within_the_time_to_stop_is_refused_truthfully() {
    let (root, mut events) = tree();
    let child = root.start(&here(), probe("a").stop_within(Duration::from_millis(20)));
    let in_hand = post(&child, inside(std::future::pending));
    let queued = post(&child, say(1));
    events.started(0).await;
    soon("stop", root.stop()).await;
    assert!(in_hand.await.unwrap_err().may_have_had_effect());
    assert!(matches!(queued.await, Err(AskError::Stopped(_))));
    let stopped = events.until("stop", |event| matches!(event.change, Change::Stopped { .. })).await;
    assert_eq!(stopped.change, Change::Stopped { refused: 2 });
    assert_eq!(child.snapshot().mailbox.depth, 0);
}

#[actix::test]
async fn a_stop_does_not_wait_for_a_restart_that_nobody_needs() {
    let (root, mut events) = tree();
    let long = Duration::from_secs(3_600);
    let never = Backoff { initial: long, max: long, jitter: 0.0 };
    let idle = root.start(
        &here(),
        ChildSpec::new("idle", "probe", 8, || -> Probe { panic!("as told") }).backoff(never).intensity(MANY),
    );
    events.until("restart", |event| matches!(event.change, Change::Restarted { .. })).await;
    assert_eq!(idle.snapshot().state, NodeState::Restarting);
    soon("stop", root.stop()).await;
    assert_eq!((idle.snapshot().state, idle.is_over()), (NodeState::Stopped, true));
}

#[actix::test]
async fn what_is_started_after_the_stop_is_stopped() {
    let (root, _events) = tree();
    let pool = root.pool::<Probe>("users", "user", PoolSpec::new(8, MANY));
    soon("stop", root.stop()).await;
    let late = root.start(&here(), probe("late"));
    let late_of_pool = pool.start(&here(), "1a2b3c4d", Probe::default);
    assert!(matches!(post(&late, say(1)).await, Err(AskError::Stopped(_))));
    assert!(matches!(post(&late_of_pool, say(1)).await, Err(AskError::Stopped(_))));
    soon("a second stop", root.stop()).await;
}

#[actix::test]
async fn a_child_whose_arbiter_stops_refuses_instead_of_hanging() {
    let (root, mut events) = tree();
    let arbiter = Arbiter::new();
    let child = root.start(&arbiter.handle(), probe("a"));
    events.started(0).await;
    let in_hand = post(&child, inside(std::future::pending));
    let queued = post(&child, say(1));
    arbiter.stop();
    assert!(in_hand.await.is_err());
    assert!(queued.await.is_err());
    arbiter.join().unwrap();
    let late = root.start(&Arbiter::current(), probe("b"));
    assert_eq!(post(&late, say(1)).await.unwrap(), 1);
    soon("stop", root.stop()).await;
    assert_eq!(child.snapshot().state, NodeState::Stopped);
}
