//! Bodies: read under a deadline, a size and the memory of all, and inflated only after they were verified.

use std::io::Read;
use std::pin::Pin;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::{Instant, Sleep, sleep};

use super::admission::BodyMemory;
use super::problem::{ErrorType, Problem};
use super::state::Doors;
use crate::settings::{
    BIG_BODY_DEADLINE, BIG_BODY_FROM_BYTES, BODY_DEADLINE, BODY_GRACE_MAX, BODY_RATE_MIN_BYTES_PER_SECOND,
    BODY_RATE_WINDOW, INFLATE_PIECE_BYTES, INFLATE_RATIO_FROM_BYTES, INFLATE_RATIO_MAX,
};

fn too_large(request: &HttpRequest, max_bytes: usize) -> Problem {
    let detail = format!("a body here may have {max_bytes} bytes, inflated too: send less at a time");
    Problem::new(request, ErrorType::PayloadTooLarge, detail)
}

/// What `Content-Length` says, checked against `max_bytes` before anything is read.
pub(super) fn check_length(request: &HttpRequest, max_bytes: usize) -> Result<Option<usize>, Problem> {
    let Some(length) = request.headers().get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
    match length.and_then(|length| usize::try_from(length).ok()) {
        Some(length) if length <= max_bytes => Ok(Some(length)),
        _ => Err(too_large(request, max_bytes)),
    }
}

/// Reads a body of at most `max_bytes`, within the deadline of its length and at its rate. Once the bridge is stopping,
/// what is under way has a part of the time for that.
pub(super) async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    max_bytes: usize,
    memory: &mut BodyMemory,
    doors: &Doors,
) -> Result<Bytes, Problem> {
    let length = check_length(request, max_bytes)?;
    memory.has_room(length.unwrap_or(0)).map_err(|error| Problem::no_room(request, error))?;
    let stopping = async {
        doors.entrance.closed().await;
        tokio::time::sleep(BODY_GRACE_MAX.min(doors.settings.server.shutdown_timeout / 2)).await;
    };
    tokio::select! {
        biased;
        body = receive(request, payload, length, max_bytes, memory) => body,
        () = stopping => Err(Problem::stopping(request)),
    }
}

async fn receive(
    request: &HttpRequest,
    mut payload: web::Payload,
    length: Option<usize>,
    max_bytes: usize,
    memory: &mut BodyMemory,
) -> Result<Bytes, Problem> {
    let mut patience = Patience::new(length.unwrap_or(0));
    let mut body = BytesMut::new();
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = payload.next() => chunk,
            detail = patience.ends() => return Err(Problem::new(request, ErrorType::RequestTimeout, detail)),
        };
        let Some(chunk) = chunk else { return Ok(body.freeze()) };
        let chunk = chunk.map_err(|_| {
            let detail = "the body ended before its announced length";
            Problem::new(request, ErrorType::ValidationError, detail)
        })?;
        if body.len() + chunk.len() > max_bytes {
            return Err(too_large(request, max_bytes));
        }
        memory.grow(chunk.len()).map_err(|error| Problem::no_room(request, error))?;
        body.extend_from_slice(&chunk);
        patience.took(chunk.len(), body.len());
    }
}

/// How long a body is waited for.
struct Patience {
    started: Instant,
    limit: Duration,
    deadline: Pin<Box<Sleep>>,
    window: Pin<Box<Sleep>>,
    in_window_bytes: usize,
}

impl Patience {
    /// With a body that announces `length` bytes, 0 for one that announces nothing.
    fn new(length: usize) -> Self {
        let limit = if length > BIG_BODY_FROM_BYTES { BIG_BODY_DEADLINE } else { BODY_DEADLINE };
        let (deadline, window) = (Box::pin(sleep(limit)), Box::pin(sleep(BODY_RATE_WINDOW)));
        Self { started: Instant::now(), limit, deadline, window, in_window_bytes: 0 }
    }

