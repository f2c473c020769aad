//! Senders and readers that take their time: each is given up, and nobody else waits for them.
//!
//! Their pauses are the load; nothing here waits for the bridge by sleeping.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::aftermath::{HEART_RATE, ID, assert_at_rest, assert_unharmed, talkative};
use crate::answers::{ago, heart_rate, read_answer, send, send_part, to_healthkit};
use crate::bridge::{Bridge, HEALTHKIT_KEY, PATIENCE};

/// Between two bytes that drip.
const DRIP: Duration = Duration::from_millis(100);
const READY: &[u8] = b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n";

/// Sends `piece` again and again, with pauses, until the other side answers or hangs up: what it says until its end.
fn drip(mut stream: TcpStream, piece: &[u8], pause: Duration) -> String {
    let since = Instant::now();
    stream.set_read_timeout(Some(pause)).expect("a time-out");
    let (mut told, mut buffer) = (Vec::new(), [0; 4096]);
    while since.elapsed() < PATIENCE {
        // A failed write tells that the other side has hung up; what it said before can still be read.
        let is_gone = stream.write_all(piece).is_err();
        match stream.read(&mut buffer) {
            Ok(0) => return String::from_utf8_lossy(&told).into_owned(),
            Ok(len) => told.extend_from_slice(&buffer[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return String::from_utf8_lossy(&told).into_owned(),
        }
        if is_gone && told.is_empty() {
            return String::new();
        }
    }
    panic!("nobody minded after {PATIENCE:?}: {}", String::from_utf8_lossy(&told));
}

/// On a thread of the sender's own.
#[expect(
    clippy::disallowed_methods,
    reason = "no actor runs on a sender's thread, and the pause is what is sent"
)]
fn pause() {
    std::thread::sleep(DRIP);
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    actix_web::rt::task::spawn_blocking(work).await.expect("no panic")
}

