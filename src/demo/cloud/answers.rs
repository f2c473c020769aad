//! What the APIs answer: pure functions of who asks, for what, and when.

use std::collections::BTreeMap;

use actors::domain::time::{MS_PER_MINUTE, Timestamp};
use serde_json::{Value, json};

use super::oura_records as oura;
use super::whoop_records as whoop;
use super::world::{Resident, World, parse_date};

/// Records on one page of Oura's.
pub(super) const OURA_PAGE: usize = 25;
/// Heart rates on one page of Oura's.
const HEART_RATES_PAGE: usize = 1_000;
/// Records on one page of WHOOP's, unless asked for otherwise, and at most.
const WHOOP_PAGE: usize = 10;
pub(super) const WHOOP_PAGE_MAX: usize = 25;
/// Days of one request to Oura, and of WHOOP's past.
const DAYS_MAX: i64 = 400;

/// The query's parameters.
pub(super) type Query = BTreeMap<String, String>;

/// A status and a JSON body.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn ok(body: Value) -> Self {
        Self { status: 200, body }
    }

    /// Oura's way to refuse.
    pub(super) fn detail(status: u16, detail: &str) -> Self {
        Self { status, body: json!({"status": status, "title": detail, "detail": detail}) }
    }

    fn not_found() -> Self {
        Self::detail(404, "Not Found")
    }
}

/// Oura: what stands behind `/v2/usercollection/`.
pub(super) fn of_oura(world: &World, who: &Resident, path: &str, query: &Query, now_ms: i64) -> Answer {
    let now = now_ms.div_euclid(MS_PER_MINUTE);
    let (collection, id) = match path.split_once('/') {
        Some((collection, id)) => (collection, Some(id)),
        None => (path, None),
    };
    match (collection, id) {
        ("personal_info", None) => return Answer::ok(personal_info(who)),
        ("heartrate", None) => return heart_rates(who, query, now),
        _ => {}
    }
    let Some(kind) = oura::Kind::ALL.into_iter().find(|kind| kind.path() == collection) else {
        return Answer::not_found();
    };
    match id {
        Some(id) => {
            let found = world.find(kind as u8, id).filter(|(owner, _)| owner.index == who.index);
            let record = found.and_then(|(_, day)| oura::record(who, kind, day, now));
            record.map_or_else(Answer::not_found, Answer::ok)
        }
        None => oura_collection(who, kind, query, now),
    }
}

fn personal_info(who: &Resident) -> Value {
    json!({
        "id": who.oura_id(), "age": 24 + who.index % 40, "weight": 58 + who.index % 35,
        "height": round_height(who.index), "biological_sex": if who.index.is_multiple_of(2) { "female" } else { "male" },
        "email": format!("{}@example.com", who.person.id),
    })
}

fn round_height(index: usize) -> f64 {
    (158 + index % 37) as f64 / 100.0
}

/// A date of the query; a default where it is absent.
fn day(query: &Query, name: &str, default: i64) -> Result<i64, Answer> {
    let Some(text) = query.get(name) else { return Ok(default) };
    parse_date(text).ok_or_else(|| Answer::detail(422, &format!("{name} must be a date like 2026-09-10")))
}

/// A number behind a prefix that only we know.
fn page(query: &Query, name: &str, prefix: &str) -> Result<Option<i64>, Answer> {
    let Some(token) = query.get(name) else { return Ok(None) };
    let number = token.strip_prefix(prefix).and_then(|digits| digits.parse().ok());
    number.map(Some).ok_or_else(|| Answer::detail(422, &format!("{name} is none that was given out here")))
}

fn oura_collection(who: &Resident, kind: oura::Kind, query: &Query, now: i64) -> Answer {
    let today = who.day_at(now * MS_PER_MINUTE);
    let read = || -> Result<(i64, i64), Answer> {
        let end = day(query, "end_date", today)?;
        let start = day(query, "start_date", end - 1)?;
        if start > end || end - start > DAYS_MAX {
            return Err(Answer::detail(422, "start_date must be before end_date, by 400 days at most"));
        }
        Ok((page(query, "next_token", "oura-page-")?.unwrap_or(start).max(start), end))
    };
    let (start, end) = match read() {
        Ok(span) => span,
        Err(refusal) => return refusal,
    };
    let mut found = (start..=end).filter_map(|day| Some((day, oura::record(who, kind, day, now)?)));
    let data: Vec<Value> = found.by_ref().take(OURA_PAGE).map(|(_, record)| record).collect();
    let next = found.next().map(|(day, _)| format!("oura-page-{day}"));
    Answer::ok(json!({"data": data, "next_token": next}))
}

fn heart_rates(who: &Resident, query: &Query, now: i64) -> Answer {
    let minute = |name: &str, default: i64| match query.get(name) {
        None => Ok(default),
        Some(text) => {
            Timestamp::parse_rfc3339(text).map(|at| at.as_ms().div_euclid(MS_PER_MINUTE)).ok_or_else(|| {
                Answer::detail(422, &format!("{name} must be a time like 2026-09-10T12:00:00+02:00"))
            })
        }
    };
    let read = || -> Result<_, Answer> {
        let to = minute("end_datetime", now)?;
        let from = minute("start_datetime", to - 24 * 60)?;
        Ok((page(query, "next_token", "oura-rates-")?.unwrap_or(from), to))
    };
    match read() {
        Ok(span) => {
            let (rows, next) = oura::heart_rates(who, span, now, HEART_RATES_PAGE);
            let next = next.map(|minute| format!("oura-rates-{minute}"));
            Answer::ok(json!({"data": rows, "next_token": next}))
        }
        Err(refusal) => refusal,
    }
}

