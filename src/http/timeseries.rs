//! `/v1/users/{id}/timeseries`: the readings of one metric in order of time, each by itself or summed up by hour or day.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use actors::domain::event::{Event, HrvMethod};
use actors::domain::metric::Metric;
use actors::domain::time::{MS_PER_DAY, MS_PER_HOUR, Timestamp};
use actors::ports::store::EventQuery;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::query;
use super::read_api::{invalid, moment, store_down, user};
use super::state::Doors;
use crate::settings::{POINTS_DEFAULT, POINTS_MAX};

/// Events are read so many at a time: each may hold a thousand readings.
const EVENTS_AT_ONCE: usize = 50;
/// A record may hold readings that are later than its own time, as a day that is dated by its start: by so much at most.
const READINGS_AHEAD_MS: i64 = 2 * MS_PER_DAY;

/// `?metric[&method]&from&to&bucket&agg&limit&cursor`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    metric: Option<String>,
    method: Option<String>,
    from: Option<String>,
    to: Option<String>,
    bucket: Option<String>,
    agg: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// What becomes one point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// Each reading.
    Raw,
    /// All of a span of so many milliseconds, counted from midnight UTC.
    Span(i64),
}

/// What a point says of its readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Mean,
    Min,
    Max,
    Sum,
    Count,
    Last,
}

/// A point's place: its time; of single readings also their event and their place in it.
type Place = (Timestamp, String, usize);

/// The readings of one point.
#[derive(Debug, Clone, Copy)]
struct Sums {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    last: (Timestamp, f64),
}

impl Sums {
    const NONE: Self = Self {
        count: 0,
        sum: 0.0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        last: (Timestamp::from_ms(i64::MIN), 0.0),
    };

    fn add(&mut self, at: Timestamp, value: f64) {
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if at >= self.last.0 {
            self.last = (at, value);
        }
    }

    fn value(&self, aggregate: Aggregate) -> f64 {
        match aggregate {
            Aggregate::Mean => self.sum / self.count as f64,
            Aggregate::Min => self.min,
            Aggregate::Max => self.max,
            Aggregate::Sum => self.sum,
            Aggregate::Count => self.count as f64,
            Aggregate::Last => self.last.1,
        }
    }
}

/// The first points after a place, gathered from readings in any order, in memory for those points alone.
struct Series {
    width: Width,
    after: Option<Place>,
    most: usize,
    points: BTreeMap<Place, Sums>,
}

impl Series {
    fn add(&mut self, at: Timestamp, value: f64, event: &Event, index: usize) {
        let place = match self.width {
            Width::Raw => (at, event.event_id.as_str().to_owned(), index),
            Width::Span(ms) => {
                (Timestamp::from_ms(at.as_ms().div_euclid(ms).saturating_mul(ms)), String::new(), 0)
            }
        };
        if self.after.as_ref().is_some_and(|after| place <= *after) {
            return;
        }
        self.points.entry(place).or_insert(Sums::NONE).add(at, value);
        if self.points.len() > self.most {
            self.points.pop_last();
        }
    }
}

/// One point.
#[derive(Debug, Serialize)]
struct Point {
    /// Of a span, its start.
    t: Timestamp,
    v: f64,
    /// Of how many readings.
    n: u64,
}

#[derive(Serialize)]
struct Page {
    metric: &'static str,
    unit: &'static str,
    points: Vec<Point>,
    next_cursor: Option<String>,
}

/// What is asked for.
struct Question {
    metric: Metric,
    method: Option<HrvMethod>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    width: Width,
    aggregate: Aggregate,
    limit: usize,
    after: Option<Place>,
}

