//! Terra's records as readings: fields, times, versions, parts, and what is refused in them.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::terra::{decode_terra, terra_device, verified_with};
use super::*;
use crate::domain::admission::{Known, Version};
use crate::domain::event::Event;
use crate::domain::ids::Identity;
use crate::domain::time::Zone;

const ORDER: &str = "x-terra-ordering-timestamp";

fn body(kind: &str, records: &Value) -> String {
    let user = json!({"user_id": "0f2c9a44", "provider": "GARMIN", "reference_id": "user-81"});
    json!({"type": kind, "user": user, "data": records, "version": "2022-03-16"}).to_string()
}

fn read(kind: &str, record: &Value) -> (Vec<EventDraft>, Rejections) {
    let (mut drafts, rejected) = events(decode_terra(&[], &body(kind, &json!([record]))));
    // Places for parts that the record does not have.
    drafts.retain(|draft| !matches!(&draft.facts, Facts::Part { readings, .. } if readings.is_empty()));
    (drafts, rejected)
}

fn readings(draft: &EventDraft) -> Vec<&Reading> {
    match &draft.facts {
        Facts::Record { readings, .. } | Facts::Part { readings, .. } => readings.iter().collect(),
        Facts::Readings(facts) => facts.iter().map(|fact| &fact.reading).collect(),
    }
}

/// `metric value context method at`, of each reading of the first event.
fn told(kind: &str, record: &Value) -> Vec<String> {
    let (drafts, rejected) = read(kind, record);
    assert_eq!(rejected.listed, [], "{record}");
    let tell = |reading: &&Reading| {
        let context = reading.context.map(|context| format!(" {context:?}").to_lowercase());
        let method = reading.method.map(|method| format!(" {}", method.name()));
        let label = reading.label.as_ref().map(|label| format!(" {label}"));
        let extras = [context, method, label].into_iter().flatten().collect::<String>();
        let start = reading.start.map_or_else(String::new, |start| format!("{start} to "));
        format!("{} {}{extras} {start}{}", reading.metric.name(), reading.value, reading.timestamp)
    };
    readings(&drafts[0]).iter().map(tell).collect()
}

#[test]
fn a_day_is_read_at_its_start() {
    let record = json!({
        "metadata": {"start_time": "2026-09-09T00:00:00.000000+02:00", "end_time": "2026-09-10T00:00:00.000000+02:00", "upload_type": 1},
        "heart_rate_data": {"summary": {"avg_hr_bpm": 72.5, "resting_hr_bpm": 55, "avg_hrv_rmssd": 41, "avg_hrv_sdnn": 60, "max_hr_bpm": 40, "min_hr_bpm": 190}},
        "distance_data": {"steps": 8412, "distance_meters": 6050.5, "floors_climbed": 4},
        "calories_data": {"total_burned_calories": 2300, "net_activity_calories": 500, "BMR_calories": 1800},
        "active_durations_data": {"activity_seconds": 3600},
        "scores": {"sleep": 81, "recovery": 62, "activity": 90},
        "strain_data": {"strain_level": 12.5}, "stress_data": {"avg_stress_level": 31},
        "oxygen_data": {"avg_saturation_percentage": 96.5, "vo2max_ml_per_min_per_kg": 47},
        "MET_data": {"avg_level": 2}, "tag_data": null,
    });
    let at = "2026-09-08T22:00:00Z";
    let day = |what: &str| format!("{what} {at}");
    let expected = [
        "heart_rate 72.5 daily",
        "resting_heart_rate 55 daily",
        "hrv 41 daily rmssd",
        "hrv 60 daily sdnn",
        "steps 8412 daily",
        "distance_meters 6050.5 daily",
        "flights_climbed 4 daily",
        "total_calories 2300 daily",
        "active_calories 500 daily",
        "basal_calories 1800 daily",
        "exercise_minutes 60 daily",
        "sleep_score 81 daily",
        "recovery_score 62 daily",
        "activity_score 90 daily",
        "strain 12.5 daily",
        "stress_level 0.31 daily",
        "blood_oxygen 96.5 daily",
        "vo2max 47 daily",
    ];
    assert_eq!(told("daily", &record), expected.map(day));
    let (drafts, _) = read("daily", &record);
    assert_eq!((&*drafts[0].kind, drafts[0].user_id.as_str()), ("daily", "user-81"));
    assert_eq!(drafts[0].timestamp.to_string(), at);
    let first = readings(&drafts[0])[0];
    assert_eq!((first.confidence, first.source.as_deref()), (Some(0.95), Some("GARMIN")));
    assert_eq!(first.utc_offset.map(|offset| offset.to_string()).as_deref(), Some("+02:00"));
}

