//! A test over the source tree: the rules that keep the house habitable are checked here, not by memory.
//!
//! It reads the sources as text, so it needs nothing but `std` and also sees what is not compiled today. Each
//! rule stands beside tests that plant a violation: a rule that cannot fail is worthless.

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/migrations.rs"]
mod migrations;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/promises.rs"]
mod promises;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tree.rs"]
mod tree;

use source::{Source, Violation};

/// Fails with every violation at once, one a line, each with its place and the way out.
fn hold(violations: &[Violation]) {
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} to tidy up:\n{}", list.len(), list.join("\n"));
}

fn hold_in_each(sources: impl Iterator<Item = &'static Source>, rule: fn(&Source) -> Vec<Violation>) {
    hold(&sources.flat_map(rule).collect::<Vec<_>>());
}

#[test]
fn the_tree_that_is_read_is_this_repository() {
    let paths: Vec<&str> = tree::rust_sources().map(|source| source.path.as_str()).collect();
    for known in
        ["src/lib.rs", "src/main.rs", "actors/src/lib.rs", "actors/src/domain/ids.rs", "tests/tidy.rs"]
    {
        assert!(paths.contains(&known), "{known} was not found among {paths:?}");
    }
}

#[test]
fn imports_in_the_core_go_down_only() {
    hold_in_each(tree::rust_sources(), layers::core_imports);
}

#[test]
fn imports_in_the_shell_go_down_only() {
    hold(&layers::shell_imports(tree::rust_sources()));
}

#[test]
fn only_app_names_a_concrete_adapter() {
    hold_in_each(tree::rust_sources(), layers::adapter_users);
}

#[test]
fn an_adapter_never_imports_another() {
    hold_in_each(tree::rust_sources(), layers::adapter_imports);
}

#[test]
fn what_decides_has_no_async_io_or_clock() {
    hold_in_each(tree::rust_sources(), layers::purity);
}

#[test]
fn log_lines_are_written_by_telemetry_alone() {
    hold_in_each(tree::rust_sources(), layers::log_lines);
}

#[test]
fn a_file_holds_one_thing() {
    hold_in_each(tree::rust_sources(), shape::file_length);
}

#[test]
fn a_function_fits_a_screen() {
    hold_in_each(tree::rust_sources(), shape::function_length);
}

#[test]
fn nothing_is_left_for_later() {
    hold_in_each(tree::rust_sources(), shape::unfinished);
}

#[test]
fn white_space_is_clean() {
    hold_in_each(tree::text_sources(), shape::white_space);
}

#[test]
fn every_folder_says_what_it_holds() {
    hold(&shape::folder_docs(tree::rust_sources()));
}

#[test]
fn tests_are_named_like_promises() {
    hold_in_each(tree::rust_sources(), shape::test_names);
}

#[test]
fn migrations_come_in_consecutive_pairs() {
    hold(&migrations::pairs(&tree::migration_paths()));
}

#[test]
fn what_a_document_promises_has_its_test() {
    hold(&promises::kept(tree::text_sources()));
}
