//! Sends what is appended to the files of a folder, like `tail -f`, so that the host has the records of a
//! guest that crashes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use guest_agent::protocol::{Bytes, Notice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::rootfs;

/// The maximum size of a notice, in bytes.
const CHUNK: u64 = 64 * 1024;

/// A folder that is watched.
pub(crate) struct Follow {
    folder: PathBuf,
    inotify: Inotify,
    stop: EventFd,
}

impl Follow {
    /// Watches a folder, from now on.
    pub(crate) fn start(folder: &str) -> io::Result<Self> {
        // All users may write to it.
        rootfs::make(Path::new(folder), 0o1777)?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(folder, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MODIFY)?;
        Ok(Self {
            folder: folder.into(),
            inotify,
            stop: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
        })
    }

    /// Makes [`Follow::until_stopped`] send what is left, and return.
    pub(crate) fn stop(&self) {
        let _ = self.stop.write(1);
    }

    /// Sends what is appended to the files of the folder. `before` is called before each notice: a test's record
    /// is written after the kernel's messages that the test caused, and after its files.
    pub(crate) fn until_stopped(&self, before: &mut dyn FnMut(), send: &(dyn Fn(Notice) + Sync)) {
        let mut sent = BTreeMap::new();
        loop {
            let mut fds = [
                PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            ];
            let _ = poll(&mut fds, PollTimeout::NONE);
            let stopped = fds[1].any().unwrap_or(true);
            // All files are read, whichever the events are about: there are few.
            let _ = self.inotify.read_events();
            let _ = send_new(&self.folder, &mut sent, &mut |appended| {
                before();
                send(appended);
            });
            if stopped {
                return;
            }
        }
    }
}

/// Sends the new bytes of each file. `sent` has the number of bytes sent of each.
fn send_new(
    folder: &Path,
    sent: &mut BTreeMap<String, u64>,
    send: &mut dyn FnMut(Notice),
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !entry.file_type()?.is_file() {
            continue;
        }
        let length = sent.entry(name.clone()).or_default();
        let mut file = File::open(entry.path())?;
        file.seek(SeekFrom::Start(*length))?;
        loop {
            let mut bytes = Vec::new();
            (&mut file).take(CHUNK).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                break;
            }
            *length += bytes.len() as u64;
            send(Notice::Appended {
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
    fn appended_bytes_are_sent_once_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, "before\n").unwrap();
        let follow = Follow::start(folder.path().to_str().unwrap()).unwrap();
        let heard = Mutex::new(Vec::new());
        let send = |notice| match notice {
            Notice::Appended { file, bytes } => {
                assert_eq!(file, "a.jsonl");
                heard.lock().unwrap().extend(bytes.0);
            }
            other => panic!("{other:?}"),
        };
        thread::scope(|scope| {
            scope.spawn(|| follow.until_stopped(&mut || {}, &send));
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            for line in ["one\n", "two\n"] {
                file.write_all(line.as_bytes()).unwrap();
            }
            follow.stop();
        });
        assert_eq!(heard.into_inner().unwrap(), b"before\none\ntwo\n");
    }
}
