//! `/v1/users/{id}/…`: what is known of a user. An unknown user is no error.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use actors::cognition::{state::UserState, view::StateView};
use actors::domain::event::{DeviceType, Event};
use actors::domain::ids::UserId;
use actors::domain::message::HeaderField;
use actors::domain::metric::Metric;
use actors::domain::time::Timestamp;
use actors::ports::store::{EventQuery, StoreError};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::auth::check_reader;
use super::problem::{ErrorType, Problem};
use super::query;
use super::state::Doors;
use crate::settings::{PAGE_DEFAULT, PAGE_MAX};

/// `?from&to&device&metric&kind&limit&cursor`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventParameters {
    from: Option<String>,
    to: Option<String>,
    device: Option<String>,
    metric: Option<String>,
    kind: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

pub(super) fn invalid(request: &HttpRequest, detail: impl Into<String>) -> Problem {
    Problem::new(request, ErrorType::ValidationError, detail)
}

pub(super) fn store_down(request: &HttpRequest, error: &StoreError) -> Problem {
    match error {
        StoreError::Refused(_) => Problem::new(request, ErrorType::InternalError, error.to_string()),
        StoreError::Unavailable(_) | StoreError::Fenced(_) => {
            Problem::new(request, ErrorType::StoreUnavailable, format!("{error}: try again"))
        }
    }
}

/// Checks the key, then the id in the path.
pub(super) fn user(request: &HttpRequest, doors: &Doors, id: &str) -> Result<UserId, Problem> {
    check_reader(request, &doors.settings.keys)?;
    if !is_utf8(request.uri().path()) {
        return Err(invalid(request, "the user id in the path is not UTF-8"));
    }
    UserId::parse(id).map_err(|error| invalid(request, format!("the user id in the path {error}")))
}

/// Whether a path is UTF-8 once its escapes are undone. The framework would put U+FFFD in the place of what is not,
/// and so take one id for another.
pub(super) fn is_utf8(path: &str) -> bool {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let mut byte = [*first];
        let is_escape = *first == b'%'
            && after.get(..2).is_some_and(|digits| hex::decode_to_slice(digits, &mut byte).is_ok());
        bytes.extend(byte);
        rest = if is_escape { &after[2..] } else { after };
    }
    std::str::from_utf8(&bytes).is_ok()
}

pub(super) fn limit(request: &HttpRequest, limit: Option<&str>) -> Result<usize, Problem> {
    let Some(limit) = limit else { return Ok(PAGE_DEFAULT) };
    let number = limit.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
    number.ok_or_else(|| invalid(request, format!("limit must be a whole number from 1 to {PAGE_MAX}")))
}

pub(super) fn moment(
    request: &HttpRequest,
    name: &str,
    text: Option<&str>,
) -> Result<Option<Timestamp>, Problem> {
    let parsed = text.map(|text| {
        // A plus sign in a query is a blank unless the caller has escaped it.
        let moment =
            Timestamp::parse_rfc3339(text).or_else(|| Timestamp::parse_rfc3339(&text.replace(' ', "+")));
        moment.ok_or_else(|| {
            invalid(request, format!("{name} must be an RFC 3339 time, as 2026-09-10T12:00:00Z"))
        })
    });
    parsed.transpose()
}

/// `GET /v1/users/{id}/events`
pub(super) async fn events(
    request: HttpRequest,
    doors: web::Data<Doors>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let user_id = user(&request, &doors, &id)?;
    let parameters: EventParameters = query(&request)?;
    let device = parameters.device.as_deref().map(|name| {
        DeviceType::from_name(name)
            .or_else(|| doors.device(name).map(|device| device.device_type()))
            .ok_or_else(|| invalid(&request, "device must be a device_type, as oura_ring"))
    });
    let metric = parameters.metric.as_deref().map(|name| {
        Metric::from_name(name)
            .ok_or_else(|| invalid(&request, "metric must be a canonical metric, as heart_rate"))
    });
    let after = parameters.cursor.as_deref().map(|cursor| {
        read_cursor(cursor).ok_or_else(|| invalid(&request, "cursor must be a next_cursor of this route"))
    });
    let limit = limit(&request, parameters.limit.as_deref())?;
    let query = EventQuery {
        user_id,
        from: moment(&request, "from", parameters.from.as_deref())?,
        to: moment(&request, "to", parameters.to.as_deref())?,
        device: device.transpose()?,
        metric: metric.transpose()?,
        kind: parameters.kind,
        after: after.transpose()?,
        // One more tells whether there is a next page.
        limit: limit + 1,
    };
    let mut events = doors.store.events(&query).await.map_err(|error| store_down(&request, &error))?;
    let has_next = events.len() > limit;
    events.truncate(limit);
    let next_cursor = events.last().filter(|_| has_next).map(|last| write_cursor(&last.event));
    let events: Vec<_> = events
        .iter()
        .map(|stored| EventView { event: &stored.event, headers: header_texts(&stored.headers) })
        .collect();
    Ok(HttpResponse::Ok().json(EventPage { events, next_cursor }))
}

