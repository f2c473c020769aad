//! Who is believed: every credential, wrong in every way.

use super::*;
use crate::domain::delivery::Format;

use crate::vendors::{Handshake, delivery_key, key_within};

const NATIVE_BODY: &str = r#"{"event_type":"update","data_type":"daily_readiness","object_id":"6a5f0c52-73b1-4c0e-9d55-6f2f3f0b7a11","event_time":"2026-09-10T12:00:00+00:00","user_id":"A1B2C3D4E5"}"#;
const NATIVE_SIGNATURE: &str = "EFECB537A9204DEE350DA59F42CD36A618DE708A7CF817B371C05F7150D1ACE7";
const SAMPLES_BODY: &str = r#"{"user_id":"user-81","samples":[{"type":"heartRate","value":61,"unit":"count/min","timestamp":"2026-09-10T06:42:11Z","source":"Apple Watch"}]}"#;
const SAMPLES_SIGNATURE: &str = "b9a1fec666cb09f2c3876f589c2ab42176430e5498eb816248cdb0645cb34d8d";

fn native(signature: &str, timestamp: &str) -> Result<Format, VerifyError> {
    let headers = fields([("x-oura-signature", signature), ("x-oura-timestamp", timestamp)]);
    verify(&oura_device(), &headers, NATIVE_BODY).map(|verified| verified.format())
}

#[test]
fn the_published_vectors_verify_and_our_signers_make_them() {
    assert_eq!(native(NATIVE_SIGNATURE, "1789041600"), Ok(Format::Vendor));
    assert_eq!(signing::oura(OURA_SECRET, NOW_S, NATIVE_BODY.as_bytes()), NATIVE_SIGNATURE);
    assert_eq!(signing::inline(HEALTHKIT_SECRET, SAMPLES_BODY.as_bytes()), SAMPLES_SIGNATURE);
    let verified =
        verify(&healthkit_device(), &fields([("signature", SAMPLES_SIGNATURE)]), SAMPLES_BODY).unwrap();
    assert_eq!(verified.body(), SAMPLES_BODY.as_bytes());
}

#[test]
fn hex_is_taken_in_either_case_and_in_no_other_form() {
    let lower = NATIVE_SIGNATURE.to_lowercase();
    assert_eq!(native(&lower, "1789041600"), Ok(Format::Vendor));
    assert_eq!(
        verify(
            &healthkit_device(),
            &fields([("signature", &*SAMPLES_SIGNATURE.to_uppercase())]),
            SAMPLES_BODY
        )
        .err(),
        None
    );
    let longer = format!("{NATIVE_SIGNATURE}00");
    let with_prefix = format!("0x{}", &NATIVE_SIGNATURE[2..]);
    let no_hex = NATIVE_SIGNATURE.replace('E', "G");
    let cases =
        ["", " ", "E", &NATIVE_SIGNATURE[..62], &NATIVE_SIGNATURE[..63], &longer, &with_prefix, &no_hex];
    for signature in cases {
        assert_eq!(native(signature, "1789041600"), Err(VerifyError::Malformed), "{signature:?}");
        let inline = verify(&oura_device(), &fields([("signature", signature)]), NATIVE_BODY);
        assert_eq!(inline.err(), Some(VerifyError::Malformed), "{signature:?}");
        let healthkit = verify(&healthkit_device(), &fields([("signature", signature)]), SAMPLES_BODY);
        assert_eq!(healthkit.err(), Some(VerifyError::Malformed), "{signature:?}");
    }
}

