//! `GET /ws`: the same over WebSocket, for browsers, which cannot give an event stream a key.

use std::time::Duration;

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use actors::ports::follow::{Followed, MessageId};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::frames::{self, Came, Frames};
use super::query::type_of;
use super::session::{Other, Session, Wire, body, put_value};
use crate::http::auth::{SOCKET_PROTOCOL, check_socket};
use crate::http::problem::Problem;
use crate::http::read_api::invalid;
use crate::http::state::Doors;
use crate::settings::SOCKET_SILENT_MAX;
use crate::telemetry::Transport;

/// The only version there is.
const VERSION: &str = "13";

/// `GET /ws`
pub(in crate::http) async fn socket(
    request: HttpRequest,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, Problem> {
    let is_by_protocol = check_socket(&request, &doors.settings.keys)?;
    let Some(accept) = handshake(&request) else {
        let detail = "this route speaks WebSocket: send Connection: Upgrade, Upgrade: websocket, \
                      Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key";
        return Err(invalid(&request, detail));
    };
    let session = Session::prepare(&request, &doors)?;
    let other = Client { payload, frames: Frames::default() };
    let pages = session.open::<Socket>(&request, None, other).await?;
    let mut response = HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS);
    response.upgrade("websocket").insert_header((header::SEC_WEBSOCKET_ACCEPT, accept));
    if is_by_protocol {
        response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, SOCKET_PROTOCOL));
    }
    Ok(response.streaming(body(pages)))
}

/// What the handshake is answered, if it is one (RFC 6455 §4.2.1).
fn handshake(request: &HttpRequest) -> Option<String> {
    let field = |name: header::HeaderName| request.headers().get(name)?.to_str().ok();
    let is_upgrade = request.method() == Method::GET
        && request.head().upgrade()
        && field(header::UPGRADE)?.eq_ignore_ascii_case("websocket")
        && field(header::SEC_WEBSOCKET_VERSION)? == VERSION;
    frames::accept(field(header::SEC_WEBSOCKET_KEY)?).filter(|_| is_upgrade)
}

struct Socket;

impl Wire for Socket {
    const TRANSPORT: Transport = Transport::WebSocket;

    fn message(message: &Followed, into: &mut Vec<u8>) {
        let (id, kind) = (MessageId::of(&message.record), type_of(message.record.topic));
        let head = format!("{{\"id\":\"{id}\",\"type\":\"{kind}\",\"data\":");
        frames::put_text_head(head.len() + message.record.value.len() + 1, into);
        into.extend(head.into_bytes());
        put_value(message, into);
        into.push(b'}');
    }

    fn gap() -> Bytes {
        frames::text(b"{\"type\":\"gap\"}").into()
    }

    fn heartbeat() -> Bytes {
        frames::ping().into()
    }

    fn farewell() -> Option<Bytes> {
        Some(frames::close(frames::GOING_AWAY).into())
    }
}

/// The other side of a WebSocket.
struct Client {
    payload: web::Payload,
    frames: Frames,
}

impl Other for Client {
    async fn ends(&mut self, answers: &mpsc::Sender<Bytes>) {
        const SILENT: Duration = SOCKET_SILENT_MAX;
        while let Ok(Some(Ok(bytes))) = tokio::time::timeout(SILENT, self.payload.next()).await {
            self.frames.add(&bytes);
            while let Some(came) = self.frames.next() {
                match came {
                    Came::Ping(payload) => drop(answers.try_send(frames::pong(&payload).into())),
                    Came::Other => {}
                    Came::Close(code) => {
                        return drop(answers.try_send(frames::close(code).into()));
                    }
                }
            }
        }
    }
}
