//! The vault: AES-256-GCM with keys of the operator's.
//!
//! A sealed token is a byte for the layout, a random nonce of 96 bits, the ciphertext, and its tag. What it is, whose,
//! and the key's id are authenticated with it. Tokens are sealed once an hour at most, so a key stays far below the
//! 2³² seals that random nonces allow it (NIST SP 800-38D §8.3).

mod key_file;

use std::fmt;
use std::sync::Arc;

use actors::domain::account::{Account, Token, TokenPair};
use actors::ports::Vault;
use actors::ports::vault::{SealedPair, VaultError};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

pub use key_file::{KeyFileError, key_file_is_open, keys_in};

/// The layout of what is sealed.
const LAYOUT: u8 = 1;
/// What the authenticated data begins with.
const DOMAIN: &[u8] = b"biometric-bridge user_oauth_tokens";

/// A key and its name.
pub struct Key {
    id: Arc<str>,
    key: LessSafeKey,
}

impl Key {
    /// A key from its 32 bytes.
    pub fn new(id: &str, bytes: &[u8; 32]) -> Self {
        // 32 bytes are what AES-256 takes.
        #[expect(clippy::expect_used, reason = "refused for another length alone")]
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes are a key of AES-256");
        Self { id: id.into(), key: LessSafeKey::new(key) }
    }
}

/// The keys, of which the first seals and all open. Without any, nothing is sealed or opened.
pub struct AesVault {
    keys: Vec<Key>,
    random: SystemRandom,
}

impl AesVault {
    /// A vault with these keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self { keys, random: SystemRandom::new() }
    }

    fn seal_one(
        &self,
        key: &Key,
        what: &[u8],
        account: &Account,
        token: &Token,
    ) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| VaultError::NoRandomness)?;
        // It is sealed in place, so nothing of it is left in clear.
        let mut text = token.expose().as_bytes().to_vec();
        let aad = Aad::from(associated(key, what, account));
        let tag = key
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text)
            .map_err(|_| VaultError::Damaged)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len() + tag.as_ref().len());
        sealed.push(LAYOUT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }
}

impl fmt::Debug for AesVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

/// What it is, whose, and with which key: each with its length in front, so that no two differ only in where one ends.
fn associated(key: &Key, what: &[u8], account: &Account) -> Vec<u8> {
    let parts = [
        DOMAIN,
        &[LAYOUT],
        what,
        key.id.as_bytes(),
        account.vendor.name().as_bytes(),
        account.id.as_str().as_bytes(),
    ];
    let mut associated = Vec::new();
    for part in parts {
        associated.extend_from_slice(&(part.len() as u64).to_be_bytes());
        associated.extend_from_slice(part);
    }
    associated
}

fn open_one(key: &Key, what: &[u8], account: &Account, sealed: &[u8]) -> Result<Token, VaultError> {
    let (layout, rest) = sealed.split_first().ok_or(VaultError::Damaged)?;
    let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(VaultError::Damaged)?;
    if *layout != LAYOUT {
        return Err(VaultError::Damaged);
    }
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Damaged)?;
    let mut text = Zeroizing::new(text.to_vec());
    let aad = Aad::from(associated(key, what, account));
    let opened = key.key.open_in_place(nonce, aad, &mut text).map_err(|_| VaultError::Damaged)?;
    let token = std::str::from_utf8(opened).map_err(|_| VaultError::Damaged)?;
    Ok(Token::new(token.to_owned()))
}

impl Vault for AesVault {
    fn seal(&self, account: &Account, pair: &TokenPair) -> Result<SealedPair, VaultError> {
        let key = self.keys.first().ok_or(VaultError::NoKey)?;
        let seal = |what: &[u8], token| self.seal_one(key, what, account, token);
        Ok(SealedPair {
            key_id: Arc::clone(&key.id),
            access: seal(b"access", &pair.access)?,
            refresh: pair.refresh.as_ref().map(|token| seal(b"refresh", token)).transpose()?,
        })
    }

    fn open(&self, account: &Account, sealed: &SealedPair) -> Result<TokenPair, VaultError> {
        if self.keys.is_empty() {
            return Err(VaultError::NoKey);
        }
        let key = self.keys.iter().find(|key| key.id == sealed.key_id);
        let key = key.ok_or_else(|| VaultError::UnknownKey(Arc::clone(&sealed.key_id)))?;
        let open = |what: &[u8], sealed: &[u8]| open_one(key, what, account, sealed);
        Ok(TokenPair {
            access: open(b"access", &sealed.access)?,
            refresh: sealed.refresh.as_ref().map(|sealed| open(b"refresh", sealed)).transpose()?,
        })
    }

    fn first_key(&self) -> Result<Arc<str>, VaultError> {
        self.keys.first().map(|key| Arc::clone(&key.id)).ok_or(VaultError::NoKey)
    }
}

