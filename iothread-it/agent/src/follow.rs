//! Files that grow in a folder, said as they do: if the guest ends at any moment, the host has all
//! that was written before, but for the last few.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use guest_agent::protocol::{Bytes, Notice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Bytes that are said at once.
const CHUNK: u64 = 64 * 1024;

/// A folder that is watched.
pub(crate) struct Follow {
    folder: PathBuf,
    inotify: Inotify,
    told: EventFd,
}

impl Follow {
    /// Watches a folder, from now on.
    pub(crate) fn start(folder: &str) -> io::Result<Self> {
        make_open(folder)?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(folder, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MODIFY)?;
        Ok(Self {
            folder: folder.into(),
            inotify,
            told: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
        })
    }

    /// Has [`Follow::until_told`] say what is left, and end.
    pub(crate) fn tell(&self) {
        let _ = self.told.write(1);
    }

    /// Says what is appended to the files of the folder.
    pub(crate) fn until_told(&self, say: &(dyn Fn(Notice) + Sync)) {
        let mut said = BTreeMap::new();
        loop {
            let mut fds = [
                PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.told.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut fds, PollTimeout::NONE);
            let told = fds[1].any().unwrap_or(true);
            // Which files these events are about does not matter: there are few, and all are looked at.
            let _ = self.inotify.read_events();
            let _ = look(&self.folder, &mut said, say);
            if told {
                return;
            }
        }
    }
}

/// Makes a folder that programs of any user may write to.
fn make_open(folder: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o1777))
}

/// Says what the files have that was not said yet. `said` has each file's length so far.
fn look(
    folder: &Path,
    said: &mut BTreeMap<String, u64>,
    say: &(dyn Fn(Notice) + Sync),
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !entry.file_type()?.is_file() {
            continue;
        }
        let length = said.entry(name.clone()).or_default();
        let mut file = File::open(entry.path())?;
        file.seek(SeekFrom::Start(*length))?;
        loop {
            let mut bytes = Vec::new();
            (&mut file).take(CHUNK).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                break;
            }
            *length += bytes.len() as u64;
            say(Notice::Appended {
                file: name.clone(),
                bytes: Bytes(bytes),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;
    use std::thread;

    use super::*;

    #[test]
    fn what_is_appended_is_said_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, "before\n").unwrap();
        let follow = Follow::start(folder.path().to_str().unwrap()).unwrap();
        let heard = Mutex::new(Vec::new());
        let say = |notice| match notice {
            Notice::Appended { file, bytes } => {
                assert_eq!(file, "a.jsonl");
                heard.lock().unwrap().extend(bytes.0);
            }
            other => panic!("{other:?}"),
        };
        thread::scope(|scope| {
            scope.spawn(|| follow.until_told(&say));
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            for line in ["one\n", "two\n"] {
                file.write_all(line.as_bytes()).unwrap();
            }
            follow.tell();
        });
        assert_eq!(heard.into_inner().unwrap(), b"before\none\ntwo\n");
    }
}
