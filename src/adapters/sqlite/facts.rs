//! The newest version of every fact, and where it stands.
//!
//! Identities are hashes: each new one belongs on another page of `facts`, and a commit writes every page that it has
//! changed. So new facts are appended to `fresh_facts`, and go into `facts` many at a time, in the order of its key, a
//! slice with each commit: a page is written once for all that it takes in.
//!
//! What `fresh_facts` holds is in memory too. A commit takes it along and gives it back once it is durable; after one
//! that has failed, it is read anew.

use std::collections::BTreeMap;

use actors::domain::admission::Known;
use actors::domain::ids::Identity;
use futures_util::TryStreamExt;
use sqlx::SqliteConnection;

use crate::adapters::sqlite_file::rows::{Insert, ROWS_MAX, Rows, Values, insert};
use crate::adapters::sqlite_file::{JobResult, store_error};

/// Bytes of an identity.
const IDENTITY_BYTES: usize = 16;
/// So many gather before they go into `facts`. One takes some 60 bytes of memory, and while they go, half as many gather.
const GATHERED_MAX: usize = 50_000;
/// How many go for each one that comes.
const GONE_PER_NEW: usize = 2;

static FRESH: Insert =
    Insert { into: "fresh_facts (id, version, event_seq, reading, identities)", columns: 5, tail: "" };
static FACTS: Insert = Insert {
    into: "facts (identity, version, event_seq, reading)",
    columns: 4,
    // What a process that died has left in `fresh_facts` may be there already.
    tail: "ON CONFLICT (identity) DO UPDATE SET version = excluded.version, event_seq = excluded.event_seq, \
           reading = excluded.reading WHERE excluded.version >= version",
};
static NEW_FACTS: Insert = Insert { tail: "ON CONFLICT (identity) DO NOTHING", ..FACTS };

/// Facts of one event and version, as a row of `fresh_facts`.
pub(super) struct FreshRow {
    id: i64,
    /// The first of them; the others have the places behind its place.
    first: Known,
    identities: Vec<u8>,
}

/// Its columns: id, version, event_seq, reading, identities.
type StoredRow = (i64, i64, i64, Option<u32>, Vec<u8>);

impl FreshRow {
    /// What a row that begins with `first` says of the fact at this place.
    fn at(first: Known, place: usize) -> Known {
        Known { reading: first.reading.map(|reading| reading.saturating_add(place as u32)), ..first }
    }

    fn facts(&self) -> impl Iterator<Item = (Identity, Known)> + '_ {
        let (identities, _) = self.identities.as_chunks::<IDENTITY_BYTES>();
        let fact = |(place, identity): (usize, &[u8; IDENTITY_BYTES])| {
            (Identity::from_bytes(*identity), Self::at(self.first, place))
        };
        identities.iter().enumerate().map(fact)
    }
}

/// The rows for some.
pub(super) fn rows(fresh: &[FreshRow]) -> Rows<'_> {
    Rows::new(&FRESH, fresh, |FreshRow { id, first, identities }, values| {
        values.push(*id).push(first.version).push(first.event_seq).push(first.reading);
        values.push(identities.as_slice());
    })
}

/// No row of `fresh_facts` has this number.
const UNREAD: i64 = -1;

/// What `fresh_facts` holds.
#[derive(Debug)]
pub(super) struct FreshFacts {
    /// So many gather.
    gathered_max: usize,
    /// The last number that a row got.
    last: i64,
    gathering: BTreeMap<Identity, Known>,
    /// On their way into `facts`: those that are gone from here are there.
    going: BTreeMap<Identity, Known>,
    /// The last row of those, and how many of them go for each new one.
    going_upto: i64,
    going_per_new: usize,
    /// How many are to go by now.
    due: usize,
}

impl Default for FreshFacts {
    fn default() -> Self {
        Self::gathering_to(GATHERED_MAX)
    }
}

impl FreshFacts {
    /// Not read yet.
    fn gathering_to(gathered_max: usize) -> Self {
        let (gathering, going) = (BTreeMap::new(), BTreeMap::new());
        Self { gathered_max, last: UNREAD, gathering, going, going_upto: 0, going_per_new: 0, due: 0 }
    }

    /// Reads all of the table, of which the last row that there was has this number.
    pub(super) async fn read(&mut self, connection: &mut SqliteConnection, last: i64) -> JobResult<()> {
        *self = Self::gathering_to(self.gathered_max);
        let sql = "SELECT id, version, event_seq, reading, identities FROM fresh_facts ORDER BY id";
        let mut rows = sqlx::query_as::<_, StoredRow>(sql).fetch(connection);
        while let Some((id, version, event_seq, reading, identities)) =
            rows.try_next().await.map_err(store_error)?
        {
            let row = FreshRow { id, first: Known { version, event_seq, reading }, identities };
            // Of one fact the later row is the newer one.
            self.gathering.extend(row.facts());
        }
        self.last = last;
        Ok(())
    }

    /// Whether all that is in the table is here, of which the last row that there was has this number.
    pub(super) fn is_read(&self, last: i64) -> bool {
        self.last == last
    }

