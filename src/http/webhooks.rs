//! `POST /webhook/{device}`: the order of checks, the answers and the handshake of the contract.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use actors::device_handler::DeviceHandler;
use actors::domain::delivery::{DecodeError, Header, Headers, Rejections};
use actors::domain::ids::{MaskedUserId, RequestId};
use actors::messages::{CommitError, HandleDelivery, Outcome};
use actors::ports::store::{Receipt, StoreError};
use actors::supervision::{AskError, ChildRef};
use actors::vendors::{Device, Handshake, RawDelivery};

use super::admission::{Inside, Size};
use super::body;
use super::bound_keys::verify;
use super::problem::{ErrorType, Problem, request_id};
use super::state::Doors;
use crate::settings::{BIG_BODY_FROM_BYTES, HEALTHKIT_MEMORY_MAX_BYTES};
use crate::telemetry::{Delivery, DeliveryEnd};

/// Devices that this build knows, switched on or not.
const BUILT_DEVICES: [&str; 4] = ["oura", "whoop", "healthkit", "terra"];

/// Any method on `/webhook/{device}`.
pub(super) async fn webhook(
    request: HttpRequest,
    payload: web::Payload,
    doors: web::Data<Doors>,
    device: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    if device.as_str() == "test" {
        return test_device(&request, payload, &doors).await;
    }
    let Some(device) = doors.device(&device).cloned() else {
        return Err(if BUILT_DEVICES.contains(&device.as_str()) {
            Problem::new(
                &request,
                ErrorType::DeviceDisabled,
                "this device is switched off: see its _ENABLED setting",
            )
        } else {
            Problem::new(&request, ErrorType::NotFound, "no such device: see the devices in the README")
        });
    };
    match *request.method() {
        Method::POST => deliver(request, payload, doors, device).await,
        Method::GET | Method::HEAD => handshake(&request, &doors, &*device),
        _ => {
            let has_handshake = !matches!(device.handshake(&[]), Handshake::None);
            Err(Problem::method_not_allowed(&request, if has_handshake { "POST, GET, HEAD" } else { "POST" }))
        }
    }
}

async fn deliver(
    request: HttpRequest,
    payload: web::Payload,
    doors: web::Data<Doors>,
    device: Arc<dyn Device>,
) -> Result<HttpResponse, Problem> {
    let started = Instant::now();
    let request_id = request_id(&request);
    let taken_up =
        Delivery { device: device.name(), device_type: device.device_type().name(), request_id: &request_id };
    // Counts the delivery out again if the sender hangs up in between.
    let mut guard = DoneGuard { doors: &doors, taken_up, started, is_told: false };
    doors.teller.delivery_taken_up(taken_up);
    let result = process(&request, payload, &doors, &device, &request_id).await;
    let (end, answer) = match result {
        Ok(answer) => (answer.end(), answer.response(device.name(), &request_id)),
        Err(problem) => {
            let (status, outcome) = (problem.status_code().as_u16(), problem.error_type.name());
            (End { status, outcome, ..End::default() }, problem.error_response())
        }
    };
    guard.tell(&end);
    Ok(answer)
}

/// What is told of a delivery when it is done.
#[derive(Default)]
struct End {
    status: u16,
    outcome: &'static str,
    user: Option<MaskedUserId>,
    events: usize,
    readings: usize,
    rejected: usize,
}

struct DoneGuard<'a> {
    doors: &'a Doors,
    taken_up: Delivery<'a>,
    started: Instant,
    is_told: bool,
}

impl DoneGuard<'_> {
    fn tell(&mut self, end: &End) {
        self.is_told = true;
        let End { status, outcome, user, events, readings, rejected } = *end;
        let duration = self.started.elapsed();
        let end = DeliveryEnd { status, outcome, user, events, readings, rejected, duration };
        self.doors.teller.delivery_done(self.taken_up, end);
    }
}

impl Drop for DoneGuard<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            // 499 is what proxies log for a client that went away.
            let (status, outcome) = match std::thread::panicking() {
                true => (500, ErrorType::InternalError.name()),
                false => (499, ErrorType::RequestTimeout.name()),
            };
            self.tell(&End { status, outcome, ..End::default() });
        }
    }
}

/// A successful answer.
struct Answer {
    status: StatusCode,
    word: &'static str,
    receipts: Vec<Receipt>,
    rejected: Rejections,
    reason: Option<&'static str>,
    user: Option<MaskedUserId>,
}

