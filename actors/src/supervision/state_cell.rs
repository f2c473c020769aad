//! The state of a fold, kept outside the actor that folds.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// State that outlives every life of a child.
///
/// The factory captures a clone, each life starts from [`StateCell::get`], and an actor calls
/// [`StateCell::replace`] only when a fold has returned: a panic in the middle of one leaves the state before it.
/// Lost with the process.
pub struct StateCell<S>(Arc<ArcSwap<S>>);

impl<S> StateCell<S> {
    /// A cell that holds `state`.
    pub fn new(state: impl Into<Arc<S>>) -> Self {
        Self(Arc::new(ArcSwap::new(state.into())))
    }

    /// The state now. Cheap; never waits.
    pub fn get(&self) -> Arc<S> {
        self.0.load_full()
    }

    /// Puts `state` in the place of the old one, at once for every reader. Two writers overwrite each other.
    pub fn replace(&self, state: impl Into<Arc<S>>) {
        self.0.store(state.into());
    }
}

impl<S> Clone for StateCell<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for StateCell<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateCell(..)")
    }
}
