//! `GET /ws`: the same over WebSocket, for browsers, which cannot give an event stream a key.

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use actors::ports::follow::{Followed, MessageId};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::frames::{self, Came, Frames};
use super::query::type_of;
use super::session::{Other, Session, Wire, body, put_value};
use crate::http::auth::{SOCKET_PROTOCOL, check_socket};
use crate::http::problem::Problem;
use crate::http::read_api::invalid;
use crate::http::state::Doors;
use crate::settings::{SOCKET_SILENT_MAX, STREAM_FAREWELL};
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
        let mut silent_at = Instant::now() + SOCKET_SILENT_MAX;
        // The newest ping alone has to be answered (RFC 6455 §5.5.3): so nobody makes us keep more than one.
        let mut pinged: Option<Vec<u8>> = None;
        loop {
            tokio::select! {
                came = timeout_at(silent_at, self.payload.next()) => match came {
                    Ok(Some(Ok(bytes))) => self.frames.add(&bytes),
                    _ => return,
                },
                Ok(place) = answers.reserve(), if pinged.is_some() => {
                    if let Some(payload) = pinged.take() {
                        place.send(frames::pong(&payload).into());
                    }
                    continue;
                }
            }
            silent_at = Instant::now() + SOCKET_SILENT_MAX;
            while let Some(came) = self.frames.next() {
                match came {
                    Came::Ping(payload) => pinged = Some(payload),
                    Came::Other => {}
                    Came::Close(code) => {
                        let farewell = answers.send(frames::close(code).into());
                        // Who has gone at once is not waited for.
                        return drop(timeout(STREAM_FAREWELL, farewell).await);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actix_web::error::PayloadError;
    use actix_web::test::TestRequest;
    use actix_web::{FromRequest, dev};
    use futures_util::stream::{iter, pending};

    use super::*;

    /// The other side, that sends these frames and then nothing.
    async fn client(bytes: Vec<u8>) -> Client {
        let came = iter([Ok::<_, PayloadError>(Bytes::from(bytes))]).chain(pending());
        let mut payload: dev::Payload = dev::Payload::Stream { payload: Box::pin(came) };
        let request = TestRequest::default().to_http_request();
        let payload = web::Payload::from_request(&request, &mut payload).await.unwrap();
        Client { payload, frames: Frames::default() }
    }

    #[actix_web::test]
    async fn a_ping_and_a_close_are_answered_though_pages_wait() {
        let (answers, mut pages) = mpsc::channel(1);
        answers.try_send(Bytes::from_static(b"a page")).unwrap();
        // Masked by zeros: two pings, of which the newer one is answered.
        let pings = [[0x89, 0x81, 0, 0, 0, 0, b'1'], [0x89, 0x81, 0, 0, 0, 0, b'2']].concat();
        let mut pinging = client(pings).await;
        let reading = async {
            assert_eq!(pages.recv().await.unwrap(), "a page");
            assert_eq!(pages.recv().await.unwrap(), frames::pong(b"2"));
        };
        tokio::select! {
            biased;
            () = pinging.ends(&answers) => panic!("it has said nothing that ends it"),
            () = reading => {}
        }
        answers.try_send(Bytes::from_static(b"a page")).unwrap();
        let mut closing = client(vec![0x88, 0x80, 0, 0, 0, 0]).await;
        let reading = async { (pages.recv().await.unwrap(), pages.recv().await.unwrap()) };
        let ((), (page, close)) = tokio::join!(biased; closing.ends(&answers), reading);
        assert_eq!((page, close), (Bytes::from_static(b"a page"), frames::close(1000).into()));
    }
}
