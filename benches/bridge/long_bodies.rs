//! A million HealthKit samples in one body.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actors::domain::time::{MS_PER_SECOND, Timestamp};

use crate::family::Family;
use crate::machine;
use crate::process::{SECRET, Server, folder};
use crate::report::Results;

const SAMPLES: usize = 1_000_000;
/// What every bridge holds after its first deliveries is not this one's.
const WARM_UP_SAMPLES: usize = 20_000;
const SAMPLES_PER_CHUNK: usize = 1_000;
/// Longer than it takes on any machine that it is worth measuring on.
const PATIENCE: Duration = Duration::from_secs(600);

/// Sends them, and tells the seconds until they are durable and the memory that it took.
pub(crate) fn run(family: &Family, results: &mut Results) {
    let home = folder();
    let bridge = Server::bridge(home.path(), &family.settings);
    upload(&bridge, "warm-up", WARM_UP_SAMPLES);
    let idle_kib = machine::memory_kib(bridge.pid(), "VmRSS");
    let (cpu, started) = (machine::cpu(bridge.pid()), Instant::now());
    let bytes = upload(&bridge, "million", SAMPLES);
    let elapsed = started.elapsed();
    let cpu = machine::cpu(bridge.pid()).saturating_sub(cpu);
    let above_kib = machine::memory_kib(bridge.pid(), "VmHWM").saturating_sub(idle_kib);
    let seconds = elapsed.as_secs_f64();
    let what =
        format!("{}: {SAMPLES} HealthKit samples in one body of {} MB", family.name, bytes / 1_000_000);
    results.figure(
        what.clone(),
        format!(
            "2xx after {seconds:.1} s ({:.0} samples a second, {:.1} µs of CPU each)",
            SAMPLES as f64 / seconds,
            cpu.as_secs_f64() * 1e6 / SAMPLES as f64
        ),
    );
    results.figure(format!("{what}: memory above idle"), format!("{:.1} MiB", above_kib as f64 / 1_024.0));
    bridge.stop();
}

/// One delivery in chunks, made as it is sent. Gives back its length.
fn upload(bridge: &Server, user: &str, samples: usize) -> usize {
    let address = bridge.url.strip_prefix("http://").expect("an HTTP address");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let head = format!(
        "POST /webhook/healthkit HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {SECRET}\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it is taken");
    let now_ms = now_ms();
    let mut bytes = 0;
    let mut send = |piece: &str| {
        bytes += piece.len();
        write!(stream, "{:x}\r\n{piece}\r\n", piece.len()).expect("it is taken");
    };
    send(&format!("{{\"user_id\":\"{user}\",\"samples\":["));
    for from in (0..samples).step_by(SAMPLES_PER_CHUNK) {
        let upto = samples.min(from + SAMPLES_PER_CHUNK);
        let piece: String = (from..upto).map(|n| sample(n, now_ms - (n as i64) * MS_PER_SECOND)).collect();
        send(&piece);
    }
    send("]}");
    stream.write_all(b"0\r\n\r\n").expect("it is taken");
    let mut answer = BufReader::new(stream);
    let mut status = String::new();
    answer.read_line(&mut status).expect("an answer");
    let mut rest = String::new();
    answer.read_to_string(&mut rest).expect("an answer");
    assert!(status.contains(" 200 ") && rest.contains(&format!("\"readings\":{samples},")), "{status}{rest}");
    bytes
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    since_epoch.as_millis() as i64
}

fn sample(n: usize, at_ms: i64) -> String {
    let comma = if n == 0 { "" } else { "," };
    format!(
        "{comma}{{\"type\":\"heartRate\",\"value\":{},\"unit\":\"bpm\",\"timestamp\":\"{}\",\"source\":\"Apple Watch\"}}",
        50 + n % 100,
        Timestamp::from_ms(at_ms)
    )
}
