#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use actors::domain::time::MS_PER_MINUTE;
use serde_json::Value;

use super::answers::{Query, of_oura, of_whoop};
use super::oura_records as oura;
use super::whoop_records as whoop;
use super::world::{World, date, parse_date};
use crate::demo::nights::{Slept, Stage};

/// 2026-09-10T12:00:00Z.
const NOW_MS: i64 = 1_789_041_600_000;
const NOW: i64 = NOW_MS / MS_PER_MINUTE;
const TODAY: i64 = NOW / 1_440;
const SEED: u64 = 7;

fn query(fields: &[(&str, &str)]) -> Query {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn nights_are_those_of_healthy_and_ill_adults() {
    let world = World::new(SEED, 24, None);
    let (mut ill_nights, mut workouts) = (0, 0);
    for resident in world.people() {
        for day in TODAY - 60..TODAY {
            let night = Slept::before(resident.body(), day);
            let hours = night.seconds_asleep() as f64 / 3600.0;
            assert!((4.5..9.5).contains(&hours), "{hours} h");
            let share = |stage| night.seconds(stage) as f64 / night.seconds_asleep() as f64;
            assert!((0.08..0.35).contains(&share(Stage::Deep)), "deep {}", share(Stage::Deep));
            assert!((0.08..0.4).contains(&share(Stage::Rem)), "REM {}", share(Stage::Rem));
            assert!((38.0..90.0).contains(&night.mean_heart_rate()), "{}", night.mean_heart_rate());
            assert!((15.0..120.0).contains(&night.mean_rmssd()), "{}", night.mean_rmssd());
            assert!(night.lowest_heart_rate() < night.mean_heart_rate());
            if resident.body().illness(day) > 0.5 {
                ill_nights += 1;
                assert!(night.temperature_deviation > 0.3 && night.recovery_score < 80);
                assert_eq!(resident.body().workout(day), None);
            }
            workouts += usize::from(resident.body().workout(day).is_some());
        }
    }
    assert!(ill_nights > 20 && (400..800).contains(&workouts), "{ill_nights} {workouts}");
}

#[test]
fn a_record_is_found_by_its_id_and_by_no_other() {
    let world = World::new(SEED, 24, None);
    for resident in world.people() {
        for day in TODAY - 10..TODAY {
            for kind in oura::Kind::ALL {
                let id = resident.record_id(kind as u8, day);
                let (owner, found) = world.find(kind as u8, &id).unwrap();
                assert_eq!((owner.index, found), (resident.index, day));
                assert!(world.find(kind as u8 + 1, &id).is_none());
                assert!(World::new(SEED + 1, 24, None).find(kind as u8, &id).is_none());
            }
            let (owner, found) = world.find_cycle(resident.cycle_id(day)).unwrap();
            assert_eq!((owner.index, found), (resident.index, day));
        }
    }
    assert!(world.find(0, "6a5f0c52-73b1-4c0e-9d55-6f2f3f0b7a11").is_none());
    assert_eq!(parse_date(&date(TODAY)), Some(TODAY));
}

/// Every record of a collection, page by page.
fn all_of_oura(world: &World, person: usize, path: &str, seed_query: &[(&str, &str)]) -> Vec<Value> {
    let (mut found, mut asked) = (Vec::new(), query(seed_query));
    loop {
        let answer = of_oura(world, world.get(person).unwrap(), path, &asked, NOW_MS);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        found.extend(answer.body["data"].as_array().unwrap().iter().cloned());
        match answer.body["next_token"].as_str() {
            Some(token) => asked.insert("next_token".into(), token.into()),
            None => return found,
        };
    }
}

#[test]
fn pages_of_oura_add_up_to_all_records_without_repetition() {
    let world = World::new(SEED, 3, None);
    let (start, end) = (date(TODAY - 60), date(TODAY));
    for kind in oura::Kind::ALL {
        let span = [("start_date", start.as_str()), ("end_date", end.as_str())];
        let records = all_of_oura(&world, 1, kind.path(), &span);
        let ids: BTreeSet<&str> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), records.len(), "{kind:?}");
        let resident = world.get(1).unwrap();
        let expected = (TODAY - 60..=TODAY).filter(|day| oura::record(resident, kind, *day, NOW).is_some());
        assert_eq!(records.len(), expected.count(), "{kind:?}");
        assert!(!records.is_empty(), "{kind:?}");
        for record in &records {
            let path = format!("{}/{}", kind.path(), record["id"].as_str().unwrap());
            let one = of_oura(&world, resident, &path, &Query::new(), NOW_MS);
            assert_eq!((one.status, &one.body), (200, record), "{kind:?}");
            let stranger = of_oura(&world, world.get(0).unwrap(), &path, &Query::new(), NOW_MS);
            assert_eq!(stranger.status, 404, "{kind:?}");
        }
    }
    let span = [("start_datetime", "2026-09-01T00:00:00Z"), ("end_datetime", "2026-09-08T00:00:00Z")];
    let rows = all_of_oura(&world, 1, "heartrate", &span);
    let times: BTreeSet<i64> = rows.iter().map(|row| row["timestamp_unix"].as_i64().unwrap()).collect();
    assert_eq!((rows.len(), times.len()), (7 * 288, 7 * 288));
}

