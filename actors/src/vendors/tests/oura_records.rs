//! From records of Oura's API to events.

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::domain::admission::Version;
use crate::domain::event::{Context, DeviceType, HrvMethod};
use crate::domain::fetch::{Fetch, OuraDataType, OuraFetch};
use crate::domain::ids::UserId;
use crate::domain::metric::Metric;
use crate::domain::time::Zone;
use crate::vendors::fetch::read;
use crate::vendors::{Fetched, Owner};

pub(super) fn owner() -> Owner {
    Owner {
        account: "A1B2".to_owned(),
        user_id: UserId::parse("user-81").unwrap(),
        zone: Zone::of_name("Europe/Berlin"),
        changed_at: Timestamp::from_ms(NOW.as_ms() - 60_000),
        received_at: NOW,
        fetched_at: NOW,
        is_backfill: false,
    }
}

pub(super) fn record(data_type: OuraDataType, body: &str) -> Fetched {
    let fetch = Fetch::Oura(OuraFetch::Record { data_type, id: "6a5f".to_owned() });
    read(&fetch, body.as_bytes(), &owner()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

/// What is told of each metric: value and context.
pub(super) fn told(draft: &EventDraft) -> BTreeMap<&'static str, (f64, Option<Context>)> {
    let Facts::Record { readings, .. } = &draft.facts else { panic!("a batch, not a record") };
    let of = |reading: &Reading| (reading.metric.name(), (reading.value, reading.context));
    let told: BTreeMap<_, _> = readings.iter().map(of).collect();
    assert_eq!(told.len(), readings.len(), "no metric is told twice: {readings:?}");
    told
}

pub(super) fn only(fetched: &Fetched) -> &EventDraft {
    let [draft] = fetched.drafts.as_slice() else { panic!("{fetched:?}") };
    draft
}

pub(super) fn version(draft: &EventDraft) -> Version {
    let Facts::Record { version, .. } = &draft.facts else { panic!("a batch, not a record") };
    *version
}

pub(super) fn ms(text: &str) -> i64 {
    Timestamp::parse_rfc3339(text).unwrap().as_ms()
}

pub(super) fn refused(fetched: &Fetched) -> Vec<&str> {
    fetched.rejected.listed.iter().map(|refused| refused.path.as_str()).collect()
}

pub(super) const NIGHT: &str = r#"{"id":"6a5f","day":"2026-09-10","type":"long_sleep","period":0,
    "bedtime_start":"2026-09-09T23:10:00.000+02:00","bedtime_end":"2026-09-10T07:10:00.000+02:00",
    "total_sleep_duration":25200,"deep_sleep_duration":5400,"light_sleep_duration":14400,"rem_sleep_duration":5400,
    "awake_time":3600,"time_in_bed":28800,"latency":600,"efficiency":88,"average_breath":14.25,
    "average_heart_rate":52.5,"lowest_heart_rate":47,"average_hrv":61,
    "heart_rate":null,"sleep_phase_5_min":null,
    "readiness":{"score":81,"temperature_deviation":0.1},"sleep_score_delta":0}"#;