    /// So many bytes have come, and are so many with those before.
    fn took(&mut self, bytes: usize, total: usize) {
        self.in_window_bytes += bytes;
        if total > BIG_BODY_FROM_BYTES && self.limit < BIG_BODY_DEADLINE {
            // It did not announce that it would be big.
            self.limit = BIG_BODY_DEADLINE;
            self.deadline.as_mut().reset(self.started + BIG_BODY_DEADLINE);
        }
    }

    /// Returns once there is no more of it: what to tell the sender. May be dropped and called again.
    async fn ends(&mut self) -> String {
        let rate_min_bytes = BODY_RATE_MIN_BYTES_PER_SECOND * BODY_RATE_WINDOW.as_secs() as usize;
        loop {
            tokio::select! {
                biased;
                () = self.deadline.as_mut() => {
                    return format!("a body of this length must arrive within {} seconds", self.limit.as_secs());
                }
                () = self.window.as_mut() => {}
            }
            if self.in_window_bytes < rate_min_bytes {
                return format!(
                    "a body must come at {BODY_RATE_MIN_BYTES_PER_SECOND} bytes a second: send it in one go"
                );
            }
            self.in_window_bytes = 0;
            self.window.as_mut().reset(Instant::now() + BODY_RATE_WINDOW);
        }
    }
}

/// The body that `Content-Encoding` wraps: as it is, or one layer of gzip taken off. To be called only with verified
/// bytes: what is signed is what was on the wire.
pub(super) fn inflate(
    request: &HttpRequest,
    wire: &Bytes,
    max_bytes: usize,
    memory: &mut BodyMemory,
) -> Result<Bytes, Problem> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING);
    let encoding = match (encodings.next().map(header::HeaderValue::to_str), encodings.next()) {
        (None, None) => return Ok(wire.clone()),
        (Some(Ok(encoding)), None) => encoding.trim(),
        _ => "",
    };
    if encoding.eq_ignore_ascii_case("identity") {
        return Ok(wire.clone());
    }
    if !encoding.eq_ignore_ascii_case("gzip") {
        let detail = "send the body plain, or in one layer of Content-Encoding: gzip";
        return Err(Problem::new(request, ErrorType::UnsupportedMediaType, detail));
    }
    let ratio_max_bytes = INFLATE_RATIO_FROM_BYTES.max(wire.len().saturating_mul(INFLATE_RATIO_MAX));
    let limit = max_bytes.min(ratio_max_bytes);
    let mut reader = flate2::read::MultiGzDecoder::new(&wire[..]);
    let (mut inflated, mut piece) = (Vec::new(), vec![0; INFLATE_PIECE_BYTES]);
    loop {
        let Ok(len) = reader.read(&mut piece) else {
            let detail = "the body is not gzip, or is cut off";
            return Err(Problem::new(request, ErrorType::ValidationError, detail));
        };
        if len == 0 {
            return Ok(inflated.into());
        }
        if inflated.len() + len > limit {
            return Err(too_large(request, max_bytes));
        }
        // Asked for before it is taken: many bodies that inflate at once stay inside the memory of all.
        memory.grow(len).map_err(|error| Problem::no_room(request, error))?;
        inflated.extend_from_slice(&piece[..len]);
    }
}

/// 415 for what is said to be something else than JSON; nothing said counts as JSON.
pub(super) fn check_json(request: &HttpRequest) -> Result<(), Problem> {
    let is_json = match request.headers().get(header::CONTENT_TYPE) {
        None => true,
        Some(value) if value.is_empty() => true,
        Some(value) => value.to_str().is_ok_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            essence == "application/json"
                || (essence.starts_with("application/") && essence.ends_with("+json"))
        }),
    };
    if is_json {
        return Ok(());
    }
    Err(Problem::new(request, ErrorType::UnsupportedMediaType, "send Content-Type: application/json"))
}
