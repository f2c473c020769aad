//! From records of WHOOP's API to events.

use std::collections::BTreeMap;

use super::oura_records::{only, owner, refused, told, version};
use super::*;
use crate::domain::admission::Version;
use crate::domain::event::{Context, DeviceType};
use crate::domain::fetch::{Fetch, WhoopActivity, WhoopFetch, WhoopRecords};
use crate::domain::metric::Metric;
use crate::vendors::Fetched;
use crate::vendors::fetch::read;

const SLEEP_ID: &str = "3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10";

fn fetched(fetch: WhoopFetch, body: &str) -> Fetched {
    read(&Fetch::Whoop(fetch), body.as_bytes(), &owner()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

fn sleep(body: &str) -> Fetched {
    fetched(WhoopFetch::Activity { kind: WhoopActivity::Sleep, id: SLEEP_ID.to_owned() }, body)
}

fn workout(body: &str) -> Fetched {
    fetched(WhoopFetch::Activity { kind: WhoopActivity::Workout, id: "w".to_owned() }, body)
}

fn recovery(body: &str) -> Fetched {
    fetched(WhoopFetch::Recovery { cycle_id: "93845".to_owned() }, body)
}

fn ms(text: &str) -> i64 {
    Timestamp::parse_rfc3339(text).unwrap().as_ms()
}

fn near(told: &BTreeMap<&'static str, (f64, Option<Context>)>, metric: &str) -> f64 {
    told[metric].0
}

const SLEEP: &str = r#"{"id":"3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10","cycle_id":93845,"v1_id":93845,"user_id":456789,
    "created_at":"2026-09-10T05:20:00.000Z","updated_at":"2026-09-10T05:30:00.123Z",
    "start":"2026-09-09T21:10:00.000Z","end":"2026-09-10T05:10:00.000Z","timezone_offset":"+02:00","nap":false,
    "score_state":"SCORED","score":{"stage_summary":{"total_in_bed_time_milli":28800000,
    "total_awake_time_milli":3600000,"total_no_data_time_milli":0,"total_light_sleep_time_milli":14400000,
    "total_slow_wave_sleep_time_milli":5400000,"total_rem_sleep_time_milli":5400000,"sleep_cycle_count":3,
    "disturbance_count":12},"sleep_needed":{"baseline_milli":27395716,"need_from_recent_nap_milli":-12312},
    "respiratory_rate":16.11328125,"sleep_performance_percentage":98,"sleep_consistency_percentage":90,
    "sleep_efficiency_percentage":91.69533848}}"#;

const RECOVERY: &str = r#"{"cycle_id":93845,"sleep_id":"3c6f1f6e-0b0c-4f43-9d1b-5f6e2a7c9b10","user_id":456789,
    "created_at":"2026-09-10T05:25:00.000Z","updated_at":"2026-09-10T05:31:00.000Z","score_state":"SCORED",
    "score":{"user_calibrating":false,"recovery_score":44,"resting_heart_rate":64,"hrv_rmssd_milli":31.813562,
    "spo2_percentage":95.6875,"skin_temp_celsius":33.7}}"#;

const WORKOUT: &str = r#"{"id":"ecfc6a15-4661-442f-a9a4-f160dd7afae8","user_id":456789,"sport_name":"running",
    "created_at":"2026-09-10T09:00:00Z","updated_at":"2026-09-10T09:05:00Z","start":"2026-09-10T08:00:00Z",
    "end":"2026-09-10T08:45:00Z","timezone_offset":"-05:00","score_state":"SCORED","score":{"strain":8.2463,
    "average_heart_rate":123,"max_heart_rate":146,"kilojoule":1569.34033203125,"percent_recorded":100,
    "distance_meter":1772.77035916,"altitude_gain_meter":46.6,"zone_durations":{"zone_zero_milli":300000}}}"#;

