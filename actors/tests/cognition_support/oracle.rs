//! A second, naive reading of the decision rules: it keeps every reading for ever and computes everything anew at
//! each decision, in thousandths. It shares no code with the fold.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use actors::domain::event::{Context, DeviceType, Event, HrvMethod};
use actors::domain::metric::Metric;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Limits in thousandths, times in milliseconds.
#[derive(Debug, Clone)]
pub struct Limits {
    pub drop_ms: i64,
    pub drop_percentage: i64,
    pub elevated: i64,
    pub elevation: i64,
    pub sustained: i64,
    pub high: i64,
    pub critical: i64,
    pub low: i64,
    pub moderate: i64,
    pub cooldown: i64,
}

#[derive(Debug, Clone)]
struct Seen {
    metric: Metric,
    method: Option<HrvMethod>,
    device: DeviceType,
    value: i64,
    confidence: f64,
    at: i64,
    context: Option<Context>,
    is_derived: bool,
    is_backfill: bool,
    event: usize,
    offset: i64,
}

impl Seen {
    fn can_be_held(&self) -> bool {
        !self.is_backfill
            && match self.metric {
                Metric::HeartRate => self.context.is_none(),
                Metric::StressLevel => self.context.is_none() && !self.is_derived,
                _ => self.context != Some(Context::Workout),
            }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Switch {
    pub from: &'static str,
    pub to: &'static str,
    pub rule: &'static str,
    pub confidence: f64,
    pub at: i64,
}

pub struct Oracle {
    pub limits: Limits,
    ids: BTreeSet<String>,
    seen: Vec<Seen>,
    workouts: Vec<(i64, i64)>,
    newest_live: Option<i64>,
    offset: Option<i64>,
    last: Option<Switch>,
    events: usize,
    hourly: RefCell<HourlyByMethod>,
    pub borderline: Vec<String>,
    pub valid_until: Option<i64>,
}

/// A row that holds: its words, its confidence, and when each reading it used goes stale.
type Held = (&'static str, f64, Vec<i64>);

/// Sum in thousandths and number of samples; fewer than five are not the user's own.
type Mean = (i64, i64);

/// By clock hour.
type Hourly = BTreeMap<i64, Seen>;
type HourlyByMethod = BTreeMap<(Metric, Option<HrvMethod>), Rc<Hourly>>;

const FOUR: [Metric; 4] = [Metric::Hrv, Metric::HeartRate, Metric::StressLevel, Metric::RecoveryScore];

impl Oracle {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ids: BTreeSet::new(),
            seen: Vec::new(),
            workouts: Vec::new(),
            newest_live: None,
            offset: None,
            last: None,
            events: 0,
            hourly: RefCell::default(),
            borderline: Vec::new(),
            valid_until: None,
        }
    }

    pub fn mode(&self) -> &'static str {
        self.last.as_ref().map_or("PATTERN", |last| last.to)
    }

    pub fn apply(&mut self, event: &Event) -> Option<Switch> {
        if !self.ids.insert(event.event_id.as_str().to_owned()) {
            return None;
        }
        self.events += 1;
        self.hourly.borrow_mut().clear();
        let (t, arrival) = (event.timestamp.as_ms(), event.received_at.as_ms());
        let is_ahead = t > arrival + 300_000;
        let is_late = !event.is_backfill && self.newest_live.is_some_and(|newest| t < newest);
        let is_live = !event.is_backfill && !is_late && !is_ahead;
        let kept: Vec<_> =
            event.readings.iter().filter(|r| r.timestamp.as_ms() <= arrival + 300_000).collect();
        if is_live {
            self.newest_live = Some(t);
            for reading in &kept {
                if let Some(offset) = reading.utc_offset {
                    self.offset = Some(i64::from(offset.minutes()) * MINUTE);
                }
            }
        }
        let mut brings_newer = false;
        for reading in kept {
            let at = reading.timestamp.as_ms();
            if reading.context == Some(Context::Workout) || &*event.kind == "workout" {
                let start = match (reading.start, reading.metric) {
                    (Some(start), _) => start.as_ms(),
                    (None, Metric::WorkoutDurationMinutes) => at - (reading.value * 60_000.0).round() as i64,
                    _ => at,
                };
                let end = reading.end.map_or(at, |end| end.as_ms());
                self.workouts.push((start.min(t), end.min(t)));
            }
            let seen = Seen {
                metric: reading.metric,
                method: reading.method,
                device: event.device_type,
                value: (reading.value * 1e3).round() as i64,
                confidence: reading.confidence.unwrap_or(1.0),
                at,
                context: reading.context,
                is_derived: reading.source.as_deref() == Some("derived"),
                is_backfill: event.is_backfill,
                event: self.events,
                offset: reading
                    .utc_offset
                    .map(|offset| i64::from(offset.minutes()) * MINUTE)
                    .or(self.offset)
                    .unwrap_or(0),
            };
            if FOUR.contains(&seen.metric) && seen.can_be_held() {
                brings_newer |= self.newest(seen.metric).is_none_or(|held| at > held.at);
            }
            self.seen.push(seen);
        }
        if is_live || (is_late && !is_ahead && brings_newer) {
            self.decide(self.newest_live.unwrap(), arrival, event.event_id.as_str())
        } else {
            None
        }
    }

