//! What keeps token refresh from being too much for others: how many of its calls the store has at once, and when a
//! vendor's token endpoint is left alone.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::domain::account::{Account, Vendor};
use crate::ports::store::StoreError;

/// Calls of one kind that the store has at once. The publisher and the flusher share its connections, and wait behind so
/// many at most, however many accounts ask for their tokens.
const CALLS_MAX: usize = 2;
/// How long a call waits for those before it, as when the store is away and each of them finds out.
const CALL_PATIENCE: Duration = Duration::from_secs(5);

/// What all who ask for tokens share, over all lives of the actor.
#[derive(Default)]
pub struct TokenLimits {
    /// Looks at rows, and takes leases.
    pub(crate) looks: Gate,
    /// Extends and ends leases, and stores pairs: none of it waits behind those.
    pub(crate) ends: Gate,
    pub(crate) endpoints: Endpoints,
}

/// A bounded number of calls at once; the others wait in line.
pub(crate) struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(CALLS_MAX))
    }
}

impl Gate {
    /// Makes a call when it is its turn. It may be given up by then: nothing has been asked.
    pub(crate) async fn pass<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let turn = timeout(CALL_PATIENCE, self.0.acquire()).await;
        let crowded = || StoreError::Unavailable("too many tokens are asked for at once".to_owned());
        let _turn = turn.map_err(|_| crowded())?.map_err(|_| crowded())?;
        call.await
    }
}

/// Until when vendors' token endpoints are left alone, for all accounts. Each bridge finds out by itself.
#[derive(Default)]
pub(crate) struct Endpoints(Mutex<HashMap<Vendor, Endpoint>>);

#[derive(Default)]
struct Endpoint {
    until: Option<Instant>,
    /// The account whose refresh failed last, since one has succeeded.
    failed: Option<Account>,
    /// Another one's did too.
    is_down: bool,
}

impl Endpoints {
    /// How long a vendor's is still left alone.
    pub(crate) fn rest(&self, vendor: Vendor) -> Option<Duration> {
        let until = self.0.lock().get(&vendor)?.until?;
        until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    }

    /// It has said itself, or by refusing our application, that it wants no request before `rest` is over.
    pub(crate) fn begin_rest(&self, vendor: Vendor, rest: Duration) {
        let mut endpoints = self.0.lock();
        let endpoint = endpoints.entry(vendor).or_default();
        endpoint.until = endpoint.until.max(Some(Instant::now() + rest));
    }

    /// It gave no answer of use about an account. One account at which it stumbles is no reason to leave all others
    /// waiting; two in a row are.
    pub(crate) fn failed(&self, account: &Account, rest: Duration) {
        let mut endpoints = self.0.lock();
        let endpoint = endpoints.entry(account.vendor).or_default();
        endpoint.is_down |= endpoint.failed.as_ref().is_some_and(|failed| failed != account);
        endpoint.failed = Some(account.clone());
        if endpoint.is_down {
            endpoint.until = endpoint.until.max(Some(Instant::now() + rest));
        }
    }

    /// It has answered. A rest that it has asked for goes on.
    pub(crate) fn answered(&self, vendor: Vendor) {
        if let Some(endpoint) = self.0.lock().get_mut(&vendor) {
            (endpoint.failed, endpoint.is_down) = (None, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use futures_util::poll;

    use super::*;
    use crate::domain::account::VendorUserId;

    #[tokio::test]
    async fn a_call_beyond_the_bound_begins_when_another_has_ended() {
        let gate = Gate::default();
        let held = async || std::future::pending::<Result<(), StoreError>>().await;
        let (mut one, two) = (Box::pin(gate.pass(held())), pin!(gate.pass(held())));
        assert!(poll!(&mut one).is_pending() && poll!(two).is_pending());
        let mut third = pin!(gate.pass(async { Ok(3) }));
        assert!(poll!(&mut third).is_pending());
        drop(one);
        assert_eq!(poll!(third), Poll::Ready(Ok(3)));
    }

    #[test]
    fn a_vendor_that_fails_for_two_accounts_rests_for_all_until_it_answers() {
        let (endpoints, rest) = (Endpoints::default(), Duration::from_secs(600));
        let account = |id: &str| Account { vendor: Vendor::Oura, id: VendorUserId::parse(id).unwrap() };
        endpoints.failed(&account("ann"), rest);
        endpoints.failed(&account("ann"), rest);
        assert_eq!(endpoints.rest(Vendor::Oura), None, "it may be the account");
        endpoints.answered(Vendor::Oura);
        endpoints.failed(&account("bob"), rest);
        assert_eq!(endpoints.rest(Vendor::Oura), None, "one of two has been answered");
        endpoints.failed(&account("ann"), rest);
        assert!(endpoints.rest(Vendor::Oura).is_some_and(|left| left <= rest));
        assert_eq!(endpoints.rest(Vendor::Whoop), None);
        endpoints.answered(Vendor::Oura);
        assert!(endpoints.rest(Vendor::Oura).is_some(), "what was under way ends no rest");
    }

    #[test]
    fn the_longest_rest_counts() {
        let endpoints = Endpoints::default();
        endpoints.begin_rest(Vendor::Whoop, Duration::from_secs(600));
        endpoints.begin_rest(Vendor::Whoop, Duration::from_secs(5));
        assert!(endpoints.rest(Vendor::Whoop) > Some(Duration::from_secs(500)));
    }
}
