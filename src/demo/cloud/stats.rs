//! What was served and sent, counted.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Map, Value};

/// Counters under paths of names, told as nested JSON.
#[derive(Debug, Default)]
pub(super) struct Stats(Mutex<BTreeMap<Vec<String>, u64>>);

impl Stats {
    /// Counts one more under `path`.
    pub(super) fn count(&self, path: &[&str]) {
        let path = path.iter().map(|name| (*name).to_owned()).collect();
        *self.0.lock().entry(path).or_default() += 1;
    }

    /// What is counted under `path`.
    pub(super) fn of(&self, path: &[&str]) -> u64 {
        let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
        self.0.lock().get(&path).copied().unwrap_or_default()
    }

    pub(super) fn as_json(&self) -> Value {
        let mut told = Value::Object(Map::new());
        for (path, count) in &*self.0.lock() {
            let mut place = &mut told;
            for name in path {
                place = &mut place[name.as_str()];
            }
            *place = (*count).into();
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_by_their_paths() {
        let stats = Stats::default();
        for path in [&["requests", "oura", "200"][..], &["requests", "oura", "200"], &["faults", "slow_body"]]
        {
            stats.count(path);
        }
        let expected = serde_json::json!({"requests": {"oura": {"200": 2}}, "faults": {"slow_body": 1}});
        assert_eq!(stats.as_json(), expected);
        assert_eq!((stats.of(&["requests", "oura", "200"]), stats.of(&["requests"])), (2, 0));
    }
}