#[cfg(test)]
mod tests {
    use actors::domain::account::{Vendor, VendorUserId};

    use super::*;

    fn account(vendor: Vendor, id: &str) -> Account {
        Account { vendor, id: VendorUserId::parse(id).unwrap() }
    }

    fn pair() -> TokenPair {
        let token = |text: &str| Token::new(text.to_owned());
        TokenPair { access: token("test-access-token"), refresh: Some(token("test-refresh-token")) }
    }

    fn vault(keys: &[(&str, u8)]) -> AesVault {
        AesVault::new(keys.iter().map(|(id, byte)| Key::new(id, &[*byte; 32])).collect())
    }

    #[test]
    fn the_first_key_seals_and_every_key_opens() {
        let (ann, old) = (account(Vendor::Oura, "ann"), vault(&[("old", 1)]));
        let sealed = old.seal(&ann, &pair()).unwrap();
        let both = vault(&[("new", 2), ("old", 1)]);
        assert_eq!(both.open(&ann, &sealed), Ok(pair()));
        assert_eq!(&*both.seal(&ann, &pair()).unwrap().key_id, "new");
        let only_new = vault(&[("new", 2)]).open(&ann, &sealed);
        assert_eq!(only_new, Err(VaultError::UnknownKey("old".into())));
    }

    #[test]
    fn a_sealed_token_holds_nothing_of_it_and_never_looks_the_same_twice() {
        let (ann, vault) = (account(Vendor::Oura, "ann"), vault(&[("k", 1)]));
        let (one, two) = (vault.seal(&ann, &pair()).unwrap(), vault.seal(&ann, &pair()).unwrap());
        assert_ne!(one.access, two.access);
        assert_ne!(one.refresh, two.refresh);
        let holds =
            |bytes: &[u8]| bytes.windows(4).any(|part| b"test-access-token".windows(4).any(|w| w == part));
        assert!(!holds(&one.access));
        let shown = format!("{vault:?} {one:?}");
        assert!(!shown.contains("[1, 1, 1") && !shown.contains("test-"), "{shown}");
    }

    #[test]
    fn what_was_moved_to_another_row_or_column_does_not_open() {
        let (ann, vault) = (account(Vendor::Oura, "ann"), vault(&[("k", 1), ("same bytes", 1)]));
        let sealed = vault.seal(&ann, &pair()).unwrap();
        for other in
            [account(Vendor::Oura, "bob"), account(Vendor::Whoop, "ann"), account(Vendor::Oura, "an")]
        {
            assert_eq!(vault.open(&other, &sealed), Err(VaultError::Damaged));
        }
        let swapped = SealedPair { access: sealed.refresh.clone().unwrap(), ..sealed.clone() };
        assert_eq!(vault.open(&ann, &swapped), Err(VaultError::Damaged));
        let renamed = SealedPair { key_id: "same bytes".into(), ..sealed };
        assert_eq!(vault.open(&ann, &renamed), Err(VaultError::Damaged));
    }

    #[test]
    fn one_changed_bit_or_missing_byte_is_enough_not_to_open() {
        let (ann, vault) = (account(Vendor::Oura, "ann"), vault(&[("k", 1)]));
        let sealed = vault.seal(&ann, &pair()).unwrap();
        for place in 0..sealed.access.len() {
            let mut access = sealed.access.clone();
            access[place] ^= 1;
            let changed = SealedPair { access, ..sealed.clone() };
            assert_eq!(vault.open(&ann, &changed), Err(VaultError::Damaged), "byte {place}");
            let cut = SealedPair { access: sealed.access[..place].to_vec(), ..sealed.clone() };
            assert_eq!(vault.open(&ann, &cut), Err(VaultError::Damaged), "cut at {place}");
        }
    }

    #[test]
    fn without_a_key_nothing_is_sealed_and_the_variable_is_named() {
        let (ann, vault) = (account(Vendor::Oura, "ann"), vault(&[]));
        let error = vault.seal(&ann, &pair()).unwrap_err();
        assert_eq!(error, VaultError::NoKey);
        assert!(error.to_string().contains("TOKEN_ENCRYPTION_KEYS"));
    }

    /// Case 14 of the test vectors in "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega: AES-256, one block
    /// of zeros.
    #[test]
    fn the_cipher_is_aes_256_gcm() {
        let key = Key::new("zeros", &[0; 32]);
        let mut block = [0; 16];
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let tag = key.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut block).unwrap();
        assert_eq!(hex::encode(block), "cea7403d4d606b6e074ec5d3baf39d18");
        assert_eq!(hex::encode(tag.as_ref()), "d0d1c8a799996bf0265b98b5d48ab919");
    }
}
