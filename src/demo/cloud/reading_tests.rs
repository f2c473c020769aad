//! The bridge's own readers take every record of the cloud whole.

#![allow(clippy::unwrap_used)]

use actors::domain::fetch::{Fetch, OuraDataType, OuraFetch, WhoopActivity, WhoopFetch, WhoopRecords};
use actors::domain::ids::UserId;
use actors::domain::time::{Timestamp, UtcOffset};
use actors::vendors::fetch::{read, request};
use actors::vendors::{Fetched, Owner};

use super::answers::{Answer, of_oura, of_whoop};
use super::world::{Resident, World};
use super::{oura_records as oura, whoop_records as whoop};

/// 2026-09-10T12:00:00Z.
const NOW_MS: i64 = 1_789_041_600_000;
const TODAY: i64 = NOW_MS / 86_400_000;

/// Asks the cloud as the bridge asks, and reads as the bridge reads.
fn fetch(world: &World, who: &Resident, fetch: &Fetch) -> (Answer, Fetched) {
    let zone = UtcOffset::from_minutes(who.offset_minutes() as i32).unwrap();
    let asked = request(fetch, zone);
    let query = asked.query.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let (answer, account) = match fetch {
        Fetch::Oura(_) => {
            let path = asked.path.strip_prefix("/v2/usercollection/").unwrap();
            (of_oura(world, who, path, &query, NOW_MS), who.oura_id())
        }
        Fetch::Terra(_) => unreachable!("Terra's data comes with its webhooks"),
        Fetch::Whoop(_) => {
            let path = asked.path.trim_start_matches("/developer").trim_start_matches('/');
            (of_whoop(world, who, path, &query, NOW_MS), who.whoop_id().to_string())
        }
    };
    assert_eq!(answer.status, 200, "{fetch:?}: {}", answer.body);
    let now = Timestamp::from_ms(NOW_MS);
    let user_id = UserId::parse(&who.person.id).unwrap();
    let owner = Owner {
        account,
        user_id,
        zone: None,
        changed_at: now,
        received_at: now,
        fetched_at: now,
        is_backfill: false,
    };
    let fetched = read(fetch, answer.body.to_string().as_bytes(), &owner).unwrap();
    assert_eq!(fetched.rejected.total, 0, "{fetch:?}: {:?} of {}", fetched.rejected, answer.body);
    (answer, fetched)
}

#[test]
fn the_bridge_reads_every_record_of_ouras_and_refuses_no_field() {
    let world = World::new(7, 6, None);
    for who in world.people() {
        for kind in oura::Kind::ALL {
            let data_type = OuraDataType::from_name(kind.data_type()).unwrap();
            for day in TODAY - 20..=TODAY {
                if oura::record(who, kind, day, NOW_MS / 60_000).is_some() {
                    let id = who.record_id(kind as u8, day);
                    let (_, fetched) = fetch(&world, who, &OuraFetch::Record { data_type, id }.into());
                    assert!(!fetched.drafts.is_empty(), "{kind:?}");
                }
            }
        }
        let (from, to) = (Timestamp::from_ms(NOW_MS - 86_400_000), Timestamp::from_ms(NOW_MS));
        let (_, fetched) =
            fetch(&world, who, &OuraFetch::HeartRate { from, to, page: None, turned: 0 }.into());
        assert!(!fetched.drafts.is_empty());
    }
}

#[test]
fn the_bridge_reads_every_record_of_whoops_and_refuses_no_field() {
    let world = World::new(7, 6, None);
    for who in world.people() {
        for day in TODAY - 20..TODAY {
            let sleep_id = who.record_id(whoop::Kind::Sleep as u8, day);
            let sleep = WhoopFetch::Activity { kind: WhoopActivity::Sleep, id: sleep_id.clone() };
            let (answer, fetched) = fetch(&world, who, &sleep.into());
            let is_scored = answer.body["score_state"] == "SCORED";
            assert_eq!(is_scored, !fetched.drafts.is_empty(), "{}", answer.body);
            // The way from a sleep to its recovery.
            let (_, cycle) = fetch(&world, who, &WhoopFetch::CycleOfSleep { sleep_id }.into());
            fetch(&world, who, &cycle.next.unwrap());
        }
        let (from, to) = (Timestamp::from_ms(NOW_MS - 20 * 86_400_000), Timestamp::from_ms(NOW_MS));
        for records in
            [WhoopRecords::Sleeps, WhoopRecords::Recoveries, WhoopRecords::Workouts, WhoopRecords::Cycles]
        {
            let mut next =
                Some(Fetch::from(WhoopFetch::Records { records, from, to, page: None, turned: 0 }));
            let mut drafts = 0;
            while let Some(page) = next {
                let (_, fetched) = fetch(&world, who, &page);
                drafts += fetched.drafts.len();
                next = fetched.next;
            }
            assert!(drafts > 2, "{records:?}: {drafts}");
        }
        assert!(!fetch(&world, who, &WhoopFetch::Body.into()).1.drafts.is_empty());
    }
}
