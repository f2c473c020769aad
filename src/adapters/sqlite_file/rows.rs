//! Rows and columns: how values are laid down, and inserts and look-ups of many rows in few statements.

use sqlx::query_builder::Separated;
use sqlx::sqlite::SqliteRow;
use sqlx::{Encode, FromRow, QueryBuilder, Sqlite, SqliteConnection, Type};

use super::{JobResult, store_error};

/// Rows in one statement. Powers of two: so any number of rows takes few statements, and each connection prepares each
/// of them once and keeps it. The widest row times the largest size stays under SQLite's 32,766 bound values.
const SIZES: [usize; 10] = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1];

/// Splits rows into parts of those sizes, the largest first.
fn parts<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        let (part, rest) = rows.split_at(size);
        rows = rest;
        Some(part)
    })
}

/// Inserts `rows` with few statements. `head` ends in a blank; `tail` follows the values.
pub(crate) async fn insert<T>(
    connection: &mut SqliteConnection,
    head: &'static str,
    rows: &[T],
    mut bind: impl FnMut(&mut Separated<'_, Sqlite, &'static str>, &T),
    tail: &'static str,
) -> JobResult<()> {
    for part in parts(rows) {
        let mut sql = QueryBuilder::<Sqlite>::new(head);
        sql.push_values(part, |mut row, value| bind(&mut row, value));
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
    for part in keys.chunks(SIZES[0]) {
        // The last key again and again, up to the next size: that changes nothing, and saves statements.
        let padding = part.len().next_power_of_two() - part.len();
        let padded = part.iter().chain(part.last().into_iter().cycle().take(padding));
        let mut sql = QueryBuilder::<Sqlite>::new(head);
        sql.push_tuples(padded, |mut tuple, key| {
            tuple.push_bind(key.clone());
        });
        rows.extend(sql.build_query_as::<R>().fetch_all(&mut *connection).await.map_err(store_error)?);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_part_and_parts_have_few_sizes() {
        for len in [0, 1, 3, 5, 63, 64, 200, 1_100] {
            let rows: Vec<usize> = (0..len).collect();
            let split: Vec<&[usize]> = parts(&rows).collect();
            assert_eq!(split.concat(), rows);
            assert!(split.iter().all(|part| SIZES.contains(&part.len())), "{len}");
        }
    }
}
