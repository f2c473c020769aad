//! Sleep: its states by number and name, and nights merged from several devices.

use std::collections::BTreeMap;

use super::*;
use crate::domain::admission::Version;

/// An interval of the night to 2026-09-10, in hours and minutes; before noon it is that day.
fn interval(source: &str, value: &str, from: &str, to: &str) -> String {
    let at = |time: &str| {
        let day = if time < "12:00" { "2026-09-10" } else { "2026-09-09" };
        format!("{day}T{time}:00+02:00")
    };
    format!(
        r#"{{"type":"HKCategoryTypeIdentifierSleepAnalysis","value":{value},"startDate":"{}","endDate":"{}","source":"{source}"}}"#,
        at(from),
        at(to)
    )
}

fn body(samples: &[String]) -> String {
    format!(r#"{{"user_id":"u","samples":[{}]}}"#, samples.join(","))
}

fn drafts(samples: &[String]) -> Vec<EventDraft> {
    let (drafts, rejected) = events(decode_healthkit(body(samples).as_bytes()));
    assert_eq!(rejected.total, 0, "{rejected:?}");
    drafts
}

/// The facts that were derived.
fn derived(drafts: &[EventDraft]) -> Vec<&ReadingFact> {
    let is_derived = |fact: &&ReadingFact| fact.reading.source.as_deref() == Some("derived");
    drafts.iter().flat_map(facts).filter(is_derived).collect()
}

/// Minutes by metric of the one night in these samples.
fn night(samples: &[String]) -> BTreeMap<&'static str, f64> {
    let drafts = drafts(samples);
    derived(&drafts).into_iter().map(|fact| (fact.reading.metric.name(), fact.reading.value)).collect()
}