    pub fn held_value(&self, metric: Metric) -> Option<f64> {
        self.newest(metric).map(|held| held.value as f64 / 1e3)
    }

    pub fn held_baseline(&self, metric: Metric) -> Option<(f64, i64)> {
        let held = self.newest(metric)?;
        let (sum, count) = self.mean(held);
        let default = match metric {
            Metric::Hrv => 60.0,
            Metric::HeartRate => 70.0,
            _ => 75.0,
        };
        Some((if count >= 5 { sum as f64 / count as f64 / 1e3 } else { default }, count))
    }

    fn newest(&self, metric: Metric) -> Option<&Seen> {
        // `max_by_key` gives the last of equal ones: the one applied later.
        self.seen.iter().filter(|seen| seen.metric == metric && seen.can_be_held()).max_by_key(|seen| seen.at)
    }

    fn in_workout(&self, at: i64) -> bool {
        self.workouts.iter().any(|(start, end)| *start <= at && at <= end + 10 * MINUTE)
    }

    /// Each clock hour's newest reading; computed once per event.
    fn hourly(&self, metric: Metric, method: Option<HrvMethod>) -> Rc<Hourly> {
        if let Some(known) = self.hourly.borrow().get(&(metric, method)) {
            return known.clone();
        }
        let mut hours = Hourly::new();
        for seen in &self.seen {
            if seen.metric == metric && seen.method == method && seen.context != Some(Context::Workout) {
                let slot = hours.entry(seen.at.div_euclid(HOUR)).or_insert_with(|| seen.clone());
                if seen.at >= slot.at {
                    *slot = seen.clone();
                }
            }
        }
        let hours = Rc::new(hours);
        self.hourly.borrow_mut().insert((metric, method), hours.clone());
        hours
    }

    fn mean(&self, of: &Seen) -> Mean {
        let hour = of.at.div_euclid(HOUR);
        mean_before(&self.hourly(of.metric, of.method), hour)
    }

    /// The considered reading of a metric and the one that it disagrees with.
    fn considered(&self, metric: Metric, now: i64) -> Option<(&Seen, Option<&Seen>)> {
        let fresh = |seen: &Seen| {
            let span = match metric {
                Metric::Hrv => 6 * HOUR,
                Metric::RecoveryScore => 36 * HOUR,
                _ => 30 * MINUTE,
            };
            now - seen.at <= span
        };
        let counts = |seen: &Seen| metric != Metric::HeartRate || !self.in_workout(seen.at);
        let held = self.newest(metric).filter(|held| fresh(held) && counts(held))?;
        if !matches!(metric, Metric::Hrv | Metric::HeartRate) {
            return Some((held, None));
        }
        let mut newest_by_device: BTreeMap<DeviceType, &Seen> = BTreeMap::new();
        for seen in &self.seen {
            if seen.metric == metric && seen.method == held.method && seen.can_be_held() {
                let slot = newest_by_device.entry(seen.device).or_insert(seen);
                if seen.at >= slot.at {
                    *slot = seen;
                }
            }
        }
        let mut all: Vec<&Seen> = newest_by_device
            .into_values()
            .filter(|other| other.device != held.device && fresh(other) && counts(other))
            .filter(|other| (held.at - other.at).abs() <= 5 * MINUTE)
            .filter(|other| {
                let difference = (held.value - other.value).abs();
                match metric {
                    Metric::HeartRate => difference > self.limits.elevation,
                    _ => difference * 100_000 > self.limits.drop_percentage * held.value.max(other.value),
                }
            })
            .collect();
        let calm =
            |seen: &&Seen| (if metric == Metric::HeartRate { -seen.value } else { seen.value }, -seen.at);
        all.sort_by_key(calm);
        match all.first() {
            None => Some((held, None)),
            Some(worst) if calm(worst) < calm(&held) => Some((worst, Some(held))),
            Some(_) => Some((held, all.last().copied())),
        }
    }