#[test]
fn whoops_sleep_is_in_minutes_and_its_sleep_is_the_sum_of_its_stages() {
    let fetched = sleep(SLEEP);
    let draft = only(&fetched);
    assert_eq!((draft.device_type, &*draft.kind), (DeviceType::WhoopBand, "sleep"));
    assert_eq!(draft.timestamp.as_ms(), ms("2026-09-10T05:10:00Z"));
    assert_eq!(version(draft), Version::Given(ms("2026-09-10T05:30:00.123Z")));
    let expected = BTreeMap::from([
        ("time_in_bed_minutes", (480.0, None)),
        ("awake_minutes", (60.0, None)),
        ("light_sleep_minutes", (240.0, None)),
        ("deep_sleep_minutes", (90.0, None)),
        ("rem_sleep_minutes", (90.0, None)),
        ("total_sleep_minutes", (420.0, None)),
        ("respiratory_rate", (16.11328125, Some(Context::Sleep))),
        ("sleep_score", (98.0, None)),
        ("sleep_efficiency", (91.69533848, None)),
    ]);
    assert_eq!(told(draft), expected);
    let Facts::Record { readings, .. } = &draft.facts else { panic!("{draft:?}") };
    assert!(readings.iter().all(|reading| reading.utc_offset.map(|offset| offset.minutes()) == Some(120)));
    assert!(
        readings
            .iter()
            .all(|reading| reading.start.map(Timestamp::as_ms) == Some(ms("2026-09-09T21:10:00Z")))
    );
    // Without one of the stages nothing is summed up.
    let partial = sleep(&SLEEP.replace(r#""total_rem_sleep_time_milli":5400000,"#, ""));
    assert!(!told(only(&partial)).contains_key("total_sleep_minutes"));
}

#[test]
fn whoops_variability_is_in_milliseconds_already_and_stress_is_derived() {
    let fetched = recovery(RECOVERY);
    let draft = only(&fetched);
    assert_eq!((&*draft.kind, draft.timestamp.as_ms()), ("recovery", ms("2026-09-10T05:25:00Z")));
    let night = Some(Context::Sleep);
    let expected = BTreeMap::from([
        ("recovery_score", (44.0, None)),
        ("resting_heart_rate", (64.0, night)),
        ("hrv", (31.813562, night)),
        ("blood_oxygen", (95.6875, night)),
        ("skin_temperature", (33.7, night)),
        ("stress_level", (0.56, None)),
    ]);
    assert_eq!(told(draft), expected);
    let Facts::Record { readings, .. } = &draft.facts else { panic!("{draft:?}") };
    let stress = readings.iter().find(|reading| reading.metric == Metric::StressLevel).unwrap();
    assert_eq!((stress.confidence, stress.source.as_deref()), (Some(0.8), Some("derived")));
    // Older straps measure neither.
    let old = r#"{"sleep_id":"a","created_at":"2026-09-10T05:25:00Z","score":{"recovery_score":44,
        "resting_heart_rate":64,"hrv_rmssd_milli":31.8,"spo2_percentage":null}}"#;
    let old = recovery(old);
    assert_eq!(told(only(&old)).len(), 4);
}

#[test]
fn whoops_workout_is_told_as_effort_and_its_average_is_no_heart_rate() {
    let fetched = workout(WORKOUT);
    let draft = only(&fetched);
    assert_eq!((&*draft.kind, draft.timestamp.as_ms()), ("workout", ms("2026-09-10T08:45:00Z")));
    let told = told(draft);
    assert!(told.values().all(|(_, context)| *context == Some(Context::Workout)));
    assert_eq!(near(&told, "workout_duration_minutes"), 45.0);
    assert_eq!(near(&told, "workout_strain"), 8.2463);
    assert_eq!(near(&told, "workout_heart_rate_average"), 123.0);
    assert_eq!(near(&told, "workout_heart_rate_max"), 146.0);
    assert!((near(&told, "workout_calories") - 1569.34033203125 / 4.184).abs() < 1e-6);
    assert!((near(&told, "workout_distance_meters") - 1772.77035916).abs() < 1e-6);
    assert_eq!(told.len(), 6);
    let Facts::Record { readings, .. } = &draft.facts else { panic!("{draft:?}") };
    assert!(readings.iter().all(|reading| reading.label.as_deref() == Some("running")));
}

