//! `/timeseries`: single readings and spans of them, in order, page by page.

use reqwest::Method;
use serde_json::{Value, json};

use crate::answers::{listed, refused};
use crate::bridge::{API_KEY, Bridge};

const PATH: &str = "/v1/users/ann/timeseries";

fn sample(kind: &str, value: f64, at: &str) -> Value {
    json!({"type": kind, "value": value, "timestamp": at, "source": "Apple Watch"})
}

async fn push(bridge: &Bridge, samples: &[Value]) {
    let (status, told) = bridge.healthkit(&json!({"user_id": "ann", "samples": samples})).await;
    assert_eq!((status, &told["rejected_total"]), (200, &json!(0)), "{told}");
}

/// The same readings in two deliveries, the later ones first.
async fn filled() -> Bridge {
    let bridge = Bridge::start().await;
    let later = [
        sample("heartRate", 70.0, "2026-09-10T07:30:00Z"),
        sample("heartRate", 64.0, "2026-09-11T00:00:00Z"),
        sample("stepCount", 12.0, "2026-09-10T06:00:00Z"),
    ];
    let earlier = [
        sample("heartRate", 60.0, "2026-09-10T06:00:00Z"),
        sample("heartRate", 66.0, "2026-09-10T06:59:59.999Z"),
        sample("heartRate", 63.0, "2026-09-10T06:30:00Z"),
    ];
    push(&bridge, &later).await;
    push(&bridge, &earlier).await;
    bridge
}

fn point(t: &str, v: f64, n: u64) -> Value {
    json!({"t": t, "v": v, "n": n})
}

#[actix_web::test]
async fn single_readings_stand_in_order_of_time_whatever_came_first() {
    let bridge = filled().await;
    let series = bridge.read(&format!("{PATH}?metric=heart_rate")).await;
    let all = [
        point("2026-09-10T06:00:00Z", 60.0, 1),
        point("2026-09-10T06:30:00Z", 63.0, 1),
        point("2026-09-10T06:59:59.999Z", 66.0, 1),
        point("2026-09-10T07:30:00Z", 70.0, 1),
        point("2026-09-11T00:00:00Z", 64.0, 1),
    ];
    let wanted = json!({"metric": "heart_rate", "unit": "bpm", "points": all, "next_cursor": null});
    assert_eq!(series, wanted);
    // `from` is in, `to` is not; the second reading lies in an event that is dated after `to`.
    let part =
        format!("{PATH}?metric=heart_rate&bucket=raw&from=2026-09-10T06:30:00Z&to=2026-09-10T06:59:59.999Z");
    assert_eq!(bridge.read(&part).await["points"], json!([all[1]]));
    let nobody = bridge.read("/v1/users/nobody/timeseries?metric=heart_rate").await;
    assert_eq!(nobody, json!({"metric": "heart_rate", "unit": "bpm", "points": [], "next_cursor": null}));
}

#[actix_web::test]
async fn hours_and_days_are_summed_up_as_asked() {
    let bridge = filled().await;
    let six = "2026-09-10T06:00:00Z";
    for (agg, value) in
        [("mean", 63.0), ("min", 60.0), ("max", 66.0), ("sum", 189.0), ("count", 3.0), ("last", 66.0)]
    {
        let series = bridge.read(&format!("{PATH}?metric=heart_rate&bucket=1h&agg={agg}")).await;
        let points = listed(&series, "points");
        assert_eq!((points.len(), &points[0]), (3, &point(six, value, 3)), "{agg}");
    }
    let days = bridge.read(&format!("{PATH}?metric=heart_rate&bucket=1d&agg=sum")).await;
    let wanted = [point("2026-09-10T00:00:00Z", 259.0, 4), point("2026-09-11T00:00:00Z", 64.0, 1)];
    assert_eq!(days["points"], json!(wanted));
}

#[actix_web::test]
async fn pages_follow_each_other_without_a_gap_or_a_repeat() {
    let bridge = filled().await;
    for bucket in ["raw", "1h"] {
        let whole = bridge.read(&format!("{PATH}?metric=heart_rate&bucket={bucket}")).await;
        for limit in 1..=6 {
            let (mut all, mut cursor) = (Vec::new(), String::new());
            loop {
                let path = format!("{PATH}?metric=heart_rate&bucket={bucket}&limit={limit}{cursor}");
                let page = bridge.read(&path).await;
                assert!(listed(&page, "points").len() <= limit, "{page}");
                all.extend(listed(&page, "points").iter().cloned());
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(json!(all), whole["points"], "{bucket} by {limit}");
        }
    }
}

#[actix_web::test]
async fn two_methods_are_never_one_series() {
    let bridge = Bridge::start().await;
    push(&bridge, &[sample("heartRateVariabilitySDNN", 50.0, "2026-09-10T06:00:00Z")]).await;
    let one = bridge.read(&format!("{PATH}?metric=hrv")).await;
    assert_eq!(one["points"], json!([point("2026-09-10T06:00:00Z", 50.0, 1)]));
    let ring = json!({"user_id": "ann", "timestamp": "2026-09-10T07:00:00Z", "hrv_data": {"rmssd": 40}});
    assert_eq!(bridge.oura_inline(&ring).await.0, 200);
    let both = bridge.request(Method::GET, &format!("{PATH}?metric=hrv&bucket=1d")).bearer_auth(API_KEY);
    let told = refused(both, 400, "validation_error").await;
    assert!(told.text().contains("method=rmssd"), "{told:?}");
    let rmssd = bridge.read(&format!("{PATH}?metric=hrv&method=rmssd&bucket=1d")).await;
    assert_eq!(rmssd["points"], json!([point("2026-09-10T00:00:00Z", 40.0, 1)]));
}

#[actix_web::test]
async fn a_wrong_question_is_told_and_nobody_asks_without_a_key() {
    let bridge = Bridge::start().await;
    let get = |query: &str| bridge.request(Method::GET, &format!("{PATH}{query}"));
    refused(get("?metric=heart_rate"), 401, "authentication_error").await;
    for (wrong, word) in [
        ("", "metric"),
        ("?metric=pulse", "metric"),
        ("?metric=hrv&method=both", "method"),
        ("?metric=hrv&bucket=1m", "bucket"),
        ("?metric=hrv&agg=median", "agg"),
        ("?metric=hrv&limit=0", "limit"),
        ("?metric=hrv&limit=10001", "limit"),
        ("?metric=hrv&cursor=x", "cursor"),
        ("?metric=hrv&from=yesterday", "from"),
    ] {
        let told = refused(get(wrong).bearer_auth(API_KEY), 400, "validation_error").await;
        assert!(told.text().contains(word), "{wrong}: {told:?}");
    }
}
