//! Health by progress: what hangs is aborted, who waits is not, and a thread that is not given back is told.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actix::{
    Actor, Arbiter, AsyncContext as _, Context, Handler, Message, ResponseActFuture, WrapFuture as _,
};
use actors::supervision::{
    AskError, Cause, Change, ChildRef, ChildSpec, Fault, NodeState, Sequel, idle, progress, waiting,
};

use crate::support::*;

const SOON_HUNG: Duration = Duration::from_millis(40);
/// Much longer than that.
const LONG: Duration = Duration::from_millis(400);
const NEVER_HUNG: Duration = Duration::from_secs(3_600);

fn hasty(name: &str) -> ChildSpec<Probe> {
    probe(name).hung_after(SOON_HUNG)
}

/// Awaits what never comes the first `times`, then answers how often it was tried.
fn hangs_at_first(times: u32, tally: &Tally) -> ActInside {
    let tally = tally.clone();
    inside(move || {
        let count = tally.count();
        async move {
            if count <= times {
                std::future::pending::<()>().await;
            }
            count
        }
    })
}

#[actix::test]
async fn a_handler_that_hangs_is_aborted_and_its_message_tried_once_more() {
    let (root, mut events) = tree();
    let child = root.start(&here(), hasty("a"));
    let hangs_once = post(&child, hangs_at_first(1, &Tally::default()));
    let hangs = post(&child, hangs_at_first(2, &Tally::default()));
    let queued: Vec<_> = (0..5).map(|number| post(&child, say(number))).collect();
    assert_eq!(hangs_once.await.unwrap(), 2);
    assert!(hangs.await.unwrap_err().may_have_had_effect());
    for (number, answer) in queued.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), number as u32);
    }
    let died = events.until("death", |event| matches!(event.change, Change::Died(_))).await;
    let Change::Died(post_mortem) = died.change else { unreachable!() };
    assert_eq!((post_mortem.cause, post_mortem.sequel), (Cause::Hang, Sequel::Restart));
    assert_eq!(child.snapshot().restarts, 3);
}

#[actix::test]
async fn of_messages_in_hand_together_the_one_that_hangs_is_found_and_the_others_are_answered() {
    let (root, _events) = tree();
    let child = root.start(&here(), hasty("a").in_flight(4));
    let hangs = post(&child, hangs_at_first(2, &Tally::default()));
    for number in 0..20 {
        assert_eq!(post(&child, say(number)).await.unwrap(), number);
    }
    assert!(hangs.await.is_err());
}

#[actix::test]
async fn an_answer_that_hangs_in_a_task_of_its_own_is_given_up() {
    let (root, _events) = tree();
    let child = root.start(&here(), hasty("a"));
    let gate = Gate::closed();
    assert!(post(&child, waits_for(&gate)).await.unwrap_err().may_have_had_effect());
    assert_eq!(post(&child, say(1)).await.unwrap(), 1);
}

#[actix::test]
async fn every_injected_fault_is_survived() {
    for fault in [Fault::Panic, Fault::Stop, Fault::Hang] {
        let (root, _events) = tree();
        let child = root.start(&here(), hasty("a"));
        child.inject(fault).unwrap();
        assert_eq!(post(&child, say(1)).await.unwrap(), 1, "{fault:?}");
        assert_eq!(child.snapshot().restarts, 1, "{fault:?}");
    }
}

/// Asks the next one.
struct Link(Option<ChildRef<Probe>>);

#[derive(Clone, Message)]
#[rtype(u32)]
struct PassOn(ActInside);

impl Actor for Link {
    type Context = Context<Self>;
}

impl Handler<PassOn> for Link {
    type Result = ResponseActFuture<Self, u32>;

    fn handle(&mut self, PassOn(message): PassOn, _: &mut Context<Self>) -> Self::Result {
        let next = self.0.clone();
        Box::pin(async move { next.unwrap().ask(message).await.unwrap_or(0) }.into_actor(self))
    }
}

fn link(to: &ChildRef<Probe>) -> ChildSpec<Link> {
    let to = to.clone();
    ChildSpec::new("link", "link", 10, move || Link(Some(to.clone()))).hung_after(SOON_HUNG).intensity(MANY)
}

