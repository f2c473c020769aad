//! Readers of `/v1/stream` and `/ws`, as other programs are.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bridge::{API_KEY, Bridge, PATIENCE};

/// A message as a reader has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

impl Told {
    /// `topic:partition` of its id.
    fn lane(&self) -> String {
        self.id.rsplit_once(':').expect("an id").0.to_owned()
    }
}

/// The newest id of each partition, as a reader sends them that leaves nothing to time.
pub(crate) fn last_ids(told: &[Told]) -> String {
    let newest: BTreeMap<String, &str> = told.iter().map(|told| (told.lane(), told.id.as_str())).collect();
    newest.into_values().collect::<Vec<_>>().join(",")
}

/// A reader of `/v1/stream`.
pub(crate) struct EventSource {
    response: Response,
    text: String,
}

impl EventSource {
    /// Connects; `query` is empty or begins with a question mark, `last` is empty or the last id.
    pub(crate) async fn open(bridge: &Bridge, query: &str, last: &str) -> Self {
        let mut request = bridge.request(Method::GET, &format!("/v1/stream{query}")).bearer_auth(API_KEY);
        if !last.is_empty() {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                // A comment is no event.
                if !event.starts_with(':') {
                    return Some(parse(&event));
                }
                continue;
            }
            let more = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("something comes");
            let more = more.expect("an intact stream")?;
            self.text.push_str(std::str::from_utf8(&more).expect("UTF-8"));
        }
    }

    /// The next `count` events.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Told> {
        let mut told = Vec::with_capacity(count);
        while told.len() < count {
            told.push(self.next().await.expect("an open stream"));
        }
        told
    }
}

fn parse(event: &str) -> Told {
    let field = |name: &str| {
        let value = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_default().to_owned()
    };
    let data = serde_json::from_str(&field("data")).expect("JSON");
    Told { id: field("id"), kind: field("event"), data }
}

/// A reader of `/ws`.
pub(crate) struct Socket {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// The head that the handshake was answered.
    pub(crate) head: String,
}

/// What a WebSocket brings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Frame {
    Text(Value),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16),
    /// The connection has ended.
    End,
}

impl Socket {
    /// Sends a handshake with these fields besides, and waits for its answer, whatever it is.
    pub(crate) async fn open(bridge: &Bridge, query: &str, fields: &[(&str, &str)]) -> Self {
        let address = bridge.url.strip_prefix("http://").expect("a URL");
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let key = BASE64_STANDARD.encode([7_u8; 16]);
        let mut head = format!(
            "GET /ws{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        );
        fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.expect("it is sent");
        let mut socket = Self { stream, bytes: Vec::new(), head: String::new() };
        loop {
            if let Some(end) = socket.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = socket.bytes.drain(..end + 4).collect();
                socket.head = String::from_utf8(head).expect("a head");
                return socket;
            }
            assert!(socket.more().await, "no answer");
        }
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        let read =
            tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("something comes");
        let length = read.unwrap_or_default();
        self.bytes.extend(&buffer[..length]);
        length > 0
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.whole() {
                return frame;
            }
            if !self.more().await {
                return Frame::End;
            }
        }
    }

    /// The next message.
    pub(crate) async fn told(&mut self) -> Told {
        match self.next().await {
            Frame::Text(mut value) => {
                let data = value["data"].take();
                let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
                Told { id: text("id"), kind: text("type"), data }
            }
            other => panic!("{other:?}"),
        }
    }

    fn whole(&mut self) -> Option<Frame> {
        let [first, second, ..] = *self.bytes.as_slice() else { return None };
        assert_eq!(first & 0xf0, 0x80, "a whole frame without extensions");
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (length, head) = match second {
            126 => (u16::from_be_bytes(self.bytes.get(2..4)?.try_into().expect("two")) as usize, 4),
            127 => (u64::from_be_bytes(self.bytes.get(2..10)?.try_into().expect("eight")) as usize, 10),
            short => (short as usize, 2),
        };
        let payload = self.bytes.get(head..head + length)?.to_vec();
        self.bytes.drain(..head + length);
        Some(match first & 0x0f {
            0x1 => Frame::Text(serde_json::from_slice(&payload).expect("JSON")),
            0x8 => Frame::Close(u16::from_be_bytes(payload[..2].try_into().expect("a code"))),
            0x9 => Frame::Ping(payload),
            0xa => Frame::Pong(payload),
            other => panic!("opcode {other}"),
        })
    }

    /// Sends a masked frame with this first byte.
    pub(crate) async fn send(&mut self, first: u8, payload: &[u8]) {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).expect("a short one")];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame).await.expect("it is sent");
    }
}
