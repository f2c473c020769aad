//! Imports go down only, and what decides has no async, I/O or clock.

use std::collections::BTreeSet;

use crate::paths::{own_paths, paths_from};
use crate::source::{Source, Violation};

/// The layers of the core and what each may import besides itself. A module that is not listed is an actor, or
/// wires actors together, and stands above them all.
const CORE: [(&str, &[&str]); 6] = [
    ("supervision", &[]),
    ("domain", &[]),
    ("vendors", &["domain"]),
    ("cognition", &["domain"]),
    ("ports", &["domain"]),
    ("memory", &["domain", "vendors", "cognition", "ports"]),
];

/// The layers of the shell and what each may import besides itself and the core.
///
/// Commands start the bridge through `app`; should `app` ever need `cli`, one of the two directions has to go.
const SHELL: [(&str, &[&str]); 9] = [
    ("app", &["http", "cli", "demo", "dashboard", "adapters", "settings", "telemetry"]),
    ("cli", &["app", "demo", "settings", "telemetry", "traffic"]),
    ("http", &["dashboard", "settings", "telemetry"]),
    ("demo", &["settings", "telemetry", "traffic"]),
    ("dashboard", &["settings", "telemetry"]),
    ("adapters", &["settings", "telemetry"]),
    ("telemetry", &["settings"]),
    ("settings", &[]),
    ("traffic", &[]),
];

/// Layers that decide: the same input gives the same result, at any time and on any machine.
const PURE: [&str; 3] = ["domain", "vendors", "cognition"];

/// Words of async code, of clocks and of the crates that bring them.
const IMPURE_WORDS: [&str; 9] =
    ["async", "await", "async_trait", "tokio", "actix", "actix_rt", "futures_util", "Instant", "SystemTime"];

/// Modules of `std` that do I/O or depend on the process.
const IMPURE_STD: [&str; 5] = ["fs", "net", "env", "process", "thread"];

/// What is no adapter of a port, and who stands on it: the file engine of both adapters in a file, and what SQL stores
/// decide and lay down alike, which a rule of its own for each would let drift apart.
const SHARED: [(&str, &[&str]); 2] = [
    ("sqlite_file", &["sqlite", "embedded_log"]),
    ("stored", &["sqlite_file", "sqlite", "embedded_log", "postgres"]),
];

/// In the core: each layer imports only itself and the layers below it, in its tests too.
pub(crate) fn core_imports(source: &Source) -> Vec<Violation> {
    let Some(layer) = layer_of(source, "actors/src/") else { return Vec::new() };
    let Some(below) = allowed(&CORE, layer) else { return Vec::new() };
    let upward = own_paths(source).into_iter().filter(|path| {
        let target = path.segments.first().copied().unwrap_or_default();
        target != layer && !below.contains(&target)
    });
    upward.map(|path| source.violation(path.offset, not_below(layer, below, &path.segments))).collect()
}

/// In the shell: the same, save in code for tests; and no two layers import each other.
pub(crate) fn shell_imports<'a>(sources: impl Iterator<Item = &'a Source>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut edges = BTreeSet::new();
    for source in sources {
        let Some(layer) = layer_of(source, "src/") else { continue };
        let Some(below) = allowed(&SHELL, layer) else {
            let message =
                format!("`{layer}` has no place among the layers: give it one in tests/tidy/layers.rs");
            violations.push(Violation::of_file(&source.path, message));
            continue;
        };
        for path in own_paths(source).into_iter().filter(|path| !source.is_test_code(path.offset)) {
            let target = path.segments.first().copied().unwrap_or_default();
            // Who names an adapter is a rule of its own, with a message of its own.
            if target == layer || target == "adapters" {
                continue;
            }
            if !below.contains(&target) {
                violations.push(source.violation(path.offset, not_below(layer, below, &path.segments)));
            } else if edges.contains(&(target, layer)) {
                let message = format!("`{layer}` and `{target}` import each other: one direction has to go");
                violations.push(source.violation(path.offset, message));
            } else {
                edges.insert((layer, target));
            }
        }
    }
    violations
}