fn night() -> Value {
    json!({
        "metadata": {"start_time": "2026-09-09T22:00:00+00:00", "end_time": "2026-09-10T06:00:00+00:00", "summary_id": "night-1", "upload_type": 4},
        "sleep_durations_data": {
            "asleep": {"duration_asleep_state_seconds": 27000, "duration_deep_sleep_state_seconds": 5400, "duration_light_sleep_state_seconds": 15000, "duration_REM_sleep_state_seconds": 6600},
            "awake": {"duration_awake_state_seconds": 1800, "sleep_latency_seconds": 600},
            "other": {"duration_in_bed_seconds": 28800}, "sleep_efficiency": 0.93,
            "hypnogram_samples": [
                {"timestamp": "2026-09-09T23:00:00+00:00", "level": 5}, {"timestamp": "2026-09-09T22:00:00+00:00", "level": 4},
                {"timestamp": "2026-09-10T01:00:00+00:00", "level": 0}, {"timestamp": "2026-09-10T02:00:00+00:00", "level": 6},
                {"timestamp": "2026-09-10T03:00:00+00:00", "level": 3}, {"timestamp": "2026-09-10T03:10:00+00:00", "level": 2},
            ],
        },
        "heart_rate_data": {
            "summary": {"avg_hr_bpm": 52, "resting_hr_bpm": 47, "avg_hrv_rmssd": 61},
            "detailed": {"hr_samples": [{"timestamp": "2026-09-09T22:05:00+00:00", "bpm": 58}, null, {"timestamp": "2026-09-09T22:10:00+00:00", "bpm": null}]},
        },
        "scores": {"sleep": 84}, "readiness_data": {"readiness": 77, "recovery_level": 3},
        "respiration_data": {"breaths_data": {"avg_breaths_per_min": 14.5}, "oxygen_saturation_data": {"avg_saturation_percentage": 0.97}},
        "temperature_data": {"delta": -1},
        "data_enrichment": {"sleep_score": 79, "readiness_score": null},
    })
}

#[test]
fn a_night_is_read_at_its_end_and_its_codes_are_its_own() {
    let span = "2026-09-09T22:00:00Z to 2026-09-10T06:00:00Z";
    let of_night = |what: &str| format!("{what} {span}");
    let mut expected: Vec<String> = [
        "total_sleep_minutes 450",
        "deep_sleep_minutes 90",
        "light_sleep_minutes 250",
        "rem_sleep_minutes 110",
        "awake_minutes 30",
        "sleep_latency_minutes 10",
        "time_in_bed_minutes 480",
        "sleep_efficiency 93",
        "heart_rate 52 sleep",
        "resting_heart_rate 47 sleep",
        "hrv 61 sleep rmssd",
        "sleep_score 84",
        "recovery_score 77",
        "respiratory_rate 14.5 sleep",
        "blood_oxygen 97 sleep",
        "temperature_deviation -1 sleep",
    ]
    .map(of_night)
    .into();
    expected.extend(
        [
            "sleep_state 2 light 2026-09-09T22:00:00Z to 2026-09-09T23:00:00Z",
            "sleep_state 3 deep 2026-09-09T23:00:00Z to 2026-09-10T01:00:00Z",
            "sleep_state 4 rem 2026-09-10T02:00:00Z to 2026-09-10T03:00:00Z",
            "sleep_state 5 awake 2026-09-10T03:00:00Z to 2026-09-10T03:10:00Z",
            "sleep_state 1 asleep 2026-09-10T03:10:00Z to 2026-09-10T06:00:00Z",
            "heart_rate 58 sleep 2026-09-09T22:05:00Z",
        ]
        .map(str::to_owned),
    );
    assert_eq!(told("sleep", &night()), expected);
    let (drafts, _) = read("sleep", &night());
    assert!(!drafts[0].deleted, "4 is indeterminate here");
    assert_eq!((&*drafts[0].kind, drafts.len()), ("sleep", 1), "the provider's score stands for Terra's");
}

