//! WebSocket (RFC 6455) as far as a stream needs it: text out, and of what comes in only pings and the close.
//!
//! No library in the tree does this (`docs/adr/010-websocket-frames-of-our-own.md`).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::settings::SOCKET_FRAME_MAX_BYTES;

/// The protocol's own constant (RFC 6455 §1.3).
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// The longest payload of a control frame.
const CONTROL_MAX: usize = 125;

/// Codes of a close (RFC 6455 §7.4.1).
pub(super) const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const TOO_LONG: u16 = 1009;

/// What answers a handshake's `Sec-WebSocket-Key`; `None` for what is no such key.
pub(super) fn accept(key: &str) -> Option<String> {
    let is_key = BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    let text = format!("{key}{ACCEPT_SUFFIX}");
    is_key.then(|| BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes())))
}

/// Puts a text frame's head for a payload of this length.
pub(super) fn put_text_head(length: usize, into: &mut Vec<u8>) {
    into.push(FIN | TEXT);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => into.push(short),
        (_, Ok(middle)) => {
            into.push(126);
            into.extend(middle.to_be_bytes());
        }
        _ => {
            into.push(127);
            into.extend((length as u64).to_be_bytes());
        }
    }
}

/// A text.
pub(super) fn text(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    put_text_head(payload.len(), &mut frame);
    frame.extend(payload);
    frame
}

/// A ping.
pub(super) fn ping() -> Vec<u8> {
    control(PING, b"")
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    control(PONG, payload)
}

/// A close with its code.
pub(super) fn close(code: u16) -> Vec<u8> {
    control(CLOSE, &code.to_be_bytes())
}

fn control(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len().min(CONTROL_MAX)).unwrap_or_default();
    let mut frame = vec![FIN | opcode, length];
    frame.extend(payload.iter().take(CONTROL_MAX));
    frame
}

/// What the other side has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    /// A sign of life, or words that nobody listens to.
    Other,
    /// The end: to be answered with this code, and nothing is read any more.
    Close(u16),
}

/// Reads the other side's frames, however they are cut into pieces.
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// How many of them have been read. They are moved out when more comes, not for every frame.
    read: usize,
}

impl Frames {
    /// More has come.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend(bytes);
    }

    /// The next frame, if it is whole.
    pub(super) fn next(&mut self) -> Option<Came> {
        let [first, second, ..] = *self.bytes.get(self.read..)? else { return None };
        let (opcode, is_control) = (first & 0x0F, first & 0x08 != 0);
        let is_known = matches!(opcode, 0x0..=0x2 | CLOSE..=PONG);
        // A client's frames are masked, and what was not agreed on is not used.
        if first & RESERVED != 0 || second & MASKED == 0 || !is_known {
            return Some(Came::Close(PROTOCOL_ERROR));
        }
        let (length, head) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes(self.at(2)?)), 4),
            127 => (u64::from_be_bytes(self.at(2)?), 10),
            short => (u64::from(short), 2),
        };
        if is_control && (first & FIN == 0 || length > CONTROL_MAX as u64) {
            return Some(Came::Close(PROTOCOL_ERROR));
        }
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= SOCKET_FRAME_MAX_BYTES)
        else {
            return Some(Came::Close(TOO_LONG));
        };
        let mask: [u8; 4] = self.at(head)?;
        let payload = self.bytes.get(self.read..)?.get(head + 4..head + 4 + length)?;
        let payload: Vec<u8> =
            payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        self.read += head + 4 + length;
        Some(match opcode {
            PING => Came::Ping(payload),
            CLOSE => Came::Close(close_code(&payload)),
            _ => Came::Other,
        })
    }

    fn at<const N: usize>(&self, place: usize) -> Option<[u8; N]> {
        self.bytes.get(self.read + place..self.read + place + N)?.try_into().ok()
    }
}

/// What a close is answered with: its own code, if it may be sent.
fn close_code(payload: &[u8]) -> u16 {
    match payload {
        [] => 1000,
        [high, low, ..] => match u16::from_be_bytes([*high, *low]) {
            code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => code,
            _ => PROTOCOL_ERROR,
        },
        [_] => PROTOCOL_ERROR,
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
