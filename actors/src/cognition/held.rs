//! The readings that decisions look at: of each of the four metrics the newest, what other devices said about the
//! same time, and the last hour's heart rates.

use serde::{Deserialize, Serialize};

use crate::domain::event::{Context, DeviceType, HrvMethod, Reading};
use crate::domain::metric::Metric;
use crate::domain::time::{MS_PER_HOUR, MS_PER_MINUTE, Timestamp};

use super::beats::Beats;
use super::exact::{milli, nano, nano_of_milli};
use super::pack::Point;
use super::thresholds::SUSTAINED_MINUTES_MAX;
use super::wire;
use super::workouts::Workouts;

/// Two devices speak of the same moment when their readings are at most this far apart.
const SAME_MOMENT_MS: i64 = 5 * MS_PER_MINUTE;
/// A sustained heart rate is asked for twice its minutes before a reading that may be another device's.
const BEATS_KEPT_MS: i64 = 2 * SUSTAINED_MINUTES_MAX as i64 * MS_PER_MINUTE + SAME_MOMENT_MS;

/// The four metrics that decide. Stored in states by its place: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Input {
    Hrv,
    HeartRate,
    StressLevel,
    RecoveryScore,
}

impl Input {
    pub(super) const ALL: [Self; 4] = [Self::Hrv, Self::HeartRate, Self::StressLevel, Self::RecoveryScore];

    pub(super) const fn of(metric: Metric) -> Option<Self> {
        match metric {
            Metric::Hrv => Some(Self::Hrv),
            Metric::HeartRate => Some(Self::HeartRate),
            Metric::StressLevel => Some(Self::StressLevel),
            Metric::RecoveryScore => Some(Self::RecoveryScore),
            _ => None,
        }
    }

    pub(super) const fn metric(self) -> Metric {
        match self {
            Self::Hrv => Metric::Hrv,
            Self::HeartRate => Metric::HeartRate,
            Self::StressLevel => Metric::StressLevel,
            Self::RecoveryScore => Metric::RecoveryScore,
        }
    }

    /// How long a reading is fresh, the last millisecond included.
    pub(super) const fn fresh_ms(self) -> i64 {
        match self {
            Self::Hrv => 6 * MS_PER_HOUR,
            Self::HeartRate | Self::StressLevel => 30 * MS_PER_MINUTE,
            Self::RecoveryScore => 36 * MS_PER_HOUR,
        }
    }

    /// A reading of this metric tells how the user is now: no average of a night, no effort, no estimate.
    pub(super) fn can_hold(self, reading: &Reading) -> bool {
        match self {
            Self::Hrv | Self::RecoveryScore => reading.context != Some(Context::Workout),
            Self::HeartRate => reading.context.is_none(),
            Self::StressLevel => reading.context.is_none() && reading.source.as_deref() != Some("derived"),
        }
    }
}

/// A reading that is held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) input: Input,
    pub(super) method: Option<HrvMethod>,
    pub(super) device_type: DeviceType,
    pub(super) value: f64,
    /// 0 to 1; 1 where the reading told none.
    pub(super) confidence: f64,
    #[serde(with = "wire::timestamp")]
    pub(super) at: Timestamp,
    /// The state's sequence number with the event that brought it.
    pub(super) seq: u64,
}

impl Held {
    pub(super) fn metric(&self) -> Metric {
        self.input.metric()
    }

    /// Not older than `fresh_ms` at `now`; one from after it has no age.
    pub(super) fn is_fresh(&self, now: Timestamp, fresh_ms: i64) -> bool {
        now.ms_since(self.at) <= fresh_ms
    }
}

/// What is held of a user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct HeldReadings {
    newest: [Option<Held>; 4],
    /// Heart rates and variabilities by device and method, each its newest, near the newest of all.
    by_device: Vec<Held>,
    /// Heart rates of the last hour, ascending.
    beats: Beats,
}