#[test]
fn a_workout_is_no_rest() {
    let record = json!({
        "metadata": {"start_time": "2026-09-10T08:00:00+00:00", "end_time": "2026-09-10T09:30:00+00:00", "summary_id": "run-1", "type": 0, "upload_type": 1},
        "distance_data": {"summary": {"distance_meters": 9000, "steps": 8000}},
        "calories_data": {"total_burned_calories": 800, "net_activity_calories": 700},
        "heart_rate_data": {"summary": {"avg_hr_bpm": 142, "max_hr_bpm": 171}, "detailed": {"hr_samples": [{"timestamp": "2026-09-10T08:00:05+00:00", "bpm": 120}]}},
        "strain_data": {"strain_level": 11},
    });
    let span = "workout activity type 0 2026-09-10T08:00:00Z to 2026-09-10T09:30:00Z";
    let mut expected: Vec<String> = [
        "workout_duration_minutes 90",
        "workout_heart_rate_average 142",
        "workout_heart_rate_max 171",
        "workout_distance_meters 9000",
        "steps 8000",
        "workout_calories 800",
        "workout_strain 11",
    ]
    .map(|what| format!("{what} {span}"))
    .into();
    expected.push("heart_rate 120 workout 2026-09-10T08:00:05Z".to_owned());
    assert_eq!(told("activity", &record), expected);
    let named = json!({"metadata": {"start_time": "2026-09-10T08:00:00Z", "end_time": "2026-09-10T09:00:00Z", "name": "Trail run", "type": 8}});
    let (drafts, _) = read("activity", &named);
    assert_eq!((&*drafts[0].kind, readings(&drafts[0])[0].label.as_deref()), ("workout", Some("Trail run")));
}

#[test]
fn a_body_is_read_sample_by_sample() {
    let at = |minute: u32| format!("2026-09-10T07:{minute:02}:00+00:00");
    let record = json!({
        "metadata": {"start_time": "2026-09-10T00:00:00+00:00"},
        "heart_data": {"heart_rate_data": {"detailed": {"hr_samples": [{"timestamp": at(1), "bpm": 61}], "hrv_samples_rmssd": [{"timestamp": at(2), "hrv_rmssd": 40}], "hrv_samples_sdnn": [{"timestamp": at(2), "hrv_sdnn": 55}]}}},
        "measurements_data": {"measurements": [{"measurement_time": at(3), "weight_kg": 80.5, "bodyfat_percentage": 0.21, "BMI": 24.5, "height_cm": 181, "lean_mass_g": 61000, "bone_mass_g": 3000}]},
        "glucose_data": {"blood_glucose_samples": [{"timestamp": at(4), "blood_glucose_mg_per_dL": 99}], "detailed_blood_glucose_samples": [{"timestamp": at(5), "blood_glucose_mg_per_dL": 101}]},
        "blood_pressure_data": {"blood_pressure_samples": [{"timestamp": at(6), "systolic_bp": 121, "diastolic_bp": 79}]},
        "temperature_data": {"body_temperature_samples": [{"timestamp": at(7), "temperature_celsius": 36.6}], "skin_temperature_samples": [{"timestamp": at(8), "temperature_celsius": 33}], "ambient_temperature_samples": [{"timestamp": at(9), "temperature_celsius": 21}]},
        "oxygen_data": {"saturation_samples": [{"timestamp": at(10), "percentage": 98, "type": "SpO2"}, {"timestamp": at(11), "percentage": 61, "type": "SmO2"}, {"timestamp": at(12), "percentage": 97}]},
    });
    let expected = [
        "heart_rate 61 07:01",
        "hrv 40 rmssd 07:02",
        "hrv 55 sdnn 07:02",
        "weight 80.5 07:03",
        "body_fat 21 07:03",
        "bmi 24.5 07:03",
        "height 1.81 07:03",
        "lean_mass 61 07:03",
        "blood_glucose 101 07:05",
        "blood_pressure_systolic 121 07:06",
        "blood_pressure_diastolic 79 07:06",
        "body_temperature 36.6 07:07",
        "skin_temperature 33 07:08",
        "blood_oxygen 98 07:10",
    ];
    let expected = expected.map(|text| {
        let (what, time) = text.rsplit_once(' ').unwrap();
        format!("{what} 2026-09-10T{time}:00Z")
    });
    assert_eq!(told("body", &record), expected);
    let plain = json!({"metadata": {"start_time": "2026-09-10T00:00:00Z"}, "glucose_data": {"blood_glucose_samples": [{"timestamp": at(4), "blood_glucose_mg_per_dL": 99}], "detailed_blood_glucose_samples": []}});
    assert_eq!(told("body", &plain), ["blood_glucose 99 2026-09-10T07:04:00Z"]);
}

