//! What is to befall the calls of a port: scripted by a test, one call at a time or all of them.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use parking_lot::Mutex;
use tokio::sync::watch;

/// How one call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate<E> {
    /// As it should.
    Pass,
    /// With this error, and without effect.
    FailBefore(E),
    /// With its effect, and with this error all the same: the caller cannot know.
    FailAfter(E),
}

/// Where a call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before its effect.
    Before,
    /// After its effect, before the caller hears of it.
    After,
}

/// The script of one handle to a port, whose operations are `C` and whose errors are `E`.
///
/// Every operation has a queue of its own; each call takes the next entry, and passes when there is none.
#[derive(Debug)]
pub struct Faults<C, E> {
    script: Mutex<Script<C, E>>,
    down: watch::Sender<Option<E>>,
}

#[derive(Debug)]
struct Script<C, E> {
    steps: HashMap<C, VecDeque<Step<E>>>,
    failed: usize,
}

#[derive(Debug)]
enum Step<E> {
    Fate(Fate<E>),
    Hold(Moment, Hold),
}

/// The call's end of a [`Held`].
#[derive(Debug)]
struct Hold {
    reached: watch::Sender<bool>,
    released: watch::Receiver<bool>,
}

/// A call that is to wait, in the hands of the test. Dropped, it lets the call go on.
#[derive(Debug)]
pub struct Held {
    reached: watch::Receiver<bool>,
    released: watch::Sender<bool>,
}

impl Held {
    /// Returns once the call has come to where it is held.
    pub async fn reached(&mut self) {
        // Refused only when the port is gone, and then there is nothing to wait for.
        let _ = self.reached.wait_for(|reached| *reached).await;
    }

    /// Lets the call go on.
    pub fn release(self) {
        self.released.send_replace(true);
    }
}

/// What is left of a call's fate once its effect has taken place.
#[derive(Debug)]
pub(super) struct Rest<E>(Option<Step<E>>);

impl<C: Copy + Eq + Hash, E: Clone> Faults<C, E> {
    /// Adds these fates, in order, to what is to befall the next calls of `call`.
    pub fn script(&self, call: C, fates: impl IntoIterator<Item = Fate<E>>) {
        self.script.lock().steps.entry(call).or_default().extend(fates.into_iter().map(Step::Fate));
    }

    /// The next `calls` calls of `call` fail without effect.
    pub fn fail(&self, call: C, calls: usize, error: E) {
        self.script(call, vec![Fate::FailBefore(error); calls]);
    }

    /// The next call of `call` waits at `moment` until it is released. While the port is down it fails instead.
    pub fn hold(&self, call: C, moment: Moment) -> Held {
        let (reached, is_reached) = watch::channel(false);
        let (released, is_released) = watch::channel(false);
        let hold = Step::Hold(moment, Hold { reached, released: is_released });
        self.script.lock().steps.entry(call).or_default().push_back(hold);
        Held { reached: is_reached, released }
    }

    /// From now on every call fails without effect, also one that waits.
    pub fn go_down(&self, error: E) {
        self.down.send_replace(Some(error));
    }

    /// Ends what [`Faults::go_down`] began. What was scripted still stands.
    pub fn come_up(&self) {
        self.down.send_replace(None);
    }

    /// Forgets what is still scripted, and comes up.
    pub fn heal(&self) {
        self.script.lock().steps.clear();
        self.come_up();
    }

    /// How many calls have failed so far: a test whose faults never struck has shown nothing.
    pub fn failed_calls(&self) -> usize {
        self.script.lock().failed
    }

    /// To be awaited before the effect of a call.
    pub(super) async fn before(&self, call: C) -> Result<Rest<E>, E> {
        if let Some(error) = self.down.borrow().clone() {
            return Err(self.failure(error));
        }
        let step = self.script.lock().steps.get_mut(&call).and_then(VecDeque::pop_front);
        match step {
            Some(Step::Fate(Fate::FailBefore(error))) => Err(self.failure(error)),
            Some(Step::Hold(Moment::Before, hold)) => self.wait(hold).await.map(|()| Rest(None)),
            Some(step) => Ok(Rest(Some(step))),
            None => Ok(Rest(None)),
        }
    }

    /// To be awaited after the effect of a call.
    pub(super) async fn after(&self, rest: Rest<E>) -> Result<(), E> {
        match rest.0 {
            Some(Step::Fate(Fate::FailAfter(error))) => Err(self.failure(error)),
            Some(Step::Hold(_, hold)) => self.wait(hold).await,
            Some(Step::Fate(_)) | None => Ok(()),
        }
    }

    /// Waits for `wanted`, and fails when the port goes down before.
    pub(super) async fn unless_down<T>(&self, wanted: impl Future<Output = T>) -> Result<T, E> {
        let mut down = self.down.subscribe();
        let error = tokio::select! {
            biased;
            down = down.wait_for(Option::is_some) => down.ok().and_then(|error| error.clone()),
            wanted = wanted => return Ok(wanted),
        };
        match error {
            Some(error) => Err(self.failure(error)),
            None => unreachable!("this handle keeps the channel open, and only an error ends the wait"),
        }
    }

    async fn wait(&self, mut hold: Hold) -> Result<(), E> {
        hold.reached.send_replace(true);
        // An error: the test dropped its end.
        self.unless_down(hold.released.wait_for(|released| *released)).await.map(|_| ())
    }

    fn failure(&self, error: E) -> E {
        self.script.lock().failed += 1;
        error
    }
}

impl<C, E> Default for Faults<C, E> {
    fn default() -> Self {
        let script = Script { steps: HashMap::new(), failed: 0 };
        Self { script: Mutex::new(script), down: watch::Sender::new(None) }
    }
}
