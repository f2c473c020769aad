//! Frames in every shape in which the other side may send them.

#![allow(clippy::unwrap_used)]

use super::*;

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 11, 13, 17];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(MASKED | short as u8),
        long => {
            frame.push(MASKED | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn read(bytes: &[u8]) -> Vec<Came> {
    let mut frames = Frames::default();
    frames.add(bytes);
    std::iter::from_fn(|| frames.next()).take(3).collect()
}

#[test]
fn the_key_of_the_rfc_is_answered_as_the_rfc_has_it() {
    assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ==").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for wrong in ["", "dGhl", "dGhlIHNhbXBsZSBub25jZQ", "not base64 at all!!!!!!!"] {
        assert_eq!(accept(wrong), None, "{wrong}");
    }
}

#[test]
fn a_frame_is_the_same_however_it_is_cut_into_pieces() {
    let long = vec![b'x'; 300];
    let mut bytes = masked(FIN | PING, b"hello");
    bytes.extend(masked(FIN | TEXT, &long));
    bytes.extend(masked(FIN | CLOSE, &1000_u16.to_be_bytes()));
    let whole = [Came::Ping(b"hello".to_vec()), Came::Other, Came::Close(1000)];
    assert_eq!(read(&bytes), whole);
    for cut in 1..bytes.len() {
        let mut frames = Frames::default();
        let mut came = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            frames.add(part);
            came.extend(std::iter::from_fn(|| frames.next()));
        }
        assert_eq!(came, whole, "cut at {cut}");
    }
}

#[test]
fn what_breaks_the_protocol_ends_it_by_the_code_that_says_so() {
    let unmasked = [FIN | TEXT, 1, b'x'];
    assert_eq!(read(&unmasked)[0], Came::Close(1002));
    assert_eq!(read(&masked(FIN | 0x40 | TEXT, b"x"))[0], Came::Close(1002));
    assert_eq!(read(&masked(FIN | 0x3, b"x"))[0], Came::Close(1002));
    assert_eq!(read(&masked(PING, b"in parts"))[0], Came::Close(1002));
    assert_eq!(read(&masked(FIN | PING, &[b'x'; 126]))[0], Came::Close(1002));
    assert_eq!(read(&masked(FIN | CLOSE, &[3]))[0], Came::Close(1002));
    assert_eq!(read(&masked(FIN | CLOSE, &1005_u16.to_be_bytes()))[0], Came::Close(1002));
    assert_eq!(read(&masked(FIN | CLOSE, b""))[0], Came::Close(1000));
    // Of a frame that is too long not a byte is waited for.
    let mut huge = vec![FIN | TEXT, MASKED | 127];
    huge.extend(u64::MAX.to_be_bytes());
    assert_eq!(read(&huge)[0], Came::Close(1009));
}

#[test]
fn lengths_are_told_in_the_shortest_form() {
    for (length, head) in [
        (0, vec![0x81, 0]),
        (125, vec![0x81, 125]),
        (126, vec![0x81, 126, 0, 126]),
        (65_535, vec![0x81, 126, 0xff, 0xff]),
        (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut told = Vec::new();
        put_text_head(length, &mut told);
        assert_eq!(told, head);
    }
}