#[test]
fn pages_of_whoop_add_up_to_all_records_without_repetition() {
    let world = World::new(SEED, 3, None);
    let resident = world.get(2).unwrap();
    for kind in whoop::Kind::ALL {
        for limit in ["1", "7", "25"] {
            let mut asked = query(&[
                ("limit", limit),
                ("start", "2026-07-20T00:00:00Z"),
                ("end", "2026-09-10T12:00:00Z"),
            ]);
            let mut found = Vec::new();
            loop {
                let answer = of_whoop(&world, resident, &format!("v2/{}", kind.path()), &asked, NOW_MS);
                assert_eq!(answer.status, 200, "{}", answer.body);
                let records = answer.body["records"].as_array().unwrap();
                assert!(records.len() <= limit.parse::<usize>().unwrap());
                found.extend(records.iter().map(Value::to_string));
                match answer.body["next_token"].as_str() {
                    Some(token) => asked.insert("nextToken".into(), token.into()),
                    None => break,
                };
            }
            let distinct: BTreeSet<&String> = found.iter().collect();
            assert_eq!(distinct.len(), found.len(), "{kind:?}");
            let (first, last) = (parse_date("2026-07-20").unwrap() * 1_440, NOW);
            let expected = (TODAY - 90..=TODAY + 1).filter(|day| {
                let began =
                    kind.span(resident, *day).is_some_and(|(start, _)| (first..last).contains(&start));
                began && whoop::record(resident, kind, *day, NOW).is_some()
            });
            assert_eq!(found.len(), expected.count(), "{kind:?} by {limit}");
        }
    }
}

#[test]
fn a_record_of_whoops_is_pending_first_and_scored_later() {
    let world = World::new(SEED, 3, None);
    let resident = world.get(0).unwrap();
    let mut scored = 0;
    for day in TODAY - 40..TODAY - 1 {
        for kind in [whoop::Kind::Sleep, whoop::Kind::Recovery, whoop::Kind::Workout] {
            let Some((_, end)) = kind.span(resident, day) else { continue };
            let at = |minutes: i64| whoop::record(resident, kind, day, end + minutes);
            assert_eq!(at(whoop::CREATED_AFTER - 1), None);
            let pending = at(whoop::CREATED_AFTER).unwrap();
            assert_eq!((&pending["score_state"], pending.get("score")), (&"PENDING_SCORE".into(), None));
            let later = at(whoop::SCORED_AFTER).unwrap();
            assert_eq!(later["score_state"] == "SCORED", later.get("score").is_some());
            assert!(later["updated_at"].as_str() > pending["updated_at"].as_str());
            scored += usize::from(later["score_state"] == "SCORED");
        }
        let cycle = format!("v2/cycle/{}/recovery", resident.cycle_id(day));
        let recovery = of_whoop(&world, resident, &cycle, &Query::new(), NOW_MS);
        assert_eq!(recovery.body["sleep_id"], resident.record_id(whoop::Kind::Sleep as u8, day));
    }
    assert!(scored > 70, "{scored}");
}

#[test]
fn a_cycle_never_changes_without_a_newer_version_and_its_end_is_one() {
    let world = World::new(SEED, 2, None);
    let resident = world.get(0).unwrap();
    let (start, end) = whoop::Kind::Cycle.span(resident, TODAY - 1).unwrap();
    let told =
        (start..end + 120).filter_map(|now| whoop::record(resident, whoop::Kind::Cycle, TODAY - 1, now));
    let mut versions: Vec<_> = told.collect();
    versions.dedup();
    assert!((23..=26).contains(&versions.len()), "{}", versions.len());
    let is_newer = |two: &[serde_json::Value]| two[0]["updated_at"].as_str() < two[1]["updated_at"].as_str();
    assert!(versions.windows(2).all(is_newer));
    let last = versions.last().unwrap();
    assert_eq!(last["updated_at"], last["end"]);
}

#[test]
fn a_days_activity_grows_and_its_version_with_it() {
    let world = World::new(SEED, 2, None);
    let resident = world.get(1).unwrap();
    let start = resident.body().minute_of(TODAY, 0);
    let versions = (1..=12).map(|hour| {
        let now = start + hour * oura::ACTIVITY_EVERY;
        let record = oura::record(resident, oura::Kind::DailyActivity, TODAY, now).unwrap();
        (record["meta"]["version"].as_i64().unwrap(), record["steps"].as_i64().unwrap())
    });
    let versions: Vec<_> = versions.collect();
    assert!(versions.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{versions:?}");
    assert!(versions[11].1 > 2_000, "{versions:?}");
}

#[test]
fn the_same_seed_has_the_same_records_and_another_has_others() {
    let span = [("start_date", "2026-08-01"), ("end_date", "2026-08-20")];
    let told = |seed| {
        let world = World::new(seed, 3, None);
        oura::Kind::ALL.map(|kind| all_of_oura(&world, 2, kind.path(), &span))
    };
    assert_eq!(told(SEED), told(SEED));
    assert_ne!(told(SEED), told(SEED + 1));
}
