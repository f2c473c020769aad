//! Records inside of records.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Record;
use crate::vendors::json;

impl<'a> Record<'a, '_> {
    /// An object inside the record, as a record with the same index.
    pub(in crate::vendors) fn inner(&mut self, raw: &'a RawValue, at: &str) -> Option<Record<'a, '_>> {
        Record::open(raw, (self.index, format!("{}{at}", self.at)), self.rejected)
    }

    /// The elements, null ones aside, of the array to which these members lead, each with its place in it; with the JSON
    /// Pointer to the array. Empty if there is none.
    pub(in crate::vendors) fn list(&mut self, at: &[&str]) -> (Vec<(usize, &'a RawValue)>, String) {
        let Some((name, objects)) = at.split_last() else { return Default::default() };
        let (found, path) = match objects {
            [] => (self.members.get(name), format!("/{name}")),
            objects => match self.section(objects) {
                Some((members, path)) => (members.get(name), format!("{path}/{name}")),
                None => return Default::default(),
            },
        };
        match found.and_then(|raw| raw.map_or_else(|| Ok(Vec::new()), json::array)) {
            Ok(all) => {
                let elements = all.into_iter().enumerate().filter(|(_, raw)| raw.get() != "null");
                (elements.collect(), path)
            }
            Err(detail) => {
                self.refuse(&path, detail);
                (Vec::new(), path)
            }
        }
    }

    /// The member of this name, if it is a text; one that is not is for somebody else to refuse.
    pub(in crate::vendors) fn hint(&self, name: &str) -> Option<Cow<'a, str>> {
        self.members.get(name).ok().flatten().and_then(|raw| json::text(raw).ok())
    }
}
