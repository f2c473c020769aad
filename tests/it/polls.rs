//! What vendors tell nothing of, and what stands in their records by the minute, from a vendor cloud to the read API.

use actors::domain::time::{MS_PER_DAY, MS_PER_HOUR, Timestamp};
use serde_json::{Value, json};

use crate::answers::{events, listed};
use crate::bridge::{Bridge, now_ms};
use crate::cloud::{START_MS, VendorCloud};
use crate::fetching::{connected, dead_letters, notifications, tell};

const EVERY_SECOND: [(&str, &str); 2] = [("OURA_POLL_SECONDS", "1"), ("WHOOP_POLL_SECONDS", "1")];

async fn of_kind(bridge: &Bridge, kind: &str) -> Vec<Value> {
    listed(&bridge.read(&format!("/v1/users/ann/events?limit=1000&kind={kind}")).await, "events")
}

fn readings(events: &[Value], metric: &str) -> Vec<Value> {
    let all = events.iter().flat_map(|event| listed(event, "readings"));
    all.filter(|reading| reading["metric"] == metric).collect()
}

#[actix_web::test]
async fn heart_rates_cycles_and_the_body_come_without_a_notification() {
    // The last noon that lies six hours back: a cycle runs then, whatever the hour of the test.
    let noon_ms = (now_ms() - 18 * MS_PER_HOUR) / MS_PER_DAY * MS_PER_DAY + 12 * MS_PER_HOUR;
    let cloud = VendorCloud::start(2, |config| config.start_ms = noon_ms);
    let bridge = connected(&cloud, 0, "ann", &EVERY_SECOND).await;
    for kind in ["cycle", "body", "sleep", "recovery"] {
        bridge.until(kind, async |bridge| !of_kind(bridge, kind).await.is_empty()).await;
    }
    let has_rates =
        async |bridge: &Bridge| !readings(&of_kind(bridge, "sample").await, "heart_rate").is_empty();
    bridge.until("heart rates", has_rates).await;
    // A cycle that runs comes again with what was added to it, as a newer version of the same record.
    let first = of_kind(&bridge, "cycle").await.pop().expect("a cycle");
    let again = async |bridge: &Bridge| {
        let cycles = of_kind(bridge, "cycle").await;
        cycles.into_iter().find(|cycle| cycle["record_id"] == first["record_id"]).expect("it stays")
    };
    cloud.forward(3 * 3_600).await;
    let is_newer = async |bridge: &Bridge| again(bridge).await["version"] != first["version"];
    bridge.until("a newer version", is_newer).await;
    let second = again(&bridge).await;
    assert!(first["version"].as_i64() < second["version"].as_i64());
    let strain = |cycle: &Value| {
        readings(std::slice::from_ref(cycle), "strain")[0]["value"].as_f64().expect("a number")
    };
    assert!(strain(&first) <= strain(&second), "it only grows");
    // What was polled again is the same: each rate stands there once.
    let samples = of_kind(&bridge, "sample").await;
    let rates = readings(&samples, "heart_rate");
    let mut times: Vec<&str> = rates.iter().filter_map(|it| it["timestamp"].as_str()).collect();
    let all = times.len();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), all);
    assert!(dead_letters(&bridge).await < 0.5);
    cloud.stop().await;
}

#[actix_web::test]
async fn a_night_shows_its_stages_and_its_series_and_goes_with_both() {
    let cloud = VendorCloud::start(2, |_| {});
    let bridge = connected(&cloud, 0, "ann", &[]).await;
    let all = notifications(&cloud, 0).await;
    let night = all.iter().find(|(_, body)| body["data_type"] == "sleep").expect("a night");
    tell(&bridge, night).await;
    bridge.until("its series", async |bridge| !of_kind(bridge, "sample").await.is_empty()).await;
    let (nights, series) = (of_kind(&bridge, "sleep").await, of_kind(&bridge, "sample").await);
    assert_eq!((nights.len(), series.len()), (1, 1));
    assert_eq!((&nights[0]["is_backfill"], &series[0]["is_backfill"]), (&json!(false), &json!(true)));
    // A single five minutes' HRV is no emergency.
    assert_eq!(series[0]["headers"]["priority"], "NORMAL");
    let stages = readings(&nights, "sleep_state");
    let labels: Vec<&str> = stages.iter().filter_map(|it| it["label"].as_str()).collect();
    assert!(labels.contains(&"deep") && labels.windows(2).all(|two| two[0] != two[1]), "{labels:?}");
    for metric in ["heart_rate", "hrv"] {
        let told = readings(&series, metric);
        assert!(told.len() > 50, "{metric}: {}", told.len());
        assert!(told.iter().all(|reading| reading["context"] == "sleep"), "{metric}");
    }
    // The newest of the night is its average, at its end.
    let latest = bridge.read("/v1/users/ann/latest").await;
    assert_eq!(latest["readings"]["hrv"]["timestamp"], nights[0]["timestamp"]);
    let mut deletion = night.1.clone();
    deletion["event_type"] = json!("delete");
    deletion["event_time"] = json!(Timestamp::from_ms(START_MS + 1_000).to_string());
    let (status, told) = bridge.oura(&deletion).await;
    assert_eq!((status, &told["events"]), (200, &json!(1)), "{told}");
    assert_eq!(events(&bridge, "ann").await, Vec::<Value>::new());
    cloud.stop().await;
}
