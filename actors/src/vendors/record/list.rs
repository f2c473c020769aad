//! Records inside of records.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Place, Record, pointer};
use crate::vendors::json;

impl<'a> Record<'a, '_> {
    /// An object inside the record, as a record with the same index.
    pub(in crate::vendors) fn inner(&mut self, raw: &'a RawValue, at: &str) -> Option<Record<'a, '_>> {
        Record::open(raw, (self.index, format!("{}{at}", self.at)), self.rejected)
    }

    /// The same of an element in this place of a list of the record's.
    pub(in crate::vendors) fn element<'l>(
        &'l mut self,
        (place, raw): (usize, &'a RawValue),
        list: &'l str,
    ) -> Option<Record<'a, 'l>> {
        Record::open_at(raw, (self.index, Place::InList(list, place)), self.rejected)
    }

    /// The elements, null ones aside, of the array to which these members lead, each with its place in it; with the JSON
    /// Pointer to the array. Empty if there is none.
    pub(in crate::vendors) fn list(
        &mut self,
        at: &[&str],
    ) -> (impl Iterator<Item = (usize, &'a RawValue)> + use<'a>, String) {
        let found = match at.split_last() {
            None => Ok(None),
            Some((name, [])) => self.members.get(name),
            Some((name, objects)) => self.section(objects).map_or(Ok(None), |members| members.get(name)),
        };
        let all = found.and_then(|raw| raw.map_or_else(|| Ok(Vec::new()), json::array));
        let all = all.unwrap_or_else(|detail| {
            self.refuse(&pointer(at), detail);
            Vec::new()
        });
        let elements = all.into_iter().enumerate().filter(|(_, raw)| raw.get() != "null");
        (elements, format!("{}{}", self.at, pointer(at)))
    }

    /// The member of this name, if it is a text; one that is not is for somebody else to refuse.
    pub(in crate::vendors) fn hint(&self, name: &str) -> Option<Cow<'a, str>> {
        self.members.get(name).ok().flatten().and_then(|raw| json::text(raw).ok())
    }
}
