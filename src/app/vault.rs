//! The vault with the keys that the settings choose.

use actors::ports::Vault;

use super::data_dir::DataDir;
use crate::adapters::vault::{AesVault, Key, KeyFileError, keys_in};
use crate::settings::{Settings, TokenKey};

/// The vault of this bridge. Its keys are those of `TOKEN_ENCRYPTION_KEYS`; the embedded store needs none to be set, and
/// then one is made in `DATA_DIR`. What was sealed with that one can be opened ever after.
///
/// Many bridges share a PostgreSQL, and no `DATA_DIR`, which is not `embedded` then: without a key, nothing is sealed or
/// opened.
pub(super) fn open_vault(
    settings: &Settings,
    embedded: Option<&DataDir>,
) -> Result<impl Vault + use<>, KeyFileError> {
    let mut keys = settings.token_keys.clone();
    if let Some(data_dir) = embedded {
        keys.extend(keys_in(data_dir.path(), settings.token_keys.is_empty())?);
    }
    let key = |key: &TokenKey| Key::new(&key.id, key.expose());
    Ok(AesVault::new(keys.iter().map(key).collect()))
}

#[cfg(test)]
mod tests {
    use actors::domain::account::{Account, Token, TokenPair, Vendor, VendorUserId};
    use actors::ports::vault::VaultError;

    use super::*;
    use crate::settings::Sources;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::read(Sources::from_pairs(pairs.iter().copied())).unwrap()
    }

    #[test]
    fn a_key_that_was_made_still_opens_when_others_are_set() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        let account = Account { vendor: Vendor::Oura, id: VendorUserId::parse("ann").unwrap() };
        let pair = TokenPair { access: Token::new("test-access".to_owned()), refresh: None };
        let sealed = open_vault(&settings(&[]), Some(&data_dir)).unwrap().seal(&account, &pair).unwrap();
        assert!(sealed.key_id.starts_with("made-"));
        let key = TokenKey::random().to_text();
        let set = open_vault(&settings(&[("TOKEN_ENCRYPTION_KEYS", &key)]), Some(&data_dir)).unwrap();
        assert_eq!(set.open(&account, &sealed), Ok(pair));
        assert_eq!(&*set.first_key().unwrap(), key.split_once(':').unwrap().0);
    }

    #[test]
    fn with_postgresql_no_key_is_made() {
        let postgres = settings(&[("POSTGRES_URL", "postgres://127.0.0.1:1/nowhere")]);
        assert_eq!(open_vault(&postgres, None).unwrap().first_key(), Err(VaultError::NoKey));
    }
}
