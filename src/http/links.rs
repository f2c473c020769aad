//! `/admin/links`: whose a vendor's account is, the tokens that open it, and which accounts must be connected again.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use actors::domain::account::{Account, Token, TokenPair, Vendor, VendorUserId};
use actors::domain::ids::UserId;
use actors::domain::time::Timestamp;
use actors::event_message;
use actors::ports::accounts::{Link, MovedEvents, NewTokens, TokenState};
use actors::ports::store::EncodeEvent;
use actors::vendors::healthkit::bound_key;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::check_admin;
use super::body;
use super::problem::{ErrorType, Problem};
use super::query;
use super::read_api::{is_utf8, limit, store_down};
use super::state::Doors;
use super::webhooks::enter;
use crate::settings::{LINK_BODY_MAX_BYTES, MOVE_CHUNK};

/// The longest name of a time zone that is taken.
const TIMEZONE_MAX_BYTES: usize = 64;
/// A bound key is so random.
const KEY_BYTES: usize = 32;

/// A token goes into a header field, where vendors' servers take no more than this.
const TOKEN_MAX_BYTES: usize = 8 << 10;

/// What is read of a body; what else is in it is ignored. Of any type, so that a wrong one is told by its name.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LinkBody {
    user_id: Option<Value>,
    timezone: Option<Value>,
    access_token: Option<Value>,
    refresh_token: Option<Value>,
    expires_at: Option<Value>,
    rotate: Option<Value>,
}

