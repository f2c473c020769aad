//! Oura: who is believed, who gets the challenge back, and what the two kinds of bodies turn into.

use actors::domain::delivery::{Format, Header, Headers, VerifyError};
use actors::vendors::oura::{Oura, OuraConfig};
use actors::vendors::{Device, Handshake, RawDelivery, delivery_key, signing};
use bytes::Bytes;

use super::Reached;
use super::hmac::hmac_sha256_hex;
use super::readings::{self, NOW, NOW_MS};
use super::request::{Request, holds};

/// The secret of the vector of vendors.md §2.
const SECRET: &str = "oura-client-secret-4f1c";
const TOLERANCE_S: u32 = 300;

/// A request is believed if, and only if, an HMAC computed here agrees and the signed time is near.
pub fn oura_verify(data: &[u8]) -> Reached {
    let mut request = Request::read(data);
    let secret: String = request.setting("@secret", SECRET.to_owned());
    let tolerance_s = request.setting("@tolerance", TOLERANCE_S);
    let now_ms = request.setting("@now-ms", NOW_MS);
    let stamp = request.texts("x-oura-timestamp").next().unwrap_or_default().to_owned();
    let native = hmac_sha256_hex(secret.as_bytes(), &[stamp.as_bytes(), request.body]);
    let inline = hmac_sha256_hex(secret.as_bytes(), &[request.body]);
    for (placeholder, value) in [("{native}", &native), ("{inline}", &inline)] {
        request.fill(placeholder, value);
        request.fill(&placeholder.to_uppercase(), &value.to_uppercase());
    }

    let oura =
        Oura::new(&OuraConfig { webhook_secret: secret.clone(), tolerance_s, ..OuraConfig::default() });
    let verify = || {
        let body = Bytes::copy_from_slice(request.body);
        let received_at = actors::domain::time::Timestamp::from_ms(now_ms);
        oura.verify(RawDelivery { headers: &request, query_user: None, body, received_at })
    };
    let verdict = verify();
    assert_eq!(verdict, verify(), "the same request has one verdict");

    let is_hex = |name: &str, hex: &str| holds(request.get(name), |text| text.eq_ignore_ascii_case(hex));
    let is_native = is_hex("x-oura-signature", &native);
    let signed_ms = read_stamp(request.get("x-oura-timestamp"));
    let age_ms = signed_ms.map(|ms| i128::from(now_ms) - ms);
    let is_near = age_ms.is_some_and(|age| age.abs() <= i128::from(tolerance_s) * 1000);
    let is_inline = request.get("x-oura-signature") == Header::Missing && is_hex("signature", &inline);
    let has_secret = !secret.trim().is_empty();
    let expected = match (is_native && is_near, is_inline) {
        _ if !has_secret => None,
        (true, _) => Some(Format::Vendor),
        (false, true) => Some(Format::Inline),
        (false, false) => None,
    };
    assert_eq!(verdict.as_ref().ok().map(|verified| verified.format()), expected);

    if let Some(seconds) = stamp.parse::<i64>().ok().filter(|seconds| seconds.to_string() == stamp) {
        assert_eq!(signing::oura(&secret, seconds, request.body), native.to_uppercase());
    }
    assert_eq!(signing::inline(&secret, request.body), inline);
    match verdict {
        Ok(verified) => {
            assert_eq!(verified.body(), request.body);
            assert_ne!(delivery_key("oura", &verified), delivery_key("other", &verified));
            if verified.format() == Format::Vendor { "vendor" } else { "inline" }
        }
        Err(error) => {
            let tells_of_time = matches!(error, VerifyError::Stale | VerifyError::Future);
            assert!(!tells_of_time || is_native, "only who has the secret learns that the time was wrong");
            error.outcome()
        }
    }
}

/// Unix seconds, or milliseconds from 10^12 on, as decimal digits.
fn read_stamp(field: Header<'_>) -> Option<i128> {
    let Header::One(text) = field else { return None };
    let is_number = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: i128 = is_number.then(|| text.parse().ok()).flatten()?;
    Some(if number < 1_000_000_000_000 { number * 1000 } else { number })
}

/// The first line is our token, every further one a parameter. The challenge comes back as it was, to whoever sends
/// the token, once each, and to nobody else.
pub fn oura_handshake(data: &[u8]) -> Reached {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let token = lines.next().unwrap_or_default();
    let query: Vec<(String, String)> = lines
        .map(|line| line.split_once('=').unwrap_or((line, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let config = OuraConfig { verification_token: token.to_owned(), ..OuraConfig::default() };
    let answer = Oura::new(&config).handshake(&query);

    let values = |name: &str| -> Vec<&str> {
        query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    };
    let is_ours = !token.trim().is_empty() && values("verification_token") == [token];
    match (is_ours, values("challenge").as_slice()) {
        (true, [challenge]) => {
            let Handshake::Answer(json) = answer else { panic!("our vendor was turned away: {answer:?}") };
            let json: serde_json::Value = serde_json::from_str(&json).expect("the answer is JSON");
            assert_eq!(json, serde_json::json!({ "challenge": challenge }));
            "answered"
        }
        _ => {
            assert_eq!(answer, Handshake::Refused);
            "refused"
        }
    }
}

/// The body of one of Oura's own notifications.
pub fn oura_notification(data: &[u8]) -> Reached {
    let stamp = (NOW_MS / 1000).to_string();
    let signature = hmac_sha256_hex(SECRET.as_bytes(), &[stamp.as_bytes(), data]);
    let reached = decode(data, &format!("x-oura-timestamp: {stamp}\nx-oura-signature: {signature}\n\n"));
    assert!(!reached.ends_with("events"), "a notification holds no readings");
    reached
}

/// A body of the Python system's: data inline, or a notification.
pub fn oura_inline(data: &[u8]) -> Reached {
    decode(data, &format!("signature: {}\n\n", hmac_sha256_hex(SECRET.as_bytes(), &[data])))
}

fn decode(body: &[u8], head: &str) -> Reached {
    let config =
        OuraConfig { webhook_secret: SECRET.to_owned(), tolerance_s: TOLERANCE_S, ..OuraConfig::default() };
    let (oura, request) = (Oura::new(&config), Request::read(head.as_bytes()));
    let body = Bytes::copy_from_slice(body);
    let raw = RawDelivery { headers: &request, query_user: None, body, received_at: NOW };
    let verified = oura.verify(raw).expect("it was signed here");
    readings::check(&oura, &verified).reached
}
