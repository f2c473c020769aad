//! How many files and connections the process may hold open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes what the system allows: the usual 1,024 are soon used up by idle connections. With less, connections wait
/// until others go.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Refused where the maximum is none that a process may have: then what there is must do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}
