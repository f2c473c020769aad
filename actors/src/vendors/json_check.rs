//! The syntax of a body that is too long for memory: the same errors, at the same places, as [`json::document`] has.

use std::io::{self, BufReader, Read};

use serde::de::IgnoredAny;

use super::json::{self, Nesting};
use super::long::LongError;
use crate::domain::delivery::DecodeError;

/// Bytes that are looked at together.
const BLOCK_BYTES: usize = 64 << 10;

/// Checks UTF-8, depth and syntax of all that comes. Gives back how many bytes that was.
pub(super) fn check(input: impl Read) -> Result<u64, LongError> {
    let mut input = BufReader::with_capacity(BLOCK_BYTES, Watched::new(input));
    let syntax = serde_json::from_reader::<_, IgnoredAny>(&mut input);
    if let Err(error) = syntax.as_ref().map_err(serde_json::Error::classify)
        && error == serde_json::error::Category::Io
    {
        return Err(LongError::Io(syntax.err().map_or_else(|| io::ErrorKind::Other.into(), io::Error::from)));
    }
    // What is wrong with the text goes before what is wrong with its syntax, wherever it stands.
    io::copy(&mut input, &mut io::sink())?;
    let watched = input.get_ref();
    if let Some(error) = watched.error() {
        return Err(error.into());
    }
    match (syntax, &watched.control) {
        (Ok(IgnoredAny), _) => Ok(watched.bytes),
        // Of a stream serde counts this one character, of a text it does not.
        (Err(error), Some(control)) if error.to_string().starts_with("control character") => {
            Err(control.clone().into())
        }
        (Err(error), _) => Err(json::syntax_error(&error).into()),
    }
}

/// Looks at bytes as they go by.
struct Watched<R> {
    input: R,
    /// How many have gone by.
    bytes: u64,
    /// Lines that have ended, and where the last one did.
    lines: usize,
    line_start: u64,
    /// A character whose end has not come.
    pending: Vec<u8>,
    first: [u8; 3],
    nesting: Nesting,
    not_utf8: Option<DecodeError>,
    too_deep: Option<DecodeError>,
    /// The first control character in a string.
    control: Option<DecodeError>,
}

