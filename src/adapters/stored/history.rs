//! Every stored event in the order of the commits, for commands that read all of them.

/// Events read at a time: of the longest ones they still fit into memory.
pub(crate) const PAGE: i64 = 500;

/// Users next to each other by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRange {
    /// The first one's id.
    pub first: String,
    /// The last one's id.
    pub last: String,
}

/// An event as it was committed.
#[derive(sqlx::FromRow)]
pub struct HistoryRow {
    /// Its place in the order of the commits.
    pub seq: i64,
    /// Whose it is.
    pub user_id: String,
    /// Its JSON, as on the topic.
    pub value: Vec<u8>,
}

/// Gathers ids, which come in order, to ranges of `users` each.
pub(crate) struct Ranges {
    users: usize,
    in_last: usize,
    ranges: Vec<UserRange>,
}

impl Ranges {
    pub(crate) fn of(users: usize) -> Self {
        Self { users, in_last: 0, ranges: Vec::new() }
    }

    pub(crate) fn push(&mut self, id: String) {
        match self.ranges.last_mut() {
            Some(range) if self.in_last < self.users => {
                range.last = id;
                self.in_last += 1;
            }
            _ => {
                self.ranges.push(UserRange { first: id.clone(), last: id });
                self.in_last = 1;
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<UserRange> {
        self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_is_in_one_range_and_none_is_longer_than_asked() {
        let mut ranges = Ranges::of(2);
        ["a", "b", "c", "d", "e"].into_iter().for_each(|id| ranges.push(id.to_owned()));
        let ranges = ranges.finish();
        let ends: Vec<_> = ranges.iter().map(|range| (range.first.as_str(), range.last.as_str())).collect();
        assert_eq!(ends, [("a", "b"), ("c", "d"), ("e", "e")]);
        assert_eq!(Ranges::of(2).finish(), []);
    }
}
