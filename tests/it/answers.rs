//! Answers as a client sees them, down to the header fields, and deliveries to send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use actors::domain::time::Timestamp;
use actors::vendors::signing;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::aftermath::assert_nothing_personal;
use crate::bridge::{Bridge, HEALTHKIT_KEY, OURA_SECRET, PATIENCE, now_ms, program};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body; panics if it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// A header field's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request.
pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("a body").to_vec();
    Answer { status, headers, body }
}

/// Sends a request that is refused so: `application/problem+json` with the contract's members and no others.
pub(crate) async fn refused(request: RequestBuilder, status: u16, error_type: &str) -> Answer {
    let answer = send(request).await;
    assert_problem(&answer, status, error_type);
    answer
}

/// Holds an answer to the contract's form of a problem.
pub(crate) fn assert_problem(answer: &Answer, status: u16, error_type: &str) {
    assert_eq!(answer.status, status, "{error_type} was expected: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem = answer.json();
    let members: Vec<&str> = problem.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["detail", "error_type", "request_id", "status", "title", "type"], "{problem}");
    assert_eq!(problem["error_type"], error_type, "{problem}");
    assert_eq!(problem["type"], format!("urn:biometric-bridge:{error_type}"), "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
    }
    assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"), "{problem}");
    assert_eq!(answer.header("retry-after").is_some(), status == 503, "{answer:?}");
    assert_nothing_personal("a problem", &answer.text());
    assert_nothing_personal("a problem's header", &format!("{:?}", answer.headers));
}

/// Sends bytes as they are, and reads the answer: the status code and the whole text.
pub(crate) fn send_raw(bridge: &Bridge, bytes: &[u8]) -> (u16, String) {
    read_answer(send_part(bridge, bytes))
}

/// Reads an answer: the status code and the whole text.
pub(crate) fn read_answer(stream: TcpStream) -> (u16, String) {
    let mut stream = BufReader::new(stream);
    let (mut text, mut length) = (String::new(), 0);
    while !text.ends_with("\r\n\r\n") {
        let start = text.len();
        assert_ne!(stream.read_line(&mut text).expect("an answer"), 0, "cut off: {text:?}");
        if let Some(value) = text[start..].to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    text.push_str(&String::from_utf8_lossy(&body));
    assert_nothing_personal("an answer", &text);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.unwrap_or_else(|| panic!("not an HTTP answer: {text:?}")), text)
}

/// Sends a part of a request on a connection of its own, and leaves that open.
pub(crate) fn send_part(bridge: &Bridge, bytes: &[u8]) -> TcpStream {
    let address = bridge.url.strip_prefix("http://").expect("an HTTP address");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(bytes).expect("the request goes out");
    stream
}

/// Moments before one "now": those of one test keep their distances, however slow it is.
pub(crate) struct Past {
    now_s: i64,
}

impl Past {
    pub(crate) fn new() -> Self {
        Self { now_s: now_ms() / 1000 }
    }

    /// RFC 3339 of so many seconds before.
    pub(crate) fn ago(&self, seconds: i64) -> String {
        Timestamp::from_ms((self.now_s - seconds) * 1000).to_string()
    }
}

/// RFC 3339 of so many seconds ago.
pub(crate) fn ago(seconds: i64) -> String {
    Past::new().ago(seconds)
}

/// A HealthKit heart rate.
pub(crate) fn heart_rate(value: impl Into<Value>, timestamp: &str) -> Value {
    json!({"type": "heartRate", "value": value.into(), "unit": "bpm", "timestamp": timestamp, "source": "Apple Watch"})
}

/// `POST /webhook/healthkit` with its key, and no body yet. `query` is empty or begins with a question mark.
pub(crate) fn to_healthkit(bridge: &Bridge, query: &str) -> RequestBuilder {
    bridge.request(Method::POST, &format!("/webhook/healthkit{query}")).bearer_auth(HEALTHKIT_KEY)
}

/// `POST /webhook/oura` with `body` under the signature of the Python system's formats.
pub(crate) fn to_oura_inline(bridge: &Bridge, body: impl Into<Vec<u8>>) -> RequestBuilder {
    let body = body.into();
    let signature = signing::inline(OURA_SECRET, &body);
    bridge.request(Method::POST, "/webhook/oura").header("Signature", signature).body(body)
}

/// The user's events.
pub(crate) async fn events(bridge: &Bridge, user: &str) -> Vec<Value> {
    listed(&bridge.read(&format!("/v1/users/{user}/events?limit=1000")).await, "events")
}

/// A list in an answer.
pub(crate) fn listed(answer: &Value, name: &str) -> Vec<Value> {
    answer[name].as_array().unwrap_or_else(|| panic!("no {name}: {answer}")).clone()
}

/// A topic of the bridge's log, read by `log read` beside it.
pub(crate) fn log_read(bridge: &Bridge, topic: &str) -> Vec<Value> {
    let output = program(&bridge.folder, &["log", "read", "--topic", topic, "--json"], &[]).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

/// Whether a text is a UUID of this version.
pub(crate) fn is_uuid(text: &Value, version: usize) -> bool {
    text.as_str()
        .and_then(|text| uuid::Uuid::try_parse(text).ok())
        .is_some_and(|uuid| uuid.get_version_num() == version)
}