#[test]
fn whoops_cycle_is_dated_by_its_end_or_by_its_newest_change_while_it_runs() {
    let page = |end: &str| {
        let body = format!(
            r#"{{"records":[{{"id":9007199254740993,"user_id":456789,"created_at":"2026-09-10T05:25:00Z",
            "updated_at":"2026-09-10T11:00:00Z","start":"2026-09-09T21:10:00Z"{end},"timezone_offset":"Z",
            "score_state":"SCORED","score":{{"strain":5.2951527,"kilojoule":8288.297,"average_heart_rate":68,
            "max_heart_rate":141}}}}],"next_token":"MTIz"}}"#
        );
        let records = WhoopRecords::Cycles;
        fetched(WhoopFetch::Records { records, from: NOW, to: NOW, page: None, turned: 0 }, &body)
    };
    let running = page("");
    let ended = page(r#","end":"2026-09-10T10:50:00Z""#);
    assert_eq!(only(&running).timestamp.as_ms(), ms("2026-09-10T11:00:00Z"));
    assert_eq!(only(&ended).timestamp.as_ms(), ms("2026-09-10T10:50:00Z"));
    let told = told(only(&running));
    assert_eq!(told["strain"], (5.2951527, Some(Context::Daily)));
    assert_eq!(told["heart_rate"], (68.0, Some(Context::Daily)));
    assert!((near(&told, "total_calories") - 8288.297 / 4.184).abs() < 1e-6);
    assert_eq!(told.len(), 3);
    let further = WhoopFetch::Records {
        records: WhoopRecords::Cycles,
        from: NOW,
        to: NOW,
        page: Some("MTIz".to_owned()),
        turned: 1,
    };
    assert_eq!(running.next, Some(Fetch::Whoop(further)));
    // As doubles both ids would be the same.
    let other = fetched(
        WhoopFetch::Records { records: WhoopRecords::Cycles, from: NOW, to: NOW, page: None, turned: 0 },
        r#"{"records":[{"id":9007199254740992,"start":"2026-09-09T21:10:00Z","score":{"strain":5}}]}"#,
    );
    assert_ne!(
        only(&other).identities().collect::<Vec<_>>(),
        only(&running).identities().collect::<Vec<_>>()
    );
}

