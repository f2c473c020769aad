//! One actor a device: reads a verified delivery, decides what it is, and hands it to the writer.
//!
//! It fails alone: a delivery that panics its decoder is tried once more and then refused, and the next one is
//! read by a new life. If the process dies here nothing is durable yet and nothing has been answered.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use actix::{Actor, Context, Handler, MessageResult};
use lru::LruCache;
use parking_lot::Mutex;

use crate::domain::account::{Account, Vendor, VendorUserId};
use crate::domain::admission::EventDraft;
use crate::domain::delivery::{DecodeError, Decoded, Format};
use crate::domain::fetch::FetchPlan;
use crate::domain::ids::UserId;
use crate::domain::time::{MS_PER_MINUTE, Timestamp};
use crate::event_mover::EventMover;
use crate::event_writer::EventWriter;
use crate::linked_users::{LinkedUsers, move_link, zone_of, zones_of};
use crate::messages::{CommitDelivery, CommitError, FetchesQueued, HandleDelivery, Outcome, PendingOutcome};
use crate::ports::Accounts;
use crate::ports::fetch_queue::NewFetch;
use crate::ports::store::{Committed, DeliveryStatus, NewDelivery, StoreError};
use crate::supervision::{AskError, ChildRef};
use crate::vendor_fetch::VendorFetch;
use crate::vendors::{Device, delivery_key, key_within};

/// A notification without a time of its own that comes again within so long is taken for a repeated delivery. Later it may
/// tell of something new, and a vendor that repeats what was answered costs no more than a request: vendors come again for
/// an hour, but only with what was not answered, and that was not kept.
const UNDATED_WITHIN_MS: i64 = 2 * MS_PER_MINUTE;
/// So many of them are remembered; one that is forgotten is only asked for once more.
const UNDATED_REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// A device's handler.
#[derive(Clone)]
pub struct DeviceHandler {
    device: Arc<dyn Device>,
    accounts: Arc<dyn Accounts>,
    writer: ChildRef<EventWriter>,
    fetcher: Option<ChildRef<VendorFetch>>,
    mover: EventMover,
    undated: Arc<Mutex<Undated>>,
}

/// When notifications without a time of their own came first.
struct Undated(LruCache<[u8; 32], Timestamp>);

impl Undated {
    fn new() -> Self {
        Self(LruCache::new(UNDATED_REMEMBERED))
    }

    /// The key of one that has `key` by its bytes: that of the first one, if that came a short time ago. A bridge that has
    /// not seen that knows it again within the same span of the clock.
    fn key(&mut self, key: [u8; 32], received_at: Timestamp) -> [u8; 32] {
        let first = self.0.get(&key).copied();
        let is_near = |first: &Timestamp| (0..UNDATED_WITHIN_MS).contains(&received_at.ms_since(*first));
        let first = first.filter(is_near).unwrap_or(received_at);
        self.0.put(key, first);
        key_within(key, first, UNDATED_WITHIN_MS)
    }
}

impl DeviceHandler {
    /// A handler of `device` in front of `writer`; the links in `accounts` tell whose the vendor's ids are, and what
    /// notifications ask for is done by `fetcher`. What came under an account's new id before that was known is moved by
    /// `mover`.
    pub fn new(
        device: Arc<dyn Device>,
        accounts: Arc<dyn Accounts>,
        writer: ChildRef<EventWriter>,
        fetcher: Option<ChildRef<VendorFetch>>,
        mover: EventMover,
    ) -> Self {
        Self { device, accounts, writer, fetcher, mover, undated: Arc::new(Mutex::new(Undated::new())) }
    }

    fn users(&self, format: Format) -> LinkedUsers {
        let vendor = match format {
            Format::Vendor => Vendor::parse(self.device.name()),
            Format::Inline => None,
        };
        LinkedUsers::new(Arc::clone(&self.accounts), vendor)
    }

    fn delivery(&self, message: &HandleDelivery, status: DeliveryStatus) -> NewDelivery {
        let key = delivery_key(self.device.name(), &message.verified);
        NewDelivery {
            key,
            device: self.device.name(),
            request_id: message.request_id.clone(),
            received_at: message.received_at,
            status,
            body: message.verified.body().clone(),
            drafts: Vec::new(),
            fetches: Vec::new(),
            ends: None,
        }
    }
}