#[test]
fn every_changed_byte_of_body_timestamp_or_secret_is_a_mismatch() {
    let headers = fields([("x-oura-signature", NATIVE_SIGNATURE), ("x-oura-timestamp", "1789041600")]);
    for at in 0..NATIVE_BODY.len() {
        let mut body = NATIVE_BODY.as_bytes().to_vec();
        body[at] ^= 1;
        let body = Bytes::from(body);
        let raw = RawDelivery { headers: &headers, query_user: None, body, received_at: NOW };
        assert_eq!(oura_device().verify(raw).err(), Some(VerifyError::Mismatch), "byte {at}");
    }
    assert_eq!(native(NATIVE_SIGNATURE, "1789041601"), Err(VerifyError::Mismatch));
    assert_eq!(native(NATIVE_SIGNATURE, "01789041600"), Err(VerifyError::Mismatch));
    let other_secret = signing::oura("oura-client-secret-4f1d", NOW_S, NATIVE_BODY.as_bytes());
    assert_eq!(native(&other_secret, "1789041600"), Err(VerifyError::Mismatch));
    // Signed without the time, or under the other scheme.
    let body_alone = signing::inline(OURA_SECRET, NATIVE_BODY.as_bytes());
    assert_eq!(native(&body_alone, "1789041600"), Err(VerifyError::Mismatch));
    let as_inline = verify(&oura_device(), &fields([("signature", NATIVE_SIGNATURE)]), NATIVE_BODY);
    assert_eq!(as_inline.err(), Some(VerifyError::Mismatch));
}

#[test]
fn a_signed_timestamp_is_believed_inside_the_tolerance_with_both_ends() {
    let cases = [
        (NOW_S - 300, Ok(Format::Vendor)),
        (NOW_S - 301, Err(VerifyError::Stale)),
        (NOW_S + 300, Ok(Format::Vendor)),
        (NOW_S + 301, Err(VerifyError::Future)),
        (0, Err(VerifyError::Stale)),
        ((NOW_S - 300) * 1000, Ok(Format::Vendor)),
        ((NOW_S - 300) * 1000 - 1, Err(VerifyError::Stale)),
        ((NOW_S + 300) * 1000, Ok(Format::Vendor)),
        ((NOW_S + 300) * 1000 + 1, Err(VerifyError::Future)),
        (999_999_999_999, Err(VerifyError::Future)),
        (1_000_000_000_000, Err(VerifyError::Stale)),
        (9_999_999_999_999_999, Err(VerifyError::Future)),
    ];
    for (timestamp, outcome) in cases {
        let signature = signing::oura(OURA_SECRET, timestamp, NATIVE_BODY.as_bytes());
        assert_eq!(native(&signature, &timestamp.to_string()), outcome, "{timestamp}");
    }
    // Only who has the secret learns that the time was wrong.
    assert_eq!(native(NATIVE_SIGNATURE, "1"), Err(VerifyError::Mismatch));
}

#[test]
fn a_timestamp_that_is_not_ascii_digits_is_malformed() {
    let cases = [
        "",
        " ",
        "-1789041600",
        "+1789041600",
        "1789041600.0",
        "1.7e9",
        "0x6aa1",
        "17890416000000000",
        "１７８９",
    ];
    for timestamp in cases {
        assert_eq!(native(NATIVE_SIGNATURE, timestamp), Err(VerifyError::Malformed), "{timestamp:?}");
    }
}

#[test]
fn missing_repeated_and_unreadable_fields_are_told_apart() {
    let signature = ("x-oura-signature", NATIVE_SIGNATURE);
    let timestamp = ("x-oura-timestamp", "1789041600");
    let inline = signing::inline(OURA_SECRET, NATIVE_BODY.as_bytes());
    let inline = ("signature", inline.as_str());
    let cases = [
        (fields([]), Err(VerifyError::Missing)),
        (fields([timestamp]), Err(VerifyError::Missing)),
        (fields([signature]), Err(VerifyError::Missing)),
        (fields([signature, timestamp]), Ok(Format::Vendor)),
        (fields([signature, signature, timestamp]), Err(VerifyError::Malformed)),
        (fields([signature, timestamp, timestamp]), Err(VerifyError::Malformed)),
        (fields([signature, ("x-oura-timestamp", "\u{fffd}")]), Err(VerifyError::Malformed)),
        (fields([("x-oura-signature", "\u{fffd}"), timestamp]), Err(VerifyError::Malformed)),
        (fields([inline]), Ok(Format::Inline)),
        (fields([inline, inline]), Err(VerifyError::Malformed)),
        (fields([("signature", "\u{fffd}")]), Err(VerifyError::Malformed)),
        // Oura's own header decides, whatever a proxy put into `Signature`.
        (fields([signature, timestamp, ("signature", "sig1=:AAAA:")]), Ok(Format::Vendor)),
        (fields([("x-oura-signature", "00"), timestamp, inline]), Err(VerifyError::Malformed)),
    ];
    for (headers, outcome) in cases {
        let verified = verify(&oura_device(), &headers, NATIVE_BODY).map(|verified| verified.format());
        assert_eq!(verified, outcome, "{:?}", headers.0);
    }
}

