//! HealthKit: who is believed, and what a body of samples turns into.

use std::borrow::Cow;
use std::collections::BTreeMap;

use actors::domain::delivery::{Header, Headers};
use actors::vendors::healthkit::{HealthKit, HealthKitConfig};
use actors::vendors::{Device, RawDelivery, Verified, signing};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::Reached;
use super::hmac::hmac_sha256_hex;
use super::readings::{self, Checked, NOW};
use super::request::{Request, holds};

/// The secret of the vector of vendors.md §4a.
const SECRET: &str = "healthkit-secret-0a1b";
const KEY: &str = "healthkit-key-77";

/// A request is believed if, and only if, one of its credentials is right and none is ambiguous. What is believed is
/// decoded: here the user may stand beside the body.
pub fn healthkit_verify(data: &[u8]) -> Reached {
    let mut request = Request::read(data);
    let secret: String = request.setting("@secret", SECRET.to_owned());
    let mut keys: Vec<String> = request.texts("@key").map(str::to_owned).collect();
    if keys.is_empty() {
        keys.push(KEY.to_owned());
    }
    let signature = hmac_sha256_hex(secret.as_bytes(), &[request.body]);
    assert_eq!(signing::inline(&secret, request.body), signature);
    request.fill("{signature}", &signature);
    request.fill("{SIGNATURE}", &signature.to_uppercase());

    let config = HealthKitConfig { api_keys: keys.clone(), signature_secret: secret.clone() };
    let device = HealthKit::new(&config);
    let verify = || {
        let body = Bytes::copy_from_slice(request.body);
        let query_user = request.texts("@query-user").next();
        device.verify(RawDelivery { headers: &request, query_user, body, received_at: NOW })
    };
    let verdict = verify();
    assert_eq!(verdict, verify(), "the same request has one verdict");

    let credentials = ["signature", "x-api-key", "authorization"].map(|name| request.get(name));
    let is_ambiguous = credentials.iter().any(|field| matches!(field, Header::Repeated | Header::NotText));
    let is_key = |given: &str| keys.iter().any(|key| !key.trim().is_empty() && key == given);
    let is_signed = |hex: &str| !secret.trim().is_empty() && hex.eq_ignore_ascii_case(&signature);
    let is_bearer = |value: &str| bearer(value).is_some_and(is_key);
    let [by_signature, by_key, by_bearer] = credentials;
    let is_right = holds(by_signature, is_signed) || holds(by_key, is_key) || holds(by_bearer, is_bearer);
    let is_believed = is_right && !is_ambiguous;
    assert_eq!(verdict.is_ok(), is_believed);
    match verdict {
        Ok(verified) => {
            assert_eq!(verified.body(), request.body);
            check(&device, &verified).reached
        }
        Err(error) => error.outcome(),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim_start())
}

/// The body of a delivery with a good key.
pub fn healthkit(data: &[u8]) -> Reached {
    decode(data).reached
}

/// Decodes a body and checks what came out.
pub fn decode(body: &[u8]) -> Checked {
    let config = HealthKitConfig { api_keys: vec![KEY.to_owned()], ..HealthKitConfig::default() };
    let device = HealthKit::new(&config);
    let request = Request::read(b"x-api-key: healthkit-key-77");
    let body = Bytes::copy_from_slice(body);
    let raw = RawDelivery { headers: &request, query_user: None, body, received_at: NOW };
    let verified = device.verify(raw).expect("the key is right");
    check(&device, &verified)
}

/// Every sample is a reading or a refusal, never both and never neither.
fn check(device: &HealthKit, verified: &Verified) -> Checked {
    let checked = readings::check(device, verified);
    match checked.reached {
        "events" | "some_events" | "no_events" | "ignored" => {
            let samples = count_samples(verified.body()).expect("what was decoded has its shape");
            assert_eq!(checked.readings + checked.rejected, samples);
            assert_eq!(checked.reached == "ignored", samples == 0);
        }
        reached => assert!(reached != "notification", "HealthKit sends none"),
    }
    checked
}

/// How many samples a body holds, by another way than the decoder's.
fn count_samples(body: &[u8]) -> Option<usize> {
    let envelopes: Vec<BTreeMap<Cow<'_, str>, &RawValue>> = match serde_json::from_slice(body) {
        Ok(list) => list,
        Err(_) => vec![serde_json::from_slice(body).ok()?],
    };
    let count = |envelope: &BTreeMap<Cow<'_, str>, &RawValue>| {
        let samples: Vec<&RawValue> = serde_json::from_str(envelope.get("samples")?.get()).ok()?;
        Some(samples.len())
    };
    envelopes.iter().map(count).sum()
}
