//! A small shop under supervision: watch a panic, a hang, a poison message, a group that goes down together, and a
//! circuit breaker. Nothing that was accepted gets lost.
//!
//! `cargo run -p actors --example supervision`

#![allow(clippy::print_stdout, reason = "it is there to be looked at")]
#![allow(clippy::expect_used, reason = "an example that goes wrong should say where")]

use std::time::{Duration, Instant};

use actix::{Actor, Arbiter, Context, Handler, Message, ResponseActFuture, System, WrapFuture as _};
use actors::supervision::{
    Backoff, Breaker, BreakerSpec, Change, ChildRef, ChildSpec, Fault, GroupSpec, NodeSnapshot, Observer,
    StateCell, Strategy, SupervisionEvent, Supervisor,
};

const QUICK: Backoff =
    Backoff { initial: Duration::from_millis(50), max: Duration::from_millis(200), jitter: 0.2 };

/// Adds up what it is told. The sum is in a cell that outlives it.
struct Till {
    sum: StateCell<u64>,
}

impl Actor for Till {
    type Context = Context<Self>;
}

/// Add this; some amounts are trouble.
#[derive(Clone, Message)]
#[rtype(u64)]
struct Add(u64);

const POISON: u64 = 13;

impl Handler<Add> for Till {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, Add(amount): Add, _: &mut Context<Self>) -> Self::Result {
        assert!(amount != POISON, "this amount kills every till");
        let sum = *self.sum.get() + amount;
        self.sum.replace(sum);
        Box::pin(async move { sum }.into_actor(self))
    }
}

/// Prints what happens to the actors.
struct Screen(Instant);

impl Observer for Screen {
    fn on(&self, event: &SupervisionEvent) {
        let (at, path) = (self.0.elapsed().as_millis(), &event.path);
        match &event.change {
            Change::Started { restarts } => println!("{at:>5} ms  {path:<12} started, life {}", restarts + 1),
            Change::Died(dead) => println!(
                "{at:>5} ms  {path:<12} died after {} ms: {:?}, \"{}\", {} in hand, {} waiting; then: {:?}",
                dead.lived_ms,
                dead.cause,
                dead.reason,
                dead.in_hand.len(),
                dead.waiting,
                dead.sequel
            ),
            Change::Restarted { delay, .. } => println!("{at:>5} ms  {path:<12} lives again in {delay:.0?}"),
            Change::Recovering { members, delay, .. } => {
                println!("{at:>5} ms  {path:<12} restarts {members} members together, in {delay:.0?}");
            }
            change => println!("{at:>5} ms  {path:<12} {change:?}"),
        }
    }
}

fn till(name: &str) -> ChildSpec<Till> {
    let sum = StateCell::new(0_u64);
    ChildSpec::new(name, "till", 100, move || Till { sum: sum.clone() })
        .backoff(QUICK)
        .hung_after(Duration::from_millis(300))
}

async fn add(till: &ChildRef<Till>, amounts: impl IntoIterator<Item = u64>) {
    for amount in amounts {
        match till.ask(Add(amount)).await {
            Ok(sum) => println!("          {:<12} + {amount} = {sum}", till.path()),
            Err(error) => println!("          {:<12} + {amount} was refused: {error}", till.path()),
        }
    }
}

fn print_tree(node: &NodeSnapshot, depth: usize) {
    let NodeSnapshot { path, state, restarts, handled, .. } = node;
    println!(
        "          {:indent$}{path}: {state:?}, {restarts} restarts, {handled} handled",
        "",
        indent = 2 * depth
    );
    node.children.iter().for_each(|child| print_tree(child, depth + 1));
}

async fn show() {
    let supervisors = Arbiter::new();
    let spec = GroupSpec::new(Strategy::OneForOne);
    let root = Supervisor::root(&supervisors.handle(), spec, Screen(Instant::now()));
    // The two tills of the shop belong together: when one is replaced, so is the other.
    let shop = root.group("shop", GroupSpec::new(Strategy::OneForAll).backoff(QUICK));
    let left = shop.start(&Arbiter::current(), till("left"));
    let right = shop.start(&Arbiter::current(), till("right"));

    println!(
        "\n-- A panic: the message in hand is tried once more, the sum is kept, the neighbour comes along."
    );
    add(&left, [1, 2]).await;
    left.inject(Fault::Panic).expect("it lives");
    add(&left, [3]).await;
    add(&right, [10]).await;

    println!("\n-- A hang: no progress for 300 ms, so the life is aborted.");
    right.inject(Fault::Hang).expect("it lives");
    add(&right, [20]).await;

    println!(
        "\n-- A message that kills twice is refused alone, and its sender knows that it may have had effect."
    );
    add(&left, [POISON, 4]).await;

    println!("\n-- A circuit breaker: two failures open it, a probe closes it.");
    let spec =
        BreakerSpec { failures_max: 2, open_for: Duration::from_millis(100), ..BreakerSpec::default() };
    let breaker = Breaker::new("bank", spec);
    for succeeds in [false, false, true] {
        match breaker.permit() {
            Ok(permit) if succeeds => permit.succeeded(),
            Ok(permit) => permit.failed(),
            Err(open) => println!("          {open}"),
        }
    }
    tokio::time::sleep(spec.open_for).await;
    breaker.permit().expect("a probe").succeeded();
    println!("          {:?}", breaker.snapshot().state);

    println!("\n-- The tree, and its end.");
    print_tree(&root.snapshot(), 0);
    root.stop().await;
    supervisors.stop();
}

/// Shows it.
pub(crate) fn main() {
    // What a panic says is told by the post-mortem.
    std::panic::set_hook(Box::new(|_| {}));
    System::new().block_on(show());
}