#[test]
fn the_saturation_of_muscles_is_none_of_the_bloods_by_number_or_name() {
    let body = |kind: Value| {
        json!({
            "metadata": {"start_time": "2026-09-10T00:00:00Z"},
            "oxygen_data": {"saturation_samples": [{"timestamp": "2026-09-10T07:00:00Z", "percentage": 91, "type": kind}]},
        })
    };
    for blood in [json!(0), json!("SpO2"), json!("spo2")] {
        assert_eq!(told("body", &body(blood)), ["blood_oxygen 91 2026-09-10T07:00:00Z"]);
    }
    for other in [json!(1), json!("SmO2"), json!(2), json!("01"), Value::Null] {
        let (drafts, rejected) = read("body", &body(other));
        assert_eq!((drafts.len(), rejected.total), (0, 0));
    }
    let (drafts, rejected) = read("body", &body(json!([0])));
    let place = "/data/0/oxygen_data/saturation_samples/0/type";
    assert_eq!((drafts.len(), rejected.listed[0].path.as_str()), (0, place));
}

#[test]
fn what_is_impossible_is_refused_by_its_place_and_nothing_else_with_it() {
    let good = json!({"metadata": {"start_time": "2026-09-09T00:00:00Z"}, "distance_data": {"steps": 10}});
    let bad = json!({
        "metadata": {"start_time": "2026-09-10T00:00:00Z"},
        "blood_pressure_data": {"blood_pressure_samples": [{"timestamp": "2026-09-10T07:00:00Z", "systolic_bp": 70, "diastolic_bp": 110}, {"timestamp": "2026-09-10T07:01:00Z", "systolic_bp": 120, "diastolic_bp": 80}]},
        "heart_data": {"heart_rate_data": {"detailed": {"hr_samples": [{"timestamp": "2026-09-10T07:00:00Z", "bpm": 900}, {"bpm": 60}]}}},
    });
    let (drafts, rejected) =
        events(decode_terra(&[], &body("body", &json!([good, 7, {"metadata": null}, bad]))));
    let places: Vec<(usize, &str)> = rejected.listed.iter().map(|it| (it.index, it.path.as_str())).collect();
    let samples = "/data/3/heart_data/heart_rate_data/detailed/hr_samples";
    let expected = [
        (1, "/data/1".to_owned()),
        (2, "/data/2/metadata".to_owned()),
        (3, format!("{samples}/0/bpm")),
        (3, format!("{samples}/1/timestamp")),
        (3, "/data/3/blood_pressure_data/blood_pressure_samples/0".to_owned()),
    ];
    assert!(places.iter().map(|(index, path)| (*index, (*path).to_owned())).eq(expected), "{places:?}");
    assert_eq!(drafts.iter().map(EventDraft::readings_len).sum::<usize>(), 2);
}

#[test]
fn a_negative_stress_is_no_level() {
    let record =
        json!({"metadata": {"start_time": "2026-09-09T00:00:00Z"}, "stress_data": {"avg_stress_level": -2}});
    assert!(told_nothing(&record));
}

/// Neither a reading nor a refusal.
fn told_nothing(record: &Value) -> bool {
    let (drafts, rejected) = read("daily", record);
    drafts.is_empty() && rejected.total == 0
}

