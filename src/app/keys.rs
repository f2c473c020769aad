//! Sealing tokens anew with the first key, without running a bridge.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::domain::account::Account;
use actors::ports::store::StoreError;
use actors::ports::vault::VaultError;
use actors::ports::{Accounts, Vault};
use serde::Serialize;

use super::build::StartError;
use super::data_dir::DataDir;
use super::engines::postgres_config;
use super::vault::open_vault;
use crate::adapters::postgres::PostgresStore;
use crate::adapters::sqlite::SqliteStore;
use crate::adapters::sqlite_file::SqliteFile;
use crate::settings::Settings;

/// Rows that are read at a time.
const PAGE: usize = 200;

/// What a rotation has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// The key that seals.
    pub key_id: Arc<str>,
    /// How many accounts' tokens were sealed with another one before.
    pub found: u64,
    /// How many of them are sealed with this one now.
    pub rotated: u64,
    /// How many could not be opened, by the key that they are sealed with.
    pub unopened: BTreeMap<Arc<str>, u64>,
    /// How many are sealed with another one still.
    pub left: u64,
}

/// Why there is no rotation.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The store cannot be opened, or is in use.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no key.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<StoreError> for RotateError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

/// Seals every account's tokens with the first key; `progress` is told as it goes on. Each row is changed by itself, so a
/// rotation that was broken off goes on where it was. The embedded store is not written to under a running bridge; beside
/// PostgreSQL bridges may run.
pub async fn rotate_keys(
    settings: &Settings,
    progress: impl FnMut(&Rotation),
) -> Result<Rotation, RotateError> {
    if let Some(postgres) = &settings.postgres {
        let vault = open_vault(settings, None).map_err(StartError::from)?;
        let config = postgres_config(postgres, &settings.stream);
        let store = PostgresStore::connect(config).map_err(StartError::Postgres)?;
        return rotate(&store, &vault, progress).await;
    }
    let data_dir = DataDir::open(&settings.data_dir).map_err(StartError::from)?;
    let vault = open_vault(settings, Some(&data_dir)).map_err(StartError::from)?;
    let file = SqliteFile::open(&data_dir.database()).await?;
    let rotated = rotate(&SqliteStore::new(file.clone()).await?, &vault, progress).await;
    file.close().await;
    rotated
}

async fn rotate(
    accounts: &impl Accounts,
    vault: &impl Vault,
    mut progress: impl FnMut(&Rotation),
) -> Result<Rotation, RotateError> {
    let key_id = vault.first_key()?;
    let found = accounts.count_sealed_otherwise(&key_id).await?;
    let mut rotation = Rotation { key_id: Arc::clone(&key_id), found, ..Rotation::default() };
    let mut last: Option<Account> = None;
    loop {
        let page = accounts.sealed_otherwise(&key_id, last.as_ref(), PAGE).await?;
        for stored in &page {
            let sealed = &stored.tokens.sealed;
            let resealed =
                vault.open(&stored.account, sealed).and_then(|pair| vault.seal(&stored.account, &pair));
            match resealed {
                // A pair that was replaced meanwhile is sealed as the bridge that has replaced it does.
                Ok(resealed) => rotation.rotated += u64::from(accounts.reseal(stored, &resealed).await?),
                Err(VaultError::UnknownKey(_) | VaultError::Damaged) => {
                    *rotation.unopened.entry(Arc::clone(&sealed.key_id)).or_default() += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        progress(&rotation);
        match page.last() {
            Some(stored) => last = Some(stored.account.clone()),
            None => break,
        }
    }
    rotation.left = accounts.count_sealed_otherwise(&key_id).await?;
    Ok(rotation)
}