    fn decide(&mut self, t: i64, arrival: i64, event_id: &str) -> Option<Switch> {
        let now = t.max(arrival);
        let known: Vec<(&Seen, Option<&Seen>)> =
            FOUR.iter().filter_map(|metric| self.considered(*metric, now)).collect();
        let get = |metric| known.iter().map(|(seen, _)| *seen).find(|seen| seen.metric == metric);
        let has_news = FOUR.iter().any(|metric| {
            get(*metric).is_some() && self.newest(*metric).is_some_and(|held| held.event == self.events)
        });
        let is_borderline = has_news && self.reflex(&get).is_none() && self.near(&get) >= 2;
        let cooling = self.last.as_ref().is_some_and(|last| t - last.at < self.limits.cooldown);
        let row_in_force = self.last.as_ref().map_or(5, |last| row_of(last.rule));
        let rows = [
            self.reflex(&get),
            self.guardian(&get, now),
            self.pattern(t),
            self.hypothesis(&get, &known),
            if has_news { self.normal(&get) } else { None },
        ];
        let mut winner = None;
        for (index, row) in rows.into_iter().enumerate() {
            let Some((rule, confidence, stale)) = row else { continue };
            if cooling && index as i32 + 1 >= row_in_force {
                continue;
            }
            let confidence = if cooling { confidence * 0.7 } else { confidence };
            if confidence >= 0.5 - 1e-12 {
                winner = Some((rule, confidence, stale));
                break;
            }
        }
        if is_borderline {
            self.borderline.push(event_id.to_owned());
            let over = self.borderline.len().saturating_sub(50);
            self.borderline.drain(..over);
        }
        let (rule, confidence, stale) = winner?;
        self.valid_until = stale.into_iter().min();
        let to = mode_of(rule);
        if to == self.mode() {
            return None;
        }
        let switch = Switch { from: self.mode(), to, rule, confidence, at: t };
        self.last = Some(switch.clone());
        Some(switch)
    }

    /// Over (`at_least`: at or over) `share` hundredths of one of the two drop limits.
    fn drops(&self, hrv: &Seen, share: i64, at_least: bool) -> bool {
        let (sum, count) = self.mean(hrv);
        if count < 5 {
            return hrv.value < 25_000;
        }
        let drop = i128::from(sum - count * hrv.value);
        let by_ms = (drop * 100, i128::from(share * count * self.limits.drop_ms));
        let by_percentage = (
            drop * 100 * 1_000 * 100,
            i128::from(share) * i128::from(self.limits.drop_percentage) * i128::from(sum),
        );
        [by_ms, by_percentage].iter().any(|(drop, limit)| drop > limit || (at_least && drop == limit))
    }

    fn elevated(&self, rate: &Seen) -> bool {
        let (over, m) = (self.limits.elevated, self.limits.sustained);
        if rate.value <= over {
            return false;
        }
        if m == 0 {
            return true;
        }
        let window: Vec<&Seen> = self
            .seen
            .iter()
            .filter(|seen| seen.metric == Metric::HeartRate && seen.can_be_held())
            .filter(|seen| rate.at - 2 * m <= seen.at && seen.at <= rate.at && !self.in_workout(seen.at))
            .collect();
        window.iter().all(|seen| seen.value > over) && window.iter().any(|seen| seen.at <= rate.at - m)
    }