#[test]
fn a_time_without_an_offset_is_the_users() {
    let record = json!({"metadata": {"start_time": "2026-09-09T23:00:00", "end_time": "2026-09-10T07:00:00.5", "summary_id": "n"}, "scores": {"sleep": 80}});
    let text = body("sleep", &json!([record]));
    let verified = verified_with(&[], &text);
    let end = |decoded| events(decoded).0[0].timestamp.to_string();
    match terra_device().decode(&verified, NOW) {
        Ok(Decoded::LocalTimes { account, as_utc }) => {
            assert_eq!(account.as_str(), "0f2c9a44");
            assert_eq!(end(Ok(*as_utc)), "2026-09-10T07:00:00.500Z");
        }
        other => panic!("{other:?}"),
    }
    let berlin = verified.in_zone(Zone::of_name("Europe/Berlin").unwrap());
    assert_eq!(end(terra_device().decode(&berlin, NOW)), "2026-09-10T05:00:00.500Z");
    // Another time of the record tells the offset, or the record says that it is in UTC.
    let told = json!({"metadata": {"start_time": "2026-09-09T23:00:00+02:00", "end_time": "2026-09-10T07:00:00", "summary_id": "n"}, "scores": {"sleep": 80}});
    assert_eq!(end(decode_terra(&[], &body("sleep", &json!([told])))), "2026-09-10T05:00:00Z");
    let utc = json!({"metadata": {"start_time": "2026-09-09T23:00:00", "end_time": "2026-09-10T07:00:00", "summary_id": "n", "timestamp_localization": 0}, "scores": {"sleep": 80}});
    assert_eq!(end(decode_terra(&[], &body("sleep", &json!([utc])))), "2026-09-10T07:00:00Z");
}

fn identity(kind: &str, user: &Value, record: &Value) -> Identity {
    let text = json!({"type": kind, "user": user, "data": [record]}).to_string();
    let decoded = decode_terra(&[], &text);
    let drafts = match decoded {
        Ok(Decoded::LocalTimes { as_utc, .. }) => events(Ok(*as_utc)).0,
        decoded => events(decoded).0,
    };
    let Facts::Record { identity, .. } = drafts[0].facts else { panic!("no record") };
    identity
}

#[test]
fn a_day_is_known_by_its_date_as_it_is_written_and_other_records_by_their_id() {
    let user = json!({"user_id": "a", "provider": "OURA", "reference_id": "user-81"});
    let day = |start: &str| json!({"metadata": {"start_time": start}, "distance_data": {"steps": 1}});
    let of = |start: &str| identity("daily", &user, &day(start));
    assert_eq!(of("2026-09-09T00:00:00+02:00"), of("2026-09-09T00:30:00-07:00"));
    assert_ne!(of("2026-09-09T00:00:00+02:00"), of("2026-09-08T22:00:00Z"), "the same moment");
    let night = |id: &str, start: &str| json!({"metadata": {"summary_id": id, "start_time": start, "end_time": "2026-09-10T06:00:00Z"}, "scores": {"sleep": 1}});
    let nights = |id, start| identity("sleep", &user, &night(id, start));
    assert_eq!(nights("n", "2026-09-09T22:00:00Z"), nights("n", "2026-09-09T21:00:00Z"));
    assert_ne!(nights("n", "2026-09-09T22:00:00Z"), nights("m", "2026-09-09T22:00:00Z"));
    // Connected again, the account has another id, and the record is the same; another device's is another.
    let again = json!({"user_id": "b", "provider": "OURA", "reference_id": "user-81"});
    let other = json!({"user_id": "b", "provider": "GARMIN", "reference_id": "user-81"});
    let start = "2026-09-09T00:00:00Z";
    assert_eq!(of(start), identity("daily", &again, &day(start)));
    assert_ne!(of(start), identity("daily", &other, &day(start)));
    let unnamed = |id: &str| identity("daily", &json!({"user_id": id, "provider": "OURA"}), &day(start));
    assert_ne!(unnamed("a"), unnamed("b"));
}