impl Answer {
    fn new(status: StatusCode, word: &'static str) -> Self {
        Self { status, word, receipts: Vec::new(), rejected: Rejections::default(), reason: None, user: None }
    }

    fn counts(&self) -> (usize, usize) {
        let new = self.receipts.iter().filter(|receipt| receipt.is_new);
        new.fold((0, 0), |(events, readings), receipt| (events + 1, readings + receipt.readings))
    }

    fn end(&self) -> End {
        let (events, readings) = self.counts();
        let (status, rejected) = (self.status.as_u16(), self.rejected.total);
        End { status, outcome: self.word, user: self.user, events, readings, rejected }
    }

    fn response(&self, device: &str, request_id: &RequestId) -> HttpResponse {
        let (events, readings) = self.counts();
        let mut body = serde_json::json!({
            "status": self.word,
            "device": device,
            "events": events,
            "readings": readings,
            "rejected": self.rejected.listed,
            "rejected_total": self.rejected.total,
            "request_id": request_id.as_str(),
        });
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
        }
        HttpResponse::build(self.status).json(body)
    }
}

async fn process(
    request: &HttpRequest,
    payload: web::Payload,
    doors: &Doors,
    device: &Arc<dyn Device>,
    request_id: &RequestId,
) -> Result<Answer, Problem> {
    let inside = enter(request, doors)?;
    let max_bytes = match device.name() {
        "healthkit" => doors.settings.intake.healthkit_body_max_bytes.min(HEALTHKIT_MEMORY_MAX_BYTES),
        _ => doors.settings.intake.body_max_bytes,
    };
    let mut memory = doors.admission.body_memory();
    let wire = body::read(request, payload, max_bytes, &mut memory, doors).await?;
    let received_at = doors.clock.now();

    let query = query_pairs(request);
    let mut query_users = query.iter().filter(|(name, _)| name == "user_id").map(|(_, value)| value.as_str());
    let query_user = query_users.next();
    let headers = RequestHeaders(request);
    let raw = RawDelivery { headers: &headers, query_user, body: wire.clone(), received_at };
    let verified = verify(request, doors, &**device, raw).await?;
    doors.teller.signature_checked(device.name(), verified.as_ref().map(drop).map_err(|error| *error));
    let verified = verified.map_err(|error| {
        Problem::new(
            request,
            ErrorType::AuthenticationError,
            format!("the delivery is not believed: {error}"),
        )
    })?;
    body::check_json(request)?;
    if query_users.any(|user| Some(user) != query_user) {
        let detail = DecodeError::UsersDiffer.to_string();
        return Err(Problem::new(request, ErrorType::ValidationError, detail));
    }
    let plain = body::inflate(request, &wire, max_bytes, &mut memory)?;
    // A phone's upload takes its time; what else comes does not wait for it.
    let is_big = device.name() == "healthkit" && wire.len().max(plain.len()) > BIG_BODY_FROM_BYTES;
    let size = if is_big { Size::Big } else { Size::Ordinary };
    let verified = verified.with_body(plain);

    let (slot, waited) =
        doors.admission.slot(size).await.map_err(|error| Problem::no_room(request, error))?;
    doors.teller.slot_waited(waited);
    let message =
        HandleDelivery { verified: Arc::new(verified), received_at, request_id: request_id.clone() };
    let Some(handler) = doors.tree.devices.get(device.name()).cloned() else {
        return Err(Problem::new(request, ErrorType::InternalError, "the device has no handler"));
    };
    // Apart from the request: what is in the actors' hands keeps its slot and its memory when the sender hangs up.
    let handling = actix_web::rt::spawn(async move {
        let _held = (inside, slot, memory);
        handle(&handler, message).await
    });
    answer(request, doors, handling.await.unwrap_or(Outcome::NotCommitted(CommitError::Crashed)))
}

/// Lets a delivery in; 503 once shutdown has begun.
pub(super) fn enter(request: &HttpRequest, doors: &Doors) -> Result<Inside, Problem> {
    doors.entrance.enter().ok_or_else(|| Problem::stopping(request))
}

async fn handle(handler: &ChildRef<DeviceHandler>, message: HandleDelivery) -> Outcome {
    match handler.ask(message).await {
        Ok(pending) => pending.await,
        Err(AskError::Died { .. }) => Outcome::NotCommitted(CommitError::Crashed),
        Err(_) => Outcome::NotCommitted(CommitError::Stopping),
    }
}