impl HeldReadings {
    /// The newest reading of `input`, however old.
    pub(super) fn newest(&self, input: Input) -> Option<&Held> {
        self.newest[input as usize].as_ref()
    }

    /// Whether each stands in its place, is a number and came with one of the first `seq` events, and heart rates
    /// ascend.
    pub(super) fn are_sound(&self, seq: u64) -> bool {
        let is_sound =
            |held: &Held| held.value.is_finite() && (0.0..=1.0).contains(&held.confidence) && held.seq <= seq;
        let is_in_place = |(input, held): (Input, &Option<Held>)| held.is_none_or(|held| held.input == input);
        Input::ALL.into_iter().zip(&self.newest).all(is_in_place)
            && self.newest.iter().flatten().chain(&self.by_device).all(is_sound)
            && self.beats.are_sound()
    }

    /// Takes a reading that may be held. True if it is newer than the one held.
    pub(super) fn apply(&mut self, reading: Held) -> bool {
        let slot = &mut self.newest[reading.input as usize];
        let is_newer = slot.is_none_or(|held| reading.at > held.at);
        if slot.is_none_or(|held| reading.at >= held.at) {
            *slot = Some(reading);
        }
        let newest_at = slot.map_or(reading.at, |held| held.at);
        if matches!(reading.input, Input::Hrv | Input::HeartRate) {
            self.keep_by_device(reading, newest_at);
        }
        if reading.input == Input::HeartRate {
            self.keep_beat(reading, newest_at);
        }
        is_newer
    }

    fn keep_by_device(&mut self, reading: Held, newest_at: Timestamp) {
        let same = |held: &&mut Held| {
            (held.input, held.method, held.device_type)
                == (reading.input, reading.method, reading.device_type)
        };
        match self.by_device.iter_mut().find(same) {
            Some(held) if reading.at >= held.at => *held = reading,
            Some(_) => {}
            None => {
                self.by_device.reserve_exact(1);
                self.by_device.push(reading);
            }
        }
        self.by_device
            .retain(|held| held.input != reading.input || newest_at.ms_since(held.at) <= SAME_MOMENT_MS);
    }

    fn keep_beat(&mut self, reading: Held, newest_at: Timestamp) {
        let horizon_ms = newest_at.plus_ms(-BEATS_KEPT_MS).as_ms();
        if reading.at.as_ms() < horizon_ms {
            return;
        }
        self.beats.keep(Point { at_ms: reading.at.as_ms(), milli: milli(reading.value) }, horizon_ms);
    }

    /// Other devices' readings of the same metric, method and moment as `held`, fresh at `now`.
    pub(super) fn of_other_devices(&self, held: Held, now: Timestamp) -> impl Iterator<Item = Held> + '_ {
        self.by_device.iter().copied().filter(move |other| {
            (other.input, other.method) == (held.input, held.method)
                && other.device_type != held.device_type
                && other.is_fresh(now, held.input.fresh_ms())
                && held.at.ms_since(other.at) <= SAME_MOMENT_MS
        })
    }

    /// Up to `at` every known heart rate outside workouts was over `over` bpm for at least `minutes`.
    pub(super) fn is_sustained(&self, at: Timestamp, over: f64, minutes: f64, workouts: &Workouts) -> bool {
        let sustained_ms = (minutes * MS_PER_MINUTE as f64).round() as i64;
        if sustained_ms == 0 {
            return true;
        }
        let window = at.plus_ms(-2 * sustained_ms).as_ms()..=at.as_ms();
        let mut beats = self
            .beats
            .iter()
            .filter(|beat| window.contains(&beat.at_ms))
            .filter(|beat| !workouts.cover(Timestamp::from_ms(beat.at_ms)))
            .peekable();
        let spans_it =
            beats.peek().is_some_and(|oldest| at.as_ms().saturating_sub(oldest.at_ms) >= sustained_ms);
        spans_it && beats.all(|beat| nano_of_milli(beat.milli) > nano(over))
    }
}
