//! The writer's connection while it writes a group of jobs in one transaction.
//!
//! Each statement is a journey to the driver's thread and back, and while it is under way everybody waits. So what begins
//! a job, the transaction or a savepoint, goes along with the job's first statement, and the commit with the last one of
//! the last job, where that says which it is.

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    AssertSqlSafe, Connection, Either, Execute, Executor, FromRow, QueryBuilder, Sqlite, SqliteConnection,
};

use super::log_table::{self, Ends};
use super::rows::{Rows, Values, statements};
use super::{JobResult, StoreError, execute, store_error};

/// What has to be said before the next statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The group's first.
    Begin,
    /// The job before has succeeded.
    Keep,
    /// The job before has failed.
    Undo,
    Nothing,
}

impl Before {
    fn sql(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN IMMEDIATE; SAVEPOINT job; ",
            Self::Keep => "RELEASE job; SAVEPOINT job; ",
            Self::Undo => "ROLLBACK TO job; ",
            Self::Nothing => "",
        }
    }
}

/// How many statements a text of ours has, which has no semicolon but at their ends.
fn statements_in(sql: &str) -> usize {
    sql.split(';').filter(|statement| !statement.trim().is_empty()).count()
}

/// The connection, and how far its group has come.
pub(crate) struct Writer {
    connection: SqliteConnection,
    before: Before,
    /// Why nothing can be written any more in this group.
    failed: Option<StoreError>,
    is_last_job: bool,
    is_committed: bool,
    /// Where the log's partitions end, with all that the running transaction has written: nobody else writes to the file
    /// (`DATA_DIR` has one bridge), and what is undone is forgotten here and read anew.
    log_ends: Option<Ends>,
}

impl Writer {
    pub(super) fn new(connection: SqliteConnection) -> Self {
        Self {
            connection,
            before: Before::Nothing,
            failed: None,
            is_last_job: false,
            is_committed: false,
            log_ends: None,
        }
    }

    /// The connection between two groups.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Closes the file.
    pub(super) async fn close(self) {
        // What fails here is done by the next start.
        let _ = self.connection.close().await;
    }

    /// A group begins.
    pub(super) fn begin(&mut self) {
        (self.before, self.failed, self.is_committed) = (Before::Begin, None, false);
    }

    /// A job begins, which may be the group's last.
    pub(super) fn begin_job(&mut self, is_last: bool) {
        self.is_last_job = is_last;
    }

    /// The job has ended. What it has written stays, unless it has failed.
    pub(super) fn end_job(&mut self, has_failed: bool) {
        if has_failed {
            self.log_ends = None;
        }
        // If it has said nothing, what was to be said before it still is.
        if self.before == Before::Nothing {
            self.before = if has_failed { Before::Undo } else { Before::Keep };
        }
    }

    /// Commits what has not failed. After an error nobody knows the outcome.
    pub(super) async fn end(&mut self) -> JobResult<()> {
        let committed = match (self.failed.take(), self.before) {
            _ if self.is_committed => return Ok(()),
            (None, Before::Begin) => return Ok(()),
            (Some(error), _) => Err(error),
            (None, Before::Undo) => execute(&mut self.connection, "ROLLBACK TO job; COMMIT").await,
            (None, Before::Keep | Before::Nothing) => execute(&mut self.connection, "COMMIT").await,
        };
        if committed.is_err() {
            self.log_ends = None;
            let _ = execute(&mut self.connection, "ROLLBACK").await;
        }
        committed
    }

    /// The connection, within the job's savepoint.
    pub(crate) async fn begun(&mut self) -> JobResult<&mut SqliteConnection> {
        self.send("", SqliteArguments::default(), "").await?;
        Ok(&mut self.connection)
    }

    /// Undoes what the job has written since a savepoint: `sql` rolls back to it.
    pub(crate) async fn undo(&mut self, sql: &'static str) -> JobResult<()> {
        self.log_ends = None;
        execute(self.begun().await?, sql).await
    }

    /// Where the log's partitions end. Who changes them here writes them in the same job.
    pub(super) async fn log_ends(&mut self) -> JobResult<&mut Ends> {
        let ends = match self.log_ends.take() {
            Some(ends) => ends,
            None => log_table::read_ends(self).await?,
        };
        Ok(self.log_ends.insert(ends))
    }

    /// Sends a query.
    pub(crate) async fn fetch_all<R>(&mut self, mut query: QueryBuilder<Sqlite>) -> JobResult<Vec<R>>
    where
        R: for<'r> FromRow<'r, SqliteRow>,
    {
        let mut query = query.build();
        let arguments = query.take_arguments().map_err(sqlx::Error::Encode).map_err(store_error)?;
        let rows = self.send(query.sql().as_str(), arguments.unwrap_or_default(), "").await?;
        rows.iter().map(|row| R::from_row(row).map_err(store_error)).collect()
    }

