//! Mailboxes, what a panic may not reach, requests, and what is shown.

use std::time::Duration;

use actix::{Actor, Arbiter, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use actors::supervision::{
    AskError, Change, ChildRef, ChildSpec, Intensity, NodeState, Observer, Pool, SupervisionEvent, Supervisor,
};
use serde_json::json;

use crate::support::*;

#[test]
fn handles_go_anywhere() {
    fn is_shared<T: Clone + Send + Sync + 'static>() {}
    is_shared::<ChildRef<Probe>>();
    is_shared::<Supervisor>();
    is_shared::<Pool<Probe>>();
}

#[actix::test]
async fn a_full_mailbox_refuses_at_once_or_lets_wait() {
    let (root, _events) = tree();
    let child = root.start(&here(), ChildSpec::new("a", "probe", 3, Probe::default));
    let gate = Gate::closed();
    let accepted = [waits_for(&gate), waits_for(&gate), waits_for(&gate)].map(|ask| post(&child, ask));
    let error = child.try_ask(say(4)).await.unwrap_err();
    assert!(matches!(error, AskError::Full(_)) && !error.may_have_had_effect());
    assert!(matches!(child.try_tell(say(4)), Err(AskError::Full(_))));
    let waiting = post(&child, error.into_message());
    assert_eq!((child.depth(), child.snapshot().mailbox.capacity), (3, 3));
    gate.open();
    for ask in accepted {
        assert_eq!(ask.await.unwrap(), 0);
    }
    assert_eq!(waiting.await.unwrap(), 4);
    assert_eq!(child.try_ask(say(5)).await.unwrap(), 5, "an answer makes room before it is given");
}

#[actix::test]
async fn in_flight_bounds_what_the_actor_has_in_hand() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a").in_flight(3));
    let (gate, begun) = (Gate::closed(), Tally::default());
    let asks: Vec<_> = (0..9)
        .map(|_| {
            let (gate, begun) = (gate.clone(), begun.clone());
            post(
                &child,
                inside(move || {
                    let (gate, count) = (gate.clone(), begun.count());
                    async move {
                        gate.pass().await;
                        count
                    }
                }),
            )
        })
        .collect();
    // A neighbour on the same arbiter that answers after them: whatever they could begin, they have.
    assert_eq!(post(&root.start(&here(), probe("b")), say(1)).await.unwrap(), 1);
    assert_eq!(begun.get(), 3);
    gate.open();
    for (number, ask) in (1..).zip(asks) {
        assert_eq!(ask.await.unwrap(), number);
    }
}

#[actix::test]
async fn a_caller_that_leaves_has_sent_its_message_once_it_was_accepted() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a"));
    let tally = Tally::default();
    let gate = Gate::closed();
    let first = post(&child, waits_for(&gate));
    drop(post(&child, {
        let tally = tally.clone();
        act(move |_, _| tally.count())
    }));
    gate.open();
    first.await.unwrap();
    post(&child, say(1)).await.unwrap();
    assert_eq!(tally.get(), 1);
}

#[actix::test]
async fn a_child_on_another_arbiter_is_asked_and_told_alike() {
    let (root, mut events) = tree();
    let arbiter = Arbiter::new();
    let child = root.start(&arbiter.handle(), probe("a"));
    let tally = Tally::default();
    for _ in 0..200 {
        let tally = tally.clone();
        soon("room", child.tell(act(move |_, _| tally.count()))).await.unwrap();
    }
    assert_eq!(soon("answer", child.ask(say(1))).await.unwrap(), 1);
    assert_eq!(tally.get(), 200);
    soon("room", child.tell(panics())).await.unwrap();
    events
        .until("the refusal of a told message", |event| matches!(event.change, Change::Refused { .. }))
        .await;
    soon("stop", root.stop()).await;
    arbiter.stop();
}

/// Panics where it is told to.
struct Fragile {
    in_started: bool,
    in_interval: bool,
    in_stopped: bool,
    in_drop: bool,
}

impl Fragile {
    const SOUND: Self = Self { in_started: false, in_interval: false, in_stopped: false, in_drop: false };
}

impl Actor for Fragile {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        assert!(!self.in_started, "in started");
        if self.in_interval {
            ctx.run_interval(Duration::from_millis(1), |_, _| panic!("in an interval"));
        }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        assert!(!self.in_stopped, "in stopped");
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.in_drop, "in drop");
    }
}

#[derive(Clone, Message)]
#[rtype(u32)]
struct Ping {
    panics: bool,
}

impl Handler<Ping> for Fragile {
    type Result = u32;

