//! Health by progress: who hangs, and who only waits for somebody else.
//!
//! A clock of the child runs while it is not [`waiting`]. A message that is in hand for too long by this clock hangs.
//! Whoever asks another child waits, so of a chain of actors only the one at its end can be found hung: the culprit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep};

/// The clock of a child: it stands still while the child waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct ActiveClock {
    started: Instant,
    waited: Duration,
    /// So many waits are under way, since `waiting_since`.
    waits: u32,
    /// So many loops have nothing to do.
    idles: u32,
    waiting_since: Instant,
    /// The latest progress by this clock: whatever was before it is forgiven.
    progress: Duration,
    /// The end of the latest wait or progress by this clock: a sign of life of a loop.
    moved: Duration,
}

impl ActiveClock {
    pub(super) fn new(now: Instant) -> Self {
        let zero = Duration::ZERO;
        Self {
            started: now,
            waited: zero,
            waits: 0,
            idles: 0,
            waiting_since: now,
            progress: zero,
            moved: zero,
        }
    }

    pub(super) fn read(&self, now: Instant) -> Duration {
        let now = if self.waits > 0 { self.waiting_since } else { now };
        now.saturating_duration_since(self.started).saturating_sub(self.waited)
    }

    fn begin_wait(&mut self, now: Instant) {
        if self.waits == 0 {
            self.waiting_since = now;
        }
        self.waits += 1;
    }

    fn end_wait(&mut self, now: Instant) {
        if self.waits == 1 {
            self.waited += now.saturating_duration_since(self.waiting_since);
        }
        self.waits = self.waits.saturating_sub(1);
        self.moved = self.read(now);
    }

    fn begin_idle(&mut self) {
        self.idles += 1;
    }

    fn end_idle(&mut self, now: Instant) {
        self.idles = self.idles.saturating_sub(1);
        self.moved = self.read(now);
    }

    /// What is waited for, nobody waits for any more.
    pub(super) fn freeze(&mut self, now: Instant) {
        while self.waits > 0 {
            self.end_wait(now);
        }
        self.idles = 0;
    }

    /// The latest sign of life of a loop that has something to do.
    pub(super) fn loop_moved(&self) -> Option<Duration> {
        (self.idles == 0).then(|| self.moved.max(self.progress))
    }

    /// Takes `time` off the clock, unless it stands still.
    fn forgive(&mut self, time: Duration) {
        if self.waits == 0 {
            self.waited += time;
        }
    }

    pub(super) fn progress(&mut self, now: Instant) {
        self.progress = self.read(now);
    }

    /// How long there has been no progress with what was taken in hand at `since` by this clock.
    pub(super) fn stalled_for(&self, since: Duration, now: Instant) -> Duration {
        self.read(now).saturating_sub(since.max(self.progress))
    }
}

/// A child, as what its actor calls while it is polled finds it.
pub(super) trait Occupant: Send + Sync {
    fn with_clock(&self, change: &mut dyn FnMut(&mut ActiveClock));
    /// It has not let go of its thread for `blocked`.
    fn blocks_its_thread(&self, blocked: Duration);
}

/// A thread or a child is looked at so many times within its limit.
pub(super) const LOOKS: u32 = 4;

/// Who is being polled on a thread, since when, and how often that was seen.
#[derive(Default)]
pub(super) struct Seat(Mutex<Option<Seated>>);

struct Seated {
    since: std::time::Instant,
    looks: u32,
    occupant: Arc<dyn Occupant>,
}

thread_local! {
    static SEAT: Arc<Seat> = Arc::default();
}

impl Seat {
    /// The seat of the thread that calls.
    pub(super) fn of_this_thread() -> Arc<Self> {
        SEAT.with(Arc::clone)
    }

    /// Who has been polled without an end for `LOOKS` whole looks, and for how long; once.
    ///
    /// Looks are counted, not time: while the process sleeps nobody looks.
    pub(super) fn look(&self) -> Option<(Duration, Arc<dyn Occupant>)> {
        let mut seat = self.0.lock();
        let seated = seat.as_mut()?;
        seated.looks += 1;
        (seated.looks == LOOKS + 1).then(|| (seated.since.elapsed(), Arc::clone(&seated.occupant)))
    }
}

/// Runs `poll` with `occupant` on this thread's seat.
pub(super) fn seated<T>(occupant: &Arc<impl Occupant + 'static>, poll: impl FnOnce() -> T) -> T {
    /// Also when `poll` panics.
    struct Leave<'a>(&'a Seat);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            let left = self.0.0.lock().take();
            // Outside the lock: it may be the last one.
            drop(left);
        }
    }
    SEAT.with(|seat| {
        let occupant = Arc::clone(occupant) as Arc<dyn Occupant>;
        *seat.0.lock() = Some(Seated { since: std::time::Instant::now(), looks: 0, occupant });
        let _leave = Leave(seat);
        poll()
    })
}

