//! JSON read in two steps: the syntax of the whole body first, then each value by itself.
//!
//! [`RawValue`] keeps a value's text unread, so a wrong type, a number beyond a double's range or a key that occurs
//! twice fails the sample it stands in and not the delivery.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::delivery::DecodeError;

/// How deep arrays and objects may be nested. Vendors' bodies have fewer than ten levels.
const DEPTH_MAX: usize = 64;

/// What is told of a body that is nested deeper.
pub(super) const TOO_DEEP: &str = "nested deeper than 64 levels";

/// Checks UTF-8, depth and syntax of a body.
pub(super) fn document(body: &[u8]) -> Result<&RawValue, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|error| not_json("not UTF-8", body, error.valid_up_to()))?;
    if text.starts_with('\u{feff}') {
        return Err(not_json("a byte order mark", body, 0));
    }
    if let Some(offset) = too_deep_at(body) {
        return Err(not_json(TOO_DEEP, body, offset));
    }
    serde_json::from_str(text).map_err(|error| syntax_error(&error))
}

fn too_deep_at(body: &[u8]) -> Option<usize> {
    let mut nesting = Nesting::default();
    body.iter().position(|&byte| nesting.is_too_deep_after(byte))
}

/// How deep a text is nested, followed byte by byte.
#[derive(Default)]
pub(super) struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Whether the next byte stands in a string.
    pub(super) fn is_in_string(&self) -> bool {
        self.in_string
    }

    /// Takes in the next byte.
    pub(super) fn is_too_deep_after(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.depth > DEPTH_MAX
    }
}

/// What is wrong with the syntax, and where.
pub(super) fn syntax_error(error: &serde_json::Error) -> DecodeError {
    DecodeError::NotJson {
        what: if error.is_eof() { "unexpected end" } else { "syntax" },
        line: error.line().max(1),
        column: error.column().max(1),
    }
}

fn not_json(what: &'static str, body: &[u8], offset: usize) -> DecodeError {
    let before = &body[..offset];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    DecodeError::NotJson { what, line, column: offset - line_start + 1 }
}

/// The fields of an object, as `T` names them; other keys are passed over. The error says what is wrong.
pub(super) fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, &'static str> {
    if !is_object(raw) {
        return Err("an object was expected");
    }
    // All fields of `T` being unread values, nothing but a repeated key is an error of data.
    serde_json::from_str(raw.get()).map_err(|error| match error.is_data() {
        true => "a key occurs twice",
        false => "a key is not readable text",
    })
}

/// An object's members, each unread.
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A member's name; it borrows unless it holds escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Members<'a> {
    /// All of them, in the order of the document.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, raw)| (&**key, *raw))
    }

    /// The member of this name; `None` if it is absent or null.
    pub(super) fn get(&self, name: &str) -> Result<Option<&'a RawValue>, &'static str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, raw)| *raw);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err("the key occurs twice"),
            (value, None) => Ok(value.filter(|raw| raw.get() != "null")),
        }
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), raw)) = map.next_entry()? {
                    members.push((name, raw));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// The members of an object.
pub(super) fn members(raw: &RawValue) -> Result<Members<'_>, &'static str> {
    object(raw)
}

/// The longest token of a page: it goes into an address, and into the queue.
const PAGE_MAX_BYTES: usize = 2_048;

/// A page of an API's list: its records, and the token of the page after it. A token that leads back to the page that
/// was `asked` for leads nowhere.
pub(super) fn page<'a>(
    document: &'a RawValue,
    list: &str,
    asked: Option<&str>,
) -> Result<(Vec<&'a RawValue>, Option<String>), DecodeError> {
    let shape = |path: String, detail: &str| DecodeError::Shape { path, detail: detail.to_owned() };
    let members = members(document).map_err(|detail| shape(String::new(), detail))?;
    let records = members.get(list).and_then(|raw| raw.ok_or("is missing")).and_then(array);
    let records = records.map_err(|detail| shape(format!("/{list}"), detail))?;
    let next = members.get("next_token").and_then(|raw| raw.map(text).transpose());
    let next = next.map_err(|detail| shape("/next_token".to_owned(), detail))?;
    if next.as_ref().is_some_and(|next| next.len() > PAGE_MAX_BYTES) {
        return Err(shape("/next_token".to_owned(), "is longer than 2048 bytes"));
    }
    let next = next.map(Cow::into_owned).filter(|next| !next.is_empty() && Some(next.as_str()) != asked);
    Ok((records, next))
}

