//! The vendors' OAuth doors: consent, tokens, revocation.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::answers::{Answer, Query};
use super::doors::{reply, spoiled};
use super::faults::Route;
use super::tokens::{Grant, refused};
use super::{Shared, Vendor};

/// WHOOP wants so many characters of `state` (`vendors.md` §3).
const WHOOP_STATE_MIN: usize = 8;

pub(super) fn query(text: &str) -> Query {
    web::Query::<BTreeMap<String, String>>::from_query(text).map(web::Query::into_inner).unwrap_or_default()
}

pub(super) async fn authorize_oura(request: HttpRequest, cloud: web::Data<Shared>) -> HttpResponse {
    authorize(&request, &cloud, Vendor::Oura)
}

pub(super) async fn authorize_whoop(request: HttpRequest, cloud: web::Data<Shared>) -> HttpResponse {
    authorize(&request, &cloud, Vendor::Whoop)
}

/// Everybody consents at once: `person` says who (counted from 0), else it is the next one's turn.
fn authorize(request: &HttpRequest, cloud: &Shared, vendor: Vendor) -> HttpResponse {
    let asked = query(request.query_string());
    match consent(cloud, vendor, &asked) {
        Ok(back) => {
            cloud.stats.count(&["requests", vendor.name(), "authorize", "302"]);
            HttpResponse::Found().insert_header((header::LOCATION, back)).finish()
        }
        Err(detail) => {
            cloud.stats.count(&["requests", vendor.name(), "authorize", "400"]);
            reply(&refused(400, "invalid_request", detail), Vec::new())
        }
    }
}

fn consent(cloud: &Shared, vendor: Vendor, asked: &Query) -> Result<String, &'static str> {
    let field = |name: &str| asked.get(name).map(String::as_str);
    if field("response_type") != Some("code") {
        return Err("response_type must be code");
    }
    if field("client_id") != Some(&cloud.config.application(vendor).id) {
        return Err("the client_id is unknown");
    }
    let redirect_uri = field("redirect_uri").ok_or("redirect_uri is missing")?;
    let mut back = reqwest::Url::parse(redirect_uri).map_err(|_| "redirect_uri is no URL")?;
    let state = field("state");
    if vendor == Vendor::Whoop && state.is_none_or(|state| state.len() < WHOOP_STATE_MIN) {
        return Err("state must have 8 characters at least");
    }
    let person = match field("person") {
        Some(number) => number.parse().ok(),
        None => Some(cloud.turn.fetch_add(1, Ordering::Relaxed) % cloud.config.people.max(1)),
    };
    let person = person.filter(|person| *person < cloud.config.people).ok_or("there is no such person")?;
    let scope = field("scope").unwrap_or_default().to_owned();
    let code = cloud.tokens.code(Grant { vendor, person, scope: scope.clone() }, redirect_uri);
    back.query_pairs_mut().append_pair("code", &code).append_pair("scope", &scope);
    if let Some(state) = state {
        back.query_pairs_mut().append_pair("state", state);
    }
    Ok(back.into())
}

pub(super) async fn token_oura(
    request: HttpRequest,
    body: web::Bytes,
    cloud: web::Data<Shared>,
) -> HttpResponse {
    token(&request, &body, &cloud, Vendor::Oura).await
}

pub(super) async fn token_whoop(
    request: HttpRequest,
    body: web::Bytes,
    cloud: web::Data<Shared>,
) -> HttpResponse {
    token(&request, &body, &cloud, Vendor::Whoop).await
}

async fn token(request: &HttpRequest, body: &[u8], cloud: &Shared, vendor: Vendor) -> HttpResponse {
    let serve = || {
        let form = query(std::str::from_utf8(body).unwrap_or_default());
        if !is_client(request, &form, cloud, vendor) {
            return refused(401, "invalid_client", "the client's id or secret is wrong");
        }
        let is_refresh = form.get("grant_type").is_some_and(|kind| kind == "refresh_token");
        let (answer, person) = cloud.tokens.exchange(vendor, &form);
        match person {
            Some(person) => cloud.stats.count(&["refreshes", vendor.name(), &cloud.account(vendor, person)]),
            None if is_refresh => cloud.stats.count(&["refused_refreshes", vendor.name()]),
            None => {}
        }
        answer
    };
    spoiled(cloud, vendor, Route::Token, serve, Vec::new()).await
}

/// Oura takes the client's id and secret as Basic or in the body, WHOOP in the body alone.
fn is_client(request: &HttpRequest, form: &Query, cloud: &Shared, vendor: Vendor) -> bool {
    let client = cloud.config.application(vendor);
    let field = |name: &str| form.get(name).map(String::as_str);
    if field("client_id") == Some(&client.id) && field("client_secret") == Some(&client.secret) {
        return true;
    }
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let basic = header.and_then(|value| STANDARD.decode(value.strip_prefix("Basic ")?).ok());
    let expected = format!("{}:{}", client.id, client.secret);
    vendor == Vendor::Oura && basic.is_some_and(|given| given == expected.as_bytes())
}

/// Oura's `/oauth/revoke?access_token=`.
pub(super) async fn revoke_oura(request: HttpRequest, cloud: web::Data<Shared>) -> HttpResponse {
    let asked = query(request.query_string());
    let person = asked.get("access_token").and_then(|token| cloud.tokens.check(Vendor::Oura, token));
    let Some(person) = person else { return reply(&Answer::detail(401, "Unauthorized"), Vec::new()) };
    cloud.tokens.revoke(Vendor::Oura, person);
    reply(&Answer::ok(serde_json::json!({})), Vec::new())
}