/// WHOOP: what stands behind `/developer/`.
pub(super) fn of_whoop(world: &World, who: &Resident, path: &str, query: &Query, now_ms: i64) -> Answer {
    let now = now_ms.div_euclid(MS_PER_MINUTE);
    match path {
        "v2/user/profile/basic" => {
            return Answer::ok(json!({
                "user_id": who.whoop_id(), "email": format!("{}@example.com", who.person.id),
                "first_name": "Cloud", "last_name": format!("Person {}", who.index + 1),
            }));
        }
        "v2/user/measurement/body" => {
            return Answer::ok(json!({
                "height_meter": round_height(who.index), "weight_kilogram": 58 + who.index % 35,
                "max_heart_rate": 196 - who.index % 40,
            }));
        }
        _ => {}
    }
    if let Some(id) = path.strip_prefix("v1/activity-mapping/") {
        return v1_mapping(world, who, id);
    }
    let Some(path) = path.strip_prefix("v2/") else { return Answer::not_found() };
    if let Some(kind) = whoop::Kind::ALL.into_iter().find(|kind| kind.path() == path) {
        return whoop_collection(who, kind, query, now);
    }
    let record = if let Some(rest) = path.strip_prefix("cycle/") {
        let (id, kind) = match rest.split_once('/') {
            Some((id, "recovery")) => (id, whoop::Kind::Recovery),
            Some((id, "sleep")) => (id, whoop::Kind::Sleep),
            Some(_) => return Answer::not_found(),
            None => (rest, whoop::Kind::Cycle),
        };
        // A UUID here is the mistake that WHOOP answers with 400 (`vendors.md` §3, quirks).
        let Ok(id) = id.parse() else { return Answer::detail(400, "a cycle's id is a whole number") };
        let found = world.find_cycle(id).filter(|(owner, _)| owner.index == who.index);
        found.and_then(|(_, day)| whoop::record(who, kind, day, now))
    } else {
        let kind = [whoop::Kind::Sleep, whoop::Kind::Workout].into_iter();
        let named = kind
            .into_iter()
            .find_map(|kind| Some((kind, path.strip_prefix(kind.path())?.strip_prefix('/')?)));
        let found = named.and_then(|(kind, id)| Some((kind, world.find(kind as u8, id)?)));
        let own = found.filter(|(_, (owner, _))| owner.index == who.index);
        own.and_then(|(kind, (_, day))| whoop::record(who, kind, day, now))
    };
    record.map_or_else(Answer::not_found, Answer::ok)
}

fn v1_mapping(world: &World, who: &Resident, id: &str) -> Answer {
    let found = id.parse().ok().and_then(whoop::of_v1).and_then(|(kind, cycle)| {
        let (owner, day) = world.find_cycle(cycle).filter(|(owner, _)| owner.index == who.index)?;
        Some(owner.record_id(kind as u8, day))
    });
    found.map_or_else(Answer::not_found, |id| Answer::ok(json!({"v2_activity_id": id})))
}

/// Newest first.
fn whoop_collection(who: &Resident, kind: whoop::Kind, query: &Query, now: i64) -> Answer {
    let time = |name: &str, default: i64| match query.get(name) {
        None => Ok(default),
        Some(text) => Timestamp::parse_rfc3339(text)
            .map(|at| at.as_ms().div_euclid(MS_PER_MINUTE))
            .ok_or_else(|| Answer::detail(400, &format!("{name} must be a time like 2026-09-10T12:00:00Z"))),
    };
    let read = || -> Result<_, Answer> {
        let limit = match query.get("limit").map(|text| text.parse::<usize>()) {
            None => WHOOP_PAGE,
            Some(Ok(limit)) if (1..=WHOOP_PAGE_MAX).contains(&limit) => limit,
            Some(_) => return Err(Answer::detail(400, "limit must be a whole number from 1 to 25")),
        };
        let end = time("end", now)?;
        let start = time("start", end - DAYS_MAX * 24 * 60)?;
        let before =
            page(query, "nextToken", "whoop-page-").map_err(|refusal| Answer { status: 400, ..refusal })?;
        Ok((start, end, before, limit))
    };
    let (start, end, before, limit) = match read() {
        Ok(span) => span,
        Err(refusal) => return refusal,
    };
    let day_of = |minute: i64| who.day_at(minute * MS_PER_MINUTE);
    // A night and its cycle begin the day before the one that they belong to.
    let last = before.map_or_else(|| day_of(end) + 1, |day| day.min(day_of(end) + 1));
    let first = day_of(start).max(last - DAYS_MAX);
    let in_span = |day: i64| kind.span(who, day).is_some_and(|(began, _)| (start..end).contains(&began));
    let mut found = (first..=last)
        .rev()
        .filter(|day| in_span(*day))
        .filter_map(|day| Some((day, whoop::record(who, kind, day, now)?)));
    let records: Vec<Value> = found.by_ref().take(limit).map(|(_, record)| record).collect();
    let next = found.next().map(|(day, _)| format!("whoop-page-{day}"));
    Answer::ok(json!({"records": records, "next_token": next}))
}
