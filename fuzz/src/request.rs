//! A request as text, so that the inputs of verifiers can be read, written and reviewed.
//!
//! `name: value` lines, an empty line, the body. A name with `@` sets up the device instead of being sent. In a value
//! `{native}` stands for a right signature: no fuzzer finds one, and what follows a right one must be tried too.

use actors::domain::delivery::{Header, Headers};

/// A request, and how the device that takes it is set up.
pub struct Request<'a> {
    fields: Vec<(String, Vec<u8>)>,
    /// What follows the first empty line.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads any bytes; lines without a colon are passed over.
    pub fn read(data: &'a [u8]) -> Self {
        let end = data.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = match end {
            Some(end) => (&data[..end], &data[end + 2..]),
            None => (data, [].as_slice()),
        };
        let field = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            let value = &line[colon + 1..];
            Some((name, value.strip_prefix(b" ").unwrap_or(value).to_vec()))
        };
        Self { fields: head.split(|byte| *byte == b'\n').filter_map(field).collect(), body }
    }

    /// All values of a field that are text, in order.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_name = self.fields.iter().filter(move |(field, _)| field == name);
        of_name.filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The first value of a setting, read as what it is; `default` without one.
    pub fn setting<T: std::str::FromStr>(&self, name: &str, default: T) -> T {
        self.texts(name).next().and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// Puts `value` in the place of `placeholder` wherever it is sent.
    pub fn fill(&mut self, placeholder: &str, value: &str) {
        for (name, field) in &mut self.fields {
            if let Ok(text) = std::str::from_utf8(field)
                && !name.starts_with('@')
                && text.contains(placeholder)
            {
                *field = text.replace(placeholder, value).into_bytes();
            }
        }
    }
}

impl Headers for Request<'_> {
    fn get(&self, name: &str) -> Header<'_> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Header::Missing,
            (Some(_), Some(_)) => Header::Repeated,
            (Some(value), None) => std::str::from_utf8(value).map_or(Header::NotText, Header::One),
        }
    }
}

/// Whether a field stands there once, as text, and is right.
pub fn holds(field: Header<'_>, is_right: impl Fn(&str) -> bool) -> bool {
    matches!(field, Header::One(text) if is_right(text))
}
