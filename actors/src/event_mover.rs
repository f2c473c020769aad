//! Moves what came under an account's own id to the user whose account it turns out to be.
//!
//! Each chunk is a transaction. What is left when the process dies is moved when the vendor tells again whose it is: that
//! was not answered yet.

use std::sync::Arc;

use crate::domain::account::Account;
use crate::domain::ids::UserId;
use crate::kafka_publisher::Outlet;
use crate::linked_users::unlinked_user;
use crate::messages::CommitError;
use crate::ports::accounts::{Link, MovedEvents};
use crate::ports::store::EncodeEvent;
use crate::ports::{Accounts, Store};

/// Events that are moved in one transaction: others wait for it.
const CHUNK_EVENTS: usize = 200;

/// What moves events.
#[derive(Clone)]
pub struct EventMover {
    /// Whose events there are.
    pub accounts: Arc<dyn Accounts>,
    /// Whose outbox they go out through once more.
    pub store: Arc<dyn Store>,
    /// How they are written.
    pub encode: EncodeEvent,
    /// Who is told.
    pub outlet: Outlet,
    /// Nothing is moved while the outbox holds so many entries.
    pub outbox_max_entries: u64,
}

impl EventMover {
    /// Moves what is stored under the account's own id to the user of its link.
    ///
    /// # Errors
    /// Not all of it is moved yet.
    pub async fn move_to_linked(&self, link: &Link) -> Result<(), CommitError> {
        match unlinked_user(&link.account) {
            Some(unlinked) if unlinked != link.user_id => self.move_all(&unlinked, &link.user_id).await,
            _ => Ok(()),
        }
    }

    /// The same for accounts that had no link when events of theirs were committed, and may have one since.
    ///
    /// # Errors
    /// Not all of it is moved yet.
    pub async fn follow_links(&self, accounts: &[Account]) -> Result<(), CommitError> {
        for account in accounts {
            if let Some(link) = self.accounts.link(account).await? {
                self.move_to_linked(&link).await?;
            }
        }
        Ok(())
    }

    async fn move_all(&self, from: &UserId, to: &UserId) -> Result<(), CommitError> {
        loop {
            if self.store.outbox_depth() >= self.outbox_max_entries {
                return Err(CommitError::Backlog);
            }
            let moved = self.accounts.move_events(from, to, CHUNK_EVENTS, &self.encode).await?;
            let MovedEvents { moved, has_more } = moved;
            self.outlet.committed(moved);
            if !has_more {
                return Ok(());
            }
        }
    }
}