impl Question {
    fn read(request: &HttpRequest) -> Result<Self, Problem> {
        let asked: Parameters = query(request)?;
        let metric = asked.metric.as_deref().and_then(Metric::from_name);
        let method = asked.method.as_deref().map(|name| match name {
            "rmssd" => Ok(HrvMethod::Rmssd),
            "sdnn" => Ok(HrvMethod::Sdnn),
            _ => Err(invalid(request, "method must be rmssd or sdnn")),
        });
        let width = match asked.bucket.as_deref() {
            None | Some("raw") => Ok(Width::Raw),
            Some("1h") => Ok(Width::Span(MS_PER_HOUR)),
            Some("1d") => Ok(Width::Span(MS_PER_DAY)),
            Some(_) => Err(invalid(request, "bucket must be raw, 1h or 1d")),
        };
        let aggregate = match asked.agg.as_deref() {
            None | Some("mean") => Ok(Aggregate::Mean),
            Some("min") => Ok(Aggregate::Min),
            Some("max") => Ok(Aggregate::Max),
            Some("sum") => Ok(Aggregate::Sum),
            Some("count") => Ok(Aggregate::Count),
            Some("last") => Ok(Aggregate::Last),
            Some(_) => Err(invalid(request, "agg must be mean, min, max, sum, count or last")),
        };
        let limit = asked.limit.as_deref().map_or(Some(POINTS_DEFAULT), |limit| limit.parse().ok());
        let limit = limit.filter(|limit| (1..=POINTS_MAX).contains(limit));
        let after = asked.cursor.as_deref().map(|cursor| {
            read_cursor(cursor).ok_or_else(|| invalid(request, "cursor must be a next_cursor of this route"))
        });
        Ok(Self {
            metric: metric
                .ok_or_else(|| invalid(request, "metric must be a canonical metric, as heart_rate"))?,
            method: method.transpose()?,
            from: moment(request, "from", asked.from.as_deref())?,
            to: moment(request, "to", asked.to.as_deref())?,
            width: width?,
            aggregate: aggregate?,
            limit: limit.ok_or_else(|| {
                invalid(request, format!("limit must be a whole number from 1 to {POINTS_MAX}"))
            })?,
            after: after.transpose()?,
        })
    }

    fn is_in_time(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }
}

fn write_cursor((at, event, index): &Place) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{}|{index}|{event}", at.as_ms()))
}

fn read_cursor(cursor: &str) -> Option<Place> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let mut parts = text.splitn(3, '|');
    let at = Timestamp::from_ms(parts.next()?.parse().ok()?);
    let index = parts.next()?.parse().ok()?;
    Some((at, parts.next()?.to_owned(), index))
}

/// `GET /v1/users/{id}/timeseries`
pub(super) async fn timeseries(
    request: HttpRequest,
    doors: web::Data<Doors>,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let user_id = user(&request, &doors, &id)?;
    let question = Question::read(&request)?;
    // One more tells whether there is a next page.
    let most = question.limit + 1;
    let mut series =
        Series { width: question.width, after: question.after.clone(), most, points: BTreeMap::new() };
    let mut methods: Vec<Option<HrvMethod>> = Vec::new();
    let mut events = EventQuery {
        user_id,
        from: question.from.map(|from| from.plus_ms(-READINGS_AHEAD_MS)),
        // A batch is dated by its newest reading: older ones may be in events of any later time.
        to: None,
        device: None,
        metric: Some(question.metric),
        kind: None,
        after: None,
        limit: EVENTS_AT_ONCE,
    };
    loop {
        let page = doors.store.events(&events).await.map_err(|error| store_down(&request, &error))?;
        for stored in &page {
            for (index, reading) in stored.event.readings.iter().enumerate() {
                let is_asked_for = reading.metric == question.metric
                    && question.is_in_time(reading.timestamp)
                    && question.method.is_none_or(|method| reading.method == Some(method));
                if is_asked_for {
                    if !methods.contains(&reading.method) {
                        methods.push(reading.method);
                    }
                    series.add(reading.timestamp, reading.value, &stored.event, index);
                }
            }
        }
        match page.last() {
            Some(last) if page.len() == EVENTS_AT_ONCE => {
                events.after = Some((last.event.timestamp, last.event.event_id.as_str().to_owned()));
            }
            _ => break,
        }
    }
    if methods.len() > 1 {
        let detail = "this metric was measured by several methods, which cannot be compared: add method=rmssd or method=sdnn";
        return Err(invalid(&request, detail));
    }
    Ok(HttpResponse::Ok().json(page(&question, series.points)))
}

fn page(question: &Question, mut points: BTreeMap<Place, Sums>) -> Page {
    let has_next = points.len() > question.limit;
    if has_next {
        points.pop_last();
    }
    let next_cursor = points.keys().next_back().filter(|_| has_next).map(write_cursor);
    let point =
        |((t, ..), sums): (Place, Sums)| Point { t, v: sums.value(question.aggregate), n: sums.count };
    Page {
        metric: question.metric.name(),
        unit: question.metric.unit(),
        points: points.into_iter().map(point).collect(),
        next_cursor,
    }
}
