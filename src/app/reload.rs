//! Takes changes of the file of thresholds while the bridge runs.
//!
//! The file is read again and again, whole: whatever a change was made with (an editor that writes in place or renames,
//! a link that points elsewhere), what counts is the text. If the process dies, the next one reads it at its start.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use actix_web::web;
use actors::cognition::thresholds::Thresholds;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::http::{Doors, Refusal, ThresholdsStatus};
use crate::settings::{THRESHOLDS_LOOK, read_thresholds_file};

/// What a look at the file has seen: its text, or why there is none.
type Seen = Result<Arc<str>, String>;

/// Remembers what was seen, to tell a change that is finished.
#[derive(Debug, Default)]
struct Watch {
    /// At the look before.
    last: Option<Seen>,
    /// What was judged last.
    judged: Option<Seen>,
}

impl Watch {
    /// What is to be judged now: something new that two looks in a row have seen. A file that is just being written is
    /// seen in pieces, and one that is being replaced not at all.
    fn note(&mut self, seen: Option<Seen>) -> Option<Seen> {
        let before = std::mem::replace(&mut self.last, seen);
        let seen = self.last.as_ref().filter(|_| self.last == before && self.last != self.judged)?;
        self.judged = Some(seen.clone());
        self.judged.clone()
    }

    /// Whether there was a file at all: one that never was is not missed.
    fn would_miss(&self) -> bool {
        self.judged.is_some() || self.last.is_some()
    }
}

/// Puts what the file says in force, for events that are folded from then on, until it is aborted. A file that is wrong
/// is refused whole.
pub(super) async fn keep_thresholds(doors: web::Data<Doors>) {
    let mut looks = interval(THRESHOLDS_LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch::default();
    loop {
        looks.tick().await;
        let (path, is_missed) = (doors.settings.thresholds_path.clone(), watch.would_miss());
        // A slow disk must not hold the actors of this thread up, nor a long file.
        let Ok(seen) = spawn_blocking(move || look(&path, is_missed)).await else { continue };
        let Some(seen) = watch.note(seen) else { continue };
        let judged = spawn_blocking(move || judge(seen)).await;
        match judged.unwrap_or_else(|_| Err((None, "reading it panicked".to_owned()))) {
            Ok(thresholds) => take(&doors, thresholds),
            Err((line, detail)) => refuse(&doors, line, &detail),
        }
    }
}

/// Reads the file. Nothing if it is not there and is not missed.
fn look(path: &Path, is_missed: bool) -> Option<Seen> {
    match read_thresholds_file(path) {
        Ok(text) => Some(Ok(text.into())),
        Err(error) if error.kind() == ErrorKind::NotFound && !is_missed => None,
        Err(error) => Some(Err(format!("it cannot be read: {error}"))),
    }
}

fn judge(seen: Seen) -> Result<Thresholds, (Option<u64>, String)> {
    let text = seen.map_err(|detail| (None, detail))?;
    Thresholds::parse(&text).map_err(|error| (error.line, error.to_string()))
}

fn take(doors: &Doors, thresholds: Thresholds) {
    let before = doors.thresholds.load_full();
    let status = doors.thresholds_status.load_full();
    if thresholds == *before {
        if status.last_refusal.is_some() {
            doors.thresholds_status.store(Arc::new(ThresholdsStatus::loaded(status.loaded_at)));
            doors
                .teller
                .note(&format!("the thresholds file is in order again, as {} in force", before.hash()));
        }
        return;
    }
    let (hash, users) = (thresholds.hash().to_owned(), thresholds.users_len());
    doors.thresholds.store(Arc::new(thresholds));
    doors.thresholds_status.store(Arc::new(ThresholdsStatus::loaded(doors.clock.now())));
    doors.teller.note(&format!(
        "thresholds {hash} are in force in place of {}; {users} users have their own",
        before.hash()
    ));
}

fn refuse(doors: &Doors, line: Option<u64>, detail: &str) {
    let refusal = Refusal { at: doors.clock.now(), line, detail: detail.to_owned() };
    let loaded_at = doors.thresholds_status.load().loaded_at;
    doors.thresholds_status.store(Arc::new(ThresholdsStatus { loaded_at, last_refusal: Some(refusal) }));
    let hash = doors.thresholds.load().hash().to_owned();
    doors.teller.warn(&format!("the thresholds file is refused whole, {hash} stay in force: {detail}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<Seen> {
        Some(Ok(text.into()))
    }

    #[test]
    fn what_two_looks_in_a_row_have_seen_is_judged_once() {
        let mut watch = Watch::default();
        let seen = [text("a"), text("a"), text("a"), text(""), text("b"), text("b"), text("b"), text("a")];
        let judged: Vec<bool> = seen.into_iter().map(|seen| watch.note(seen).is_some()).collect();
        assert_eq!(judged, [false, true, false, false, false, true, false, false]);
        assert_eq!(watch.note(text("a")), text("a"));
    }

    #[test]
    fn a_file_that_never_was_is_not_missed_and_one_that_has_gone_is() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let path = folder.path().join("thresholds.yaml");
        assert_eq!(look(&path, false), None);
        std::fs::write(&path, "thresholds:").expect("written");
        let mut watch = Watch::default();
        watch.note(look(&path, watch.would_miss()));
        assert!(watch.would_miss());
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(look(&path, true), Some(Err(_))));
    }
}
