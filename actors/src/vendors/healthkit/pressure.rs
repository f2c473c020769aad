//! Blood pressure as HealthKit correlates it: two values of one moment.

use serde_json::value::RawValue;

use super::fields::{Fields, identify};
use super::item::{Item, Refusal, accept, refuse};
use super::quantity::QuantityType;
use super::types::{self, DIASTOLIC, SAMPLE, SYSTOLIC, SampleType};
use crate::domain::admission::Version;
use crate::domain::metric::Metric;
use crate::vendors::json::{self, Members};

/// Where apps put the two samples of a correlation.
const LISTS: [&str; 5] = ["objects", "samples", "values", "components", "correlatedObjects"];

/// The members of a pair.
pub(super) const PARTS: [(&str, &QuantityType); 2] = [("systolic", &SYSTOLIC), ("diastolic", &DIASTOLIC)];

/// One of the two values.
struct Part<'a> {
    kind: &'static QuantityType,
    value: f64,
    unit: Option<String>,
    /// The id of the sample that it is by itself.
    id: Option<std::borrow::Cow<'a, str>>,
    at: String,
}

/// Reads a correlation: `systolic` and `diastolic` as numbers, or two samples in a list.
pub(super) fn read(raw: &RawValue, fields: &Fields<'_>, item: &mut Item<'_>) -> Result<(), Refusal> {
    let members = json::members(raw).map_err(refuse(""))?;
    let mut parts = Vec::new();
    let unit = fields.unit.map(json::text).transpose().map_err(refuse("/unit"))?;
    plain(&members, "", unit.as_deref(), &mut parts)?;
    if let Some(value) = fields.value.filter(|value| json::is_object(value)) {
        plain(&json::members(value).map_err(refuse("/value"))?, "/value", unit.as_deref(), &mut parts)?;
    }
    for name in LISTS {
        let Some(list) = members.get(name).map_err(refuse(format!("/{name}")))? else { continue };
        let list = json::array(list).map_err(refuse(format!("/{name}")))?;
        for (place, raw) in list.into_iter().enumerate() {
            let at = format!("/{name}/{place}");
            sample(raw, at.clone(), &mut parts).map_err(|refusal| refusal.below(&at))?;
        }
    }
    let times = fields.times(&item.clock)?;
    let source = fields.source()?;
    let id = fields.id()?;
    for (part, (metric, value)) in parts.iter().zip(accept_all(&parts)?) {
        let reading = item.reading(metric, value, &times, &source);
        let id = part.id.as_deref().or(id.as_deref());
        let said = (reading.source.as_deref(), value);
        let identity = identify(item, id, part.kind.name, &times, said);
        item.push(SAMPLE, identity, Version::Fixed, reading);
    }
    Ok(())
}

/// `systolic` and `diastolic` of Health Auto Export.
pub(super) fn exported(
    raw: &RawValue,
    unit: Option<&str>,
    mut push: impl FnMut(&'static QuantityType, Metric, f64),
) -> Result<(), Refusal> {
    let members = json::members(raw).map_err(refuse(""))?;
    let mut parts = Vec::new();
    plain(&members, "", unit, &mut parts)?;
    for (part, (metric, value)) in parts.iter().zip(accept_all(&parts)?) {
        push(part.kind, metric, value);
    }
    Ok(())
}

fn plain<'a>(
    members: &Members<'_>,
    at: &str,
    unit: Option<&str>,
    parts: &mut Vec<Part<'a>>,
) -> Result<(), Refusal> {
    for (name, kind) in PARTS {
        let at = format!("{at}/{name}");
        let number = members.get(name).and_then(|raw| raw.map(json::number).transpose());
        if let Some(value) = number.map_err(refuse(at.clone()))? {
            parts.push(Part { kind, value, unit: unit.map(str::to_owned), id: None, at });
        }
    }
    Ok(())
}

fn sample<'a>(raw: &'a RawValue, at: String, parts: &mut Vec<Part<'a>>) -> Result<(), Refusal> {
    let fields: Fields<'a> = json::object(raw).map_err(refuse(""))?;
    let name = fields.kind.ok_or("is missing").and_then(json::text).map_err(refuse("/type"))?;
    let kind = match types::find(&name) {
        Some(SampleType::Quantity(kind)) if *kind == SYSTOLIC || *kind == DIASTOLIC => kind,
        _ => return Err(refuse("/type")("a systolic or a diastolic pressure was expected")),
    };
    let value = fields.value.ok_or("is missing").and_then(json::number).map_err(refuse("/value"))?;
    let unit = fields.unit.map(json::text).transpose().map_err(refuse("/unit"))?;
    let unit = unit.map(std::borrow::Cow::into_owned);
    parts.push(Part { kind, value, unit, id: fields.id()?, at: format!("{at}/value") });
    Ok(())
}

/// Both values in mmHg, of which the diastolic one is the smaller. One alone is fine.
fn accept_all(parts: &[Part<'_>]) -> Result<Vec<(Metric, f64)>, Refusal> {
    if parts.is_empty() {
        return Err(refuse("/systolic")("is missing"));
    }
    let mut values = Vec::with_capacity(parts.len());
    for part in parts {
        let accepted = accept(part.kind, part.value, part.unit.as_deref(), ("", ""));
        values.push(accepted.map_err(|refusal| refusal.below(&part.at))?);
    }
    let of = |metric| values.iter().find(|(found, _)| *found == metric).map(|(_, value)| *value);
    match (of(Metric::BloodPressureSystolic), of(Metric::BloodPressureDiastolic)) {
        (Some(systolic), Some(diastolic)) if diastolic >= systolic => {
            let part = parts.iter().find(|part| part.kind.name == DIASTOLIC.name);
            let at = part.map(|part| part.at.clone()).unwrap_or_default();
            Err(refuse(at)("the diastolic pressure must be below the systolic one"))
        }
        _ => Ok(values),
    }
}
