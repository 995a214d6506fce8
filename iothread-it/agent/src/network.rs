//! The network card of a VM with QEMU's user-mode networking, whose addresses are fixed.

use std::fs;
use std::io;
use std::path::Path;

use guest_agent::protocol::NETWORK_PARAMETER;
use nix::net::if_::if_nametoindex;

use crate::modprobe::Tree;
use crate::{console, parameters, rtnetlink};

const ADDRESS: [u8; 4] = [10, 0, 2, 15];
const PREFIX: u8 = 24;
const GATEWAY: [u8; 4] = [10, 0, 2, 2];

/// The content of `/etc/resolv.conf`.
const RESOLVER: &str = "nameserver 10.0.2.3\n";

/// Configures the card if the kernel's command line requests it. A failure is printed to the console, and the
/// constraints of tests report that there is no network.
pub(crate) fn configure_if_requested() {
    if parameters::has(NETWORK_PARAMETER)
        && let Err(error) = configure()
    {
        console::log(&format!("there is no network: {error}"));
    }
}

/// Writes the address of QEMU's name server below a root file system, if there is such a network.
pub(crate) fn write_resolver(root: &Path) -> io::Result<()> {
    match parameters::has(NETWORK_PARAMETER) {
        true => fs::write(root.join("etc/resolv.conf"), RESOLVER),
        false => Ok(()),
    }
}

fn configure() -> io::Result<()> {
    Tree::of_this_kernel()?.load("virtio_net", "")?;
    let interface = if_nametoindex(&*card()?)?;
    rtnetlink::set_up(interface)?;
    rtnetlink::add_address(interface, ADDRESS, PREFIX)?;
    Ok(rtnetlink::add_default_route(GATEWAY)?)
}

/// Returns the name of the interface of a virtio card: a VM may have other cards.
fn card() -> io::Result<String> {
    for entry in fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        let driver = fs::read_link(entry.path().join("device/driver"));
        if driver.is_ok_and(|driver| driver.ends_with("virtio_net")) {
            return Ok(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Err(io::Error::other("no virtio network card"))
}
