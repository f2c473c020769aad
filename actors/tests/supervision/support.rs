//! An actor that does what its messages say, an observer that can be awaited, and gates.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::{Actor, Arbiter, Context, Handler, Message, ResponseActFuture, ResponseFuture, WrapFuture as _};
use actix_rt::ArbiterHandle;
use actors::supervision::{
    AskError, Backoff, Change, ChildRef, ChildSpec, GroupSpec, Intensity, Observer, Strategy,
    SupervisionEvent, Supervisor,
};
use futures_util::future::LocalBoxFuture;
use tokio::sync::{Semaphore, mpsc};

/// Turns a hang into a failure.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

/// Closed until opened, and open ever after.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub fn open(&self) {
        self.0.close();
    }

    pub async fn pass(&self) {
        let _ = self.0.acquire().await;
    }
}

/// Counts calls.
#[derive(Clone, Default)]
pub struct Tally(Arc<AtomicU32>);

impl Tally {
    /// How many calls there were, this one included.
    pub fn count(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// An actor without a will of its own.
#[derive(Default)]
pub struct Probe {
    pub handled_in_this_life: u32,
}

impl Actor for Probe {
    type Context = Context<Self>;
}

type Deed = dyn Fn(&mut Probe, &mut Context<Probe>) -> u32 + Send + Sync;
type Promise = dyn Fn() -> LocalBoxFuture<'static, u32> + Send + Sync;

/// Is done in the handler.
#[derive(Clone, Message)]
#[rtype(u32)]
pub struct Act(Arc<Deed>);

impl Handler<Act> for Probe {
    type Result = u32;

    fn handle(&mut self, Act(deed): Act, ctx: &mut Context<Self>) -> u32 {
        self.handled_in_this_life += 1;
        deed(self, ctx)
    }
}

/// Is done by a future in the actor's context, which dies with it.
#[derive(Clone, Message)]
#[rtype(u32)]
pub struct ActInside(Arc<Promise>);

impl Handler<ActInside> for Probe {
    type Result = ResponseActFuture<Self, u32>;

    fn handle(&mut self, ActInside(promise): ActInside, _: &mut Context<Self>) -> Self::Result {
        Box::pin(promise().into_actor(self))
    }
}

/// Is done by a future in a task of its own, which outlives the actor.
#[derive(Clone, Message)]
#[rtype(u32)]
pub struct ActOutside(Arc<Promise>);

impl Handler<ActOutside> for Probe {
    type Result = ResponseFuture<u32>;

    fn handle(&mut self, ActOutside(promise): ActOutside, _: &mut Context<Self>) -> Self::Result {
        promise()
    }
}

pub fn act(deed: impl Fn(&mut Probe, &mut Context<Probe>) -> u32 + Send + Sync + 'static) -> Act {
    Act(Arc::new(deed))
}

pub fn say(number: u32) -> Act {
    act(move |_, _| number)
}

pub fn panics() -> Act {
    act(|_, _| panic!("as told"))
}

/// Panics the first `times` that it is handled, then answers how often it was.
pub fn panics_at_first(times: u32, tally: &Tally) -> Act {
    let tally = tally.clone();
    act(move |_, _| {
        let count = tally.count();
        assert!(count > times, "as told");
        count
    })
}

fn promise<F>(future: impl Fn() -> F + Send + Sync + 'static) -> Arc<Promise>
where
    F: Future<Output = u32> + 'static,
{
    Arc::new(move || Box::pin(future()))
}

pub fn inside<F: Future<Output = u32> + 'static>(
    future: impl Fn() -> F + Send + Sync + 'static,
) -> ActInside {
    ActInside(promise(future))
}

pub fn outside<F: Future<Output = u32> + 'static>(
    future: impl Fn() -> F + Send + Sync + 'static,
) -> ActOutside {
    ActOutside(promise(future))
}

/// Answers 0 when `gate` is open.
pub fn waits_for(gate: &Gate) -> ActOutside {
    let gate = gate.clone();
    outside(move || {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            0
        }
    })
}

/// Sends `message` at once, in the order of the calls; the answer comes from what is returned.
pub fn post<M>(
    child: &ChildRef<Probe>,
    message: M,
) -> impl Future<Output = Result<M::Result, AskError<M>>> + use<M>
where
    Probe: Handler<M>,
    M: Message + Clone + Send + 'static,
    M::Result: Send,
{
    let mut asked = Box::pin({
        let child = child.clone();
        async move { child.ask(message).await }
    });
    let first = futures_util::FutureExt::now_or_never(&mut asked);
    async move {
        match first {
            Some(verdict) => verdict,
            None => soon("an answer", asked).await,
        }
    }
}

/// Hears all events and lets a test await them.
pub struct Events(mpsc::UnboundedReceiver<SupervisionEvent>);

struct Listener(mpsc::UnboundedSender<SupervisionEvent>);

impl Observer for Listener {
    fn on(&self, event: &SupervisionEvent) {
        let _ = self.0.send(event.clone());
    }
}

impl Events {
    /// The next event that `is_wanted`; those before it are dropped.
    pub async fn until(
        &mut self,
        what: &str,
        is_wanted: impl Fn(&SupervisionEvent) -> bool,
    ) -> SupervisionEvent {
        soon(what, async {
            loop {
                let event = self.0.recv().await.expect("the tree lives");
                if is_wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }

    pub async fn started(&mut self, wanted: u64) {
        self.until("start", |event| event.change == Change::Started { restarts: wanted }).await;
    }

    /// All events so far that were not awaited.
    pub fn rest(&mut self) -> Vec<SupervisionEvent> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// A tree that restarts nothing by itself: what its members cannot bear is escalated.
pub fn tree() -> (Supervisor, Events) {
    tree_of(one_for_one(0))
}

/// A tree whose root is as told.
pub fn tree_of(root: GroupSpec) -> (Supervisor, Events) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Supervisor::root(&here(), root, Listener(sender)), Events(receiver))
}

/// A group that bears `max_restarts` in an hour and restarts quickly.
pub fn group(strategy: Strategy, max_restarts: usize) -> GroupSpec {
    let intensity = Intensity { max_restarts, window: Duration::from_secs(3_600) };
    GroupSpec::new(strategy).backoff(QUICK).intensity(intensity)
}

pub fn one_for_one(max_restarts: usize) -> GroupSpec {
    group(Strategy::OneForOne, max_restarts)
}

pub fn here() -> ArbiterHandle {
    Arbiter::current()
}

pub const QUICK: Backoff =
    Backoff { initial: Duration::from_millis(1), max: Duration::from_millis(1), jitter: 0.0 };

pub const MANY: Intensity = Intensity { max_restarts: 10_000, window: Duration::from_secs(3_600) };

/// A probe with room for 100 messages, restarted quickly and as often as it takes.
pub fn probe(name: &str) -> ChildSpec<Probe> {
    ChildSpec::new(name, "probe", 100, Probe::default).backoff(QUICK).intensity(MANY)
}