/// Outside of `app`, only an adapter itself and code for tests name an adapter.
pub(crate) fn adapter_users(source: &Source) -> Vec<Violation> {
    let is_allowed = matches!(layer_of(source, "src/"), Some("app" | "adapters"));
    if is_allowed || !source.path.starts_with("src/") {
        return Vec::new();
    }
    let named = own_paths(source).into_iter().filter(|path| path.segments.first() == Some(&"adapters"));
    let message = "only `app` names a concrete adapter: take the port from `actors::ports` as an argument";
    named
        .filter(|path| !source.is_test_code(path.offset))
        .map(|path| source.violation(path.offset, message))
        .collect()
}

/// An adapter imports no other one, save what is shared and is none; what two need moves to a port or to the core.
pub(crate) fn adapter_imports(source: &Source) -> Vec<Violation> {
    let module = source.module();
    let (Some("adapters"), Some(&own)) = (layer_of(source, "src/"), module.get(1)) else { return Vec::new() };
    let named = own_paths(source).into_iter().filter(|path| {
        let other = path.segments.get(1).copied().unwrap_or(own);
        let is_module = !other.starts_with(char::is_uppercase);
        let is_shared = SHARED.iter().any(|(shared, users)| *shared == other && users.contains(&own));
        path.segments.first() == Some(&"adapters") && is_module && other != own && !is_shared
    });
    named
        .filter(|path| !source.is_test_code(path.offset))
        .map(|path| {
            let other = path.segments.join("::");
            let message =
                format!("adapter `{own}` imports {other}: adapters meet only through a port of the core");
            source.violation(path.offset, message)
        })
        .collect()
}

/// The layers that decide have no async, I/O or clock: what they need to know comes in as an argument. Their
/// tests may measure.
pub(crate) fn purity(source: &Source) -> Vec<Violation> {
    let Some(layer) = layer_of(source, "actors/src/").filter(|layer| PURE.contains(layer)) else {
        return Vec::new();
    };
    let words = source.words().filter(|(_, word)| IMPURE_WORDS.contains(word));
    let mut found: Vec<(usize, String)> = words.map(|(offset, word)| (offset, word.to_owned())).collect();
    for path in paths_from(source, "std") {
        let name = path.segments.join("::");
        let is_impure = IMPURE_STD.contains(&path.segments.first().copied().unwrap_or_default());
        if is_impure || ["*", "time::*"].contains(&name.as_str()) {
            found.push((path.offset, format!("std::{name}")));
        }
    }
    let clocks = source.code.match_indices("::now(");
    found.extend(clocks.map(|(offset, _)| (offset, "now()".to_owned())));
    let message = |name| {
        format!("`{layer}` has no async, I/O or clock, so no `{name}`: take what it gives as an argument")
    };
    found.retain(|(offset, _)| !source.is_test_code(*offset));
    found.into_iter().map(|(offset, name)| source.violation(offset, message(name))).collect()
}

/// Log lines are written in one place, by typed events that mask ids: elsewhere nobody names `tracing`.
///
/// Clippy bans its level macros, but cannot ban `event!` and still let that place use it.
pub(crate) fn log_lines(source: &Source) -> Vec<Violation> {
    if layer_of(source, "src/") == Some("telemetry") {
        return Vec::new();
    }
    let message = "log lines are written by typed events of `telemetry`: add one there";
    paths_from(source, "tracing").into_iter().map(|path| source.violation(path.offset, message)).collect()
}

/// The top module in which a file of one crate stands; `None` elsewhere and in the crate's root.
fn layer_of<'a>(source: &'a Source, crate_folder: &str) -> Option<&'a str> {
    source.path.starts_with(crate_folder).then(|| source.module().first().copied()).flatten()
}