#[test]
fn the_order_is_terras_and_chunks_are_history() {
    let text = body(
        "daily",
        &json!([{"metadata": {"start_time": "2026-09-09T00:00:00Z"}, "distance_data": {"steps": 1}}]),
    );
    let first = |told: &[(&'static str, &str)]| {
        let draft = events(decode_terra(told, &text)).0.remove(0);
        let Facts::Record { version, .. } = draft.facts else { panic!("no record") };
        (version, draft.is_backfill)
    };
    assert_eq!(first(&[(ORDER, "1789041500123")]), (Version::Given(1_789_041_500_123), false));
    assert_eq!(first(&[("x-terra-trace-id", "t:chunk:12")]), (Version::Arrival, true));
    for none in ["", "soon", "-1", "9999999999999"] {
        assert_eq!(first(&[(ORDER, none)]), (Version::Arrival, false), "{none}");
    }
}

/// A store as small as can be: what is visible after deliveries, by metric and time.
#[derive(Default)]
struct Shelf {
    known: HashMap<Identity, Known>,
    events: Vec<(Event, Vec<u32>, bool)>,
}

impl Shelf {
    fn take(&mut self, order: i64, text: &str) {
        let order = order.to_string();
        let decoded = decode_terra(&[(ORDER, &order)], text);
        for draft in events(decoded).0 {
            assert!(draft.readings_len() <= 1_000);
            let Some(admitted) = draft.admit(self.events.len() as i64, &mut self.known) else { continue };
            let is_visible = !admitted.event.deleted;
            self.events.push((admitted.event, Vec::new(), is_visible));
            for older in admitted.superseded {
                let (_, hidden, is_visible) = &mut self.events[older.event_seq as usize];
                match older.reading {
                    Some(place) => hidden.push(place),
                    None => *is_visible = false,
                }
            }
        }
    }

    fn visible(&self) -> BTreeMap<(String, Timestamp, String), usize> {
        let mut all = BTreeMap::new();
        for (event, hidden, _) in self.events.iter().filter(|(_, _, is_visible)| *is_visible) {
            let shown = (0..).zip(&event.readings).filter(|(place, _)| !hidden.contains(place));
            for (_, reading) in shown {
                let key = (reading.metric.name().to_owned(), reading.timestamp, reading.value.to_string());
                *all.entry(key).or_insert(0) += 1;
            }
        }
        all
    }
}

/// A day with so many samples, and what else is given.
fn day_with(samples: usize, bpm: usize, steps: Option<u32>, upload_type: u32) -> String {
    let sample = |place: usize| {
        let (hour, minute, second) = (place / 3600, place / 60 % 60, place % 60);
        json!({"timestamp": format!("2026-09-09T{hour:02}:{minute:02}:{second:02}Z"), "bpm": bpm})
    };
    let samples: Vec<Value> = (0..samples).map(sample).collect();
    body(
        "daily",
        &json!([{
            "metadata": {"start_time": "2026-09-09T00:00:00Z", "upload_type": upload_type},
            "distance_data": {"steps": steps}, "heart_rate_data": {"detailed": {"hr_samples": samples}},
        }]),
    )
}

#[test]
fn a_newer_copy_hides_all_of_the_older_ones_parts_and_a_late_one_brings_none_back() {
    let (long, short) = (day_with(3_500, 61, Some(7), 1), day_with(20, 62, Some(8), 3));
    let gone = day_with(0, 0, None, 4);
    let count = |shelf: &Shelf| shelf.visible().values().sum::<usize>();
    let mut shelf = Shelf::default();
    shelf.take(1, &long);
    assert_eq!((count(&shelf), shelf.events.len()), (3_501, 4));
    shelf.take(2, &short);
    assert_eq!(count(&shelf), 21);
    shelf.take(1, &long);
    assert_eq!(count(&shelf), 21);
    shelf.take(3, &gone);
    shelf.take(1, &long);
    assert_eq!(count(&shelf), 0);
    let mut late = Shelf::default();
    for (order, text) in [(3, &gone), (2, &short), (1, &long)] {
        late.take(order, text);
    }
    assert_eq!(count(&late), 0);
}

#[test]
fn a_score_of_terras_own_is_not_erased_by_a_copy_without_it() {
    let copy = |enriched: Value| {
        let mut night = night();
        night["scores"] = Value::Null;
        night["data_enrichment"] = enriched;
        body("sleep", &json!([night]))
    };
    let (with, without) = (copy(json!({"sleep_score": 79})), copy(json!({"sleep_score": null})));
    for order in [[(1, &with), (2, &without)], [(2, &without), (1, &with)]] {
        let mut shelf = Shelf::default();
        order.into_iter().for_each(|(at, text)| shelf.take(at, text));
        assert_eq!(shelf.visible().iter().filter(|((name, ..), _)| name == "sleep_score").count(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..fixed_cases(0x7465_7272) })]

    /// Whatever the order, and however often: the newest copy of each record is what is seen.
    #[test]
    fn any_order_and_any_repetition_end_in_the_same_readings(
        copies in prop::collection::vec((prop::sample::select(vec![0_usize, 3, 1_050, 2_050]), 60_usize..70, prop::option::of(1_u32..9), prop::sample::select(vec![0_u32, 1, 3, 4, 5])), 1..5),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        shuffled in any::<u64>(),
    ) {
        let texts: Vec<(i64, String)> = (1..).zip(&copies)
            .map(|(at, (samples, bpm, steps, upload_type))| (at, day_with(*samples, *bpm, *steps, *upload_type)))
            .collect();
        let mut plain = Shelf::default();
        texts.iter().for_each(|(at, text)| plain.take(*at, text));
        let mut mixed: Vec<&(i64, String)> = order.iter().map(|index| index.get(&texts)).chain(&texts).collect();
        mixed.sort_by_key(|(at, _)| (*at as u64).wrapping_mul(shuffled | 1).rotate_left(17));
        let mut other = Shelf::default();
        mixed.into_iter().for_each(|(at, text)| other.take(*at, text));
        prop_assert_eq!(plain.visible(), other.visible());
    }
}

/// Puts `value` into the place of the `nth` leaf, null or empty list of a document.
fn replace_leaf(document: &mut Value, nth: &mut usize, value: &Value) -> bool {
    let mut inside = |inner: &mut Value| replace_leaf(inner, nth, value);
    match document {
        Value::Object(members) if !members.is_empty() => members.values_mut().any(inside),
        Value::Array(elements) if !elements.is_empty() => elements.iter_mut().any(&mut inside),
        leaf if *nth == 0 => {
            *leaf = value.clone();
            true
        }
        _ => {
            *nth -= 1;
            false
        }
    }
}

fn any_leaf() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "61",
        "2026-09-09",
        "2026-09-09T25:00:00Z",
        "1969-01-01T00:00:00+02:00",
        "9999-12-31T23:59:59",
        "SpO2",
        "\u{0}",
        "+",
        "é2026-09-09",
    ];
    prop_oneof![
        any::<f64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
        (-10..400_i32).prop_map(|number| json!(number)),
        prop::sample::select(words.to_vec()).prop_map(|text| json!(text)),
        prop::sample::select(vec![
            Value::Null,
            json!(true),
            json!([]),
            json!({}),
            json!([null, 7, {}]),
            json!({"a": 1})
        ]),
    ]
}