impl Actor for DeviceHandler {
    type Context = Context<Self>;
}

impl Handler<HandleDelivery> for DeviceHandler {
    type Result = MessageResult<HandleDelivery>;

    fn handle(&mut self, message: HandleDelivery, _: &mut Context<Self>) -> Self::Result {
        let decoded = self.device.decode(&message.verified, message.received_at);
        MessageResult(self.settle(decoded, message))
    }
}

impl DeviceHandler {
    /// What becomes of what a delivery holds.
    fn settle(&self, decoded: Result<Decoded, DecodeError>, message: HandleDelivery) -> PendingOutcome {
        let writer = self.writer.clone();
        match decoded {
            Ok(Decoded::Ignored { reason }) => Box::pin(async move { Outcome::Ignored { reason } }),
            Ok(Decoded::AccountMoved { from, to, user_id, reason }) => {
                Box::pin(self.clone().settle_move((from, to), user_id, reason))
            }
            Ok(Decoded::LocalTimes { account, as_utc }) => {
                Box::pin(self.clone().settle_local(account, *as_utc, message))
            }
            Ok(Decoded::LocalToUsers { users, as_utc }) => {
                Box::pin(self.clone().settle_in_zones(users, *as_utc, message))
            }
            Ok(Decoded::Notification { user_id, is_dated, plan }) => {
                self.settle_notification(user_id, is_dated, plan, &message)
            }
            Ok(Decoded::Events { drafts, rejected }) => {
                let mut users = self.users(message.verified.format());
                let mut delivery =
                    NewDelivery { drafts, ..self.delivery(&message, DeliveryStatus::Processed) };
                let mover = self.mover.clone();
                Box::pin(async move {
                    if let Err(error) = rename(&mut delivery.drafts, &mut users).await {
                        return Outcome::NotCommitted(error.into());
                    }
                    let user = delivery.drafts.first().map(|draft| draft.user_id.clone());
                    let committed = commit(&writer, delivery).await;
                    // Who linked an account meanwhile has moved what was there; this was not. If that fails now, the
                    // delivery comes again as a duplicate.
                    let unlinked_only = !matches!(committed, Ok(Committed::Duplicate));
                    if committed.is_ok()
                        && let Err(error) = mover.follow_links(&users.accounts(unlinked_only)).await
                    {
                        return Outcome::NotCommitted(error);
                    }
                    outcome(committed, user, |receipts| Outcome::Processed { receipts, rejected })
                })
            }
            Err(error) => {
                let delivery = self.delivery(&message, DeliveryStatus::Quarantined);
                Box::pin(async move {
                    match commit(&writer, delivery).await {
                        Ok(_) => Outcome::Unreadable(error),
                        Err(not_kept) => Outcome::NotCommitted(not_kept),
                    }
                })
            }
        }
    }

    fn settle_notification(
        &self,
        mut user_id: UserId,
        is_dated: bool,
        plan: FetchPlan,
        message: &HandleDelivery,
    ) -> PendingOutcome {
        let (writer, fetcher) = (self.writer.clone(), self.fetcher.clone());
        let mut users = self.users(message.verified.format());
        let mut delivery = self.delivery(message, DeliveryStatus::Accepted);
        delivery.fetches = fetches(plan, message);
        if !is_dated {
            delivery.key = self.undated.lock().key(delivery.key, message.received_at);
        }
        Box::pin(async move {
            if let Err(error) = users.resolve(&mut user_id).await {
                return Outcome::NotCommitted(error.into());
            }
            let user = user_id.clone();
            outcome(commit(&writer, delivery).await, Some(user_id), |_| {
                // A full mailbox means that it is awake already.
                fetcher.map(|fetcher| fetcher.try_tell(FetchesQueued).ok());
                Outcome::Accepted { user }
            })
        })
    }