fn allowed<'a>(layers: &[(&str, &'a [&'a str])], layer: &str) -> Option<&'a [&'a str]> {
    layers.iter().find(|(name, _)| *name == layer).map(|(_, below)| *below)
}

fn not_below(layer: &str, below: &[&str], path: &[&str]) -> String {
    let below =
        if below.is_empty() { "nothing of ours".to_owned() } else { format!("only {}", below.join(", ")) };
    let path = path.join("::");
    format!("`{layer}` imports {below}, not {path}: move it down, or pass it in from above")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of the violations that a rule finds in one file.
    fn lines(rule: fn(&Source) -> Vec<Violation>, path: &str, text: &str) -> Vec<String> {
        rule(&Source::new(path, text)).iter().map(ToString::to_string).collect()
    }

    fn shell(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(*path, *text)).collect();
        shell_imports(sources.iter()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_log_line_outside_of_telemetry_is_caught() {
        let text = "fn f() { tracing::event!(tracing::Level::INFO, \"x\"); }";
        assert_eq!(lines(log_lines, "src/http/webhooks.rs", text).len(), 2);
        assert_eq!(lines(log_lines, "actors/src/event_writer.rs", "use tracing::event;").len(), 1);
        assert!(lines(log_lines, "src/telemetry/events.rs", text).is_empty());
    }

    #[test]
    fn an_import_upward_in_the_core_is_caught() {
        let cases = [
            ("actors/src/supervision/cell.rs", "use crate::domain::ids;"),
            ("actors/src/supervision.rs", "use super::messages;"),
            ("actors/src/domain/ids.rs", "fn f(x: crate::vendors::Oura) {}"),
            ("actors/src/domain/ids.rs", "#[cfg(test)] mod tests { use crate::memory::Store; }"),
            ("actors/src/vendors/oura/mod.rs", "use crate::{domain::ids, ports::Store};"),
            ("actors/src/cognition/mod.rs", "use super::vendors;"),
            ("actors/src/ports/store.rs", "use super::super::cognition::Mode;"),
            ("actors/src/memory/store.rs", "use crate::event_writer::EventWriter;"),
            ("actors/src/domain/ids.rs", "use crate::*;"),
            ("actors/src/domain/ids.rs", "use crate::SomethingExportedAtTheRoot;"),
        ];
        for (path, text) in cases {
            assert_eq!(lines(core_imports, path, text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn an_import_downward_in_the_core_is_free() {
        let cases = [
            ("actors/src/supervision/cell.rs", "use crate::supervision::x; use super::y; use std::z;"),
            (
                "actors/src/vendors/oura/mod.rs",
                "use crate::domain::{ids, time::*}; use super::whoop; mod a { use super::*; }",
            ),
            ("actors/src/memory/store.rs", "use crate::ports::Store; use crate::domain::ids;"),
            ("actors/src/user_state.rs", "use crate::{supervision, cognition, messages::*};"),
            ("actors/src/lib.rs", "pub use crate::domain::ids;"),
            ("src/domain/ids.rs", "use crate::http;"),
        ];
        for (path, text) in cases {
            assert_eq!(lines(core_imports, path, text), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn an_import_upward_or_sideways_in_the_shell_is_caught() {
        let cases = [
            ("src/settings/mod.rs", "use crate::telemetry;"),
            ("src/telemetry/mod.rs", "use crate::http;"),
            ("src/http/mod.rs", "use crate::{app::App, settings};"),
            ("src/http/mod.rs", "use super::cli;"),
            ("src/adapters/redis/mod.rs", "use crate::http;"),
            ("src/surprise/mod.rs", "use crate::settings;"),
        ];
        for (path, text) in cases {
            assert_eq!(shell(&[(path, text)]).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn an_import_downward_in_the_shell_is_free() {
        let files = [
            ("src/main.rs", "use biometric_bridge::{cli, settings};"),
            ("src/app/mod.rs", "use crate::{http, adapters, demo, settings::Settings}; use actors::tree;"),
            ("src/cli/serve.rs", "use crate::app;"),
            ("src/http/mod.rs", "#[cfg(test)] mod tests { use crate::app; }"),
            ("src/http/tests.rs", "use crate::app;"),
            ("actors/src/vendors/mod.rs", "use crate::http;"),
        ];
        assert_eq!(shell(&files), [""; 0]);
    }

    #[test]
    fn layers_that_import_each_other_are_caught() {
        let files = [("src/app/mod.rs", "use crate::cli;"), ("src/cli/mod.rs", "use crate::app;")];
        assert_eq!(
            shell(&files),
            ["src/cli/mod.rs:1: `cli` and `app` import each other: one direction has to go"]
        );
    }

    #[test]
    fn an_adapter_named_outside_of_app_is_caught() {
        let text = "use crate::adapters::sqlite::Store;";
        for path in ["src/http/mod.rs", "src/cli/migrate.rs", "src/demo/mod.rs", "src/settings/limits.rs"] {
            assert_eq!(lines(adapter_users, path, text).len(), 1, "{path}");
        }
        assert_eq!(lines(adapter_users, "src/main.rs", "use biometric_bridge::adapters;").len(), 1);
        for path in
            ["src/app/stores.rs", "src/adapters/sqlite/mod.rs", "src/http/tests.rs", "tests/it/main.rs"]
        {
            assert_eq!(lines(adapter_users, path, text), [""; 0], "{path}");
        }
    }

    #[test]
    fn an_adapter_that_imports_another_is_caught() {
        let cases = [
            ("src/adapters/redis/mod.rs", "use crate::adapters::sqlite::Store;", 1),
            ("src/adapters/redis/mod.rs", "use super::sqlite::Store;", 1),
            ("src/adapters/redis/cache.rs", "use super::super::sqlite_file;", 1),
            ("src/adapters/redis.rs", "use super::*;", 1),
            ("src/adapters/redis/cache.rs", "use super::pool; use crate::adapters::redis::pool;", 0),
            ("src/adapters/redis/cache.rs", "use crate::adapters::AdapterError;", 0),
            ("src/adapters/redis/cache.rs", "#[cfg(test)] mod tests { use crate::adapters::sqlite; }", 0),
            ("src/adapters/sqlite/mod.rs", "use crate::adapters::sqlite_file::Pool;", 0),
            ("src/adapters/embedded_log/mod.rs", "use super::sqlite_file::Pool;", 0),
            ("src/adapters/postgres/commit.rs", "use crate::adapters::stored::plan::Plan;", 0),
            ("src/adapters/redis/mod.rs", "use crate::adapters::stored::plan::Plan;", 1),
            ("src/adapters/stored/mod.rs", "use crate::adapters::postgres::Pool;", 1),
            ("src/adapters/sqlite_file.rs", "use super::sqlite;", 1),
            ("src/adapters/mod.rs", "pub use self::sqlite::Store;", 0),
        ];
        for (path, text, count) in cases {
            assert_eq!(lines(adapter_imports, path, text).len(), count, "{path}: {text}");
        }
    }

    #[test]
    fn async_io_and_clocks_are_caught_where_decisions_are_made() {
        let cases = [
            "async fn f() {}",
            "fn f() { g().await }",
            "use tokio::sync::mpsc;",
            "use actix::Actor;",
            "use std::time::{Duration, Instant};",
            "use std::time::*;",
            "fn f() { std::time::SystemTime::UNIX_EPOCH }",
            "use std::{fmt, fs};",
            "use std::net::TcpStream;",
            "fn f() { jiff::Timestamp::now() }",
        ];
        for text in cases {
            for path in
                ["actors/src/domain/x.rs", "actors/src/vendors/x/mod.rs", "actors/src/cognition/mod.rs"]
            {
                assert!(!lines(purity, path, text).is_empty(), "{path}: {text}");
            }
            for path in ["actors/src/user_state.rs", "actors/src/vendors/tests/speed.rs"] {
                assert_eq!(lines(purity, path, text), [""; 0], "{path}: {text}");
            }
        }
    }

    #[test]
    fn pure_code_may_speak_of_durations_and_of_clocks_in_comments() {
        let text =
            "//! No async, no tokio.\nuse std::{fmt, time::Duration};\nfn f(now: Timestamp, sleep: Sleep) {}";
        assert_eq!(lines(purity, "actors/src/domain/x.rs", text), [""; 0]);
    }
}
