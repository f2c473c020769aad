//! Random trees under random faults: whatever happens, every sender hears, and the tree ends healthy or escalated.

use std::time::Duration;

use actors::supervision::{AskError, ChildRef, ChildSpec, Fault, NodeState, Strategy, Supervisor};
use proptest::prelude::{Just, Strategy as Generator, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::support::*;

/// A group in a random tree: its strategy, the restarts that it bears, its children, and the groups under it.
#[derive(Debug, Clone)]
struct Plan {
    strategy: Strategy,
    max_restarts: usize,
    children: usize,
    groups: Vec<Plan>,
}

#[derive(Debug, Clone, Copy)]
enum Strike {
    Fault(usize, Fault),
    Restart(usize),
    /// Several messages at once, one of which kills once and one of which kills always.
    Load(usize),
}

fn plans() -> impl Generator<Value = Plan> {
    let strategy =
        prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne),];
    let leaf = (strategy.clone(), 0_usize..6, 1_usize..4).prop_map(|(strategy, max_restarts, children)| {
        Plan { strategy, max_restarts, children, groups: Vec::new() }
    });
    leaf.prop_recursive(2, 8, 3, move |plan| {
        (strategy.clone(), 0_usize..6, 0_usize..3, prop::collection::vec(plan, 1..3)).prop_map(
            |(strategy, max_restarts, children, groups)| Plan { strategy, max_restarts, children, groups },
        )
    })
}

fn strikes() -> impl Generator<Value = Vec<Strike>> {
    let fault = prop_oneof![Just(Fault::Panic), Just(Fault::Stop), Just(Fault::Hang)];
    let strike = prop_oneof![
        2 => (any::<usize>(), fault).prop_map(|(child, fault)| Strike::Fault(child, fault)),
        1 => any::<usize>().prop_map(Strike::Restart),
        4 => any::<usize>().prop_map(Strike::Load),
    ];
    prop::collection::vec(strike, 1..25)
}

fn plant(under: &Supervisor, plan: &Plan, children: &mut Vec<ChildRef<Probe>>) {
    for number in 0..plan.children {
        let spec = ChildSpec::new(number.to_string(), "probe", 100, Probe::default)
            .backoff(QUICK)
            .hung_after(Duration::from_millis(5));
        children.push(under.start(&here(), spec));
    }
    for (number, plan) in plan.groups.iter().enumerate() {
        let inner = under.group(format!("group-{number}"), group(plan.strategy, plan.max_restarts));
        plant(&inner, plan, children);
    }
}

async fn rage(plan: Plan, strikes: Vec<Strike>) {
    let (root, _events) = tree_of(group(plan.strategy, plan.max_restarts));
    let mut children = Vec::new();
    plant(&root, &plan, &mut children);
    let mut answers = Vec::new();
    for strike in strikes {
        match strike {
            // Refused only by one that is over.
            Strike::Fault(child, fault) => drop(children[child % children.len()].inject(fault).ok()),
            Strike::Restart(child) => drop(children[child % children.len()].restart().ok()),
            Strike::Load(child) => {
                let child = &children[child % children.len()];
                answers.push(post(child, say(1)));
                answers.push(post(child, panics_at_first(1, &Tally::default())));
                answers.push(post(child, panics()));
                answers.push(post(child, say(1)));
            }
        }
        tokio::task::yield_now().await;
    }
    for answer in answers {
        // Whatever it is, it comes: a deadline is in `post`.
        let _ = answer.await;
    }
    // Injected faults that still wait for a message go with these.
    for _ in 0..2 {
        for child in &children {
            let _ = post(child, say(1)).await;
        }
    }
    let mut is_escalated = false;
    for child in &children {
        match post(child, say(7)).await {
            Ok(answer) => assert_eq!(answer, 7),
            // Nobody stopped it, so it has failed.
            Err(error) => {
                assert!(matches!(error, AskError::Stopped(_)), "{error:?}");
                let mut escalations = root.escalations();
                soon("escalation", escalations.wait_for(Option::is_some)).await.unwrap();
                is_escalated = true;
            }
        }
    }
    soon("the last recovery", async {
        while root.is_recovering() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let expected = if is_escalated { NodeState::Failed } else { NodeState::Running };
    assert_eq!(root.snapshot().state, expected);
    soon("stop", root.stop()).await;
}

#[test]
fn a_storm_over_any_tree_ends_healthy_or_escalated_and_every_sender_hears() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut runner = TestRunner::new(Config {
        cases: 60,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&(plans(), strikes()), |(plan, strikes)| {
        actix_rt::System::new().block_on(rage(plan, strikes));
        Ok(())
    });
    let _ = std::panic::take_hook();
    result.unwrap();
}