    /// What is known of a fact, if it is here.
    pub(super) fn get(&self, identity: &Identity) -> Option<Known> {
        self.gathering.get(identity).or_else(|| self.going.get(identity)).copied()
    }

    /// New facts, in the order of their events, as rows that are still to be written.
    pub(super) fn rows_of<'f>(&self, facts: impl Iterator<Item = &'f (Identity, Known)>) -> Vec<FreshRow> {
        let mut rows: Vec<FreshRow> = Vec::new();
        for (identity, known) in facts {
            let next = self.last + 1 + rows.len() as i64;
            match rows.last_mut() {
                Some(row) if FreshRow::at(row.first, row.identities.len() / IDENTITY_BYTES) == *known => {
                    row.identities.extend_from_slice(identity.as_bytes());
                }
                _ => {
                    let identities = identity.as_bytes().to_vec();
                    rows.push(FreshRow { id: next, first: *known, identities });
                }
            }
        }
        rows
    }

    /// Takes in rows that this transaction writes next: what is to go into `facts` behind them, for [`Self::let_go`]. If they
    /// are undone, all is read anew, as their last number is not the table's.
    pub(super) fn take_in(&mut self, rows: &[FreshRow]) -> Vec<(Identity, Known)> {
        let Some(last) = rows.last().map(|row| row.id) else { return Vec::new() };
        self.last = last;
        let mut new = 0;
        for row in rows {
            new += row.identities.len() / IDENTITY_BYTES;
            self.gathering.extend(row.facts());
        }
        self.slice(last, new)
    }

    /// Lets a slice go into `facts`, once the rows that it has come with are written.
    pub(super) async fn let_go(
        &mut self,
        connection: &mut SqliteConnection,
        slice: &[(Identity, Known)],
    ) -> JobResult<()> {
        // What ends in the middle is read anew.
        let last = std::mem::replace(&mut self.last, UNREAD);
        insert(connection, &[Rows::new(&FACTS, slice, fact_row)]).await?;
        if !slice.is_empty() && self.going.is_empty() {
            sqlx::query("DELETE FROM fresh_facts WHERE id <= ?")
                .bind(self.going_upto)
                .execute(connection)
                .await
                .map_err(store_error)?;
        }
        self.last = last;
        Ok(())
    }

    /// What goes now that so many have come: whole statements, or all that is left.
    fn slice(&mut self, last: i64, new: usize) -> Vec<(Identity, Known)> {
        if self.going.is_empty() {
            if self.gathering.len() < self.gathered_max {
                return Vec::new();
            }
            self.going = std::mem::take(&mut self.gathering);
            (self.going_upto, self.due) = (last, 0);
            // After a death in the middle there are more.
            self.going_per_new = GONE_PER_NEW * (self.going.len() / self.gathered_max.max(1)).max(1);
        }
        self.due += new * self.going_per_new;
        let count = self.due - self.due % ROWS_MAX;
        self.due -= count;
        std::iter::from_fn(|| self.going.pop_first()).take(count).collect()
    }
}

fn fact_row((identity, known): &(Identity, Known), values: &mut Values) {
    values.push(identity.as_bytes().as_slice());
    values.push(known.version).push(known.event_seq).push(known.reading);
}

