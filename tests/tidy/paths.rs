//! Finds the paths that code names, in `use` trees and anywhere else, and resolves them to their crate's root.

use crate::source::{Source, word_at};

/// A path as it is named somewhere in a file.
#[derive(Debug, PartialEq)]
pub(crate) struct NamedPath<'a> {
    /// Where it begins.
    pub(crate) offset: usize,
    /// Its segments from the crate's root, or from the library that it begins with; `*` for a glob.
    pub(crate) segments: Vec<&'a str>,
}

/// Every path into the crate that the file belongs to, from that crate's root.
///
/// The shell's own library counts as `crate`: that is how its binary and its tests name it.
pub(crate) fn own_paths(source: &Source) -> Vec<NamedPath<'_>> {
    let mut paths = Vec::new();
    for root in ["crate", "biometric_bridge", "self", "super"] {
        paths.extend(paths_from(source, root).into_iter().filter_map(|mut path| {
            let from_here = matches!(root, "self" | "super");
            let mut place = if from_here { source.module() } else { Vec::new() };
            if from_here {
                place.extend(source.inline_modules(path.offset));
            }
            if root == "super" {
                place.pop()?;
            }
            for segment in path.segments.drain(..) {
                match segment {
                    "super" => place.pop().map(|_| ())?,
                    "self" => {}
                    name => place.push(name),
                }
            }
            Some(NamedPath { segments: place, ..path })
        }));
    }
    paths
}

/// Every path that begins with a root such as `crate` or `std`, written out without its root.
pub(crate) fn paths_from<'a>(source: &'a Source, root: &str) -> Vec<NamedPath<'a>> {
    let mut paths = Vec::new();
    for (offset, _) in source.words().filter(|&(_, word)| word == root) {
        // In `super::super::x` only the first one begins the path.
        let is_a_root = root != "super" || !source.code[..offset].trim_end().ends_with("::");
        let rest = &source.code[offset + root.len()..];
        if is_a_root && rest.trim_start().starts_with("::") {
            let mut found = Vec::new();
            write_out(rest, Vec::new(), &mut found);
            paths.extend(found.into_iter().map(|segments| NamedPath { offset, segments }));
        }
    }
    paths
}

/// Follows the path whose next segment begins `rest`; gives back what comes after it.
fn write_out<'a>(mut rest: &'a str, mut path: Vec<&'a str>, found: &mut Vec<Vec<&'a str>>) -> &'a str {
    while let Some(after) = rest.trim_start().strip_prefix("::") {
        rest = after.trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            return write_out_group(group, &path, found);
        }
        if let Some(after) = rest.strip_prefix('*') {
            path.push("*");
            rest = after;
        } else if let Some(word) = word_at(rest, 0) {
            path.push(word);
            rest = &rest[word.len()..];
        }
    }
    found.push(path);
    rest
}

fn write_out_group<'a>(mut rest: &'a str, path: &[&'a str], found: &mut Vec<Vec<&'a str>>) -> &'a str {
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return after;
        }
        let first = if rest.starts_with('*') { Some("*") } else { word_at(rest, 0) };
        rest = match first {
            Some(first) => write_out(&rest[first.len()..], [path, &[first]].concat(), found),
            None => rest,
        };
        // What may stand before the next comma is a new name (`as x`), which does not matter here.
        let Some(next) = rest.find([',', '}']) else { return "" };
        rest = rest[next..].trim_start_matches(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, text: &str) -> Vec<String> {
        own_paths(&Source::new(path, text)).iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn every_branch_of_a_use_tree_is_a_path() {
        let text = "use crate::{a::{self, b as x, c::*}, d};\npub(crate) use crate::e::F;";
        assert_eq!(named("src/x.rs", text), ["a", "a::b", "a::c::*", "d", "e::F"]);
    }

    #[test]
    fn paths_outside_of_use_are_found_and_words_in_texts_are_not() {
        let text = "// crate::no\nfn f() -> crate::a::B<u8> { crate::c::d::<u8>(\"crate::no\"); Self::e() }";
        assert_eq!(named("src/x.rs", text), ["a::B", "c::d"]);
    }

    #[test]
    fn relative_paths_are_resolved_to_the_root() {
        assert_eq!(
            named("src/a/b.rs", "use super::c; use self::d; use super::super::e;"),
            ["a::b::d", "a::c", "e"]
        );
        assert_eq!(named("src/a/mod.rs", "use super::c;"), ["c"]);
        assert_eq!(
            named("actors/src/a.rs", "mod tests { use super::x; mod y { use super::super::super::z; } }"),
            ["a::x", "z"]
        );
        assert_eq!(named("src/main.rs", "use biometric_bridge::app;"), ["app"]);
    }

    #[test]
    fn a_library_is_found_however_it_is_written() {
        let text = "use std::{fs, time::{self, Instant}}; fn f() { ::std::net::lookup(); mystd::fs(); }";
        let source = Source::new("src/x.rs", text);
        let found: Vec<_> = paths_from(&source, "std").iter().map(|path| path.segments.join("::")).collect();
        assert_eq!(found, ["fs", "time::self", "time::Instant", "net::lookup"]);
    }
}
