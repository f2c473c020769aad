//! One reader's connection: what it is sent, and when it ends.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_web::{HttpRequest, web};
use actors::domain::ids::RequestId;
use actors::domain::message::partition_of;
use actors::ports::follow::Followed;
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};

use super::hub::Seat;
use super::query::{self, Wish};
use super::reader::{Next, Position, Reader};
use crate::http::connection::Turn;
use crate::http::problem::{ErrorType, Problem, request_id};
use crate::http::state::Doors;
use crate::settings::{STREAM_CATCH_UP_PAUSE, STREAM_FAREWELL, STREAM_HEARTBEAT, STREAM_LOOK};
use crate::telemetry::{ReaderEnd, Transport};

/// Pages that may wait for a connection to take them.
const PAGES_WAITING_MAX: usize = 2;

/// How messages are put on a connection.
pub(super) trait Wire: 'static {
    /// Which one it is.
    const TRANSPORT: Transport;

    /// One message.
    fn message(message: &Followed, into: &mut Vec<u8>);
    /// That something is missing before what comes next.
    fn gap() -> Bytes;
    /// A sign of life.
    fn heartbeat() -> Bytes;
    /// The end of a stream that the bridge ends by itself, if one is told.
    fn farewell() -> Option<Bytes>;
}

/// What a reader's other side does; a stream of events has none that says anything.
pub(super) trait Other {
    /// Waits until it has said what ends the session. What it is answered goes to `answers`, between the pages.
    async fn ends(&mut self, answers: &mpsc::Sender<Bytes>);
}

/// A reader with its place, before its head is answered.
pub(super) struct Session {
    doors: web::Data<Doors>,
    request_id: RequestId,
    wish: Wish,
    seat: Seat,
    turn: Option<Rc<Turn>>,
}

/// What goes onto the connection.
pub(super) type Pages = mpsc::Receiver<Bytes>;

impl Session {
    /// Checks what is asked for, once the key is checked.
    pub(super) fn prepare(request: &HttpRequest, doors: &web::Data<Doors>) -> Result<Self, Problem> {
        let partitions = doors.log.partitions();
        let wish = query::read(request, |user| partition_of(user, partitions))?;
        if doors.entrance.is_closed() {
            return Err(Problem::stopping(request));
        }
        let seat = doors.hub.seat().ok_or_else(|| {
            Problem::new(request, ErrorType::BackPressure, "too many readers follow this bridge: try again")
        })?;
        let turn = request.conn_data::<Rc<Turn>>().cloned();
        Ok(Self { doors: doors.clone(), request_id: request_id(request), wish, seat, turn })
    }

    /// Finds the reader's beginning, and from then on sends it what comes. `opening` is sent first.
    pub(super) async fn open<W: Wire>(
        self,
        request: &HttpRequest,
        opening: Option<Bytes>,
        other: impl Other + 'static,
    ) -> Result<Pages, Problem> {
        let (sender, pages) = mpsc::channel(PAGES_WAITING_MAX);
        // There is room for it.
        opening.into_iter().for_each(|opening| drop(sender.try_send(opening)));
        let (told, begun) = tokio::sync::oneshot::channel();
        actix_web::rt::spawn(self.attend::<W>(sender, other, told));
        let begun = begun.await.unwrap_or_else(|_| Err("the reader could not begin".to_owned()));
        begun.map_err(|reason| {
            Problem::new(request, ErrorType::StoreUnavailable, format!("{reason}: try again"))
        })?;
        Ok(pages)
    }