/// `PUT`: links an account to a user, with its tokens if they are given. HealthKit has no accounts: there it makes a key
/// that is bound to the user.
///
/// A key is shown once, since only its hash is stored. The same `PUT` again leaves it as it is, and shows none: whoever
/// repeats a request must not lock out the phones that have the key. `"rotate": true` makes another, and so does another
/// user: a key never comes to speak for somebody else.
pub(super) async fn put(
    request: HttpRequest,
    payload: web::Payload,
    doors: web::Data<Doors>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    check_admin(&request, &doors.settings.keys)?;
    let account = account(&request, &path)?;
    let _inside = enter(&request, &doors)?;
    let mut memory = doors.admission.body_memory();
    let body = body::read(&request, payload, LINK_BODY_MAX_BYTES, &mut memory, &doors).await?;
    let body = parse(&request, &body)?;
    let user_id = user(&request, &account, text(&request, "user_id", body.user_id.as_ref())?)?;
    let timezone = text(&request, "timezone", body.timezone.as_ref())?.map(str::to_owned);
    let is_rotated = match &body.rotate {
        None => false,
        Some(rotate) => rotate.as_bool().ok_or_else(|| invalid(&request, "rotate must be true or false"))?,
    };
    if timezone.as_deref().is_some_and(|zone| !is_timezone(zone)) {
        return Err(invalid(&request, "timezone must be the name of a time zone, as Europe/Berlin"));
    }
    let tokens = tokens(&request, &doors, &account, &body)?;
    let has_key = account.vendor == Vendor::HealthKit;
    let mut held = None;
    if has_key {
        let link = doors.accounts.link(&account).await.map_err(|error| store_down(&request, &error))?;
        held = link.filter(|link| !is_rotated && link.user_id == user_id).and_then(|link| link.key_hash);
    }
    let key = (has_key && held.is_none()).then(new_key);
    let key_hash = held.or_else(|| key.as_deref().map(bound_key::hash));
    let link = Link { account, user_id, timezone, key_hash };
    let put = doors.accounts.put_link(&link, tokens.as_ref()).await;
    put.map_err(|error| store_down(&request, &error))?;
    if tokens.is_some() {
        // What has waited for them is due.
        doors.tree.wake_fetcher(link.account.vendor);
    }
    // A key's name is no vendor's id: nothing was stored under it.
    let moved_events = if has_key { 0 } else { move_events(&request, &doors, &link).await? };
    let mut answer = json!({
        "vendor": link.account.vendor.name(),
        "vendor_user_id": link.account.id.as_str(),
        "user_id": link.user_id.as_str(),
        "moved_events": moved_events,
    });
    if has_key {
        answer["key"] = key.into();
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// `DELETE`: forgets a link with its tokens or its key.
pub(super) async fn delete(
    request: HttpRequest,
    doors: web::Data<Doors>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    check_admin(&request, &doors.settings.keys)?;
    let account = account(&request, &path)?;
    let _inside = enter(&request, &doors)?;
    match doors.accounts.delete_link(&account).await {
        Ok(true) => Ok(HttpResponse::NoContent().finish()),
        Ok(false) => Err(Problem::new(&request, ErrorType::NotFound, "this account is not linked")),
        Err(error) => Err(store_down(&request, &error)),
    }
}

/// `?state&limit&cursor`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListParameters {
    state: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /admin/links`: the accounts whose tokens their vendor takes no more, for the person to connect them again.
pub(super) async fn list(request: HttpRequest, doors: web::Data<Doors>) -> Result<HttpResponse, Problem> {
    check_admin(&request, &doors.settings.keys)?;
    let parameters: ListParameters = query(&request)?;
    let state = TokenState::NeedsReconnection.name();
    if parameters.state.as_deref() != Some(state) {
        return Err(invalid(&request, format!("state must be {state}: only those accounts are listed")));
    }
    let after = parameters.cursor.as_deref().map(|cursor| {
        read_cursor(cursor).ok_or_else(|| invalid(&request, "cursor must be a next_cursor of this route"))
    });
    let limit = limit(&request, parameters.limit.as_deref())?;
    // One more tells whether there is a next page.
    let links = doors.accounts.to_reconnect(after.transpose()?.as_ref(), limit + 1).await;
    let mut links = links.map_err(|error| store_down(&request, &error))?;
    let has_next = links.len() > limit;
    links.truncate(limit);
    let next_cursor = links.last().filter(|_| has_next).map(|last| write_cursor(&last.account));
    let view = |link: &Link| {
        let (vendor, id, user_id) =
            (link.account.vendor.name(), link.account.id.as_str(), link.user_id.as_str());
        json!({"vendor": vendor, "vendor_user_id": id, "user_id": user_id, "state": state})
    };
    let links: Vec<Value> = links.iter().map(view).collect();
    Ok(HttpResponse::Ok().json(json!({"links": links, "next_cursor": next_cursor})))
}

fn write_cursor(account: &Account) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{}|{}", account.vendor.name(), account.id.as_str()))
}

fn read_cursor(cursor: &str) -> Option<Account> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (vendor, id) = text.split_once('|')?;
    Some(Account { vendor: Vendor::parse(vendor)?, id: VendorUserId::parse(id).ok()? })
}

fn invalid(request: &HttpRequest, detail: impl Into<String>) -> Problem {
    Problem::new(request, ErrorType::ValidationError, detail)
}

fn account(request: &HttpRequest, (vendor, id): &(String, String)) -> Result<Account, Problem> {
    let unknown =
        || Problem::new(request, ErrorType::NotFound, "no such vendor: see the devices in the README");
    let vendor = Vendor::parse(vendor).ok_or_else(unknown)?;
    if !is_utf8(request.uri().path()) {
        return Err(invalid(request, "the vendor's user id in the path is not UTF-8"));
    }
    let id = VendorUserId::parse(id);
    let id = id.map_err(|error| invalid(request, format!("the vendor's user id in the path {error}")))?;
    Ok(Account { vendor, id })
}

/// The body; none counts as one with nothing in it.
fn parse(request: &HttpRequest, body: &[u8]) -> Result<LinkBody, Problem> {
    let body = body.trim_ascii();
    if body.is_empty() {
        return Ok(LinkBody::default());
    }
    // A list would be read as the members in their order. The library's message may repeat the body.
    let parsed = if body.starts_with(b"{") { serde_json::from_slice(body).ok() } else { None };
    parsed.ok_or_else(|| {
        let detail = "send a JSON object with each member once: user_id, and if you have them timezone, access_token, \
            refresh_token, expires_at";
        invalid(request, detail)
    })
}

fn text<'b>(request: &HttpRequest, name: &str, value: Option<&'b Value>) -> Result<Option<&'b str>, Problem> {
    let text =
        |value: &'b Value| value.as_str().ok_or_else(|| invalid(request, format!("{name} must be a text")));
    value.map(text).transpose()
}

/// A token as it may stand in a header field; nothing of it is told.
fn token(request: &HttpRequest, name: &str, value: Option<&Value>) -> Result<Option<Token>, Problem> {
    let Some(text) = text(request, name, value)? else { return Ok(None) };
    if (1..=TOKEN_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(Token::new(text.to_owned())));
    }
    let detail = format!("{name} must be 1 to {TOKEN_MAX_BYTES} visible ASCII characters, without spaces");
    Err(invalid(request, detail))
}

/// Whose it is to be. A key of HealthKit is its user's by its name, unless the body says otherwise.
fn user(request: &HttpRequest, account: &Account, given: Option<&str>) -> Result<UserId, Problem> {
    let named = (account.vendor == Vendor::HealthKit).then(|| account.id.as_str());
    let user = given.or(named).ok_or_else(|| invalid(request, "user_id is missing"))?;
    UserId::parse(user).map_err(|error| invalid(request, format!("user_id {error}")))
}

fn is_timezone(zone: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    (1..=TIMEZONE_MAX_BYTES).contains(&zone.len()) && zone.chars().all(is_letter)
}

fn tokens(
    request: &HttpRequest,
    doors: &Doors,
    account: &Account,
    body: &LinkBody,
) -> Result<Option<NewTokens>, Problem> {
    let access = token(request, "access_token", body.access_token.as_ref())?;
    let refresh = token(request, "refresh_token", body.refresh_token.as_ref())?;
    let expires_at = text(request, "expires_at", body.expires_at.as_ref())?;
    let has_more = refresh.is_some() || expires_at.is_some();
    let Some(access) = access else {
        let detail = "access_token is missing beside refresh_token or expires_at";
        return if has_more { Err(invalid(request, detail)) } else { Ok(None) };
    };
    if account.vendor == Vendor::HealthKit {
        return Err(invalid(request, "HealthKit has no tokens: leave them out, and a key is made"));
    }
    let expires_at = expires_at.map(|text| {
        let detail = "expires_at must be an RFC 3339 time, as 2026-09-10T12:00:00Z";
        Timestamp::parse_rfc3339(text).ok_or_else(|| invalid(request, detail))
    });
    let sealed = doors.vault.seal(account, &TokenPair { access, refresh });
    let sealed =
        sealed.map_err(|error| Problem::new(request, ErrorType::StoreUnavailable, error.to_string()))?;
    let obtained_at = doors.clock.now();
    Ok(Some(NewTokens { sealed, scope: None, obtained_at, expires_at: expires_at.transpose()? }))
}

/// Moves what was stored under the vendor's id, before the account was linked, to its user: what came of it until now,
/// since what comes from now on is the user's. How many events there were. What is left when it ends before its time is
/// moved by the next `PUT`.
async fn move_events(request: &HttpRequest, doors: &Doors, link: &Link) -> Result<usize, Problem> {
    let unlinked = format!("{}:{}", link.account.vendor.name(), link.account.id.as_str());
    // An id of more bytes than ours may have is nobody's.
    let Ok(unlinked) = UserId::parse(&unlinked) else { return Ok(0) };
    if unlinked == link.user_id {
        return Ok(0);
    }
    let thresholds = Arc::clone(&doors.thresholds);
    let encode: EncodeEvent =
        Arc::new(move |event, request_id| event_message::encode(event, request_id, &thresholds.load()));
    let mut all = 0;
    loop {
        if doors.store.outbox_depth() >= doors.settings.stream.outbox_max {
            let detail =
                "the outbox is full: the rest of the events is moved when you link the account again";
            return Err(Problem::new(request, ErrorType::BackPressure, detail));
        }
        let moved = doors.accounts.move_events(&unlinked, &link.user_id, MOVE_CHUNK, &encode).await;
        let MovedEvents { moved, has_more } = moved.map_err(|error| store_down(request, &error))?;
        doors.tree.outlet.committed(moved);
        all += moved;
        if !has_more {
            return Ok(all);
        }
        if doors.entrance.is_closed() {
            return Err(Problem::stopping(request));
        }
    }
}

fn new_key() -> String {
    format!("{}{}", bound_key::PREFIX, BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; KEY_BYTES]>()))
}
