//! What a notification asks to be fetched from its vendor's API: plain data, to be stored, compared and retried.
//!
//! `vendors` turns a fetch into a request and reads the answer. The names in the stored form are never to be changed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::account::{Vendor, VendorUserId};
use super::ids::UserId;
use super::time::Timestamp;

/// Whose data is asked for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whose {
    /// The vendor's own id of the user (its notifications).
    Vendor(VendorUserId),
    /// Our id; the account is the one that is linked to it (the Python system's notifications).
    User(UserId),
}

impl Whose {
    /// As it is stored: `vendor:A1B2` or `user:user-81`.
    pub fn to_text(&self) -> String {
        match self {
            Self::Vendor(id) => format!("vendor:{}", id.as_str()),
            Self::User(id) => format!("user:{}", id.as_str()),
        }
    }

    /// From how it is stored.
    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("vendor", id) => VendorUserId::parse(id).ok().map(Self::Vendor),
            ("user", id) => UserId::parse(id).ok().map(Self::User),
            _ => None,
        }
    }
}

impl fmt::Debug for Whose {
    /// Ids are personal, and stay out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vendor(_) => "Vendor(<hidden>)",
            Self::User(_) => "User(<hidden>)",
        })
    }
}

/// All that one notification asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPlan {
    /// Whose data.
    pub whose: Whose,
    /// When it changed, as the vendor says, else when the notification arrived: the version of records that tell none
    /// of their own (vendors.md §14).
    pub changed_at: Timestamp,
    /// In any order, never empty. Each is done, retried and given up by itself.
    pub fetches: Vec<Fetch>,
    /// History that decides nothing.
    pub is_backfill: bool,
}

/// One question to a vendor's API. The same question about the same account is the same fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fetch {
    /// To Oura's.
    Oura(OuraFetch),
    /// To WHOOP's.
    Whoop(WhoopFetch),
    /// What Terra has laid down for us.
    Terra(TerraFetch),
}

impl Fetch {
    /// Whether it asks for what every account has, if only as an empty list.
    pub const fn is_list(&self) -> bool {
        match self {
            Self::Oura(fetch) => !matches!(fetch, OuraFetch::Record { .. }),
            Self::Whoop(fetch) => matches!(fetch, WhoopFetch::Records { .. }),
            Self::Terra(_) => false,
        }
    }

    /// Whether it asks for what no notification tells of: it is asked again anyway, so nothing is lost with one of it.
    pub const fn is_polled(&self) -> bool {
        match self {
            Self::Oura(fetch) => matches!(fetch, OuraFetch::HeartRate { .. }),
            Self::Whoop(fetch) => matches!(fetch, WhoopFetch::Records { .. } | WhoopFetch::Body),
            Self::Terra(_) => false,
        }
    }

    /// How many pages of its list came before it.
    pub const fn pages_turned(&self) -> u32 {
        match self {
            Self::Oura(OuraFetch::Days { turned, .. } | OuraFetch::HeartRate { turned, .. })
            | Self::Whoop(WhoopFetch::Records { turned, .. }) => *turned,
            Self::Oura(OuraFetch::Record { .. }) | Self::Whoop(_) | Self::Terra(_) => 0,
        }
    }

    /// Whether it asks with an account's access token; an address that the vendor has made for us alone needs none.
    pub const fn needs_token(&self) -> bool {
        !matches!(self, Self::Terra(_))
    }

    /// To whom the question goes.
    pub const fn vendor(&self) -> Vendor {
        match self {
            Self::Oura(_) => Vendor::Oura,
            Self::Whoop(_) => Vendor::Whoop,
            Self::Terra(_) => Vendor::Terra,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_none_turned(turned: &u32) -> bool {
    *turned == 0
}

impl From<OuraFetch> for Fetch {
    fn from(fetch: OuraFetch) -> Self {
        Self::Oura(fetch)
    }
}

/// A question to Oura's API (vendors.md §2).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OuraFetch {
    /// One record.
    Record {
        /// Of this type.
        data_type: OuraDataType,
        /// Its `object_id`.
        id: String,
    },
    /// All records of some days of the user's.
    Days {
        /// Of this type.
        data_type: OuraDataType,
        /// A moment of the first day.
        from: Timestamp,
        /// A moment of the last day.
        to: Timestamp,
        /// The `next_token` of the page before.
        page: Option<String>,
        /// How many pages came before; builds that do not know of it begin again at none.
        #[serde(default, skip_serializing_if = "is_none_turned")]
        turned: u32,
    },
    /// The samples of the heart rate, of which Oura tells nothing: they are polled.
    HeartRate {
        /// From then on.
        from: Timestamp,
        /// Until then.
        to: Timestamp,
        /// The `next_token` of the page before.
        page: Option<String>,
        /// How many pages came before; builds that do not know of it begin again at none.
        #[serde(default, skip_serializing_if = "is_none_turned")]
        turned: u32,
    },
}

impl fmt::Debug for OuraFetch {
    /// What is asked for, without ids and days.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { data_type, .. } => write!(f, "Record({})", data_type.name()),
            Self::Days { data_type, .. } => write!(f, "Days({})", data_type.name()),
            Self::HeartRate { .. } => f.write_str("HeartRate"),
        }
    }
}

