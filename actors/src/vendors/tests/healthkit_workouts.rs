//! Workouts: an app's, as a sample or in its envelope, and both forms of Health Auto Export's.

use std::collections::BTreeMap;

use super::*;
use crate::domain::admission::Version;
use crate::domain::event::Context;

type Totals = BTreeMap<&'static str, f64>;

/// The totals and the heart rates of a body's workouts.
fn read(body: &str) -> (Totals, Vec<f64>, Vec<EventDraft>) {
    let (drafts, rejected) = events(decode_healthkit(body.as_bytes()));
    assert_eq!(rejected.total, 0, "{rejected:?}");
    let (mut totals, mut rates) = (Totals::new(), Vec::new());
    for draft in &drafts {
        for ReadingFact { reading, .. } in facts(draft) {
            assert_eq!(reading.context, Some(Context::Workout), "{reading:?}");
            match reading.metric.name() {
                "heart_rate" => {
                    assert_eq!(&*draft.kind, "sample");
                    rates.push(reading.value);
                }
                name => {
                    assert_eq!(&*draft.kind, "workout");
                    assert!(name.starts_with("workout_"), "{name}");
                    totals.insert(name, reading.value);
                }
            }
        }
    }
    (totals, rates, drafts)
}

fn run() -> Totals {
    [
        ("workout_duration_minutes", 45.0),
        ("workout_calories", 345.5),
        ("workout_distance_meters", 5234.0),
        ("workout_heart_rate_average", 142.3),
        ("workout_heart_rate_max", 178.0),
    ]
    .into_iter()
    .collect()
}

const SPAN: &str = r#""startDate":"2026-09-10T06:00:00+02:00","endDate":"2026-09-10T06:45:00+02:00""#;

#[test]
fn an_apps_workout_is_told_by_its_totals_in_any_form() {
    let forms = [
        format!(
            r#"{{"user_id":"u","samples":[{{"type":"HKWorkoutTypeIdentifier","uuid":"w","workoutActivityType":"HKWorkoutActivityTypeRunning","duration":2700,"totalEnergyBurned":345.5,"totalDistance":5.234,"totalDistanceUnit":"km","averageHeartRate":142.3,"maxHeartRate":178,{SPAN}}}]}}"#
        ),
        format!(
            r#"{{"user_id":"u","samples":[{{"type":"Workout","id":"w","activityType":"running","duration":{{"value":45,"unit":"min"}},"workoutStatistics":[{{"type":"HKQuantityTypeIdentifierActiveEnergyBurned","value":1445.572,"unit":"kJ"}},{{"type":"distanceWalkingRunning","value":5234,"unit":"m"}},{{"type":"averageHeartRate","value":142.3}},{{"type":"maxHeartRate","value":178,"unit":"bpm"}}],{SPAN}}}]}}"#
        ),
        format!(
            r#"{{"user_id":"u","provider":"apple","data":{{"workouts":[{{"id":"w","type":"RUNNING",{SPAN},"values":[{{"type":"duration","value":2700000,"unit":"ms"}},{{"type":"calories","value":345.5,"unit":"kcal"}},{{"type":"distance","value":5234.0,"unit":"m"}},{{"type":"meanHeartRate","value":142.3,"unit":"bpm"}},{{"type":"maxHeartRate","value":178.0,"unit":"bpm"}},{{"type":"minHeartRate","value":95.0,"unit":"bpm"}},{{"type":"meanSpeed","value":1.5,"unit":"m/s"}}],"route":[{{"latitude":52.2}}]}}]}}}}"#
        ),
    ];
    for form in &forms {
        let (totals, rates, drafts) = read(form);
        assert_eq!((totals, rates), (run(), vec![]), "{form}");
        assert_eq!(drafts.len(), 1, "one event of a user, source and kind");
        for fact in facts(&drafts[0]) {
            let reading = &fact.reading;
            assert_eq!(reading.label.as_deref(), Some("running"), "{form}");
            assert_eq!(reading.timestamp.to_string(), "2026-09-10T04:45:00Z");
            assert_eq!(reading.start.map(|start| start.to_string()).as_deref(), Some("2026-09-10T04:00:00Z"));
            assert_eq!(fact.version, Version::Fixed);
        }
    }
    // The same workout by its id, whatever form tells of it.
    let ids = |form: &str| facts(&read(form).2[0]).iter().map(|fact| fact.identity).collect::<Vec<_>>();
    let sorted = |mut ids: Vec<_>| {
        ids.sort();
        ids
    };
    assert_eq!(sorted(ids(&forms[0])), sorted(ids(&forms[1])));
    assert_eq!(sorted(ids(&forms[0])), sorted(ids(&forms[2])));
}

