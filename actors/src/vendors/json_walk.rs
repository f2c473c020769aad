//! A walk over a document that is too long for memory and whose syntax has been checked: to the arrays of items in it,
//! and past everything else.

use std::io::{self, BufRead};

use super::long::LongError;

/// The way from an envelope to an array of items: keys, and [`EACH`] for the elements of a list.
pub(super) type Path = &'static [&'static str];

/// Any element of a list.
pub(super) const EACH: &str = "*";

/// What is done on the walk through an envelope.
pub(super) trait Visit {
    /// A piece of what stands around the items: with all of them, the envelope with a stand-in for each value in it.
    /// Simple values stand for themselves, objects and lists that lead to no items are empty, and the n-th array of
    /// items holds its number.
    fn around(&mut self, piece: &[u8]) -> Result<(), LongError>;

    /// Whether the items of the n-th array are wanted.
    fn wants(&mut self, array: usize) -> bool;

    /// An item of the n-th array; `None` if it is longer than any may be.
    fn item(&mut self, array: usize, position: usize, text: Option<&[u8]>) -> Result<(), LongError>;
}

/// Envelopes one after the other: one alone, or the elements of a list of them.
pub(super) struct Walker<R> {
    input: R,
    paths: &'static [Path],
    item_max_bytes: usize,
    at: At,
    arrays: usize,
    item: Vec<u8>,
}

#[derive(Clone, Copy)]
enum At {
    Begin,
    List(usize),
    End,
}

/// Where an envelope stands in its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the document.
    Alone,
    /// It is this element of it.
    Element(usize),
}

impl<R: BufRead> Walker<R> {
    /// A walk over `input`, to the arrays at the ends of `paths`.
    pub(super) fn new(input: R, paths: &'static [Path], item_max_bytes: usize) -> Self {
        Self { input, paths, item_max_bytes, at: At::Begin, arrays: 0, item: Vec::new() }
    }

    /// Where the bytes come from.
    pub(super) fn input(&mut self) -> &mut R {
        &mut self.input
    }

    /// The same, when the walk is over.
    pub(super) fn into_input(self) -> R {
        self.input
    }

    /// Walks through the next envelope; `None` after the last one.
    pub(super) fn next(&mut self, visit: &mut dyn Visit) -> Result<Option<Place>, LongError> {
        self.arrays = 0;
        let first = self.peek()?;
        let element = match self.at {
            At::Begin if first == b'[' => {
                self.input.consume(1);
                0
            }
            At::Begin => {
                self.at = At::End;
                self.node(self.paths, visit)?;
                return Ok(Some(Place::Alone));
            }
            At::List(element) => element,
            At::End => return Ok(None),
        };
        if !self.is_another(b']')? {
            self.at = At::End;
            return Ok(None);
        }
        self.at = At::List(element + 1);
        self.node(self.paths, visit)?;
        Ok(Some(Place::Element(element)))
    }

    /// The next byte that is not blank, which stays; 0 at the end.
    fn peek(&mut self) -> io::Result<u8> {
        loop {
            let block = self.input.fill_buf()?;
            let Some(&first) = block.first() else { return Ok(0) };
            let blanks = block.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
            if blanks == 0 {
                return Ok(first);
            }
            self.input.consume(blanks);
        }
    }