    fn reflex<'s>(&'s self, get: &impl Fn(Metric) -> Option<&'s Seen>) -> Option<Held> {
        let hrv = get(Metric::Hrv).filter(|hrv| self.drops(hrv, 100, false));
        let rate = get(Metric::HeartRate).filter(|rate| self.elevated(rate));
        let stress = get(Metric::StressLevel).filter(|stress| stress.value > self.limits.critical);
        let mut factors = Vec::new();
        let mut stale = Vec::new();
        if let Some(hrv) = hrv {
            let (sum, count) = self.mean(hrv);
            let usual = if count >= 5 { sum as f64 / count as f64 / 1e3 } else { 60.0 };
            let drop = usual - hrv.value as f64 / 1e3;
            factors.push(("reflex.hrv_drop", (drop / 30.0).clamp(0.0, 1.0) * hrv.confidence));
            stale.push(hrv.at + 6 * HOUR);
        }
        if let Some(rate) = rate {
            let rise = (rate.value as f64 / 1e3 - 90.0) / 30.0;
            factors.push(("reflex.heart_rate", rise.clamp(0.0, 1.0) * rate.confidence));
            stale.push(rate.at + 30 * MINUTE);
        }
        if let Some(stress) = stress {
            factors.push(("reflex.stress", (stress.value as f64 / 1e3).clamp(0.0, 1.0) * stress.confidence));
            stale.push(stress.at + 30 * MINUTE);
        }
        let (rule, _) = factors.first()?;
        Some((rule, factors.iter().map(|(_, factor)| *factor).fold(0.5, f64::max), stale))
    }

    fn near<'s>(&'s self, get: &impl Fn(Metric) -> Option<&'s Seen>) -> usize {
        [
            get(Metric::Hrv).is_some_and(|hrv| self.drops(hrv, 90, true)),
            get(Metric::HeartRate).is_some_and(|rate| rate.value * 100 >= self.limits.elevated * 90),
            get(Metric::StressLevel).is_some_and(|stress| stress.value * 100 >= self.limits.critical * 90),
        ]
        .iter()
        .filter(|near| **near)
        .count()
    }

    fn guardian<'s>(&'s self, get: &impl Fn(Metric) -> Option<&'s Seen>, now: i64) -> Option<Held> {
        let hrv =
            get(Metric::Hrv).or_else(|| self.newest(Metric::Hrv).filter(|held| now - held.at <= 36 * HOUR));
        let (rate, stress) = (get(Metric::HeartRate), get(Metric::StressLevel));
        let first = get(Metric::RecoveryScore)
            .filter(|recovery| recovery.value < self.limits.low)
            .map(|recovery| (100_000 - recovery.value, vec![recovery.at + 36 * HOUR]));
        let indicators = usize::from(hrv.is_some_and(|hrv| hrv.value < 30_000))
            + usize::from(rate.is_some_and(|rate| rate.value > 80_000))
            + usize::from(stress.is_some_and(|stress| stress.value > self.limits.high));
        let second = (indicators >= 2).then(|| {
            // In hundred-thousandths: thousandths of a stress level, halved, need one more place.
            let (mut confidence, mut stale) = (0, Vec::new());
            if let Some(hrv) = hrv.filter(|hrv| hrv.value < 40_000) {
                confidence += 30_000;
                stale.push(hrv.at + 36 * HOUR);
            }
            if let Some(stress) = stress {
                confidence += stress.value * 50;
                stale.push(stress.at + 30 * MINUTE);
            }
            if let Some(rate) = rate.filter(|rate| rate.value > 80_000) {
                confidence += 25_000;
                stale.push(rate.at + 30 * MINUTE);
            }
            (confidence, stale)
        });
        let (rule, (confidence, stale)) = match (first, second) {
            (Some(first), Some(second)) if second.0 > first.0 => ("guardian.indicators", second),
            (Some(first), _) => ("guardian.recovery", first),
            (None, Some(second)) => ("guardian.indicators", second),
            (None, None) => return None,
        };
        Some((rule, (confidence as f64 / 1e5).min(0.9), stale))
    }

    fn pattern(&self, t: i64) -> Option<Held> {
        if matches!(self.mode(), "REFLEX" | "GUARDIAN") {
            return None;
        }
        let local = t + self.offset.unwrap_or(0);
        let (hour, weekday) = (local.rem_euclid(DAY) / HOUR, local.div_euclid(DAY).rem_euclid(7));
        let (mut low_days, mut poor_days) = (BTreeSet::new(), BTreeSet::new());
        for method in [None, Some(HrvMethod::Rmssd), Some(HrvMethod::Sdnn)] {
            let hourly = self.hourly(Metric::Hrv, method);
            for (clock_hour, sample) in hourly.iter() {
                let here = sample.at + sample.offset;
                if here.rem_euclid(DAY) / HOUR != hour || sample.at > t || t - sample.at >= 30 * DAY {
                    continue;
                }
                let (sum, count) = mean_before(&hourly, *clock_hour);
                if count >= 5 && sum - count * sample.value >= count * 15_000 {
                    low_days.insert(here.div_euclid(DAY));
                }
            }
            for sample in self.hourly(Metric::RecoveryScore, method).values() {
                let day = (sample.at + sample.offset).div_euclid(DAY);
                if day.rem_euclid(7) == weekday
                    && sample.at <= t
                    && t - sample.at < 56 * DAY
                    && sample.value < 50_000
                {
                    poor_days.insert(day);
                }
            }
        }
        match (low_days.len() >= 5, poor_days.len() >= 3) {
            (true, _) => Some(("pattern.hour", 0.7, Vec::new())),
            (false, true) => Some(("pattern.weekday", 0.7, Vec::new())),
            (false, false) => None,
        }
    }

    fn hypothesis<'s>(
        &'s self,
        get: &impl Fn(Metric) -> Option<&'s Seen>,
        known: &[(&Seen, Option<&Seen>)],
    ) -> Option<Held> {
        if let (Some(hrv), Some(rate)) = (get(Metric::Hrv), get(Metric::HeartRate))
            && (hrv.at - rate.at).abs() <= 30 * MINUTE
        {
            let stale = vec![hrv.at + 6 * HOUR, rate.at + 30 * MINUTE];
            let (sum, count) = self.mean(hrv);
            if count >= 5 && 2 * count * hrv.value > 3 * sum && rate.value > 90_000 {
                return Some(("hypothesis.hrv_high", 0.6, stale));
            }
            if hrv.value < 20_000 && rate.value < 50_000 {
                return Some(("hypothesis.hrv_low", 0.6, stale));
            }
        }
        let stale: Vec<i64> = known
            .iter()
            .filter_map(|(seen, other)| {
                let span = if seen.metric == Metric::Hrv { 6 * HOUR } else { 30 * MINUTE };
                Some(seen.at.min((*other)?.at) + span)
            })
            .collect();
        (!stale.is_empty()).then_some(("hypothesis.devices", 0.6, stale))
    }

    fn normal<'s>(&'s self, get: &impl Fn(Metric) -> Option<&'s Seen>) -> Option<Held> {
        let mut stale = Vec::new();
        if let Some(hrv) = get(Metric::Hrv) {
            if self.drops(hrv, 90, true) {
                return None;
            }
            stale.push(hrv.at + 6 * HOUR);
        }
        if let Some(rate) = get(Metric::HeartRate) {
            let (sum, count) = self.mean(rate);
            let (sum, count) = if count >= 5 { (sum, count) } else { (70_000, 1) };
            if count * rate.value > sum + count * self.limits.elevation {
                return None;
            }
            stale.push(rate.at + 30 * MINUTE);
        }
        if let Some(stress) = get(Metric::StressLevel) {
            if stress.value > self.limits.high {
                return None;
            }
            stale.push(stress.at + 30 * MINUTE);
        }
        if let Some(recovery) = get(Metric::RecoveryScore) {
            let floor = if self.mode() == "GUARDIAN" { self.limits.moderate } else { self.limits.low };
            if recovery.value < floor {
                return None;
            }
            stale.push(recovery.at + 36 * HOUR);
        }
        (!stale.is_empty()).then_some(("pattern.normal", 0.8, stale))
    }
}

fn mean_before(hourly: &Hourly, hour: i64) -> Mean {
    hourly.range(hour - 168..hour).fold((0, 0), |(sum, count), (_, sample)| (sum + sample.value, count + 1))
}

fn mode_of(rule: &str) -> &'static str {
    match rule.split('.').next() {
        Some("reflex") => "REFLEX",
        Some("guardian") => "GUARDIAN",
        Some("hypothesis") => "HYPOTHESIS",
        _ => "PATTERN",
    }
}

fn row_of(rule: &str) -> i32 {
    match rule {
        "pattern.hour" | "pattern.weekday" => 3,
        "pattern.normal" => 5,
        rule => match mode_of(rule) {
            "REFLEX" => 1,
            "GUARDIAN" => 2,
            _ => 4,
        },
    }
}
