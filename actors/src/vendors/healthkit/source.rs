//! Which app or device took a sample, and how far it is trusted.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::vendors::json;

/// The longest source name that is kept, in bytes of UTF-8.
const NAME_MAX_BYTES: usize = 128;

/// What a sample says of its source, in any of the fields in which apps put it.
#[derive(Debug, Default)]
pub(super) struct Source<'a> {
    name: Option<Cow<'a, str>>,
    product: Option<Cow<'a, str>>,
    is_watch: bool,
    is_phone: bool,
}

/// A source as an object: `source`, HealthKit's `sourceRevision` (which holds a `source`) or `device`.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow, rename = "productType")]
    product_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "deviceName")]
    device_name: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
}

impl<'a> Source<'a> {
    /// Takes in one of the fields; the first name and the first product type stay.
    pub(super) fn add(&mut self, field: &'a RawValue) -> Result<(), &'static str> {
        if !json::is_object(field) {
            let name = json::text(field).map_err(|_| "a string or an object was expected")?;
            self.add_name(name);
            return Ok(());
        }
        let fields: Fields<'a> = json::object(field)?;
        for name in [fields.name, fields.device_name].into_iter().flatten() {
            self.add_name(json::text(name)?);
        }
        if let Some(product) = fields.product_type {
            let product = json::text(product)?;
            self.look_at(&product);
            self.product.get_or_insert(product);
        }
        fields.source.map_or(Ok(()), |inner| self.add(inner))
    }

    fn add_name(&mut self, name: Cow<'a, str>) {
        self.look_at(&name);
        self.name.get_or_insert(name);
    }

    fn look_at(&mut self, text: &str) {
        self.is_watch |= text.contains("Watch");
        self.is_phone |= text.contains("iPhone");
    }

    /// By what the name or product type contains: `Watch` 1.0, `iPhone` 0.8, anything else 0.7 (contract §3).
    pub(super) fn confidence(&self) -> f64 {
        match (self.is_watch, self.is_phone) {
            (true, _) => 1.0,
            (false, true) => 0.8,
            (false, false) => 0.7,
        }
    }
}

/// The source names of one delivery, each of them held once.
#[derive(Debug, Default)]
pub(super) struct SourceNames(HashSet<Arc<str>>);

impl SourceNames {
    /// The name under which the source is kept: its own, else its product type; without control characters.
    pub(super) fn intern(&mut self, source: &Source<'_>) -> Option<Arc<str>> {
        let name = clean(source.name.as_deref().or(source.product.as_deref())?);
        if name.is_empty() {
            return None;
        }
        if let Some(known) = self.0.get(&*name) {
            return Some(known.clone());
        }
        let name: Arc<str> = name.into();
        self.0.insert(name.clone());
        Some(name)
    }
}

fn clean(name: &str) -> Cow<'_, str> {
    let is_bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let mut name = match name.contains(is_bad) {
        true => Cow::Owned(name.replace(is_bad, "").trim().to_owned()),
        false => Cow::Borrowed(name.trim()),
    };
    if name.len() > NAME_MAX_BYTES {
        let end = name.floor_char_boundary(NAME_MAX_BYTES);
        name = Cow::Owned(name[..end].trim_end().to_owned());
    }
    name
}
