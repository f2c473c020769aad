//! What is fetched for a notification, and what a deletion leaves.

use super::*;
use crate::domain::account::VendorUserId;
use crate::domain::admission::Version;
use crate::domain::api_request::ApiRequest;
use crate::domain::fetch::{
    Fetch, FetchPlan, OuraDataType, OuraFetch, WhoopActivity, WhoopFetch, WhoopRecords, Whose,
};
use crate::domain::ids::UserId;
use crate::domain::time::UtcOffset;
use crate::vendors::fetch::request;

const EVENT_MS: i64 = NOW.as_ms() - 90_000;
/// The moment of `EVENT_MS` as Oura writes it.
const EVENT_TIME: &str = "2026-09-10T13:58:30+02:00";

fn plan(decoded: Result<Decoded, DecodeError>) -> FetchPlan {
    match decoded {
        Ok(Decoded::Notification { plan, .. }) => {
            assert_eq!(Whose::from_text(&plan.whose.to_text()), Some(plan.whose.clone()), "it can be stored");
            for fetch in &plan.fetches {
                let stored = serde_json::to_string(fetch).unwrap();
                assert_eq!(&serde_json::from_str::<Fetch>(&stored).unwrap(), fetch, "{stored}");
            }
            plan
        }
        other => panic!("no notification: {other:?}"),
    }
}

/// The requests of a plan, as addresses.
fn asked(plan: &FetchPlan, zone: &str) -> Vec<String> {
    let zone = UtcOffset::parse(zone).unwrap();
    plan.fetches.iter().map(|fetch| address(&request(fetch, zone))).collect()
}

fn address(request: &ApiRequest) -> String {
    let query: Vec<String> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    match query.is_empty() {
        true => request.path.clone(),
        false => format!("{}?{}", request.path, query.join("&")),
    }
}

fn oura(event_type: &str, data_type: &str, rest: &str) -> Result<Decoded, DecodeError> {
    let body = format!(
        r#"{{"event_type":"{event_type}","data_type":"{data_type}",{rest}"user_id":"A1B2","event_time":"{EVENT_TIME}"}}"#
    );
    decode_oura_native(body.as_bytes())
}

