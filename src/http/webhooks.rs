//! `POST /webhook/{device}`: the order of checks, the answers and the handshake of the contract.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use actors::device_handler::DeviceHandler;
use actors::domain::delivery::{DecodeError, Header, Headers, VerifyError};
use actors::domain::ids::{MaskedUserId, RequestId};
use actors::messages::{CommitError, HandleDelivery, Outcome};
use actors::ports::store::StoreError;
use actors::supervision::{AskError, ChildRef};
use actors::vendors::{Device, Handshake, RawDelivery};
use bytes::BytesMut;

use super::admission::{Inside, Size};
use super::answer::Answer;
use super::body::{self, Incoming};
use super::bound_keys::verify;
use super::long_bodies::{self, Arrived};
use super::problem::{ErrorType, Problem, request_id};
use super::spool::Wire;
use super::state::Doors;
use crate::settings::BIG_BODY_FROM_BYTES;
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
        Ok(answer) => (End::of(&answer), answer.response(device.name(), &request_id)),
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

impl End {
    fn of(answer: &Answer) -> Self {
        let Answer { word: outcome, user, events, readings, .. } = *answer;
        let (status, rejected) = (answer.status.as_u16(), answer.rejected.total);
        Self { status, outcome, user, events, readings, rejected }
    }
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

/// Who asks, by the head of the request.
pub(super) struct Asker<'r> {
    pub(super) headers: RequestHeaders<'r>,
    query_users: Vec<String>,
}

impl<'r> Asker<'r> {
    fn of(request: &'r HttpRequest) -> Self {
        let query = query_pairs(request).into_iter();
        let query_users = query.filter(|(name, _)| name == "user_id").map(|(_, value)| value).collect();
        Self { headers: RequestHeaders(request), query_users }
    }

    pub(super) fn query_user(&self) -> Option<&str> {
        self.query_users.first().map(String::as_str)
    }

    /// 400 if the query names two users.
    fn check_users(&self, request: &HttpRequest) -> Result<(), Problem> {
        if self.query_users.iter().all(|user| Some(user.as_str()) == self.query_user()) {
            return Ok(());
        }
        Err(Problem::new(request, ErrorType::ValidationError, DecodeError::UsersDiffer.to_string()))
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
    let takes_long = device.long_bodies().is_some();
    let intake = &doors.settings.intake;
    let max_bytes = if takes_long { intake.healthkit_body_max_bytes } else { intake.body_max_bytes };
    // What a device that takes long bodies sends in memory; the rest is read from where it lies.
    let in_memory_bytes = if takes_long { max_bytes.min(BIG_BODY_FROM_BYTES) } else { max_bytes };
    let mut memory = doors.admission.body_memory();
    let mut incoming = Incoming::new(request, payload, max_bytes, doors)?;
    let asker = Asker::of(request);
    let mut begun = BytesMut::new();
    if incoming.announced_bytes() <= in_memory_bytes {
        incoming.has_room(request, &memory)?;
        begun = incoming.begin(request, in_memory_bytes, &mut memory).await?;
    }
    if begun.len() > in_memory_bytes || incoming.announced_bytes() > in_memory_bytes {
        let arrived = long_bodies::receive(request, doors, &**device, &asker, incoming, &begun).await?;
        drop((begun, memory));
        body::check_json(request)?;
        asker.check_users(request)?;
        return long_bodies::deliver(request, doors, device, request_id, inside, arrived).await;
    }
    let wire = begun.freeze();
    let received_at = doors.clock.now();
    let raw = RawDelivery {
        headers: &asker.headers,
        query_user: asker.query_user(),
        body: wire.clone(),
        received_at,
    };
    let verified = verify(request, doors, &**device, raw).await?;
    let verified = check_signature(request, doors, &**device, verified)?;
    body::check_json(request)?;
    asker.check_users(request)?;
    let Some(plain) = body::inflate_upto(request, &wire, in_memory_bytes, &mut memory)? else {
        if !takes_long {
            return Err(body::too_large(request, max_bytes));
        }
        let arrived = Arrived { verified, wire: Wire::Memory(wire), memory: Some(memory) };
        return long_bodies::deliver(request, doors, device, request_id, inside, arrived).await;
    };
    let verified = verified.with_body(plain);
    let (slot, waited) =
        doors.admission.slot(Size::Ordinary).await.map_err(|error| Problem::no_room(request, error))?;
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

/// Tells what came of believing a delivery; 401 if it is not believed.
pub(super) fn check_signature<T>(
    request: &HttpRequest,
    doors: &Doors,
    device: &dyn Device,
    verified: Result<T, VerifyError>,
) -> Result<T, Problem> {
    doors.teller.signature_checked(device.name(), verified.as_ref().map(drop).map_err(|error| *error));
    verified.map_err(|error| {
        let detail = format!("the delivery is not believed: {error}");
        Problem::new(request, ErrorType::AuthenticationError, detail)
    })
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
            let mut answer = Answer { rejected, user, ..Answer::new(StatusCode::OK, "processed") };
            answer.count(&receipts);
            Ok(answer)
        }
        Outcome::Accepted { user } => {
            let user = Some(doors.masker.mask(&user));
            Ok(Answer { user, ..Answer::new(StatusCode::ACCEPTED, "accepted") })
        }
        Outcome::Duplicate { user } => {
            let user = user.map(|user| doors.masker.mask(&user));
            Ok(Answer { user, ..Answer::new(StatusCode::OK, "duplicate") })
        }
        Outcome::Ignored { reason } => Ok(Answer::ignored(reason)),
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
    Ok(Answer::ignored("a test").response("test", &request_id(request)))
}

fn query_pairs(request: &HttpRequest) -> Vec<(String, String)> {
    web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map(web::Query::into_inner)
        .unwrap_or_default()
}

pub(super) struct RequestHeaders<'r>(&'r HttpRequest);

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