/// Whether the value is an object.
pub(super) fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// Whether the value is an array.
pub(super) fn is_array(raw: &RawValue) -> bool {
    raw.get().starts_with('[')
}

/// The elements of an array.
pub(super) fn array(raw: &RawValue) -> Result<Vec<&RawValue>, &'static str> {
    serde_json::from_str(raw.get()).map_err(|_| "an array was expected")
}

/// A string without its quotes; it borrows unless it holds escapes.
pub(super) fn text(raw: &RawValue) -> Result<Cow<'_, str>, &'static str> {
    let Some(inner) = raw.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Err("a string was expected");
    };
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw.get()).map(Cow::Owned).map_err(|_| "the string holds half a surrogate pair")
}

/// A number; one beyond the range of a double is infinite. Numbers in strings and booleans are none.
pub(super) fn number(raw: &RawValue) -> Result<f64, &'static str> {
    const EXPECTED: &str = "a number was expected";
    match raw.get().as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => raw.get().parse().map_err(|_| EXPECTED),
        _ => Err(EXPECTED),
    }
}

/// `true` or `false`.
pub(super) fn boolean(raw: &RawValue) -> Result<bool, &'static str> {
    raw.get().parse().map_err(|_| "true or false was expected")
}

/// An id: a string, or a whole number by its digits. As a double it would be another one beyond 2^53.
pub(super) fn id(raw: &RawValue) -> Result<Cow<'_, str>, &'static str> {
    match raw.get().bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(Cow::Borrowed(raw.get())),
        false => text(raw).map_err(|_| "a string or a whole number was expected"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings_only() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(document(nested(64).as_bytes()).is_ok());
        let error = document(nested(65).as_bytes()).expect_err("65 levels");
        assert_eq!(error, DecodeError::NotJson { what: "nested deeper than 64 levels", line: 1, column: 65 });
        let in_string = format!(r#"{{"a\"{0}\\":"\\\"{0}"}}"#, "[".repeat(100));
        assert!(document(in_string.as_bytes()).is_ok());
        assert!(document("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_not_json_is_told_by_line_and_column() {
        let cases: [(&[u8], &str, usize, usize); 9] = [
            (b"", "unexpected end", 1, 1),
            (b"{\n  \"a\": 1", "unexpected end", 2, 8),
            (b"{\n\"a\": nul}", "syntax", 2, 9),
            (b"{} {}", "syntax", 1, 4),
            (b"{\n\"a\":\"\xff\"}", "not UTF-8", 2, 6),
            (b"\xef\xbb\xbf{}", "a byte order mark", 1, 1),
            (b"[NaN]", "syntax", 1, 2),
            (b"[-Infinity]", "syntax", 1, 3),
            (b"\xff\xfe{\0}\0", "not UTF-8", 1, 1),
        ];
        for (body, what, line, column) in cases {
            assert_eq!(document(body).unwrap_err(), DecodeError::NotJson { what, line, column }, "{body:?}");
        }
    }

    #[test]
    fn texts_and_numbers_are_never_taken_for_each_other() {
        let read = |json: &'static str| document(json.as_bytes()).unwrap();
        assert_eq!(text(read(r#""a b""#)), Ok(Cow::Borrowed("a b")));
        assert_eq!(text(read(r#""a\u202fb\n""#)), Ok(Cow::Owned("a\u{202f}b\n".to_owned())));
        assert!(text(read(r#""\ud800""#)).is_err());
        assert_eq!(number(read("-0")), Ok(0.0));
        assert_eq!(number(read("1e400")), Ok(f64::INFINITY));
        for json in [r#""61""#, "true", "null", "[61]", r#"{"value":61}"#] {
            assert!(number(read(json)).is_err(), "{json}");
        }
        for json in ["61", "true", "null", r#"["61"]"#, r#"{"value":"61"}"#] {
            assert!(text(read(json)).is_err(), "{json}");
        }
    }

    #[test]
    fn an_id_keeps_every_digit() {
        let read = |json: &'static str| id(document(json.as_bytes()).unwrap());
        assert_eq!(read("9007199254740993"), Ok(Cow::Borrowed("9007199254740993")));
        assert_eq!(read(r#""9007199254740993""#), Ok(Cow::Borrowed("9007199254740993")));
        for json in ["-1", "1.0", "1e3", "true", "null", "[1]"] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
