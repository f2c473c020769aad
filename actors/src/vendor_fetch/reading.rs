//! Reading a vendor's answer: whose what is in it is, and by whose clock its times are.

use std::sync::Arc;

use bytes::Bytes;

use super::job::{Job, not_now};
use super::schedule::Setback;
use super::target::Target;
use crate::domain::account::Account;
use crate::domain::delivery::DecodeError;
use crate::domain::time::Zone;
use crate::linked_users::{LinkedUsers, zone_of};
use crate::ports::fetch_queue::NewFetch;
use crate::vendors::fetch::{read, read_in_zone};
use crate::vendors::{Fetched, Owner};

/// The largest answer that is read between others' answers: it takes about a millisecond.
const READ_HERE_MAX_BYTES: usize = 64 << 10;

impl Job {
    pub(super) fn owner(&self, target: &Target) -> Owner {
        let NewFetch { changed_at, received_at, is_backfill, .. } = self.claimed.job;
        Owner {
            account: target.account.id.as_str().to_owned(),
            user_id: target.user_id.clone(),
            zone: target.zone.clone(),
            changed_at,
            received_at,
            fetched_at: self.parts.clock.now(),
            is_backfill,
        }
    }

    /// What an answer holds; the inner error is the vendor's.
    pub(super) async fn read(
        &self,
        answer: &Bytes,
        owner: Owner,
    ) -> Result<Result<Fetched, DecodeError>, Setback> {
        let (accounts, vendor) = (&self.parts.accounts, self.parts.vendor);
        let mut fetched = match self.decode(answer, &owner, None).await? {
            Ok(fetched) => fetched,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(id) = fetched.local_to.take() {
            let zone = zone_of(&**accounts, &Account { vendor, id }).await;
            if let Some(zone) = zone.map_err(|error| not_now(&error))? {
                match self.decode(answer, &owner, Some(zone)).await? {
                    Ok(in_zone) => fetched = in_zone,
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        // What was asked with an account's token is that account's. Anything else says itself whose it is.
        if !self.claimed.job.fetch.needs_token() {
            let mut users = LinkedUsers::new(Arc::clone(accounts), Some(vendor));
            for draft in &mut fetched.drafts {
                users.resolve(&mut draft.user_id).await.map_err(|error| not_now(&error))?;
            }
        }
        Ok(Ok(fetched))
    }

    /// Decodes an answer, a large one beside the threads that others wait for.
    async fn decode(
        &self,
        answer: &Bytes,
        owner: &Owner,
        zone: Option<Zone>,
    ) -> Result<Result<Fetched, DecodeError>, Setback> {
        let (fetch, answer, owner) = (self.claimed.job.fetch.clone(), answer.clone(), owner.clone());
        let is_small = answer.len() <= READ_HERE_MAX_BYTES;
        let decode = move || match &zone {
            Some(zone) => read_in_zone(&fetch, &answer, &owner, zone),
            None => read(&fetch, &answer, &owner),
        };
        if is_small {
            return Ok(decode());
        }
        let decoding = tokio::task::spawn_blocking(decode).await;
        decoding.map_err(|_| Setback::Crashed("reading its answer panicked".to_owned()))
    }
}
