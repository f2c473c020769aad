//! What a death does to messages, to state and to neighbours.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use actors::supervision::{
    AskError, Backoff, Cause, Change, ChildRef, ChildSpec, CommandError, Fault, Intensity, NodeState,
    Restart, StateCell,
};
use futures_util::TryFutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::*;

#[actix::test]
async fn queued_messages_survive_every_end_of_a_life_in_order_and_once() {
    // What befalls the child under the messages that wait, and how many lives that costs.
    type Befall = fn(&ChildRef<Probe>);
    let ends: [(&str, u64, Befall); 5] = [
        ("nothing but its own message", 2, |_| {}),
        ("a panic", 3, |child| child.inject(Fault::Panic).unwrap()),
        ("a stop", 3, |child| child.inject(Fault::Stop).unwrap()),
        ("a hang", 3, |child| child.inject(Fault::Hang).unwrap()),
        ("a restart", 3, |child| child.restart().unwrap()),
    ];
    for (end, restarts, befall) in ends {
        let (root, _events) = tree();
        let child = root.start(&here(), probe("a").hung_after(Duration::from_millis(20)));
        post(&child, say(1)).await.unwrap();
        befall(&child);
        let journal = Arc::new(Mutex::new(Vec::new()));
        let queue = |numbers: std::ops::Range<u32>| -> Vec<_> {
            let notes = numbers.map(|number| {
                let journal = Arc::clone(&journal);
                let note = act(move |_, _| {
                    journal.lock().push(number);
                    number
                });
                post(&child, note)
            });
            notes.collect()
        };
        let before = queue(0..20);
        let culprit = post(&child, panics());
        let after = queue(20..40);
        assert_eq!(child.depth(), 41, "{end}");
        assert!(culprit.await.is_err(), "{end}");
        let answers: Vec<u32> =
            join_all(before.into_iter().chain(after)).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, (0..40).collect::<Vec<_>>(), "{end}");
        assert_eq!(*journal.lock(), answers, "{end}");
        assert_eq!(child.snapshot().restarts, restarts, "{end}");
    }
}

#[actix::test]
async fn the_message_in_hand_is_tried_once_more() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a"));
    assert_eq!(post(&child, panics_at_first(1, &Tally::default())).await.unwrap(), 2);
}

#[actix::test]
async fn a_message_is_refused_at_its_second_death_and_may_have_had_effect() {
    let (root, mut events) = tree();
    let child = root.start(&here(), probe("a"));
    let tally = Tally::default();
    let error = post(&child, panics_at_first(2, &tally)).await.unwrap_err();
    assert!(error.may_have_had_effect());
    assert!(matches!(&error, AskError::Died { reason, .. } if &**reason == "as told"));
    assert!(!format!("{error} {error:?}").contains("as told"), "a panic's text may hold what no log may see");
    assert_eq!(tally.get(), 2);
    let refused = events.until("refusal", |event| matches!(event.change, Change::Refused { .. })).await;
    assert_eq!((refused.path.as_str(), refused.kind), ("a", "probe"));
    // The message came back whole: a third try succeeds.
    assert_eq!(post(&child, error.into_message()).await.unwrap(), 3);
}

#[actix::test]
async fn with_eight_in_flight_only_the_culprit_is_refused() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a").in_flight(8));
    let (gate, tally) = (Gate::closed(), Tally::default());
    let asks: Vec<_> = (0..8)
        .map(|number| {
            let (gate, tally) = (gate.clone(), tally.clone());
            post(
                &child,
                inside(move || {
                    let (gate, tally) = (gate.clone(), tally.clone());
                    async move {
                        gate.pass().await;
                        assert!(number != 3 || tally.count() > 2, "as told");
                        number
                    }
                }),
            )
        })
        .collect();
    gate.open();
    let verdicts = join_all(asks).await;
    for (number, verdict) in (0..).zip(verdicts) {
        match verdict {
            Ok(answer) => assert!(answer == number && number != 3),
            Err(error) => assert!(number == 3 && error.may_have_had_effect(), "{number} was refused"),
        }
    }
    assert_eq!(tally.get(), 2);
}

#[actix::test]
async fn an_answer_that_outlives_the_actor_is_given_and_its_message_is_not_tried_again() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a").in_flight(2));
    let (gate, tally) = (Gate::closed(), Tally::default());
    let under_way = post(&child, {
        let (gate, tally) = (gate.clone(), tally.clone());
        outside(move || {
            let (gate, tally) = (gate.clone(), tally.clone());
            async move {
                gate.pass().await;
                tally.count()
            }
        })
    });
    assert!(post(&child, panics()).await.is_err());
    gate.open();
    assert_eq!(under_way.await.unwrap(), 1);
    assert_eq!((tally.get(), child.snapshot().restarts), (1, 2));
}