    /// Gives the account under its new id the user of the old one, and the user what has come under the new id.
    async fn settle_move(
        self,
        (from, to): (VendorUserId, VendorUserId),
        user_id: Option<UserId>,
        reason: &'static str,
    ) -> Outcome {
        let Some(vendor) = Vendor::parse(self.device.name()) else { return Outcome::Ignored { reason } };
        let moved = match move_link(&*self.accounts, vendor, from, to, user_id).await {
            Ok(Some(link)) => self.mover.move_to_linked(&link).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        moved.map_or_else(Outcome::NotCommitted, |()| Outcome::Ignored { reason })
    }

    /// Reads the delivery again if the user's zone is known. It was read once in the actor's hands, and is no other now.
    async fn settle_local(self, account: VendorUserId, as_utc: Decoded, message: HandleDelivery) -> Outcome {
        let Some(vendor) = Vendor::parse(self.device.name()) else {
            return self.settle(Ok(as_utc), message).await;
        };
        let decoded = match zone_of(&*self.accounts, &Account { vendor, id: account }).await {
            Ok(None) => Ok(as_utc),
            Ok(Some(zone)) => self.device.decode(&message.verified.in_zone(zone), message.received_at),
            Err(error) => return Outcome::NotCommitted(error.into()),
        };
        self.settle(decoded, message).await
    }

    /// Reads the delivery again if the zone of some of its users is known.
    async fn settle_in_zones(
        self,
        users: BTreeSet<UserId>,
        as_utc: Decoded,
        message: HandleDelivery,
    ) -> Outcome {
        let decoded = match zones_of(&*self.accounts, users, Vendor::parse(self.device.name())).await {
            Ok(zones) if zones.is_empty() => Ok(as_utc),
            Ok(zones) => self.device.decode(&message.verified.in_zones(zones), message.received_at),
            Err(error) => return Outcome::NotCommitted(error.into()),
        };
        self.settle(decoded, message).await
    }
}

/// What a notification asks for, one by one: each is done, retried and given up by itself.
fn fetches(plan: FetchPlan, message: &HandleDelivery) -> Vec<NewFetch> {
    let FetchPlan { whose, changed_at, fetches, is_backfill } = plan;
    let fetch = |fetch| NewFetch {
        whose: whose.clone(),
        fetch,
        changed_at,
        received_at: message.received_at,
        request_id: message.request_id.clone(),
        is_backfill,
    };
    fetches.into_iter().map(fetch).collect()
}

/// Puts the linked users in the place of those who are named by the vendor's ids.
async fn rename(drafts: &mut [EventDraft], users: &mut LinkedUsers) -> Result<(), StoreError> {
    for draft in drafts {
        users.resolve(&mut draft.user_id).await?;
    }
    Ok(())
}

fn outcome(
    committed: Result<Committed, CommitError>,
    user: Option<UserId>,
    stored: impl FnOnce(Vec<crate::ports::store::Receipt>) -> Outcome,
) -> Outcome {
    match committed {
        Ok(Committed::Stored(receipts)) => stored(receipts),
        Ok(Committed::Duplicate) => Outcome::Duplicate { user },
        Err(error) => Outcome::NotCommitted(error),
    }
}

/// Has the writer make a delivery durable.
pub async fn commit(writer: &ChildRef<EventWriter>, delivery: NewDelivery) -> Result<Committed, CommitError> {
    match writer.ask(CommitDelivery(Arc::new(delivery))).await {
        Ok(result) => result,
        Err(AskError::Died { .. }) => Err(CommitError::Crashed),
        Err(_) => Err(CommitError::Stopping),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_without_a_time_is_a_repetition_for_two_minutes_and_then_is_news() {
        let start = Timestamp::from_ms(1_789_041_600_000);
        // Whatever the clock shows, a repetition of a moment ago is none of the next span.
        for offset_ms in (0..UNDATED_WITHIN_MS).step_by(7_001) {
            let (mut undated, at) = (Undated::new(), start.plus_ms(offset_ms));
            let first = undated.key([1; 32], at);
            assert_eq!(undated.key([1; 32], at.plus_ms(UNDATED_WITHIN_MS - 1)), first, "at {offset_ms}");
            assert_ne!(undated.key([2; 32], at), first);
            let later = undated.key([1; 32], at.plus_ms(UNDATED_WITHIN_MS));
            assert_ne!(later, first, "at {offset_ms}");
            assert_eq!(undated.key([1; 32], at.plus_ms(UNDATED_WITHIN_MS + 1)), later);
            // After a restart within the span.
            let started_anew = Undated::new().key([1; 32], start.plus_ms(UNDATED_WITHIN_MS - 1));
            assert_eq!(started_anew, first, "at {offset_ms}");
        }
    }
}
