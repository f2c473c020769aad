//! WHOOP's signature and notifications, and the Python system's bodies on the same endpoint.

use super::*;
use crate::domain::delivery::Format;
use crate::domain::event::DeviceType;
use crate::domain::ids::{IdError, UserId};
use crate::vendors::Handshake;

/// The vector of vendors.md §3.
const BODY: &str = r#"{"user_id":456789,"id":"3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10","type":"recovery.updated","trace_id":"0d9f2a1c-6a54-4a3e-8a54-2f0c7d1e4b55"}"#;
const SIGNATURE: &str = "bSyxuEGDo07uhILGgNy59Lz0pCm+LHl5A+GzKPaStCE=";
const SIGNED_MS: &str = "1789041600123";

fn native(signature: &str, timestamp: &str) -> Result<Format, VerifyError> {
    let headers = fields([("x-whoop-signature", signature), ("x-whoop-signature-timestamp", timestamp)]);
    verify(&whoop_device(), &headers, BODY).map(|verified| verified.format())
}

#[test]
fn whoops_published_vector_verifies_and_our_signer_makes_it() {
    assert_eq!(native(SIGNATURE, SIGNED_MS), Ok(Format::Vendor));
    assert_eq!(signing::whoop(WHOOP_SECRET, 1_789_041_600_123, BODY.as_bytes()), SIGNATURE);
    assert_eq!(notified(decode_whoop_native(BODY.as_bytes())), "whoop:456789");
}

#[test]
fn base64_of_32_bytes_with_its_padding_is_the_only_form() {
    let hex = "6d2cb1b84183a34eee8482c680dcb9f4bcf4a429be2c797903e1b328f692b421";
    let cases = [
        String::new(),
        " ".to_owned(),
        SIGNATURE.trim_end_matches('=').to_owned(),
        format!("{SIGNATURE}="),
        format!(" {SIGNATURE}"),
        SIGNATURE.replace('+', "-"),
        // The last two bits are outside of the 32 bytes: with them set there would be a second spelling.
        SIGNATURE.replace("E=", "F="),
        format!("{}{SIGNATURE}", "AAAA".repeat(8)),
        SIGNATURE[..40].to_owned(),
        "A".repeat(60_000),
        hex.to_owned(),
    ];
    for signature in cases {
        assert_eq!(native(&signature, SIGNED_MS), Err(VerifyError::Malformed), "{signature:?}");
    }
    assert_eq!(native(&SIGNATURE.replace('b', "c"), SIGNED_MS), Err(VerifyError::Mismatch));
}

#[test]
fn every_changed_byte_of_whoops_body_timestamp_or_secret_is_a_mismatch() {
    let headers = fields([("x-whoop-signature", SIGNATURE), ("x-whoop-signature-timestamp", SIGNED_MS)]);
    for at in 0..BODY.len() {
        let mut body = BODY.as_bytes().to_vec();
        body[at] ^= 1;
        let raw =
            RawDelivery { headers: &headers, query_user: None, body: Bytes::from(body), received_at: NOW };
        assert_eq!(whoop_device().verify(raw).err(), Some(VerifyError::Mismatch), "byte {at}");
    }
    assert_eq!(native(SIGNATURE, "1789041600124"), Err(VerifyError::Mismatch));
    assert_eq!(native(SIGNATURE, "01789041600123"), Err(VerifyError::Mismatch));
    let other_secret = signing::whoop("whoop-client-secret-9e28", 1_789_041_600_123, BODY.as_bytes());
    assert_eq!(native(&other_secret, SIGNED_MS), Err(VerifyError::Mismatch));
    // With a point in between, as some public code has it.
    let dotted = signing::whoop(WHOOP_SECRET, 1_789_041_600_123, format!(".{BODY}").as_bytes());
    assert_eq!(native(&dotted, SIGNED_MS), Err(VerifyError::Mismatch));
}

