//! A network namespace of a test's own.
#![expect(unsafe_code, reason = "an ioctl that sets the flags of an interface")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace that this thread has entered. Dropped, the thread is in the previous one again.
#[derive(Debug)]
pub(crate) struct OwnNetwork {
    previous: File,
}

impl OwnNetwork {
    /// Creates a network namespace for this thread, and brings its loopback interface up.
    pub(crate) fn enter() -> Result<Self, String> {
        let failed =
            |what: &str, error: io::Error| format!("no network of its own: {what}: {error}");
        const CURRENT: &str = "/proc/thread-self/ns/net";
        let previous = File::open(CURRENT).map_err(|error| failed(CURRENT, error))?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| failed("unshare", errno.into()))?;
        let entered = Self { previous };
        bring_up_loopback().map_err(|error| failed("the loopback interface", error))?;
        Ok(entered)
    }
}

impl Drop for OwnNetwork {
    fn drop(&mut self) {
        let _ = setns(&self.previous, CloneFlags::CLONE_NEWNET);
    }
}

fn bring_up_loopback() -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: zeros are a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is of the type that this ioctl reads, and outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