    /// Inserts rows into tables, in this order, as the last that the job writes: after the last job's they are committed.
    pub(crate) async fn insert_last(&mut self, tables: &[Rows<'_>]) -> JobResult<()> {
        let mut statements = statements(tables).peekable();
        while let Some((sql, values)) = statements.next() {
            let is_end = self.is_last_job && statements.peek().is_none();
            self.send(&sql, Values::arguments(values)?, if is_end { " COMMIT" } else { "" }).await?;
            self.is_committed = is_end;
        }
        Ok(())
    }

    /// Sends a statement with what is to be said before it, and gives back its rows.
    async fn send(
        &mut self,
        sql: &str,
        arguments: SqliteArguments,
        after: &str,
    ) -> JobResult<Vec<SqliteRow>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.is_committed {
            return Err(StoreError::Refused("a job has written after its last statement".to_owned()));
        }
        let sql = [self.before.sql(), sql, after].concat();
        if sql.is_empty() {
            return Ok(Vec::new());
        }
        let expected = statements_in(&sql);
        let mut results = self.connection.fetch_many((AssertSqlSafe(sql), Some(arguments)));
        for _ in 0..statements_in(self.before.sql()) {
            if let Err(error) = results.try_next().await.and_then(|done| done.ok_or_else(crashed)) {
                return Err(self.failed.insert(store_error(error)).clone());
            }
        }
        let (mut rows, mut done) = (Vec::new(), statements_in(self.before.sql()));
        self.before = Before::Nothing;
        while let Some(result) = results.try_next().await.map_err(store_error)? {
            match result {
                Either::Left(_) => done += 1,
                Either::Right(row) => rows.push(row),
            }
        }
        // Of a driver's thread that has died in the middle there is nothing more, and no error.
        if done == expected { Ok(rows) } else { Err(store_error(crashed())) }
    }
}