/// A page of events, written without a tree of values in between: a page may hold a million readings.
#[derive(Serialize)]
struct EventPage<'a> {
    events: Vec<EventView<'a>>,
    next_cursor: Option<String>,
}

/// An event as on the topic, with its headers as sent.
#[derive(Serialize)]
struct EventView<'a> {
    #[serde(flatten)]
    event: &'a Event,
    headers: serde_json::Map<String, serde_json::Value>,
}

fn header_texts(headers: &[HeaderField]) -> serde_json::Map<String, serde_json::Value> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned().into();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn write_cursor(event: &Event) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{}|{}", event.timestamp.as_ms(), event.event_id.as_str()))
}

fn read_cursor(cursor: &str) -> Option<(Timestamp, String)> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (timestamp, event_id) = text.split_once('|')?;
    Some((Timestamp::from_ms(timestamp.parse().ok()?), event_id.to_owned()))
}

/// `GET /v1/users/{id}/latest`
pub(super) async fn latest(
    request: HttpRequest,
    doors: web::Data<Doors>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let user_id = user(&request, &doors, &id)?;
    let latest = doors.store.latest(&user_id).await.map_err(|error| store_down(&request, &error))?;
    let readings: BTreeMap<&str, serde_json::Value> = latest
        .iter()
        .map(|latest| {
            let reading = &latest.reading;
            let mut value = json!({
                "value": reading.value,
                "unit": reading.unit,
                "timestamp": reading.timestamp,
                "device_type": latest.device_type,
                "confidence": reading.confidence.unwrap_or(1.0),
            });
            if let Some(method) = reading.method {
                value["method"] = method.name().into();
            }
            (reading.metric.name(), value)
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({"user_id": user_id, "readings": readings})))
}

/// `GET /v1/users/{id}/state`
pub(super) async fn state(
    request: HttpRequest,
    doors: web::Data<Doors>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let user_id = user(&request, &doors, &id)?;
    let (now, thresholds) = (doors.clock.now(), doors.thresholds.load());
    let view = look_at_state(&request, &doors, &user_id, |state| state.view(&user_id, now, &thresholds));
    let view = view.await?.unwrap_or_else(|| StateView::unknown(&user_id, now));
    Ok(HttpResponse::Ok().json(view))
}

/// Reads something off a user's state: the live one, else that of the checkpoint. `None` without either.
pub(super) async fn look_at_state<T>(
    request: &HttpRequest,
    doors: &Doors,
    user: &UserId,
    look: impl FnOnce(&UserState) -> T,
) -> Result<Option<T>, Problem> {
    if let Some(live) = doors.tree.users.live(user) {
        return Ok(Some(look(&live.state)));
    }
    let stored = doors.store.look_up_checkpoint(user).await;
    let stored = stored.map_err(|error| store_down(request, &error))?;
    let Some(checkpoint) = stored else { return Ok(None) };
    let detail = "the user's checkpoint cannot be read by this build: run a newer one";
    let state = UserState::decode(&checkpoint.state)
        .map_err(|_| Problem::new(request, ErrorType::InternalError, detail))?;
    Ok(Some(look(&state)))
}

/// `?limit&cursor`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PageParameters {
    pub(super) limit: Option<String>,
    pub(super) cursor: Option<String>,
}

/// `GET /v1/users/{id}/mode-switches`
pub(super) async fn mode_switches(
    request: HttpRequest,
    doors: web::Data<Doors>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let user_id = user(&request, &doors, &id)?;
    let parameters: PageParameters = query(&request)?;
    let limit = limit(&request, parameters.limit.as_deref())?;
    let before = parameters.cursor.as_deref().map(|cursor| {
        cursor.parse::<i64>().map_err(|_| invalid(&request, "cursor must be a next_cursor of this route"))
    });
    let page = doors.store.mode_switches(&user_id, before.transpose()?, limit).await;
    let page = page.map_err(|error| store_down(&request, &error))?;
    let next_cursor = page.next.map(|next| next.to_string());
    Ok(HttpResponse::Ok().json(json!({"mode_switches": page.switches, "next_cursor": next_cursor})))
}
