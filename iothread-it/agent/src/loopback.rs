//! The loopback interface, which a kernel creates down: until it is up, 127.0.0.1 and ::1 are unreachable.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use crate::fatal::{Fatal, OrFatal};

/// The index of the interface in every network namespace.
const LOOPBACK: u32 = 1;

/// The size of a netlink header, in bytes; an error's number follows it.
const HEADER: usize = size_of::<libc::nlmsghdr>();

/// Brings the interface up. The kernel then adds its addresses.
pub(crate) fn bring_up() -> Result<(), Fatal> {
    request().or_fatal(|| "bring up the loopback interface".into())
}

fn request() -> nix::Result<()> {
    let socket: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(socket.as_raw_fd(), &message(), MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    let number = answer[..length].get(HEADER..HEADER + 4);
    let number = number.and_then(|bytes| bytes.try_into().ok());
    match number.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(number) => Err(Errno::from_raw(-number)),
        None => Err(Errno::EBADMSG),
    }
}

/// Returns an `nlmsghdr` and an `ifinfomsg`; see rtnetlink(7).
fn message() -> [u8; HEADER + 16] {
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let length = (HEADER + 16) as u32;
    let mut bytes = [0; HEADER + 16];
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    // Sequence number and sender stay 0, and so do family and type of the interface.
    bytes[20..24].copy_from_slice(&LOOPBACK.to_ne_bytes());
    // The flags, and which of them change.
    bytes[24..28].copy_from_slice(&up);
    bytes[28..].copy_from_slice(&up);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rtnetlink's bytes on x86-64.
    #[test]
    #[cfg(target_endian = "little")]
    fn the_message_sets_one_flag_of_the_first_interface() {
        let expected = [
            [32, 0, 0, 0, 16, 0, 5, 0],
            [0; 8],
            [0, 0, 0, 0, 1, 0, 0, 0],
            [1, 0, 0, 0, 1, 0, 0, 0],
        ];
        assert_eq!(message(), *expected.as_flattened());
    }
}
