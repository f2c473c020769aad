//! A connection that sends one request after the other.
//!
//! The smallest client that speaks HTTP/1.1 to a bridge, because a load generator shares the machine with what it
//! measures: a general client (a pool, a task and several allocations a request) costs as much as the bridge's own part of
//! the work. A request is one write, an answer mostly one read.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEADERS_MAX: usize = 32;
/// Answers to webhooks are short; a longer one is not a bridge's.
const ANSWER_MAX_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 2 << 10;
/// A connection that was idle for longer may have been closed by the other side just now.
const FRESH_FOR: Duration = Duration::from_secs(30);

/// An open connection on which nothing is under way.
pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    used_at: Instant,
}

/// An answer, as far as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) is_duplicate: bool,
    pub(super) events: u64,
    pub(super) readings: u64,
    /// The other side closes the connection after it.
    pub(super) is_last: bool,
}

/// The part of the bridge's answer that is counted.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Outcome<'a> {
    status: &'a str,
    events: u64,
    readings: u64,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(BUFFER_BYTES), used_at: Instant::now() })
    }

    /// Whether it can be trusted to be open still.
    pub(super) fn is_fresh(&self) -> bool {
        self.used_at.elapsed() < FRESH_FOR
    }

    /// Sends a request, and waits for its answer.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = parse(&self.received)? {
                self.used_at = Instant::now();
                return Ok(answer);
            }
            if self.received.len() > ANSWER_MAX_BYTES {
                return Err(io::Error::other("an answer that is too long"));
            }
        }
    }
}

/// The answer, once it is whole.
fn parse(received: &[u8]) -> io::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = response.parse(received).map_err(|_| io::Error::other("an answer that is not HTTP"))?;
    let httparse::Status::Complete(head_bytes) = head else { return Ok(None) };
    let status = response.code.unwrap_or_default();
    let field = |name: &str| {
        let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let is_last = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let body_bytes = match field("content-length").map(|value| value.trim().parse::<usize>()) {
        Some(Ok(bytes)) => bytes,
        None if status == 204 => 0,
        // Bridges and proxies know the length of an answer that short.
        Some(Err(_)) | None => return Err(io::Error::other("an answer without a length")),
    };
    let Some(body) = head_bytes.checked_add(body_bytes).and_then(|end| received.get(head_bytes..end)) else {
        return Ok(None);
    };
    let outcome: Outcome<'_> = match status {
        200..300 => serde_json::from_slice(body).unwrap_or_default(),
        _ => Outcome::default(),
    };
    let Outcome { events, readings, .. } = outcome;
    Ok(Some(Answer { status, is_duplicate: outcome.status == "duplicate", events, readings, is_last }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PROCESSED: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 46\r\ncontent-type: application/json\r\n\r\n\
        {\"events\":1,\"readings\":4,\"status\":\"processed\"}";

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        for len in 0..PROCESSED.len() {
            assert_eq!(parse(&PROCESSED[..len]).unwrap(), None, "{len} bytes");
        }
        let expected = Answer { status: 200, events: 1, readings: 4, ..Answer::default() };
        assert_eq!(parse(PROCESSED).unwrap(), Some(expected));
    }

    #[test]
    fn a_problem_and_an_answer_without_a_body_are_answers_too() {
        let refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        assert_eq!(parse(refused).unwrap(), Some(Answer { status: 503, is_last: true, ..Answer::default() }));
        let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(parse(empty).unwrap(), Some(Answer { status: 204, ..Answer::default() }));
        let duplicate = b"HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{\"status\":\"duplicate\"}";
        assert!(parse(duplicate).unwrap().unwrap().is_duplicate);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(parse(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
