//! What init prepares in its namespaces: /proc and /sys show them, and the loopback device is up.
#![expect(
    unsafe_code,
    reason = "open_tree(2), move_mount(2) and the ioctls of network devices have no safe form"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

/// What is done when a start fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    /// The namespaces are created.
    Clone,
    /// Their ids are mapped.
    Ids,
    /// /proc is mounted.
    Proc,
    /// The loopback device is set up.
    Loopback,
    /// The program is executed.
    Exec,
}

impl Step {
    pub(super) fn of(byte: u8) -> Option<Self> {
        let steps = [
            Self::Clone,
            Self::Ids,
            Self::Proc,
            Self::Loopback,
            Self::Exec,
        ];
        steps.into_iter().find(|step| *step as u8 == byte)
    }
}

const CGROUPS: &CStr = c"/sys/fs/cgroup";
const NO_DATA: Option<&CStr> = None;

/// Prepares the namespaces of this process. It allocates nothing.
pub(super) fn prepare(begin: &dyn Fn(Step)) -> io::Result<()> {
    begin(Step::Proc);
    // Where / is no mount point, as in a chroot, mounts still do not leave: they are slaves of those outside.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let _ = mount(NO_DATA, c"/", NO_DATA, private, NO_DATA);
    mount_at(c"proc", c"/proc")?;
    begin(Step::Loopback);
    set_loopback_up()?;
    // A host may hide parts of /sys, and then permits no other: that of the host stays.
    let _ = replace_sys();
    Ok(())
}

fn mount_at(kind: &CStr, target: &CStr) -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(kind), target, Some(kind), flags, NO_DATA)
}

/// Mounts a /sys that shows the network devices of this namespace, with the cgroups that were there.
fn replace_sys() -> nix::Result<()> {
    let cgroups = clone_tree(CGROUPS);
    mount_at(c"sysfs", c"/sys")?;
    let Ok(cgroups) = cgroups else { return Ok(()) };
    let is_v2 = fstatfs(&cgroups).is_ok_and(|of| of.filesystem_type() == CGROUP2_SUPER_MAGIC);
    if is_v2 && mount_at(c"cgroup2", CGROUPS).is_ok() {
        return Ok(());
    }
    // SAFETY: the texts end with a zero, and the descriptor is open.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            cgroups.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            CGROUPS.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    Errno::result(moved).map(drop)
}

/// Copies a mount with those below it.
fn clone_tree(path: &CStr) -> nix::Result<OwnedFd> {
    let flags =
        libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: the text ends with a zero.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let tree = Errno::result(tree)?;
    // SAFETY: the call has just made it, and nothing else owns it. A descriptor is an int.
    Ok(unsafe { OwnedFd::from_raw_fd(tree as libc::c_int) })
}

fn set_loopback_up() -> nix::Result<()> {
    // SAFETY: the call has no pointers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: the call has just made it, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(Errno::result(socket)?) };
    // SAFETY: zeros are a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request has a name and flags, as this one needs.
    let set = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    Errno::result(set).map(drop)
}
