//! Decides from the outcomes of restores whether a template is dropped.
//!
//! The files of a template do not change, so one successful restore shows that it works. If a later
//! clone hangs, the likely cause is a busy host. A template without a successful restore is dropped when
//! the first clone hangs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Number of consecutive hangs after which a template that worked before is dropped.
const MAX_HANGS: u64 = 3;

/// How a restore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestoreOutcome {
    /// The agent of the restored guest answered.
    Restored,
    /// QEMU accepted the state, but the agent did not answer in time.
    Hung,
    /// QEMU rejected the state, or the agent is not the one that was saved.
    Rejected,
    /// The restore failed for a reason unrelated to the template, such as too little memory.
    Unknown,
}

/// Records an outcome in the file `hangs`. Returns whether to drop the template.
pub(super) fn note(hangs: &Path, outcome: RestoreOutcome) -> bool {
    match outcome {
        RestoreOutcome::Rejected => true,
        RestoreOutcome::Unknown => false,
        RestoreOutcome::Restored => {
            if hangs.metadata().map_or(true, |data| data.len() > 0) {
                // On an error the template may be dropped too early. It is then made again.
                let _ = fs::write(hangs, "");
            }
            false
        }
        RestoreOutcome::Hung => match add(hangs) {
            Ok(count) => count >= MAX_HANGS,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        },
    }
}

/// Counts a hang. Fails with [`NotFound`](io::ErrorKind::NotFound) if no restore has succeeded.
fn add(hangs: &Path) -> io::Result<u64> {
    let mut file = File::options().append(true).open(hangs)?;
    file.write_all(b"x")?;
    Ok(file.metadata()?.len())
}
