//! Reading a vendor's answer: whose what is in it is, and by whose clock its times are.

use std::sync::Arc;

use super::job::{Job, not_now};
use super::schedule::Setback;
use super::target::Target;
use crate::domain::account::Account;
use crate::domain::delivery::DecodeError;
use crate::linked_users::{LinkedUsers, zone_of};
use crate::vendors::Fetched;
use crate::vendors::fetch::{read, read_in_zone};

impl Job {
    /// What an answer holds; the inner error is the vendor's.
    pub(super) async fn read(
        &self,
        answer: &[u8],
        target: &Target,
    ) -> Result<Result<Fetched, DecodeError>, Setback> {
        let (fetch, owner, accounts) = (&self.claimed.job.fetch, self.owner(target), &self.parts.accounts);
        let vendor = self.parts.vendor;
        let mut fetched = match read(fetch, answer, &owner) {
            Ok(fetched) => fetched,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(id) = fetched.local_to.take() {
            let zone = zone_of(&**accounts, &Account { vendor, id }).await;
            if let Some(zone) = zone.map_err(|error| not_now(&error))? {
                match read_in_zone(fetch, answer, &owner, &zone) {
                    Ok(in_zone) => fetched = in_zone,
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        // What was asked with an account's token is that account's. Anything else says itself whose it is.
        if !fetch.needs_token() {
            let mut users = LinkedUsers::new(Arc::clone(accounts), Some(vendor));
            for draft in &mut fetched.drafts {
                users.resolve(&mut draft.user_id).await.map_err(|error| not_now(&error))?;
            }
        }
        Ok(Ok(fetched))
    }
}
