//! `/admin/*`: events by hand.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use actors::cognition::state::UserState;
use actors::device_handler::commit;
use actors::domain::admission::EventDraft;
use actors::domain::delivery::Rejections;
use actors::messages::{ApplyDirectly, CommitError};
use actors::ports::store::{Committed, DeliveryStatus, NewDelivery, Receipt};
use actors::supervision::AskError;
use actors::user_state::LiveState;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::admission::Size;
use super::auth::check_admin;
use super::body;
use super::problem::{ErrorType, Problem, request_id};
use super::query;
use super::read_api::look_at_state;
use super::state::Doors;
use super::webhooks::{enter, not_committed};
use crate::settings::{ADMIN_BODY_MAX_BYTES, APPLIED_WAIT};

/// `?wait=applied&to=user_state`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InjectParameters {
    wait: Option<String>,
    to: Option<String>,
}

/// `POST /admin/inject`
pub(super) async fn inject(
    request: HttpRequest,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, Problem> {
    check_admin(&request, &doors.settings.keys)?;
    if !doors.settings.keys.enable_injection {
        let detail = "injection is switched off: set ENABLE_INJECTION=true";
        return Err(Problem::new(&request, ErrorType::NotFound, detail));
    }
    let inside = enter(&request, &doors)?;
    let parameters: InjectParameters = query(&request)?;
    let is_waiting = choice(&request, "wait", parameters.wait.as_deref(), "applied")?;
    let is_direct = choice(&request, "to", parameters.to.as_deref(), "user_state")?;
    let mut memory = doors.admission.body_memory();
    let body = body::read(&request, payload, ADMIN_BODY_MAX_BYTES, &mut memory, &doors).await?;
    body::check_json(&request)?;
    let received_at = doors.clock.now();
    let (drafts, rejected) = actors::injection::decode(&body, received_at)
        .map_err(|error| Problem::new(&request, ErrorType::ValidationError, error.to_string()))?;
    let slot = doors.admission.slot(Size::Ordinary).await;
    let (slot, waited) = slot.map_err(|error| Problem::no_room(&request, error))?;
    doors.teller.slot_waited(waited);
    let held = (inside, slot, memory);
    if is_direct {
        return inject_directly(&request, &doors, drafts, rejected).await;
    }
    // Asked for before the commit: afterwards an event may have been applied already.
    let watched = match is_waiting {
        true => doors.tree.users.when_applied(drafts.iter().filter_map(|draft| draft.event_id.clone())),
        false => Vec::new(),
    };
    let delivery = NewDelivery {
        // Every request is a delivery of its own; its events tell by their ids whether they are new.
        key: NewDelivery::key_of_its_own(),
        device: "inject",
        request_id: request_id(&request),
        received_at,
        status: DeliveryStatus::Processed,
        body,
        drafts,
        fetches: Vec::new(),
        ends: None,
    };
    let writer = doors.tree.writer.clone();
    // Apart from the request: what is in the writer's hands keeps its slot when the caller hangs up.
    let committing = actix_web::rt::spawn(async move {
        let _held = held;
        commit(&writer, delivery).await
    });
    let receipts = match committing.await.unwrap_or(Err(CommitError::Crashed)) {
        Ok(Committed::Stored(receipts)) => receipts,
        Ok(Committed::Duplicate) => Vec::new(),
        Err(error) => return Err(not_committed(&request, &error)),
    };
    let mode = match is_waiting {
        true => Some(wait_applied(&request, &doors, &receipts, watched).await),
        false => None,
    };
    Ok(answer(&request, &receipts, &rejected, mode))
}

/// How often it is looked at whether the bridge has been given users.
const PARTITIONS_LOOK: Duration = Duration::from_millis(10);

/// An optional parameter that has one value.
fn choice(request: &HttpRequest, name: &str, given: Option<&str>, known: &str) -> Result<bool, Problem> {
    match given {
        None => Ok(false),
        Some(value) if value == known => Ok(true),
        Some(_) => {
            let detail = format!("{name} can only be {known}");
            Err(Problem::new(request, ErrorType::ValidationError, detail))
        }
    }
}

/// The mode of the last event's user once all events have been applied; `None` if that took too long.
async fn wait_applied(
    request: &HttpRequest,
    doors: &Doors,
    receipts: &[Receipt],
    watched: Vec<oneshot::Receiver<Arc<LiveState>>>,
) -> Option<&'static str> {
    let each = receipts.iter().zip(watched).map(|(receipt, applied)| async move {
        match mode_with(request, doors, receipt).await {
            Some(mode) => Some(mode),
            None => applied.await.ok().map(|live| live.state.mode().name()),
        }
    });
    let all = futures_util::future::join_all(each);
    tokio::time::timeout(APPLIED_WAIT, all).await.ok()?.into_iter().last()?
}

