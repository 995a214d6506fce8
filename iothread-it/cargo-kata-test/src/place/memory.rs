//! Bounds the memory of all VMs of this user: each holds slots while it runs, by its size.
//!
//! A slot is a locked file. The kernel releases the lock when the process ends, however it ends, and
//! reports the end to those who wait (`IN_CLOSE_WRITE`).

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use guest_vm::artifacts::lock_within;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// The memory of a slot in bytes: what the smallest VM and its QEMU may take. A larger VM holds several.
pub(crate) const PER_SLOT: u64 = 1280 << 20;

/// How long to wait for a slot.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// How often the memory that is available is read: no event tells that a program has freed some.
const MEMORY_PERIOD: Duration = Duration::from_secs(2);

/// How long another process may take to see which slots are free, which it does at once unless it is stopped.
const TAKING_TIMEOUT: Duration = Duration::from_secs(60);

/// The slots of this process.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// The locked files, and each a second time for the event when it is closed.
type Locks = Vec<(File, File)>;

/// The right to run a VM, until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    /// `None` if this process runs another VM: it must not wait for itself.
    _locks: Option<Locks>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until another VM that takes so much fits into this host's memory.
///
/// # Errors
/// If it does not fit in time, or the folder cannot be used.
pub(super) fn slot(folder: &Path, mib: u32) -> io::Result<Slot> {
    let may_wait = HELD.fetch_add(1, Ordering::Relaxed) == 0;
    let host = Host::for_vm(mib, &is_ample);
    let locks = match may_wait {
        true => host.wait(folder, TIMEOUT, &mut |text| eprintln!("{text}")),
        false => host.take(folder),
    };
    match locks {
        Ok(locks) => Ok(Slot { _locks: locks }),
        Err(error) => {
            HELD.fetch_sub(1, Ordering::Relaxed);
            Err(error)
        }
    }
}

/// Returns the right to run a further VM of this process, if it fits into this host's memory.
///
/// # Errors
/// If the folder cannot be used.
pub(super) fn further(folder: &Path, mib: u32) -> io::Result<Option<Slot>> {
    let locks = Host::for_vm(mib, &is_ample).take(folder)?;
    Ok(locks.map(|locks| {
        HELD.fetch_add(1, Ordering::Relaxed);
        Slot {
            _locks: Some(locks),
        }
    }))
}

/// Returns how many of the smallest VMs fit into this host's memory.
pub(crate) fn vms_that_fit() -> usize {
    Host::for_vm(1, &is_ample).slots
}

/// Returns whether so many slots fit into the memory that is available now.
fn is_ample(slots: usize) -> bool {
    memory("MemAvailable:") / PER_SLOT >= slots as u64
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
    /// How many of them the VM takes.
    wanted: usize,
    /// Whether there is memory for so many more now. The first VM does not need it.
    is_ample: &'a dyn Fn(usize) -> bool,
}

impl<'a> Host<'a> {
    /// This host, for a VM that takes so much. One that is too large for it takes all slots.
    fn for_vm(mib: u32, is_ample: &'a dyn Fn(usize) -> bool) -> Self {
        let slots = usize::try_from(memory("MemTotal:") * 3 / 4 / PER_SLOT).unwrap_or(usize::MAX);
        let slots = slots.max(1);
        let wanted = (u64::from(mib) << 20).div_ceil(PER_SLOT);
        Self {
            slots,
            wanted: usize::try_from(wanted).unwrap_or(usize::MAX).min(slots),
            is_ample,
        }
    }

