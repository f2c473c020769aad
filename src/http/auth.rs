//! Bearer keys of the read API and of the admin routes.

use actix_web::HttpRequest;
use actix_web::http::header;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::problem::{ErrorType, Problem};
use crate::settings::{KeySettings, Secret};

/// Lets `/v1` requests with `API_KEY` or `ADMIN_API_KEY` pass.
pub(super) fn check_reader(request: &HttpRequest, keys: &KeySettings) -> Result<(), Problem> {
    check(request, &[keys.api_key.as_ref(), keys.admin_api_key.as_ref()], "API_KEY")
}

/// Lets `/admin` requests with `ADMIN_API_KEY` pass.
pub(super) fn check_admin(request: &HttpRequest, keys: &KeySettings) -> Result<(), Problem> {
    check(request, &[keys.admin_api_key.as_ref()], "ADMIN_API_KEY")
}

/// The protocol that a browser names beside its key, since it can give a WebSocket no header of its own.
pub(super) const SOCKET_PROTOCOL: &str = "bearer";

/// Lets `/ws` requests pass: by `Authorization`, or by `Sec-WebSocket-Protocol: bearer, <key>`. Whether by the latter,
/// which then has to be answered.
pub(super) fn check_socket(request: &HttpRequest, keys: &KeySettings) -> Result<bool, Problem> {
    let mut given = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let (Some(protocols), false) = (given.next(), request.headers().contains_key(header::AUTHORIZATION))
    else {
        return check_reader(request, keys).map(|()| false);
    };
    let named = protocols.to_str().ok().and_then(|protocols| protocols.split_once(','));
    let presented = match (named, given.next()) {
        (Some((protocol, key)), None) if protocol.trim() == SOCKET_PROTOCOL => Some(key.trim()),
        _ => None,
    };
    check_presented(request, &[keys.api_key.as_ref(), keys.admin_api_key.as_ref()], "API_KEY", presented)?;
    Ok(true)
}

fn check(request: &HttpRequest, accepted: &[Option<&Secret>], variable: &str) -> Result<(), Problem> {
    let mut given = request.headers().get_all(header::AUTHORIZATION);
    let presented = match (given.next().map(header::HeaderValue::to_str), given.next()) {
        (Some(Ok(value)), None) => bearer(value),
        _ => None,
    };
    check_presented(request, accepted, variable, presented)
}

fn check_presented(
    request: &HttpRequest,
    accepted: &[Option<&Secret>],
    variable: &str,
    presented: Option<&str>,
) -> Result<(), Problem> {
    if accepted.iter().all(Option::is_none) {
        return Err(Problem::new(
            request,
            ErrorType::AuthenticationError,
            format!("no key opens this route: {variable} is not set"),
        ));
    }
    let Some(presented) = presented else {
        return Err(Problem::new(
            request,
            ErrorType::AuthenticationError,
            "send Authorization: Bearer <key> once",
        ));
    };
    // Every key is compared, so that the time does not tell which one was near.
    let matches = accepted.iter().flatten().filter(|key| is_same(key.expose(), presented)).count();
    if matches == 0 {
        return Err(Problem::new(
            request,
            ErrorType::AuthenticationError,
            "this key does not open this route",
        ));
    }
    Ok(())
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !key.trim().is_empty()).then(|| key.trim())
}

/// Compares two keys in constant time, by what each signs.
#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn is_same(key: &str, presented: &str) -> bool {
    let sign =
        |key: &str| Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of every length");
    sign(presented).verify_slice(&sign(key).finalize().into_bytes()).is_ok()
}