/// A type of Oura's records in which there are metrics of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are Oura's")]
pub enum OuraDataType {
    Sleep,
    DailySleep,
    DailyReadiness,
    DailyActivity,
    DailySpo2,
    DailyStress,
    DailyResilience,
    DailyCardiovascularAge,
    Vo2Max,
    Workout,
    Session,
}

impl OuraDataType {
    /// Every type.
    pub const ALL: [Self; 11] = [
        Self::Sleep,
        Self::DailySleep,
        Self::DailyReadiness,
        Self::DailyActivity,
        Self::DailySpo2,
        Self::DailyStress,
        Self::DailyResilience,
        Self::DailyCardiovascularAge,
        Self::Vo2Max,
        Self::Workout,
        Self::Session,
    ];

    /// The name in notifications and identities.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sleep => "sleep",
            Self::DailySleep => "daily_sleep",
            Self::DailyReadiness => "daily_readiness",
            Self::DailyActivity => "daily_activity",
            Self::DailySpo2 => "daily_spo2",
            Self::DailyStress => "daily_stress",
            Self::DailyResilience => "daily_resilience",
            Self::DailyCardiovascularAge => "daily_cardiovascular_age",
            Self::Vo2Max => "vo2_max",
            Self::Workout => "workout",
            Self::Session => "session",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|data_type| data_type.name() == name)
    }
}

impl From<WhoopFetch> for Fetch {
    fn from(fetch: WhoopFetch) -> Self {
        Self::Whoop(fetch)
    }
}

/// A question to WHOOP's API (vendors.md §3).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhoopFetch {
    /// One sleep or workout, by its id of version 2.
    Activity {
        /// Which of the two.
        kind: WhoopActivity,
        /// A UUID.
        id: String,
    },
    /// What an activity's id of version 1 has become: answers with the id to fetch next.
    Mapped {
        /// A sleep or a workout.
        kind: WhoopActivity,
        /// A whole number of up to 64 bits, in its digits.
        v1_id: String,
    },
    /// The cycle of a sleep: answers with the cycle whose recovery to fetch next, since no route leads from a sleep to
    /// its recovery.
    CycleOfSleep {
        /// A UUID.
        sleep_id: String,
    },
    /// The recovery at the beginning of a cycle.
    Recovery {
        /// A whole number of up to 64 bits, in its digits.
        cycle_id: String,
    },
    /// All records of a span of time, a page after the other.
    Records {
        /// Which.
        records: WhoopRecords,
        /// From then on.
        from: Timestamp,
        /// Until then.
        to: Timestamp,
        /// The `next_token` of the page before.
        page: Option<String>,
        /// How many pages came before; builds that do not know of it begin again at none.
        #[serde(default, skip_serializing_if = "is_none_turned")]
        turned: u32,
    },
    /// Height and weight, as the user typed them in.
    Body,
}

impl fmt::Debug for WhoopFetch {
    /// What is asked for, without ids and times.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Activity { kind, .. } => write!(f, "Activity({kind:?})"),
            Self::Mapped { kind, .. } => write!(f, "Mapped({kind:?})"),
            Self::CycleOfSleep { .. } => f.write_str("CycleOfSleep"),
            Self::Recovery { .. } => f.write_str("Recovery"),
            Self::Records { records, .. } => write!(f, "Records({records:?})"),
            Self::Body => f.write_str("Body"),
        }
    }
}

/// What WHOOP calls an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are WHOOP's")]
pub enum WhoopActivity {
    Sleep,
    Workout,
}

/// What WHOOP's API lists. It tells nothing of cycles: they are polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are WHOOP's")]
pub enum WhoopRecords {
    Sleeps,
    Recoveries,
    Workouts,
    Cycles,
}

impl From<TerraFetch> for Fetch {
    fn from(fetch: TerraFetch) -> Self {
        Self::Terra(fetch)
    }
}

/// What Terra has laid down for us (vendors.md §5, `s3_payload`).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerraFetch {
    /// A delivery that is too large for a webhook.
    Payload {
        /// What follows the host in its address: path and query, as they were given; all of an address that is not on the
        /// configured host, for which nobody is asked. Whoever has it can read the data, for some minutes.
        address: String,
    },
}

impl fmt::Debug for TerraFetch {
    /// Without the address, which opens it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload { .. } => f.write_str("Payload"),
        }
    }
}
