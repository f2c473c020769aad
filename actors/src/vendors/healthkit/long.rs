//! HealthKit's bodies that are too long for memory.
//!
//! An envelope tells of its items before or after them, so it is walked through twice: first for what stands around the
//! items, of which the sections are made as in memory, and then for the items. The envelopes' own walk leads by one.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufReader, Read};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::reader::Reader;
use super::sections::{self, Section};
use super::{Credentials, HealthKit, told};
use crate::domain::delivery::{DecodeError, Decoded, Format, VerifyError};
use crate::domain::time::Timestamp;
use crate::vendors::json_walk::{Place, Visit, Walker};
use crate::vendors::long::{Hand, Head, LongBodies, LongError, Signed, Source, Surveyed};
use crate::vendors::verified::OutsideUsers;
use crate::vendors::{DeliveryKey, Device, RawDelivery, Verified, json_check};

/// Bytes that are read together.
const BLOCK_BYTES: usize = 64 << 10;
/// A longer item refuses itself: a workout with its route has a few hundred kilobytes.
const ITEM_MAX_BYTES: usize = 4 << 20;
/// What may stand around the items of one envelope.
const AROUND_MAX_BYTES: usize = 4 << 20;
/// So many users are looked up before a body is read; of further ones a time without an offset is in UTC.
const USERS_MAX: usize = 1_000;

type Input<R> = BufReader<R>;

fn buffered<R: Read>(input: R) -> Input<R> {
    BufReader::with_capacity(BLOCK_BYTES, input)
}

fn walker<R: Read>(input: R) -> Walker<Input<R>> {
    Walker::new(buffered(input), sections::ITEM_ARRAYS, ITEM_MAX_BYTES)
}

/// An envelope without its items.
#[derive(Default)]
struct Around(Vec<u8>);

impl Visit for Around {
    fn around(&mut self, piece: &[u8]) -> Result<(), LongError> {
        if self.0.len() + piece.len() > AROUND_MAX_BYTES {
            let detail = "more stands around the samples than 4 MiB: send less at a time".to_owned();
            return Err(DecodeError::Shape { path: String::new(), detail }.into());
        }
        self.0.extend_from_slice(piece);
        Ok(())
    }

    fn wants(&mut self, _: usize) -> bool {
        false
    }

    fn item(&mut self, _: usize, _: usize, _: Option<&[u8]>) -> Result<(), LongError> {
        Ok(())
    }
}

impl Around {
    /// Takes the sections of the envelope at `place` to `then`.
    fn sections<T>(
        &self,
        place: Place,
        users: &OutsideUsers,
        then: impl FnOnce(Vec<Section<'_>>) -> Result<T, LongError>,
    ) -> Result<T, LongError> {
        let envelope: &RawValue = serde_json::from_slice(&self.0).map_err(io::Error::from)?;
        let at = match place {
            Place::Alone => {
                // Neither an object nor a list of them.
                sections::envelopes(envelope)?;
                String::new()
            }
            Place::Element(element) => format!("/{element}"),
        };
        then(sections::sections(&at, envelope, users)?)
    }
}

/// The items of an envelope on their way to the reader.
struct Items<'a, 'h> {
    sections: Vec<Section<'a>>,
    /// The sections by the numbers of their arrays, each of which stands in for itself as `[n]`.
    numbered: HashMap<usize, usize>,
    /// The section whose items come.
    current: usize,
    /// The first section that is not behind.
    next: usize,
    reader: &'a mut Reader,
    readings_max: usize,
    hand: &'a mut Hand<'h>,
}

impl Items<'_, '_> {
    fn numbered(sections: &[Section<'_>]) -> HashMap<usize, usize> {
        let items = sections.iter().enumerate().filter(|(_, section)| !section.is_refused());
        items
            .filter_map(|(place, section)| {
                Some((section.items.get().trim_matches(['[', ']']).parse().ok()?, place))
            })
            .collect()
    }

    /// Counts what cannot be read before the section `until`, which has no items to come by.
    fn refuse_until(&mut self, until: usize) {
        for section in &self.sections[self.next..until] {
            if section.is_refused() {
                self.reader.read(section, 0, section.items);
            }
        }
        self.next = until;
    }
}

impl Visit for Items<'_, '_> {
    fn around(&mut self, _: &[u8]) -> Result<(), LongError> {
        Ok(())
    }

