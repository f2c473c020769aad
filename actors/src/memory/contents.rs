//! What a store holds, and its transactions: plain data, changed under one lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::accounts::AccountRows;
use super::fetch_queue::FetchRows;
use crate::domain::admission::Known;
use crate::domain::event::{Event, Reading};
use crate::domain::ids::{EventId, Identity, RequestId, UserId};
use crate::domain::message::{Message, Topic, header, with_copies};
use crate::ports::accounts::MovedEvents;
use crate::ports::event_log::Places;
use crate::ports::store::{
    Checkpoint, CheckpointBatch, Claim, Committed, DeadLetter, EncodeEvent, EventQuery, LatestReading,
    NewDelivery, Receipt, StoreError, StoredEvent, SwitchRow, WrittenEvent,
};

/// An event's row.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// As it was admitted.
    pub event: Event,
    /// As it goes to the log.
    pub message: Message,
    /// Whether the read API shows it: not a deletion, and not superseded as a whole.
    pub is_visible: bool,
    /// Places of the readings that newer versions hide.
    pub hidden: BTreeSet<u32>,
}

impl EventRow {
    /// The event less what is hidden.
    fn visible_part(&self) -> Event {
        let mut place = 0;
        let mut event = self.event.clone();
        event.readings.retain(|_| {
            place += 1;
            !self.hidden.contains(&(place - 1))
        });
        event
    }

    fn hide(&mut self, reading: Option<u32>) {
        match reading {
            None => self.is_visible = false,
            Some(place) => {
                self.hidden.insert(place);
                self.is_visible = self.hidden.len() < self.event.readings.len();
            }
        }
    }
}

/// Everything durable, as of one moment.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// In the order of commit, with the status that each has now.
    pub deliveries: Vec<NewDelivery>,
    /// In the order of commit.
    pub events: Vec<EventRow>,
    /// Messages on their way to the log, by number.
    pub outbox: BTreeMap<i64, Message>,
    /// The newest of each user.
    pub checkpoints: HashMap<UserId, Checkpoint>,
    /// Next offsets by consumer and partition.
    pub positions: HashMap<(Arc<str>, u32), i64>,
    /// The newest claims by consumer and partition.
    pub epochs: HashMap<(Arc<str>, u32), i64>,
    /// In the order of commit.
    pub switches: Vec<SwitchRow>,
    /// By id.
    pub dead_letters: BTreeMap<Arc<str>, DeadLetter>,
    /// Links and tokens.
    pub accounts: AccountRows,
    /// What is to be fetched, and the budgets.
    pub fetches: FetchRows,
    facts: HashMap<Identity, Known>,
    delivery_places: HashMap<[u8; 32], usize>,
    last_outbox_id: i64,
    /// Which letter was set aside when, by place.
    dead_letter_places: BTreeMap<i64, Arc<str>>,
    last_dead_letter: i64,
}

impl Contents {
    /// Takes in one delivery with its events and outbox entries.
    pub(super) fn commit(&mut self, delivery: &NewDelivery, encode: &EncodeEvent) -> Committed {
        let known = self.delivery_places.get(&delivery.key).copied();
        match known.and_then(|place| self.deliveries.get_mut(place)) {
            // What could not be read before, or was not whole, and now can or is.
            Some(held) if held.status.takes(delivery.status) => held.status = delivery.status,
            Some(_) => return Committed::Duplicate,
            None => {
                self.delivery_places.insert(delivery.key, self.deliveries.len());
                self.deliveries.push(delivery.clone());
            }
        }
        delivery.ends.iter().for_each(|end| self.fetches.end(end));
        self.fetches.add(&delivery.fetches);
        let mut receipts = Vec::with_capacity(delivery.drafts.len());
        for draft in &delivery.drafts {
            let (given_id, user_id) = (draft.event_id.clone(), draft.user_id.clone());
            let event_seq = self.events.len() as i64;
            // An event that was given with its id may be one of ours that came back.
            let is_stored =
                |event_id: &EventId| self.events.iter().any(|row| row.event.event_id == *event_id);
            let is_repeated = given_id.as_ref().is_some_and(is_stored);
            let admit = |facts| draft.clone().admit(event_seq, facts);
            let Some(admitted) = (!is_repeated).then(|| admit(&mut self.facts)).flatten() else {
                receipts.push(Receipt {
                    event_id: given_id,
                    user_id,
                    readings: 0,
                    is_new: false,
                    written: None,
                });
                continue;
            };
            let event = admitted.event;
            let message = encode(&event, &delivery.request_id);
            receipts.push(Receipt {
                event_id: Some(event.event_id.clone()),
                user_id,
                readings: event.readings.len(),
                is_new: true,
                written: Some(Arc::new(WrittenEvent { event: event.clone(), message: message.clone() })),
            });
            self.send_event(&message);
            let is_visible = !event.deleted;
            self.events.push(EventRow { event, message, is_visible, hidden: BTreeSet::new() });
            for older in admitted.superseded {
                self.events[older.event_seq as usize].hide(older.reading);
            }
        }
        Committed::Stored(receipts)
    }