fn minutes<const N: usize>(parts: [(&'static str, f64); N]) -> BTreeMap<&'static str, f64> {
    parts.into_iter().collect()
}

#[test]
fn a_state_is_known_by_number_and_by_every_name() {
    let cases: [(f64, &str, &[&str]); 6] = [
        (0.0, "in_bed", &["0", r#""HKCategoryValueSleepAnalysisInBed""#, r#""In Bed""#, r#""inBed""#]),
        (
            1.0,
            "asleep",
            &[
                "1",
                r#""HKCategoryValueSleepAnalysisAsleepUnspecified""#,
                r#""HKCategoryValueSleepAnalysisAsleep""#,
                r#""Asleep""#,
                r#""asleepUnspecified""#,
                r#""unspecified""#,
                r#""Unspecified""#,
                r#""sleeping""#,
            ],
        ),
        (
            2.0,
            "light",
            &[
                "3",
                r#""HKCategoryValueSleepAnalysisAsleepCore""#,
                r#""asleepCore""#,
                r#""Core""#,
                r#""core""#,
                r#""light""#,
            ],
        ),
        (3.0, "deep", &["4", r#""HKCategoryValueSleepAnalysisAsleepDeep""#, r#""asleepDeep""#, r#""Deep""#]),
        (
            4.0,
            "rem",
            &["5", "5.0", r#""HKCategoryValueSleepAnalysisAsleepREM""#, r#""asleepREM""#, r#""REM""#],
        ),
        (5.0, "awake", &["2", r#""HKCategoryValueSleepAnalysisAwake""#, r#""Awake""#, r#""awake""#]),
    ];
    for (code, label, values) in cases {
        for value in values {
            let drafts = drafts(&[interval("Apple Watch", value, "01:00", "02:00")]);
            let state = &facts(&drafts[0])[0];
            let reading = &state.reading;
            assert_eq!(
                (reading.metric.name(), reading.value, reading.label.as_deref()),
                ("sleep_state", code, Some(label)),
                "{value}"
            );
            assert_eq!((&*drafts[0].kind, state.version), ("sleep", Version::Fixed));
            assert_eq!(reading.end, Some(reading.timestamp));
            assert_eq!(reading.timestamp.ms_since(reading.start.unwrap()), 3_600_000);
            assert_eq!((reading.confidence, reading.utc_offset.map(|o| o.minutes())), (Some(1.0), Some(120)));
        }
    }
    for value in ["6", "-1", "2.5", "1e300", "true", "null", r#""3""#, r#""Dozing""#, r#""""#, "[]"] {
        let samples = [interval("Apple Watch", value, "01:00", "02:00")];
        let (drafts, rejected) = events(decode_healthkit(body(&samples).as_bytes()));
        assert_eq!((drafts.len(), rejected.listed[0].path.as_str()), (0, "/samples/0/value"), "{value}");
    }
    for (from, to, field) in [("01:00", "01:00", "/endDate"), ("02:00", "01:00", "/endDate")] {
        let samples = [interval("Apple Watch", "3", from, to)];
        let (_, rejected) = events(decode_healthkit(body(&samples).as_bytes()));
        assert_eq!(rejected.listed[0].path, format!("/samples/0{field}"));
    }
}

/// A night of a watch with stages, of a phone that only knows the bed and sleep, and of a ring with stages of its own.
fn three_devices() -> Vec<String> {
    let watch = |value, from, to| interval("Apple Watch", value, from, to);
    vec![
        watch("3", "23:00", "00:30"),
        watch("4", "00:30", "01:30"),
        watch("5", "01:30", "02:00"),
        watch("2", "02:00", "02:10"),
        watch("3", "02:10", "06:00"),
        interval("iPhone", "0", "22:45", "06:30"),
        interval("iPhone", "1", "22:50", "06:10"),
        interval("Ring", "4", "23:00", "06:00"),
    ]
}

#[test]
fn a_night_counts_each_moment_once_by_the_device_that_knows_best() {
    let expected = minutes([
        // The phone's sleep before and after the watch's: 10 and 10 minutes; the ring never counts.
        ("total_sleep_minutes", 90.0 + 60.0 + 30.0 + 230.0 + 20.0),
        ("deep_sleep_minutes", 60.0),
        ("light_sleep_minutes", 320.0),
        ("rem_sleep_minutes", 30.0),
        ("awake_minutes", 10.0),
        ("time_in_bed_minutes", 465.0),
    ]);
    assert_eq!(night(&three_devices()), expected);
    let drafts = drafts(&three_devices());
    for fact in derived(&drafts) {
        let reading = &fact.reading;
        assert_eq!(reading.confidence, Some(0.8));
        assert_eq!(reading.timestamp.to_string(), "2026-09-10T04:10:00Z");
        assert_eq!(reading.start.map(|start| start.to_string()).as_deref(), Some("2026-09-09T20:50:00Z"));
        assert_eq!(reading.utc_offset.map(|offset| offset.minutes()), Some(120));
    }
    assert!(drafts.iter().all(|draft| &*draft.kind == "sleep"));
}

#[test]
fn where_devices_overlap_stages_go_before_trust_and_trust_before_length() {
    let of = |value, from, to, source| interval(source, value, from, to);
    // Stages of a source of no name in particular, before a watch without any.
    let staged = [of("4", "23:00", "01:00", "Ring"), of("1", "23:00", "01:00", "Apple Watch")];
    assert_eq!(night(&staged)["deep_sleep_minutes"], 120.0);
    // Of two with stages the watch.
    let trusted = [of("4", "23:00", "01:00", "Ring"), of("5", "23:00", "00:30", "Apple Watch")];
    let night_of = night(&trusted);
    assert_eq!((night_of["rem_sleep_minutes"], night_of["deep_sleep_minutes"]), (90.0, 30.0));
    // Of two alike the one with more sleep.
    let longer = [of("4", "23:00", "01:00", "Ring A"), of("5", "23:00", "03:00", "Ring B")];
    assert_eq!(night(&longer)["rem_sleep_minutes"], 240.0);
    // One device's general sleep gives way to what it says more exactly.
    let exact = [of("1", "23:00", "07:00", "Apple Watch"), of("2", "03:00", "03:30", "Apple Watch")];
    let expected = minutes([("total_sleep_minutes", 450.0), ("awake_minutes", 30.0)]);
    assert_eq!(night(&exact), expected);
}

#[test]
fn time_in_bed_is_no_sleep_and_no_stage_is_made_up() {
    let bed = |from, to, source| interval(source, "0", from, to);
    let in_bed = [bed("22:00", "06:00", "iPhone"), bed("23:00", "07:00", "Apple Watch")];
    assert_eq!(night(&in_bed), minutes([("time_in_bed_minutes", 540.0)]));
    let asleep = [interval("iPhone", "1", "23:00", "06:00")];
    assert_eq!(night(&asleep), minutes([("total_sleep_minutes", 420.0)]));
}

#[test]
fn a_night_is_the_same_however_its_samples_are_ordered_repeated_or_sent() {
    let samples = three_devices();
    let all = drafts(&samples);
    let first: BTreeMap<_, _> =
        derived(&all).into_iter().map(|fact| (fact.identity, (fact.version, fact.reading.clone()))).collect();
    assert_eq!(first.len(), 6);
    let mut turned = samples.clone();
    turned.reverse();
    turned.extend(samples.iter().take(4).cloned());
    let again = drafts(&turned);
    assert!(
        derived(&again)
            .iter()
            .all(|fact| { first.get(&fact.identity) == Some(&(fact.version, fact.reading.clone())) })
    );
    // What is known of it later has the same identity and is newer where it is more, whichever comes first.
    let part = drafts(&samples[..3]);
    for fact in derived(&part) {
        let (Version::Given(whole), Version::Given(part)) = (first[&fact.identity].0, fact.version) else {
            panic!("a version of its own")
        };
        assert!(whole > part, "{:?}", fact.reading.metric);
    }
}

#[test]
fn nights_lie_between_noons_at_the_users_offset_and_naps_are_others() {
    let sample = |start: &str, end: &str| {
        format!(r#"{{"type":"sleepAnalysis","value":"core","startDate":"{start}","endDate":"{end}"}}"#)
    };
    let nights = |samples: &[String]| {
        let drafts = drafts(samples);
        let total = |fact: &&ReadingFact| fact.reading.metric.name() == "total_sleep_minutes";
        let totals: Vec<_> =
            derived(&drafts).into_iter().filter(total).map(|f| (f.identity, f.reading.value)).collect();
        totals
    };
    let two = nights(&[
        sample("2026-09-08T23:00:00+02:00", "2026-09-09T06:00:00+02:00"),
        sample("2026-09-09T14:00:00+02:00", "2026-09-09T15:00:00+02:00"),
        sample("2026-09-09T22:30:00+02:00", "2026-09-10T06:30:00+02:00"),
    ]);
    assert_eq!(two.iter().map(|(_, minutes)| *minutes).collect::<Vec<_>>(), [420.0, 60.0, 480.0]);
    // The nap and the night after it are of one day, so that the longer of the two stays.
    assert!(two[0].0 != two[1].0 && two[1].0 == two[2].0);
    // A short time up parts no night, and neither does midnight, nor noon in UTC.
    let far = nights(&[
        sample("2026-09-09T07:00:00Z", "2026-09-09T10:00:00Z"),
        sample("2026-09-09T11:00:00Z", "2026-09-09T15:00:00Z"),
    ]);
    assert_eq!(far.len(), 1);
    assert_eq!(far[0].1, 420.0);
    // 23:30 in Tokyo is before noon in UTC, and is the night all the same.
    let tokyo = nights(&[sample("2026-09-09T23:30:00+09:00", "2026-09-10T07:00:00+09:00")]);
    let later = nights(&[sample("2026-09-10T01:30:00+09:00", "2026-09-10T07:00:00+09:00")]);
    assert_eq!(tokyo[0].0, later[0].0);
}

#[test]
fn more_sleep_than_may_wait_is_summed_up_in_between() {
    // 3000 nights of 20 intervals each, the latest last, and one interval that nobody sleeps.
    let start_s = 1_500_000_000_i64;
    let minute = |s: i64| Timestamp::from_ms(s * 1000).to_string();
    let samples: Vec<String> = (0..60_000_i64)
        .map(|i| {
            let at = start_s + (i / 20) * 86_400 + (i % 20) * 1200;
            format!(
                r#"{{"type":"sleepAnalysis","value":3,"startDate":"{}","endDate":"{}"}}"#,
                minute(at),
                minute(at + 1200)
            )
        })
        .chain([r#"{"type":"sleepAnalysis","value":3,"startDate":"2001-01-01","endDate":"2026-01-01"}"#
            .to_owned()])
        .collect();
    let drafts = drafts(&samples);
    let totals: Vec<_> = derived(&drafts)
        .into_iter()
        .filter(|fact| fact.reading.metric.name() == "total_sleep_minutes")
        .map(|fact| (fact.identity, fact.reading.value))
        .collect();
    assert!(totals.iter().all(|(_, minutes)| *minutes == 400.0));
    assert_eq!(
        totals.iter().map(|(identity, _)| identity).collect::<std::collections::HashSet<_>>().len(),
        3000
    );
    assert_eq!(totals.len(), 3000);
}