    fn handle(&mut self, Ping { panics }: Ping, _: &mut Context<Self>) -> u32 {
        assert!(!panics, "in a handler");
        1
    }
}

/// A child whose first life is `first` and whose others are sound, beside a sibling on the same arbiter.
async fn assert_contained(first: Fragile, culprit: Option<Ping>, reason: &str) {
    let (root, mut events) = tree();
    let sibling = root.start(&here(), probe("sibling"));
    let mut first = Some(first);
    let spec = ChildSpec::new("fragile", "fragile", 8, move || first.take().unwrap_or(Fragile::SOUND));
    let child = root.start(&here(), spec.backoff(QUICK).intensity(MANY));
    if let Some(culprit) = culprit {
        assert!(soon("refusal", child.ask(culprit)).await.is_err());
    }
    let restarted = events.until("restart", |event| matches!(event.change, Change::Restarted { .. })).await;
    assert!(
        matches!(&restarted.change, Change::Restarted { reason: told, .. } if &**told == reason),
        "{restarted:?}"
    );
    assert_eq!(soon("answer", child.ask(Ping { panics: false })).await.unwrap(), 1);
    assert_eq!(post(&sibling, act(|probe, _| probe.handled_in_this_life)).await.unwrap(), 1);
    assert_eq!(sibling.snapshot().restarts, 0);
    soon("stop", root.stop()).await;
}

#[actix::test]
async fn a_panic_in_started_is_contained() {
    assert_contained(Fragile { in_started: true, ..Fragile::SOUND }, None, "in started").await;
}

#[actix::test]
async fn a_panic_in_an_interval_is_contained() {
    assert_contained(Fragile { in_interval: true, ..Fragile::SOUND }, None, "in an interval").await;
}

#[actix::test]
async fn a_second_panic_in_stopped_or_drop_does_not_abort_the_process() {
    let culprit = Some(Ping { panics: true });
    let (stopped, dropped) =
        (Fragile { in_stopped: true, ..Fragile::SOUND }, Fragile { in_drop: true, ..Fragile::SOUND });
    let both = Fragile { in_stopped: true, in_drop: true, ..Fragile::SOUND };
    assert_contained(both, culprit.clone(), "in a handler").await;
    assert_contained(stopped, culprit.clone(), "in a handler").await;
    assert_contained(dropped, culprit, "in a handler").await;
}

#[actix::test]
async fn a_panic_in_the_factory_is_a_death_like_any_other() {
    let (root, _events) = tree();
    let calls = Tally::default();
    let of_factory = calls.clone();
    let spec = ChildSpec::new("a", "probe", 8, move || {
        assert!(of_factory.count() > 2, "in the factory");
        Probe::default()
    });
    let child = root.start(&here(), spec.backoff(QUICK).intensity(MANY));
    assert_eq!(post(&child, say(1)).await.unwrap(), 1);
    assert_eq!((calls.get(), child.snapshot().restarts), (3, 2));
}

#[derive(Message)]
#[rtype(u32)]
struct Unclonable(Tally);

impl Clone for Unclonable {
    fn clone(&self) -> Self {
        self.0.count();
        panic!("in clone")
    }
}

impl Handler<Unclonable> for Probe {
    type Result = u32;

    fn handle(&mut self, _: Unclonable, _: &mut Context<Self>) -> u32 {
        0
    }
}

#[actix::test]
async fn a_panic_in_a_messages_clone_is_a_death_like_any_other() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a"));
    let clones = Tally::default();
    assert!(post(&child, Unclonable(clones.clone())).await.is_err());
    assert_eq!(clones.get(), 2);
    assert_eq!(post(&child, say(1)).await.unwrap(), 1);
}

#[actix::test]
async fn a_panic_in_an_observer_is_contained() {
    struct Hothead;
    impl Observer for Hothead {
        fn on(&self, _: &SupervisionEvent) {
            panic!("in an observer");
        }
    }
    let root = Supervisor::root(&here(), one_for_one(0), Hothead);
    let child = root.start(&here(), probe("a"));
    assert!(post(&child, panics()).await.is_err());
    assert_eq!(post(&child, say(1)).await.unwrap(), 1);
}