#[actix::test]
async fn a_panic_in_a_future_that_answers_restarts_the_child_and_blames_its_message_alone() {
    let (root, mut events) = tree();
    let child = root.start(&here(), probe("a").in_flight(3));
    let (gate, tries, culprits_tries) = (Gate::closed(), Tally::default(), Tally::default());
    // Interrupted by the culprit at its first try, it dies by itself at its second and still has a third.
    let neighbour = post(&child, {
        let (gate, tries, culprits_tries) = (gate.clone(), tries.clone(), culprits_tries.clone());
        inside(move || {
            let (gate, attempt, culprits_tries) = (gate.clone(), tries.count(), culprits_tries.clone());
            async move {
                gate.pass().await;
                assert_ne!(attempt, 2, "as told");
                culprits_tries.get()
            }
        })
    });
    let culprit = post(&child, {
        let tries = culprits_tries.clone();
        outside(move || {
            tries.count();
            async { panic!("as told") }
        })
    });
    events.started(1).await;
    gate.open();
    assert_eq!(neighbour.await.unwrap(), 1, "it is tried again before the culprit, for it was first");
    assert!(culprit.await.unwrap_err().may_have_had_effect());
    assert_eq!((tries.get(), culprits_tries.get(), child.snapshot().restarts), (3, 2, 3));
}

/// How a message of the mixture is handled.
#[derive(Debug, Clone, Copy)]
enum Manner {
    InHandler,
    Inside,
    Outside,
}

/// Posts a message that is handled by `deed`; the verdict is the answer, or whether it may have had effect.
fn post_deed(
    child: &ChildRef<Probe>,
    manner: Manner,
    deed: impl Fn() -> u32 + Clone + Send + Sync + 'static,
) -> LocalBoxFuture<'static, Result<u32, bool>> {
    let later = {
        let deed = deed.clone();
        move || {
            let deed = deed.clone();
            async move {
                tokio::task::yield_now().await;
                deed()
            }
        }
    };
    match manner {
        Manner::InHandler => {
            Box::pin(post(child, act(move |_, _| deed())).map_err(|error| error.may_have_had_effect()))
        }
        Manner::Inside => Box::pin(post(child, inside(later)).map_err(|error| error.may_have_had_effect())),
        Manner::Outside => Box::pin(post(child, outside(later)).map_err(|error| error.may_have_had_effect())),
    }
}

/// Posts all messages at once, each with the number of its deaths (2: dies always), and checks every verdict.
async fn check_mixture(in_flight: usize, messages: &[(u32, Manner)]) {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a").in_flight(in_flight));
    let journal = Arc::new(Mutex::new(Vec::new()));
    let mut asks = Vec::new();
    for (number, (deaths, manner)) in (0_u32..).zip(messages.iter().copied()) {
        let (tally, journal) = (Tally::default(), Arc::clone(&journal));
        asks.push(post_deed(&child, manner, move || {
            assert!(deaths < 2 && tally.count() > deaths, "as told");
            journal.lock().push(number);
            number
        }));
    }
    let verdicts = soon("verdicts", join_all(asks)).await;
    for (number, (verdict, (deaths, _))) in (0..).zip(verdicts.iter().zip(messages)) {
        let is_deserved = match (deaths, verdict) {
            (0, verdict) => *verdict == Ok(number),
            // In hand beside another one that died, and then at its own death: that makes two.
            (1, Err(may_have_had_effect)) => in_flight > 1 && *may_have_had_effect,
            (1, verdict) => *verdict == Ok(number),
            (_, verdict) => *verdict == Err(true),
        };
        assert!(is_deserved, "message {number}: {verdict:?}");
    }
    let answered: Vec<u32> = verdicts.into_iter().flatten().collect();
    let mut handled = journal.lock().clone();
    if in_flight > 1 {
        // Answers that come later come in any order.
        handled.sort_unstable();
    }
    assert_eq!(handled, answered, "in order and once");
    assert_eq!(child.snapshot().mailbox.depth, 0);
    soon("stop", root.stop()).await;
}

