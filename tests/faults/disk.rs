//! A disk that takes no more.

use std::process::Command;

use futures_util::future::join;
use tempfile::TempDir;

use crate::bridge::{Bridge, in_shell, program};
use crate::load::{Answer, Load, Target, Traffic, seeds};
use crate::oracle::judge;

/// No file grows beyond this many blocks (of 512 or 1,024 bytes, as the shell has it): soon reached under load.
const FILE_MAX_BLOCKS: u32 = 2_000;
/// So many refusals show that it stays up while it can store nothing.
const REFUSALS: usize = 50;

/// A `serve` whose writes beyond the limit fail, as on a full disk.
fn serve_on_a_small_disk(home: &TempDir) -> Command {
    // Without the trap the kernel would end the process at such a write.
    let script = format!("trap '' XFSZ; ulimit -f {FILE_MAX_BLOCKS}; exec \"$0\" \"$@\"");
    in_shell(&program(home.path(), &["serve"], &[]), &script)
}

#[actix_web::test]
async fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing_acknowledged() {
    for seed in seeds(&[81]) {
        let (load, home) = (Load::new(seed, 5), TempDir::new().expect("a temporary folder"));
        let bridge = Bridge::start_by(serve_on_a_small_disk(&home), "", home.path(), &[]).await;
        let (target, traffic) = (Target::new(&bridge.url), Traffic::new());
        let filling = async {
            let mut answers = 0;
            while load.count(Answer::Refused(503)) < REFUSALS {
                answers += 1;
                traffic.answered(answers).await;
            }
            traffic.end();
        };
        join(load.run(&target, &traffic, &[503]), filling).await;
        assert_eq!(bridge.get("/health").await.status(), 200, "it lives");
        // Where several deliveries did not fit, one may; and where none does, a few of the checks' single pages.
        load.send_until_refused(&target).await;
        bridge.until("unready", async |bridge| bridge.get("/ready").await.status() == 503).await;
        // Now there is room again.
        let bridge = bridge.restart().await;
        judge(&load, &Target::new(&bridge.url), &bridge.folder).await;
    }
}
