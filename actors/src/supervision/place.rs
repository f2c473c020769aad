//! Where a node stands in the tree: who decides when it dies.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::group::Group;
use super::member::{Death, Member, Ruling, Superior};
use super::restart_limit::{Intensity, RestartWindow};

/// The place of a group or a pool in the group above it.
pub(super) struct Place {
    group: Weak<Group>,
    index: usize,
}

impl Place {
    pub(super) fn new(group: &Arc<Group>, index: usize) -> Self {
        Self { group: Arc::downgrade(group), index }
    }

    /// Whether there is still somebody above.
    pub(super) fn is_there(&self) -> bool {
        self.group.strong_count() > 0
    }

    /// Who was started before the member.
    pub(super) fn before(&self) -> Option<Arc<dyn Member>> {
        self.group.upgrade()?.before(self.index)
    }

    /// What follows when the member's own limit is exceeded. `None`: there is nobody above it any more.
    pub(super) fn hand_up(&self, death: Death) -> Option<Ruling> {
        Some(self.group.upgrade()?.on_death(self.index, death, true))
    }
}

/// The place of a child, and the restarts that it has on its own. It keeps the group alive.
pub(super) struct ChildPlace {
    group: Arc<Group>,
    index: usize,
    alone: Option<Mutex<RestartWindow>>,
}

impl ChildPlace {
    pub(super) fn new(group: Arc<Group>, index: usize, alone: Option<Intensity>) -> Self {
        Self { group, index, alone: alone.map(|intensity| Mutex::new(RestartWindow::new(intensity))) }
    }
}

impl Superior for ChildPlace {
    fn rule(&self, death: Death) -> Ruling {
        let Some(alone) = &self.alone else { return self.group.on_death(self.index, death, false) };
        if alone.lock().bears(&death) { Ruling::Alone } else { self.group.on_death(self.index, death, true) }
    }

    fn reset(&self) {
        if let Some(alone) = &self.alone {
            alone.lock().reset();
        }
    }
}
