//! One file as the rules see it: its text, and its code without comments and literals.
//!
//! This is no parser. It knows comments, literals, braces and words, which is all that the rules ask about.

use std::fmt;
use std::ops::Range;

/// Something to tidy up.
#[derive(Debug)]
pub(crate) struct Violation {
    place: String,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl Violation {
    /// One about a file as a whole.
    pub(crate) fn of_file(path: &str, message: impl Into<String>) -> Self {
        Self { place: path.to_owned(), message: message.into() }
    }
}

/// A file of the repository.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    /// As it stands on the disk.
    pub(crate) text: String,
    /// `text` with comments and literals blanked out: same offsets, same lines.
    pub(crate) code: String,
    test_items: Vec<Range<usize>>,
    inline_modules: Vec<(String, Range<usize>)>,
}

/// A function with a body.
pub(crate) struct Function {
    /// Where its `fn` stands.
    pub(crate) offset: usize,
    /// Its name.
    pub(crate) name: String,
    /// Lines from its `fn` to its closing brace, both counted.
    pub(crate) lines: usize,
}

/// An attribute.
pub(crate) struct Attribute<'a> {
    /// Where its `#` stands.
    pub(crate) offset: usize,
    /// What stands between the brackets, literals blanked out.
    pub(crate) code: &'a str,
    /// Where its closing bracket ends.
    pub(crate) end: usize,
}

impl Source {
    /// Reads a text.
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let code = blank(&text);
        let mut source =
            Self { path: path.into(), text, code, test_items: Vec::new(), inline_modules: Vec::new() };
        source.test_items = source.find_test_items();
        source.inline_modules = source.find_inline_modules();
        source
    }

    /// A violation at an offset of this file.
    pub(crate) fn violation(&self, offset: usize, message: impl Into<String>) -> Violation {
        let line = self.text[..offset].matches('\n').count() + 1;
        Violation { place: format!("{}:{line}", self.path), message: message.into() }
    }

    /// Whether the whole file is test code: in a folder `tests`, or named `tests.rs`.
    pub(crate) fn is_test_file(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// Whether the code at an offset is built for tests only.
    pub(crate) fn is_test_code(&self, offset: usize) -> bool {
        self.is_test_file() || self.test_items.iter().any(|item| item.contains(&offset))
    }

    /// The file's place among the modules of its crate, from the crate's root.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("actors/").unwrap_or(&self.path);
        let path = path.strip_prefix("src/").unwrap_or(path);
        let mut module: Vec<&str> = path.strip_suffix(".rs").unwrap_or(path).split('/').collect();
        if matches!(module.last(), Some(&("mod" | "lib" | "main"))) {
            module.pop();
        }
        module
    }

    /// The modules written out inside this file that enclose an offset, the outermost first.
    pub(crate) fn inline_modules(&self, offset: usize) -> impl Iterator<Item = &str> {
        let enclosing = self.inline_modules.iter().filter(move |(_, block)| block.contains(&offset));
        enclosing.map(|(name, _)| name.as_str())
    }

    /// Every identifier, keyword and number of the code, with its offset.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let pieces = self.code.split(|c: char| !is_word(c));
        pieces
            .filter(|word| !word.is_empty())
            .map(|word| (word.as_ptr().addr() - self.code.as_ptr().addr(), word))
    }

    /// Every function that has a body.
    pub(crate) fn functions(&self) -> impl Iterator<Item = Function> {
        self.words().filter(|&(_, word)| word == "fn").filter_map(|(offset, _)| {
            let name = word_at(&self.code, offset + "fn".len())?.to_owned();
            let open = body_open(&self.code, offset)?;
            let lines = self.code[offset..block_end(&self.code, open)].matches('\n').count() + 1;
            Some(Function { offset, name, lines })
        })
    }

    /// Every attribute, `#![inner]` ones too.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
        self.code.match_indices('#').filter_map(|(offset, _)| {
            let after = self.code[offset + 1..].trim_start_matches('!');
            let open = self.code.len() - after.len();
            let end = after.starts_with('[').then(|| block_end(&self.code, open))?;
            Some(Attribute { offset, code: self.code[open + 1..end - 1].trim(), end })
        })
    }

    fn find_inline_modules(&self) -> Vec<(String, Range<usize>)> {
        let modules = self.words().filter(|&(_, word)| word == "mod");
        modules
            .filter_map(|(offset, _)| {
                let name = word_at(&self.code, offset + "mod".len())?;
                let open = body_open(&self.code, offset)?;
                Some((name.to_owned(), open..block_end(&self.code, open)))
            })
            .collect()
    }

    fn find_test_items(&self) -> Vec<Range<usize>> {
        let for_tests = self.attributes().filter(|attribute| {
            let condition = attribute.code.strip_prefix("cfg(").unwrap_or_default();
            condition.split(|c| !is_word(c)).any(|word| word == "test") && !condition.contains("not(")
        });
        for_tests
            .filter_map(|attribute| {
                let open = body_open(&self.code, attribute.end)?;
                Some(attribute.offset..block_end(&self.code, open))
            })
            .collect()
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The word that comes next at or after an offset, if nothing but white space stands before it.
pub(crate) fn word_at(code: &str, offset: usize) -> Option<&str> {
    let rest = code[offset..].trim_start();
    let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
    (!word.is_empty()).then_some(word)
}

/// Where the body of the item at an offset opens, or `None` if it ends without one.
fn body_open(code: &str, offset: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in code[offset..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(offset + at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Where the bracket or brace that opens at an offset is closed again, its closing half included.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at + c.len_utf8();
        }
    }
    code.len()
}

/// Replaces comments and literals by spaces, so that nothing in them is taken for code.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    while let Some(next) = text[code.len()..].chars().next() {
        let rest = &text[code.len()..];
        match hidden_len(rest) {
            Some(len) => code.extend(rest[..len].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' })),
            None => code.push(next),
        }
    }
    code
}

