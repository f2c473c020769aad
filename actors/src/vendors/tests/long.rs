//! Bodies that are too long for memory are read as they would be in memory, whatever stands where in them.

use std::io::{self, Read};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::vendors::delivery_key;
use crate::vendors::long::{Head, LongBodies, LongError, Source};

/// A body in memory that gives a few bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

struct Drip(Vec<u8>, usize, usize);

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.2.min(buffer.len()).min(self.0.len() - self.1);
        buffer[..len].copy_from_slice(&self.0[self.1..self.1 + len]);
        self.1 += len;
        Ok(len)
    }
}

impl Source for Pieces<'_> {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Drip(self.0.to_vec(), 0, self.1)))
    }
}

/// All facts of drafts with whose they are, and the rejections; `None` if nothing was in the body.
type Read1 = Option<(Vec<(String, ReadingFact)>, Rejections)>;

fn facts_of(drafts: &[EventDraft]) -> Vec<(String, ReadingFact)> {
    let of = |draft: &EventDraft| {
        let user = draft.user_id.as_str().to_owned();
        facts(draft).iter().map(move |fact| (user.clone(), fact.clone())).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = drafts.iter().flat_map(of).collect();
    // Drafts are one per user and source; where they are cut decides their order.
    all.sort_by_key(|(user, fact)| (user.clone(), fact.identity));
    all
}

fn in_memory(body: &[u8]) -> Result<Read1, DecodeError> {
    match decode_healthkit(body)? {
        Decoded::Events { drafts, rejected } => Ok(Some((facts_of(&drafts), rejected))),
        Decoded::Ignored { .. } => Ok(None),
        other => panic!("{other:?}"),
    }
}

fn head() -> Verified {
    let headers = fields([("x-api-key", HEALTHKIT_KEY)]);
    let raw = RawDelivery { headers: &headers, query_user: None, body: Bytes::new(), received_at: NOW };
    match healthkit_device().verify_head(raw).unwrap() {
        Head::Proven(verified) => verified,
        Head::Signed(_) => panic!("a key is enough"),
    }
}

fn by_pieces(body: &[u8], piece: usize, readings_max: usize) -> Result<Read1, DecodeError> {
    let (device, source, verified) = (healthkit_device(), Pieces(body, piece), head());
    let unreadable = |error| match error {
        LongError::Unreadable(error) => error,
        other => panic!("{other}"),
    };
    let key = device.survey(&verified, &source).map_err(unreadable)?.key;
    let whole = verified.clone().with_body(Bytes::copy_from_slice(body));
    assert_eq!(key, delivery_key("healthkit", &whole), "the same delivery");
    let mut all = Vec::new();
    let mut hand = |drafts: Vec<EventDraft>| {
        assert!(drafts.iter().map(EventDraft::readings_len).sum::<usize>() <= readings_max);
        all.extend(drafts);
        true
    };
    let rest = device.read(&verified, NOW, &source, readings_max, &mut hand).map_err(unreadable)?;
    match rest {
        Decoded::Events { drafts, rejected } => {
            all.extend(drafts);
            Ok(Some((facts_of(&all), rejected)))
        }
        Decoded::Ignored { .. } => Ok(None),
        other => panic!("{other:?}"),
    }
}

fn agree(body: &str) -> Result<Read1, DecodeError> {
    let expected = in_memory(body.as_bytes());
    for (piece, readings_max) in [(1, 1), (5, 3), (1 << 16, 1_000)] {
        assert_eq!(by_pieces(body.as_bytes(), piece, readings_max), expected, "{body}");
    }
    expected
}

fn sample(n: i64) -> Value {
    json!({"type": "heartRate", "value": 40 + n % 100, "unit": "bpm", "source": format!("Watch {}", n % 3),
        "timestamp": (NOW_S - n), "metadata": {"samples": [{"user_id": "x"}, "]}\\\""]}})
}

#[test]
fn what_stands_before_and_after_the_samples_is_told_of_them() {
    let samples =
        json!([sample(1), 5, sample(2), {"type": "heartRate", "value": 9e9}, sample(3)]).to_string();
    let bodies = [
        format!(r#"{{"user_id":"ann","samples":{samples}}}"#),
        format!(r#" {{ "samples" : {samples} ,"x":[[{{}}]], "user_id" : "Zo\u00eb" }} "#),
        format!(r#"{{"\u0073amples":{samples},"samplesX":[1],"user_id":"ann","n":-1.5e3,"t":true}}"#),
        format!(r#"[{{"samples":{samples},"user_id":"ann"}},{{"user_id":"bob","samples":{samples}}}]"#),
        format!(
            r#"[{{"user_id":"ann","samples":[]}} , {{"user_id":"bob","samples":{samples}}},{{"samples":[],"user_id":"c"}}]"#
        ),
    ];
    for body in &bodies {
        let (facts, rejected) = agree(body).unwrap().expect("samples");
        assert!(facts.len() % 3 == 0 && rejected.total * 3 == facts.len() * 2, "{body}");
    }
}

#[test]
fn a_body_of_another_shape_is_refused_in_the_same_words() {
    let s = sample(1);
    for body in [
        "5".to_owned(),
        "null".to_owned(),
        r#""samples""#.to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "[5]".to_owned(),
        "[[]]".to_owned(),
        "[{}]".to_owned(),
        r#"{"user_id":"ann"}"#.to_owned(),
        r#"{"user_id":"ann","samples":null}"#.to_owned(),
        r#"{"user_id":"ann","samples":{"a":[1]}}"#.to_owned(),
        r#"{"user_id":"ann","samples":"[0]"}"#.to_owned(),
        r#"{"user_id":"ann","samples":[]}"#.to_owned(),
        format!(r#"{{"samples":[{s}]}}"#),
        format!(r#"{{"user_id":7,"samples":[{s}]}}"#),
        format!(r#"{{"user_id":["ann"],"samples":[{s}]}}"#),
        format!(r#"{{"user_id":{{"a":1}},"samples":[{s}]}}"#),
        format!(r#"{{"user_id":" ","samples":[{s}]}}"#),
        format!(r#"{{"user_id":"{}","samples":[{s}]}}"#, "x".repeat(200)),
        format!(r#"{{"user_id":"ann","user_id":"ann","samples":[{s}]}}"#),
        format!(r#"{{"user_id":"ann","samples":[{s}],"samples":[]}}"#),
        format!(r#"{{"user_id":"ann","samples":[{s}],"\u0073amples":[]}}"#),
        format!(r#"{{"user_id":"ann","samples":[{s}],"\ud800":[]}}"#),
        format!(r#"[{{"user_id":"ann","samples":[{s}]}},{{"user_id":"ann"}}]"#),
        format!(r#"[{{"user_id":"ann","samples":[{s}]}},{{"user_id":"ann","samples":[{s}]}}"#),
        format!(r#"{{"user_id":"ann","samples":[{s},]}}"#),
    ] {
        let refused = agree(&body);
        assert!(!matches!(refused, Ok(Some(_))), "{body}");
    }
}

#[test]
fn every_place_for_items_is_found_and_counted_in_the_order_of_the_document() {
    let s = sample(1);
    let state = |value: &str, from: i64| json!({"value": value, "startDate": NOW_S - from, "endDate": NOW_S - from + 3600, "source": "Watch"});
    let point = json!({"date": "2026-09-10 06:00:00 +0200", "qty": 5});
    let run = json!({"name": "Run", "start": NOW_S - 900, "end": NOW_S - 60,
        "heartRateData": [{"date": NOW_S - 600, "qty": 120}, {"date": NOW_S - 540, "qty": 1200}]});
    let metrics = json!([
        {"data": [point, {"qty": 1}], "units": "count", "name": "step_count"},
        5,
        {"name": "dietary_water", "data": [1, 2]},
        {"units": "kg", "data": [point]},
        {"name": "step_count", "data": null},
        {"name": "weight_body_mass", "units": 7, "data": [point]},
        {"name": "flights_climbed", "data": {"x": 1}},
        {"name": "sleep_analysis", "units": "hr", "data": [state("Core", 9000), state("Nap", 5400), state("REM", 5400)]},
        [0],
    ]);
    let (sleep, bad) = (json!([state("deep", 9000), 7]), json!({"type": "heartRate"}));
    let bodies = [
        json!({"user_id": "ann", "data": {"metrics": metrics, "ecg": [[1]], "workouts": [run, {}]}, "workouts": [run]}),
        json!({"data": {"sleep": sleep, "records": [bad, s], "workouts": [run]}, "provider": "apple", "user_id": "ann"}),
        json!([{"samples": [s, bad], "user_id": "ann"}, {"data": {"metrics": metrics}, "user_id": "bob"}]),
    ];
    for body in bodies {
        let body = body.to_string();
        let expected = in_memory(body.as_bytes());
        let (facts, rejected) = expected.clone().unwrap().expect("items");
        assert!(!facts.is_empty() && rejected.total >= 3, "{body}");
        for piece in [1, 7, 1 << 16] {
            assert_eq!(by_pieces(body.as_bytes(), piece, 1_000), expected, "{body}");
        }
    }
}

#[test]
fn an_item_that_is_longer_than_any_may_be_refuses_itself() {
    let long = json!({"type": "heartRate", "value": 61, "metadata": "x".repeat(5 << 20)});
    let body = json!({"user_id": "ann", "samples": [sample(1), long, sample(2)]}).to_string();
    let (facts, rejected) = by_pieces(body.as_bytes(), 1 << 16, 100).unwrap().expect("samples");
    assert_eq!((facts.len(), rejected.total), (2, 1));
    assert_eq!((rejected.listed[0].index, rejected.listed[0].path.as_str()), (1, "/samples/1"));
    let around = json!({"user_id": "ann", "x": "x".repeat(5 << 20), "samples": []}).to_string();
    assert!(matches!(by_pieces(around.as_bytes(), 1 << 16, 100), Err(DecodeError::Shape { .. })));
}

#[test]
fn a_signed_delivery_is_believed_when_its_last_byte_has_come() {
    let body = b"{\"user_id\":\"ann\",\"samples\":[]}";
    let signature = signing::inline(HEALTHKIT_SECRET, body);
    let device = healthkit_device();
    let head = |list: &[(&'static str, &str)]| {
        let headers = fields(list.iter().copied());
        device.verify_head(RawDelivery {
            headers: &headers,
            query_user: None,
            body: Bytes::new(),
            received_at: NOW,
        })
    };
    let finish = |wire: &[u8]| {
        let Head::Signed(mut signed) = head(&[("signature", &signature), ("x-api-key", "wrong")]).unwrap()
        else {
            panic!("nothing is proven yet")
        };
        wire.chunks(7).for_each(|piece| signed.take(piece));
        signed.finish().map(drop)
    };
    assert_eq!(finish(body), Ok(()));
    assert_eq!(finish(&body[1..]), Err(VerifyError::Mismatch));
    assert!(matches!(head(&[("signature", "zz"), ("x-api-key", HEALTHKIT_KEY)]), Ok(Head::Proven(_))));
    assert_eq!(head(&[("signature", "zz")]).err(), Some(VerifyError::Malformed));
    assert_eq!(head(&[("x-api-key", "wrong")]).err(), Some(VerifyError::Mismatch));
    assert_eq!(head(&[]).err(), Some(VerifyError::Missing));
}

proptest! {
    #[test]
    fn a_body_that_is_damaged_anywhere_is_read_as_in_memory(place in 0_usize..400, byte: u8, list: bool) {
        let body = json!({"user_id": "ann", "x": {"samples": [1]}, "samples": [sample(1), sample(2)]});
        let body = if list { json!([body, {"user_id": "bob", "samples": [sample(3)]}]) } else { body };
        let mut body = body.to_string().into_bytes();
        let place = place % body.len();
        body[place] = byte;
        for (piece, readings_max) in [(1, 1), (64, 1_000)] {
            prop_assert_eq!(by_pieces(&body, piece, readings_max), in_memory(&body));
        }
    }
}
