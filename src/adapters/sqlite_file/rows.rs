//! Rows and columns: inserts and look-ups of many rows in few statements.
//!
//! Each statement is a journey to the driver's thread and back, and each text is prepared once and kept. So statements
//! come in few sizes, filled up with rows that change nothing, and small inserts into several tables go as one.

use sqlx::encode::Encode;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, FromRow, QueryBuilder, Sqlite, SqliteConnection, Type};

use super::{JobResult, StoreError, store_error};

/// Rows in one statement. The widest row times this stays under SQLite's 32,766 bound values.
pub(crate) const ROWS_MAX: usize = 512;
/// Rows a table up to which inserts into several tables are one statement.
const TOGETHER_MAX: usize = 16;

/// An insert into a table: its columns, of which the first is never null.
pub(crate) struct Insert {
    /// `table (column, …)`.
    pub(crate) into: &'static str,
    /// How many columns.
    pub(crate) columns: usize,
    /// What is done about rows that are there: `ON CONFLICT …`, or nothing.
    pub(crate) tail: &'static str,
}

/// The values of a statement, in order.
#[derive(Default)]
pub(crate) struct Values {
    arguments: SqliteArguments,
    error: Option<String>,
}

impl Values {
    /// One more.
    pub(crate) fn push<'v>(&mut self, value: impl Encode<'v, Sqlite> + Type<Sqlite>) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.error = Some(error.to_string());
        }
        self
    }

    /// Rows of nothing, up to a size.
    fn fill(&mut self, values: usize) {
        for _ in 0..values {
            self.push(None::<i64>);
        }
    }

    pub(super) fn arguments(self) -> JobResult<SqliteArguments> {
        self.error.map_or(Ok(self.arguments), |error| Err(StoreError::Refused(error)))
    }
}

/// Pushes the columns of the row at a place.
type Bind<'r> = Box<dyn Fn(usize, &mut Values) + Send + Sync + 'r>;

/// Rows for one table.
pub(crate) struct Rows<'r> {
    insert: &'static Insert,
    len: usize,
    bind: Bind<'r>,
}

impl<'r> Rows<'r> {
    /// A row for each of `rows`, whose columns `bind` pushes.
    pub(crate) fn new<T: Sync>(
        insert: &'static Insert,
        rows: &'r [T],
        bind: impl Fn(&T, &mut Values) + Send + Sync + 'r,
    ) -> Self {
        let bind = Box::new(move |place: usize, values: &mut Values| bind(&rows[place], values));
        Self { insert, len: rows.len(), bind }
    }

    /// The statement for the rows from `first` on, in a statement of `size` rows.
    fn write(&self, first: usize, size: usize, sql: &mut String, values: &mut Values) {
        let Insert { into, columns, tail } = self.insert;
        let row = format!("({}?)", "?,".repeat(columns - 1));
        sql.push_str(&format!("INSERT INTO {into} SELECT * FROM (VALUES {row}"));
        for _ in 1..size {
            sql.push(',');
            sql.push_str(&row);
        }
        // Rows that only fill the statement up begin with a null.
        sql.push_str(&format!(") WHERE column1 IS NOT NULL {tail};"));
        let here = size.min(self.len - first);
        (first..first + here).for_each(|place| (self.bind)(place, values));
        values.fill((size - here) * columns);
    }
}

/// The statements that insert rows into tables, in this order: one for all if each table has few.
pub(super) fn statements<'t>(tables: &'t [Rows<'_>]) -> impl Iterator<Item = (String, Values)> + 't {
    let longest = tables.iter().map(|rows| rows.len).max().unwrap_or_default();
    let (together, apart) =
        if longest <= TOGETHER_MAX { (tables, [].as_slice()) } else { ([].as_slice(), tables) };
    let together = (longest > 0 && !together.is_empty()).then(|| {
        let (mut sql, mut values) = (String::new(), Values::default());
        for rows in together.iter().filter(|rows| rows.len > 0) {
            rows.write(0, longest.next_power_of_two(), &mut sql, &mut values);
        }
        (sql, values)
    });
    let part = |rows: &Rows<'_>, first: usize| {
        let (mut sql, mut values) = (String::new(), Values::default());
        let size = (rows.len - first).min(ROWS_MAX).next_power_of_two();
        rows.write(first, size, &mut sql, &mut values);
        (sql, values)
    };
    let parts = move |rows: &'t Rows<'_>| (0..rows.len).step_by(ROWS_MAX).map(move |first| part(rows, first));
    together.into_iter().chain(apart.iter().flat_map(parts))
}

