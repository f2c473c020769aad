//! Whose data a fetch is about: which account is asked, and which user of ours it is.

use std::time::Duration;

use super::job::{Job, not_now};
use super::schedule::Setback;
use crate::domain::account::{Account, VendorUserId};
use crate::domain::fetch::Whose;
use crate::domain::ids::UserId;
use crate::domain::time::{UtcOffset, Zone, offset_of_zone};
use crate::ports::accounts::Link;
use crate::ports::fetch_queue::NewFetch;
use crate::ports::store::StoreError;

/// Whose data is fetched.
pub(super) struct Target {
    pub(super) account: Account,
    pub(super) user_id: UserId,
    /// By whose rules days begin for them, if that is known …
    pub(super) zone: Option<Zone>,
    /// … and what that came to when the record changed.
    pub(super) offset: UtcOffset,
}

impl Job {
    /// Whose account it is, with its link if that is known by now.
    pub(super) async fn account(&self) -> Result<(Account, Option<Link>), Setback> {
        let Self { parts, claimed, .. } = self;
        let (vendor, unheard) = (parts.vendor, |error: StoreError| not_now(&error));
        let user_id = match &claimed.job.whose {
            Whose::Vendor(id) => return Ok((Account { vendor, id: id.clone() }, None)),
            Whose::User(user_id) => user_id,
        };
        let links = parts.accounts.links_of(user_id).await.map_err(unheard)?;
        if let Some(link) = links.into_iter().find(|link| link.account.vendor == vendor) {
            return Ok((link.account.clone(), Some(link)));
        }
        // Ids of accounts without a link are `oura:A1B2`; before there were links the vendor's own id was the user's.
        let named = user_id.as_str().strip_prefix(vendor.name()).and_then(|rest| rest.strip_prefix(':'));
        let id = VendorUserId::parse(named.unwrap_or(user_id.as_str()));
        let id = id.map_err(|error| Setback::Refused(format!("the account's id {error}")))?;
        let account = Account { vendor, id };
        match parts.accounts.link_of_fetch(&account).await.map_err(unheard)? {
            // Somebody else's, who has only the same name.
            Some(_) if named.is_none() => Err(Setback::NoAccount),
            link => Ok((account, link)),
        }
    }

    /// Whose the account is to us.
    pub(super) async fn target(&self, account: &Account) -> Result<Target, Setback> {
        let (now, link) = self.account().await?;
        if now != *account {
            return Err(Setback::NotNow(Duration::ZERO));
        }
        let link = match link {
            Some(link) => Some(link),
            None => self.parts.accounts.link_of_fetch(account).await.map_err(|error| not_now(&error))?,
        };
        let NewFetch { whose, changed_at, .. } = &self.claimed.job;
        let user_id = match (&link, whose) {
            (Some(link), _) => link.user_id.clone(),
            (None, Whose::User(user_id)) => user_id.clone(),
            (None, Whose::Vendor(id)) => {
                let text = format!("{}:{}", account.vendor.name(), id.as_str());
                UserId::parse(&text).map_err(|error| Setback::Refused(format!("the account's id {error}")))?
            }
        };
        let name = link.and_then(|link| link.timezone);
        let offset = name.as_deref().and_then(|name| offset_of_zone(name, *changed_at)).unwrap_or_default();
        let zone = name.as_deref().and_then(Zone::of_name);
        Ok(Target { account: account.clone(), user_id, zone, offset })
    }
}