fn whoop(kind: &str, id: &str) -> Result<Decoded, DecodeError> {
    let body = format!(r#"{{"user_id":9007199254740993,"id":{id},"type":"{kind}","trace_id":"t"}}"#);
    decode_whoop_native(body.as_bytes())
}

#[test]
fn each_oura_type_is_fetched_by_its_id_under_its_path() {
    for data_type in OuraDataType::ALL {
        for event_type in ["create", "update"] {
            let plan = plan(oura(event_type, data_type.name(), r#""object_id":"6a5f","#));
            assert_eq!(plan.whose, Whose::Vendor(VendorUserId::parse("A1B2").unwrap()));
            assert_eq!(plan.changed_at.as_ms(), EVENT_MS);
            // One is spelled otherwise in the path (vendors.md §2).
            let name = data_type.name().replace("vo2_max", "vO2_max");
            assert_eq!(asked(&plan, "Z"), [format!("/v2/usercollection/{name}/6a5f")]);
        }
    }
}

#[test]
fn without_an_object_ouras_days_around_the_event_are_fetched() {
    for rest in ["", r#""object_id":null,"#, r#""object_id":" ","#] {
        for event_type in ["create", "update", "delete"] {
            let plan = plan(oura(event_type, "daily_sleep", rest));
            let days = "/v2/usercollection/daily_sleep?start_date=2026-09-09&end_date=2026-09-11";
            assert_eq!(asked(&plan, "Z"), [days], "{event_type} {rest}");
        }
    }
}

#[test]
fn the_python_notifications_of_oura_fetch_yesterday_to_tomorrow_of_the_user() {
    let days = |name: &str, from: u8| {
        format!("/v2/usercollection/{name}?start_date=2026-09-{from:02}&end_date=2026-09-{}", from + 2)
    };
    for (kind, names) in [
        ("sleep.updated", vec!["sleep", "daily_sleep"]),
        ("readiness.updated", vec!["daily_readiness"]),
        ("activity.updated", vec!["daily_activity"]),
    ] {
        let body = format!(r#"{{"event_type":"{kind}","user_id":"user-81"}}"#);
        let plan = plan(decode_oura_inline(body.as_bytes()));
        assert_eq!(plan.whose, Whose::User(UserId::parse("user-81").unwrap()));
        assert_eq!(plan.changed_at, NOW);
        // Noon in UTC: the next day begins at +12:00, and at -12:01 it is still the day before.
        for (zone, from) in [("Z", 9), ("+11:59", 9), ("+12:00", 10), ("-12:00", 9), ("-12:01", 8)] {
            let expected: Vec<String> = names.iter().map(|name| days(name, from)).collect();
            assert_eq!(asked(&plan, zone), expected, "{kind} at {zone}");
        }
    }
}

#[test]
fn whoops_records_are_fetched_by_version_2_whatever_the_version_of_the_id() {
    let uuid = r#""3C6F1F6E-0b0c-4f43-9d1b-5f6e2a7c9b10""#;
    let of_v2 = "3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10";
    let big = "9007199254740993";
    let cases = [
        ("sleep.updated", uuid, format!("/v2/activity/sleep/{of_v2}")),
        ("workout.updated", uuid, format!("/v2/activity/workout/{of_v2}")),
        // No route leads from a sleep to its recovery but by way of its cycle.
        ("recovery.updated", uuid, format!("/v2/activity/sleep/{of_v2}")),
        ("recovery.updated", big, format!("/v2/cycle/{big}/recovery")),
        ("sleep.updated", big, format!("/v1/activity-mapping/{big}")),
        ("workout.updated", big, format!("/v1/activity-mapping/{big}")),
    ];
    for (kind, id, expected) in cases {
        let native = plan(whoop(kind, id));
        assert_eq!(native.whose, Whose::Vendor(VendorUserId::parse("9007199254740993").unwrap()));
        assert_eq!(asked(&native, "Z"), [expected.as_str()], "{kind} {id}");

        let body = format!(r#"{{"user_id":"user-81","id":{id},"type":"{kind}","trace_id":"t"}}"#);
        let python = plan(decode_whoop_inline(body.as_bytes()));
        assert_eq!(python.whose, Whose::User(UserId::parse("user-81").unwrap()));
        assert_eq!(python.fetches, native.fetches);
    }
}

#[test]
fn what_is_polled_is_asked_for_page_by_page() {
    let (from, to) = (Timestamp::from_ms(EVENT_MS), NOW);
    let whoop = |records, page: Option<&str>| {
        Fetch::Whoop(WhoopFetch::Records { records, from, to, page: page.map(str::to_owned), turned: 0 })
    };
    let cases = [
        (whoop(WhoopRecords::Sleeps, None), "/v2/activity/sleep"),
        (whoop(WhoopRecords::Workouts, None), "/v2/activity/workout"),
        (whoop(WhoopRecords::Recoveries, None), "/v2/recovery"),
        (whoop(WhoopRecords::Cycles, None), "/v2/cycle"),
    ];
    let span = "start=2026-09-10T11:58:30Z&end=2026-09-10T12:00:00Z&limit=25";
    for (fetch, path) in cases {
        assert_eq!(address(&request(&fetch, UtcOffset::default())), format!("{path}?{span}"));
    }
    let next = request(&whoop(WhoopRecords::Cycles, Some("MTIz")), UtcOffset::default());
    assert_eq!(address(&next), format!("/v2/cycle?{span}&nextToken=MTIz"));
    let body = request(&Fetch::Whoop(WhoopFetch::Body), UtcOffset::default());
    assert_eq!(address(&body), "/v2/user/measurement/body");

    let page = Some("abc".to_owned());
    let samples = Fetch::Oura(OuraFetch::HeartRate { from, to, page: page.clone(), turned: 0 });
    let expected = "/v2/usercollection/heartrate?start_datetime=2026-09-10T11:58:30Z\
                    &end_datetime=2026-09-10T12:00:00Z&next_token=abc";
    assert_eq!(address(&request(&samples, UtcOffset::default())), expected);
    let days = Fetch::Oura(OuraFetch::Days { data_type: OuraDataType::Vo2Max, from, to, page, turned: 0 });
    let expected = "/v2/usercollection/vO2_max?start_date=2026-09-10&end_date=2026-09-10&next_token=abc";
    assert_eq!(address(&request(&days, UtcOffset::default())), expected);
}

#[test]
fn no_id_leads_anywhere_but_to_its_own_record() {
    for (id, encoded) in [
        ("../../personal_info", "..%2F..%2Fpersonal_info"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("%2e%2e", "%252e%252e"),
        ("a b\\\\c", "a%20b%5Cc"),
        ("é", "%C3%A9"),
        ("a.b-c_d~e", "a.b-c_d~e"),
    ] {
        let ours = plan(oura("update", "sleep", &format!(r#""object_id":"{id}","#)));
        assert_eq!(asked(&ours, "Z"), [format!("/v2/usercollection/sleep/{encoded}")]);
        let whoops = plan(whoop("workout.updated", &format!(r#""{id}""#)));
        assert_eq!(asked(&whoops, "Z"), [format!("/v2/activity/workout/{encoded}")]);
    }
    // Dots alone climb, encoded or not.
    for dots in [".", "..", "..."] {
        assert_eq!(shape_path(oura("update", "sleep", &format!(r#""object_id":"{dots}","#))), "/object_id");
        assert_eq!(shape_path(whoop("sleep.updated", &format!(r#""{dots}""#))), "/id");
    }
}

#[test]
fn a_deletion_is_a_tombstone_at_once_with_the_identity_of_its_record() {
    let identity = |decoded: Result<Decoded, DecodeError>, kind: &str, expected: Version, at: i64| {
        let (drafts, rejected) = events(decoded);
        let [draft] = drafts.as_slice() else { panic!("{drafts:?}") };
        assert_eq!((draft.deleted, &*draft.kind, rejected.total), (true, kind, 0));
        assert_eq!((draft.timestamp.as_ms(), draft.received_at), (at, NOW));
        let Facts::Record { identity, version, readings, .. } = &draft.facts else { panic!("{draft:?}") };
        assert_eq!((*version, readings.len()), (expected, 0), "{kind}");
        (draft.user_id.as_str().to_owned(), *identity)
    };
    let mut identities = Vec::new();
    for data_type in OuraDataType::ALL {
        let kind = crate::vendors::oura::kind_of(data_type);
        let deleted = || oura("delete", data_type.name(), r#""object_id":"6a5f","#);
        let (user, of_event) = identity(deleted(), kind, Version::Given(EVENT_MS), EVENT_MS);
        assert_eq!(user, "oura:A1B2");
        identities.push(of_event);
        // Told without a time, it is newer than whatever came before it.
        let body = format!(
            r#"{{"event_type":"delete","data_type":"{}","object_id":"6a5f","user_id":"A1B2"}}"#,
            data_type.name()
        );
        let undated = identity(decode_oura_native(body.as_bytes()), kind, Version::Arrival, NOW.as_ms());
        assert_eq!(undated.1, of_event);
    }
    let uuid = r#""3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10""#;
    for kind in ["sleep", "recovery", "workout"] {
        let deleted = |id: &str| whoop(&format!("{kind}.deleted"), id);
        let (user, of_event) = identity(deleted(uuid), kind, Version::Arrival, NOW.as_ms());
        assert_eq!(user, "whoop:9007199254740993");
        assert_eq!(identity(deleted(&uuid.to_uppercase()), kind, Version::Arrival, NOW.as_ms()).1, of_event);
        identities.push(of_event);
        // Under an id of version 1 nothing is kept.
        assert!(matches!(deleted("9007199254740993"), Ok(Decoded::Ignored { .. })), "{kind}");
    }
    let all = identities.len();
    identities.sort();
    identities.dedup();
    assert_eq!(identities.len(), all, "records of different types are different records");
}

#[test]
fn nothing_that_is_printed_of_a_plan_holds_an_id_or_a_day() {
    let plans = [
        plan(oura("update", "sleep", r#""object_id":"hush","#)),
        plan(decode_oura_inline(br#"{"event_type":"sleep.updated","user_id":"hush"}"#)),
        plan(whoop("sleep.updated", r#""hush""#)),
        plan(whoop("recovery.updated", r#""hush""#)),
        plan(whoop("recovery.updated", "4711")),
    ];
    for plan in plans {
        let text = format!("{:?} {:?}", plan.fetches, plan.whose);
        let requests: Vec<_> =
            plan.fetches.iter().map(|fetch| request(fetch, UtcOffset::default())).collect();
        for text in [text, format!("{requests:?}")] {
            for personal in ["hush", "4711", "A1B2", "9007199254740993", "2026"] {
                assert!(!text.contains(personal), "{text}");
            }
        }
    }
    let activity = WhoopFetch::Activity { kind: WhoopActivity::Sleep, id: "hush".to_owned() };
    assert_eq!(format!("{activity:?}"), "Activity(Sleep)");
}
