//! By what Oura's records are known that tell no id, and when days began.

use super::oura_records::{only, owner, record, refused};
use super::*;
use crate::domain::fetch::{Fetch, OuraDataType, OuraFetch};
use crate::domain::ids::Identity;
use crate::domain::time::Zone;
use crate::vendors::fetch::read;
use crate::vendors::{Fetched, Owner};

fn days(data_type: OuraDataType, owner: &Owner, records: &str) -> Fetched {
    let fetch = OuraFetch::Days { data_type, from: NOW, to: NOW, page: None, turned: 0 };
    let body = format!(r#"{{"data":[{records}],"next_token":null}}"#);
    read(&Fetch::Oura(fetch), body.as_bytes(), owner).unwrap()
}

fn identities(draft: &EventDraft) -> Vec<Identity> {
    draft.identities().collect()
}

#[test]
fn a_record_without_an_id_is_known_by_the_id_that_it_was_asked_for_by() {
    // `record` asks for 6a5f.
    for (data_type, fields) in [
        (OuraDataType::DailySleep, r#""day":"2026-09-10","score":88"#),
        (OuraDataType::DailyCardiovascularAge, r#""day":"2026-09-10","vascular_age":41"#),
        (OuraDataType::Vo2Max, r#""timestamp":"2026-09-10T08:00:00Z","vo2_max":41"#),
    ] {
        let told = record(data_type, &format!(r#"{{"id":"6a5f",{fields}}}"#));
        let untold = record(data_type, &format!("{{{fields}}}"));
        assert_eq!(identities(only(&untold)), identities(only(&told)), "{data_type:?}");
        assert_eq!(untold.rejected.total, 0);
    }
    let bad = record(OuraDataType::DailySleep, r#"{"id":["a"],"day":"2026-09-10","score":88}"#);
    assert_eq!((bad.drafts.len(), refused(&bad)), (1, vec!["/id"]));
}

#[test]
fn a_record_of_a_list_without_an_id_is_known_by_when_it_was() {
    let summary = |day: &str, score: u32| format!(r#"{{"day":"{day}","score":{score}}}"#);
    let fetched = days(
        OuraDataType::DailySleep,
        &owner(),
        &[summary("2026-09-09", 80), summary("2026-09-10", 82)].join(","),
    );
    assert_eq!((fetched.drafts.len(), fetched.rejected.total), (2, 0));
    assert_ne!(identities(&fetched.drafts[0]), identities(&fetched.drafts[1]));
    // It is that day's summary, whatever id it has later.
    let later = record(OuraDataType::DailySleep, r#"{"id":"6a5f","day":"2026-09-10","score":83}"#);
    let shared =
        identities(only(&later)).into_iter().filter(|it| identities(&fetched.drafts[1]).contains(it));
    assert_eq!(shared.count(), 1);
    let night = |start: &str| {
        format!(
            r#"{{"type":"long_sleep","bedtime_start":"{start}","bedtime_end":"2026-09-10T07:00:00+02:00",
            "efficiency":90}}"#
        )
    };
    let (one, two) = (night("2026-09-09T23:00:00+02:00"), night("2026-09-10T05:00:00+02:00"));
    let nights = days(OuraDataType::Sleep, &owner(), &format!("{one},{two}"));
    assert_ne!(identities(&nights.drafts[0]), identities(&nights.drafts[1]));
    let again = days(OuraDataType::Sleep, &owner(), &one);
    assert_eq!(identities(only(&again)), identities(&nights.drafts[0]));
    let nothing = days(OuraDataType::Vo2Max, &owner(), r#"{"vo2_max":41}"#);
    assert_eq!((nothing.drafts.len(), refused(&nothing)), (0, vec!["/data/0/id"]));
}

#[test]
fn a_day_begins_by_the_clock_of_that_day_and_not_of_the_one_on_which_it_is_asked_for() {
    let began = |zone: Option<&str>, day: &str| {
        let at = Timestamp::parse_rfc3339("2026-11-20T12:00:00Z").unwrap();
        let zone = zone.and_then(Zone::of_name);
        let owner = Owner { zone, fetched_at: at, received_at: at, changed_at: at, ..owner() };
        let record = format!(r#"{{"id":"a","day":"{day}","stress_high":600}}"#);
        let fetched = days(OuraDataType::DailyStress, &owner, &record);
        let draft = only(&fetched);
        let Facts::Record { readings, .. } = &draft.facts else { panic!("{draft:?}") };
        (draft.timestamp.to_string(), readings[0].utc_offset.map(|offset| offset.to_string()))
    };
    let told = |at: &str, offset: &str| (at.to_owned(), Some(offset.to_owned()));
    let berlin = Some("Europe/Berlin");
    assert_eq!(began(berlin, "2026-10-24"), told("2026-10-23T22:00:00Z", "+02:00"));
    // The clocks go back in this night, after the day has begun.
    assert_eq!(began(berlin, "2026-10-25"), told("2026-10-24T22:00:00Z", "+02:00"));
    assert_eq!(began(berlin, "2026-10-26"), told("2026-10-25T23:00:00Z", "+01:00"));
    // There is no midnight on this day: clocks go from 23:59 to 1:00.
    assert_eq!(began(Some("Africa/Cairo"), "2026-04-24"), told("2026-04-23T22:00:00Z", "+03:00"));
    assert_eq!(began(None, "2026-10-24"), ("2026-10-24T00:00:00Z".to_owned(), None));
}