#[actix::test]
async fn waiting_for_a_slow_or_full_neighbour_is_no_stall() {
    let (root, _events) = tree();
    let spec = ChildSpec::new("slow", "probe", 1, Probe::default).intensity(MANY).hung_after(NEVER_HUNG);
    let slow = root.start(&here(), spec);
    let link = root.start(&here(), link(&slow));
    let gate = Gate::closed();
    // The neighbour is full with this one first.
    let blocker = post(&slow, {
        let gate = gate.clone();
        inside(move || {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                0
            }
        })
    });
    let asked = actix_rt::spawn({
        let link = link.clone();
        async move { link.ask(PassOn(inside(|| async { 7 }))).await }
    });
    tokio::time::sleep(LONG).await;
    assert_eq!((link.snapshot().restarts, link.snapshot().state), (0, NodeState::Running));
    gate.open();
    assert_eq!(soon("the answer", asked).await.unwrap().unwrap(), 7);
    blocker.await.unwrap();
    assert_eq!(link.snapshot().restarts, 0);
}

#[actix::test]
async fn of_a_chain_only_the_one_that_hangs_is_aborted() {
    let (root, _events) = tree();
    let culprit = root.start(&here(), hasty("culprit"));
    let link = root.start(&here(), link(&culprit));
    let answer = soon("an answer", link.ask(PassOn(hangs_at_first(1, &Tally::default())))).await;
    assert_eq!(answer.unwrap(), 2);
    assert_eq!((culprit.snapshot().restarts, link.snapshot().restarts), (1, 0));
}

#[actix::test]
async fn who_works_for_long_says_so_and_who_waits_for_something_with_a_limit_of_its_own_too() {
    let (root, _events) = tree();
    let child = root.start(&here(), hasty("a"));
    let works = inside(|| async {
        for _ in 0..20 {
            tokio::time::sleep(SOON_HUNG / 4).await;
            progress();
        }
        1
    });
    assert_eq!(post(&child, works).await.unwrap(), 1);
    let waits = inside(|| async {
        waiting(tokio::time::sleep(LONG)).await;
        2
    });
    assert_eq!(post(&child, waits).await.unwrap(), 2);
    assert_eq!(child.snapshot().restarts, 0);
}

/// Works by itself: idles, and hangs in its first life when it is told to.
struct Loop {
    hangs: bool,
    turns: Tally,
}

impl Actor for Loop {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (hangs, turns) = (self.hangs, self.turns.clone());
        let turn = async move {
            loop {
                idle(tokio::time::sleep(SOON_HUNG * 2)).await;
                turns.count();
                if hangs {
                    std::future::pending::<()>().await;
                }
            }
        };
        ctx.spawn(turn.into_actor(self));
    }
}

fn self_driven(name: &str, hangs: bool, turns: &Tally) -> ChildSpec<Loop> {
    let (mut hangs, turns) = (hangs, turns.clone());
    let factory = move || Loop { hangs: std::mem::take(&mut hangs), turns: turns.clone() };
    ChildSpec::new(name, "loop", 1, factory)
        .backoff(QUICK)
        .intensity(MANY)
        .hung_after(SOON_HUNG)
        .self_driven()
}

#[actix::test]
async fn a_loop_that_hangs_is_aborted_and_one_that_idles_is_not() {
    let (root, mut events) = tree();
    let (idle_turns, hung_turns) = (Tally::default(), Tally::default());
    let idles = root.start(&here(), self_driven("idles", false, &idle_turns));
    let hangs = root.start(&here(), self_driven("hangs", true, &hung_turns));
    let died = events.until("death", |event| matches!(event.change, Change::Died(_))).await;
    assert_eq!(died.path, "hangs");
    soon("turns of the next life", async {
        while hung_turns.get() < 4 || idle_turns.get() < 4 {
            tokio::time::sleep(SOON_HUNG).await;
        }
    })
    .await;
    assert_eq!((idles.snapshot().restarts, hangs.snapshot().restarts), (0, 1));
}

#[actix::test]
#[expect(clippy::disallowed_methods, reason = "it is what must be borne")]
async fn who_shares_a_thread_with_one_that_blocks_it_is_not_to_blame() {
    let (root, _events) = tree();
    let (child, blocker) = (root.start(&here(), hasty("child")), root.start(&here(), probe("blocker")));
    let gate = Gate::closed();
    let answer = post(&child, {
        let gate = gate.clone();
        inside(move || {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                1
            }
        })
    });
    let opens = gate.clone();
    let blocks = post(
        &blocker,
        act(move |_, _| {
            std::thread::sleep(LONG);
            opens.open();
            2
        }),
    );
    assert_eq!((blocks.await.unwrap(), answer.await.unwrap()), (2, 1));
    assert_eq!(child.snapshot().restarts, 0);
}

