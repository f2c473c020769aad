//! `TOKEN_ENCRYPTION_KEYS`: the keys that tokens are sealed with at rest.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::reader::Reader;

const NAME: &str = "TOKEN_ENCRYPTION_KEYS";
const KEY_BYTES: usize = 32;
const ID_MAX_BYTES: usize = 64;
const ALLOWED: &str = "id:base64 of 32 bytes, several separated by commas, the one that encrypts first; ids of letters, \
    digits, . _ and -";

/// A key of 256 bits and its name. It is overwritten when it is dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// Stands in the rows that are sealed with it.
    pub id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl TokenKey {
    /// A new one, with a name that no other has.
    pub fn random() -> Self {
        let id = format!("made-{}", hex::encode(rand::random::<[u8; 8]>()));
        Self { id, bytes: Zeroizing::new(rand::random()) }
    }

    /// The key itself, for the vault.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    /// As it stands in the variable.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.id, BASE64_STANDARD.encode(*self.bytes)))
    }

    fn parse(text: &str) -> Option<Self> {
        let (id, key) = text.trim().split_once(':')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.len() > ID_MAX_BYTES || !id.chars().all(is_name) {
            return None;
        }
        let decoded = Zeroizing::new(BASE64_STANDARD.decode(key).ok()?);
        Some(Self { id: id.to_owned(), bytes: Zeroizing::new(decoded.as_slice().try_into().ok()?) })
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({}, <hidden>)", self.id)
    }
}

/// Reads a list of keys.
///
/// # Errors
/// What is allowed, and which of them is not; nothing of a key.
pub fn parse_token_keys(text: &str) -> Result<Vec<TokenKey>, String> {
    let (mut keys, mut ids) = (Vec::new(), BTreeSet::new());
    for (index, part) in text.split(',').enumerate() {
        let key = TokenKey::parse(part).ok_or_else(|| format!("{ALLOWED} (key {} is not)", index + 1))?;
        if !ids.insert(key.id.clone()) {
            return Err(format!("{ALLOWED} (key {} has the id of another)", index + 1));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// The keys that are set; none if the variable is not.
pub(super) fn read_token_keys(reader: &mut Reader) -> Vec<TokenKey> {
    let Some(text) = reader.secret(NAME) else { return Vec::new() };
    parse_token_keys(text.expose()).unwrap_or_else(|allowed| {
        reader.problem(NAME, format!("must be {allowed}"));
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, Sources};

    #[test]
    fn keys_are_read_in_their_order() {
        let (new, old) = (TokenKey::random(), TokenKey::random());
        let text = format!("{}, {}", *new.to_text(), *old.to_text());
        let settings = Settings::read(Sources::from_pairs([(NAME, &*text)])).unwrap();
        assert_eq!(settings.token_keys, [new, old]);
    }

    #[test]
    fn a_key_that_cannot_be_one_is_told_by_its_place_and_never_shown() {
        let good = TokenKey::random();
        let base64 = good.to_text().split_once(':').unwrap().1.to_owned();
        let short = BASE64_STANDARD.encode([7; 31]);
        for bad in [
            base64.clone(),
            format!(":{base64}"),
            format!("an id:{base64}"),
            format!("k:{short}"),
            format!("k:{base64}x"),
            "k:".to_owned(),
            String::new(),
            format!("{}:{base64}", good.id),
            format!("{}:{base64}", "k".repeat(ID_MAX_BYTES + 1)),
        ] {
            let text = format!("{},{bad}", *good.to_text());
            let problems = Settings::read(Sources::from_pairs([(NAME, &*text)])).unwrap_err();
            let told = problems[0].to_string();
            assert!(told.starts_with(NAME) && told.contains("key 2"), "{told}");
            assert!(!told.contains(&base64) && !told.contains(&short), "{told}");
        }
        assert!(!format!("{good:?}").contains(&base64));
    }
}