    /// All of `batch`, or nothing. Gives back how many messages it has sent.
    pub(super) fn save(&mut self, batch: &CheckpointBatch) -> Result<usize, StoreError> {
        let sent_before = self.last_outbox_id;
        for &(partition, epoch) in &batch.claims {
            if self.epochs.get(&(Arc::clone(&batch.consumer), partition)) != Some(&epoch) {
                return Err(StoreError::Fenced(format!("partition {partition} has a new owner")));
            }
        }
        let mut positions = self.positions.clone();
        for moved in &batch.positions {
            let held = positions.entry((Arc::clone(&batch.consumer), moved.partition)).or_default();
            if *held != moved.from {
                let (partition, from) = (moved.partition, moved.from);
                return Err(StoreError::Fenced(format!("partition {partition} is no longer at {from}")));
            }
            *held = moved.to;
        }
        self.positions = positions;
        for checkpoint in &batch.checkpoints {
            let progress = |held: &Checkpoint| (held.state_seq, held.next_offset);
            match self.checkpoints.get(&checkpoint.user_id) {
                Some(held) if progress(held) > progress(checkpoint) => {}
                _ => {
                    self.checkpoints.insert(checkpoint.user_id.clone(), checkpoint.clone());
                }
            }
        }
        for switch in &batch.switches {
            if self.switches.iter().all(|held| held.switch_id != switch.switch_id) {
                self.switches.push(switch.clone());
                self.send(switch.message.clone());
            }
        }
        batch.states.iter().for_each(|message| self.send(message.clone()));
        for letter in &batch.dead_letters {
            self.set_aside(letter);
        }
        Ok((self.last_outbox_id - sent_before) as usize)
    }

    fn send_event(&mut self, message: &Message) {
        with_copies(std::iter::once(message)).into_iter().for_each(|message| self.send(message.into_owned()));
    }

    fn send(&mut self, message: Message) {
        self.last_outbox_id += 1;
        self.outbox.insert(self.last_outbox_id, message);
    }

    /// Takes partitions over.
    pub(super) fn claim(&mut self, consumer: &str, partitions: &[u32]) -> Vec<Claim> {
        let consumer: Arc<str> = consumer.into();
        let mut claim = |&partition: &u32| {
            let key = (Arc::clone(&consumer), partition);
            let next_offset = self.positions.get(&key).copied().unwrap_or_default();
            let epoch = self.epochs.entry(key).or_default();
            *epoch += 1;
            Claim { partition, next_offset, epoch: *epoch }
        };
        partitions.iter().map(&mut claim).collect()
    }

    /// The consumer's next offset of each of `partitions`.
    pub(super) fn positions_of(&self, consumer: &str, partitions: &[u32]) -> Places {
        let consumer: Arc<str> = consumer.into();
        let position = |partition| self.positions.get(&(Arc::clone(&consumer), partition)).copied();
        partitions.iter().map(|&partition| (partition, position(partition).unwrap_or_default())).collect()
    }

    /// Moves what the log refuses from the outbox to the dead letters.
    pub(super) fn bury(&mut self, refused: &[(i64, DeadLetter)]) {
        for (id, letter) in refused {
            if self.outbox.remove(id).is_some() && letter.original_topic != Topic::DeadLetters {
                self.set_aside(letter);
            }
        }
    }

