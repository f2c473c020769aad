//! Random trees over several threads under random faults: whatever happens, every sender hears, and the tree ends
//! healthy or escalated; a stop at any moment ends everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::Arbiter;
use actors::supervision::{
    AskError, ChildRef, ChildSpec, Fault, Intensity, NodeState, PoolSpec, Strategy, Supervisor,
};
use proptest::prelude::{Just, Strategy as Generator, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::support::*;

const SOON_HUNG: Duration = Duration::from_millis(5);

/// A group in a random tree.
#[derive(Debug, Clone)]
struct Plan {
    strategy: Strategy,
    /// So many restarts it bears.
    max_restarts: usize,
    /// The restarts that each child has on its own, if any.
    children: Vec<Option<usize>>,
    /// So many children in a pool, if there is one.
    pool: usize,
    groups: Vec<Plan>,
}

/// Something that befalls child `.0`.
#[derive(Debug, Clone, Copy)]
enum Strike {
    Fault(usize, Fault),
    Restart(usize),
    /// It cannot start so many times.
    CannotStart(usize, u32),
    /// Several messages at once, one of which kills once and one of which kills always.
    Load(usize),
}

struct Victim {
    child: ChildRef<Probe>,
    stillborn: Arc<AtomicU32>,
}

fn plans() -> impl Generator<Value = Plan> {
    let strategy =
        prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)];
    let children = prop::collection::vec(prop::option::of(0_usize..4), 1..4);
    let node = (strategy, 0_usize..6, children, 0_usize..3);
    let leaf = node.clone().prop_map(|(strategy, max_restarts, children, pool)| Plan {
        strategy,
        max_restarts,
        children,
        pool,
        groups: Vec::new(),
    });
    leaf.prop_recursive(2, 6, 2, move |plan| {
        let groups = prop::collection::vec(plan, 1..3);
        (node.clone(), groups).prop_map(|((strategy, max_restarts, children, pool), groups)| Plan {
            strategy,
            max_restarts,
            children,
            pool,
            groups,
        })
    })
}

fn strikes() -> impl Generator<Value = Vec<Strike>> {
    let fault = prop_oneof![Just(Fault::Panic), Just(Fault::Stop), Just(Fault::Hang)];
    let strike = prop_oneof![
        4 => (any::<usize>(), fault).prop_map(|(child, fault)| Strike::Fault(child, fault)),
        2 => any::<usize>().prop_map(Strike::Restart),
        1 => (any::<usize>(), 1_u32..4).prop_map(|(child, times)| Strike::CannotStart(child, times)),
        8 => any::<usize>().prop_map(Strike::Load),
    ];
    prop::collection::vec(strike, 1..40)
}

fn many(max_restarts: usize) -> Intensity {
    Intensity { max_restarts, window: Duration::from_secs(3_600) }
}

fn fragile() -> (Arc<AtomicU32>, impl FnMut() -> Probe + Send + 'static) {
    let stillborn = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&stillborn);
    let factory = move || {
        let is_stillborn = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(is_stillborn.is_err(), "cannot start");
        Probe::default()
    };
    (stillborn, factory)
}

fn plant(under: &Supervisor, plan: &Plan, threads: &[Arbiter], victims: &mut Vec<Victim>) {
    for alone in &plan.children {
        let (stillborn, factory) = fragile();
        let thread = threads[victims.len() % threads.len()].handle();
        let name = victims.len().to_string();
        let spec = ChildSpec::new(name, "probe", 100, factory).backoff(QUICK).hung_after(SOON_HUNG);
        let spec = match alone {
            Some(restarts) => spec.intensity(many(*restarts)),
            None => spec,
        };
        victims.push(Victim { child: under.start(&thread, spec), stillborn });
    }
    if plan.pool > 0 {
        let spec = PoolSpec::new(100, many(3)).backoff(QUICK).hung_after(SOON_HUNG);
        let pool = under.pool::<Probe>("pool", "probe", spec);
        for number in 0..plan.pool {
            let (stillborn, factory) = fragile();
            let thread = threads[victims.len() % threads.len()].handle();
            victims.push(Victim { child: pool.start(&thread, number.to_string(), factory), stillborn });
        }
    }
    for (number, plan) in plan.groups.iter().enumerate() {
        let inner = under.group(format!("group-{number}"), group(plan.strategy, plan.max_restarts));
        plant(&inner, plan, threads, victims);
    }
}

async fn rage(plan: Plan, strikes: Vec<Strike>, is_stopped: bool) {
    let threads = [Arbiter::new(), Arbiter::new()];
    let (root, _events) = tree_of(group(plan.strategy, plan.max_restarts));
    let mut victims = Vec::new();
    plant(&root, &plan, &threads, &mut victims);
    let mut answers = Vec::new();
    for strike in strikes {
        let of = |child: usize| &victims[child % victims.len()];
        match strike {
            // Refused only by one that is over.
            Strike::Fault(child, fault) => drop(of(child).child.inject(fault).ok()),
            Strike::Restart(child) => drop(of(child).child.restart().ok()),
            Strike::CannotStart(child, times) => of(child).stillborn.store(times, Ordering::SeqCst),
            Strike::Load(child) => {
                let child = &of(child).child;
                answers.push(post(child, say(1)));
                answers.push(post(child, panics_at_first(1, &Tally::default())));
                answers.push(post(child, panics()));
                answers.push(post(child, say(1)));
            }
        }
        tokio::task::yield_now().await;
    }
    if is_stopped {
        soon("stop", root.stop()).await;
    }
    for answer in answers {
        // Whatever it is, it comes: a deadline is in `post`.
        let _ = answer.await;
    }
    if !is_stopped {
        assert_calm(&root, &victims).await;
        soon("stop", root.stop()).await;
    }
    for Victim { child, .. } in &victims {
        assert!(child.is_over() && child.depth() == 0, "{child:?}");
    }
    for thread in threads {
        thread.stop();
        thread.join().unwrap();
    }
}

/// All live and answer, or the tree has escalated and those that do not have failed.
async fn assert_calm(root: &Supervisor, victims: &[Victim]) {
    // Faults and starts that still fail go with these.
    for _ in 0..6 {
        for Victim { child, .. } in victims {
            let _ = post(child, say(1)).await;
        }
    }
    let mut is_escalated = false;
    for Victim { child, .. } in victims {
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
    if is_escalated {
        assert_eq!(root.snapshot().state, NodeState::Failed);
    } else {
        assert!(victims.iter().all(|victim| victim.child.snapshot().state == NodeState::Running));
    }
}

#[test]
fn a_storm_over_any_tree_ends_healthy_or_escalated_and_every_sender_hears() {
    let cases = std::env::var("STORMS").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100);
    let config = Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let storms = (plans(), strikes(), any::<bool>());
    let result = TestRunner::new(config).run(&storms, |(plan, strikes, is_stopped)| {
        actix_rt::System::new().block_on(rage(plan, strikes, is_stopped));
        Ok(())
    });
    result.unwrap();
}