    async fn attend<W: Wire>(
        self,
        pages: mpsc::Sender<Bytes>,
        other: impl Other,
        begun: tokio::sync::oneshot::Sender<Result<(), String>>,
    ) {
        let Self { doors, request_id, wish, seat, turn } = self;
        let hub = Arc::clone(&doors.hub);
        let reader = tokio::select! {
            reader = Reader::begin(&hub, wish) => reader.map_err(|error| error.to_string()),
            () = pages.closed() => return,
            () = doors.entrance.closed() => Err("the bridge is stopping".to_owned()),
        };
        let reader = match reader {
            Ok(reader) => reader,
            // Who is gone needs no answer.
            Err(reason) => return drop(begun.send(Err(reason))),
        };
        let _ = begun.send(Ok(()));
        let since = Instant::now();
        doors.teller.reader_came(W::TRANSPORT);
        let end = serve::<W>(&doors, reader, &pages, other).await;
        doors.teller.reader_left(&request_id, W::TRANSPORT, end, since.elapsed());
        drop(seat);
        if end == ReaderEnd::Stopping {
            // Who has not taken what came before does not take this either …
            W::farewell().into_iter().for_each(|farewell| drop(pages.try_send(farewell)));
            drop(pages);
            // … and the stop waits for nobody's reading.
            tokio::time::sleep(STREAM_FAREWELL).await;
        }
        if let Some(turn) = turn.filter(|_| end != ReaderEnd::Left) {
            turn.cut_off();
        }
    }
}

/// Sends what comes until something ends it.
async fn serve<W: Wire>(
    doors: &Doors,
    reader: Reader<'_>,
    pages: &mpsc::Sender<Bytes>,
    mut other: impl Other,
) -> ReaderEnd {
    let position = reader.position();
    let feeding = pin!(feed::<W>(doors, reader, pages));
    tokio::select! {
        () = feeding => ReaderEnd::Left,
        () = pages.closed() => ReaderEnd::Left,
        () = other.ends(pages) => ReaderEnd::Left,
        () = show_life::<W>(pages) => ReaderEnd::Left,
        () = watch(doors, &position) => ReaderEnd::Behind,
        () = doors.entrance.closed() => ReaderEnd::Stopping,
    }
}

/// Returns once the connection is gone.
async fn feed<W: Wire>(doors: &Doors, mut reader: Reader<'_>, pages: &mpsc::Sender<Bytes>) {
    loop {
        let page = match reader.next().await {
            Next::Gap => W::gap(),
            Next::Messages(messages) => {
                let mut page = Vec::new();
                messages.iter().for_each(|message| W::message(message, &mut page));
                doors.teller.messages_read(W::TRANSPORT, messages.len());
                page.into()
            }
        };
        let mut sending = pin!(pages.send(page));
        let sent = match timeout(STREAM_CATCH_UP_PAUSE, sending.as_mut()).await {
            Ok(sent) => sent,
            Err(_) => {
                reader.give_turn_back();
                sending.await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Sends signs of life, and returns once the connection is gone. One waits for its place as a page does: a slow link on
/// which pages always wait would else be shown none, and have nothing to answer.
async fn show_life<W: Wire>(pages: &mpsc::Sender<Bytes>) {
    let mut heartbeats = tokio::time::interval(STREAM_HEARTBEAT);
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeats.reset();
    loop {
        heartbeats.tick().await;
        if pages.send(W::heartbeat()).await.is_err() {
            return;
        }
    }
}

/// Returns once the reader has been too far behind, twice in a row.
async fn watch(doors: &Doors, position: &Position) {
    let mut looks = tokio::time::interval(STREAM_LOOK);
    // Two looks that come late must not be one.
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_behind = false;
    loop {
        looks.tick().await;
        let is_behind = position.is_behind(&doors.hub);
        if is_behind && was_behind {
            return;
        }
        was_behind = is_behind;
    }
}

/// The pages as the body of an answer.
pub(super) fn body(mut pages: Pages) -> impl Stream<Item = Result<Bytes, Infallible>> {
    futures_util::stream::poll_fn(move |context| pages.poll_recv(context).map(|page| page.map(Ok)))
}

/// A message's JSON in one line: line breaks stand between its parts only, never in a text.
pub(super) fn put_value(message: &Followed, into: &mut Vec<u8>) {
    into.extend(message.record.value.iter().map(|byte| match byte {
        b'\n' | b'\r' => b' ',
        other => *other,
    }));
}
