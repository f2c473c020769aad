//! What the vendors send about whom and when, in simulated time, without end.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use actors::domain::time::{MS_PER_DAY, MS_PER_MINUTE, MS_PER_SECOND, Timestamp};
use serde_json::json;

use super::Vendor;
use super::oura_records as oura;
use super::terra;
use super::whoop_records as whoop;
use super::world::{Resident, World};
use crate::traffic::formats::{self, Notification};

const DAY: i64 = MS_PER_DAY / MS_PER_MINUTE;
/// Oura's notifications come about half a minute after a sync.
const NOTIFIED_AFTER_MS: i64 = 30 * MS_PER_SECOND;
/// Minutes between two pushes of a phone.
const PHONE_EVERY: i64 = 15;
/// The same before an opening and after it, and of a ring.
const PHONE_AROUND: (i64, i64) = (60, 1);
const RING_AROUND: (i64, i64) = (60, 3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Oura {
        event_type: &'static str,
        kind: oura::Kind,
        day: i64,
    },
    Whoop {
        event_type: &'static str,
        id: whoop::Kind,
        day: i64,
    },
    /// What a ring feels at the end of some minutes, in the inline format.
    Ring {
        from: i64,
        to: i64,
    },
    /// The samples after one minute up to another.
    HealthKit {
        from: i64,
        to: i64,
    },
    Terra {
        kind: terra::Kind,
        day: i64,
    },
}

/// Something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// When, in simulated Unix milliseconds.
    pub(super) at_ms: i64,
    pub(super) person: usize,
    pub(super) what: What,
}

impl Event {
    pub(super) fn vendor(&self) -> Vendor {
        match self.what {
            What::Oura { .. } | What::Ring { .. } => Vendor::Oura,
            What::Whoop { .. } => Vendor::Whoop,
            What::HealthKit { .. } => Vendor::HealthKit,
            What::Terra { .. } => Vendor::Terra,
        }
    }

    /// The request's body, JSON, and how many readings a phone or a ring tells in it.
    pub(super) fn body(&self, resident: &Resident) -> (Vec<u8>, u32) {
        let time = Timestamp::from_ms(self.at_ms).to_string();
        let told = match self.what {
            What::Ring { from, to } => return resident.person.ring(from, to),
            What::HealthKit { from, to } => return resident.person.healthkit(from, to),
            What::Oura { event_type, kind, day } => formats::json(&Notification {
                event_type,
                data_type: kind.data_type(),
                object_id: resident.record_id(kind as u8, day),
                event_time: format!("{}+00:00", time.trim_end_matches('Z')),
                user_id: resident.oura_id().into(),
            }),
            What::Whoop { event_type, id, day } => formats::json(&json!({
                "user_id": resident.whoop_id(),
                "id": resident.record_id(id as u8, day),
                "type": event_type,
                "trace_id": self.trace_id(resident),
            })),
            What::Terra { kind, day } => {
                formats::json(&terra::push(resident, kind, day, self.at_ms / MS_PER_MINUTE))
            }
        };
        (told, 0)
    }

    /// The same for every attempt to tell this.
    pub(super) fn trace_id(&self, resident: &Resident) -> String {
        let kind = match self.what {
            What::Whoop { event_type: "recovery.updated", .. } => 200,
            What::Whoop { .. } => 201,
            What::Terra { kind, .. } => 202 + kind as u8,
            What::Oura { .. } | What::Ring { .. } | What::HealthKit { .. } => 210,
        };
        resident.record_id(kind, self.at_ms / MS_PER_MINUTE)
    }
}

/// The events of all people from a moment on, by their time.
#[derive(Debug)]
pub(super) struct Agenda<'w> {
    world: &'w World,
    vendors: Vec<Vendor>,
    from_ms: i64,
    /// Whose next event is when.
    next: BinaryHeap<Reverse<(i64, usize)>>,
    /// What is left of each person's day, and the day after it.
    days: Vec<(VecDeque<Event>, i64)>,
}

impl<'w> Agenda<'w> {
    pub(super) fn new(world: &'w World, vendors: &[Vendor], from_ms: i64) -> Self {
        let days = world.people().iter().map(|resident| (VecDeque::new(), resident.day_at(from_ms)));
        let (next, days) = (BinaryHeap::new(), days.collect());
        let mut agenda = Self { world, vendors: vendors.to_vec(), from_ms, next, days };
        if !vendors.is_empty() {
            world.people().iter().for_each(|resident| agenda.look_ahead(resident));
        }
        agenda
    }

    fn look_ahead(&mut self, resident: &Resident) {
        let (events, day) = &mut self.days[resident.index];
        while events.is_empty() {
            let mut all = of_day(resident, *day, &self.vendors);
            *day += 1;
            all.retain(|event| event.at_ms > self.from_ms);
            all.sort_by_key(|event| event.at_ms);
            events.extend(all);
        }
        self.next.extend(events.front().map(|event| Reverse((event.at_ms, resident.index))));
    }

    /// When the next event is, simulated Unix milliseconds.
    pub(super) fn next_ms(&self) -> Option<i64> {
        self.next.peek().map(|Reverse((at_ms, _))| *at_ms)
    }
}