    /// Whether a list or an object goes on, past its comma; if not, its `end` is passed.
    fn is_another(&mut self, end: u8) -> io::Result<bool> {
        let mut byte = self.peek()?;
        if byte == b',' {
            self.input.consume(1);
            byte = self.peek()?;
        }
        match byte {
            // The file is shorter than it was.
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            byte if byte == end => {
                self.input.consume(1);
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// A value on the way to the arrays at the ends of `paths`.
    fn node(&mut self, paths: &[Path], visit: &mut dyn Visit) -> Result<(), LongError> {
        let leads_on =
            |to_element: bool| paths.iter().any(|path| (path.first() == Some(&EACH)) == to_element);
        match self.peek()? {
            b'{' if leads_on(false) => self.object(paths, visit),
            b'[' if leads_on(true) => self.list(paths, visit),
            _ => self.aside(visit),
        }
    }

    fn object(&mut self, paths: &[Path], visit: &mut dyn Visit) -> Result<(), LongError> {
        self.input.consume(1);
        visit.around(b"{")?;
        let mut is_first = true;
        while self.is_another(b'}')? {
            if !std::mem::take(&mut is_first) {
                visit.around(b",")?;
            }
            let (key, leading) = self.key(paths)?;
            visit.around(&key)?;
            visit.around(b":")?;
            self.peek()?;
            self.input.consume(1);
            let is_array = leading.iter().any(|path| path.is_empty());
            match self.peek()? {
                b'[' if is_array => self.array(visit)?,
                _ if leading.iter().all(|path| path.is_empty()) => self.aside(visit)?,
                _ => self.node(&leading, visit)?,
            }
        }
        visit.around(b"}")
    }

    /// A key in its quotes, and where it leads.
    fn key(&mut self, paths: &[Path]) -> Result<(Vec<u8>, Vec<Path>), LongError> {
        let mut key = Vec::new();
        self.pass(Some((&mut key, self.item_max_bytes)))?;
        // One that cannot be read leads nowhere; whoever reads what stands around will say so.
        let name: String = serde_json::from_slice(&key).unwrap_or_default();
        let rest =
            |path: &Path| path.split_first().filter(|(first, _)| **first == name).map(|(_, rest)| rest);
        let leading = paths.iter().filter_map(rest).collect();
        Ok((key, leading))
    }

    fn list(&mut self, paths: &[Path], visit: &mut dyn Visit) -> Result<(), LongError> {
        self.input.consume(1);
        visit.around(b"[")?;
        let rest =
            |path: &Path| path.split_first().filter(|(first, _)| **first == EACH).map(|(_, rest)| rest);
        let leading: Vec<Path> = paths.iter().filter_map(rest).collect();
        let mut is_first = true;
        while self.is_another(b']')? {
            if !std::mem::take(&mut is_first) {
                visit.around(b",")?;
            }
            self.node(&leading, visit)?;
        }
        visit.around(b"]")
    }

    /// An array of items.
    fn array(&mut self, visit: &mut dyn Visit) -> Result<(), LongError> {
        let array = self.arrays;
        self.arrays += 1;
        visit.around(format!("[{array}]").as_bytes())?;
        if !visit.wants(array) {
            return Ok(self.pass(None)?);
        }
        self.input.consume(1);
        let mut position = 0;
        while self.is_another(b']')? {
            let mut item = std::mem::take(&mut self.item);
            item.clear();
            self.pass(Some((&mut item, self.item_max_bytes)))?;
            let is_whole = item.len() <= self.item_max_bytes;
            visit.item(array, position, is_whole.then_some(&item))?;
            self.item = item;
            position += 1;
        }
        Ok(())
    }

    /// A value that leads to no items.
    fn aside(&mut self, visit: &mut dyn Visit) -> Result<(), LongError> {
        match self.peek()? {
            b'{' => {
                self.pass(None)?;
                visit.around(b"{}")
            }
            b'[' => {
                self.pass(None)?;
                visit.around(b"[]")
            }
            _ => {
                let mut value = Vec::new();
                self.pass(Some((&mut value, self.item_max_bytes)))?;
                visit.around(&value)
            }
        }
    }

    /// Passes over a value. Its text is kept, as long as it is not longer than so many bytes; of a longer one, a part
    /// that is.
    fn pass(&mut self, mut keep: Option<(&mut Vec<u8>, usize)>) -> io::Result<()> {
        self.peek()?;
        let mut scan = Scan::default();
        loop {
            let block = self.input.fill_buf()?;
            if block.is_empty() {
                return if scan.is_simple() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let (used, is_over) = scan.scan(block);
            if let Some((kept, max_bytes)) = &mut keep
                && kept.len() <= *max_bytes
            {
                kept.extend_from_slice(&block[..used]);
            }
            self.input.consume(used);
            if is_over {
                return Ok(());
            }
        }
    }
}

/// Looks for the end of a value.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Scan {
    /// Whether nothing is open: only a number or a word may end with the text.
    fn is_simple(&self) -> bool {
        self.depth == 0 && !self.in_string
    }

    /// How many bytes of a block belong to the value, and whether it ends there.
    fn scan(&mut self, block: &[u8]) -> (usize, bool) {
        for (place, byte) in block.iter().enumerate() {
            if self.is_escaped {
                self.is_escaped = false;
            } else if self.in_string {
                match byte {
                    b'\\' => self.is_escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return (place + 1, true);
                        }
                    }
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'[' | b'{' => self.depth += 1,
                    b',' | b' ' | b'\t' | b'\r' | b'\n' | b']' | b'}' if self.depth == 0 => {
                        return (place, true);
                    }
                    b']' | b'}' => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return (place + 1, true);
                        }
                    }
                    _ => {}
                }
            }
        }
        (block.len(), false)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const PATHS: &[Path] = &[&["samples"], &["data", "records"], &["data", "metrics", EACH, "data"]];