#[test]
fn a_night_is_one_event_at_its_end_with_its_averages_marked_as_a_sleeps() {
    let fetched = record(OuraDataType::Sleep, NIGHT);
    let draft = only(&fetched);
    assert_eq!((draft.device_type, &*draft.kind), (DeviceType::OuraRing, "sleep"));
    assert_eq!((draft.user_id.as_str(), draft.received_at, draft.deleted), ("user-81", NOW, false));
    assert_eq!(draft.timestamp.as_ms(), ms("2026-09-10T05:10:00Z"));
    let sleep = Some(Context::Sleep);
    let expected = BTreeMap::from([
        ("total_sleep_minutes", (420.0, None)),
        ("deep_sleep_minutes", (90.0, None)),
        ("light_sleep_minutes", (240.0, None)),
        ("rem_sleep_minutes", (90.0, None)),
        ("awake_minutes", (60.0, None)),
        ("time_in_bed_minutes", (480.0, None)),
        ("sleep_latency_minutes", (10.0, None)),
        ("sleep_efficiency", (88.0, None)),
        ("respiratory_rate", (14.25, sleep)),
        ("heart_rate", (52.5, sleep)),
        ("hrv", (61.0, sleep)),
        ("resting_heart_rate", (47.0, sleep)),
    ]);
    assert_eq!(told(draft), expected);
    assert_eq!((fetched.rejected.total, &fetched.next, fetched.is_pending), (0, &None, false));
    let Facts::Record { readings, .. } = &draft.facts else { panic!("{draft:?}") };
    for reading in readings {
        assert_eq!(reading.method.is_some(), reading.metric == Metric::Hrv);
        assert!(reading.method.is_none_or(|method| method == HrvMethod::Rmssd));
        assert_eq!(reading.utc_offset.map(|offset| offset.minutes()), Some(120));
        assert_eq!(reading.start.map(Timestamp::as_ms), Some(ms("2026-09-09T21:10:00Z")));
        assert_eq!(reading.end, Some(draft.timestamp));
        let is_derived = reading.metric == Metric::RestingHeartRate;
        assert_eq!(reading.confidence, Some(if is_derived { 0.8 } else { 0.95 }));
        assert_eq!(reading.source.as_deref(), is_derived.then_some("derived"));
    }
    // The lowest rate of a nap is nobody's resting rate.
    let nap = record(OuraDataType::Sleep, &NIGHT.replace("long_sleep", "late_nap"));
    assert!(!told(only(&nap)).contains_key("resting_heart_rate"));
}

#[test]
fn what_is_no_sleep_any_more_takes_the_sleep_away() {
    for word in ["deleted", "rest"] {
        let fetched = record(OuraDataType::Sleep, &NIGHT.replace("long_sleep", word));
        let draft = only(&fetched);
        assert!(draft.deleted && draft.readings_len() == 0, "{word}");
        assert_eq!(
            draft.identities().collect::<Vec<_>>(),
            only(&record(OuraDataType::Sleep, NIGHT)).identities().collect::<Vec<_>>()
        );
    }
}

