//! What the vendors' modules promise, through the same trait that the webhook door uses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

use super::healthkit::{HealthKit, HealthKitConfig};
use super::oura::{Oura, OuraConfig};
use super::whoop::{Whoop, WhoopConfig};
use super::{Device, RawDelivery, Verified, signing};
use crate::domain::admission::{EventDraft, Facts, ReadingFact};
use crate::domain::delivery::{DecodeError, Decoded, Header, Headers, Rejections, VerifyError};
use crate::domain::event::Reading;
use crate::domain::time::Timestamp;

mod deliveries;
mod fetches;
mod health_auto_export;
mod healthkit;
mod healthkit_clocks;
mod healthkit_nights;
mod healthkit_sleep;
mod healthkit_types;
mod healthkit_workouts;
mod long;
mod oura;
mod oura_ids_and_days;
mod oura_records;
mod oura_series;
mod properties;
mod record_properties;
mod signatures;
mod sources;
mod terra;
mod terra_records;
mod throughput;
mod timestamps;
mod units;
mod whoop;
mod whoop_records;

/// The same cases in every run; another seed explores others.
fn fixed_cases(seed: u64) -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..ProptestConfig::default() }
}

/// 2026-09-10T12:00:00Z.
const NOW_S: i64 = 1_789_041_600;
const NOW: Timestamp = Timestamp::from_ms(NOW_S * 1000);

const OURA_SECRET: &str = "oura-client-secret-4f1c";
const OURA_TOKEN: &str = "oura-verification-token";
const WHOOP_SECRET: &str = "whoop-client-secret-9e27";
const HEALTHKIT_SECRET: &str = "healthkit-secret-0a1b";
const HEALTHKIT_KEY: &str = "healthkit-key-77";

fn oura_device() -> Oura {
    Oura::new(&OuraConfig {
        webhook_secret: OURA_SECRET.to_owned(),
        verification_token: OURA_TOKEN.to_owned(),
        tolerance_s: 300,
    })
}

fn whoop_device() -> Whoop {
    Whoop::new(&WhoopConfig { webhook_secret: WHOOP_SECRET.to_owned(), tolerance_s: 300 })
}

fn healthkit_device() -> HealthKit {
    HealthKit::new(&HealthKitConfig {
        api_keys: vec!["another-key".to_owned(), HEALTHKIT_KEY.to_owned()],
        signature_secret: HEALTHKIT_SECRET.to_owned(),
    })
}

/// Header fields in which a name may occur twice. The value `\u{fffd}` stands for bytes that are no text.
#[derive(Clone, Default)]
struct Fields(Vec<(&'static str, String)>);

fn fields<'a>(list: impl IntoIterator<Item = (&'static str, &'a str)>) -> Fields {
    Fields(list.into_iter().map(|(name, value)| (name, value.to_owned())).collect())
}

impl Headers for Fields {
    fn get(&self, name: &str) -> Header<'_> {
        let mut values = self.0.iter().filter(|(field, _)| *field == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (None, _) => Header::Missing,
            (Some(_), Some(_)) => Header::Repeated,
            (Some("\u{fffd}"), None) => Header::NotText,
            (Some(value), None) => Header::One(value),
        }
    }
}

fn verify(device: &dyn Device, headers: &Fields, body: &str) -> Result<Verified, VerifyError> {
    verify_for(device, headers, None, body)
}

fn verify_for(
    device: &dyn Device,
    headers: &Fields,
    query_user: Option<&str>,
    body: &str,
) -> Result<Verified, VerifyError> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    device.verify(RawDelivery { headers, query_user, body, received_at: NOW })
}

/// Decodes bytes that came to HealthKit with a good key.
fn decode_healthkit(body: &[u8]) -> Result<Decoded, DecodeError> {
    let headers = fields([("x-api-key", HEALTHKIT_KEY)]);
    let device = healthkit_device();
    let body = Bytes::copy_from_slice(body);
    let raw = RawDelivery { headers: &headers, query_user: None, body, received_at: NOW };
    device.decode(&device.verify(raw).unwrap(), NOW)
}