#[test]
fn whoops_signed_timestamp_is_milliseconds_inside_the_tolerance_with_both_ends() {
    let cases = [
        (NOW.as_ms() - 300_000, Ok(Format::Vendor)),
        (NOW.as_ms() - 300_001, Err(VerifyError::Stale)),
        (NOW.as_ms() + 300_000, Ok(Format::Vendor)),
        (NOW.as_ms() + 300_001, Err(VerifyError::Future)),
        // Seconds, taken as milliseconds, lie in 1970.
        (NOW_S, Err(VerifyError::Stale)),
        (0, Err(VerifyError::Stale)),
        (9_999_999_999_999_999, Err(VerifyError::Future)),
    ];
    for (timestamp, outcome) in cases {
        let signature = signing::whoop(WHOOP_SECRET, timestamp, BODY.as_bytes());
        assert_eq!(native(&signature, &timestamp.to_string()), outcome, "{timestamp}");
    }
    for malformed in ["", " ", "-1789041600123", "1789041600123.0", "1.7e12", "17890416001230000", "１７８９"]
    {
        assert_eq!(native(SIGNATURE, malformed), Err(VerifyError::Malformed), "{malformed:?}");
    }
    // Only who has the secret learns that the time was wrong.
    assert_eq!(native(SIGNATURE, "1"), Err(VerifyError::Mismatch));
}

