//! Faults on request: what goes wrong, how often and for how long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Vendor;
use crate::traffic::noise;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Requests are answered 429.
    RateLimit,
    /// Requests are answered 500.
    ServerError,
    /// Requests are not answered for [`Fault::hold_seconds`] (60), then 504.
    TimeOut,
    /// The body of an answer comes in pieces over [`Fault::hold_seconds`] (5).
    SlowBody,
    /// An answer's JSON breaks off in the middle.
    BrokenJson,
    /// Webhooks are sent twice.
    Duplicate,
    /// Webhooks are held back until the vendor's next one has been sent.
    OutOfOrder,
    /// Webhooks are signed with a clock that is wrong by [`Fault::skew_seconds`] (an hour late).
    ClockSkew,
}

impl FaultKind {
    const OF_REQUESTS: [Self; 5] =
        [Self::RateLimit, Self::ServerError, Self::TimeOut, Self::SlowBody, Self::BrokenJson];
    const ALL: [Self; 8] = [
        Self::RateLimit,
        Self::ServerError,
        Self::TimeOut,
        Self::SlowBody,
        Self::BrokenJson,
        Self::Duplicate,
        Self::OutOfOrder,
        Self::ClockSkew,
    ];

    /// As in JSON and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::ServerError => "server_error",
            Self::TimeOut => "time_out",
            Self::SlowBody => "slow_body",
            Self::BrokenJson => "broken_json",
            Self::Duplicate => "duplicate",
            Self::OutOfOrder => "out_of_order",
            Self::ClockSkew => "clock_skew",
        }
    }
}

/// Which requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// For records.
    Api,
    /// For tokens.
    Token,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// With what part of the requests or webhooks, 0 to 1; with all unless told.
    #[serde(default = "all")]
    pub share: f64,
    /// For how many real seconds from now; until it is taken away unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Whose; everybody's unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<Vendor>,
    /// On which requests; on all unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// How long an answer takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<f64>,
    /// How far the signing clock is ahead; negative: behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_seconds: Option<i64>,
}

fn all() -> f64 {
    1.0
}

impl Fault {
    /// One that hits everything of everybody for ever.
    pub fn new(kind: FaultKind) -> Self {
        let (seconds, vendor, route) = (None, None, None);
        Self { kind, share: all(), seconds, vendor, route, hold_seconds: None, skew_seconds: None }
    }

    /// Reads `kind[:share[:seconds]]`, as on the command line.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let kind = FaultKind::ALL.into_iter().find(|kind| kind.name() == name);
        let names = FaultKind::ALL.map(FaultKind::name).join(", ");
        let mut fault =
            Self::new(kind.ok_or_else(|| format!("must be kind[:share[:seconds]] with a kind of {names}"))?);
        let mut number = || {
            let number =
                |part: &str| part.parse::<f64>().map_err(|_| "share and seconds must be numbers".to_owned());
            parts.next().map(number).transpose()
        };
        fault.share = number()?.unwrap_or(fault.share);
        fault.seconds = number()?;
        if parts.next().is_some() {
            return Err("must be kind[:share[:seconds]]".to_owned());
        }
        fault.check()
    }

    /// # Errors
    /// A number is out of its range.
    pub(super) fn check(self) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&self.share) {
            return Err("share must be a number from 0 to 1".to_owned());
        }
        let times = [self.seconds, self.hold_seconds];
        if times.into_iter().flatten().any(|seconds| !(0.0..=1e6).contains(&seconds)) {
            return Err("seconds and hold_seconds must be numbers from 0 to 1000000".to_owned());
        }
        if self.skew_seconds.is_some_and(|skew| skew.unsigned_abs() > 1_000_000_000) {
            return Err("skew_seconds must be a whole number from -1000000000 to 1000000000".to_owned());
        }
        Ok(self)
    }

    pub(super) fn hold(&self, default_seconds: f64) -> Duration {
        Duration::from_secs_f64(self.hold_seconds.unwrap_or(default_seconds))
    }
}

