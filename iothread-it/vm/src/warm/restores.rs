//! What the restores of a template tell about it.
//!
//! The files of a template do not change, so one restored guest whose agent answered shows that it
//! works. A later one that does not answer is then, most likely, a busy host. A template that no guest
//! has ever been restored from is dropped at the first that hangs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// How many restores in a row may hang until a template is dropped that worked before.
const HANGS: u64 = 3;

/// How a restore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestoreOutcome {
    /// The agent of the restored guest answered.
    Restored,
    /// QEMU took the state, and the agent did not answer in time.
    Hung,
    /// QEMU refused the state, or another guest answered than the one that was saved.
    Rejected,
    /// The restore failed and does not tell why, as on a host that is out of memory.
    Unknown,
}

/// Notes an outcome in the file `hangs`. Returns whether the template is to be dropped.
pub(super) fn note(hangs: &Path, outcome: RestoreOutcome) -> bool {
    match outcome {
        RestoreOutcome::Rejected => true,
        RestoreOutcome::Unknown => false,
        RestoreOutcome::Restored => {
            if hangs.metadata().map_or(true, |data| data.len() > 0) {
                // If it cannot be written, the template is dropped too early. It is made again.
                let _ = fs::write(hangs, "");
            }
            false
        }
        RestoreOutcome::Hung => match add(hangs) {
            Ok(count) => count >= HANGS,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        },
    }
}

/// Adds a hang. Fails with [`NotFound`](io::ErrorKind::NotFound) if no restore succeeded before.
fn add(hangs: &Path) -> io::Result<u64> {
    let mut file = File::options().append(true).open(hangs)?;
    file.write_all(b"x")?;
    Ok(file.metadata()?.len())
}