#[test]
fn a_pending_record_is_asked_for_again_and_one_that_cannot_be_scored_has_no_readings() {
    for (state, is_pending) in [("PENDING_SCORE", true), ("UNSCORABLE", false)] {
        for body in [SLEEP, RECOVERY, WORKOUT] {
            let body = body.replace("SCORED", state);
            for read in [sleep, recovery, workout] {
                let fetched = read(&body);
                assert_eq!((fetched.drafts.len(), fetched.is_pending), (0, is_pending), "{state}");
                assert_eq!(fetched.rejected.total, 0);
            }
        }
    }
    assert_eq!(refused(&sleep(&SLEEP.replace("SCORED", "LATER"))), ["/score_state"]);
    let body = format!(r#"{{"records":[{RECOVERY},{}]}}"#, RECOVERY.replace("SCORED", "PENDING_SCORE"));
    let records = WhoopRecords::Recoveries;
    let page = fetched(WhoopFetch::Records { records, from: NOW, to: NOW, page: None, turned: 0 }, &body);
    assert_eq!((page.drafts.len(), page.is_pending), (1, true), "what is there is not kept waiting");
}

#[test]
fn a_nap_says_so() {
    let label = |nap: &str| {
        let fetched = sleep(&SLEEP.replace(r#""nap":false"#, &format!(r#""nap":{nap}"#)));
        let Facts::Record { readings, .. } = &only(&fetched).facts else { panic!("{fetched:?}") };
        let labels: Vec<_> = readings.iter().map(|reading| reading.label.as_deref()).collect();
        assert!(labels.windows(2).all(|two| two[0] == two[1]) && labels.len() == 9);
        (labels[0].map(str::to_owned), refused(&fetched).len())
    };
    assert_eq!(label("true"), (Some("nap".to_owned()), 0));
    assert_eq!((label("false"), label("null")), ((None, 0), (None, 0)));
    assert_eq!(label("1"), (None, 1));
}

#[test]
fn a_recovery_without_its_time_of_creation_is_dated_by_its_change() {
    let body = |created: &str| RECOVERY.replace(r#""created_at":"2026-09-10T05:25:00.000Z""#, created);
    let undated = recovery(&body(r#""created_at":null"#));
    assert_eq!(only(&undated).timestamp.as_ms(), ms("2026-09-10T05:31:00Z"));
    let neither = recovery(&body(r#""created_at":null"#).replace("updated_at", "other"));
    assert_eq!((neither.drafts.len(), refused(&neither)), (0, vec!["/updated_at"]));
}

#[test]
fn a_recovery_is_reached_by_way_of_the_cycle_of_its_sleep() {
    let way = || WhoopFetch::CycleOfSleep { sleep_id: SLEEP_ID.to_owned() };
    let led = |body: &str| fetched(way(), body).next;
    let recovery = |cycle: &str| Some(Fetch::Whoop(WhoopFetch::Recovery { cycle_id: cycle.to_owned() }));
    assert_eq!(led(SLEEP), recovery("93845"));
    assert_eq!(
        led(&SLEEP.replace(r#""cycle_id":93845"#, r#""cycle_id":9007199254740993"#)),
        recovery("9007199254740993")
    );
    // Whether the sleep itself is scored does not matter.
    assert_eq!(led(&SLEEP.replace("SCORED", "PENDING_SCORE")), recovery("93845"));
    assert_eq!(fetched(way(), SLEEP).drafts, []);
    for broken in [r#"{}"#, r#"{"cycle_id":null}"#, r#"{"cycle_id":[1]}"#, r#"{"cycle_id":".."}"#] {
        match read(&Fetch::Whoop(way()), broken.as_bytes(), &owner()) {
            Err(DecodeError::Shape { path, .. }) => assert_eq!(path, "/cycle_id"),
            other => panic!("{broken}: {other:?}"),
        }
    }
    let kind = WhoopActivity::Workout;
    let mapped = fetched(
        WhoopFetch::Mapped { kind, v1_id: "1043".to_owned() },
        &format!(r#"{{"v2_activity_id":"{SLEEP_ID}"}}"#),
    );
    assert_eq!(mapped.next, Some(Fetch::Whoop(WhoopFetch::Activity { kind, id: SLEEP_ID.to_owned() })));
}

#[test]
fn a_deletion_takes_away_the_very_record_that_was_fetched() {
    for (kind, fetched) in [("sleep", sleep(SLEEP)), ("recovery", recovery(RECOVERY))] {
        let account = owner().account;
        let body =
            format!(r#"{{"user_id":"{account}","id":"{SLEEP_ID}","type":"{kind}.deleted","trace_id":"t"}}"#);
        let (drafts, _) = events(decode_whoop_native(body.as_bytes()));
        let (of_record, of_deletion): (Vec<_>, Vec<_>) =
            (only(&fetched).identities().collect(), drafts[0].identities().collect());
        assert_eq!(of_record[0], of_deletion[0], "{kind}");
        let mut known = std::collections::HashMap::new();
        let stored = only(&fetched).clone().admit(1, &mut known).unwrap();
        let deleted = drafts[0].clone().admit(2, &mut known).unwrap();
        assert_eq!(deleted.event.record_id, stored.event.record_id);
        assert!(deleted.event.version > stored.event.version && deleted.superseded.len() == 1);
        assert!(only(&fetched).clone().admit(3, &mut known).is_none(), "an older version does not come back");
    }
}

#[test]
fn a_recovery_goes_with_its_sleep_and_comes_back_only_anew() {
    let (sleep, recovery_of) = (sleep(SLEEP), |body: &str| only(&recovery(body)).clone());
    let account = owner().account;
    let deletion = |kind: &str| {
        let body =
            format!(r#"{{"user_id":"{account}","id":"{SLEEP_ID}","type":"{kind}.deleted","trace_id":"t"}}"#);
        let (drafts, _) = events(decode_whoop_native(body.as_bytes()));
        let [draft] = drafts.as_slice() else { panic!("{drafts:?}") };
        draft.clone()
    };
    let mut known = std::collections::HashMap::new();
    let stored = only(&sleep).clone().admit(1, &mut known).unwrap();
    recovery_of(RECOVERY).admit(2, &mut known).unwrap();
    let deleted = deletion("sleep").admit(3, &mut known).unwrap();
    assert_eq!(deleted.event.record_id, stored.event.record_id);
    let mut hidden: Vec<i64> = deleted.superseded.iter().map(|known| known.event_seq).collect();
    hidden.sort_unstable();
    assert_eq!(hidden, [1, 2], "one event for both");
    // Neither comes back as it was, though it is fetched only now.
    assert!(recovery_of(RECOVERY).admit(4, &mut known).is_none());
    assert!(only(&sleep).clone().admit(5, &mut known).is_none());
    let anew = RECOVERY.replace("2026-09-10T05:31:00.000Z", "2026-09-10T13:00:00.000Z");
    assert!(recovery_of(&anew).admit(6, &mut known).is_some());
    // A night keeps its place when only its recovery is gone.
    let mut known = std::collections::HashMap::new();
    only(&sleep).clone().admit(1, &mut known).unwrap();
    assert_eq!(deletion("recovery").admit(2, &mut known).unwrap().superseded, []);
}

#[test]
fn whoops_measurements_of_the_body_are_those_of_the_moment() {
    let fetched = fetched(
        WhoopFetch::Body,
        r#"{"height_meter":1.8288,"weight_kilogram":90.7185,"max_heart_rate":200}"#,
    );
    let expected = BTreeMap::from([("height", (1.8288, None)), ("weight", (90.7185, None))]);
    assert_eq!((told(only(&fetched)), &*only(&fetched).kind), (expected, "body"));
    let asked = Version::Given(owner().changed_at.as_ms());
    assert_eq!((only(&fetched).timestamp, version(only(&fetched))), (NOW, asked));
}

#[test]
fn whoops_impossible_values_are_refused_by_their_place() {
    for (change, with, path) in [
        (r#""recovery_score":44"#, r#""recovery_score":-1"#, "/score/recovery_score"),
        (r#""resting_heart_rate":64"#, r#""resting_heart_rate":640"#, "/score/resting_heart_rate"),
        (r#""hrv_rmssd_milli":31.813562"#, r#""hrv_rmssd_milli":"31""#, "/score/hrv_rmssd_milli"),
        (r#""skin_temp_celsius":33.7"#, r#""skin_temp_celsius":1e999"#, "/score/skin_temp_celsius"),
    ] {
        let fetched = recovery(&RECOVERY.replace(change, with));
        assert_eq!(refused(&fetched), [path], "{with}");
        assert!(told(only(&fetched)).len() >= 4);
    }
    let body = SLEEP.replace(r#""stage_summary":{"#, r#""stage_summary":[],"other":{"#);
    assert_eq!(refused(&sleep(&body)), ["/score/stage_summary"]);
    assert_eq!(told(only(&sleep(&body))).len(), 3);
    for (body, path) in [
        (SLEEP.replace(r#""id":"3c"#, r#""other":"3c"#), "/id"),
        (SLEEP.replace(r#""end":"2026-09-10T05:10:00.000Z","#, ""), "/end"),
        (SLEEP.replace("2026-09-10T05:10:00.000Z", "2036-09-10T05:10:00.000Z"), "/end"),
        ("7".to_owned(), ""),
    ] {
        let fetched = sleep(&body);
        assert_eq!((fetched.drafts.len(), refused(&fetched)), (0, vec![path]), "{body}");
    }
}