#[test]
fn every_message_gets_the_verdict_that_it_deserves_whatever_the_mixture() {
    let manner = prop_oneof![Just(Manner::InHandler), Just(Manner::Inside), Just(Manner::Outside)];
    let messages = prop::collection::vec((prop_oneof![4 => Just(0_u32), 1 => 1..3_u32], manner), 1..30);
    let config = Config { cases: 100, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(1_usize..9, messages), |(in_flight, messages)| {
            actix_rt::System::new().block_on(check_mixture(in_flight, &messages));
            Ok(())
        })
        .unwrap();
}

#[actix::test]
async fn too_many_restarts_fail_the_child_and_what_is_queued_is_refused_not_lost() {
    let (root, mut events) = tree();
    let limit = Intensity { max_restarts: 2, window: Duration::from_secs(3_600) };
    let child = root.group("group", one_for_one(0)).start(&here(), probe("a").intensity(limit));
    let mut escalations = root.escalations();
    let tallies: [Tally; 3] = std::array::from_fn(|_| Tally::default());
    let [first, second, third] = tallies.each_ref().map(|tally| post(&child, panics_at_first(1, tally)));
    let queued = post(&child, say(1));
    // One death each, which nobody is blamed for: the third is one too many.
    assert!(first.await.is_ok() && second.await.is_ok());
    assert!(third.await.unwrap_err().may_have_had_effect());
    let error = queued.await.unwrap_err();
    assert!(matches!(error, AskError::Stopped(_)) && !error.may_have_had_effect());
    let failed = events.until("failure", |event| matches!(event.change, Change::Failed { .. })).await;
    assert_eq!(failed.change, Change::Failed { reason: "as told".into(), refused: 2 });
    let escalation =
        soon("escalation", escalations.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert_eq!((&*escalation.path, &*escalation.reason), ("group", "as told"));
    let node = child.snapshot();
    assert_eq!((node.state, node.restarts, node.mailbox.depth), (NodeState::Failed, 2, 0));
    assert_eq!(root.snapshot().state, NodeState::Failed);
    assert!(matches!(post(&child, say(2)).await, Err(AskError::Stopped(_))));
    assert!(matches!(child.try_tell(say(2)), Err(AskError::Stopped(_))));
    assert_eq!(root.restart("group/a"), Err(CommandError::Over));
}

#[actix::test]
async fn messages_that_are_to_blame_for_their_deaths_never_fail_the_child() {
    let (root, _events) = tree();
    let limit = Intensity { max_restarts: 1, window: Duration::from_secs(3_600) };
    let child = root.start(&here(), probe("a").intensity(limit));
    for number in 0..5 {
        assert!(post(&child, panics()).await.unwrap_err().may_have_had_effect());
        assert_eq!(post(&child, say(number)).await.unwrap(), number);
    }
    assert_eq!((child.snapshot().state, child.snapshot().restarts), (NodeState::Running, 10));
}

#[actix::test]
async fn restart_policy_by_end_of_life() {
    for (policy, fault, expected) in [
        (Restart::Permanent, Fault::Panic, NodeState::Running),
        (Restart::Permanent, Fault::Stop, NodeState::Running),
        (Restart::Transient, Fault::Panic, NodeState::Running),
        (Restart::Transient, Fault::Stop, NodeState::Stopped),
        (Restart::Temporary, Fault::Panic, NodeState::Stopped),
        (Restart::Temporary, Fault::Stop, NodeState::Stopped),
    ] {
        let (root, _events) = tree();
        let child = root.start(&here(), probe("a").restart(policy));
        child.inject(fault).unwrap();
        let verdict = post(&child, say(7)).await;
        let is_followed = expected == NodeState::Running;
        match verdict {
            Ok(answer) => assert!(is_followed && answer == 7, "{policy:?} {fault:?}"),
            Err(error) => assert!(!is_followed && error.may_have_had_effect(), "{policy:?} {fault:?}"),
        }
        let node = child.snapshot();
        assert_eq!((node.state, node.restarts), (expected, u64::from(is_followed)), "{policy:?} {fault:?}");
        assert_eq!(node.last_failure.is_some(), is_followed || fault == Fault::Panic, "{policy:?} {fault:?}");
        assert!(root.escalations().borrow().is_none(), "{policy:?} {fault:?}");
    }
}

#[actix::test]
async fn an_injected_fault_hits_the_next_message_and_no_other() {
    let (root, mut events) = tree();
    let child = root.start(&here(), probe("a").in_flight(4));
    assert_eq!(post(&child, say(1)).await.unwrap(), 1);
    root.inject("a", Fault::Panic).unwrap();
    assert_eq!(child.snapshot().restarts, 0, "not before the next message");
    let tally = Tally::default();
    let asks: Vec<_> = (0..4)
        .map(|_| {
            let tally = tally.clone();
            post(&child, act(move |_, _| tally.count()))
        })
        .collect();
    let answers: Vec<u32> = join_all(asks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [1, 2, 3, 4], "handled once, in order");
    let restarted = events.until("restart", |event| matches!(event.change, Change::Restarted { .. })).await;
    let reason = "a fault was injected".into();
    assert_eq!(restarted.change, Change::Restarted { reason, restarts: 1, delay: Duration::from_millis(1) });
    assert_eq!(child.snapshot().restarts, 1);
    assert_eq!(root.inject("b", Fault::Panic), Err(CommandError::Unknown));
    assert_eq!(root.inject("a/b", Fault::Panic), Err(CommandError::Unknown));
    root.group("group", one_for_one(0));
    assert_eq!(root.inject("group", Fault::Panic), Err(CommandError::NotOneChild));
}

/// Folds numbers into a sum and panics in the middle of a fold with 13.
struct Adder {
    sum: u32,
    cell: StateCell<u32>,
}

impl Actor for Adder {
    type Context = Context<Self>;
}

#[derive(Clone, Message)]
#[rtype(u32)]
struct Add(u32);

impl Handler<Add> for Adder {
    type Result = u32;

    fn handle(&mut self, Add(number): Add, _: &mut Context<Self>) -> u32 {
        self.sum += number;
        assert_ne!(number, 13);
        self.cell.replace(self.sum);
        self.sum
    }
}

#[actix::test]
async fn the_state_of_the_last_whole_fold_survives_a_panic() {
    let (root, _events) = tree();
    let cell = StateCell::new(0);
    let of_actor = cell.clone();
    let spec =
        ChildSpec::new("adder", "adder", 8, move || Adder { sum: *of_actor.get(), cell: of_actor.clone() });
    let child = root.start(&here(), spec.backoff(QUICK).intensity(MANY));
    assert_eq!(child.ask(Add(5)).await.unwrap(), 5);
    assert!(soon("refusal", child.ask(Add(13))).await.is_err());
    assert_eq!(child.ask(Add(2)).await.unwrap(), 7);
    assert_eq!((*cell.get(), child.snapshot().restarts), (7, 2));
}

#[actix::test]
async fn a_late_answer_that_never_comes_costs_its_message_a_try_and_nobody_a_life() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a").in_flight(4));
    let gate = Gate::closed();
    let late = post(&child, {
        let gate = gate.clone();
        outside(move || {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                panic!("as told")
            }
        })
    });
    assert_eq!(post(&child, panics_at_first(1, &Tally::default())).await.unwrap(), 2);
    assert_eq!(child.snapshot().restarts, 1);
    gate.open();
    assert!(late.await.unwrap_err().may_have_had_effect());
    // Its first try belonged to the life before, its second to this one.
    assert_eq!(child.snapshot().restarts, 2);
    let dead = root.post_mortems("a");
    assert_eq!((dead[1].cause, dead[1].in_hand.as_slice()), (Cause::AnswerDropped, &["ActOutside"][..]));
}

