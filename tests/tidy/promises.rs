//! What a document names as a test is one.

use std::collections::BTreeSet;

use crate::source::{Source, Violation};

/// A name of so many words is a test's: settings, fields and metrics have fewer.
const WORDS_MIN: usize = 5;

/// Every name between backquotes in a Markdown file that reads like a test's is that of a function.
pub(crate) fn kept<'a>(texts: impl Iterator<Item = &'a Source> + Clone) -> Vec<Violation> {
    let functions: BTreeSet<&str> = texts
        .clone()
        .filter(|text| text.path.ends_with(".rs"))
        .flat_map(|text| text.code.split("fn ").skip(1))
        .filter_map(|rest| rest.split(['(', '<']).next())
        .collect();
    let documents = texts.filter(|text| text.path.ends_with(".md"));
    documents
        .flat_map(|document| {
            let quoted = document.text.split('`').skip(1).step_by(2);
            let unknown = quoted.filter(|name| is_test_name(name) && !functions.contains(name));
            unknown.map(|name| Violation::of_file(&document.path, format!("there is no test `{name}`")))
        })
        .collect()
}

fn is_test_name(name: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.split('_').count() >= WORDS_MIN && name.split('_').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_without_its_test_is_caught() {
        let code = Source::new("tests/a.rs", "#[test]\nfn what_is_told_is_kept_here() {}\n");
        let kept_one = Source::new("docs/a.md", "`what_is_told_is_kept_here`, `user_id` and `cargo test`\n");
        let broken = Source::new("docs/b.md", "`what_is_told_is_kept_nowhere`\n");
        assert!(kept([&code, &kept_one].into_iter()).is_empty());
        assert_eq!(kept([&code, &kept_one, &broken].into_iter()).len(), 1);
    }
}
