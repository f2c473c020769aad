//! Deliveries whose bodies are too long for memory: believed by their heads where those prove them, spooled, believed by
//! their bodies else, and taken in part by part.

use std::io;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actors::domain::ids::RequestId;
use actors::long_delivery::{LongDelivery, LongOutcome, take_in};
use actors::messages::CommitError;
use actors::vendors::long::Head;
use actors::vendors::{Device, RawDelivery, Verified};

use super::admission::{BodyMemory, Inside, Size};
use super::answer::Answer;
use super::body::{self, Incoming};
use super::bound_keys::verify_head;
use super::problem::{ErrorType, Problem};
use super::spool::{InflateError, LongBody, Wire};
use super::state::Doors;
use super::webhooks::{Asker, check_signature, not_committed};

/// A delivery that is believed, and where its body lies.
pub(super) struct Arrived {
    pub(super) verified: Verified,
    pub(super) wire: Wire,
    /// What of it is in memory.
    pub(super) memory: Option<BodyMemory>,
}

/// Receives a body whose first bytes are in memory, or that has not begun.
pub(super) async fn receive(
    request: &HttpRequest,
    doors: &Doors,
    device: &dyn Device,
    asker: &Asker<'_>,
    mut incoming: Incoming,
    begun: &[u8],
) -> Result<Arrived, Problem> {
    let raw = RawDelivery {
        headers: &asker.headers,
        query_user: asker.query_user(),
        body: bytes::Bytes::new(),
        received_at: doors.clock.now(),
    };
    let mut head = match verify_head(request, doors, device, raw).await? {
        Ok(head) => head,
        Err(error) => return check_signature(request, doors, device, Err(error)),
    };
    if let Head::Proven(_) = &head {
        // Nobody's time is taken by a body that would be refused all the same.
        body::check_json(request)?;
        body::is_gzip(request)?;
    }
    let is_proven = matches!(head, Head::Proven(_));
    let room = doors.spool.room(is_proven).map_err(|error| Problem::no_room(request, error))?;
    let no_disk = |error| no_disk(request, &error);
    let mut spooling = doors.spool.create(room).await.map_err(no_disk)?;
    let mut chunk = Some(bytes::Bytes::copy_from_slice(begun));
    while let Some(piece) = chunk {
        if let Head::Signed(signed) = &mut head {
            signed.take(&piece);
        }
        spooling.write(&piece).await.map_err(no_disk)?;
        chunk = incoming.next(request).await?;
    }
    let verified = match head {
        Head::Proven(verified) => Ok(verified),
        Head::Signed(signed) => signed.finish(),
    };
    let verified = check_signature(request, doors, device, verified)?;
    Ok(Arrived { verified, wire: spooling.finish().await.map_err(no_disk)?, memory: None })
}

fn no_disk(request: &HttpRequest, error: &io::Error) -> Problem {
    let detail = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "the disk has no room for the body"
        }
        _ => "the body cannot be laid down in DATA_DIR",
    };
    Problem::new(request, ErrorType::StoreUnavailable, format!("{detail}: try again"))
}

/// Takes in a delivery that has arrived.
pub(super) async fn deliver(
    request: &HttpRequest,
    doors: &Doors,
    device: &Arc<dyn Device>,
    request_id: &RequestId,
    inside: Inside,
    arrived: Arrived,
) -> Result<Answer, Problem> {
    let Arrived { verified, wire, memory } = arrived;
    let max_bytes = doors.settings.intake.healthkit_body_max_bytes;
    let body = LongBody { wire, is_gzip: body::is_gzip(request)?, max_bytes };
    let (slot, waited) =
        doors.admission.slot(Size::Big).await.map_err(|error| Problem::no_room(request, error))?;
    doors.teller.slot_waited(waited);
    let delivery = LongDelivery {
        device: Arc::clone(device),
        verified: Arc::new(verified),
        source: Arc::new(body),
        received_at: doors.clock.now(),
        request_id: request_id.clone(),
    };
    let (writer, accounts) = (doors.tree.writer.clone(), Arc::clone(&doors.accounts));
    // Apart from the request, as every delivery.
    let (entrance, grace) = (doors.entrance.clone(), doors.settings.server.shutdown_timeout / 2);
    let handling = actix_web::rt::spawn(async move {
        let _held = (inside, slot, memory);
        // What would take longer would only be cut off, and everything else with it.
        take_in(delivery, &*accounts, &writer, entrance.closed_for(grace)).await
    });
    let outcome = handling.await.unwrap_or(LongOutcome::NotCommitted(CommitError::Crashed));
    answer(request, doors, outcome, max_bytes)
}

fn answer(
    request: &HttpRequest,
    doors: &Doors,
    outcome: LongOutcome,
    max_bytes: usize,
) -> Result<Answer, Problem> {
    match outcome {
        LongOutcome::Processed(stored) => {
            let user = stored.user.map(|user| doors.masker.mask(&user));
            let (events, readings, rejected) = (stored.events, stored.readings, stored.rejected);
            Ok(Answer { events, readings, rejected, user, ..Answer::new(StatusCode::OK, "processed") })
        }
        LongOutcome::Duplicate => Ok(Answer::new(StatusCode::OK, "duplicate")),
        LongOutcome::Ignored { reason } => Ok(Answer::ignored(reason)),
        LongOutcome::Unreadable(error) => {
            Err(Problem::new(request, ErrorType::ValidationError, error.to_string()))
        }
        LongOutcome::Lost(error) => Err(match InflateError::of(&error) {
            Some(InflateError::TooLarge) => body::too_large(request, max_bytes),
            Some(error) => Problem::new(request, ErrorType::ValidationError, error.to_string()),
            None => no_disk(request, &error),
        }),
        LongOutcome::NotCommitted(error) => Err(not_committed(request, &error)),
    }
}
