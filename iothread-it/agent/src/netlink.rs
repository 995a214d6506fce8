//! The netlink socket on which the kernel sends uevents.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket,
};

use crate::fatal::{Fatal, OrFatal};

/// The multicast group of the kernel. (Group 2 is udev's.)
const KERNEL: u32 = 1;

/// The size of the receive buffer, in bytes. It holds some thousand uevents, so that a burst is rarely lost.
const QUEUE: usize = 1 << 20;

/// The size of a buffer for one uevent, in bytes. The kernel's largest has 2048 bytes of fields, and a path.
pub(crate) const MESSAGE: usize = 8192;

/// A subscription to the kernel's uevents.
pub(crate) struct Uevents(OwnedFd);

/// The next item of the subscription.
pub(crate) enum Next<'a> {
    /// A uevent, not yet parsed.
    Message(&'a [u8]),
    /// Uevents were lost, because the receive buffer was full. The others, which are older, have been
    /// discarded: the caller has to scan the devices.
    Lost,
    /// The deadline has passed.
    Nothing,
}

impl Uevents {
    pub(crate) fn subscribe() -> Result<Self, Fatal> {
        let subscribe = || {
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkKObjectUEvent,
            )?;
            setsockopt(&socket, RcvBufForce, &QUEUE)?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL))?;
            Ok::<_, Errno>(Self(socket))
        };
        subscribe().or_fatal(|| "subscribe to the kernel's uevents".into())
    }

    /// Waits for the next uevent, until the deadline if there is one.
    pub(crate) fn next<'a>(
        &self,
        buffer: &'a mut [u8; MESSAGE],
        deadline: Option<Instant>,
    ) -> Result<Next<'a>, Fatal> {
        self.receive(buffer, deadline)
            .or_fatal(|| "read the kernel's uevents".into())
    }

    fn receive<'a>(
        &self,
        buffer: &'a mut [u8; MESSAGE],
        deadline: Option<Instant>,
    ) -> nix::Result<Next<'a>> {
        if !self.wait(deadline)? {
            return Ok(Next::Nothing);
        }
        match recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(Next::Message(&buffer[..length])),
            Err(Errno::ENOBUFS) => self.discard().map(|()| Next::Lost),
            Err(error) => Err(error),
        }
    }

    fn wait(&self, deadline: Option<Instant>) -> nix::Result<bool> {
        loop {
            let timeout = match deadline {
                None => PollTimeout::NONE,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
                }
            };
            match poll(
                &mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)],
                timeout,
            ) {
                Err(Errno::EINTR) => {}
                other => return other.map(|ready| ready > 0),
            }
        }
    }

    fn discard(&self) -> nix::Result<()> {
        let mut byte = [0];
        loop {
            match recv(self.0.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
