//! How fast samples are read. Meaningful in a release build only:
//! `cargo test --release -p actors --lib vendors::tests::throughput -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

const SAMPLES_PER_S_MIN: f64 = 300_000.0;

#[test]
#[ignore = "measures a release build"]
#[allow(clippy::print_stderr)]
fn a_thousand_samples_decode_at_300_000_a_second() {
    let sample = |i: i64| {
        serde_json::json!({
            "uuid": format!("3c6f1f6e-0b0c-4f43-9d1b-{i:012x}"),
            "type": "HKQuantityTypeIdentifierHeartRate",
            "value": 60 + i % 40,
            "unit": "count/min",
            "startDate": Timestamp::from_ms((NOW_S - i) * 1000).to_string(),
            "endDate": Timestamp::from_ms((NOW_S - i) * 1000).to_string(),
            "source": "Apple Watch",
        })
    };
    let samples: Vec<_> = (0..1000).map(sample).collect();
    let body = serde_json::json!({"user_id": "user-81", "samples": samples}).to_string();
    let rounds = 50;
    let best = (0..rounds)
        .map(|_| {
            let started = Instant::now();
            let (drafts, _) = events(decode_healthkit(body.as_bytes()));
            assert_eq!(drafts[0].readings_len(), 1000);
            started.elapsed()
        })
        .min()
        .unwrap();
    let per_s = 1000.0 / best.as_secs_f64();
    assert!(cfg!(debug_assertions) || per_s >= SAMPLES_PER_S_MIN, "{per_s:.0} samples/s");
    eprintln!("{per_s:.0} samples/s, best of {rounds}");
}