/// The child that is being polled on this thread.
fn current() -> Option<Arc<dyn Occupant>> {
    SEAT.with(|seat| seat.0.lock().as_ref().map(|seated| Arc::clone(&seated.occupant)))
}

/// Says that the child that is being polled makes progress: what it has in hand has its time anew.
///
/// For handlers and loops that work for long without waiting. Without effect outside of a child's context, and so in
/// a `ResponseFuture`, which is a task of its own.
pub fn progress() {
    if let Some(child) = current() {
        child.with_clock(&mut |clock| clock.progress(Instant::now()));
    }
}

/// Awaits something that has a time limit of its own, or that may take as long as it likes: a database, a timer, a
/// queue. Until then the child that awaits it does not count as hung; asking another child does this by itself.
///
/// Of messages in hand together, the wait of one covers the others.
pub async fn waiting<F: Future>(future: F) -> F::Output {
    let _pause =
        Pause::begin(|clock| clock.begin_wait(Instant::now()), |clock| clock.end_wait(Instant::now()));
    future.await
}

/// Awaits the next work of a self-driven actor's loop: until then the loop does not count as hung, but messages in hand
/// go on to.
pub async fn idle<F: Future>(future: F) -> F::Output {
    let _pause = Pause::begin(ActiveClock::begin_idle, |clock| clock.end_idle(Instant::now()));
    future.await
}

/// From its beginning until it is dropped.
struct Pause {
    child: Option<Arc<dyn Occupant>>,
    end: fn(&mut ActiveClock),
}

impl Pause {
    fn begin(mut begin: fn(&mut ActiveClock), end: fn(&mut ActiveClock)) -> Self {
        let child = current();
        if let Some(child) = &child {
            child.with_clock(&mut begin);
        }
        Self { child, end }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            child.with_clock(&mut self.end);
        }
    }
}

/// What a child does about its hanging: a timer that is armed while it has work in hand.
///
/// A timer that strikes late tells that the whole process slept, or that somebody else kept the thread: that time is not
/// the child's. Hence it strikes several times within the limit.
#[derive(Default)]
pub(super) struct StallWatch(Option<Pin<Box<Sleep>>>);

impl StallWatch {
    /// Whether the work that was taken in hand at `since` (by the clock), if there is any, has made no progress for
    /// `limit`.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        limit: Duration,
        since: Option<Duration>,
        occupant: &impl Occupant,
    ) -> Poll<()> {
        loop {
            let Some(timer) = &mut self.0 else {
                if since.is_none() {
                    return Poll::Pending;
                }
                self.0 = Some(Box::pin(sleep(limit / LOOKS)));
                continue;
            };
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            let lateness = now.saturating_duration_since(timer.deadline());
            self.0 = None;
            let Some(since) = since else { return Poll::Pending };
            let mut stalled = Duration::ZERO;
            occupant.with_clock(&mut |clock| {
                clock.forgive(lateness);
                stalled = clock.stalled_for(since, now);
            });
            if stalled >= limit {
                return Poll::Ready(());
            }
            self.0 = Some(Box::pin(sleep((limit - stalled).min(limit / LOOKS))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_clock_stands_still_while_anything_is_waited_for() {
        let start = Instant::now();
        let mut clock = ActiveClock::new(start);
        clock.begin_wait(start + 2 * S);
        clock.begin_wait(start + 3 * S);
        clock.end_wait(start + 5 * S);
        assert_eq!(clock.read(start + 9 * S), 2 * S);
        clock.end_wait(start + 10 * S);
        assert_eq!(clock.read(start + 11 * S), 3 * S);
    }

    #[test]
    fn progress_gives_what_is_in_hand_its_time_anew() {
        let start = Instant::now();
        let mut clock = ActiveClock::new(start);
        assert_eq!(clock.stalled_for(S, start + 4 * S), 3 * S);
        clock.progress(start + 4 * S);
        assert_eq!(clock.stalled_for(S, start + 6 * S), 2 * S);
        assert_eq!(clock.stalled_for(5 * S, start + 6 * S), S);
    }

    struct Nobody;

    impl Occupant for Nobody {
        fn with_clock(&self, _: &mut dyn FnMut(&mut ActiveClock)) {}
        fn blocks_its_thread(&self, _: Duration) {}
    }

    #[test]
    fn a_thread_is_blocked_by_looks_and_not_by_time_and_told_once() {
        let seat = Seat::of_this_thread();
        let nobody = Arc::new(Nobody);
        let looks = seated(&nobody, || (0..2 * LOOKS).map(|_| seat.look().is_some()).collect::<Vec<_>>());
        assert_eq!(looks.iter().position(|is_blocked| *is_blocked), Some(LOOKS as usize));
        assert_eq!(looks.iter().filter(|is_blocked| **is_blocked).count(), 1);
        assert!(seat.look().is_none(), "nobody is seated");
    }
}
