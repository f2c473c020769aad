//! Terra's door: who is believed, which delivery is the same again, and what its messages are.

use super::*;
use crate::domain::admission::Version;
use crate::domain::fetch::TerraFetch;
use crate::domain::time::UtcOffset;
use crate::vendors::fetch::{expired, read, request};
use crate::vendors::terra::{Terra, TerraConfig};
use crate::vendors::{Owner, delivery_key};

pub(super) const TERRA_SECRET: &str = "terra-signing-secret-71ab";

/// The test vector of vendors.md §5, signed at [`NOW_S`].
const VECTOR: &str = r#"{"type":"daily","user":{"user_id":"0f2c9a44-6d0e-4b3f-a0a5-58b9a1f3c7de","provider":"OURA","reference_id":"user-81"},"data":[{"metadata":{"start_time":"2026-09-09T00:00:00.000000+02:00","end_time":"2026-09-10T00:00:00.000000+02:00","upload_type":1},"distance_data":{"steps":8412}}],"version":"2022-03-16"}"#;
const VECTOR_HEADER: &str =
    "t=1789041600,v1=1d3fef65a00cf17bdff56446838fcac5ecb8de88728c6aba2984ff67a054aded";
const VECTOR_HEX: &str = "1d3fef65a00cf17bdff56446838fcac5ecb8de88728c6aba2984ff67a054aded";

fn config() -> TerraConfig {
    TerraConfig {
        webhook_secret: TERRA_SECRET.to_owned(),
        tolerance_s: 300,
        payload_host: "https://payloads.example:8443".to_owned(),
    }
}

pub(super) fn terra_device() -> Terra {
    Terra::new(&config())
}