#[test]
fn a_blank_secret_believes_nobody() {
    for blank in ["", " \n"] {
        let oura = Oura::new(&OuraConfig { webhook_secret: blank.to_owned(), ..OuraConfig::default() });
        let signature = signing::inline(blank, NATIVE_BODY.as_bytes());
        let verified = verify(&oura, &fields([("signature", signature.as_str())]), NATIVE_BODY);
        assert_eq!(verified.err(), Some(VerifyError::NoSecret));

        let healthkit = HealthKit::new(&HealthKitConfig {
            api_keys: vec![blank.to_owned()],
            signature_secret: blank.to_owned(),
        });
        for field in ["x-api-key", "signature", "authorization"] {
            let verified = verify(&healthkit, &fields([(field, blank)]), SAMPLES_BODY);
            assert_eq!(verified.err(), Some(VerifyError::NoSecret), "{field}");
        }
    }
}

#[test]
fn healthkit_believes_one_good_credential_of_any_kind() {
    let key = ("x-api-key", HEALTHKIT_KEY);
    let bearer = ("authorization", "Bearer healthkit-key-77");
    let signature = ("signature", SAMPLES_SIGNATURE);
    let cases = [
        (fields([key]), Ok(())),
        (fields([("x-api-key", "another-key")]), Ok(())),
        (fields([bearer]), Ok(())),
        (fields([("authorization", "bearer  healthkit-key-77")]), Ok(())),
        (fields([signature]), Ok(())),
        (fields([("authorization", "Basic dXNlcjpwYXNz"), key]), Ok(())),
        (fields([("signature", "sig1=:AAAA:"), bearer]), Ok(())),
        (fields([("x-api-key", "old-key"), signature]), Ok(())),
        (fields([]), Err(VerifyError::Missing)),
        (fields([("x-api-key", "")]), Err(VerifyError::Mismatch)),
        (fields([("x-api-key", "healthkit-key-7")]), Err(VerifyError::Mismatch)),
        (fields([("x-api-key", "healthkit-key-777")]), Err(VerifyError::Mismatch)),
        (fields([("x-api-key", "HEALTHKIT-KEY-77")]), Err(VerifyError::Mismatch)),
        (fields([("x-api-key", HEALTHKIT_SECRET)]), Err(VerifyError::Mismatch)),
        (fields([("authorization", "Bearer ")]), Err(VerifyError::Mismatch)),
        (fields([("authorization", "Bearer")]), Err(VerifyError::Malformed)),
        (fields([("authorization", HEALTHKIT_KEY)]), Err(VerifyError::Malformed)),
        (fields([("authorization", "Basic healthkit-key-77")]), Err(VerifyError::Malformed)),
        (fields([key, key]), Err(VerifyError::Malformed)),
        (fields([bearer, bearer]), Err(VerifyError::Malformed)),
        (fields([signature, signature, key]), Err(VerifyError::Malformed)),
        (fields([("x-api-key", "\u{fffd}"), bearer]), Err(VerifyError::Malformed)),
    ];
    for (headers, outcome) in cases {
        let verified = verify(&healthkit_device(), &headers, SAMPLES_BODY).map(|_| ());
        assert_eq!(verified, outcome, "{:?}", headers.0);
    }
    let keys_only =
        HealthKit::new(&HealthKitConfig { api_keys: vec![HEALTHKIT_KEY.to_owned()], ..Default::default() });
    assert_eq!(verify(&keys_only, &fields([signature]), SAMPLES_BODY).err(), Some(VerifyError::NoSecret));
}

