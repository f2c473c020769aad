//! The shape of files: lengths, names, documentation, white space and nothing left for later.

use crate::source::{Source, Violation, word_at};

/// A file longer than this holds two things.
const FILE_MAX_LINES: usize = 400;
const TEST_FILE_MAX_LINES: usize = 700;

const FUNCTION_MAX_LINES: usize = 70;
/// Tests may tell a long story in one piece.
const TEST_FUNCTION_MAX_LINES: usize = 120;

/// Fewer words than this are a topic, not a promise.
const TEST_NAME_MIN_WORDS: usize = 3;

/// A file holds one thing, so it is short.
pub(crate) fn file_length(source: &Source) -> Vec<Violation> {
    let max = if source.is_test_file() { TEST_FILE_MAX_LINES } else { FILE_MAX_LINES };
    let lines = source.text.lines().count();
    let message = format!("{lines} lines, at most {max}: it holds two things, split it between them");
    (lines > max).then(|| Violation::of_file(&source.path, message)).into_iter().collect()
}

/// A function is read at one glance.
pub(crate) fn function_length(source: &Source) -> Vec<Violation> {
    let long = source.functions().filter_map(|function| {
        let is_test = source.is_test_code(function.offset);
        let max = if is_test { TEST_FUNCTION_MAX_LINES } else { FUNCTION_MAX_LINES };
        let message =
            format!("`{}` has {} lines, at most {max}: name its steps", function.name, function.lines);
        (function.lines > max).then(|| source.violation(function.offset, message))
    });
    long.collect()
}

/// What is on the branch is finished: no placeholders, and no test is passed over without saying why.
pub(crate) fn unfinished(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (offset, word) in source.words().filter(|(_, word)| ["todo", "unimplemented"].contains(word)) {
        if source.code[offset + word.len()..].starts_with('!') {
            violations.push(
                source.violation(offset, format!("`{word}!` is a placeholder: build it or leave it out")),
            );
        }
    }
    for attribute in source.attributes().filter(|attribute| attribute.code == "ignore") {
        let message = "a test that is ignored says why: `#[ignore = \"…\"]`";
        violations.push(source.violation(attribute.offset, message));
    }
    violations
}

/// No tabs, no white space at the end of a line, no carriage returns, a newline at the end and only one.
pub(crate) fn white_space(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut offset = 0;
    for line in source.text.split('\n') {
        if line.contains('\t') {
            violations.push(source.violation(offset, "a tab: indent with spaces"));
        }
        if line.trim_end() != line {
            violations.push(source.violation(offset, "white space at the end of the line: remove it"));
        }
        offset += line.len() + 1;
    }
    let ends_well = source.text.ends_with('\n') && !source.text.ends_with("\n\n");
    if !ends_well && !source.text.is_empty() {
        violations.push(Violation::of_file(&source.path, "it must end with exactly one newline"));
    }
    violations
}

/// The file that opens a folder of modules says in `//!` what the folder holds.
pub(crate) fn folder_docs<'a>(sources: impl Iterator<Item = &'a Source> + Clone) -> Vec<Violation> {
    let opens_folder = |source: &&'a Source| {
        let stem = source.path.trim_end_matches(".rs");
        let name = stem.rsplit('/').next().unwrap_or(stem);
        let folder = format!("{stem}/");
        ["mod", "lib", "main"].contains(&name) || sources.clone().any(|other| other.path.starts_with(&folder))
    };
    let has_docs = |source: &&'a Source| {
        let mut lines =
            source.text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("#!["));
        lines.next().is_some_and(|line| line.strip_prefix("//!").is_some_and(|docs| !docs.trim().is_empty()))
    };
    let message = "it opens a folder: say in `//!` at its top what the folder holds";
    let bare = sources.clone().filter(opens_folder).filter(|source| !has_docs(source));
    bare.map(|source| Violation::of_file(&source.path, message)).collect()
}