/// The length of the comment or literal with which `rest` begins.
fn hidden_len(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_len(rest));
    }
    let quoted = rest.trim_start_matches(['b', 'c', 'r']);
    let prefix_len = rest.len() - quoted.len();
    let len = match &rest[..prefix_len] {
        "r" | "br" | "cr" => raw_string_len(quoted),
        "" | "b" | "c" if quoted.starts_with('"') => Some(string_len(quoted)),
        "" | "b" if quoted.starts_with('\'') => character_len(quoted),
        _ => None,
    };
    len.map(|len| prefix_len + len)
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0;
    let mut len = 0;
    while len < rest.len() {
        let step = &rest[len..];
        match step.get(..2) {
            Some("/*") => depth += 1,
            Some("*/") => depth -= 1,
            _ => {
                len += step.chars().next().map_or(1, char::len_utf8);
                continue;
            }
        }
        len += 2;
        if depth == 0 {
            break;
        }
    }
    len
}

fn raw_string_len(rest: &str) -> Option<usize> {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let body = rest[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + body.find(&closing).map_or(body.len(), |at| at + closing.len()))
}

fn string_len(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `None` for a lifetime.
fn character_len(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let is_escape = chars.next()?.1 == '\\';
    if is_escape {
        chars.next()?;
    }
    let (at, _) =
        if is_escape { chars.find(|&(_, c)| c == '\'') } else { chars.next().filter(|&(_, c)| c == '\'') }?;
    Some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_nothing_else() {
        let cases = [
            ("a // fn {", "a"),
            ("a /* { /* } */ */ b", "a b"),
            (r#"f("fn \" {") + 1"#, "f( ) + 1"),
            (r##"f(r#"a " { b"#) g"##, "f( ) g"),
            (r#"f(b"{", c"{", br"\")"#, "f( , , )"),
            (r"('{', '\'', '\u{7b}', b'{')", "( , , , )"),
            ("'é' é", "é"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("r#type + crab(b) + c", "r#type + crab(b) + c"),
        ];
        for (text, code) in cases {
            let blanked = blank(text);
            assert_eq!(blanked.len(), text.len(), "{text}");
            assert_eq!(blanked.split_whitespace().collect::<Vec<_>>().join(" "), code, "{text}");
        }
        assert_eq!(blank("\"a\nb\" c /*\n*/"), "  \n   c   \n  ");
    }

    #[test]
    fn a_function_is_counted_from_its_name_to_its_brace() {
        let text =
            "trait T { fn none(&self); }\nfn one(x: [u8; 2]) -> fn(u8) -> u8 { \"}\"; }\nfn three()\n{\n}\n";
        let functions: Vec<_> = Source::new("x.rs", text).functions().map(|f| (f.name, f.lines)).collect();
        assert_eq!(functions, [("one".to_owned(), 1), ("three".to_owned(), 3)]);
    }

    #[test]
    fn code_for_tests_is_told_from_code_that_ships() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\n#[cfg(not(test))]\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}";
        let source = Source::new("src/x.rs", text);
        let for_tests: Vec<_> =
            source.functions().filter(|f| source.is_test_code(f.offset)).map(|f| f.name).collect();
        assert_eq!(for_tests, ["b"]);
        assert!(Source::new("src/http/tests.rs", "fn a() {}").is_test_code(0));
        assert!(Source::new("actors/tests/laws.rs", "fn a() {}").is_test_code(0));
    }

    #[test]
    fn a_violation_tells_its_line() {
        let source = Source::new("src/x.rs", "a\nb\nc\n");
        assert_eq!(source.violation(4, "c is wrong").to_string(), "src/x.rs:3: c is wrong");
    }
}