#[actix::test]
async fn a_restart_asked_for_between_two_lives_costs_none() {
    let (root, mut events) = tree();
    let slow = Backoff { initial: Duration::from_millis(50), max: Duration::from_millis(50), jitter: 0.0 };
    let child = root.start(&here(), probe("a").backoff(slow));
    let suspect = post(&child, panics_at_first(1, &Tally::default()));
    events.until("restart", |event| matches!(event.change, Change::Restarted { .. })).await;
    child.restart().unwrap();
    assert_eq!(suspect.await.unwrap(), 2);
    assert_eq!(child.snapshot().restarts, 1);
}

/// Cannot be dropped in peace.
struct Bomb(bool);

impl Clone for Bomb {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0, "as told");
    }
}

impl Message for Bomb {
    type Result = u32;
}

impl Handler<Bomb> for Probe {
    type Result = u32;

    fn handle(&mut self, _: Bomb, _: &mut Context<Self>) -> u32 {
        1
    }
}

#[actix::test]
async fn a_message_that_panics_when_it_is_dropped_is_answered_and_hurts_nobody() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a"));
    assert_eq!(soon("an answer", child.ask(Bomb(true))).await.unwrap(), 1);
    assert_eq!(post(&child, say(2)).await.unwrap(), 2);
    assert_eq!((child.snapshot().state, child.snapshot().restarts), (NodeState::Running, 0));
}