/// Inserts rows into tables, in this order.
pub(crate) async fn insert(connection: &mut SqliteConnection, tables: &[Rows<'_>]) -> JobResult<()> {
    for (sql, values) in statements(tables) {
        // Its text is made of our own words and question marks.
        let query = sqlx::query_with(AssertSqlSafe(sql), values.arguments()?);
        query.execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(())
}

/// Pushes `(?, ?, …)` for `keys`, filled up to one of few sizes by the last of them again and again: that finds nothing
/// more. No keys at all are an empty list.
pub(crate) fn push_list<'q, K>(sql: &mut QueryBuilder<Sqlite>, keys: &[K])
where
    K: Clone + Send + for<'e> Encode<'e, Sqlite> + Type<Sqlite> + 'q,
{
    let fill = if keys.is_empty() { 0 } else { keys.len().next_power_of_two() - keys.len() };
    let filled = keys.iter().chain(keys.last().into_iter().cycle().take(fill));
    sql.push("(");
    let mut list = sql.separated(", ");
    for key in filled {
        list.push_bind(key.clone());
    }
    sql.push(")");
}

/// Selects the rows whose key is one of `keys`. `head` ends in `IN `.
pub(crate) async fn select_in<R, K>(
    connection: &mut SqliteConnection,
    head: &'static str,
    keys: &[K],
) -> JobResult<Vec<R>>
where
    R: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    K: Clone + Send + for<'e> Encode<'e, Sqlite> + Type<Sqlite>,
{
    let mut rows = Vec::new();
    for part in keys.chunks(ROWS_MAX) {
        let mut sql = QueryBuilder::<Sqlite>::new(head);
        push_list(&mut sql, part);
        rows.extend(sql.build_query_as::<R>().fetch_all(&mut *connection).await.map_err(store_error)?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;

    static NUMBERS: Insert = Insert { into: "numbers (number, name)", columns: 2, tail: "" };
    static WORDS: Insert = Insert {
        into: "words (word)",
        columns: 1,
        tail: "ON CONFLICT (word) DO UPDATE SET times = times + 1",
    };

    #[actix_web::test]
    async fn any_number_of_rows_is_inserted_once_each() {
        for len in [0, 1, 3, 16, 17, 63, 64, 200, 512, 513, 1_100] {
            let mut connection = SqliteConnection::connect(":memory:").await.unwrap();
            let tables = "CREATE TABLE numbers (number INTEGER NOT NULL, name TEXT NOT NULL) STRICT; \
                CREATE TABLE words (word TEXT PRIMARY KEY, times INTEGER NOT NULL DEFAULT 1) STRICT";
            super::super::execute(&mut connection, tables).await.unwrap();
            let rows: Vec<i64> = (0..len).collect();
            let numbers = Rows::new(&NUMBERS, &rows, |number, values| {
                values.push(*number).push(number.to_string());
            });
            let words = Rows::new(&WORDS, &rows, |number, values| {
                values.push((number % 2).to_string());
            });
            insert(&mut connection, &[numbers, words]).await.unwrap();
            let found: Vec<(i64, String)> = sqlx::query_as("SELECT number, name FROM numbers ORDER BY rowid")
                .fetch_all(&mut connection)
                .await
                .unwrap();
            assert_eq!(found, rows.iter().map(|number| (*number, number.to_string())).collect::<Vec<_>>());
            let (times,): (i64,) = sqlx::query_as("SELECT coalesce(sum(times), 0) FROM words")
                .fetch_one(&mut connection)
                .await
                .unwrap();
            assert_eq!(times, len);
        }
    }
}
