//! `GET /v1/stream`: server-sent events.

use std::future::pending;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};
use actors::ports::follow::{Followed, MessageId};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::query::type_of;
use super::session::{Other, Session, Wire, body, put_value};
use crate::http::auth::check_reader;
use crate::http::problem::Problem;
use crate::http::state::Doors;
use crate::telemetry::Transport;

/// `GET /v1/stream`
pub(in crate::http) async fn stream(
    request: HttpRequest,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, Problem> {
    check_reader(&request, &doors.settings.keys)?;
    let session = Session::prepare(&request, &doors)?;
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Asks proxies not to gather what should arrive at once.
        .insert_header(("X-Accel-Buffering", "no"));
    if request.method() == Method::HEAD {
        return Ok(response.finish());
    }
    let opening = Bytes::from_static(b": following\n\n");
    let pages = session.open::<Events>(&request, Some(opening), Silent).await?;
    Ok(response.streaming(body(pages)))
}

struct Events;

impl Wire for Events {
    const TRANSPORT: Transport = Transport::Sse;

    fn message(message: &Followed, into: &mut Vec<u8>) {
        let (id, kind) = (MessageId::of(&message.record), type_of(message.record.topic));
        into.extend(format!("id: {id}\nevent: {kind}\ndata: ").into_bytes());
        put_value(message, into);
        into.extend(b"\n\n");
    }

    fn gap() -> Bytes {
        Bytes::from_static(b"event: gap\ndata: {}\n\n")
    }

    fn heartbeat() -> Bytes {
        Bytes::from_static(b":\n\n")
    }

    fn farewell() -> Option<Bytes> {
        None
    }
}

/// Nothing is heard of it but that its connection has gone.
struct Silent;

impl Other for Silent {
    async fn ends(&mut self, _: &mpsc::Sender<Bytes>) {
        pending().await
    }
}
