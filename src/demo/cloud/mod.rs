//! The vendor cloud: Oura and WHOOP as a bridge meets them, on one's own machine (`docs/vendor-cloud.md`).
//!
//! [`world`] has the people, [`oura_records`] and [`whoop_records`] spell their records, [`answers`] finds them: all of it
//! pure, by seed and simulated time ([`clock`]). [`tokens`] is their OAuth, [`limits`] and [`faults`] what stands in a
//! client's way, [`stats`] what has happened; [`doors`] serves it over HTTP under the vendors' own paths, so that a
//! vendor's base address is the cloud's. [`agenda`] knows what is told about whom and when, [`webhooks`] tells it, Terra's
//! and a phone's pushes too; [`summary`] says how that was answered.

mod agenda;
#[cfg(test)]
mod agenda_tests;
mod answers;
mod clock;
mod doors;
mod faults;
mod limits;
mod oauth;
mod oura_records;
#[cfg(test)]
mod reading_tests;
mod server;
mod stats;
mod subscriptions;
mod summary;
mod terra;
#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
mod tokens;
mod webhooks;
mod whoop_records;
mod world;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use actors::domain::time::MS_PER_MINUTE;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use faults::{Fault, FaultKind, Route};
pub use limits::{Limit, Limits};
pub use server::{Cloud, serve, serve_on};
pub use summary::Summary;
pub use tokens::Lifetimes;

use clock::SimulatedClock;
use faults::Faults;
use limits::Budget;
use stats::Stats;
use subscriptions::Subscriptions;
use tokens::Tokens;
use world::World;

use crate::traffic::plain_client;

/// Webhooks under way at once, unless told otherwise.
const IN_FLIGHT: usize = 64;

/// Whose cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// Oura, API v2.
    Oura,
    /// WHOOP, API v2.
    Whoop,
    /// An app on a phone, which pushes HealthKit's samples; it has no API.
    HealthKit,
    /// Terra, which pushes records; its API is not here.
    Terra,
}

impl Vendor {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::Oura, Self::Whoop, Self::HealthKit, Self::Terra];

    /// Whether there are tokens and records to ask for.
    pub const fn has_api(self) -> bool {
        matches!(self, Self::Oura | Self::Whoop)
    }

    /// In paths and counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oura => "oura",
            Self::Whoop => "whoop",
            Self::HealthKit => "healthkit",
            Self::Terra => "terra",
        }
    }
}

/// An application as a vendor knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Application {
    /// The client's id.
    pub id: String,
    /// The client's secret.
    pub secret: String,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Application({})", self.id)
    }
}

/// What webhooks are signed with, and pushes are believed by.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Of Oura's webhooks: its application's secret, as the bridge knows it.
    pub oura: String,
    /// What Oura shows in its handshake.
    pub oura_verification_token: String,
    /// Of WHOOP's webhooks: its application's secret, as the bridge knows it.
    pub whoop: String,
    /// A phone's bearer key.
    pub healthkit: String,
    /// The signing secret of Terra's destination.
    pub terra: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(<hidden>)")
    }
}

/// A moment around which there is something to see: some people are in acute stress then, others badly rested.
///
/// From then on phones tell every minute and rings every third one, their readings in the inline format; what was before
/// is told by the hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// When, in simulated time, Unix milliseconds.
    pub at_ms: i64,
    /// The real time that everything before it takes.
    pub after: Duration,
}