/// Takes facts into `facts` that are new there; those that are known stay.
pub(super) async fn know(
    connection: &mut SqliteConnection,
    facts: &BTreeMap<Identity, Known>,
) -> JobResult<()> {
    let facts: Vec<(Identity, Known)> = facts.iter().map(|(identity, known)| (*identity, *known)).collect();
    insert(connection, &[Rows::new(&NEW_FACTS, &facts, fact_row)]).await
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;
    use crate::adapters::sqlite_file::{execute, migrations};

    const MAX: usize = 2_000;

    struct Table {
        connection: SqliteConnection,
        fresh: FreshFacts,
        /// What must be known.
        expected: BTreeMap<Identity, Known>,
    }

    impl Table {
        async fn new() -> Self {
            let mut connection = SqliteConnection::connect(":memory:").await.unwrap();
            migrations::up(&mut connection).await.unwrap();
            let mut table =
                Self { connection, fresh: FreshFacts::gathering_to(MAX), expected: BTreeMap::new() };
            table.read_anew().await;
            table
        }

        async fn number(&mut self, sql: &'static str) -> i64 {
            let (number,): (i64,) = sqlx::query_as(sql).fetch_one(&mut self.connection).await.unwrap();
            number
        }

        /// As after a death.
        async fn read_anew(&mut self) {
            let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'fresh_facts'";
            let last = self.number(sql).await;
            self.fresh = FreshFacts::gathering_to(MAX);
            assert!(!self.fresh.is_read(last));
            self.fresh.read(&mut self.connection, last).await.unwrap();
            assert!(self.fresh.is_read(last));
        }

        async fn store(&mut self, facts: &[(Identity, Known)]) {
            let fresh = self.fresh.rows_of(facts.iter());
            insert(&mut self.connection, &[rows(&fresh)]).await.unwrap();
            let slice = self.fresh.take_in(&fresh);
            self.fresh.let_go(&mut self.connection, &slice).await.unwrap();
        }

        /// An event of `len` readings: each third a newer version of what is known.
        async fn store_event(&mut self, event_seq: i64, len: u32) {
            let fact = |place: u32| {
                let number =
                    (event_seq as u32 * 10_000 + place) / if place.is_multiple_of(3) { 20_000 } else { 1 };
                let identity = Identity::of(&[&number.to_be_bytes()]);
                (identity, Known { version: event_seq, event_seq, reading: Some(place) })
            };
            let facts: Vec<_> = (0..len).map(fact).collect();
            self.store(&facts).await;
            self.expected.extend(facts);
        }

        async fn in_facts(&mut self) -> BTreeMap<Identity, Known> {
            let rows: Vec<(Vec<u8>, i64, i64, Option<u32>)> =
                sqlx::query_as("SELECT identity, version, event_seq, reading FROM facts")
                    .fetch_all(&mut self.connection)
                    .await
                    .unwrap();
            let known = |(identity, version, event_seq, reading): (Vec<u8>, _, _, _)| {
                (Identity::from_bytes(identity.try_into().unwrap()), Known { version, event_seq, reading })
            };
            rows.into_iter().map(known).collect()
        }

        /// What is known, wherever it lies.
        async fn known(&mut self) -> BTreeMap<Identity, Known> {
            let mut known = self.in_facts().await;
            known.extend(&self.fresh.going);
            known.extend(&self.fresh.gathering);
            assert!(
                known
                    .iter()
                    .all(|(identity, fact)| { self.fresh.get(identity).is_none_or(|fresh| fresh == *fact) })
            );
            known
        }
    }

    #[actix_web::test]
    async fn what_was_stored_is_known_wherever_it_lies_and_whoever_dies_meanwhile() {
        let mut table = Table::new().await;
        let mut most = 0;
        for event_seq in 1..60 {
            table.store_event(event_seq, [1, 700, 3, 1_000, 513][event_seq as usize % 5]).await;
            assert_eq!(table.known().await, table.expected, "after event {event_seq}");
            if event_seq % 7 == 0 {
                table.read_anew().await;
                assert_eq!(table.known().await, table.expected, "read after event {event_seq}");
            }
            most = most.max(table.fresh.gathering.len() + table.fresh.going.len());
        }
        assert!(table.in_facts().await.len() > table.expected.len() / 2, "nothing goes into its table");
        assert!(most <= 3 * MAX, "{most} are in memory");
    }

    #[actix_web::test]
    async fn what_goes_is_gone_before_as_much_has_gathered_again() {
        let mut table = Table::new().await;
        for event_seq in 1..=2 {
            table.store_event(event_seq, MAX as u32 / 2).await;
        }
        assert_eq!(table.number("SELECT count(*) FROM fresh_facts WHERE id <= 2").await, 2);
        let mut event_seq = 2;
        while table.number("SELECT count(*) FROM fresh_facts WHERE id <= 2").await > 0 {
            event_seq += 1;
            table.store_event(event_seq, 1).await;
            assert!(table.fresh.gathering.len() < MAX, "it takes too long");
        }
        assert!(table.fresh.going.is_empty());
        assert_eq!(table.known().await, table.expected);
    }

    #[actix_web::test]
    async fn facts_of_one_version_and_of_neighbours_are_one_row() {
        let mut table = Table::new().await;
        let fact = |number: u8, version, event_seq, reading| {
            (Identity::of(&[&[number]]), Known { version, event_seq, reading })
        };
        let facts = [
            fact(1, 0, 7, Some(0)),
            fact(2, 0, 7, Some(1)),
            fact(3, 5, 7, Some(2)),
            fact(4, 5, 7, Some(4)),
            fact(5, 5, 8, None),
            fact(6, 5, 8, None),
        ];
        table.store(&facts).await;
        assert_eq!(table.number("SELECT count(*) FROM fresh_facts").await, 4);
        table.read_anew().await;
        assert_eq!(table.fresh.gathering, facts.into_iter().collect());
    }

    #[actix_web::test]
    async fn without_the_table_all_is_where_it_was_before() {
        let mut table = Table::new().await;
        let mut event_seq = 0;
        // What has gone in part is there already.
        while event_seq < 8 || table.fresh.going.is_empty() {
            event_seq += 1;
            table.store_event(event_seq, 700).await;
        }
        table.store(&[(Identity::of(&[b"x"]), Known { version: 1, event_seq, reading: None })]).await;
        let known = table.known().await;
        migrations::down(&mut table.connection, 6).await.unwrap();
        assert_eq!(table.in_facts().await, known);
        migrations::up(&mut table.connection).await.unwrap();
        execute(
            &mut table.connection,
            "INSERT INTO fresh_facts (version, event_seq, identities) VALUES (1, 1, zeroblob(16))",
        )
        .await
        .unwrap();
    }
}
