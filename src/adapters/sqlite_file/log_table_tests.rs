//! The log's places, whatever happens to the jobs that give them out.

#![allow(clippy::unwrap_used)]

use actors::domain::message::{Message, Topic};
use tempfile::TempDir;

use super::log_table::{LogTable, Placed, read};
use super::rows::insert;
use super::{JobResult, SqliteFile, StoreError};

fn message(user: usize) -> Message {
    let key = format!("user-{user}").into();
    Message { topic: Topic::BiometricEvents, key, value: b"{}".to_vec(), headers: Vec::new() }
}

/// Appends messages of some users in a job, which may undo that and append others, and may fail in the end.
async fn append(file: &SqliteFile, table: &LogTable, parts: &[usize], fails: bool) -> JobResult<()> {
    let (parts, own, shown) = (parts.to_vec(), table.clone(), table.clone());
    let work = file.write_by(
        move |writer| {
            Box::pin(async move {
                let mut placed = None;
                for (number, users) in parts.iter().enumerate() {
                    if number > 0 {
                        writer.undo("ROLLBACK TO job").await?;
                    }
                    let messages: Vec<Message> = (0..*users).map(message).collect();
                    placed = Some(own.place(writer, messages.iter()).await?);
                    let tables = placed.as_ref().map(Placed::tables);
                    let connection = writer.begun().await?;
                    insert(connection, &tables.unwrap()).await?;
                }
                let failed = StoreError::Unavailable("as it was told".to_owned());
                if fails { Err(failed) } else { Ok(placed) }
            })
        },
        move |placed| placed.into_iter().for_each(|placed| shown.show(placed)),
    );
    work.await
}

#[actix_web::test]
async fn offsets_have_no_gap_and_come_once_whatever_is_undone() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("file");
    let mut expected = 0;
    for _ in 0..2 {
        let file = SqliteFile::open(&path).await.unwrap();
        let table = LogTable::open(&file, 3).await.unwrap().unwrap();
        append(&file, &table, &[20], false).await.unwrap();
        append(&file, &table, &[30], true).await.unwrap_err();
        append(&file, &table, &[11], false).await.unwrap();
        append(&file, &table, &[25, 40], false).await.unwrap();
        // In one group, as far as they come together.
        let (kept, lost, rest) = futures_util::join!(
            append(&file, &table, &[5], false),
            append(&file, &table, &[6, 7], true),
            append(&file, &table, &[9], false),
        );
        assert!(kept.is_ok() && lost.is_err() && rest.is_ok());
        expected += 20 + 11 + 40 + 5 + 9;
        let ends = table.ends();
        let places: Vec<(u32, i64)> = ends.iter().map(|(partition, _)| (*partition, 0)).collect();
        let records = read(file.readers(), Topic::BiometricEvents, &places, 1_000).await.unwrap();
        assert_eq!(records.len(), expected);
        for (partition, end) in ends {
            let offsets = records.iter().filter(|record| record.partition == partition);
            let offsets: Vec<i64> = offsets.map(|record| record.offset).collect();
            assert_eq!(offsets, (0..end).collect::<Vec<_>>(), "partition {partition}");
        }
        let reopened = LogTable::open(&file, 3).await.unwrap().unwrap();
        assert_eq!(reopened.ends(), table.ends(), "as they are stored");
        file.close().await;
    }
}
