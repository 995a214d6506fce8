//! Requests that configure network interfaces; see rtnetlink(7).

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// The size of a netlink header, in bytes; an error's number follows it.
const HEADER: usize = size_of::<libc::nlmsghdr>();

/// The index of the loopback interface in every network namespace. A kernel creates it down: until it is up,
/// 127.0.0.1 and ::1 are unreachable.
pub(crate) const LOOPBACK: u32 = 1;

/// Sets an interface up. The kernel adds the addresses of the loopback interface.
pub(crate) fn set_up(interface: u32) -> nix::Result<()> {
    request(&message(libc::RTM_NEWLINK, 0, &[&link(interface)]))
}

/// Adds an IPv4 address to an interface, in a network of this prefix.
pub(crate) fn add_address(interface: u32, address: [u8; 4], prefix: u8) -> nix::Result<()> {
    // Family, prefix, flags and scope, of an `ifaddrmsg`.
    let kind = [libc::AF_INET as u8, prefix, 0, libc::RT_SCOPE_UNIVERSE];
    let index = interface.to_ne_bytes();
    let local = attribute(libc::IFA_LOCAL, address);
    let of_network = attribute(libc::IFA_ADDRESS, address);
    let parts: [&[u8]; 4] = [&kind, &index, &local, &of_network];
    request(&message(libc::RTM_NEWADDR, libc::NLM_F_CREATE, &parts))
}

/// Adds the IPv4 default route by a gateway.
pub(crate) fn add_default_route(gateway: [u8; 4]) -> nix::Result<()> {
    // An `rtmsg`: family, lengths of destination and source, TOS, table, protocol, scope, type; and no flags.
    let kind = [
        libc::AF_INET as u8,
        0,
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_BOOT,
        libc::RT_SCOPE_UNIVERSE,
        libc::RTN_UNICAST,
    ];
    let by = attribute(libc::RTA_GATEWAY, gateway);
    let parts: [&[u8]; 3] = [&kind, &[0; 4], &by];
    request(&message(libc::RTM_NEWROUTE, libc::NLM_F_CREATE, &parts))
}

/// Returns an `ifinfomsg` that changes one flag.
fn link(interface: u32) -> [u8; 16] {
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    let mut bytes = [0; 16];
    // Family and type of the interface stay 0.
    bytes[4..8].copy_from_slice(&interface.to_ne_bytes());
    // The flags, and which of them change.
    bytes[8..12].copy_from_slice(&up);
    bytes[12..].copy_from_slice(&up);
    bytes
}

/// Returns an `rtattr` with an IPv4 address.
fn attribute(kind: u16, address: [u8; 4]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&8_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
    bytes[4..].copy_from_slice(&address);
    bytes
}

/// Returns an `nlmsghdr` and what follows it.
fn message(kind: u16, flags: libc::c_int, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(HEADER + body.len()).expect("a short message");
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence number and sender.
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

fn request(message: &[u8]) -> nix::Result<()> {
    let socket: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(socket.as_raw_fd(), message, MsgFlags::empty())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// rtnetlink's bytes on x86-64.
    #[test]
    #[cfg(target_endian = "little")]
    fn the_message_sets_one_flag_of_an_interface() {
        let expected = [
            [32, 0, 0, 0, 16, 0, 5, 0],
            [0; 8],
            [0, 0, 0, 0, 3, 0, 0, 0],
            [1, 0, 0, 0, 1, 0, 0, 0],
        ];
        let made = message(libc::RTM_NEWLINK, 0, &[&link(3)]);
        assert_eq!(made, *expected.as_flattened());
    }
}