    fn set_aside(&mut self, letter: &DeadLetter) {
        if self.dead_letters.contains_key(&letter.id) {
            return;
        }
        self.last_dead_letter += 1;
        self.dead_letter_places.insert(self.last_dead_letter, Arc::clone(&letter.id));
        self.dead_letters.insert(Arc::clone(&letter.id), letter.clone());
        self.send(letter.to_message());
    }

    /// The dead letters with their places, oldest first.
    pub(super) fn kept_letters(&self) -> impl DoubleEndedIterator<Item = (i64, &DeadLetter)> {
        let letter = |(place, id): (&i64, &Arc<str>)| Some((*place, self.dead_letters.get(id)?));
        self.dead_letter_places.iter().filter_map(letter)
    }

    /// Puts the message of a dead letter on its way again.
    pub(super) fn redrive(&mut self, place: i64) {
        let id = self.dead_letter_places.remove(&place);
        if let Some(letter) = id.and_then(|id| self.dead_letters.remove(&id)) {
            self.send(letter.message);
        }
    }

    /// Moves the oldest visible events of one user to another, at most `limit`.
    pub(super) fn move_events(
        &mut self,
        from: &UserId,
        to: &UserId,
        limit: usize,
        encode: &EncodeEvent,
    ) -> Result<MovedEvents, StoreError> {
        let is_meant = |row: &EventRow| from != to && row.is_visible && row.event.user_id == *from;
        let mut places: Vec<usize> =
            (0..self.events.len()).filter(|place| is_meant(&self.events[*place])).collect();
        places.sort_by_key(|place| {
            let event = &self.events[*place].event;
            (event.timestamp, event.event_id.clone())
        });
        let moved = places.len().min(limit);
        for place in &places[..moved] {
            let row = &mut self.events[*place];
            let request_id = header(&row.message.headers, "request_id").and_then(RequestId::parse);
            let unknown = || StoreError::Refused("a stored event has no request id".to_owned());
            let request_id = request_id.ok_or_else(unknown)?;
            row.event.user_id = to.clone();
            row.event.is_backfill = true;
            row.message = encode(&row.event, &request_id);
            let message = encode(&row.visible_part(), &request_id);
            self.send_event(&message);
        }
        Ok(MovedEvents { moved, has_more: moved < places.len() })
    }

    pub(super) fn query(&self, query: &EventQuery) -> Vec<StoredEvent> {
        let fits = |row: &&EventRow| {
            let event = &row.event;
            row.is_visible
                && event.user_id == query.user_id
                && query.from.is_none_or(|from| event.timestamp >= from)
                && query.to.is_none_or(|to| event.timestamp < to)
                && query.device.is_none_or(|device| event.device_type == device)
                && query.kind.as_ref().is_none_or(|kind| *event.kind == **kind)
                && query
                    .metric
                    .is_none_or(|metric| event.readings.iter().any(|reading| reading.metric == metric))
                && query
                    .after
                    .as_ref()
                    .is_none_or(|(at, id)| (event.timestamp, event.event_id.as_str()) > (*at, id))
        };
        let mut rows: Vec<&EventRow> = self.events.iter().filter(fits).collect();
        rows.sort_by_key(|row| (row.event.timestamp, row.event.event_id.clone()));
        rows.into_iter()
            .take(query.limit)
            .map(|row| StoredEvent { event: row.visible_part(), headers: row.message.headers.clone() })
            .collect()
    }

    /// The newest visible reading of each metric; of equal timestamps the higher confidence, then the later event.
    pub(super) fn latest(&self, user: &UserId) -> Vec<LatestReading> {
        let rank = |reading: &Reading| (reading.timestamp, (reading.confidence.unwrap_or(1.0) * 1e6) as i64);
        let mut best: BTreeMap<&'static str, LatestReading> = BTreeMap::new();
        for row in self.events.iter().filter(|row| row.is_visible && row.event.user_id == *user) {
            for reading in row.visible_part().readings {
                let name = reading.metric.name();
                if best.get(name).is_none_or(|held| rank(&reading) >= rank(&held.reading)) {
                    best.insert(name, LatestReading { reading, device_type: row.event.device_type });
                }
            }
        }
        best.into_values().collect()
    }
}
