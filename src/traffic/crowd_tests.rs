#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const NOW_MS: i64 = 1_789_041_600_000;

fn plan(users: usize, batch: usize) -> Plan {
    Plan { seed: 7, users, kinds: Kind::ALL.to_vec(), batch, sample_every_ms: 1_000 }
}

fn at_ms(text: &Value) -> i64 {
    Timestamp::parse_rfc3339(text.as_str().unwrap()).unwrap().as_ms()
}

#[test]
fn the_same_seed_at_the_same_time_makes_the_same_bodies() {
    let (mut one, mut other) = (Crowd::share(&plan(5, 3), 0, 1), Crowd::share(&plan(5, 3), 0, 1));
    for n in 0..100 {
        assert_eq!(one.next(NOW_MS + n / 4), other.next(NOW_MS + n / 4));
    }
    let mut stranger = Crowd::share(&Plan { seed: 8, ..plan(5, 3) }, 0, 1);
    assert_ne!(stranger.next(NOW_MS), Crowd::share(&plan(5, 3), 0, 1).next(NOW_MS));
}

#[test]
fn no_two_deliveries_hold_the_same_fact_even_if_time_stands_still() {
    let mut crowd = Crowd::share(&plan(2, 10), 0, 1);
    let (mut bodies, mut facts) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..300 {
        let delivery = crowd.next(NOW_MS);
        let body: Value = serde_json::from_slice(&delivery.body).unwrap();
        for sample in body["samples"].as_array().into_iter().flatten() {
            let fact = (body["user_id"].to_string(), at_ms(&sample["timestamp"]));
            assert!(facts.insert(fact), "twice: {sample}");
        }
        assert!(bodies.insert(delivery.body), "twice: {body}");
    }
}

#[test]
fn samples_are_a_second_apart_and_end_now_where_time_allows_it() {
    let mut crowd = Crowd::share(&Plan { kinds: vec![Kind::HealthKit], ..plan(1, 60) }, 0, 1);
    for push in 0..3 {
        let now_ms = NOW_MS + push * 60_000;
        let body: Value = serde_json::from_slice(&crowd.next(now_ms).body).unwrap();
        let times: Vec<i64> =
            body["samples"].as_array().unwrap().iter().map(|s| at_ms(&s["timestamp"])).collect();
        let expected: Vec<i64> = (0..60).map(|i| now_ms - 59_000 + i * 1_000).collect();
        assert_eq!(times, expected);
    }
}

#[test]
fn shares_have_every_user_once_and_each_user_sends_every_kind() {
    let plan = plan(7, 1);
    let (mut users, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for index in 0..3 {
        let mut crowd = Crowd::share(&plan, index, 3);
        let mut own = BTreeSet::new();
        for _ in 0..9 {
            let delivery = crowd.next(NOW_MS);
            let body: Value = serde_json::from_slice(&delivery.body).unwrap();
            own.insert(body["user_id"].to_string());
            kinds.insert((body["user_id"].to_string(), delivery.kind));
        }
        assert!(own.is_disjoint(&users));
        users.extend(own);
    }
    assert_eq!((users.len(), kinds.len()), (7, 21));
}

#[test]
fn the_bridge_believes_and_reads_every_kind() {
    use actors::domain::delivery::{Decoded, Header, Headers};
    use actors::vendors::healthkit::{HealthKit, HealthKitConfig};
    use actors::vendors::oura::{Oura, OuraConfig};
    use actors::vendors::{Device, RawDelivery};

    use crate::traffic::Secrets;

    struct Fields(Vec<(&'static str, String)>);
    impl Headers for Fields {
        fn get(&self, name: &str) -> Header<'_> {
            let field = self.0.iter().find(|(known, _)| *known == name);
            field.map_or(Header::Missing, |(_, value)| Header::One(value))
        }
    }

    let secrets: Secrets = Kind::ALL.map(|kind| (kind.setting(), "a secret")).into_iter().collect();
    let secret = || "a secret".to_owned();
    let devices: [Box<dyn Device>; 2] = [
        Box::new(HealthKit::new(&HealthKitConfig {
            api_keys: vec![secret()],
            signature_secret: String::new(),
        })),
        Box::new(Oura::new(&OuraConfig {
            webhook_secret: secret(),
            verification_token: String::new(),
            tolerance_s: 300,
        })),
    ];
    let mut crowd = Crowd::share(&plan(4, 20), 0, 1);
    for _ in 0..50 {
        let Delivery { kind, body } = crowd.next(NOW_MS);
        let headers = Fields(kind.sign(&secrets, &body, NOW_MS / 1_000).unwrap());
        let received_at = Timestamp::from_ms(NOW_MS);
        let raw = RawDelivery { headers: &headers, query_user: None, body: body.into(), received_at };
        let device = devices.iter().find(|device| device.name() == kind.device()).unwrap();
        let verified = device.verify(raw).unwrap();
        match device.decode(&verified, received_at).unwrap() {
            Decoded::Events { drafts, rejected } => {
                assert_ne!(kind, Kind::OuraNotification);
                assert_eq!((drafts.len(), rejected.total), (1, 0));
            }
            _ => assert_eq!(kind, Kind::OuraNotification),
        }
    }
}