#[test]
fn each_daily_summary_has_its_metrics_at_ouras_own_time() {
    let at = r#""id":"6a5f","day":"2026-09-10","timestamp":"2026-09-10T00:00:00+02:00""#;
    /// The type, its kind, its fields, and what they tell.
    type Case<'a> = (OuraDataType, &'a str, &'a str, &'a [(&'a str, f64)]);
    let cases: [Case<'_>; 8] = [
        (
            OuraDataType::DailySleep,
            "sleep",
            r#""score":88,"contributors":{"deep_sleep":90,"efficiency":80,"latency":70,"total_sleep":60}"#,
            &[("sleep_score", 88.0)],
        ),
        (
            OuraDataType::DailyReadiness,
            "readiness",
            r#""score":81,"temperature_deviation":0.0,"temperature_trend_deviation":0.4,"contributors":{
                "activity_balance":71,"body_temperature":72,"hrv_balance":73,"previous_day_activity":74,
                "previous_night":75,"recovery_index":76,"resting_heart_rate":1,"sleep_balance":77}"#,
            &[
                ("recovery_score", 81.0),
                ("temperature_deviation", 0.0),
                ("activity_balance", 71.0),
                ("temperature_score", 72.0),
                ("hrv_balance", 73.0),
                ("previous_night_score", 75.0),
                ("resting_hr_score", 1.0),
                ("sleep_balance", 77.0),
            ],
        ),
        (
            OuraDataType::DailyActivity,
            "activity",
            r#""score":82,"steps":10432,"active_calories":523,"total_calories":2600,
                "equivalent_walking_distance":8400,"high_activity_time":600,"met":{"interval":60,"items":[]}"#,
            &[
                ("activity_score", 82.0),
                ("steps", 10432.0),
                ("active_calories", 523.0),
                ("total_calories", 2600.0),
                ("distance_meters", 8400.0),
            ],
        ),
        (OuraDataType::DailySpo2, "spo2", r#""spo2_percentage":{"average":97.2}"#, &[("blood_oxygen", 97.2)]),
        (
            OuraDataType::DailyStress,
            "stress",
            r#""stress_high":5400,"recovery_high":1800,"day_summary":"normal""#,
            &[("stress_minutes", 90.0), ("recovery_minutes", 30.0)],
        ),
        (OuraDataType::DailyResilience, "stress", r#""level":"strong""#, &[("resilience_level", 4.0)]),
        (
            OuraDataType::DailyCardiovascularAge,
            "body",
            r#""vascular_age":41"#,
            &[("cardiovascular_age", 41.0)],
        ),
        (OuraDataType::Vo2Max, "body", r#""vo2_max":47"#, &[("vo2max", 47.0)]),
    ];
    for (data_type, kind, fields, expected) in cases {
        let fetched = record(data_type, &format!("{{{at},{fields}}}"));
        assert_eq!(refused(&fetched), Vec::<&str>::new());
        let draft = only(&fetched);
        assert_eq!(
            (&*draft.kind, draft.timestamp.as_ms()),
            (kind, ms("2026-09-09T22:00:00Z")),
            "{data_type:?}"
        );
        let values: BTreeMap<_, _> =
            told(draft).into_iter().map(|(metric, (value, _))| (metric, value)).collect();
        assert_eq!(values, expected.iter().copied().collect(), "{data_type:?}");
        // Without a time of Oura's it is the start of the user's day.
        let dated = record(data_type, &format!(r#"{{"id":"6a5f","day":"2026-09-10",{fields}}}"#));
        assert_eq!(only(&dated).timestamp, draft.timestamp, "{data_type:?}");
        assert_eq!(version(draft), Version::Given(NOW.as_ms() - 60_000));
    }
}

#[test]
fn a_day_has_one_summary_though_oura_may_make_another_record_of_it() {
    let summary = |data_type, id: &str, day: &str, updated: &str| {
        let fields = r#""score":88,"steps":5,"vo2_max":40"#;
        let body = format!(
            r#"{{"id":"{id}","day":"{day}","timestamp":"{day}T00:00:00+02:00",{fields},"meta":{{"updated_at":"{updated}"}}}}"#
        );
        only(&record(data_type, &body)).clone()
    };
    let (early, late) = ("2026-09-10T08:00:00Z", "2026-09-10T09:00:00Z");
    let mut known = HashMap::new();
    let daily = OuraDataType::DailySleep;
    let first = summary(daily, "a", "2026-09-10", early).admit(1, &mut known).unwrap();
    let second = summary(daily, "b", "2026-09-10", late).admit(2, &mut known).unwrap();
    assert_eq!(second.superseded.iter().map(|known| known.event_seq).collect::<Vec<_>>(), [1]);
    assert_ne!(first.event.record_id, second.event.record_id);
    assert!(
        summary(daily, "c", "2026-09-10", early).admit(3, &mut known).is_none(),
        "it is older than the day's"
    );
    let again = summary(daily, "b", "2026-09-10", "2026-09-10T10:00:00Z").admit(4, &mut known).unwrap();
    assert_eq!(again.superseded.len(), 1, "what stands in one place is hidden once");
    assert_eq!(again.event.record_id, second.event.record_id);
    // Other days, types and accounts are not concerned.
    assert!(summary(daily, "d", "2026-09-09", early).admit(5, &mut known).is_some());
    assert!(summary(OuraDataType::DailyActivity, "b", "2026-09-10", early).admit(6, &mut known).is_some());
    for id in ["a", "b"] {
        let vo2 = summary(OuraDataType::Vo2Max, id, "2026-09-10", early).admit(7, &mut known).unwrap();
        assert!(vo2.superseded.is_empty(), "of other records there may be several a day");
    }
}

#[test]
fn the_newest_version_of_a_record_is_told_by_its_document() {
    let with = |meta: &str| {
        record(OuraDataType::DailySleep, &format!(r#"{{"id":"6a5f","day":"2026-09-10","score":88{meta}}}"#))
    };
    let changed = Version::Given(NOW.as_ms() - 60_000);
    let updated = Version::Given(ms("2026-09-10T10:00:00.250Z"));
    for (meta, expected) in [
        ("", changed),
        (r#","meta":null"#, changed),
        (r#","meta":{"version":7}"#, changed),
        (r#","meta":{"updated_at":"2026-09-10T12:00:00.250+02:00","version":7}"#, updated),
        (r#","meta":{"updated_at":"soon"}"#, changed),
    ] {
        assert_eq!(version(only(&with(meta))), expected, "{meta}");
    }
}

#[test]
fn what_changed_while_we_waited_to_ask_is_not_of_the_future() {
    let later = Timestamp::from_ms(NOW.as_ms() + 40 * 3_600_000);
    let owner = Owner { fetched_at: later, ..owner() };
    let fetch = Fetch::Oura(OuraFetch::Record { data_type: OuraDataType::DailySleep, id: "6a5f".to_owned() });
    let updated = Timestamp::from_ms(later.as_ms() - 60_000);
    let body =
        format!(r#"{{"id":"6a5f","day":"2026-09-10","score":88,"meta":{{"updated_at":"{updated}"}}}}"#);
    let fetched = read(&fetch, body.as_bytes(), &owner).unwrap();
    assert_eq!(version(only(&fetched)), Version::Given(updated.as_ms()));
    assert_eq!(only(&fetched).received_at, NOW);
}

#[test]
fn a_workout_is_told_as_effort_and_one_that_ends_before_it_starts_only_by_its_totals() {
    let workout = |start: &str, end: &str| {
        record(
            OuraDataType::Workout,
            &format!(
                r#"{{"id":"6a5f","activity":"cycling","calories":212.5,"distance":15000,"day":"2026-09-10",
                "start_datetime":"{start}","end_datetime":"{end}","intensity":"moderate","source":"manual"}}"#
            ),
        )
    };
    let fetched = workout("2026-09-10T10:00:00+02:00", "2026-09-10T10:45:00+02:00");
    let effort = Some(Context::Workout);
    let draft = only(&fetched);
    assert_eq!((&*draft.kind, draft.timestamp.as_ms()), ("workout", ms("2026-09-10T08:45:00Z")));
    let expected = BTreeMap::from([
        ("workout_duration_minutes", (45.0, effort)),
        ("workout_calories", (212.5, effort)),
        ("workout_distance_meters", (15000.0, effort)),
    ]);
    assert_eq!(told(draft), expected);
    let Facts::Record { readings, .. } = &draft.facts else { panic!("{draft:?}") };
    assert!(readings.iter().all(|reading| reading.label.as_deref() == Some("cycling")));
    assert!(readings.iter().all(|reading| reading.start.is_some()));

    let turned = workout("2026-09-10T10:45:00+02:00", "2026-09-10T10:00:00+02:00");
    assert_eq!(refused(&turned), ["/end_datetime"]);
    assert_eq!(told(only(&turned)).len(), 2);
    assert_eq!(only(&turned).timestamp.as_ms(), ms("2026-09-10T08:45:00Z"));
}

#[test]
fn a_session_counts_where_somebody_was_mindful() {
    let session = |word: &str| {
        record(
            OuraDataType::Session,
            &format!(
                r#"{{"id":"6a5f","type":"{word}","start_datetime":"2026-09-10T08:00:00Z",
                "end_datetime":"2026-09-10T08:12:30Z","heart_rate":null,"mood":"good"}}"#
            ),
        )
    };
    let fetched = session("meditation");
    assert_eq!(told(only(&fetched)), BTreeMap::from([("mindful_minutes", (12.5, None))]));
    assert_eq!(session("nap").drafts, []);
}

#[test]
fn an_impossible_value_is_refused_by_its_place_and_what_was_not_measured_is_passed_over() {
    // Values of Oura's own documented examples among them.
    for (change, with, path, lost) in [
        (r#""average_heart_rate":52.5"#, r#""average_heart_rate":4.5"#, "/average_heart_rate", "heart_rate"),
        (r#""average_hrv":61"#, r#""average_hrv":-3"#, "/average_hrv", "hrv"),
        (r#""average_hrv":61"#, r#""average_hrv":"61""#, "/average_hrv", "hrv"),
        (r#""average_hrv":61"#, r#""average_hrv":true"#, "/average_hrv", "hrv"),
        (r#""average_hrv":61"#, r#""average_hrv":61,"average_hrv":62"#, "/average_hrv", "hrv"),
        (r#""latency":600"#, r#""latency":1e400"#, "/latency", "sleep_latency_minutes"),
        (r#""efficiency":88"#, r#""efficiency":101"#, "/efficiency", "sleep_efficiency"),
    ] {
        let fetched = record(OuraDataType::Sleep, &NIGHT.replace(change, with));
        assert_eq!(refused(&fetched), [path], "{with}");
        let told = told(only(&fetched));
        assert!(told.len() == 11 && !told.contains_key(lost), "{with}: {told:?}");
    }
    for (change, with, lost) in [
        (r#""average_hrv":61"#, r#""average_hrv":null"#, "hrv"),
        (r#""average_hrv":61"#, r#""average_hrv":0"#, "hrv"),
        (r#""average_hrv":61,"#, "", "hrv"),
        (r#""total_sleep_duration":25200"#, r#""total_sleep_duration":null"#, "total_sleep_minutes"),
    ] {
        let fetched = record(OuraDataType::Sleep, &NIGHT.replace(change, with));
        assert_eq!((fetched.rejected.total, told(only(&fetched)).contains_key(lost)), (0, false), "{with}");
    }
    for spo2 in [r#"{"average":0}"#, r#"{"average":null}"#, "{}", "null"] {
        let body = format!(r#"{{"id":"6a5f","day":"2026-09-10","spo2_percentage":{spo2}}}"#);
        let fetched = record(OuraDataType::DailySpo2, &body);
        assert_eq!((fetched.drafts.len(), fetched.rejected.total), (0, 0), "{spo2}");
    }
}

#[test]
fn a_record_without_a_time_is_refused() {
    for (body, path) in [
        (r#"{"id":"a","score":88}"#.to_owned(), "/day"),
        (r#"{"id":"a","day":"yesterday","score":88}"#.to_owned(), "/day"),
        (r#"{"id":"a","day":"2026-09-13","score":88}"#.to_owned(), "/day"),
        ("[]".to_owned(), ""),
        ("88".to_owned(), ""),
    ] {
        let fetched = record(OuraDataType::DailySleep, &body);
        assert_eq!((fetched.drafts.len(), refused(&fetched)), (0, vec![path]), "{body}");
    }
    let unknown = r#"{"id":"a","day":"2026-09-10","level":"superb"}"#;
    assert_eq!(refused(&record(OuraDataType::DailyResilience, unknown)), ["/level"]);
    let fetch = Fetch::Oura(OuraFetch::Record { data_type: OuraDataType::Sleep, id: "a".to_owned() });
    assert!(matches!(read(&fetch, b"<html>", &owner()), Err(DecodeError::NotJson { .. })));
}

#[test]
fn a_page_of_records_tells_of_each_and_leads_to_the_next_one() {
    let days = |page: Option<&str>| {
        let (from, to) = (NOW, NOW);
        let (turned, page) = (u32::from(page.is_some()), page.map(str::to_owned));
        Fetch::Oura(OuraFetch::Days { data_type: OuraDataType::DailySleep, from, to, page, turned })
    };
    let body = r#"{"data":[{"id":"a","day":"2026-09-09","score":80},{"id":"b","score":1},7,
        {"id":"c","day":"2026-09-10","score":200},{"id":"d","day":"2026-09-10","score":82}],"next_token":"n1"}"#;
    let fetched = read(&days(None), body.as_bytes(), &owner()).unwrap();
    assert_eq!(fetched.drafts.len(), 2);
    assert_eq!(refused(&fetched), ["/data/1/day", "/data/2", "/data/3/score"]);
    assert_eq!(fetched.next, Some(days(Some("n1"))));
    // A token that leads back to its own page would lead round for ever.
    assert_eq!(read(&days(Some("n1")), body.as_bytes(), &owner()).unwrap().next, None);
    for last in [r#"{"data":[],"next_token":null}"#, r#"{"data":[]}"#, r#"{"data":[],"next_token":""}"#] {
        assert_eq!(read(&days(None), last.as_bytes(), &owner()).unwrap(), Fetched::default());
    }
    let token = |bytes: usize| format!(r#"{{"data":[],"next_token":"{}"}}"#, "n".repeat(bytes));
    let longest = read(&days(None), token(2_048).as_bytes(), &owner()).unwrap().next;
    assert_eq!(longest.map(|next| next.pages_turned()), Some(1));
    for (broken, path) in [
        ("{}", "/data"),
        (r#"{"data":{}}"#, "/data"),
        (r#"{"data":[],"next_token":1}"#, "/next_token"),
        (&token(2_049), "/next_token"),
    ] {
        match read(&days(None), broken.as_bytes(), &owner()) {
            Err(DecodeError::Shape { path: at, .. }) => assert_eq!(at, path),
            other => panic!("{broken}: {other:?}"),
        }
    }
}

#[test]
fn samples_of_the_heart_rate_are_facts_of_their_own_known_by_their_time() {
    let fetch = Fetch::Oura(OuraFetch::HeartRate { from: NOW, to: NOW, page: None, turned: 0 });
    let row = |minute: usize, bpm: &str, source: &str| {
        format!(
            r#"{{"timestamp":"2026-09-10T{:02}:{:02}:00.000Z","bpm":{bpm},"source":"{source}"}}"#,
            minute / 60,
            minute % 60
        )
    };
    let read = |rows: &[String]| {
        read(&fetch, format!(r#"{{"data":[{}],"next_token":null}}"#, rows.join(",")).as_bytes(), &owner())
            .unwrap()
    };
    let fetched = read(&[
        row(0, "61", "awake"),
        row(5, "48", "sleep"),
        row(10, "140", "workout"),
        row(15, "9", "rest"),
    ]);
    assert_eq!(refused(&fetched), ["/data/3/bpm"]);
    let readings: Vec<_> = facts(only(&fetched))
        .iter()
        .map(|fact| {
            assert_eq!(fact.version, Version::Fixed);
            (fact.reading.value, fact.reading.context)
        })
        .collect();
    assert_eq!(readings, [(61.0, None), (48.0, Some(Context::Sleep)), (140.0, Some(Context::Workout))]);
    assert_eq!(&*only(&fetched).kind, "sample");
    let again = read(&[row(5, "49", "sleep")]);
    assert_eq!(facts(only(&again))[0].identity, facts(only(&fetched))[1].identity);

    let many: Vec<String> = (0..1_050)
        .map(|n| row(n % 700, "60", "awake").replace(":00.000Z", &format!(":{:02}.000Z", n % 60)))
        .collect();
    let sizes: Vec<usize> = read(&many).drafts.iter().map(EventDraft::readings_len).collect();
    assert_eq!(sizes, [1_000, 50]);
}
