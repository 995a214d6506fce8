//! The socket on which the kernel announces devices.

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

/// The group to which the kernel sends. (Group 2 is udev's.)
const KERNEL: u32 = 1;

/// Holds some thousand announcements, so that a storm of them is rarely lost.
const QUEUE: usize = 1 << 20;

/// More than the kernel's largest announcement: 2048 bytes of fields, and a path.
pub(crate) const MESSAGE: usize = 8192;

/// A subscription to the kernel's announcements, from the moment it is made.
pub(crate) struct Uevents(OwnedFd);

/// What the subscription has next.
pub(crate) enum Next<'a> {
    /// An announcement, still to be parsed.
    Message(&'a [u8]),
    /// More were announced than the queue holds. What is still in it is older than what was lost
    /// and has been thrown away: only a new look can tell what is there.
    Lost,
    /// Nothing came in time.
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

    /// Waits for the next announcement, without a deadline for a follower that lives as long as
    /// the guest.
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
            Err(Errno::ENOBUFS) => self.throw_away().map(|()| Next::Lost),
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

    fn throw_away(&self) -> nix::Result<()> {
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
