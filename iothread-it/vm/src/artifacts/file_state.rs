//! Detects changes of a file without reading it.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use qmp_client::wait::Deadline;

/// The longest wait for the tick of the last change to end. A tick takes up to 10 ms, or 1 s on file
/// systems that store whole seconds. It is exceeded if the clock was set back or is another host's.
const SETTLE_TIME: Duration = Duration::from_secs(2);

const SECOND: i128 = 1_000_000_000;

/// The identity, size and times of a file at one moment.
///
/// Programs can set the modification time (mtime) but not the change time (ctime), so any change shows.
/// Before Linux 6.13 the ctime has the resolution of a clock tick. Therefore the state is taken after
/// the tick of the last change has ended, so that every later change has another ctime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileState {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl FileState {
    /// Takes the state of a file, following symbolic links.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        Self::settled(|| Ok(Self::from_data(path, &path.metadata()?)))
    }

    /// Takes the state of an open file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn of_open(path: &Path, file: &File) -> std::io::Result<Self> {
        Self::settled(|| Ok(Self::from_data(path, &file.metadata()?)))
    }

    /// Repeats `look` until the tick of the last change has ended.
    fn settled(look: impl Fn() -> std::io::Result<Self>) -> std::io::Result<Self> {
        let deadline = Deadline::after(SETTLE_TIME);
        loop {
            let clock = clock_gettime(ClockId::RealtimeCoarse);
            let now = nanoseconds(clock.tv_sec, clock.tv_nsec);
            let state = look()?;
            let tick = if state.changed_ns % SECOND == 0 {
                SECOND
            } else {
                1
            };
            if state.changed_ns + tick <= now || deadline.has_passed() {
                return Ok(state);
            }
            // There is no event for a tick.
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn from_data(path: &Path, data: &Metadata) -> Self {
        Self {
            path: path.into(),
            device: data.dev(),
            inode: data.ino(),
            size: data.len(),
            modified_ns: nanoseconds(data.mtime(), data.mtime_nsec()),
            changed_ns: nanoseconds(data.ctime(), data.ctime_nsec()),
        }
    }

    /// Returns whether the file at this path exists and is unchanged.
    pub fn is_unchanged(&self) -> bool {
        Self::of(&self.path).is_ok_and(|now| now == *self)
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i128 {
    i128::from(seconds) * SECOND + i128::from(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_content_of_the_same_size_and_mtime_is_detected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let before = FileState::of(&path).unwrap();
        assert!(before.is_unchanged());
        let modified = path.metadata().unwrap().modified().unwrap();
        std::fs::write(&path, "two").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(modified).unwrap();
        assert!(!before.is_unchanged());
    }

    #[test]
    fn a_replaced_file_is_detected() {
        let directory = tempfile::tempdir().unwrap();
        let [path, other] = ["file", "other"].map(|name| directory.path().join(name));
        std::fs::write(&path, "one").unwrap();
        std::fs::write(&other, "one").unwrap();
        let before = FileState::of(&path).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(!before.is_unchanged());
        std::fs::remove_file(&path).unwrap();
        assert!(!before.is_unchanged());
    }

    /// Before Linux 6.13, two changes within one clock tick have the same ctime.
    #[test]
    fn the_state_is_taken_after_the_tick_of_the_last_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for _ in 0..20 {
            std::fs::write(&path, "one").unwrap();
            let state = FileState::of(&path).unwrap();
            let tick = clock_gettime(ClockId::RealtimeCoarse);
            let tick = nanoseconds(tick.tv_sec, tick.tv_nsec);
            assert!(
                tick > state.changed_ns,
                "a change could still get this time"
            );
        }
    }
}
