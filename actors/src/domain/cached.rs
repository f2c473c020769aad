//! What a cache of newest events holds of an event, and which of two is the newer one (contract §3, Redis).

use serde::Serialize;

use super::event::{DeviceType, Event, Reading};
use super::ids::EventId;
use super::time::Timestamp;

/// An event in a user's series.
#[derive(Debug, Serialize)]
pub struct SeriesMember<'a> {
    /// Of the event.
    pub event_id: &'a EventId,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The device that it comes from.
    pub device_type: DeviceType,
    /// What was measured.
    pub readings: &'a [Reading],
}

impl<'a> SeriesMember<'a> {
    /// What the series holds of `event`.
    pub fn of(event: &'a Event) -> Self {
        let Event { event_id, timestamp, device_type, readings, .. } = event;
        Self { event_id, timestamp: *timestamp, device_type: *device_type, readings }
    }
}

/// Orders events of different records by newness: of two at one time the one that arrived later is the newer, and of
/// two that arrived together the one with the larger id, so that every order of arrival ends the same.
pub fn newness(event: &Event) -> (Timestamp, Timestamp, &EventId) {
    (event.timestamp, event.received_at, &event.event_id)
}
