//! Pools: many light children of one sort.

use std::time::Duration;

use actix::Arbiter;
use actors::supervision::{AskError, Change, CommandError, Fault, Intensity, NodeState, PoolSpec};
use futures_util::future::join_all;

use crate::support::*;

fn spec() -> PoolSpec {
    PoolSpec::new(4, MANY).backoff(QUICK)
}

#[actix::test]
async fn of_thousands_of_children_one_dies_and_no_other_notices() {
    let (root, _events) = tree();
    let pool = root.pool::<Probe>("users", "user_state", spec());
    let arbiters = [Arbiter::new(), Arbiter::new()];
    let children: Vec<_> = (0..5_000)
        .map(|n: usize| pool.start(&arbiters[n % 2].handle(), format!("{n:08x}"), Probe::default))
        .collect();
    assert!(post(&children[42], panics()).await.is_err());
    let asks = children.iter().map(|child| post(child, act(|probe, _| probe.handled_in_this_life)));
    assert!(join_all(asks).await.into_iter().all(|answer| answer.unwrap() == 1));
    let restarts: Vec<u64> = children.iter().map(|child| child.snapshot().restarts).collect();
    assert_eq!((restarts[42], restarts.iter().sum::<u64>()), (2, 2));
    let node = root.find("users").unwrap();
    assert_eq!(
        (node.live, node.restarts, node.handled, node.state),
        (Some(5_000), 2, 5_000, NodeState::Running)
    );
    assert_eq!((node.mailbox.depth, node.mailbox.capacity, node.children.len()), (0, 20_000, 10));
    assert_eq!(node.children[0].path, format!("users/{:08x}", 42));
    assert_eq!(node.last_failure, node.children[0].last_failure);
    assert_eq!(root.find("users/00000fff").unwrap().handled, 1);
    assert!(root.find("users/ffffffff").is_none());
    soon("stop", root.stop()).await;
    assert!(children.iter().all(|child| child.snapshot().state == NodeState::Stopped));
}

#[actix::test]
async fn the_ten_worst_have_most_restarts_then_the_deepest_mailboxes() {
    let (root, _events) = tree();
    let pool = root.pool::<Probe>("users", "user_state", spec());
    let children: Vec<_> =
        (0..30_usize).map(|n| pool.start(&here(), format!("{n:08x}"), Probe::default)).collect();
    for (child, deaths) in [(&children[7], 2), (&children[8], 1)] {
        for _ in 0..deaths {
            assert!(post(child, panics()).await.is_err());
        }
    }
    let gate = Gate::closed();
    let waiting: Vec<_> = (10..19_usize)
        .flat_map(|n| std::iter::repeat_n(&children[n], if n == 15 { 3 } else { 1 }))
        .map(|child| post(child, waits_for(&gate)))
        .collect();
    let node = root.find("users").unwrap();
    let worst: Vec<&str> = node.children.iter().map(|child| child.path.as_str()).collect();
    assert_eq!(worst[..3], ["users/00000007", "users/00000008", "users/0000000f"]);
    assert_eq!(node.children.iter().map(|child| child.mailbox.depth).sum::<usize>(), 3 + 7);
    assert_eq!((node.mailbox.depth, node.live), (11, Some(30)));
    gate.open();
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
}

#[actix::test]
async fn a_child_that_is_put_away_finishes_and_is_forgotten_but_its_figures_stay() {
    let (root, _events) = tree();
    let pool = root.pool::<Probe>("users", "user_state", spec());
    let child = pool.start(&here(), "1a2b3c4d", Probe::default);
    assert!(post(&child, panics()).await.is_err());
    let queued = [post(&child, say(1)), post(&child, say(2))];
    soon("putting away", pool.put_away(&child)).await;
    for (answer, ask) in (1..).zip(queued) {
        assert_eq!(ask.await.unwrap(), answer);
    }
    assert!(matches!(post(&child, say(3)).await, Err(AskError::Stopped(_))));
    let node = root.find("users").unwrap();
    assert_eq!((node.live, node.restarts, node.handled), (Some(0), 2, 2));
    assert!(node.last_failure.is_some() && root.find("users/1a2b3c4d").is_none());
    soon("putting away again", pool.put_away(&child)).await;
    assert_eq!((pool.live(), root.find("users").unwrap().handled), (0, 2));
}

