//! Where each metric comes from: collected from the tables that the decoders read by, so that it is what they do.

use super::record::{Field, Section};
use super::{healthkit, inline, oura, terra, whoop};
use crate::domain::account::Vendor;
use crate::domain::metric::Metric;
use crate::domain::unit::Unit;

/// A field of a vendor's that becomes a reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The device: `oura`.
    pub vendor: &'static str,
    /// What it becomes.
    pub metric: Metric,
    /// The vendor's words: the record, and the members that lead to the value.
    pub field: String,
    /// Its unit, where it is always the same and not the metric's.
    pub unit: Option<Unit>,
}

/// Every field of every vendor that is read.
pub fn all() -> Vec<Source> {
    let mut sources = Sources { vendor: "", found: Vec::new() };
    for vendor in Vendor::ALL {
        sources.vendor = vendor.name();
        lists(vendor).iter().for_each(|list| list(&mut sources));
    }
    sources.found
}

/// What adds the fields of one format.
type List = fn(&mut Sources);

/// The formats in which a vendor's data comes; none of a vendor whose data is not read yet. A test holds this to the modules
/// of `vendors` that have a device.
const fn lists(vendor: Vendor) -> &'static [List] {
    match vendor {
        Vendor::Oura => &[oura::list, inline::list],
        Vendor::Whoop => &[whoop::list, inline::list],
        Vendor::HealthKit => &[healthkit::list],
        Vendor::Terra => &[terra::list],
        Vendor::Garmin
        | Vendor::Fitbit
        | Vendor::Google
        | Vendor::Withings
        | Vendor::Polar
        | Vendor::Strava
        | Vendor::EightSleep => &[],
    }
}

/// The fields that were found so far.
pub(super) struct Sources {
    vendor: &'static str,
    found: Vec<Source>,
}

impl Sources {
    /// Adds a field of the object to which these members of a record lead.
    pub(super) fn add(&mut self, record: &str, at: &[&str], field: &Field) {
        let names = [record].into_iter().chain(at.iter().copied()).chain([field.name()]);
        let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        self.add_named(names.join("."), field.metric(), field.unit());
    }

    /// Adds all fields of a section of a record.
    pub(super) fn add_section(&mut self, record: &str, section: &Section) {
        section.fields.iter().for_each(|field| self.add(record, section.at, field));
    }

    /// Adds a field by the name that it has in the list. What is read in two ways is there once.
    pub(super) fn add_named(&mut self, field: String, metric: Metric, unit: Option<Unit>) {
        let source = Source { vendor: self.vendor, metric, field, unit };
        if !self.found.contains(&source) {
            self.found.push(source);
        }
    }
}
