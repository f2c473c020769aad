//! Deliveries before and after verification: two types, so that unverified bytes cannot be decoded.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::domain::delivery::{Format, Header, Headers};
use crate::domain::ids::UserId;
use crate::domain::time::{Timestamp, Zone};

/// A delivery as it came off the wire.
pub struct RawDelivery<'a> {
    /// The request's header fields.
    pub headers: &'a dyn Headers,
    /// The query parameter `user_id`, percent-decoded.
    pub query_user: Option<&'a str>,
    /// The wire bytes (still compressed, if they came so): what vendors sign.
    pub body: Bytes,
    /// When it arrived; signed timestamps are compared with it.
    pub received_at: Timestamp,
}

/// A delivery that its device believes. Only a [`Device`](super::Device) makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified {
    format: Format,
    body: Bytes,
    users: OutsideUsers,
    told: SenderTold,
    zone: Option<Zone>,
    zones: Option<Zones>,
}

/// The zones of users of ours, as far as they are known.
pub type Zones = Arc<HashMap<UserId, Zone>>;

/// What a vendor's header fields tell of a delivery beside its body. They are not signed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct SenderTold {
    /// The vendor's own id of this delivery, the same whenever it is tried again.
    pub(super) delivery_id: Option<String>,
    /// When the vendor says that this came about, the same whenever it is tried again: the order of versions.
    pub(super) ordered_at: Option<Timestamp>,
    /// What each of its points sums up, in the vendor's words: a minute, a day.
    pub(super) aggregation: Option<String>,
}

/// User ids given beside the body; those of the request are not yet checked.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct OutsideUsers {
    /// Whose the key is that the delivery came with, if it is one user's alone.
    pub(super) bound: Option<UserId>,
    /// From the header `X-User-Id`.
    pub(super) header: HeaderUser,
    /// From the query parameter `user_id`.
    pub(super) query: Option<String>,
}

/// What the header `X-User-Id` holds.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) enum HeaderUser {
    #[default]
    Missing,
    One(String),
    /// It cannot be used, and why.
    Unusable(&'static str),
}

impl OutsideUsers {
    /// Takes both places of a delivery's request.
    pub(super) fn of(raw: &RawDelivery<'_>) -> Self {
        let header = match raw.headers.get("x-user-id") {
            Header::Missing => HeaderUser::Missing,
            Header::One(text) => HeaderUser::One(text.to_owned()),
            Header::Repeated => HeaderUser::Unusable("the header occurs more than once"),
            Header::NotText => HeaderUser::Unusable("the header is not UTF-8"),
        };
        Self { bound: None, header, query: raw.query_user.map(str::to_owned) }
    }

    /// The one that counts; a second one must not differ from it.
    fn first(&self) -> Option<&str> {
        match (&self.bound, &self.header) {
            (Some(user), _) => Some(user.as_str()),
            (None, HeaderUser::One(text)) => Some(text),
            (None, HeaderUser::Missing | HeaderUser::Unusable(_)) => self.query.as_deref(),
        }
    }
}

impl Verified {
    /// For devices only: the body has been verified, and speaks `format`.
    pub(super) fn new(format: Format, body: Bytes, users: OutsideUsers) -> Self {
        Self { format, body, users, told: SenderTold::default(), zone: None, zones: None }
    }

    /// For devices only: with what the vendor's header fields tell.
    pub(super) fn with_told(self, told: SenderTold) -> Self {
        Self { told, ..self }
    }

    /// The body: the wire bytes, or what [`Verified::with_body`] put in their place.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whose words the body speaks.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Puts the inflated body in the place of the compressed one that was verified.
    #[must_use]
    pub fn with_body(self, inflated: Bytes) -> Self {
        Self { body: inflated, ..self }
    }

    /// The same, for being decoded again: the user's clock is in this zone.
    #[must_use]
    pub fn in_zone(&self, zone: Zone) -> Self {
        Self { zone: Some(zone), ..self.clone() }
    }

    /// The same, for being decoded again: these are the zones of the users that it is about, as far as anybody knows.
    #[must_use]
    pub fn in_zones(&self, zones: Zones) -> Self {
        Self { zones: Some(zones), ..self.clone() }
    }

    pub(super) fn told(&self) -> &SenderTold {
        &self.told
    }

    pub(super) fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }

    /// None while nobody was asked for them.
    pub(super) fn zones(&self) -> Option<&Zones> {
        self.zones.as_ref()
    }

    pub(super) fn users(&self) -> &OutsideUsers {
        &self.users
    }
}

impl fmt::Debug for Verified {
    /// Bodies and ids are personal, and stay out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("format", &self.format)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What "the same delivery again" means: SHA-256 over the device, the format, the user given outside the body (if
/// any), what its points sum up (where a header field tells that) and the body. Signature and signed time are left out, since a vendor's retry may carry new ones.
///
/// Taken after inflation, it is the same for a body that comes again compressed. Where the vendor gives deliveries ids of
/// their own, that id stands for the body; where it only tells their order, one body at two times is two deliveries.
pub fn delivery_key(device: &str, verified: &Verified) -> [u8; 32] {
    let ordered_at = verified.told.ordered_at.map(|at| at.as_ms().to_be_bytes());
    let (what, told) = match (&verified.told.delivery_id, &ordered_at) {
        (Some(id), _) => (id.as_bytes(), Some(b"id".as_slice())),
        (None, ordered_at) => (verified.body.as_ref(), ordered_at.as_ref().map(<[u8; 8]>::as_slice)),
    };
    let mut key = DeliveryKey::new(device, verified, what.len() as u64);
    key.take(what);
    told.into_iter().for_each(|told| key.take(told));
    key.finish()
}

/// That key, while the body comes in pieces.
pub struct DeliveryKey(Sha256);

impl DeliveryKey {
    /// Of a delivery whose body has so many bytes.
    pub fn new(device: &str, verified: &Verified, body_bytes: u64) -> Self {
        let format: &[u8] = match verified.format {
            Format::Vendor => b"vendor",
            Format::Inline => b"inline",
        };
        let user = verified.users.first().unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [device.as_bytes(), format, user.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        if let Some(aggregation) = &verified.told.aggregation {
            hash.update((aggregation.len() as u64).to_be_bytes());
            hash.update(aggregation);
        }
        hash.update(body_bytes.to_be_bytes());
        Self(hash)
    }

    /// The next bytes of the body, inflated.
    pub fn take(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    /// The key, once all of the body was taken.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The key of a delivery that comes again to the byte whenever there is something new: another one in each span of
/// arrivals of `span_ms`.
pub fn key_within(key: [u8; 32], received_at: Timestamp, span_ms: i64) -> [u8; 32] {
    let span = received_at.as_ms().div_euclid(span_ms);
    Sha256::new().chain_update(key).chain_update(span.to_be_bytes()).finalize().into()
}
