//! Whose a vendor's words are: an account's link decides, and without one our id is `{vendor}:{vendor_user_id}`
//! (contract §1).
//!
//! Decoders know no links, and name everybody by the second rule. What comes out of a delivery in a vendor's own words is
//! renamed here, before it is committed. A store that cannot be asked commits nothing: what is under the wrong user is
//! worse than what is sent again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::account::{Account, Vendor, VendorUserId};
use crate::domain::ids::UserId;
use crate::domain::time::Zone;
use crate::ports::Accounts;
use crate::ports::accounts::Link;
use crate::ports::store::StoreError;
use crate::vendors::Zones;

/// The users of one delivery, each looked up once. A delivery that names nobody by the vendor's id costs nothing.
pub struct LinkedUsers {
    accounts: Arc<dyn Accounts>,
    /// None for a delivery whose ids are ours.
    vendor: Option<Vendor>,
    known: HashMap<UserId, UserId>,
}

impl LinkedUsers {
    /// For a delivery in the words of `vendor`, or none for one whose ids are ours already.
    pub fn new(accounts: Arc<dyn Accounts>, vendor: Option<Vendor>) -> Self {
        Self { accounts, vendor, known: HashMap::new() }
    }

    /// Puts the linked user in the place of one who is named by the vendor's id.
    ///
    /// # Errors
    /// The store cannot tell.
    pub async fn resolve(&mut self, user: &mut UserId) -> Result<(), StoreError> {
        let Some(account) = self.vendor.and_then(|vendor| account_of(vendor, user)) else { return Ok(()) };
        if let Some(linked) = self.known.get(user) {
            *user = linked.clone();
            return Ok(());
        }
        let link = self.accounts.link(&account).await?;
        let linked = link.map_or_else(|| user.clone(), |link| link.user_id);
        let unlinked = std::mem::replace(user, linked.clone());
        self.known.insert(unlinked, linked);
        Ok(())
    }

    /// The accounts that are named; without those that have a link, `unlinked_only`.
    pub fn accounts(&self, unlinked_only: bool) -> Vec<Account> {
        let chosen = self.known.iter().filter(|(named, linked)| !unlinked_only || named == linked);
        chosen.filter_map(|(named, _)| account_of(self.vendor?, named)).collect()
    }
}

/// Gives an account that its vendor knows by a new id the user of the old one; that its link says, else `user_id`, else the
/// old id itself. A new id that has a link already keeps it: a repeated message changes nothing, and neither does it undo what an operator has
/// decided. The old link stays: deliveries with the old id may still be on their way. The link of the new id, if it is
/// another one and can have a link.
///
/// # Errors
/// The store cannot tell or do it.
pub async fn move_link(
    accounts: &dyn Accounts,
    vendor: Vendor,
    from: VendorUserId,
    to: VendorUserId,
    user_id: Option<UserId>,
) -> Result<Option<Link>, StoreError> {
    let (old, new) = (Account { vendor, id: from }, Account { vendor, id: to });
    if old == new {
        return Ok(None);
    }
    if let Some(link) = accounts.link(&new).await? {
        return Ok(Some(link));
    }
    let link = match accounts.link(&old).await? {
        Some(link) => Link { account: new, key_hash: None, ..link },
        None => {
            let Some(user_id) = user_id.or_else(|| unlinked_user(&old)) else { return Ok(None) };
            Link { account: new, user_id, timezone: None, key_hash: None }
        }
    };
    accounts.put_link(&link, None).await?;
    Ok(Some(link))
}

/// Who an account's user is while it has no link; an id of more bytes than ours may have is nobody's.
pub(crate) fn unlinked_user(account: &Account) -> Option<UserId> {
    UserId::parse(&format!("{}:{}", account.vendor.name(), account.id.as_str())).ok()
}

/// The zone of the user of an account, if its link tells one.
///
/// # Errors
/// The store cannot tell.
pub async fn zone_of(accounts: &dyn Accounts, account: &Account) -> Result<Option<Zone>, StoreError> {
    let link = accounts.link(account).await?;
    Ok(link.and_then(|link| Zone::of_name(&link.timezone?)))
}

/// The zones of users of ours, as far as a link of theirs tells one; that of `vendor` before others.
///
/// # Errors
/// The store cannot tell.
pub async fn zones_of(
    accounts: &dyn Accounts,
    users: impl IntoIterator<Item = UserId>,
    vendor: Option<Vendor>,
) -> Result<Zones, StoreError> {
    let mut zones = HashMap::new();
    for user in users {
        let mut links = accounts.links_of(&user).await?;
        links.sort_by_key(|link| Some(link.account.vendor) != vendor);
        if let Some(zone) = links.iter().find_map(|link| Zone::of_name(link.timezone.as_deref()?)) {
            zones.insert(user, zone);
        }
    }
    Ok(Arc::new(zones))
}

/// The account behind `{vendor}:{vendor_user_id}`.
fn account_of(vendor: Vendor, user: &UserId) -> Option<Account> {
    let id = user.as_str().strip_prefix(vendor.name())?.strip_prefix(':')?;
    Some(Account { vendor, id: VendorUserId::parse(id).ok()? })
}