/// The name of a test is a promise, so it has a subject and a verb.
pub(crate) fn test_names(source: &Source) -> Vec<Violation> {
    let tests = source.attributes().filter(|attribute| {
        let path = attribute.code.split(['(', ' ']).next().unwrap_or_default();
        path == "test" || path.ends_with("::test")
    });
    let names = tests.filter_map(|attribute| {
        let at = attribute.end + source.code[attribute.end..].find("fn ")?;
        Some((at, word_at(&source.code, at + "fn".len())?))
    });
    names
        .filter(|(_, name)| name.split('_').filter(|word| !word.is_empty()).count() < TEST_NAME_MIN_WORDS)
        .map(|(at, name)| {
            let message =
                format!("test `{name}`: name it like a promise, `a_queued_message_survives_a_panic`");
            source.violation(at, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(rule: fn(&Source) -> Vec<Violation>, path: &str, text: &str) -> usize {
        rule(&Source::new(path, text)).len()
    }

    #[test]
    fn a_file_one_line_too_long_is_caught() {
        for (path, max) in [
            ("src/http/mod.rs", 400),
            ("actors/src/tree.rs", 400),
            ("actors/src/supervision/tests.rs", 700),
            ("actors/src/supervision/tests/restarts.rs", 700),
            ("tests/it/main.rs", 700),
        ] {
            assert_eq!(count(file_length, path, &"x\n".repeat(max)), 0, "{path}");
            assert_eq!(count(file_length, path, &"x\n".repeat(max + 1)), 1, "{path}");
        }
    }

    #[test]
    fn a_function_one_line_too_long_is_caught() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    x(\"}\");\n".repeat(lines - 2));
        for (path, max) in [("src/x.rs", 70), ("tests/x.rs", 120)] {
            assert_eq!(count(function_length, path, &function(max)), 0, "{path}");
            assert_eq!(count(function_length, path, &function(max + 1)), 1, "{path}");
        }
        let for_tests = format!("#[cfg(test)]\nmod tests {{\n{}}}", function(71));
        assert_eq!(count(function_length, "src/x.rs", &for_tests), 0);
    }

    #[test]
    fn a_placeholder_is_caught() {
        assert_eq!(count(unfinished, "src/x.rs", "fn f() { todo!() }\nfn g() { unimplemented!(\"x\") }"), 2);
        assert_eq!(count(unfinished, "src/x.rs", "// todo!()\nfn todo() { \"todo!()\"; todo() }"), 0);
    }

    #[test]
    fn a_test_ignored_without_a_reason_is_caught() {
        assert_eq!(count(unfinished, "src/x.rs", "#[test]\n#[ignore]\nfn f() {}"), 1);
        assert_eq!(count(unfinished, "src/x.rs", "#[test]\n#[ignore = \"an hour long\"]\nfn f() {}"), 0);
    }

    #[test]
    fn unclean_white_space_is_caught() {
        for text in ["a\tb\n", "a \nb\n", "a\r\n", "a", "a\n\n"] {
            assert_eq!(count(white_space, "src/x.rs", text), 1, "{text:?}");
        }
        assert_eq!(count(white_space, "src/x.rs", "a\n\nb\n"), 0);
        assert_eq!(count(white_space, "src/x.rs", ""), 0);
    }

    #[test]
    fn a_folder_without_docs_is_caught() {
        let undocumented = |path: &str, text: &str| {
            let neighbour = Source::new("src/http/webhooks/raw_body.rs", "");
            folder_docs([Source::new(path, text), neighbour].iter()).len()
        };
        for path in
            ["src/lib.rs", "src/main.rs", "src/demo/mod.rs", "src/http/webhooks.rs", "tests/it/main.rs"]
        {
            assert_eq!(undocumented(path, "pub mod x;\n//! Too late.\n"), 1, "{path}");
            assert_eq!(undocumented(path, "//!\n"), 1, "{path}");
            assert_eq!(undocumented(path, "#![allow(x)]\n\n//! Holds things.\n"), 0, "{path}");
        }
        assert_eq!(undocumented("src/http/problem.rs", "mod x;"), 0);
    }

    #[test]
    fn a_test_named_like_a_topic_is_caught() {
        for attribute in ["#[test]", "#[tokio::test(start_paused = true)]", "#[actix_rt::test]"] {
            let test = |name: &str| format!("{attribute}\n#[should_panic]\npub async fn {name}() {{}}");
            assert_eq!(count(test_names, "src/x.rs", &test("parse_works")), 1, "{attribute}");
            assert_eq!(count(test_names, "src/x.rs", &test("test__1_")), 1, "{attribute}");
            assert_eq!(count(test_names, "src/x.rs", &test("a_panic_loses_nothing")), 0, "{attribute}");
        }
        assert_eq!(count(test_names, "src/x.rs", "#[cfg(test)]\nfn helper() {}"), 0);
    }
}
