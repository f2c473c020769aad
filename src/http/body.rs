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

pub(super) fn too_large(request: &HttpRequest, max_bytes: usize) -> Problem {
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
    let mut incoming = Incoming::new(request, payload, max_bytes, doors)?;
    incoming.has_room(request, memory)?;
    let body = incoming.begin(request, max_bytes, memory).await?;
    Ok(body.freeze())
}

/// A body on its way.
pub(super) struct Incoming {
    payload: web::Payload,
    length: Option<usize>,
    max_bytes: usize,
    read_bytes: usize,
    patience: Patience,
    stopping: Pin<Box<dyn Future<Output = ()>>>,
}

impl Incoming {
    /// A body of at most `max_bytes`.
    pub(super) fn new(
        request: &HttpRequest,
        payload: web::Payload,
        max_bytes: usize,
        doors: &Doors,
    ) -> Result<Self, Problem> {
        let length = check_length(request, max_bytes)?;
        let (entrance, grace) =
            (doors.entrance.clone(), BODY_GRACE_MAX.min(doors.settings.server.shutdown_timeout / 2));
        let stopping = Box::pin(async move { entrance.closed_for(grace).await });
        let patience = Patience::new(length.unwrap_or(0));
        Ok(Self { payload, length, max_bytes, read_bytes: 0, patience, stopping })
    }

    /// What it has announced, 0 if nothing.
    pub(super) fn announced_bytes(&self) -> usize {
        self.length.unwrap_or(0)
    }

    /// Whether what it has announced would find room in memory now.
    pub(super) fn has_room(&self, request: &HttpRequest, memory: &BodyMemory) -> Result<(), Problem> {
        memory.has_room(self.announced_bytes()).map_err(|error| Problem::no_room(request, error))
    }

    /// Reads into memory until the body ends or is longer than `upto_bytes`.
    pub(super) async fn begin(
        &mut self,
        request: &HttpRequest,
        upto_bytes: usize,
        memory: &mut BodyMemory,
    ) -> Result<BytesMut, Problem> {
        let mut body = BytesMut::new();
        while body.len() <= upto_bytes
            && let Some(chunk) = self.next(request).await?
        {
            memory.grow(chunk.len()).map_err(|error| Problem::no_room(request, error))?;
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What comes next, within the body's deadline, rate and size.
    pub(super) async fn next(&mut self, request: &HttpRequest) -> Result<Option<Bytes>, Problem> {
        let chunk = tokio::select! {
            biased;
            chunk = self.payload.next() => chunk,
            detail = self.patience.ends() => return Err(Problem::new(request, ErrorType::RequestTimeout, detail)),
            () = self.stopping.as_mut() => return Err(Problem::stopping(request)),
        };
        let Some(chunk) = chunk else { return Ok(None) };
        let chunk = chunk.map_err(|_| {
            let detail = "the body ended before its announced length";
            Problem::new(request, ErrorType::ValidationError, detail)
        })?;
        self.read_bytes += chunk.len();
        if self.read_bytes > self.max_bytes {
            return Err(too_large(request, self.max_bytes));
        }
        self.patience.took(chunk.len(), self.read_bytes);
        Ok(Some(chunk))
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

/// Whether the body is wrapped in one layer of gzip; 415 for any other wrapping.
pub(super) fn is_gzip(request: &HttpRequest) -> Result<bool, Problem> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING);
    let encoding = match (encodings.next().map(header::HeaderValue::to_str), encodings.next()) {
        (None, None) => return Ok(false),
        (Some(Ok(encoding)), None) => encoding.trim(),
        _ => "",
    };
    if encoding.eq_ignore_ascii_case("identity") {
        return Ok(false);
    }
    if encoding.eq_ignore_ascii_case("gzip") {
        return Ok(true);
    }
    let detail = "send the body plain, or in one layer of Content-Encoding: gzip";
    Err(Problem::new(request, ErrorType::UnsupportedMediaType, detail))
}

/// The body that `Content-Encoding` wraps: as it is, or one layer of gzip taken off. To be called only with verified
/// bytes: what is signed is what was on the wire.
pub(super) fn inflate(
    request: &HttpRequest,
    wire: &Bytes,
    max_bytes: usize,
    memory: &mut BodyMemory,
) -> Result<Bytes, Problem> {
    inflate_upto(request, wire, max_bytes, memory)?.ok_or_else(|| too_large(request, max_bytes))
}

/// The same; `None` if it is more than `max_bytes`.
pub(super) fn inflate_upto(
    request: &HttpRequest,
    wire: &Bytes,
    max_bytes: usize,
    memory: &mut BodyMemory,
) -> Result<Option<Bytes>, Problem> {
    if !is_gzip(request)? {
        return Ok((wire.len() <= max_bytes).then(|| wire.clone()));
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
            return Ok(Some(inflated.into()));
        }
        if inflated.len() + len > limit {
            return Ok(None);
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