fn crashed() -> sqlx::Error {
    sqlx::Error::WorkerCrashed
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;
    use sqlx::sqlite::SqliteConnectOptions;
    use tokio::sync::oneshot;

    use super::super::rows::Insert;
    use super::super::{Job, Pending, Work, write_group};
    use super::*;

    static ROWS: Insert = Insert { into: "rows (number)", columns: 1, tail: "" };

    /// What a job may do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Kind {
        Nothing,
        FailsAtOnce,
        Writes,
        WritesAndFails,
        WritesLast,
        /// Its last statement is refused.
        IsRefused,
        /// The same, and it goes on with something else.
        IsRefusedAndGoesOn,
        /// As a full disk may.
        EndsTheTransaction,
    }

    const KINDS: [Kind; 7] = [
        Kind::Nothing,
        Kind::FailsAtOnce,
        Kind::Writes,
        Kind::WritesAndFails,
        Kind::WritesLast,
        Kind::IsRefused,
        Kind::IsRefusedAndGoesOn,
    ];

    impl Kind {
        fn succeeds(self) -> bool {
            !matches!(self, Self::FailsAtOnce | Self::WritesAndFails | Self::IsRefused)
        }

        fn writes(self) -> bool {
            self.succeeds() && self != Self::Nothing
        }
    }

    async fn work(writer: &mut Writer, kind: Kind, number: i64) -> JobResult<()> {
        let failed = Err(StoreError::Unavailable("as it was told".to_owned()));
        let row = [number];
        let row = Rows::new(&ROWS, &row, |number, values| {
            values.push(*number);
        });
        let refused = Rows::new(&ROWS, &[-1], |number, values| {
            values.push(*number);
        });
        match kind {
            Kind::Nothing => Ok(()),
            Kind::FailsAtOnce => failed,
            Kind::Writes | Kind::WritesAndFails => {
                let rows: Vec<(i64,)> =
                    writer.fetch_all(QueryBuilder::new("SELECT number FROM rows WHERE number < 0")).await?;
                assert_eq!(rows, [], "nothing that was refused is seen");
                super::super::rows::insert(writer.begun().await?, &[row]).await?;
                if kind == Kind::Writes { Ok(()) } else { failed }
            }
            Kind::WritesLast => writer.insert_last(&[row]).await,
            Kind::EndsTheTransaction => {
                let ends = QueryBuilder::new("INSERT OR ROLLBACK INTO rows VALUES (-1)");
                writer.fetch_all::<(i64,)>(ends).await.map(drop)
            }
            Kind::IsRefused => writer.insert_last(&[row, refused]).await,
            Kind::IsRefusedAndGoesOn => {
                assert!(matches!(writer.insert_last(&[refused]).await, Err(StoreError::Refused(_))));
                writer.undo("ROLLBACK TO job").await?;
                writer.insert_last(&[row]).await
            }
        }
    }

    fn job(kind: Kind, number: i64) -> (Box<dyn Job>, oneshot::Receiver<JobResult<()>>) {
        let (reply, answer) = oneshot::channel();
        let work: Work<()> = Box::new(move |writer| Box::pin(work(writer, kind, number)));
        (Box::new(Pending { work, then: Box::new(|()| ()), reply }), answer)
    }

    /// Writes a group of these, numbered from 0: what each was answered.
    async fn write(writer: &mut Writer, kinds: &[Kind]) -> Vec<JobResult<()>> {
        let jobs = (0..).zip(kinds).map(|(number, kind)| job(*kind, number));
        let (jobs, answers): (Vec<_>, Vec<_>) = jobs.unzip();
        write_group(writer, jobs).await;
        answers.into_iter().map(|mut answer| answer.try_recv().unwrap()).collect()
    }

    async fn writer(file: &str) -> Writer {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let mut connection = options.busy_timeout(std::time::Duration::ZERO).connect().await.unwrap();
        let table = "CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY CHECK (number >= 0))";
        execute(&mut connection, table).await.unwrap();
        Writer::new(connection)
    }

    /// What is committed; there is no transaction any more.
    async fn take_rows(writer: &mut Writer) -> Vec<i64> {
        execute(writer.connection(), "BEGIN").await.unwrap();
        let rows = sqlx::query_scalar("DELETE FROM rows RETURNING number");
        let mut rows: Vec<i64> = rows.fetch_all(writer.connection()).await.unwrap();
        execute(writer.connection(), "COMMIT").await.unwrap();
        rows.sort_unstable();
        rows
    }

    #[actix_web::test]
    async fn in_a_group_of_any_jobs_what_succeeds_is_committed_and_nothing_else() {
        let mut writer = writer(":memory:").await;
        for len in 1..=4 {
            for combination in 0..KINDS.len().pow(len) {
                let kind = |place| KINDS[combination / KINDS.len().pow(place) % KINDS.len()];
                let kinds: Vec<Kind> = (0..len).map(kind).collect();
                let answers = write(&mut writer, &kinds).await;
                let expected: Vec<bool> = kinds.iter().map(|kind| kind.succeeds()).collect();
                assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), expected, "{kinds:?}");
                let written = (0..).zip(&kinds).filter(|(_, kind)| kind.writes());
                let written: Vec<i64> = written.map(|(number, _)| number).collect();
                assert_eq!(take_rows(&mut writer).await, written, "{kinds:?}");
            }
        }
    }

    #[actix_web::test]
    async fn what_ends_the_transaction_under_its_group_fails_all_of_it_and_not_the_next_one() {
        let mut writer = writer(":memory:").await;
        for place in 0..4 {
            for kind in KINDS {
                let mut kinds = vec![kind; 3];
                kinds.insert(place, Kind::EndsTheTransaction);
                let answers = write(&mut writer, &kinds).await;
                assert!(answers.iter().all(Result::is_err), "{kinds:?}: {answers:?}");
                assert_eq!(take_rows(&mut writer).await, [0_i64; 0], "{kinds:?}");
                write(&mut writer, &[Kind::Writes, Kind::WritesLast]).await;
                assert_eq!(take_rows(&mut writer).await, [0, 1]);
            }
        }
    }

    #[actix_web::test]
    async fn a_group_that_cannot_begin_writes_nothing_and_the_next_one_may() {
        let home = tempfile::TempDir::new().unwrap();
        let file = home.path().join("file");
        let (mut writer, mut other) =
            (writer(file.to_str().unwrap()).await, writer(file.to_str().unwrap()).await);
        execute(other.connection(), "BEGIN IMMEDIATE").await.unwrap();
        let kinds = [Kind::Writes, Kind::WritesLast, Kind::IsRefused, Kind::WritesLast];
        for answer in write(&mut writer, &kinds).await {
            assert!(matches!(answer, Err(StoreError::Unavailable(why)) if why.contains("locked")));
        }
        execute(other.connection(), "ROLLBACK").await.unwrap();
        assert_eq!(take_rows(&mut writer).await, [0_i64; 0]);
        write(&mut writer, &kinds).await;
        assert_eq!(take_rows(&mut writer).await, [0, 1, 3]);
    }

    #[actix_web::test]
    async fn a_job_that_writes_after_its_last_statement_is_told() {
        let mut writer = writer(":memory:").await;
        writer.begin();
        writer.begin_job(true);
        work(&mut writer, Kind::WritesLast, 1).await.unwrap();
        assert!(matches!(work(&mut writer, Kind::Writes, 2).await, Err(StoreError::Refused(_))));
        writer.end_job(false);
        writer.end().await.unwrap();
        assert_eq!(take_rows(&mut writer).await, [1]);
    }
}
