//! Identifiers, and the only way in which a user may appear outside the data itself: masked.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The longest id that is accepted, in bytes of UTF-8.
pub const ID_MAX_BYTES: usize = 128;

/// Why a text is not an id. The text itself is never repeated: it may be personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or nothing but white space.
    #[error("is blank")]
    Blank,
    /// Longer than [`ID_MAX_BYTES`].
    #[error("is longer than {ID_MAX_BYTES} bytes")]
    TooLong,
    /// Holds a control character (C0, C1, U+2028 or U+2029).
    #[error("holds a control character")]
    ControlCharacter,
}

/// Whether a text may be an id of any kind: UTF-8 without control characters, not blank, at most [`ID_MAX_BYTES`].
///
/// # Errors
/// What is wrong with it.
pub fn check_id(text: &str) -> Result<(), IdError> {
    if text.trim().is_empty() {
        return Err(IdError::Blank);
    }
    if text.len() > ID_MAX_BYTES {
        return Err(IdError::TooLong);
    }
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(IdError::ControlCharacter);
    }
    Ok(())
}

/// A user's id, kept exactly as it was given.
///
/// It has no `Display`, and its `Debug` hides it: what is written for people goes through [`Masker`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct UserId(Arc<str>);

impl UserId {
    /// Checks and takes an id: UTF-8 without control characters, not blank, at most [`ID_MAX_BYTES`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_id(text)?;
        Ok(Self(text.into()))
    }

    /// The id itself, for keys, payloads and storage; never for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(<hidden>)")
    }
}

/// Eight hex digits that stand for a user in logs, `/actors` and dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaskedUserId(u32);

impl fmt::Display for MaskedUserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Masks ids: the first 8 hex digits of HMAC-SHA256(`LOG_MASK_KEY`, id).
///
/// Keyed, because plain hashes of short ids are reversed in seconds.
#[derive(Clone)]
pub struct Masker(Hmac<Sha256>);

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker(<key hidden>)")
    }
}

impl Masker {
    /// A masker with the bytes of `LOG_MASK_KEY`.
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length"))
    }

    /// The mask of one user.
    pub fn mask(&self, user: &UserId) -> MaskedUserId {
        let mut mac = self.0.clone();
        mac.update(user.as_str().as_bytes());
        let digest = mac.finalize().into_bytes();
        MaskedUserId(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }
}

/// An event's id: a UUIDv8 for everything that we decode, any id for what is injected with its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct EventId(Arc<str>);

impl EventId {
    /// Takes an id that came from outside (injection), under the rules of all ids.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check_id(text)?;
        Ok(Self(text.into()))
    }

    /// The id that is this UUID, in lower case and with hyphens.
    pub fn of_uuid(uuid: Uuid) -> Self {
        Self(uuid.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()).into())
    }

    /// The id as it stands in payloads and headers.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

/// Correlates an answer, its log lines and its Kafka headers: the caller's `X-Request-ID` or a UUIDv7.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Keeps a caller's id when it matches `[A-Za-z0-9._-]{1,64}`.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        fits.then(|| Self(text.into()))
    }

    /// A new one: a UUIDv7.
    pub fn generate() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes "the same fact" (contract §3): a UUIDv8 (RFC 9562 §5.8) over the SHA-256 of its named parts.
///
/// It depends on the vendor's account, never on an account link, so a link made later changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Identity(Uuid);

impl Identity {
    /// The identity of `parts`, each length-prefixed so that no two lists collide by concatenation.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| add_part(&mut hash, part));
        Self::from_digest(hash)
    }

    /// What all identities have in common of which these parts are the first.
    pub fn beginning_with(parts: &[&[u8]]) -> IdentityBeginning {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| add_part(&mut hash, part));
        IdentityBeginning(hash)
    }

    /// The identity behind a `record_id` as it stands in events: itself for a UUID, else derived from the text.
    pub fn of_record_id(record_id: &str) -> Self {
        Uuid::try_parse(record_id).map_or_else(|_| Self::of(&[b"record_id", record_id.as_bytes()]), Self)
    }

    /// The identity of several facts together, in order.
    pub fn of_all<'a>(facts: impl Iterator<Item = &'a Identity>) -> Self {
        let mut hash = Sha256::new();
        facts.for_each(|fact| hash.update(fact.0.as_bytes()));
        Self::from_digest(hash)
    }

    /// By which an event is known that comes again with its id, whatever it holds.
    pub fn of_event_id(event_id: &EventId) -> Self {
        Self::of(&[b"event_id", event_id.as_str().as_bytes()])
    }

    fn from_digest(hash: Sha256) -> Self {
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(Uuid::new_v8(bytes))
    }

    /// The 16 bytes, for storage.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From storage.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// As text, for a `record_id`.
    pub fn to_text(self) -> Arc<str> {
        self.0.to_string().into()
    }
}

/// The first parts of many identities, hashed once.
#[derive(Clone)]
pub struct IdentityBeginning(Sha256);

impl IdentityBeginning {
    /// The identity of those parts and this last one: as [`Identity::of`] makes it of all.
    pub fn and(&self, last: &[u8]) -> Identity {
        let mut hash = self.0.clone();
        add_part(&mut hash, last);
        Identity::from_digest(hash)
    }
}

fn add_part(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

impl EventId {
    /// The id of an event that holds the given facts: a UUIDv8 over their identities and versions, in order.
    pub fn of_facts<'a>(facts: impl Iterator<Item = (&'a Identity, i64)>) -> Self {
        let mut hash = Sha256::new();
        for (identity, version) in facts {
            hash.update(identity.as_bytes());
            hash.update(version.to_be_bytes());
        }
        Self(Identity::from_digest(hash).to_text())
    }
}