/// A believed delivery of this body, with these header fields beside the signature.
pub(super) fn verified_with(told: &[(&'static str, &str)], body: &str) -> Verified {
    let signature = signing::terra(TERRA_SECRET, NOW_S, body.as_bytes());
    let headers = fields([("x-terra-signature", signature.as_str())].into_iter().chain(told.iter().copied()));
    verify(&terra_device(), &headers, body).unwrap()
}

pub(super) fn decode_terra(told: &[(&'static str, &str)], body: &str) -> Result<Decoded, DecodeError> {
    terra_device().decode(&verified_with(told, body), NOW)
}

fn reason(body: &str) -> &'static str {
    match decode_terra(&[], body) {
        Ok(Decoded::Ignored { reason }) => reason,
        other => panic!("{body} is not ignored: {other:?}"),
    }
}

fn believed(list: &[(&'static str, &str)]) -> Result<(), VerifyError> {
    verify(&terra_device(), &fields(list.iter().copied()), VECTOR).map(drop)
}

#[test]
fn the_vector_is_believed_under_either_name_and_made_by_our_own_signer() {
    assert_eq!(signing::terra(TERRA_SECRET, NOW_S, VECTOR.as_bytes()), VECTOR_HEADER);
    for name in ["terra-signature", "x-terra-signature"] {
        assert_eq!(believed(&[(name, VECTOR_HEADER)]), Ok(()), "{name}");
    }
    let both = [("terra-signature", VECTOR_HEADER), ("x-terra-signature", VECTOR_HEADER)];
    assert_eq!(believed(&both), Ok(()));
}

#[test]
fn one_of_several_signatures_is_enough_and_the_time_stands_once() {
    let zeros = "0".repeat(64);
    let old_key_beside = format!("t=1789041600,v1={zeros},v1={VECTOR_HEX}");
    let in_other_order = format!("v1={VECTOR_HEX}, v0=abc, t=1789041600");
    for header in [&old_key_beside, &in_other_order] {
        assert_eq!(believed(&[("terra-signature", header)]), Ok(()), "{header}");
    }
    let cases = [
        (format!("t=1789041600,t=1789041600,v1={VECTOR_HEX}"), VerifyError::Malformed),
        (format!("t=1789041600,t=1,v1={VECTOR_HEX}"), VerifyError::Malformed),
        (format!("v1={VECTOR_HEX}"), VerifyError::Malformed),
        ("t=1789041600".to_owned(), VerifyError::Malformed),
        (String::new(), VerifyError::Malformed),
        (format!("t=,v1={VECTOR_HEX}"), VerifyError::Malformed),
        (format!("t=１,v1={VECTOR_HEX}"), VerifyError::Malformed),
        (format!("t=1789041600,v1={}", &VECTOR_HEX[1..]), VerifyError::Malformed),
        (format!("t=1789041600{}", format!(",v1={VECTOR_HEX}").repeat(6)), VerifyError::Malformed),
        (format!("t=1789041600,v1={zeros}"), VerifyError::Mismatch),
        (format!("t=1789041601,v1={VECTOR_HEX}"), VerifyError::Mismatch),
        (format!("t=1789041600,v0={VECTOR_HEX}"), VerifyError::Malformed),
    ];
    for (header, outcome) in cases {
        assert_eq!(believed(&[("x-terra-signature", &header)]), Err(outcome), "{header}");
    }
    let twice = [("terra-signature", VECTOR_HEADER), ("terra-signature", VECTOR_HEADER)];
    assert_eq!(believed(&twice), Err(VerifyError::Malformed));
    assert_eq!(believed(&[]), Err(VerifyError::Missing));
    let nobody = Terra::new(&TerraConfig { webhook_secret: " ".to_owned(), ..TerraConfig::default() });
    let headers = fields([("terra-signature", VECTOR_HEADER)]);
    assert_eq!(verify(&nobody, &headers, VECTOR).err(), Some(VerifyError::NoSecret));
}

#[test]
fn a_signed_time_is_believed_inside_the_tolerance_with_both_ends() {
    for (at, outcome) in [
        (NOW_S - 300, Ok(())),
        (NOW_S - 301, Err(VerifyError::Stale)),
        (NOW_S + 300, Ok(())),
        (NOW_S + 301, Err(VerifyError::Future)),
        (9_999_999_999_999_999, Err(VerifyError::Future)),
    ] {
        let header = signing::terra(TERRA_SECRET, at, VECTOR.as_bytes());
        assert_eq!(believed(&[("terra-signature", &header)]), outcome, "{at}");
    }
}

#[test]
fn the_python_systems_header_opens_the_same_door() {
    let body = r#"{"user":{"user_id":"user-81"},"ts":"2026-09-10T06:00:00Z","heart_rate_data":{"hrv":45.5},"sleep_data":{"score":81},"activity_data":{"steps":12}}"#;
    let signature = signing::inline(TERRA_SECRET, body.as_bytes());
    let verified = verify(&terra_device(), &fields([("signature", signature.as_str())]), body).unwrap();
    let (drafts, rejected) = events(terra_device().decode(&verified, NOW));
    assert_eq!((drafts.len(), rejected.total), (1, 0));
    assert_eq!((drafts[0].user_id.as_str(), &*drafts[0].kind), ("user-81", "inline"));
    let read: Vec<(&str, f64, String)> = facts(&drafts[0])
        .iter()
        .map(|fact| (fact.reading.metric.name(), fact.reading.value, fact.reading.timestamp.to_string()))
        .collect();
    let at = "2026-09-10T06:00:00Z".to_owned();
    assert_eq!(read, [("hrv", 45.5, at.clone()), ("sleep_score", 81.0, at)]);
    // The format stands in the body, not in the header.
    assert_eq!(events(decode_terra(&[], body)).0, drafts);

    let kept = r#"{"user":{"user_id":"user-81"},"ts":1789020000,"heart_rate_data":{"hrv":4500},"sleep_data":{"score":81}}"#;
    let (drafts, rejected) = events(decode_terra(&[], kept));
    assert_eq!((drafts[0].readings_len(), rejected.listed[0].path.as_str()), (1, "/heart_rate_data/hrv"));
    for nothing in [
        r#"{"user":{"user_id":"user-81"},"ts":1789020000,"activity_data":{"steps":1}}"#,
        r#"{"user":{"user_id":"user-81"},"ts":1789020000,"sleep_data":{"score":"81"}}"#,
    ] {
        assert!(matches!(decode_terra(&[], nothing), Err(DecodeError::NothingUsable(_))), "{nothing}");
    }
    let no_user = r#"{"user":{"user_id":" "},"ts":1789020000,"sleep_data":{"score":81}}"#;
    assert!(matches!(decode_terra(&[], no_user), Err(DecodeError::UserId { .. })));
    assert_eq!(shape_path(decode_terra(&[], r#"{"user":{"user_id":"u"}}"#)), "/ts");
    assert_eq!(shape_path(decode_terra(&[], "{}")), "/user");
}

#[test]
fn a_trace_id_is_a_deliverys_name_and_a_reference_is_not() {
    let key = |told: &[(&'static str, &str)], body: &str| delivery_key("terra", &verified_with(told, body));
    let other = VECTOR.replace("8412", "8413");
    let (one, two) = ("x-terra-trace-id", "x-terra-ordering-timestamp");
    assert_eq!(key(&[(one, "trace-1")], VECTOR), key(&[(one, "trace-1")], &other));
    assert_ne!(key(&[(one, "trace-1")], VECTOR), key(&[(one, "trace-2")], VECTOR));
    assert_ne!(key(&[(one, "job:chunk:1")], VECTOR), key(&[(one, "job:chunk:2")], VECTOR));
    let reference = ("terra-reference", "job-1");
    assert_ne!(key(&[reference], VECTOR), key(&[reference], &other));
    assert_eq!(key(&[reference], VECTOR), key(&[("terra-reference", "job-2")], VECTOR));
    // Without a trace, the same words at another time tell that it is so again.
    assert_ne!(key(&[(two, "1789041600000")], VECTOR), key(&[(two, "1789041600001")], VECTOR));
    assert_eq!(key(&[(two, "1789041600000")], VECTOR), key(&[(two, "1789041600000")], VECTOR));
}

#[test]
fn what_is_told_of_accounts_and_of_terra_itself_is_no_data() {
    let user = r#""user":{"user_id":"a","reference_id":"user-81"}"#;
    for kind in
        ["auth", "auth_cancelled", "deauth", "access_revoked", "permission_change", "connection_error"]
    {
        assert_eq!(reason(&format!(r#"{{"type":"{kind}",{user}}}"#)), "life cycle handled", "{kind}");
        assert_eq!(reason(&format!(r#"{{"type":"{kind}"}}"#)), "life cycle handled", "{kind}");
    }
    for kind in [
        "large_request_processing",
        "large_request_sending",
        "processing",
        "rate_limit_hit",
        "google_no_datasource",
        "healthcheck",
    ] {
        assert_eq!(reason(&format!(r#"{{"type":"{kind}"}}"#)), "operation noted", "{kind}");
    }
    assert_eq!(reason(r#"{"type":"telepathy","user":7}"#), "unknown type");
    let athlete = format!(r#"{{"type":"athlete",{user},"athlete":{{"age":61,"gender":"male"}}}}"#);
    assert_eq!(reason(&athlete), "no metrics are kept of this data type");
    for kind in ["activity", "body", "daily", "sleep"] {
        for data in [r#","data":[]"#, r#","data":null"#, ""] {
            assert_eq!(reason(&format!(r#"{{"type":"{kind}",{user}{data}}}"#)), "empty data", "{kind}");
        }
    }
    assert_eq!(shape_path(decode_terra(&[], &format!(r#"{{"type":"daily",{user},"data":{{}}}}"#))), "/data");
}

#[test]
fn of_a_payload_on_the_configured_host_the_path_is_asked_for_and_of_any_other_the_whole_address() {
    let decode = |url: &str| {
        let body = format!(r#"{{"type":"s3_payload","status":"success","url":{url},"expires_in":300}}"#);
        decode_terra(&[("x-terra-ordering-timestamp", "1789041500000")], &body)
    };
    let asked = |decoded| match decoded {
        Ok(Decoded::Notification { plan, .. }) => request(&plan.fetches[0], UtcOffset::default()).path,
        other => panic!("{other:?}"),
    };
    match decode(r#""https://payloads.example:8443/a%20b/c.json?X-Amz-Signature=00&x=%2F""#) {
        Ok(Decoded::Notification { plan, is_dated, .. }) => {
            let [fetch] = plan.fetches.as_slice() else { panic!("{plan:?}") };
            let request = request(fetch, UtcOffset::default());
            assert_eq!(request.path, "/a%20b/c.json?X-Amz-Signature=00&x=%2F");
            assert!(request.is_link && is_dated && request.query.is_empty());
            assert_eq!(plan.changed_at, Timestamp::from_ms(1_789_041_500_000));
            assert!(!format!("{plan:?}").contains("Amz"), "the address opens it");
        }
        other => panic!("{other:?}"),
    }
    for elsewhere in [
        "http://payloads.example:8443/a",
        "https://payloads.example/a",
        "https://payloads.example:8443.evil/a",
        "https://payloads.example:8443@evil/a",
        "https://payloads.example:84430/a",
        "https://payloads.example:8443\\evil/a",
        "https://evil/https://payloads.example:8443/a",
        "https://payloads.example:8443",
        "https://169.254.169.254/latest/meta-data",
    ] {
        // Whoever asks looks at the host of it, and refuses.
        let url = serde_json::Value::from(elsewhere).to_string();
        assert_eq!(asked(decode(&url)), elsewhere);
    }
    let long = format!("https://payloads.example:8443/{}", "a".repeat(8 << 10));
    for none in
        ["https://payloads.example:8443/a b", "//payloads.example:8443/a", "file:///etc/passwd", "", &long]
    {
        assert_eq!(shape_path(decode(&format!("\"{none}\""))), "/url", "{none}");
    }
    assert_eq!(shape_path(decode("7")), "/url");
    assert_eq!(reason(r#"{"type":"s3_payload","status":"failed","url":null}"#), "no payload to download");
    // Nobody has said where: nowhere.
    let nowhere = Terra::new(&TerraConfig { payload_host: String::new(), ..config() });
    let body = r#"{"type":"s3_payload","url":"https://payloads.example:8443/a"}"#;
    let whole = asked(nowhere.decode(&verified_with(&[], body), NOW));
    assert_eq!(whole, "https://payloads.example:8443/a");
}

#[test]
fn an_address_that_tells_when_it_ends_has_expired_after_that() {
    // Five minutes before now, to the second.
    for (query, is_told) in [
        (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260910T115500Z&X-Amz-Expires=300&X-Amz-Signature=0",
            true,
        ),
        ("X-Amz-Expires=299&X-Amz-Date=20260910T115501Z", true),
        ("AWSAccessKeyId=A&Expires=1789041600&Signature=x%3D", true),
        ("X-Amz-Date=20260910T115500Z", false),
        ("X-Amz-Date=20260910T115500Z&Expires=1", false),
        ("X-Amz-Date=yesterday&X-Amz-Expires=300", false),
        ("X-Amz-Date=20260910T115500Z&X-Amz-Expires=-300", false),
        ("X-Amz-Date=20260910T115500Z&X-Amz-Expires=99999999999999999999", false),
        ("Expires=soon", false),
        ("NotExpires=1", false),
        ("", false),
    ] {
        let fetch = TerraFetch::Payload { address: format!("/a?{query}") }.into();
        assert_eq!(expired(&fetch, NOW), None, "{query}");
        assert_eq!(expired(&fetch, NOW.plus_ms(1)).is_some(), is_told, "{query}");
    }
    let fetch = TerraFetch::Payload { address: "/Expires=1".to_owned() }.into();
    assert_eq!(expired(&fetch, NOW), None);
}

#[test]
fn a_payload_that_is_a_part_of_a_history_is_history() {
    let body = r#"{"type":"s3_payload","url":"https://payloads.example:8443/a"}"#;
    for (trace, is_history) in [("job:chunk:7", true), ("job", false)] {
        match decode_terra(&[("x-terra-trace-id", trace)], body) {
            Ok(Decoded::Notification { plan, .. }) => assert_eq!(plan.is_backfill, is_history, "{trace}"),
            other => panic!("{other:?}"),
        }
        let owner = Owner { is_backfill: is_history, ..super::oura_records::owner() };
        let fetch = TerraFetch::Payload { address: "/a".to_owned() }.into();
        let fetched = read(&fetch, VECTOR.as_bytes(), &owner).unwrap();
        assert!(fetched.drafts.iter().all(|draft| draft.is_backfill == is_history), "{trace}");
    }
}

#[test]
fn a_payload_is_read_like_a_delivery() {
    let fetch = TerraFetch::Payload { address: "/a".to_owned() }.into();
    let owner = super::oura_records::owner();
    let read = |body: &str| read(&fetch, body.as_bytes(), &owner).unwrap();
    let fetched = read(VECTOR);
    let sent = events(decode_terra(&[], VECTOR)).0;
    assert_eq!((&fetched.drafts[0].user_id, fetched.local_to), (&sent[0].user_id, None));
    let Facts::Record { identity, version, readings, .. } = &fetched.drafts[0].facts else {
        panic!("no record")
    };
    let Facts::Record { identity: same, readings: same_readings, .. } = &sent[0].facts else {
        panic!("no record")
    };
    assert_eq!(
        (identity, readings, *version),
        (same, same_readings, Version::Given(owner.changed_at.as_ms()))
    );
    let local = VECTOR.replace("+02:00", "").replace("\"reference_id\":\"user-81\"", "\"reference_id\":null");
    assert!(read(&local).local_to.is_some_and(|account| account.as_str().starts_with("0f2c9a44")));
    let empty = read(r#"{"type":"s3_payload","url":"https://payloads.example:8443/a"}"#.replace("s3_payload", "auth").as_str());
    assert!(empty.drafts.is_empty());
}

#[test]
fn an_account_that_is_connected_again_moves() {
    let body = r#"{"type":"user_reauth","old_user":{"user_id":"old-1"},"new_user":{"user_id":"new-2"}}"#;
    match decode_terra(&[], body) {
        Ok(Decoded::AccountMoved { from, to, user_id, .. }) => {
            assert_eq!((from.as_str(), to.as_str(), user_id), ("old-1", "new-2", None));
        }
        other => panic!("{other:?}"),
    }
    let named = body.replace(r#""new-2""#, r#""new-2","reference_id":"user-81""#);
    match decode_terra(&[], &named) {
        Ok(Decoded::AccountMoved { user_id, .. }) => {
            assert_eq!(user_id.as_ref().map(|user| user.as_str()), Some("user-81"));
        }
        other => panic!("{other:?}"),
    }
    let known = body.replace(r#""old-1""#, r#""old-1","reference_id":"user-9""#);
    match decode_terra(&[], &known) {
        Ok(Decoded::AccountMoved { user_id, .. }) => {
            assert_eq!(user_id.as_ref().map(|user| user.as_str()), Some("user-9"));
        }
        other => panic!("{other:?}"),
    }
    let half = r#"{"type":"user_reauth","old_user":{"user_id":"old-1"}}"#;
    assert_eq!(shape_path(decode_terra(&[], half)), "/new_user");
    let nobody = r#"{"type":"user_reauth","old_user":{"user_id":" "},"new_user":{"user_id":"b"}}"#;
    assert!(matches!(decode_terra(&[], nobody), Err(DecodeError::UserId { .. })));
}

#[test]
fn a_reference_is_our_id_and_an_empty_one_is_none() {
    let user_of = |user: &str| {
        let body = format!(
            r#"{{"type":"daily","user":{user},"data":[{{"metadata":{{"start_time":"2026-09-09T00:00:00Z"}},"distance_data":{{"steps":1}}}}]}}"#
        );
        let (drafts, _) = events(decode_terra(&[], &body));
        drafts[0].user_id.as_str().to_owned()
    };
    assert_eq!(user_of(r#"{"user_id":"t-1","reference_id":"user-81"}"#), "user-81");
    assert_eq!(user_of(r#"{"reference_id":"user-81"}"#), "user-81");
    for none in ["", r#","reference_id":"""#, r#","reference_id":null"#] {
        assert_eq!(user_of(&format!(r#"{{"user_id":"t-1"{none}}}"#)), "terra:t-1");
    }
    for bad in [r#"{"user_id":"t-1","reference_id":" "}"#, r#"{"user_id":""}"#, r#"{"user_id":"a\u0000"}"#] {
        let body = format!(r#"{{"type":"daily","user":{bad},"data":[{{}}]}}"#);
        assert!(matches!(decode_terra(&[], &body), Err(DecodeError::UserId { .. })), "{bad}");
    }
    assert_eq!(shape_path(decode_terra(&[], r#"{"type":"daily","data":[{}]}"#)), "/user");
    assert_eq!(shape_path(decode_terra(&[], r#"{"type":"daily","user":{},"data":[{}]}"#)), "/user/user_id");
}