#[test]
fn whoops_own_header_decides_and_no_signed_field_may_occur_twice() {
    let signature = ("x-whoop-signature", SIGNATURE);
    let timestamp = ("x-whoop-signature-timestamp", SIGNED_MS);
    let inline = signing::inline(WHOOP_SECRET, BODY.as_bytes());
    let upper = inline.to_uppercase();
    let cases = [
        (fields([]), Err(VerifyError::Missing)),
        (fields([timestamp]), Err(VerifyError::Missing)),
        (fields([signature]), Err(VerifyError::Missing)),
        (fields([signature, timestamp]), Ok(Format::Vendor)),
        (fields([signature, signature, timestamp]), Err(VerifyError::Malformed)),
        (fields([signature, timestamp, timestamp]), Err(VerifyError::Malformed)),
        (fields([("x-whoop-signature", "\u{fffd}"), timestamp]), Err(VerifyError::Malformed)),
        (fields([("signature", &*inline)]), Ok(Format::Inline)),
        (fields([("signature", &*upper)]), Ok(Format::Inline)),
        (fields([("signature", SIGNATURE)]), Err(VerifyError::Malformed)),
        (fields([("signature", &*inline), ("signature", &*inline)]), Err(VerifyError::Malformed)),
        (fields([signature, timestamp, ("signature", "sig1=:AAAA:")]), Ok(Format::Vendor)),
        (
            fields([("x-whoop-signature", "AA=="), timestamp, ("signature", &*inline)]),
            Err(VerifyError::Malformed),
        ),
    ];
    for (headers, outcome) in cases {
        let verified = verify(&whoop_device(), &headers, BODY).map(|verified| verified.format());
        assert_eq!(verified, outcome, "{:?}", headers.0);
    }
    let blank = Whoop::new(&WhoopConfig { webhook_secret: " \n".to_owned(), tolerance_s: 300 });
    let verified = verify(&blank, &fields([signature, timestamp]), BODY);
    assert_eq!(verified.err(), Some(VerifyError::NoSecret));
    assert_eq!(whoop_device().handshake(&[]), Handshake::None);
    let config = WhoopConfig { webhook_secret: "hush".to_owned(), tolerance_s: 300 };
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn whoops_notification_names_the_user_by_every_digit() {
    for (user, id) in [("9007199254740993", "3c6f"), ("9223372036854775807", "3c6f"), (r#""456789""#, "3c6f")]
    {
        for kind in ["sleep.updated", "recovery.updated", "workout.updated"] {
            let body = format!(r#"{{"user_id":{user},"id":"{id}","type":"{kind}","trace_id":"t"}}"#);
            let expected = format!("whoop:{}", user.trim_matches('"'));
            assert_eq!(notified(decode_whoop_native(body.as_bytes())), expected, "{body}");
        }
    }
    // An id of version 1.
    let body = br#"{"user_id":456789,"id":9007199254740993,"type":"sleep.updated"}"#;
    assert_eq!(notified(decode_whoop_native(body)), "whoop:456789");
}

#[test]
fn a_trace_id_tells_whoops_notification_from_the_next_one() {
    let is_dated = |trace: &str| {
        let body = format!(r#"{{"user_id":1,"id":"3c6f","type":"sleep.updated"{trace}}}"#);
        match decode_whoop_native(body.as_bytes()) {
            Ok(Decoded::Notification { is_dated, .. }) => is_dated,
            other => panic!("no notification: {other:?}"),
        }
    };
    assert!(is_dated(r#","trace_id":"t""#));
    assert!(!is_dated("") && !is_dated(r#","trace_id":null"#));
}

#[test]
fn whoops_unknown_types_are_ignored() {
    for kind in ["cycle.updated", "sleep.created", "Sleep.updated", ""] {
        let body = format!(r#"{{"user_id":1,"id":"3c6f","type":"{kind}","trace_id":"t"}}"#);
        assert!(matches!(decode_whoop_native(body.as_bytes()), Ok(Decoded::Ignored { .. })), "{kind}");
        let body = format!(r#"{{"user_id":"user-1","id":"3c6f","type":"{kind}","trace_id":"t"}}"#);
        assert!(matches!(decode_whoop_inline(body.as_bytes()), Ok(Decoded::Ignored { .. })), "{kind}");
    }
    let deleted = br#"{"user_id":"user-1","id":"3c6f","type":"sleep.deleted","trace_id":"t"}"#;
    assert!(
        matches!(decode_whoop_inline(deleted), Ok(Decoded::Ignored { .. })),
        "no word of the Python system"
    );
}

#[test]
fn whoops_notification_with_a_broken_field_is_refused_by_its_place() {
    let cases = [
        (r#"[]"#, ""),
        (r#"{"user_id":1,"id":"a"}"#, "/type"),
        (r#"{"user_id":1,"id":"a","type":7}"#, "/type"),
        (r#"{"user_id":1.5,"id":"a","type":"sleep.updated"}"#, "/user_id"),
        (r#"{"user_id":-1,"id":"a","type":"sleep.updated"}"#, "/user_id"),
        (r#"{"user_id":[1],"id":"a","type":"sleep.updated"}"#, "/user_id"),
        (r#"{"user_id":1,"type":"sleep.updated"}"#, "/id"),
        (r#"{"user_id":1,"id":null,"type":"sleep.updated"}"#, "/id"),
        (r#"{"user_id":1,"id":true,"type":"sleep.updated"}"#, "/id"),
        (r#"{"user_id":1,"id":" ","type":"sleep.updated"}"#, "/id"),
        (r#"{"user_id":1,"id":"a\u0007","type":"sleep.updated"}"#, "/id"),
        (r#"{"user_id":1,"user_id":2,"id":"a","type":"sleep.updated"}"#, ""),
    ];
    for (body, path) in cases {
        assert_eq!(shape_path(decode_whoop_native(body.as_bytes())), path, "{body}");
    }
    let long = format!(r#"{{"user_id":1,"id":"{}","type":"sleep.updated"}}"#, "a".repeat(129));
    assert_eq!(shape_path(decode_whoop_native(long.as_bytes())), "/id");
    let missing = br#"{"id":"a","type":"sleep.updated"}"#;
    assert!(matches!(decode_whoop_native(missing), Err(DecodeError::NoUser(_))));
    let blank = br#"{"user_id":" ","id":"a","type":"sleep.updated"}"#;
    let error = DecodeError::UserId { path: "/user_id", error: IdError::Blank };
    assert_eq!(decode_whoop_native(blank), Err(error));
}

#[test]
fn under_our_signature_a_body_with_a_type_is_a_notification_of_our_user_and_else_data() {
    for kind in ["sleep.updated", "recovery.updated", "workout.updated"] {
        let body = format!(r#"{{"type":"{kind}","user_id":"user-81","id":"3c6f","trace_id":"t"}}"#);
        assert_eq!(notified(decode_whoop_inline(body.as_bytes())), "user-81");
    }
    let body = br#"{"user_id":"user-81","timestamp":"2026-09-10T06:00:00Z","hrv_data":{"rmssd":45.5},"recovery":{"score":70}}"#;
    let (drafts, rejected) = events(decode_whoop_inline(body));
    assert_eq!((drafts.len(), rejected.total), (1, 0));
    assert_eq!((drafts[0].device_type, &*drafts[0].kind), (DeviceType::WhoopBand, "inline"));
    assert_eq!(drafts[0].user_id, UserId::parse("user-81").unwrap());
    assert_eq!(facts(&drafts[0]).len(), 2);
    // Another device's reading of the same moment is another fact.
    let ours: Vec<_> = drafts[0].identities().collect();
    let ouras: Vec<_> =
        events(decode_oura_inline(body)).0.iter().flat_map(|draft| draft.identities()).collect();
    assert!(ours.iter().all(|identity| !ouras.contains(identity)));
    let number = br#"{"user_id":81,"timestamp":"2026-09-10T06:00:00Z","recovery":{"score":70}}"#;
    assert_eq!(shape_path(decode_whoop_inline(number)), "/user_id");
}