/// What a cloud is like.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Makes the same people, days and faults again.
    pub seed: u64,
    /// How many people have accounts.
    pub people: usize,
    /// The simulated time of its beginning, Unix milliseconds.
    pub start_ms: i64,
    /// Simulated seconds a second; 0: time stands still.
    pub speed: f64,
    /// What it hurries to first, if anything.
    pub opening: Option<Opening>,
    /// How long each answer of the APIs takes at least.
    pub delay: Duration,
    /// How many requests are taken.
    pub limits: Limits,
    /// How long tokens live.
    pub lifetimes: Lifetimes,
    /// The application that has registered with Oura.
    pub oura: Application,
    /// The application that has registered with WHOOP.
    pub whoop: Application,
    /// What goes wrong from the beginning.
    pub faults: Vec<Fault>,
    /// The bridge that webhooks are sent to, without `/webhook`: `http://127.0.0.1:8889`.
    pub target: Option<String>,
    /// Whose webhooks are sent there.
    pub vendors: Vec<Vendor>,
    /// How many webhooks are under way at once.
    pub in_flight: usize,
    /// What they are signed with.
    pub keys: Keys,
}

impl Config {
    /// A cloud of `people` on a free port of this machine, which begins at `start_ms` and runs in real time.
    pub fn new(seed: u64, people: usize, start_ms: i64) -> Self {
        let secret = |vendor: &str| format!("cloud-{vendor}-secret");
        let application =
            |vendor: &str| Application { id: format!("cloud-{vendor}-client"), secret: secret(vendor) };
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed,
            people,
            start_ms,
            speed: 1.0,
            opening: None,
            delay: Duration::ZERO,
            limits: Limits::default(),
            lifetimes: Lifetimes::default(),
            oura: application("oura"),
            whoop: application("whoop"),
            faults: Vec::new(),
            target: None,
            vendors: Vendor::ALL.to_vec(),
            in_flight: IN_FLIGHT,
            keys: Keys {
                oura: secret("oura"),
                oura_verification_token: "cloud-oura-token".to_owned(),
                whoop: secret("whoop"),
                healthkit: "cloud-healthkit-key".to_owned(),
                terra: secret("terra"),
            },
        }
    }

    fn application(&self, vendor: Vendor) -> &Application {
        match vendor {
            Vendor::Whoop => &self.whoop,
            // The others have no door that asks for one.
            Vendor::Oura | Vendor::HealthKit | Vendor::Terra => &self.oura,
        }
    }
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    config: Config,
    world: World,
    clock: SimulatedClock,
    tokens: Tokens,
    budget: Budget,
    faults: Faults,
    stats: Stats,
    summary: Mutex<Summary>,
    /// Whether nothing more is to be sent, and whether nothing is.
    ending: watch::Sender<bool>,
    silent: watch::Sender<bool>,
    subscriptions: Subscriptions,
    /// For webhooks and handshakes.
    client: reqwest::Client,
    /// Who consents next, where the request does not say.
    turn: std::sync::atomic::AtomicUsize,
}

impl Shared {
    fn new(config: Config) -> Result<Self, reqwest::Error> {
        // A redirect is a failure to all vendors (`vendors.md` §5 says so of Terra).
        let no_redirects = reqwest::redirect::Policy::none();
        Ok(Self {
            client: plain_client().redirect(no_redirects).build()?,
            subscriptions: Subscriptions::default(),
            world: World::new(
                config.seed,
                config.people,
                config.opening.map(|opening| opening.at_ms.div_euclid(MS_PER_MINUTE)),
            ),
            clock: SimulatedClock::new(config.start_ms, config.speed, config.opening),
            tokens: Tokens::new(config.lifetimes),
            budget: Budget::new(config.limits),
            faults: Faults::new(config.seed, &config.faults),
            stats: Stats::default(),
            summary: Mutex::default(),
            ending: watch::Sender::new(false),
            silent: watch::Sender::new(false),
            turn: std::sync::atomic::AtomicUsize::new(0),
            config,
        })
    }

    /// The number under which the vendor knows a person.
    fn account(&self, vendor: Vendor, person: usize) -> String {
        let resident = self.world.get(person);
        resident.map_or_else(String::new, |resident| match vendor {
            Vendor::Oura => resident.oura_id(),
            Vendor::Whoop => resident.whoop_id().to_string(),
            Vendor::HealthKit => resident.person.id.clone(),
            Vendor::Terra => resident.terra_id(),
        })
    }
}
