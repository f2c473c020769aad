//! `/admin/links/{vendor}/{vendor_user_id}`: whose a vendor's account is, and the tokens that open it.

use actix_web::{HttpRequest, HttpResponse, web};
use actors::domain::account::{Account, Token, TokenPair, Vendor, VendorUserId};
use actors::domain::ids::UserId;
use actors::domain::time::Timestamp;
use actors::ports::accounts::{Link, NewTokens};
use actors::ports::store::EventQuery;
use actors::vendors::healthkit::bound_key;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

use super::auth::check_admin;
use super::body;
use super::problem::{ErrorType, Problem};
use super::read_api::{is_utf8, store_down};
use super::state::Doors;
use super::webhooks::enter;
use crate::settings::LINK_BODY_MAX_BYTES;

/// The longest name of a time zone that is taken.
const TIMEZONE_MAX_BYTES: usize = 64;
/// A bound key is so random.
const KEY_BYTES: usize = 32;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LinkBody {
    user_id: Option<String>,
    timezone: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_at: Option<String>,
}

/// `PUT`: links an account to a user, with its tokens if they are given. HealthKit has no accounts: there it makes a key
/// that is bound to the user.
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
    let user_id = user(&request, &account, body.user_id.as_deref())?;
    let timezone = body.timezone.clone();
    if timezone.as_deref().is_some_and(|zone| !is_timezone(zone)) {
        return Err(invalid(&request, "timezone must be the name of a time zone, as Europe/Berlin"));
    }
    let tokens = tokens(&request, &doors, &account, body)?;
    let key = (account.vendor == Vendor::HealthKit).then(new_key);
    let key_hash = key.as_deref().map(bound_key::hash);
    if key_hash.is_none() {
        refuse_stored_events(&request, &doors, &account, &user_id).await?;
    }
    let link = Link { account, user_id, timezone, key_hash };
    let put = doors.accounts.put_link(&link, tokens.as_ref()).await;
    put.map_err(|error| store_down(&request, &error))?;
    let mut answer = json!({
        "vendor": link.account.vendor.name(),
        "vendor_user_id": link.account.id.as_str(),
        "user_id": link.user_id.as_str(),
        "moved_events": 0,
    });
    if let Some(key) = key {
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
    if body.trim_ascii().is_empty() {
        return Ok(LinkBody::default());
    }
    // The library's message may repeat the body.
    serde_json::from_slice(body).map_err(|_| {
        let detail = "send a JSON object of texts: user_id, and if you have them timezone, access_token, \
            refresh_token, expires_at";
        invalid(request, detail)
    })
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
    body: LinkBody,
) -> Result<Option<NewTokens>, Problem> {
    let LinkBody { access_token, refresh_token, expires_at, .. } = body;
    let has_more = refresh_token.is_some() || expires_at.is_some();
    let Some(access) = access_token else {
        let detail = "access_token is missing beside refresh_token or expires_at";
        return if has_more { Err(invalid(request, detail)) } else { Ok(None) };
    };
    if account.vendor == Vendor::HealthKit {
        return Err(invalid(request, "HealthKit has no tokens: leave them out, and a key is made"));
    }
    let is_blank = |token: &str| token.trim().is_empty();
    if is_blank(&access) || refresh_token.as_deref().is_some_and(is_blank) {
        return Err(invalid(request, "a token is blank"));
    }
    let expires_at = expires_at.map(|text| {
        let detail = "expires_at must be an RFC 3339 time, as 2026-09-10T12:00:00Z";
        Timestamp::parse_rfc3339(&text).ok_or_else(|| invalid(request, detail))
    });
    let pair = TokenPair { access: Token::new(access), refresh: refresh_token.map(Token::new) };
    let sealed = doors.vault.seal(account, &pair);
    let sealed =
        sealed.map_err(|error| Problem::new(request, ErrorType::StoreUnavailable, error.to_string()))?;
    let obtained_at = doors.clock.now();
    Ok(Some(NewTokens { sealed, scope: None, obtained_at, expires_at: expires_at.transpose()? }))
}

/// Events that were stored under the vendor's id would stay there.
async fn refuse_stored_events(
    request: &HttpRequest,
    doors: &Doors,
    account: &Account,
    user_id: &UserId,
) -> Result<(), Problem> {
    let unlinked = format!("{}:{}", account.vendor.name(), account.id.as_str());
    // An id of more bytes than ours may have is nobody's.
    let Ok(unlinked) = UserId::parse(&unlinked) else { return Ok(()) };
    if unlinked == *user_id {
        return Ok(());
    }
    let any = EventQuery {
        user_id: unlinked,
        from: None,
        to: None,
        device: None,
        metric: None,
        kind: None,
        after: None,
        limit: 1,
    };
    let events = doors.store.events(&any).await.map_err(|error| store_down(request, &error))?;
    if events.is_empty() {
        return Ok(());
    }
    let detail = "events of this account are stored already, and this build does not move them to another user: \
        link an account before its first delivery";
    Err(Problem::new(request, ErrorType::Conflict, detail))
}

fn new_key() -> String {
    format!("{}{}", bound_key::PREFIX, BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; KEY_BYTES]>()))
}
