//! The guest's init process: it mounts file systems, loads modules, sends a greeting to the host and
//! serves its requests.
//!
//! The guest has no other programs. On a fatal error the agent prints the reason to the console and powers
//! the guest off, which the host detects as the exit of QEMU.
//!
//! Started as `modprobe`, the program loads a module and its dependencies.

mod attached;
mod block_ioctl;
mod buffer;
mod cgroups;
mod children;
mod collect;
mod console;
mod cpus;
mod disks;
mod entropy;
mod extent;
mod failure;
mod fatal;
mod follow;
mod identity;
mod init;
mod kernel_log;
mod kvm;
mod lines;
mod load;
mod modprobe;
mod modules;
mod mount;
mod netlink;
mod network;
mod output;
mod parameters;
mod pattern_io;
mod port;
mod port_writer;
mod program;
mod requests;
mod rootfs;
mod rtnetlink;
mod server;
mod spawn;
mod sync;
mod sysfs;
mod system_state;
mod terminal;
mod uevent;

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fatal::{Fatal, OrFatal};

/// The time limit for the host's port to appear after the modules are loaded. A slow emulated machine
/// needs less than a second.
const PORT_DEADLINE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    if let Some(arguments) = modprobe::arguments(std::env::args()) {
        return modprobe::main(&arguments);
    }
    // Everything below needs a machine of its own: it mounts over existing folders and powers off.
    if std::process::id() != 1 {
        console::log("guest-agent is the init process of a guest and runs as process 1 only");
        return ExitCode::FAILURE;
    }
    console::power_off_on_panic();
    let Err(fatal) = run();
    console::power_off(&fatal.to_string())
}

fn run() -> Result<Infallible, Fatal> {
    init::mount_all()?;
    identity::cover_boot_id().or_fatal(|| "mount over boot_id".into())?;
    // Subscribes before the first device can appear, so that no event is missed.
    let uevents = netlink::Uevents::subscribe()?;
    rtnetlink::set_up(rtnetlink::LOOPBACK).or_fatal(|| "bring up the loopback interface".into())?;
    modules::load_all()?;
    kvm::provide_if_requested();
    network::configure_if_requested();
    let port = port::find(&uevents, PORT_DEADLINE)?;
    let disks = Arc::new(disks::Disks::default());
    disks::follow(uevents, Arc::clone(&disks))?;
    server::serve(port, disks)
}