#[actix::test]
async fn two_children_of_one_mask_are_two() {
    let (root, _events) = tree();
    let pool = root.pool::<Probe>("users", "user_state", spec());
    let twins = [(); 2].map(|()| pool.start(&here(), "1a2b3c4d", Probe::default));
    assert_eq!(pool.live(), 2);
    soon("putting away", pool.put_away(&twins[0])).await;
    assert_eq!((pool.live(), post(&twins[1], say(1)).await.unwrap()), (1, 1));
    assert_eq!(root.find("users/1a2b3c4d").unwrap().handled, 1);
}

#[actix::test]
async fn faults_and_restarts_find_a_child_of_a_pool() {
    let (root, mut events) = tree();
    let pool = root.pool::<Probe>("users", "user_state", spec());
    let child = pool.start(&here(), "1a2b3c4d", Probe::default);
    root.inject("users/1a2b3c4d", Fault::Panic).unwrap();
    assert_eq!(post(&child, say(1)).await.unwrap(), 1);
    events.started(1).await;
    root.restart("users/1a2b3c4d").unwrap();
    events.started(2).await;
    root.restart("users").unwrap();
    events.started(3).await;
    assert_eq!(root.inject("users", Fault::Panic), Err(CommandError::NotOneChild));
    assert_eq!(root.restart("users/ffffffff"), Err(CommandError::Unknown));
}

#[actix::test]
async fn a_pool_beyond_its_limit_is_restarted_as_a_whole_and_beyond_its_groups_limit_fails() {
    let (root, mut events) = tree_of(one_for_one(1));
    let limit = Intensity { max_restarts: 3, window: Duration::from_secs(3_600) };
    let pool = root.pool::<Probe>("users", "user_state", PoolSpec::new(4, limit).backoff(QUICK));
    let children = ["a", "b", "c"].map(|id| pool.start(&here(), id, Probe::default));
    let dies_once = |child| post(child, panics_at_first(1, &Tally::default()));
    for _ in 0..3 {
        assert!(dies_once(&children[0]).await.is_ok());
    }
    assert_eq!(children[1].snapshot().restarts, 0, "one for one");
    // The fourth is one too many for the pool. What it had in hand waits until all of the pool live again.
    assert!(dies_once(&children[1]).await.is_ok());
    events.until("recovery", |event| event.change == Change::Recovered).await;
    assert_eq!(children.each_ref().map(|child| child.snapshot().restarts), [4, 1, 1]);
    assert!(root.escalations().borrow().is_none());
    let late = pool.start(&here(), "d", Probe::default);
    for _ in 0..3 {
        assert!(dies_once(&late).await.is_ok());
    }
    assert!(dies_once(&children[2]).await.is_err());
    soon("escalation", root.escalations().wait_for(Option::is_some)).await.unwrap();
    assert_eq!(&*root.escalations().borrow().as_ref().unwrap().path, "users");
    assert_eq!(root.find("users").unwrap().state, NodeState::Failed);
    assert!(matches!(post(&children[0], say(1)).await, Err(AskError::Stopped(_))));
    soon("stop", root.stop()).await;
}

/// A measurement: `cargo test -p actors --test supervision -- --ignored --nocapture idle_children`.
#[actix::test]
#[ignore = "measures the whole process, so it must run alone"]
async fn idle_children_cost_at_most_three_kilobytes_each() {
    const CHILDREN: usize = 20_000;
    let (root, mut events) = tree();
    let pool = root.pool::<Probe>("users", "user_state", PoolSpec::new(64, MANY));
    let before = resident_bytes();
    let children: Vec<_> =
        (0..CHILDREN).map(|n| pool.start(&here(), format!("{n:08x}"), Probe::default)).collect();
    for child in &children {
        assert_eq!(post(child, say(1)).await.unwrap(), 1);
    }
    events.rest();
    let each = (resident_bytes() - before) / CHILDREN;
    #[allow(clippy::print_stdout, reason = "it is what the measurement is for")]
    {
        println!("{each} bytes for each idle child");
    }
    assert!(each <= 3_000, "{each} bytes");
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("a Linux machine");
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4_096
}

#[actix::test]
async fn children_of_a_pool_that_nobody_is_above_fail_beyond_its_limit_and_wait_for_nobody() {
    let (root, _events) = tree();
    let limit = Intensity { max_restarts: 0, window: Duration::from_secs(3_600) };
    let pool = root.pool::<Probe>("users", "user_state", PoolSpec::new(4, limit).backoff(QUICK));
    let children = ["a", "b"].map(|id| pool.start(&here(), id, Probe::default));
    for child in &children {
        post(child, say(1)).await.unwrap();
    }
    drop(root);
    for child in &children {
        assert!(post(child, panics_at_first(1, &Tally::default())).await.is_err());
        assert_eq!(child.snapshot().state, NodeState::Failed);
    }
}