/// The faults that there are now. Which requests they hit follows from the seed.
#[derive(Debug)]
pub(super) struct Faults {
    seed: u64,
    active: Mutex<Vec<(Fault, Option<Instant>)>>,
    drawn: AtomicU64,
}

impl Faults {
    pub(super) fn new(seed: u64, faults: &[Fault]) -> Self {
        let all = Self { seed, active: Mutex::default(), drawn: AtomicU64::new(0) };
        faults.iter().for_each(|fault| all.add(*fault));
        all
    }

    pub(super) fn add(&self, fault: Fault) {
        let until = fault.seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
        self.active.lock().push((fault, until));
    }

    pub(super) fn clear(&self) {
        self.active.lock().clear();
    }

    pub(super) fn list(&self) -> Vec<Fault> {
        let now = Instant::now();
        let mut active = self.active.lock();
        active.retain(|(_, until)| until.is_none_or(|until| now < until));
        active.iter().map(|(fault, _)| *fault).collect()
    }

    /// What befalls a request, if anything.
    pub(super) fn of_request(&self, vendor: Vendor, route: Route) -> Option<Fault> {
        let hits = |fault: &Fault| {
            FaultKind::OF_REQUESTS.contains(&fault.kind) && fault.route.is_none_or(|only| only == route)
        };
        self.draw(vendor, hits)
    }

    /// Whether this befalls a webhook.
    pub(super) fn of_webhook(&self, vendor: Vendor, kind: FaultKind) -> Option<Fault> {
        self.draw(vendor, |fault| fault.kind == kind)
    }

    fn draw(&self, vendor: Vendor, hits: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let faults = self.list();
        let mut hit =
            faults.into_iter().filter(|fault| fault.vendor.is_none_or(|only| only == vendor) && hits(fault));
        hit.find(|fault| {
            let number = self.drawn.fetch_add(1, Ordering::Relaxed);
            noise(self.seed, 0xFA17 + fault.kind as u64, number as i64) < fault.share
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_fault_hits_its_share_of_its_vendor_and_route_alone() {
        let storm = Fault {
            share: 0.25,
            vendor: Some(Vendor::Oura),
            route: Some(Route::Api),
            ..Fault::new(FaultKind::RateLimit)
        };
        let faults = Faults::new(7, &[storm]);
        let hits = (0..10_000).filter(|_| faults.of_request(Vendor::Oura, Route::Api).is_some()).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
        assert_eq!(faults.of_request(Vendor::Whoop, Route::Api), None);
        assert_eq!(faults.of_request(Vendor::Oura, Route::Token), None);
        assert_eq!(faults.of_webhook(Vendor::Oura, FaultKind::Duplicate), None);
    }

    #[test]
    fn a_fault_is_over_after_its_time_or_when_it_is_taken_away() {
        let over = Fault { seconds: Some(0.0), ..Fault::new(FaultKind::ServerError) };
        let faults = Faults::new(7, &[over, Fault::new(FaultKind::SlowBody)]);
        assert_eq!(faults.list().iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::SlowBody]);
        faults.clear();
        assert_eq!(faults.of_request(Vendor::Oura, Route::Api), None);
    }

    #[test]
    fn a_fault_is_read_from_one_word() {
        let read = Fault::parse("server_error:0.5:30").unwrap();
        assert_eq!((read.kind, read.share, read.seconds), (FaultKind::ServerError, 0.5, Some(30.0)));
        assert_eq!(Fault::parse("duplicate").unwrap(), Fault::new(FaultKind::Duplicate));
        for wrong in
            ["", "flood", "duplicate:2", "duplicate:x", "duplicate:1:-1", "duplicate:1:1:1", "duplicate:NaN"]
        {
            assert!(Fault::parse(wrong).is_err(), "{wrong}");
        }
    }
}