proptest! {
    #![proptest_config(fixed_cases(0x7465_7273))]

    /// Whatever stands in a record: nothing panics, and no reading is impossible.
    #[test]
    fn no_record_makes_an_impossible_reading(
        kind in prop::sample::select(vec!["daily", "sleep", "body", "activity"]),
        changes in prop::collection::vec((0_usize..60, any_leaf()), 0..6),
    ) {
        let mut document = night();
        document["heart_data"] = json!({"heart_rate_data": document["heart_rate_data"].clone()});
        document["blood_pressure_data"] = json!({"blood_pressure_samples": [{"timestamp": "2026-09-10T07:00:00", "systolic_bp": 120, "diastolic_bp": 80}]});
        document["oxygen_data"] = json!({"saturation_samples": [{"timestamp": "2026-09-10T07:00:00", "percentage": 97, "type": "SpO2"}]});
        for (nth, value) in changes {
            replace_leaf(&mut document, &mut nth.clone(), &value);
        }
        let drafts = match decode_terra(&[], &body(kind, &json!([document]))) {
            Ok(Decoded::Events { drafts, .. }) => drafts,
            Ok(Decoded::LocalTimes { as_utc, .. }) => events(Ok(*as_utc)).0,
            _ => Vec::new(),
        };
        for reading in drafts.iter().flat_map(readings) {
            prop_assert_eq!(reading.metric.accept(reading.value), Ok(reading.value));
            prop_assert!(reading.start.is_none_or(|start| start < reading.timestamp), "{:?}", reading);
            prop_assert_eq!(reading.unit, reading.metric.unit());
        }
    }
}
