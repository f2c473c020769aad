//! Reading along with the log in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::event_log::Topics;
use crate::domain::message::Topic;
use crate::ports::event_log::LogError;
use crate::ports::follow::{Begin, Begun, Followed, Follower, Lanes, MessageId, Scope};

/// How long a follower waits for the next record.
const LOOK: Duration = Duration::from_secs(1);

/// A lane is a partition of a topic, a place an offset.
pub(super) struct MemoryFollower {
    changes: watch::Receiver<Topics>,
    /// Of each lane.
    partitions: Vec<(u32, Topic, u32)>,
    lanes: Lanes,
}

impl MemoryFollower {
    pub(super) fn begin(topics: &Arc<watch::Sender<Topics>>, scope: &Scope, begin: Begin) -> Begun {
        let changes = topics.subscribe();
        let (partitions, ends) = {
            let topics = changes.borrow();
            let lane = |topic: Topic, partition: u32| {
                let lane = u32::try_from(topics.place(topic, partition)).unwrap_or(u32::MAX);
                (lane, topic, partition)
            };
            let in_scope = |partition: &u32| scope.partition.is_none_or(|only| only == *partition);
            let partitions: Vec<_> = scope
                .topics
                .iter()
                .flat_map(|topic| (0..topics.partitions()).filter(in_scope).map(|at| lane(*topic, at)))
                .collect();
            let end = |&(lane, topic, partition): &(u32, Topic, u32)| {
                (lane, topics.partition(topic, partition).len() as i64)
            };
            let ends: Lanes = partitions.iter().map(end).collect();
            (partitions, ends)
        };
        let (lanes, is_whole) = match begin {
            Begin::Now => (ends, true),
            Begin::At(lanes) => (lanes, true),
            Begin::After(ids) => after(&partitions, &ends, &ids),
        };
        Begun { follower: Box::new(Self { changes, partitions, lanes }), is_whole }
    }

    fn read(&mut self, limit: usize) -> Vec<Followed> {
        let topics = self.changes.borrow_and_update();
        let mut read = Vec::new();
        for &(lane, topic, partition) in &self.partitions {
            let place = self.lanes.entry(lane).or_default();
            let records =
                topics.partition(topic, partition).iter().skip(usize::try_from(*place).unwrap_or(0));
            for record in records.take(limit - read.len()) {
                read.push(Followed { lane, place: record.offset, record: record.clone() });
                *place = record.offset + 1;
            }
        }
        read
    }
}

/// Nothing here has a time: partitions that no id names are read from their beginning.
fn after(partitions: &[(u32, Topic, u32)], ends: &Lanes, ids: &[MessageId]) -> (Lanes, bool) {
    let is_there = |id: &MessageId| {
        let is_it =
            |(_, topic, partition): &&(u32, Topic, u32)| (*topic, *partition) == (id.topic, id.partition);
        partitions.iter().find(is_it).is_none_or(|(lane, ..)| id.offset < ends[lane])
    };
    let is_whole = ids.iter().all(is_there);
    let place = |&(lane, topic, partition): &(u32, Topic, u32)| {
        let named = ids.iter().filter(|id| is_whole && (id.topic, id.partition) == (topic, partition));
        (lane, named.map(|id| id.offset + 1).max().unwrap_or(0))
    };
    (partitions.iter().map(place).collect(), is_whole)
}

#[async_trait]
impl Follower for MemoryFollower {
    fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Followed>, LogError> {
        let read = self.read(limit);
        if !read.is_empty() {
            return Ok(read);
        }
        // Nothing comes any more once the log is gone, nor within the time of a look.
        let _ = tokio::time::timeout(LOOK, self.changes.changed()).await;
        Ok(self.read(limit))
    }
}
