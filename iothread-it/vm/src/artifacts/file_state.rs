//! Which file it is and whether it is still as it was, without reading it.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use qmp_client::wait::Deadline;

/// How long a file's last change may be ahead of the clock until it is looked at as it is: the
/// clock has been set back, or is another host's. A tick takes 10 ms at the most, or 1 s on a file
/// system that stores whole seconds.
const TICK_SPAN: Duration = Duration::from_secs(2);

const SECOND: i128 = 1_000_000_000;

/// A file as it was when it was looked at.
///
/// A program can set the time of modification, but not that of the last change, so together they
/// miss nothing that was done to the file. The kernel takes the latter from a clock that goes in
/// ticks (before Linux 6.13 always), so a look waits until the tick of the last change is over:
/// whatever is done afterwards has another time.
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
    /// Looks at a file, through links.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        Self::settled(|| Ok(Self::from_data(path, &path.metadata()?)))
    }

    /// Looks at a file that was opened by this path.
    pub fn of_open(path: &Path, file: &File) -> std::io::Result<Self> {
        Self::settled(|| Ok(Self::from_data(path, &file.metadata()?)))
    }

    /// Looks again until the tick of the last change is over.
    fn settled(look: impl Fn() -> std::io::Result<Self>) -> std::io::Result<Self> {
        let deadline = Deadline::after(TICK_SPAN);
        loop {
            let clock = clock_gettime(ClockId::RealtimeCoarse);
            let now = nanoseconds(clock.tv_sec, clock.tv_nsec);
            let seen = look()?;
            let tick = if seen.changed_ns % SECOND == 0 {
                SECOND
            } else {
                1
            };
            if seen.changed_ns + tick <= now || deadline.has_passed() {
                return Ok(seen);
            }
            // No event tells of a tick.
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

    /// Whether the file is still there and nothing was done to it.
    pub fn still_holds(&self) -> bool {
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
    fn new_content_shows_even_with_the_old_size_and_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let before = FileState::of(&path).unwrap();
        assert!(before.still_holds());
        let modified = path.metadata().unwrap().modified().unwrap();
        std::fs::write(&path, "two").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(modified).unwrap();
        assert!(!before.still_holds());
    }

    #[test]
    fn a_file_that_took_another_s_place_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let [path, other] = ["file", "other"].map(|name| directory.path().join(name));
        std::fs::write(&path, "one").unwrap();
        std::fs::write(&other, "one").unwrap();
        let before = FileState::of(&path).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(!before.still_holds());
        std::fs::remove_file(&path).unwrap();
        assert!(!before.still_holds());
    }

    /// Two changes within one tick of the kernel's clock have the same time before Linux 6.13.
    #[test]
    fn what_is_changed_after_a_look_has_a_later_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for _ in 0..20 {
            std::fs::write(&path, "one").unwrap();
            let seen = FileState::of(&path).unwrap();
            let tick = clock_gettime(ClockId::RealtimeCoarse);
            let tick = nanoseconds(tick.tv_sec, tick.tv_nsec);
            assert!(tick > seen.changed_ns, "a change could still get this time");
        }
    }
}