    /// Takes the slots if so many are free.
    fn take(&self, folder: &Path) -> io::Result<Option<Locks>> {
        // Another VM that is about to start must not find slots taken that are given back at once.
        let _taking = taking(folder, TAKING_TIMEOUT)?;
        let mut are_others = false;
        let mut locks = Vec::new();
        for number in 0..self.slots {
            if are_others && !(self.is_ample)(self.wanted) {
                return Ok(None);
            }
            let path = folder.join(number.to_string());
            let lock = open(&path)?;
            match lock.try_lock() {
                Ok(()) => {
                    locks.push((lock, path));
                    if locks.len() == self.wanted {
                        return locks
                            .into_iter()
                            .map(with_event)
                            .collect::<io::Result<_>>()
                            .map(Some);
                    }
                }
                Err(fs::TryLockError::WouldBlock) => are_others = true,
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Takes the slots, and waits for others to be freed if need be.
    fn wait(
        &self,
        folder: &Path,
        timeout: Duration,
        tell: &mut dyn FnMut(&str),
    ) -> io::Result<Option<Locks>> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags)?;
        inotify.add_watch(folder, AddWatchFlags::IN_CLOSE_WRITE)?;
        let deadline = Instant::now() + timeout;
        let mut is_told = false;
        loop {
            if let Some(locks) = self.take(folder)? {
                return Ok(Some(locks));
            }
            if !std::mem::replace(&mut is_told, true) {
                tell("too little memory for one more VM: waiting until another VM or program ends");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::other(format!(
                    "no memory for another VM was free within {} s; end other VMs or programs",
                    timeout.as_secs()
                )));
            }
            let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
            let left = left.min(MEMORY_PERIOD) + Duration::from_millis(1);
            let left = PollTimeout::try_from(left);
            match poll(&mut fds, left.unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let _ = inotify.read_events();
        }
    }
}

/// Locks the file that a process holds while it takes slots.
fn taking(folder: &Path, timeout: Duration) -> io::Result<File> {
    let path = folder.join("taking");
    lock_within(open(&path)?, timeout)?.ok_or_else(|| {
        io::Error::other(format!(
            "another process holds {} for {} s while it starts a VM; continue or end that process",
            path.display(),
            timeout.as_secs()
        ))
    })
}

/// Creates a file if need be, and opens it to read only: closing it is no event.
fn open(path: &Path) -> io::Result<File> {
    drop(File::options().append(true).create_new(true).open(path));
    File::open(path)
}

/// Opens a locked file a second time: closing this one is an event.
fn with_event((lock, path): (File, PathBuf)) -> io::Result<(File, File)> {
    Ok((lock, File::options().append(true).open(path)?))
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
            wanted: 1,
            is_ample: &|_| true,
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
                    wanted: 1,
                    is_ample: &|_| true,
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
            wanted: 1,
            is_ample: &|_| {
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

    #[test]
    fn a_vm_waits_until_a_program_frees_memory() {
        let folder = tempfile::tempdir().unwrap();
        let asked = Cell::new(0);
        let host = Host {
            slots: 8,
            wanted: 1,
            is_ample: &|_| asked.replace(asked.get() + 1) > 0,
        };
        let never = &mut |text: &str| panic!("{text}");
        let _first = host.wait(folder.path(), AMPLE, never).unwrap();
        let start = Instant::now();
        let second = host.wait(folder.path(), 10 * MEMORY_PERIOD, &mut |_| {});
        assert!(second.unwrap().is_some());
        assert!(start.elapsed() < 10 * MEMORY_PERIOD, "only at the end");
    }

    #[test]
    fn a_wait_for_a_process_that_stopped_while_it_takes_slots_has_a_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let short = Duration::from_millis(50);
        let held = taking(folder.path(), short).unwrap();
        let error = taking(folder.path(), short).unwrap_err();
        let path = folder.path().join("taking");
        let expected = format!("another process holds {} for", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        drop(held);
        taking(folder.path(), AMPLE).unwrap();
    }

    #[test]
    fn a_large_vm_takes_several_slots_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let host = |wanted| Host {
            slots: 4,
            wanted,
            is_ample: &|_| true,
        };
        let large = host(3).take(folder.path()).unwrap().expect("three of four");
        assert!(host(2).take(folder.path()).unwrap().is_none());
        let small = host(1).take(folder.path()).unwrap().expect("the fourth");
        assert!(host(1).take(folder.path()).unwrap().is_none());
        drop(large);
        assert!(host(4).take(folder.path()).unwrap().is_none());
        drop(small);
        assert_eq!(
            host(4).take(folder.path()).unwrap().map(|all| all.len()),
            Some(4)
        );
        let mib = |mib| Host::for_vm(mib, &|_| true).wanted;
        assert_eq!((mib(1280), mib(1281)), (1, 2));
        assert_eq!(mib(u32::MAX), Host::for_vm(1, &|_| true).slots);
    }
}
