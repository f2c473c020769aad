//! Rows and columns: how values are laid down, and inserts and look-ups of many rows in few statements.

use actors::domain::message::HeaderField;
use actors::ports::store::StoreError;
use sqlx::query_builder::Separated;
use sqlx::sqlite::SqliteRow;
use sqlx::{Encode, FromRow, QueryBuilder, Sqlite, SqliteConnection, Type};

use super::{JobResult, store_error};

/// Values bound in one statement (SQLite's limit is 32,766).
const BINDS_MAX: usize = 30_000;

/// Inserts `rows` with as few statements as the bind limit allows. `head` ends in a blank; `tail` follows the values.
pub(crate) async fn insert<T>(
    connection: &mut SqliteConnection,
    head: &'static str,
    columns: usize,
    rows: &[T],
    mut bind: impl FnMut(&mut Separated<'_, Sqlite, &'static str>, &T),
    tail: &'static str,
) -> JobResult<()> {
    for chunk in rows.chunks(BINDS_MAX / columns) {
        let mut sql = QueryBuilder::<Sqlite>::new(head);
        sql.push_values(chunk, |mut row, value| bind(&mut row, value));
        sql.push(tail);
        sql.build().execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(())
}

/// Selects the rows whose key is one of `keys`. `head` ends in `IN `.
pub(crate) async fn select_in<R, K>(
    connection: &mut SqliteConnection,
    head: &'static str,
    keys: &[K],
) -> JobResult<Vec<R>>
where
    R: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    K: Clone + Send + for<'q> Encode<'q, Sqlite> + Type<Sqlite>,
{
    let mut rows = Vec::new();
    for chunk in keys.chunks(BINDS_MAX) {
        let mut sql = QueryBuilder::<Sqlite>::new(head);
        sql.push_tuples(chunk, |mut tuple, key| {
            tuple.push_bind(key.clone());
        });
        rows.extend(sql.build_query_as::<R>().fetch_all(&mut *connection).await.map_err(store_error)?);
    }
    Ok(rows)
}

/// Headers as they lie in a row.
pub(crate) fn encode_headers(headers: &[HeaderField]) -> JobResult<Vec<u8>> {
    postcard::to_stdvec(headers).map_err(damaged)
}

/// Headers from a row.
pub(crate) fn decode_headers(bytes: &[u8]) -> JobResult<Vec<HeaderField>> {
    postcard::from_bytes(bytes).map_err(damaged)
}

/// A row that does not hold what we once wrote.
pub(crate) fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Refused(format!("a stored row cannot be read: {error}"))
}
