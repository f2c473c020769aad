//! Dead letters, in the store in memory.

use async_trait::async_trait;

use super::store::{MemoryStore, StoreCall};
use crate::ports::DeadLetters;
use crate::ports::dead_letters::{KeptLetter, Letters};
use crate::ports::store::{DeadLetter, StoreError};

#[async_trait]
impl DeadLetters for MemoryStore {
    async fn dead_letters(&self, before: Option<i64>, limit: usize) -> Result<Vec<KeptLetter>, StoreError> {
        self.look(StoreCall::DeadLetters, |contents| {
            let newest = contents.kept_letters().rev();
            let older = newest.filter(|(place, _)| before.is_none_or(|before| *place < before));
            older.take(limit).map(|(place, letter)| kept(place, letter)).collect()
        })
        .await
    }

    async fn redrive_letters(&self, letters: &Letters) -> Result<usize, StoreError> {
        self.transact(StoreCall::RedriveLetters, |contents| {
            let all = contents.kept_letters();
            let places: Vec<i64> = match letters {
                Letters::Of(ids) => {
                    all.filter(|(_, letter)| ids.contains(&letter.id)).map(|(place, _)| place).collect()
                }
                Letters::Oldest { until, limit } => {
                    all.map(|(place, _)| place).take_while(|place| place <= until).take(*limit).collect()
                }
            };
            places.iter().for_each(|place| contents.redrive(*place));
            Ok(places.len())
        })
        .await
    }
}

fn kept(place: i64, letter: &DeadLetter) -> KeptLetter {
    KeptLetter {
        place,
        id: letter.id.clone(),
        original_topic: letter.original_topic.name().to_owned(),
        key: letter.message.key.as_ref().to_owned(),
        error_type: letter.error_type.to_owned(),
        error_message: letter.error_message.clone(),
        failed_at: letter.failed_at,
        retry_count: letter.retry_count,
    }
}