impl Iterator for Agenda<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let Reverse((_, person)) = self.next.pop()?;
        let event = self.days[person].0.pop_front();
        self.look_ahead(self.world.get(person)?);
        event
    }
}

fn of_day(resident: &Resident, day: i64, vendors: &[Vendor]) -> Vec<Event> {
    let mut events = Vec::new();
    for vendor in vendors {
        match vendor {
            Vendor::Oura => of_oura(resident, day, &mut events),
            Vendor::Whoop => of_whoop(resident, day, &mut events),
            Vendor::HealthKit => of_phone(resident, day, &mut events),
            Vendor::Terra => of_terra(resident, day, &mut events),
        }
    }
    events
}

fn of_oura(resident: &Resident, day: i64, events: &mut Vec<Event>) {
    let mut push = |minute: i64, event_type: &'static str, kind: oura::Kind| {
        let at_ms = minute * MS_PER_MINUTE + NOTIFIED_AFTER_MS;
        events.push(Event { at_ms, person: resident.index, what: What::Oura { event_type, kind, day } });
    };
    for kind in oura::Kind::ALL {
        let Some(known) = kind.known_at(resident, day) else { continue };
        push(known, "create", kind);
        if kind == oura::Kind::DailyActivity {
            let later = 2..=DAY / oura::ACTIVITY_EVERY;
            later.for_each(|sync| {
                push(resident.body().minute_of(day, sync * oura::ACTIVITY_EVERY), "update", kind);
            });
        }
    }
    if let Some(workout) = resident.body().workout(day).filter(oura::is_deleted) {
        push(workout.end + oura::DELETED_AFTER, "delete", oura::Kind::Workout);
    }
    if resident.body().opening.is_some() {
        events.extend(
            spans(resident, day, RING_AROUND).map(|(from, to)| live(resident, to, What::Ring { from, to })),
        );
    }
}

/// Each record is told when it is there and when it is scored.
fn of_whoop(resident: &Resident, day: i64, events: &mut Vec<Event>) {
    let told = [
        ("sleep.updated", whoop::Kind::Sleep, whoop::Kind::Sleep),
        // A recovery is told under the id of its sleep (`vendors.md` §3).
        ("recovery.updated", whoop::Kind::Recovery, whoop::Kind::Sleep),
        ("workout.updated", whoop::Kind::Workout, whoop::Kind::Workout),
    ];
    for (event_type, kind, id) in told {
        let Some((_, end)) = kind.span(resident, day) else { continue };
        for minute in [end + whoop::CREATED_AFTER, end + whoop::SCORED_AFTER] {
            let what = What::Whoop { event_type, id, day };
            events.push(Event { at_ms: minute * MS_PER_MINUTE, person: resident.index, what });
        }
    }
}

fn of_phone(resident: &Resident, day: i64, events: &mut Vec<Event>) {
    let around = if resident.body().opening.is_some() { PHONE_AROUND } else { (PHONE_EVERY, PHONE_EVERY) };
    let told = spans(resident, day, around);
    events.extend(told.map(|(from, to)| live(resident, to, What::HealthKit { from, to })));
}

/// The minutes of a day in pieces: so long before the opening, and so long after it.
fn spans(resident: &Resident, day: i64, (before, after): (i64, i64)) -> impl Iterator<Item = (i64, i64)> {
    let (index, opening) = (resident.index as i64, resident.body().opening);
    let start = resident.body().minute_of(day, 0) + index % before;
    let next = move |from: i64| match opening {
        Some(opening) if from < opening => (from + before).min(opening),
        // Not all at once.
        Some(opening) if from == opening => from + 1 + index % after,
        _ => from + after,
    };
    let mut from = start;
    std::iter::from_fn(move || {
        let span = (from, next(from).min(start + DAY));
        from = span.1;
        (span.0 < start + DAY).then_some(span)
    })
}

/// What is told at the end of a minute; around an opening some seconds later, which differ between people.
fn live(resident: &Resident, minute: i64, what: What) -> Event {
    let later = resident.body().opening.map_or(0, |_| resident.index as i64 * 13 % 60);
    Event { at_ms: minute * MS_PER_MINUTE + later * MS_PER_SECOND, person: resident.index, what }
}

fn of_terra(resident: &Resident, day: i64, events: &mut Vec<Event>) {
    let body = resident.body();
    let up = body.minute_of(day, body.wake_time(day)) + oura::SYNCED_AFTER;
    let mut push = |minute: i64, kind: terra::Kind| {
        let what = What::Terra { kind, day };
        events.push(Event { at_ms: minute * MS_PER_MINUTE, person: resident.index, what });
    };
    push(up, terra::Kind::Sleep);
    let syncs = 2..=DAY / oura::ACTIVITY_EVERY;
    syncs.for_each(|sync| push(body.minute_of(day, sync * oura::ACTIVITY_EVERY), terra::Kind::Daily));
    if let Some(workout) = body.workout(day) {
        push(workout.end + oura::SYNCED_AFTER, terra::Kind::Activity);
    }
}