/// Decodes a body of the Python system's that came to Oura's endpoint.
fn decode_oura_inline(body: &[u8]) -> Result<Decoded, DecodeError> {
    let signature = signing::inline(OURA_SECRET, body);
    decode_oura(&fields([("signature", signature.as_str())]), body)
}

/// Decodes a body of Oura's own.
fn decode_oura_native(body: &[u8]) -> Result<Decoded, DecodeError> {
    let signature = signing::oura(OURA_SECRET, NOW_S, body);
    let timestamp = NOW_S.to_string();
    let headers =
        fields([("x-oura-signature", signature.as_str()), ("x-oura-timestamp", timestamp.as_str())]);
    decode_oura(&headers, body)
}

fn decode_oura(headers: &Fields, body: &[u8]) -> Result<Decoded, DecodeError> {
    let device = oura_device();
    let body = Bytes::copy_from_slice(body);
    let raw = RawDelivery { headers, query_user: None, body, received_at: NOW };
    device.decode(&device.verify(raw).unwrap(), NOW)
}

/// Decodes a body of the Python system's that came to WHOOP's endpoint.
fn decode_whoop_inline(body: &[u8]) -> Result<Decoded, DecodeError> {
    let signature = signing::inline(WHOOP_SECRET, body);
    decode_whoop(&fields([("signature", signature.as_str())]), body)
}

/// Decodes a body of WHOOP's own.
fn decode_whoop_native(body: &[u8]) -> Result<Decoded, DecodeError> {
    let signature = signing::whoop(WHOOP_SECRET, NOW.as_ms(), body);
    let timestamp = NOW.as_ms().to_string();
    let headers = fields([
        ("x-whoop-signature", signature.as_str()),
        ("x-whoop-signature-timestamp", timestamp.as_str()),
    ]);
    decode_whoop(&headers, body)
}

fn decode_whoop(headers: &Fields, body: &[u8]) -> Result<Decoded, DecodeError> {
    let device = whoop_device();
    let body = Bytes::copy_from_slice(body);
    let raw = RawDelivery { headers, query_user: None, body, received_at: NOW };
    device.decode(&device.verify(raw).unwrap(), NOW)
}

fn notified(decoded: Result<Decoded, DecodeError>) -> String {
    match decoded {
        Ok(Decoded::Notification { user_id, .. }) => user_id.as_str().to_owned(),
        other => panic!("no notification: {other:?}"),
    }
}

fn shape_path(decoded: Result<Decoded, DecodeError>) -> String {
    match decoded {
        Err(DecodeError::Shape { path, .. }) => path,
        other => panic!("no error of shape: {other:?}"),
    }
}

fn events(decoded: Result<Decoded, DecodeError>) -> (Vec<EventDraft>, Rejections) {
    match decoded {
        Ok(Decoded::Events { drafts, rejected }) => (drafts, rejected),
        Ok(Decoded::LocalToUsers { as_utc, .. }) => events(Ok(*as_utc)),
        other => panic!("not events: {other:?}"),
    }
}

fn facts(draft: &EventDraft) -> &[ReadingFact] {
    match &draft.facts {
        Facts::Readings(facts) => facts,
        Facts::Record { .. } | Facts::Part { .. } => panic!("a record, not a batch"),
    }
}

/// The one fact of a HealthKit delivery of `user-81` with this one sample.
fn one_sample(sample: &str) -> Result<ReadingFact, (String, String)> {
    let body = format!(r#"{{"user_id":"user-81","samples":[{sample}]}}"#);
    let (drafts, rejected) = events(decode_healthkit(body.as_bytes()));
    match (drafts.as_slice(), rejected.listed.as_slice()) {
        ([draft], []) => Ok(facts(draft)[0].clone()),
        ([], [refused]) => {
            assert_eq!((refused.index, rejected.total, refused.error_type), (0, 1, "validation_error"));
            Err((refused.path.clone(), refused.detail.clone()))
        }
        _ => panic!("{drafts:?} {rejected:?}"),
    }
}

fn one_reading(sample: &str) -> Reading {
    one_sample(sample).unwrap_or_else(|refused| panic!("{sample} was refused: {refused:?}")).reading
}
