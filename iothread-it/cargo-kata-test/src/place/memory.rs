//! Bounds the memory of all VMs of this user: each holds a slot while it runs.
//!
//! A slot is a locked file. The kernel releases the lock when the process ends, however it ends, and
//! reports the end to those who wait (`IN_CLOSE_WRITE`).

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// The memory that a VM and its QEMU may take, in bytes.
const PER_VM: u64 = 1280 << 20;

/// How long to wait for a slot.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// The slots of this process.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// The right to run a VM, until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    /// `None` if this process runs another VM: it must not wait for itself.
    _lock: Option<(File, File)>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until another VM fits into this host's memory.
///
/// # Errors
/// If none fits in time, or the folder cannot be used.
pub(super) fn slot(folder: &Path) -> io::Result<Slot> {
    let may_wait = HELD.fetch_add(1, Ordering::Relaxed) == 0;
    let host = Host::this();
    let lock = match may_wait {
        true => host.wait(folder, TIMEOUT, &mut |text| eprintln!("{text}")),
        false => host.take(folder),
    };
    match lock {
        Ok(lock) => Ok(Slot { _lock: lock }),
        Err(error) => {
            HELD.fetch_sub(1, Ordering::Relaxed);
            Err(error)
        }
    }
}

/// Returns the right to run a further VM of this process, if another VM fits into this host's memory.
///
/// # Errors
/// If the folder cannot be used.
pub(super) fn further(folder: &Path) -> io::Result<Option<Slot>> {
    let lock = Host::this().take(folder)?;
    Ok(lock.map(|lock| {
        HELD.fetch_add(1, Ordering::Relaxed);
        Slot { _lock: Some(lock) }
    }))
}

/// Returns whether another VM fits into the memory that is available now.
fn is_ample() -> bool {
    vms_that_fit() > 0
}

/// Returns how many more VMs fit into the memory that is available now.
fn vms_that_fit() -> usize {
    usize::try_from(memory("MemAvailable:") / PER_VM).unwrap_or(usize::MAX)
}

fn total() -> u64 {
    memory("MemTotal:")
}

/// Returns a line of `/proc/meminfo`, in bytes. Without that file nothing is known of a bound.
fn memory(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.map_or(u64::MAX, |kib| kib << 10)
}

/// How many VMs a host takes.
struct Host<'a> {
    /// By all of its memory.
    slots: usize,
    /// Whether there is memory for one more now. The first VM does not need it.
    is_ample: &'a dyn Fn() -> bool,
}

impl Host<'_> {
    fn this() -> Self {
        let count = usize::try_from(total() * 3 / 4 / PER_VM).unwrap_or(usize::MAX);
        Self {
            slots: count.max(1),
            is_ample: &is_ample,
        }
    }

    /// Takes a slot if one is free.
    fn take(&self, folder: &Path) -> io::Result<Option<(File, File)>> {
        let mut are_others = false;
        for number in 0..self.slots {
            if are_others && !(self.is_ample)() {
                return Ok(None);
            }
            let path = folder.join(number.to_string());
            drop(File::options().append(true).create_new(true).open(&path));
            // Opened to read only: closing it is no event.
            let lock = File::open(&path)?;
            match lock.try_lock() {
                Ok(()) => {
                    // Closing this one is.
                    let event = File::options().append(true).open(&path)?;
                    return Ok(Some((lock, event)));
                }
                Err(fs::TryLockError::WouldBlock) => are_others = true,
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Takes a slot, and waits for one if none is free.
    fn wait(
        &self,
        folder: &Path,
        timeout: Duration,
        tell: &mut dyn FnMut(&str),
    ) -> io::Result<Option<(File, File)>> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags)?;
        inotify.add_watch(folder, AddWatchFlags::IN_CLOSE_WRITE)?;
        let deadline = Instant::now() + timeout;
        let mut is_told = false;
        loop {
            if let Some(lock) = self.take(folder)? {
                return Ok(Some(lock));
            }
            if !std::mem::replace(&mut is_told, true) {
                tell("waiting for another VM to end: there is too little memory for one more");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::other(format!(
                    "no memory for another VM was free within {} s; end other VMs or programs",
                    timeout.as_secs()
                )));
            }
            let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
            let left = PollTimeout::try_from(left + Duration::from_millis(1));
            match poll(&mut fds, left.unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let _ = inotify.read_events();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    const AMPLE: Duration = Duration::from_secs(60);

    #[test]
    fn a_vm_waits_until_another_ends_and_the_first_never_waits() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().join("slots");
        let two = Host {
            slots: 2,
            is_ample: &|| true,
        };
        let never = &mut |text: &str| panic!("{text}");
        let first = two.wait(folder, AMPLE, never).unwrap();
        let _second = two.wait(folder, AMPLE, never).unwrap();
        assert!(two.take(folder).unwrap().is_none());
        let (sender, messages) = channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                let host = Host {
                    slots: 2,
                    is_ample: &|| true,
                };
                let third = host.wait(folder, AMPLE, &mut |text| {
                    sender.send(text.to_owned()).unwrap();
                });
                assert!(third.unwrap().is_some());
            });
            assert!(
                messages
                    .recv_timeout(AMPLE)
                    .unwrap()
                    .contains("too little memory")
            );
            drop(first);
        });
    }

    #[test]
    fn too_little_memory_is_a_reason_to_wait_only_if_a_vm_runs() {
        let folder = tempfile::tempdir().unwrap();
        let asked = Cell::new(0);
        let host = Host {
            slots: 8,
            is_ample: &|| {
                asked.set(asked.get() + 1);
                false
            },
        };
        let first = host.wait(folder.path(), AMPLE, &mut |_| {}).unwrap();
        assert!(first.is_some() && asked.get() == 0);
        let error = host
            .wait(folder.path(), Duration::ZERO, &mut |_| {})
            .unwrap_err();
        assert!(error.to_string().contains("no memory"), "{error}");
        assert_eq!(asked.get(), 1);
    }
}