/// The mode of a repeated event's user, if the event has been applied already.
async fn mode_with(request: &HttpRequest, doors: &Doors, receipt: &Receipt) -> Option<&'static str> {
    let event_id = receipt.event_id.as_ref().filter(|_| !receipt.is_new)?;
    let look = |state: &UserState| state.has_applied(event_id).then(|| state.mode().name());
    // An unreadable store is told by the next request: this one's event is committed.
    look_at_state(request, doors, &receipt.user_id, look).await.ok()??
}

async fn inject_directly(
    request: &HttpRequest,
    doors: &Doors,
    drafts: Vec<EventDraft>,
    rejected: Rejections,
) -> Result<HttpResponse, Problem> {
    // Right after a start the log has not yet given this bridge its users.
    let are_given = async {
        while doors.tree.places.get().is_empty() {
            tokio::time::sleep(PARTITIONS_LOOK).await;
        }
    };
    // What is not given by then is told of each event.
    let _ = tokio::time::timeout(APPLIED_WAIT, are_given).await;
    let mut receipts = Vec::with_capacity(drafts.len());
    let mut mode = None;
    for draft in drafts {
        // The store knows nothing of a fact that never reaches it; the state knows what it has applied.
        let Some(admitted) = draft.admit(0, &mut std::collections::HashMap::new()) else { continue };
        let event = Arc::new(admitted.event);
        let look = |state: &UserState| state.has_applied(&event.event_id);
        let is_new = !look_at_state(request, doors, &event.user_id, look).await?.unwrap_or_default();
        let live = doors.tree.router.ask(ApplyDirectly(Arc::clone(&event))).await;
        let live = match live {
            Ok(Ok(live)) => live,
            Ok(Err(error)) => return Err(not_committed(request, &error.into())),
            Err(AskError::Died { .. }) => return Err(not_committed(request, &CommitError::Crashed)),
            Err(_) => return Err(not_committed(request, &CommitError::Stopping)),
        };
        mode = Some(live.state.mode().name());
        receipts.push(Receipt {
            event_id: Some(event.event_id.clone()),
            user_id: event.user_id.clone(),
            readings: if is_new { event.readings.len() } else { 0 },
            is_new,
            written: None,
        });
    }
    Ok(answer(request, &receipts, &rejected, Some(mode)))
}

fn answer(
    request: &HttpRequest,
    receipts: &[Receipt],
    rejected: &Rejections,
    mode: Option<Option<&'static str>>,
) -> HttpResponse {
    let events = receipts.iter().filter(|receipt| receipt.is_new).count();
    let readings: usize = receipts.iter().map(|receipt| receipt.readings).sum();
    let status = match (receipts, events) {
        ([], _) if rejected.total == 0 => "ignored",
        ([_, ..], 0) => "duplicate",
        _ => "processed",
    };
    let event_ids: Vec<&str> =
        receipts.iter().filter_map(|receipt| receipt.event_id.as_ref()).map(|id| id.as_str()).collect();
    let mut body = json!({
        "status": status,
        "device": "inject",
        "events": events,
        "readings": readings,
        "rejected": rejected.listed,
        "rejected_total": rejected.total,
        "event_ids": event_ids,
        "request_id": request_id(request).as_str(),
    });
    if status == "ignored" {
        body["reason"] = "no events".into();
    }
    if let Some(mode) = mode {
        body["mode"] = mode.into();
    }
    HttpResponse::Ok().json(body)
}
