//! The series and stages inside Oura's nights and sessions.

use std::collections::HashMap;

use super::oura_records::{NIGHT, ms, owner, record, refused, told};
use super::*;
use crate::domain::event::Context;
use crate::domain::fetch::{Fetch, OuraDataType, OuraFetch};
use crate::domain::metric::Metric;
use crate::vendors::fetch::read;

/// A night with these members besides.
fn night(members: &str) -> String {
    NIGHT.replacen(r#""heart_rate":null,"sleep_phase_5_min":null"#, members, 1)
}

fn readings(draft: &EventDraft) -> &[Reading] {
    let Facts::Record { readings, .. } = &draft.facts else { panic!("a batch, not a record") };
    readings
}

fn series(name: &str, items: &str, interval: &str, at: &str) -> String {
    format!(r#""{name}":{{"interval":{interval},"items":[{items}],"timestamp":"2026-09-{at}"}}"#)
}

const START: &str = "09T23:10:00.000+02:00";

#[test]
fn a_nights_series_is_history_beside_it_each_item_at_its_own_time() {
    let members = [
        series("heart_rate", "null,52,0,51.5", "300", START),
        series("hrv", "null,12,-4,61", "300.0", START),
    ];
    let fetched = record(OuraDataType::Sleep, &night(&members.join(",")));
    // Negative items are in Oura's documented examples.
    assert_eq!(refused(&fetched), ["/hrv/items/2"]);
    let [sleep, series] = fetched.drafts.as_slice() else { panic!("{fetched:?}") };
    // Nothing of it may decide, or look like an emergency beside the night's average.
    assert!(!sleep.is_backfill && series.is_backfill);
    assert_eq!(told(sleep)["hrv"], (61.0, Some(Context::Sleep)));
    assert_eq!((&*series.kind, series.deleted), ("sample", false));
    let of = |reading: &Reading| {
        (reading.metric.name(), reading.value, reading.timestamp.as_ms(), reading.context)
    };
    let sleep_context = Some(Context::Sleep);
    let expected = [
        ("heart_rate", 52.0, ms("2026-09-09T21:15:00Z"), sleep_context),
        ("heart_rate", 51.5, ms("2026-09-09T21:25:00Z"), sleep_context),
        ("hrv", 12.0, ms("2026-09-09T21:15:00Z"), sleep_context),
        ("hrv", 61.0, ms("2026-09-09T21:25:00Z"), sleep_context),
    ];
    assert_eq!(readings(series).iter().map(of).collect::<Vec<_>>(), expected);
    assert_eq!(series.timestamp.as_ms(), ms("2026-09-09T21:25:00Z"));
    for reading in readings(series) {
        assert_eq!(reading.utc_offset.map(|offset| offset.minutes()), Some(120));
        assert_eq!(reading.method.is_some(), reading.metric == Metric::Hrv);
    }
}

#[test]
fn what_is_wrong_with_a_series_takes_only_that_with_it() {
    let hr = |items: &str, interval: &str, at: &str| night(&series("heart_rate", items, interval, at));
    let cases = [
        (hr("52,53", "0", START), "/heart_rate/interval"),
        (hr("52,53", "null", START), "/heart_rate/interval"),
        (hr("52,53", "1e400", START), "/heart_rate/interval"),
        (hr("52,53", "\"300\"", START), "/heart_rate/interval"),
        (hr("52,53", "300", "99T23:10:00Z"), "/heart_rate/timestamp"),
        (night(r#""heart_rate":{"interval":300,"items":7,"timestamp":1}"#), "/heart_rate/items"),
        (night(r#""heart_rate":{"interval":300,"timestamp":1}"#), "/heart_rate/items"),
        (night(r#""heart_rate":[52]"#), "/heart_rate"),
        // Of another night, and after this one.
        (hr("52,53", "300", "01T23:10:00Z"), "/heart_rate/items/0"),
        (hr("52,53", "300", "10T05:10:00Z"), "/heart_rate/items/0"),
    ];
    for (body, path) in cases {
        let fetched = record(OuraDataType::Sleep, &body);
        assert_eq!(refused(&fetched), [path], "{body}");
        assert_eq!(fetched.drafts.len(), 1, "{body}");
        assert_eq!(told(&fetched.drafts[0]).len(), 12, "{body}");
    }
    // The last item reaches beyond the end, the one before it does not.
    let late = record(OuraDataType::Sleep, &hr("52,53", "300", "10T07:08:00.000+02:00"));
    assert_eq!((refused(&late), readings(&late.drafts[1]).len()), (vec!["/heart_rate/items/1"], 1));
}

#[test]
fn stages_are_intervals_of_the_night_and_runs_of_one_are_merged() {
    let stages = |members: &str| {
        let fetched = record(OuraDataType::Sleep, &night(members));
        let [sleep] = fetched.drafts.as_slice() else { panic!("{fetched:?}") };
        let of = |reading: &Reading| {
            assert_eq!(Some(reading.timestamp), reading.end);
            let minutes = |at: Timestamp| at.ms_since(Timestamp::from_ms(ms("2026-09-09T21:10:00Z"))) / 1_000;
            let span = (minutes(reading.start.unwrap()), minutes(reading.end.unwrap()));
            (reading.value, reading.label.as_deref().unwrap_or_default().to_owned(), span)
        };
        let states = readings(sleep).iter().filter(|reading| reading.metric == Metric::SleepState);
        let states: Vec<_> = states.map(of).collect();
        (states, refused(&fetched).into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let stage = |value: f64, label: &str, span: (i64, i64)| (value, label.to_owned(), span);
    let (states, refusals) = stages(r#""sleep_phase_5_min":"4422113""#);
    let expected = [
        stage(5.0, "awake", (0, 600)),
        stage(2.0, "light", (600, 1_200)),
        stage(3.0, "deep", (1_200, 1_800)),
        stage(4.0, "rem", (1_800, 2_100)),
    ];
    assert_eq!((states.as_slice(), refusals), (&expected[..], vec![]));
    // The finer one counts; without it the other one.
    let (states, _) = stages(r#""sleep_phase_5_min":"44","sleep_phase_30_sec":"4421""#);
    assert_eq!(states[1], stage(2.0, "light", (60, 90)));
    let (states, refusals) = stages(r#""sleep_phase_5_min":"44","sleep_phase_30_sec":"44x1""#);
    assert_eq!((states.len(), refusals), (1, vec!["/sleep_phase_30_sec".to_owned()]));
    let flickers = format!(r#""sleep_phase_5_min":"44","sleep_phase_30_sec":"{}""#, "12".repeat(470));
    let (states, refusals) = stages(&flickers);
    assert_eq!((states.len(), refusals), (1, vec!["/sleep_phase_30_sec".to_owned()]));
    // The night of 8 hours has 96 epochs; the last one of a longer night is cut at its end.
    let (states, refusals) = stages(&format!(r#""sleep_phase_5_min":"{}""#, "2".repeat(96)));
    assert_eq!((states, refusals), (vec![stage(2.0, "light", (0, 28_800))], vec![]));
    let (states, refusals) = stages(&format!(r#""sleep_phase_5_min":"{}""#, "2".repeat(97)));
    assert_eq!((states, refusals), (vec![], vec!["/sleep_phase_5_min".to_owned()]));
    let cut = night(r#""sleep_phase_5_min":"222""#).replace("2026-09-10T07:10", "2026-09-09T23:22");
    let fetched = record(OuraDataType::Sleep, &cut);
    let last = readings(&fetched.drafts[0]).last().unwrap();
    assert_eq!((last.end, last.start.is_some()), (Some(fetched.drafts[0].timestamp), true));
    for nothing in ["\"\"", "null", "7"] {
        assert_eq!(stages(&format!(r#""sleep_phase_5_min":{nothing}"#)).0, []);
    }
}

#[test]
fn a_sessions_samples_are_told_and_a_long_one_is_thinned_evenly() {
    let session = |word: &str, items: usize| {
        let items = vec!["60"; items].join(",");
        let hr = series("heart_rate", &items, "5", "10T08:00:00Z");
        let hrv = series("heart_rate_variability", "40,null,41", "5", "10T08:00:00Z");
        record(
            OuraDataType::Session,
            &format!(
                r#"{{"id":"6a5f","type":"{word}","start_datetime":"2026-09-10T08:00:00Z",
                "end_datetime":"2026-09-10T09:30:00Z",{hr},{hrv},"motion_count":{{"items":[1]}}}}"#
            ),
        )
    };
    let fetched = session("breathing", 3);
    let [mindful, samples] = fetched.drafts.as_slice() else { panic!("{fetched:?}") };
    assert_eq!(told(mindful)["mindful_minutes"], (90.0, None));
    assert_eq!(readings(samples).len(), 5);
    assert!(samples.is_backfill && readings(samples).iter().all(|reading| reading.context.is_none()));
    // A nap is nobody's rest while awake, and no mindfulness.
    let fetched = session("nap", 3);
    let [samples] = fetched.drafts.as_slice() else { panic!("{fetched:?}") };
    assert!(readings(samples).iter().all(|reading| reading.context == Some(Context::Sleep)));
    for (items, kept) in [(500, 500), (501, 251), (1_080, 360)] {
        let fetched = session("rest", items);
        let heart = readings(&fetched.drafts[0]).iter().filter(|reading| reading.metric == Metric::HeartRate);
        let times: Vec<i64> = heart.map(|reading| reading.timestamp.as_ms()).collect();
        assert_eq!(times.len(), kept, "{items}");
        assert!(times.windows(3).all(|times| times[1] - times[0] == times[2] - times[1]), "{items}");
        assert!(readings(&fetched.drafts[0]).len() <= 1_000);
    }
}

#[test]
fn whatever_takes_a_night_away_takes_its_series_away() {
    let updated = |body: &str, minute: u32| {
        body.replacen('{', &format!(r#"{{"meta":{{"updated_at":"2026-09-10T11:{minute:02}:00Z"}},"#), 1)
    };
    let with = night(&series("heart_rate", "52,53", "300", START));
    let first = record(OuraDataType::Sleep, &updated(&with, 10)).drafts;
    let notified = format!(
        r#"{{"event_type":"delete","data_type":"sleep","object_id":"6a5f","user_id":"{}","event_time":"2026-09-10T11:20:00Z"}}"#,
        owner().account
    );
    let without_series = record(OuraDataType::Sleep, &updated(NIGHT, 20)).drafts;
    let no_sleep = record(OuraDataType::Sleep, &updated(&with.replace("long_sleep", "deleted"), 20)).drafts;
    let (deleted, _) = events(decode_oura_native(notified.as_bytes()));
    for later in [without_series, no_sleep, deleted] {
        assert_eq!(later.len(), 1, "it is one event: {later:?}");
        let mut known = HashMap::new();
        for (seq, draft) in first.clone().into_iter().enumerate() {
            draft.admit(seq as i64 + 1, &mut known).unwrap();
        }
        let admitted = later[0].clone().admit(3, &mut known).unwrap();
        let mut gone: Vec<i64> = admitted.superseded.iter().map(|known| known.event_seq).collect();
        gone.sort_unstable();
        assert_eq!(gone, [1, 2]);
        for draft in first.clone() {
            assert!(draft.admit(4, &mut known).is_none(), "nothing older comes back");
        }
        // In the other order neither ever shows.
        let mut known = HashMap::new();
        later[0].clone().admit(1, &mut known).unwrap();
        assert!(first.iter().all(|draft| draft.clone().admit(2, &mut known).is_none()));
    }
    // A newer version with a series has it in the older one's place.
    let newer = record(OuraDataType::Sleep, &updated(&with, 30)).drafts;
    let mut known = HashMap::new();
    for (seq, draft) in first.into_iter().chain(newer).enumerate() {
        let admitted = draft.admit(seq as i64 + 1, &mut known).unwrap();
        assert_eq!(admitted.superseded.len(), usize::from(seq >= 2));
    }
}

#[test]
fn a_page_of_nights_tells_of_each_and_of_its_series() {
    let other = night(&series("hrv", "52,53", "300", START)).replace("6a5f", "7b60");
    let fetch = OuraFetch::Days { data_type: OuraDataType::Sleep, from: NOW, to: NOW, page: None, turned: 0 };
    let body = format!(r#"{{"data":[{NIGHT},{other}]}}"#);
    let fetched = read(&Fetch::Oura(fetch), body.as_bytes(), &owner()).unwrap();
    let kinds: Vec<&str> = fetched.drafts.iter().map(|draft| &*draft.kind).collect();
    assert_eq!(kinds, ["sleep", "sleep", "sample"]);
}