    #[derive(Default)]
    struct Seen {
        around: String,
        items: Vec<(usize, usize, Option<String>)>,
    }

    impl Visit for Seen {
        fn around(&mut self, piece: &[u8]) -> Result<(), LongError> {
            self.around.push_str(std::str::from_utf8(piece).unwrap());
            Ok(())
        }

        fn wants(&mut self, array: usize) -> bool {
            array != 3
        }

        fn item(&mut self, array: usize, position: usize, text: Option<&[u8]>) -> Result<(), LongError> {
            let text = text.map(|text| String::from_utf8(text.to_vec()).unwrap());
            self.items.push((array, position, text));
            Ok(())
        }
    }

    /// What is seen of a document that comes in blocks of so many bytes.
    fn walk(text: &str, block_bytes: usize) -> Vec<(Place, Seen)> {
        let mut walker = Walker::new(io::BufReader::with_capacity(block_bytes, text.as_bytes()), PATHS, 12);
        let mut envelopes = Vec::new();
        loop {
            let mut seen = Seen::default();
            let Some(place) = walker.next(&mut seen).unwrap() else { return envelopes };
            envelopes.push((place, seen));
        }
    }

    #[test]
    fn the_walk_leads_to_every_array_of_items_and_past_everything_else() {
        let text = r#" { "data" : {"metrics":[ {"data":[1, "a]}",{"b":[2]}],"name":"x\"","units":null} , 7, [8],{"name":"y"},
            {"data":null,"data":[]},{"data":[9]}],"records":[{"samples":[3]},"0123456789abc"],"x":{"metrics":[1]}},
            "samples":{"a":1},"metrics":[4], "n":-1.5e3,"t":true } "#;
        let around = r#"{"data":{"metrics":[{"data":[0],"name":"x\"","units":null},7,[],{"name":"y"},{"data":null,"data":[1]},{"data":[2]}],"records":[3],"x":{}},"samples":{},"metrics":[],"n":-1.5e3,"t":true}"#;
        for block_bytes in [1, 2, 7, 64, 4_096] {
            let envelopes = walk(text, block_bytes);
            let [(Place::Alone, seen)] = envelopes.as_slice() else { panic!("one envelope") };
            assert_eq!(seen.around, around, "by {block_bytes}");
            let texts: Vec<_> = seen.items.iter().map(|(a, p, text)| (*a, *p, text.as_deref())).collect();
            let expected =
                [(0, 0, Some("1")), (0, 1, Some("\"a]}\"")), (0, 2, Some("{\"b\":[2]}")), (2, 0, Some("9"))];
            assert_eq!(texts, expected, "by {block_bytes}");
        }
    }

    #[test]
    fn a_list_is_walked_through_one_envelope_after_the_other() {
        for block_bytes in [1, 5, 4_096] {
            let envelopes =
                walk(r#"[{"samples":[1,"0123456789abc",2]}, 5 ,{}, {"samples":[3]}] "#, block_bytes);
            let around: Vec<_> =
                envelopes.iter().map(|(place, seen)| (*place, seen.around.as_str())).collect();
            let place = Place::Element;
            let expected = [
                (place(0), "{\"samples\":[0]}"),
                (place(1), "5"),
                (place(2), "{}"),
                (place(3), "{\"samples\":[0]}"),
            ];
            assert_eq!(around, expected);
            assert_eq!(envelopes[0].1.items[1], (0, 1, None), "it is longer than any may be");
            assert_eq!(envelopes[3].1.items, [(0, 0, Some("3".to_owned()))]);
        }
        assert!(walk("[]", 1).is_empty());
        assert_eq!(walk("5", 1)[0].1.around, "5");
    }
}