    fn wants(&mut self, array: usize) -> bool {
        let Some(place) = self.numbered.get(&array).copied() else { return false };
        self.refuse_until(place);
        self.current = place;
        true
    }

    fn item(&mut self, _: usize, position: usize, text: Option<&[u8]>) -> Result<(), LongError> {
        let section = &self.sections[self.current];
        match text {
            Some(text) => {
                let item: &RawValue = serde_json::from_slice(text).map_err(io::Error::from)?;
                self.reader.read(section, position, item);
            }
            None => self.reader.refuse(section, position, "is longer than 4 MiB"),
        }
        if self.reader.readings() >= self.readings_max && !(self.hand)(self.reader.take()) {
            return Err(LongError::Unwanted);
        }
        Ok(())
    }
}

/// Takes the key of a delivery from its body as it goes by.
struct Keyed<R> {
    input: R,
    key: DeliveryKey,
}

impl<R: Read> Read for Keyed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.key.take(&buffer[..len]);
        Ok(len)
    }
}

impl LongBodies for HealthKit {
    fn verify_head(&self, raw: RawDelivery<'_>) -> Result<Head, VerifyError> {
        let Credentials { signature, keys } = self.credentials(raw.headers)?;
        let verified =
            Verified::new(Format::Inline, Bytes::new(), OutsideUsers::of(&raw)).with_told(told(raw.headers));
        let key =
            keys.into_iter().flatten().reduce(|first, next| first.or_else(|error| next.map_err(|_| error)));
        match (signature.map(|hex| self.signature_secret.begin_hex(hex)), key) {
            (_, Some(Ok(()))) => Ok(Head::Proven(verified)),
            (Some(Ok((mac, given))), _) => Ok(Head::Signed(Signed::new(mac, given, verified))),
            (Some(Err(error)), _) | (None, Some(Err(error))) => Err(error),
            (None, None) => Err(VerifyError::Missing),
        }
    }

    fn survey(&self, verified: &Verified, source: &dyn Source) -> Result<Surveyed, LongError> {
        let body_bytes = json_check::check(source.open()?)?;
        let key = DeliveryKey::new(self.name(), verified, body_bytes);
        let mut walker = walker(Keyed { input: source.open()?, key });
        let mut users = BTreeSet::new();
        loop {
            let mut around = Around::default();
            let Some(place) = walker.next(&mut around)? else { break };
            around.sections(place, verified.users(), |sections| {
                let user = sections.first().filter(|_| users.len() < USERS_MAX);
                users.extend(user.map(|section| section.user_id.clone()));
                Ok(())
            })?;
        }
        io::copy(walker.input(), &mut io::sink())?;
        Ok(Surveyed { key: walker.into_input().into_inner().key.finish(), users })
    }

    fn read(
        &self,
        verified: &Verified,
        received_at: Timestamp,
        source: &dyn Source,
        readings_max: usize,
        mut hand: Hand<'_>,
    ) -> Result<Decoded, LongError> {
        let (mut leader, mut follower) = (walker(source.open()?), walker(source.open()?));
        // Nobody is asked for a zone any more.
        let verified = &verified.in_zones(verified.zones().cloned().unwrap_or_default());
        let mut reader = Reader::new(verified, received_at);
        loop {
            let mut around = Around::default();
            let Some(place) = leader.next(&mut around)? else { break };
            around.sections(place, verified.users(), |sections| {
                let (reader, hand) = (&mut reader, &mut hand);
                let numbered = Items::numbered(&sections);
                let mut items = Items { sections, numbered, current: 0, next: 0, reader, readings_max, hand };
                follower.next(&mut items)?;
                items.refuse_until(items.sections.len());
                Ok(())
            })?;
        }
        Ok(reader.finish())
    }
}