impl<R: Read> Watched<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            bytes: 0,
            lines: 0,
            line_start: 0,
            pending: Vec::new(),
            first: [0; 3],
            nesting: Nesting::default(),
            not_utf8: None,
            too_deep: None,
            control: None,
        }
    }

    /// What is wrong with the text, now that all of it has gone by.
    fn error(&self) -> Option<DecodeError> {
        if let Some(error) = &self.not_utf8 {
            return Some(error.clone());
        }
        if !self.pending.is_empty() {
            return Some(self.place("not UTF-8", &[], self.bytes - self.pending.len() as u64));
        }
        if self.bytes >= 3 && self.first == *b"\xef\xbb\xbf" {
            return Some(DecodeError::NotJson { what: "a byte order mark", line: 1, column: 1 });
        }
        self.too_deep.clone()
    }

    /// An error at an offset of the body, which lies in `block`, the next to be counted, or at its begin.
    fn place(&self, what: &'static str, block: &[u8], offset: u64) -> DecodeError {
        let in_block = usize::try_from(offset.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        let before = &block[..in_block.min(block.len())];
        let newline = before.iter().rposition(|&byte| byte == b'\n');
        let line_start = newline.map_or(self.line_start, |newline| self.bytes + newline as u64 + 1);
        let line = self.lines + before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        DecodeError::NotJson { what, line, column: (offset - line_start) as usize + 1 }
    }

    fn look_at(&mut self, block: &[u8]) {
        for (place, byte) in self.first.iter_mut().skip(self.bytes.min(3) as usize).zip(block) {
            *place = *byte;
        }
        if self.not_utf8.is_none() {
            self.look_at_text(block);
        }
        if self.too_deep.is_none() {
            self.look_at_nesting(block);
        }
        if let Some(newline) = block.iter().rposition(|&byte| byte == b'\n') {
            self.lines += block.iter().filter(|&&byte| byte == b'\n').count();
            self.line_start = self.bytes + newline as u64 + 1;
        }
        self.bytes += block.len() as u64;
    }

    fn look_at_nesting(&mut self, block: &[u8]) {
        for (place, &byte) in block.iter().enumerate() {
            let offset = self.bytes + place as u64;
            if byte < b' ' && self.control.is_none() && self.nesting.is_in_string() {
                // The last character that was good.
                if let DecodeError::NotJson { what, line, column } = self.place("syntax", block, offset) {
                    let column = column.saturating_sub(1).max(1);
                    self.control = Some(DecodeError::NotJson { what, line, column });
                }
            }
            if self.nesting.is_too_deep_after(byte) {
                self.too_deep = Some(self.place(json::TOO_DEEP, block, offset));
                return;
            }
        }
    }

    /// A character may begin in one block and end in the next.
    fn look_at_text(&mut self, block: &[u8]) {
        let mut rest = block;
        while !self.pending.is_empty() {
            let Some((&next, after)) = rest.split_first() else { return };
            let mut longer = self.pending.clone();
            longer.push(next);
            match std::str::from_utf8(&longer) {
                Ok(_) => self.pending.clear(),
                Err(error) if error.error_len().is_none() => self.pending = longer,
                Err(_) => {
                    let offset = self.bytes + (block.len() - rest.len()) as u64 - self.pending.len() as u64;
                    self.not_utf8 = Some(self.place("not UTF-8", block, offset));
                    return;
                }
            }
            rest = after;
        }
        let Err(error) = std::str::from_utf8(rest) else { return };
        let offset = block.len() - rest.len() + error.valid_up_to();
        match error.error_len() {
            None => self.pending = block[offset..].to_vec(),
            Some(_) => self.not_utf8 = Some(self.place("not UTF-8", block, self.bytes + offset as u64)),
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.input.read(buffer)?;
        self.look_at(&buffer[..len]);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    /// Gives a few bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(buffer.len());
            self.0.read(&mut buffer[..len])
        }
    }

    fn agree(body: &[u8], piece: usize) {
        let in_memory = json::document(body).map(|_| body.len() as u64);
        let streamed = match check(Drip(body, piece)) {
            Ok(bytes) => Ok(bytes),
            Err(LongError::Unreadable(error)) => Err(error),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(streamed, in_memory, "{:?} by {piece}", String::from_utf8_lossy(body));
    }

    #[test]
    fn every_error_is_that_of_a_body_in_memory() {
        let deep = |depth: usize| format!("\n{}1{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        let cases: [&[u8]; 20] = [
            b"",
            b" ",
            b"{\n  \"a\": 1",
            b"{\n\"a\": nul}",
            b"{} {}",
            b"{\n\"a\":\"\xff\"}",
            b"\xef\xbb\xbf{}",
            b"\xef\xbb",
            b"[NaN]\n",
            b"[01]",
            b"[1.]",
            b"[\"\x01\"]",
            b"[\"\\q\"]",
            b"[\"\\ud800\"]",
            b"{\"a\":1,}",
            b"{\"a\" 1}",
            b"[1 2]\n\n",
            b"{bad\n\"\xe2\x82\"",
            b"\xc3\xa9",
            "{\n\"é€😀\":[\"é\u{202f}\"], \"a\":1.5e-3}".as_bytes(),
        ];
        for piece in [1, 2, 3, 7, 1 << 16] {
            cases.iter().for_each(|body| agree(body, piece));
            agree(&deep(64), piece);
            agree(&deep(65), piece);
            agree(&deep(10_000), piece);
        }
    }

    proptest! {
        #[test]
        fn a_body_that_is_damaged_anywhere_is_judged_as_in_memory(
            place in 0_usize..150, byte: u8, cut in 0_usize..150, piece in 1_usize..20,
        ) {
            let mut body = "{\"user_id\":\"Zoë\",\n\"samples\":[{\"type\":\"heartRate\",\"value\":61.5e0,\n\
                \"x\":[true,false,null,{}],\"s\":\"\\u00e9\\n€😀\"}],\n \"n\":-0.1}\n".as_bytes().to_vec();
            let place = place.min(body.len() - 1);
            body[place] = byte;
            agree(&body, piece);
            body.truncate(cut);
            agree(&body, piece);
        }
    }
}
