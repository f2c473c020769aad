//! Whom a death takes along.

use std::ops::Range;

/// Which members of a group are restarted when one of them dies, as in Erlang/OTP's supervisors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The one that died.
    #[default]
    OneForOne,
    /// All of them: they make sense only together.
    OneForAll,
    /// The one that died and those started after it: they depend on it.
    RestForOne,
}

impl Strategy {
    /// The places of those that are restarted when the member at place `died` dies: places count from 0 in the
    /// order of start, and there are `members` of them.
    pub fn restart_set(self, died: usize, members: usize) -> Range<usize> {
        match self {
            Self::OneForOne => died..died + 1,
            Self::OneForAll => 0..members,
            Self::RestForOne => died..members,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_restarts_the_dead_all_or_the_rest() {
        let table = [
            (Strategy::OneForOne, [0..1, 1..2, 2..3]),
            (Strategy::OneForAll, [0..3, 0..3, 0..3]),
            (Strategy::RestForOne, [0..3, 1..3, 2..3]),
        ];
        for (strategy, expected) in table {
            let sets = [0, 1, 2].map(|died| strategy.restart_set(died, 3));
            assert_eq!(sets, expected, "{strategy:?}");
        }
    }
}