#[actix::test]
#[expect(clippy::disallowed_methods, reason = "it is what must be borne")]
async fn many_short_messages_are_no_block() {
    let (root, mut events) = tree();
    let elsewhere = Arbiter::new();
    let child = root.start(&elsewhere.handle(), probe("a"));
    root.watch_threads(LONG);
    let answers: Vec<_> = (0..90)
        .map(|number| {
            post(
                &child,
                act(move |_, _| {
                    std::thread::sleep(SOON_HUNG / 2);
                    number
                }),
            )
        })
        .collect();
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), number as u32);
    }
    assert!(!events.rest().iter().any(|event| matches!(event.change, Change::Blocked { .. })));
    soon("stop", root.stop()).await;
    elsewhere.stop();
}

#[actix::test]
#[expect(clippy::disallowed_methods, reason = "it is what must be borne")]
async fn the_time_that_somebody_else_keeps_the_thread_is_nobodys() {
    let (root, _events) = tree();
    let limit = LONG / 2;
    let child = root.start(&here(), probe("child").hung_after(limit));
    let blocker = root.start(&here(), probe("blocker"));
    // Not idle for as long as the limit, but for its neighbour.
    let answer = post(
        &child,
        inside(move || async move {
            for _ in 0..6 {
                tokio::time::sleep(limit / 20).await;
            }
            1
        }),
    );
    tokio::time::sleep(limit / 10).await;
    let blocks = post(
        &blocker,
        act(move |_, _| {
            std::thread::sleep(limit * 4 / 3);
            2
        }),
    );
    assert_eq!((blocks.await.unwrap(), answer.await.unwrap()), (2, 1));
    assert_eq!(child.snapshot().restarts, 0);
}

#[actix::test]
async fn a_thread_that_is_not_given_back_is_escalated_with_the_one_who_keeps_it() {
    let (root, mut events) = tree();
    let (here, elsewhere) = (here(), Arbiter::new());
    let neighbour = root.start(&here, probe("neighbour"));
    let blocker = root.start(&elsewhere.handle(), probe("blocker"));
    root.watch_threads(SOON_HUNG);
    let (open, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let blocked = actix_rt::spawn({
        let blocker = blocker.clone();
        async move { blocker.ask(act(move |_, _| gate.lock().unwrap().recv().map_or(1, |()| 1))).await }
    });
    let event = events.until("the block", |event| matches!(event.change, Change::Blocked { .. })).await;
    assert_eq!(event.path, "blocker");
    let mut escalations = root.escalations();
    let escalation = soon("escalation", escalations.wait_for(Option::is_some)).await.unwrap().clone();
    assert_eq!(&*escalation.unwrap().path, "blocker");
    assert_eq!(post(&neighbour, say(1)).await.unwrap(), 1);
    drop(open);
    assert_eq!(soon("the blocker", blocked).await.unwrap().unwrap(), 1);
    soon("stop", root.stop()).await;
    elsewhere.stop();
}

#[actix::test]
async fn a_post_mortem_tells_how_the_dead_lived_and_what_followed() {
    let (root, mut events) = tree_of(group(actors::supervision::Strategy::OneForOne, 0));
    let inner = root.group("group", group(actors::supervision::Strategy::OneForAll, 1));
    let child = inner.start(&here(), ChildSpec::new("a", "probe", 10, Probe::default));
    let sibling = inner.start(&here(), ChildSpec::new("b", "probe", 10, Probe::default));
    post(&sibling, say(1)).await.unwrap();
    let tally = Tally::default();
    let (suspect, queued) = (post(&child, panics_at_first(1, &tally)), post(&child, say(2)));
    assert_eq!((suspect.await.unwrap(), queued.await.unwrap()), (2, 2));
    events.until("recovery", |event| event.change == Change::Recovered).await;
    assert!(matches!(post(&child, panics()).await, Err(AskError::Died { .. } | AskError::Stopped(_))));
    let dead = root.post_mortems("group/a");
    assert_eq!((dead[0].cause, &*dead[0].reason, dead[0].kind), (Cause::Panic, "as told", "probe"));
    assert_eq!((dead[0].in_hand.as_slice(), dead[0].waiting), (&["Act"][..], 1));
    assert_eq!((dead[0].restarts, dead[0].sequel), (0, Sequel::Recovery));
    assert_eq!(root.post_mortems("group/b")[0].cause, Cause::Cut);
    assert_eq!(root.post_mortems("").len(), root.post_mortems("group").len());
    let json = serde_json::to_value(&*dead[0]).unwrap();
    assert_eq!((&json["cause"], &json["sequel"]), (&"panic".into(), &"recovery".into()));
}