fn answer(request: &HttpRequest, doors: &Doors, outcome: Outcome) -> Result<Answer, Problem> {
    match outcome {
        Outcome::Processed { receipts, rejected } => {
            let user = receipts.first().map(|receipt| doors.masker.mask(&receipt.user_id));
            Ok(Answer { receipts, rejected, user, ..Answer::new(StatusCode::OK, "processed") })
        }
        Outcome::Accepted { user } => {
            let user = Some(doors.masker.mask(&user));
            Ok(Answer { user, ..Answer::new(StatusCode::ACCEPTED, "accepted") })
        }
        Outcome::Duplicate { user } => {
            let user = user.map(|user| doors.masker.mask(&user));
            Ok(Answer { user, ..Answer::new(StatusCode::OK, "duplicate") })
        }
        Outcome::Ignored { reason } => {
            Ok(Answer { reason: Some(reason), ..Answer::new(StatusCode::OK, "ignored") })
        }
        Outcome::Unreadable(error) => {
            Err(Problem::new(request, ErrorType::ValidationError, error.to_string()))
        }
        Outcome::NotCommitted(error) => Err(not_committed(request, &error)),
    }
}

/// The problem of a delivery that is not durable.
pub(super) fn not_committed(request: &HttpRequest, error: &CommitError) -> Problem {
    let error_type = match error {
        CommitError::Backlog | CommitError::Stopping => ErrorType::BackPressure,
        CommitError::Store(StoreError::Unavailable(_) | StoreError::Fenced(_)) => ErrorType::StoreUnavailable,
        CommitError::Store(StoreError::Refused(_)) | CommitError::Crashed => ErrorType::ProcessingError,
    };
    let advice = if error_type == ErrorType::ProcessingError { "it was not kept" } else { "try again" };
    Problem::new(request, error_type, format!("{error}: {advice}"))
}

fn handshake(request: &HttpRequest, doors: &Doors, device: &dyn Device) -> Result<HttpResponse, Problem> {
    let _inside = enter(request, doors)?;
    match device.handshake(&query_pairs(request)) {
        Handshake::Answer(json) => Ok(HttpResponse::Ok().content_type("application/json").body(json)),
        Handshake::Refused => {
            let detail =
                "the handshake's token is missing or wrong: compare it with the device's VERIFICATION_TOKEN";
            Err(Problem::new(request, ErrorType::AuthenticationError, detail))
        }
        Handshake::None => Err(Problem::method_not_allowed(request, "POST")),
    }
}

/// `/webhook/test`: says that a sender reaches us, and keeps nothing.
async fn test_device(
    request: &HttpRequest,
    payload: web::Payload,
    doors: &Doors,
) -> Result<HttpResponse, Problem> {
    if *request.method() != Method::POST {
        return Err(Problem::method_not_allowed(request, "POST"));
    }
    let _inside = enter(request, doors)?;
    let max_bytes = doors.settings.intake.body_max_bytes;
    let mut memory = doors.admission.body_memory();
    let wire = body::read(request, payload, max_bytes, &mut memory, doors).await?;
    body::check_json(request)?;
    let plain = body::inflate(request, &wire, max_bytes, &mut memory)?;
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&plain) {
        let detail = format!("the body is not JSON at line {}, column {}", error.line(), error.column());
        return Err(Problem::new(request, ErrorType::ValidationError, detail));
    }
    let answer = Answer { reason: Some("a test"), ..Answer::new(StatusCode::OK, "ignored") };
    Ok(answer.response("test", &request_id(request)))
}

fn query_pairs(request: &HttpRequest) -> Vec<(String, String)> {
    web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map(web::Query::into_inner)
        .unwrap_or_default()
}

struct RequestHeaders<'r>(&'r HttpRequest);

impl Headers for RequestHeaders<'_> {
    fn get(&self, name: &str) -> Header<'_> {
        let mut values = self.0.headers().get_all(name).map(|value| std::str::from_utf8(value.as_bytes()));
        match (values.next(), values.next()) {
            (None, _) => Header::Missing,
            (Some(_), Some(_)) => Header::Repeated,
            (Some(Ok(text)), None) => Header::One(text),
            (Some(Err(_)), None) => Header::NotText,
        }
    }
}