#[actix::test]
async fn an_actor_that_fills_its_own_mailbox_still_gets_its_messages() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a").in_flight(3));
    let (gate, own) = (Gate::closed(), Tally::default());
    let filled = post(&child, {
        let (gate, own) = (gate.clone(), own.clone());
        act(move |probe, ctx| {
            let (gate, own) = (gate.clone(), own.clone());
            ctx.wait(async move { gate.pass().await }.into_actor(probe));
            let to_self = act(move |_, _| own.count());
            (0..100).filter(|_| ctx.address().try_send(to_self.clone()).is_ok()).count() as u32
        })
    });
    let filled = filled.await.unwrap();
    let asks = [1, 2, 3].map(|number| post(&child, say(number)));
    // A neighbour on the same arbiter that answers after they were handed over.
    assert_eq!(post(&root.start(&here(), probe("b")), say(1)).await.unwrap(), 1);
    gate.open();
    for (number, ask) in (1..).zip(asks) {
        assert_eq!(ask.await.unwrap(), number);
    }
    assert!(filled > 16, "its mailbox was full");
    assert_eq!((own.get(), child.snapshot().restarts), (filled, 0));
}

#[actix::test]
async fn a_restart_on_request_lets_finish_what_is_in_hand_and_counts_not_against_the_limit() {
    let (root, mut events) = tree();
    let limit = Intensity { max_restarts: 0, window: Duration::from_secs(1) };
    let child = root.start(&here(), probe("a").intensity(limit).in_flight(2));
    let (gate, tally) = (Gate::closed(), Tally::default());
    let in_hand = post(&child, {
        let (gate, tally) = (gate.clone(), tally.clone());
        inside(move || {
            let (gate, tally) = (gate.clone(), tally.clone());
            async move {
                gate.pass().await;
                tally.count()
            }
        })
    });
    assert_eq!(post(&child, act(|probe, _| probe.handled_in_this_life)).await.unwrap(), 1);
    root.restart("a").unwrap();
    let queued = post(&child, act(|probe, _| probe.handled_in_this_life));
    gate.open();
    assert_eq!(in_hand.await.unwrap(), 1);
    assert_eq!(queued.await.unwrap(), 1, "by the next life");
    events.started(1).await;
    let node = child.snapshot();
    assert_eq!((node.state, node.restarts, node.last_failure), (NodeState::Running, 1, None));
}

#[actix::test]
async fn the_snapshot_has_the_shape_of_the_contract() {
    let (root, mut events) = tree();
    let devices = root.group("devices", one_for_one(0));
    let child = devices.start(&here(), ChildSpec::new("oura", "device_handler", 64, Probe::default));
    devices.start(&here(), ChildSpec::new("whoop", "device_handler", 32, Probe::default));
    events.started(0).await;
    events.started(0).await;
    assert_eq!(post(&child, say(1)).await.unwrap(), 1);
    let leaf = |path: &str, capacity: usize, handled: u32| {
        json!({"path": path, "kind": "device_handler", "state": "running", "restarts": 0, "last_failure": null,
            "mailbox": {"depth": 0, "capacity": capacity}, "handled": handled, "oldest_ms": 0, "breaker": null,
            "children": []})
    };
    let group = |path: &str, children: serde_json::Value| {
        json!({"path": path, "kind": "supervisor", "state": "running", "restarts": 0, "last_failure": null,
            "mailbox": {"depth": 0, "capacity": 96}, "handled": 1, "oldest_ms": 0, "breaker": null,
            "children": children})
    };
    let devices_node = group("devices", json!([leaf("devices/oura", 64, 1), leaf("devices/whoop", 32, 0)]));
    assert_eq!(serde_json::to_value(root.snapshot()).unwrap(), group("root", json!([devices_node])));
    assert_eq!(serde_json::to_value(root.find("devices/oura")).unwrap(), leaf("devices/oura", 64, 1));
    assert!(root.find("devices/").is_none() && root.find("nobody").is_none() && root.find("").is_none());
}

#[actix::test]
async fn the_snapshot_shows_a_failure_and_the_age_of_the_oldest_message() {
    let (root, _events) = tree();
    let child = root.start(&here(), probe("a"));
    let name = "somebody".to_owned();
    let _ = post(&child, act(move |_, _| panic!("{name}"))).await;
    assert_eq!(&*child.snapshot().last_failure.unwrap().reason, "a panic whose text may hold data");
    let long: &'static str = "é".repeat(300).leak();
    let _ = post(&child, act(move |_, _| std::panic::panic_any(long))).await;
    let failure = child.snapshot().last_failure.unwrap();
    assert_eq!(&*failure.reason, "é".repeat(200));
    let gate = Gate::closed();
    let (in_hand, queued) = (post(&child, waits_for(&gate)), post(&child, say(1)));
    soon("ageing", async {
        while root.snapshot().oldest_ms == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(root.snapshot().mailbox.depth, 2);
    gate.open();
    in_hand.await.unwrap();
    queued.await.unwrap();
    assert_eq!((child.snapshot().oldest_ms, child.snapshot().mailbox.depth), (0, 0));
}
