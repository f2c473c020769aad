//! Bodies that are too long for memory: read from where they lie, more than once, and never held as a whole.

use std::collections::BTreeSet;
use std::io::{self, Read};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{RawDelivery, Verified};
use crate::domain::admission::EventDraft;
use crate::domain::delivery::{DecodeError, Decoded, VerifyError};
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

/// Where a body lies: it can be read from its begin as often as wanted, and is the same each time.
pub trait Source: Send + Sync {
    /// The body from its begin, as its sender wrote it (inflated).
    ///
    /// # Errors
    /// It cannot be opened. What cannot be inflated, or inflates beyond its limit, is an error of a later read.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;
}

/// Why a long body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum LongError {
    /// It is not what its device sends.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// Its bytes could not be had.
    #[error("the body cannot be read from where it lies")]
    Io(#[from] io::Error),
    /// Nobody wants the rest.
    #[error("the rest of the body is not wanted")]
    Unwanted,
}

/// Who takes drafts; whether the rest is wanted.
pub type Hand<'a> = &'a mut dyn FnMut(Vec<EventDraft>) -> bool;

/// What is known of a body once it was looked through.
#[derive(Debug)]
pub struct Surveyed {
    /// The key of the delivery.
    pub key: [u8; 32],
    /// Users that it is about; of very many the first.
    pub users: BTreeSet<UserId>,
}

/// What a device does that takes bodies of any length.
pub trait LongBodies {
    /// Believes a delivery by its head, as far as that goes: its body has not come yet, and is left empty in `raw`.
    ///
    /// # Errors
    /// As of [`Device::verify`](super::Device::verify).
    fn verify_head(&self, raw: RawDelivery<'_>) -> Result<Head, VerifyError>;

    /// Looks whether all of a verified body can be read: its syntax, its shape and whose it is. Gives back what
    /// must be known before it is read.
    ///
    /// # Errors
    /// It cannot, and then nothing of it may be stored.
    fn survey(&self, verified: &Verified, source: &dyn Source) -> Result<Surveyed, LongError>;

    /// Reads a surveyed body, and hands out its drafts whenever they hold so many readings; gives back the rest. One bad
    /// item refuses itself and nothing else.
    ///
    /// # Errors
    /// Its bytes cannot be had any more, or nobody wants the rest.
    fn read(
        &self,
        verified: &Verified,
        received_at: Timestamp,
        source: &dyn Source,
        readings_max: usize,
        hand: Hand<'_>,
    ) -> Result<Decoded, LongError>;
}

/// What the head of a delivery proves.
#[derive(Debug)]
pub enum Head {
    /// All that is asked.
    Proven(Verified),
    /// Nothing before its body has come.
    Signed(Signed),
}

/// A delivery that is believed once the last byte of its body has come.
#[derive(Debug)]
pub struct Signed {
    mac: Hmac<Sha256>,
    given: [u8; 32],
    verified: Verified,
}

impl Signed {
    pub(super) fn new(mac: Hmac<Sha256>, given: [u8; 32], verified: Verified) -> Self {
        Self { mac, given, verified }
    }

    /// The next bytes, as they were on the wire.
    pub fn take(&mut self, wire: &[u8]) {
        self.mac.update(wire);
    }

    /// The body has come.
    ///
    /// # Errors
    /// The signature is not that of these bytes.
    pub fn finish(self) -> Result<Verified, VerifyError> {
        self.mac.verify_slice(&self.given).map_err(|_| VerifyError::Mismatch)?;
        Ok(self.verified)
    }
}