#[test]
fn a_workouts_bad_points_are_all_counted_and_a_hundred_listed() {
    let points = vec!["0"; 250].join(",");
    let body =
        format!(r#"{{"user_id":"u","workouts":[{{"name":"Run",{SPAN},"heartRateData":[{points}]}},{{}}]}}"#);
    let (_, rejected) = events(decode_healthkit(body.as_bytes()));
    assert_eq!((rejected.total, rejected.listed.len()), (251, 100));
}

#[test]
fn a_type_may_say_what_was_done() {
    let body = format!(r#"{{"user_id":"u","samples":[{{"type":"HKWorkoutActivityTypeYoga",{SPAN}}}]}}"#);
    let (totals, _, drafts) = read(&body);
    assert_eq!(totals.len(), 1);
    assert_eq!(facts(&drafts[0])[0].reading.label.as_deref(), Some("yoga"));
}

#[test]
fn a_workout_without_a_duration_lasted_from_start_to_end() {
    let (totals, _, _) = read(&format!(r#"{{"user_id":"u","samples":[{{"type":"workout",{SPAN}}}]}}"#));
    assert_eq!(totals, [("workout_duration_minutes", 45.0)].into_iter().collect());
}

#[test]
fn an_exported_workout_has_samples_of_its_heart_in_both_versions() {
    let v2 = r#"{"data":{"workouts":[{"id":"w","name":"Outdoor Run","start":"2026-09-10 06:00:00 +0200","end":"2026-09-10 06:45:00 +0200","duration":2700,"activeEnergyBurned":{"qty":345.5,"units":"kcal"},"distance":{"qty":5.234,"units":"km"},"avgSpeed":{"qty":7,"units":"km/hr"},"avgHeartRate":{"qty":142.3,"units":"bpm"},"maxHeartRate":{"qty":178,"units":"count/min"},"heartRateData":[{"date":"2026-09-10 06:00:00 +0200","Min":110,"Avg":120,"Max":130,"units":"bpm","source":"Apple Watch"},{"date":"2026-09-10 06:01:00 +0200","Min":120,"Avg":131.5,"Max":140,"units":"bpm","source":"Apple Watch"}],"stepCount":[{"qty":80,"date":"x"}],"route":[{"lat":1}]}]},"user_id":"u"}"#;
    let v1 = r#"{"user_id":"u","workouts":[{"name":"Outdoor Run","start":"2026-09-10 6:00:00 am +0200","end":"2026-09-10 6:45:00 AM +0200","activeEnergy":{"qty":1445.572,"units":"kJ"},"totalEnergy":{"qty":400,"units":"kcal"},"distance":{"qty":5.234,"units":"km"},"avgHeartRate":{"qty":142.3,"units":"bpm"},"maxHeartRate":{"qty":178,"units":"bpm"},"stepCount":{"qty":5000,"units":"steps"},"heartRateData":[{"date":"2026-09-10 6:00:00 am +0200","qty":120,"units":"bpm"},{"date":"2026-09-10 6:01:00 am +0200","qty":131.5,"units":"bpm"}]}]}"#;
    // The app's documentation has the beats of version 1 in `count`.
    let counted = v1.replace(r#""qty":120,"units":"bpm""#, r#""qty":120,"units":"count""#);
    let grouped = r#"{"user_id":"u","data":{"workouts":[{"name":"Outdoor Run","start":"2026-09-10 06:00:00 +0200","end":"2026-09-10 06:45:00 +0200","activeEnergy":{"qty":345.5,"units":"kcal"},"distance":{"qty":5.234,"units":"km"},"heartRate":{"min":{"qty":95,"units":"bpm"},"avg":{"qty":142.3,"units":"bpm"},"max":{"qty":178,"units":"bpm"}},"heartRateData":[{"date":"2026-09-10 06:00:00 +0200","qty":120},{"date":"2026-09-10 06:01:00 +0200","avg":131.5}]}]}}"#;
    let beside_series = r#"{"user_id":"u","data":{"workouts":[{"name":"Outdoor Run","start":"2026-09-10 06:00:00 +0200","end":"2026-09-10 06:45:00 +0200","activeEnergyBurned":[{"date":"2026-09-10 06:00:00 +0200","qty":9,"units":"kcal"}],"activeEnergy":{"qty":345.5,"units":"kcal"},"distance":[{"qty":1}],"totalDistance":{"qty":5.234,"units":"km"},"heartRate":{"min":{"qty":95,"units":"bpm"},"avg":{"qty":142.3,"units":"bpm"},"max":{"qty":178,"units":"bpm"}},"heartRateData":[{"date":"2026-09-10 06:00:00 +0200","qty":120},{"date":"2026-09-10 06:01:00 +0200","avg":131.5}]}]}}"#;
    for body in [v2, v1, &counted, grouped, beside_series] {
        let (totals, rates, drafts) = read(body);
        assert_eq!(totals, run(), "{body}");
        assert_eq!(rates, [120.0, 131.5], "{body}");
        let workout = drafts.iter().find(|draft| &*draft.kind == "workout").unwrap();
        assert!(facts(workout).iter().all(|fact| {
            fact.reading.label.as_deref() == Some("outdoor run")
                && matches!(fact.version, Version::ArrivalOf(_))
        }));
    }
}

#[test]
fn a_bad_total_is_refused_by_its_place_and_no_other_with_it() {
    let body = format!(
        r#"{{"user_id":"u","data":{{"workouts":[{{"name":"Run",{SPAN},"duration":"long","distance":{{"qty":1,"units":"furlong"}},"maxHeartRate":{{"qty":999,"units":"bpm"}},"avgHeartRate":0,"activeEnergy":{{"units":"kJ"}},"values":[{{"type":"maxHeartRate"}}],"heartRateData":[{{"date":"2026-09-10 06:00:00 +0200","qty":120}},{{"qty":120}},{{"date":"2026-09-10 06:02:00 +0200","qty":1200}}]}},{{"name":"Nothing"}}]}}}}"#
    );
    let (drafts, rejected) = events(decode_healthkit(body.as_bytes()));
    let places: Vec<_> = rejected.listed.iter().map(|r| (r.index, r.path.as_str())).collect();
    let at = |field: &str| format!("/data/workouts/0{field}");
    let expected = [
        (0, at("/duration")),
        (0, at("/activeEnergy")),
        (0, at("/distance")),
        (0, at("/maxHeartRate")),
        (0, at("/values/0/value")),
        (0, at("/heartRateData/1/date")),
        (0, at("/heartRateData/2/qty")),
        (1, "/data/workouts/1/timestamp".to_owned()),
    ];
    assert_eq!(places, expected.iter().map(|(i, path)| (*i, path.as_str())).collect::<Vec<_>>());
    let kept: Vec<_> =
        drafts.iter().flat_map(facts).map(|f| (f.reading.metric.name(), f.reading.value)).collect();
    assert_eq!(kept, [("workout_duration_minutes", 45.0), ("heart_rate", 120.0)]);
}
