//! One reader's way through the messages.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actors::ports::event_log::LogError;
use actors::ports::follow::{Begin, Followed, Follower, Lanes};
use tokio::sync::SemaphorePermit;

use super::hub::{Hub, Look, is_ours};
use super::query::{Filter, Wish};
use crate::settings::{STREAM_CATCH_UP_TURN, STREAM_PAGE, STREAM_RETRY, STREAM_START_WAIT};

/// A reader at its place.
pub(super) struct Reader<'h> {
    hub: &'h Hub,
    position: Rc<Position>,
    /// Reads the log for this reader alone, in turns with others.
    catch_up: Option<CatchUp<'h>>,
    /// Whether it has to be told that something is missing.
    has_gap: bool,
}

/// Where a reader is: also for whoever looks whether it comes along.
pub(super) struct Position {
    filter: Filter,
    place: RefCell<Place>,
}

struct Place {
    lanes: Lanes,
    /// The number of the next message in the hub's memory; `None` while that does not reach back so far.
    at: Option<u64>,
    /// Whether it has come to what was new once. Until then it may be as far behind as it has been away.
    is_live: bool,
}

struct CatchUp<'h> {
    follower: Box<dyn Follower>,
    _turn: SemaphorePermit<'h>,
    since: Instant,
}

/// What comes next for a reader.
pub(super) enum Next {
    /// Some of what it wants is no longer on the log.
    Gap,
    /// These; never none.
    Messages(Vec<Arc<Followed>>),
}

impl Position {
    /// Whether it is further behind than a reader may be.
    pub(super) fn is_behind(&self, hub: &Hub) -> bool {
        let place = self.place.borrow();
        place.is_live && hub.is_behind(place.at, &place.lanes, &self.filter)
    }
}

impl<'h> Reader<'h> {
    /// A reader at its beginning: whatever comes onto the log from now on is behind it.
    pub(super) async fn begin(hub: &'h Hub, wish: Wish) -> Result<Self, LogError> {
        let Wish { mut filter, after } = wish;
        let (at, lanes) = hub.now().await?;
        if after.is_empty() {
            let place = Place { lanes, at: Some(at), is_live: true };
            let position = Rc::new(Position { filter, place: RefCell::new(place) });
            return Ok(Self { hub, position, catch_up: None, has_gap: false });
        }
        let begin = CatchUp::begin(hub, &filter, Begin::After(after));
        let unavailable = |_| LogError::Unavailable("many readers catch up with it now".to_owned());
        let (catch_up, is_whole) =
            tokio::time::timeout(STREAM_START_WAIT, begin).await.map_err(unavailable)??;
        if !is_whole {
            filter.forget_seen();
        }
        let place = Place { lanes: catch_up.follower.lanes().clone(), at: None, is_live: false };
        let position = Rc::new(Position { filter, place: RefCell::new(place) });
        Ok(Self { hub, position, catch_up: Some(catch_up), has_gap: !is_whole })
    }

    pub(super) fn position(&self) -> Rc<Position> {
        Rc::clone(&self.position)
    }

    /// Lets others read the log, while what came last waits to be taken. It goes on from where it is.
    pub(super) fn give_turn_back(&mut self) {
        self.catch_up = None;
    }

    /// Waits for what comes next. Not to be dropped half-way: what it had read would be left out.
    pub(super) async fn next(&mut self) -> Next {
        if std::mem::take(&mut self.has_gap) {
            return Next::Gap;
        }
        let mut changes = self.hub.changes();
        loop {
            changes.mark_unchanged();
            let messages = match self.look_in_memory() {
                Some(messages) => messages,
                None => match self.read_log().await {
                    Ok(messages) => messages,
                    Err(_) => {
                        self.catch_up = None;
                        tokio::time::sleep(STREAM_RETRY).await;
                        continue;
                    }
                },
            };
            if !messages.is_empty() {
                return Next::Messages(messages);
            }
            if self.position.place.borrow().at.is_some() {
                // Never an error: the hub has the sender.
                let _ = changes.changed().await;
            }
        }
    }

    /// What the hub has; `None` if that does not reach back to this reader.
    fn look_in_memory(&mut self) -> Option<Vec<Arc<Followed>>> {
        let position = Rc::clone(&self.position);
        let place = &mut *position.place.borrow_mut();
        let at = place.at.or_else(|| self.hub.reach(&place.lanes));
        let found = at.map(|at| self.hub.look(at, &mut place.lanes, &position.filter));
        let Some(Look::Found { messages, next, is_all }) = found else {
            place.at = None;
            return None;
        };
        self.catch_up = None;
        place.at = Some(next);
        place.is_live |= is_all;
        Some(messages)
    }

    async fn read_log(&mut self) -> Result<Vec<Arc<Followed>>, LogError> {
        // Whoever reads slowly lets others have their turn.
        let is_over = |catch_up: &CatchUp<'_>| catch_up.since.elapsed() > STREAM_CATCH_UP_TURN;
        if self.catch_up.as_ref().is_some_and(is_over) {
            self.catch_up = None;
        }
        let catch_up = match &mut self.catch_up {
            Some(catch_up) => catch_up,
            none => {
                let lanes = self.position.place.borrow().lanes.clone();
                let (catch_up, _) = CatchUp::begin(self.hub, &self.position.filter, Begin::At(lanes)).await?;
                none.insert(catch_up)
            }
        };
        let records = catch_up.follower.next(STREAM_PAGE).await?;
        self.position.place.borrow_mut().lanes = catch_up.follower.lanes().clone();
        let is_its =
            |followed: &Followed| is_ours(&followed.record) && self.position.filter.takes(&followed.record);
        Ok(records.into_iter().filter(is_its).map(Arc::new).collect())
    }
}

impl<'h> CatchUp<'h> {
    async fn begin(hub: &'h Hub, filter: &Filter, begin: Begin) -> Result<(Self, bool), LogError> {
        let turn = hub.catch_ups.acquire().await;
        let turn = turn.map_err(|_| LogError::Unavailable("it is closed".to_owned()))?;
        let begun = hub.log().follow(&filter.scope, begin).await?;
        let catch_up = Self { follower: begun.follower, _turn: turn, since: Instant::now() };
        Ok((catch_up, begun.is_whole))
    }
}