fn head(length: usize) -> String {
    format!(
        "POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {HEALTHKIT_KEY}\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// A HealthKit body of `length` bytes, most of them blanks.
fn padded(user: &str, length: usize) -> String {
    let body = json!({"user_id": user, "samples": [heart_rate(HEART_RATE, &ago(60))]}).to_string();
    format!("{body}{}", " ".repeat(length - body.len()))
}

#[actix_web::test]
async fn a_head_that_drips_is_answered_408_on_a_fresh_connection_and_on_a_used_one() {
    let bridge = talkative(&[]).await;
    let fresh = send_part(&bridge, b"GET /ready HTTP/1.1\r\nX-Name: Quux");
    let mut used = send_part(&bridge, READY);
    assert_eq!(read_answer(used.try_clone().expect("the same connection")).0, 200);
    used.write_all(b"GET /ready HTTP/1.1\r\nX-Name: Quux").expect("sent");
    let silent = send_part(&bridge, b"");
    // A part of the next head may come together with a whole request.
    let glued = send_part(&bridge, &[READY, b"GET /ready HTTP/1.1\r\nX-Name: Quux"].concat());
    let kept_waiting = [fresh, used, silent].map(|stream| off_thread(move || drip(stream, b"x", DRIP)));
    let (kept_waiting, glued) = futures_util::future::join(
        futures_util::future::join_all(kept_waiting),
        off_thread(move || drip(glued, b"x", DRIP)),
    )
    .await;
    for told in kept_waiting {
        assert!(told.starts_with("HTTP/1.1 408 "), "{told:?}");
    }
    assert!(glued.starts_with("HTTP/1.1 200 ") && glued.contains("HTTP/1.1 408 "), "{glued:?}");
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_body_that_drips_is_cut_off() {
    let bridge = talkative(&[]).await;
    let begun = |length: usize| send_part(&bridge, head(length).as_bytes());
    let ordinary = begun(100_000);
    // One that is big has 120 s; not to drip, though.
    let big = begun(2 << 20);
    // A start that is fast buys no time.
    let mut fast = begun(4 << 20);
    fast.write_all(&vec![b' '; 1 << 20]).expect("sent");
    let chunked = head(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let chunked = send_part(&bridge, chunked.as_bytes());
    let drips = [(ordinary, "x"), (big, "x"), (fast, "x"), (chunked, "1\r\nx\r\n")];
    let drips = drips.map(|(stream, piece)| off_thread(move || drip(stream, piece.as_bytes(), DRIP)));
    for told in futures_util::future::join_all(drips).await {
        assert!(told.starts_with("HTTP/1.1 408 "), "{told:?}");
        assert!(
            told.contains("\"error_type\":\"request_timeout\"") && told.contains("bytes a second"),
            "{told}"
        );
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_big_body_that_keeps_its_rate_may_take_longer_than_an_ordinary_one() {
    let bridge = talkative(&[]).await;
    let body = padded("a phone", (1 << 20) + 200_000);
    let mut announced = send_part(&bridge, head(body.len()).as_bytes());
    // Without a length it is known as big once it is.
    let unannounced = head(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let mut unannounced = send_part(&bridge, unannounced.as_bytes());
    let sending = off_thread(move || {
        let (fast, slow) = body.split_at((1 << 20) + 1);
        let pieces: Vec<String> =
            slow.as_bytes().chunks(slow.len() / 120).map(|c| String::from_utf8_lossy(c).into()).collect();
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        announced.write_all(fast.as_bytes()).expect("sent");
        unannounced.write_all(chunk(&fast.replace("a phone", "another")).as_bytes()).expect("sent");
        for piece in &pieces {
            pause();
            announced.write_all(piece.as_bytes()).expect("sent");
            unannounced.write_all(chunk(piece).as_bytes()).expect("sent");
        }
        unannounced.write_all(b"0\r\n\r\n").expect("sent");
        [read_answer(announced), read_answer(unannounced)]
    });
    for (status, text) in sending.await {
        assert_eq!(status, 200, "{text}");
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn an_endless_body_that_was_refused_is_not_read_for_ever() {
    let bridge = talkative(&[]).await;
    let chunk = format!("10000\r\n{}\r\n", "Quux".repeat(0x4000));
    let told = [("oura", "413"), ("test", "413"), ("nobody", "404"), ("healthkit", "401")].map(
        |(device, status)| {
            let head =
                format!("POST /webhook/{device} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
            let (stream, chunk) = (send_part(&bridge, head.as_bytes()), chunk.clone());
            async move {
                (
                    device,
                    status,
                    off_thread(move || drip(stream, chunk.as_bytes(), Duration::from_millis(1))).await,
                )
            }
        },
    );
    for (device, status, told) in futures_util::future::join_all(told).await {
        // Whoever sends on after the answer may lose it to the reset.
        assert!(told.is_empty() || told.starts_with(&format!("HTTP/1.1 {status} ")), "{device}: {told:?}");
    }
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn an_answer_that_nobody_reads_ends_its_connection() {
    let bridge = talkative(&[]).await;
    let mut stream = send_part(&bridge, b"");
    stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a time-out");
    let hung_up = off_thread(move || {
        let since = Instant::now();
        // Asks until nobody takes the questions any more, and then until there is nobody.
        while since.elapsed() < PATIENCE {
            match stream.write(b"GET /dashboard/dashboard.js HTTP/1.1\r\nHost: x\r\n\r\n") {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return true,
            }
        }
        false
    });
    assert!(hung_up.await, "still there after {PATIENCE:?}");
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_half_closed_connection_is_answered_what_it_asked() {
    let bridge = talkative(&[]).await;
    let body = padded(ID, 500);
    let whole = send_part(&bridge, format!("{}{body}", head(body.len())).as_bytes());
    whole.shutdown(Shutdown::Write).expect("half closed");
    let (status, text) = read_answer(whole);
    assert_eq!(status, 200, "{text}");
    // Half a body is half a delivery; half a head and nothing at all are no request.
    let half = send_part(&bridge, format!("{}{}", head(body.len()), &body[..250]).as_bytes());
    half.shutdown(Shutdown::Write).expect("half closed");
    let (status, text) = read_answer(half);
    assert_eq!(status, 400, "{text}");
    for part in [&b""[..], b"POST", b"POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = send_part(&bridge, part);
        stream.shutdown(Shutdown::Write).expect("half closed");
        let mut told = Vec::new();
        stream.read_to_end(&mut told).expect("its end");
        assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 40"), "{}", String::from_utf8_lossy(&told));
    }
    assert_at_rest(&bridge).await;
    assert_unharmed(bridge).await;
}

/// Of the files that this process may open, those that a test may take.
fn connections_at_most(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("that of files");
    let files: usize = line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(wanted);
    wanted.min(files / 2)
}

#[actix_web::test]
async fn thousands_of_idle_connections_keep_nobody_waiting_and_are_given_up() {
    let bridge = talkative(&[]).await;
    let before_kib = bridge.memory_kib();
    let count = connections_at_most(3_000);
    let parts = ["".to_owned(), "POST /webhook/heal".to_owned(), head(1_000), format!("{}{{", head(1_000))];
    let idle: Vec<TcpStream> =
        (0..count).map(|n| send_part(&bridge, parts[n % parts.len()].as_bytes())).collect();
    for n in 0..50 {
        let body = json!({"user_id": "meanwhile", "samples": [heart_rate(61, &ago(60 + n))]});
        let answer = send(to_healthkit(&bridge, "").body(body.to_string())).await;
        assert_eq!(answer.status, 200, "{n}: {}", answer.text());
    }
    let grown_kib = bridge.memory_kib().saturating_sub(before_kib);
    assert!(grown_kib < 40 * count as u64 + 20_000, "{grown_kib} KiB for {count} connections");
    let given_up =
        off_thread(move || idle.into_iter().map(read_answer).filter(|(status, _)| *status == 408).count());
    assert_eq!(given_up.await, count);
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_bridge_out_of_file_descriptors_goes_on_when_there_are_some_again() {
    let home = tempfile::TempDir::new().expect("a temporary folder");
    let command = crate::bridge::program(home.path(), &["serve"], &[]);
    let limited = crate::bridge::in_shell(&command, "ulimit -n 100; exec \"$0\" \"$@\"");
    let bridge = Bridge::start_by(limited, "", home.path(), &[]).await;
    let idle: Vec<TcpStream> = (0..200).map(|_| send_part(&bridge, b"")).collect();
    // Taken in when the first of them have been given up.
    let fresh = json!({"user_id": "patient", "samples": [heart_rate(61, &ago(60))]});
    assert_eq!(bridge.healthkit(&fresh).await.0, 200);
    drop(idle);
    bridge
        .until("ready", async |bridge| send(bridge.request(Method::GET, "/ready")).await.status == 200)
        .await;
    assert_unharmed(bridge).await;
}

#[actix_web::test]
async fn a_bridge_takes_all_the_file_descriptors_that_it_may() {
    let home = tempfile::TempDir::new().expect("a temporary folder");
    let command = crate::bridge::program(home.path(), &["serve"], &[]);
    let limited = crate::bridge::in_shell(&command, "ulimit -Sn 64; exec \"$0\" \"$@\"");
    let bridge = Bridge::start_by(limited, "", home.path(), &[]).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", bridge.pid())).expect("limits");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("that of files");
    let (soft, hard) = files.trim().split_once(' ').expect("two limits");
    assert_eq!(soft, hard.split_whitespace().next().expect("the other"), "{limits}");
    assert_unharmed(bridge).await;
}