#[test]
fn the_handshake_gives_the_challenge_back_to_who_knows_the_token() {
    let ask = |query: &[(&str, &str)]| {
        let query: Vec<_> = query.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
        oura_device().handshake(&query)
    };
    let token = ("verification_token", OURA_TOKEN);
    let challenge = ("challenge", "r4nd\"om");
    let answer = Handshake::Answer(r#"{"challenge":"r4nd\"om"}"#.to_owned());
    assert_eq!(ask(&[token, challenge]), answer);
    assert_eq!(ask(&[("x", "y"), challenge, token]), answer);
    let refused: [&[_]; 7] = [
        &[],
        &[token],
        &[challenge],
        &[("verification_token", "wrong"), challenge],
        &[("verification_token", ""), challenge],
        &[token, token, challenge],
        &[token, challenge, challenge],
    ];
    for query in refused {
        assert_eq!(ask(query), Handshake::Refused, "{query:?}");
    }
    let without_token = Oura::new(&OuraConfig { webhook_secret: "s".to_owned(), ..OuraConfig::default() });
    let query = [("verification_token", ""), challenge].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(without_token.handshake(&query), Handshake::Refused);
    assert_eq!(healthkit_device().handshake(&query), Handshake::None);
}

#[test]
fn the_same_delivery_has_the_same_key_and_any_other_has_another() {
    let device = healthkit_device();
    let key = ("x-api-key", HEALTHKIT_KEY);
    let key_of = |headers: Fields, query: Option<&str>, body: &str| {
        delivery_key("healthkit", &verify_for(&device, &headers, query, body).unwrap())
    };
    let plain = key_of(fields([key]), None, SAMPLES_BODY);
    // By which credential a delivery came does not matter.
    assert_eq!(plain, key_of(fields([("signature", SAMPLES_SIGNATURE)]), None, SAMPLES_BODY));
    let for_user = key_of(fields([key]), Some("user-81"), SAMPLES_BODY);
    assert_eq!(for_user, key_of(fields([key, ("x-user-id", "user-81")]), None, SAMPLES_BODY));
    let others = [
        for_user,
        key_of(fields([key]), Some("user-82"), SAMPLES_BODY),
        key_of(fields([key]), None, "{}"),
        // What is the user's and what is the body's is told apart.
        key_of(fields([key]), Some("user-8"), "1{}"),
        key_of(fields([key]), Some("user-81"), "{}"),
        delivery_key("oura", &verify(&device, &fields([key]), SAMPLES_BODY).unwrap()),
    ];
    for (i, other) in others.iter().enumerate() {
        assert_ne!(*other, plain, "{i}");
        assert!(!others[..i].contains(other), "{i}");
    }
    let inflated = verify(&device, &fields([key]), "compressed").unwrap();
    let inflated = inflated.with_body(Bytes::from_static(SAMPLES_BODY.as_bytes()));
    assert_eq!(delivery_key("healthkit", &inflated), plain);
    assert_eq!(inflated.body(), SAMPLES_BODY.as_bytes());

    let signature = signing::inline(OURA_SECRET, NATIVE_BODY.as_bytes());
    let inline = verify(&oura_device(), &fields([("signature", signature.as_str())]), NATIVE_BODY).unwrap();
    let signed = fields([("x-oura-signature", NATIVE_SIGNATURE), ("x-oura-timestamp", "1789041600")]);
    let native = verify(&oura_device(), &signed, NATIVE_BODY).unwrap();
    assert_ne!(delivery_key("oura", &inline), delivery_key("oura", &native));

    let hour_ms = crate::domain::time::MS_PER_HOUR;
    let at = |ms| key_within(plain, Timestamp::from_ms(ms), hour_ms);
    assert_eq!(at(0), at(hour_ms - 1), "a retry");
    assert_ne!(at(0), at(hour_ms), "news");
    assert_ne!(at(0), plain);
}

#[test]
fn nothing_that_is_printed_holds_a_secret_or_a_body() {
    let config = OuraConfig {
        webhook_secret: "hush".to_owned(),
        verification_token: "hush".to_owned(),
        tolerance_s: 300,
    };
    let keys = HealthKitConfig { api_keys: vec!["hush".to_owned()], signature_secret: "hush".to_owned() };
    let headers = fields([("x-api-key", "hush"), ("x-user-id", "hush")]);
    let verified = verify_for(&HealthKit::new(&keys), &headers, Some("hush"), "hush").unwrap();
    for text in [format!("{config:?}"), format!("{keys:?}"), format!("{verified:?}")] {
        assert!(!text.contains("hush"), "{text}");
    }
}
