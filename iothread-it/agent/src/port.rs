//! The virtio-serial port to the host.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use guest_agent::protocol::PORT_NAME;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::fatal::{Fatal, OrFatal};
use crate::netlink::{MESSAGE, Next, Uevents};
use crate::sysfs;
use crate::uevent::Uevent;

const PORTS: &str = "/sys/class/virtio-ports";

/// The open port. One thread reads; any thread may write, one at a time.
pub(crate) struct Port {
    file: File,
    changes: Epoll,
}

/// Finds and opens the port. The kernel sends a uevent when a port appears, and another one when the port
/// gets its name from the host.
pub(crate) fn find(uevents: &Uevents, deadline: Duration) -> Result<Port, Fatal> {
    let until = Instant::now() + deadline;
    let mut buffer = [0; MESSAGE];
    loop {
        if let Some(node) = find_node()? {
            return Port::open(&node);
        }
        while !is_about_ports(&uevents.next(&mut buffer, Some(until))?, deadline)? {}
    }
}

/// Returns whether a port may have changed.
fn is_about_ports(next: &Next<'_>, deadline: Duration) -> Result<bool, Fatal> {
    match next {
        Next::Lost => Ok(true),
        Next::Message(message) => {
            Ok(Uevent::parse(message).is_some_and(|event| event.subsystem == "virtio-ports"))
        }
        Next::Nothing => Err(Fatal::new(format!(
            "no virtio-serial port named {PORT_NAME} appeared within {} s",
            deadline.as_secs()
        ))),
    }
}

fn find_node() -> Result<Option<PathBuf>, Fatal> {
    let ports = Path::new(PORTS);
    let names = sysfs::names(ports).or_fatal(|| format!("list {PORTS}"))?;
    // A port without a name yet has no such attribute.
    let ours = names.into_iter().find(|port| {
        sysfs::attribute(&ports.join(port).join("name")).is_ok_and(|name| name == PORT_NAME)
    });
    Ok(ours.map(|port| Path::new("/dev").join(port)))
}

impl Port {
    fn open(node: &Path) -> Result<Self, Fatal> {
        let open = || {
            let file = OpenOptions::new().read(true).write(true).open(node)?;
            let changes = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            changes.add(&file, EpollEvent::new(edges, 0))?;
            Ok::<_, io::Error>(Self { file, changes })
        };
        open().or_fatal(|| format!("open {}", node.display()))
    }

    /// Reads at least one byte, or none if the host has closed its end.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.file).read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Waits until the state of the port changes, after a read that returned nothing. There is no deadline:
    /// without a host the agent has nothing else to do.
    ///
    /// While the host's end is closed, a read returns at once, and a level-triggered poll would report
    /// the hang-up again and again. So the wait is edge-triggered.
    pub(crate) fn wait_for_host(&self) -> io::Result<()> {
        let mut events = [EpollEvent::empty()];
        match self.changes.wait(&mut events, EpollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all bytes. Blocks until the host has opened its end.
    pub(crate) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }
}
