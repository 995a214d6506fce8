//! The guest's init process: it mounts, loads modules, greets the host and does what it is asked.
//!
//! The guest has nothing but this program and the kernel's modules. So whatever cannot go on ends
//! here: its reason goes to the console and the guest powers off, which the host sees as QEMU's
//! exit and not as silence.
//!
//! Under the name `modprobe` it is another program: the one that the kernel asks for a module.

mod buffer;
mod children;
mod console;
mod cpus;
mod data;
mod disks;
mod entropy;
mod extent;
mod failure;
mod fatal;
mod follow;
mod identity;
mod init;
mod lines;
mod load;
mod modprobe;
mod modules;
mod netlink;
mod outbox;
mod port;
mod program;
mod rootfs;
mod scsi;
mod serve;
mod sysfs;
mod uevent;
mod unpack;

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fatal::{Fatal, OrFatal};

/// How long the host's port may take to appear once the modules are loaded. An emulated machine
/// that shares its CPU needs well under a second.
const PORT_DEADLINE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    if let Some(arguments) = modprobe::arguments(std::env::args()) {
        return modprobe::main(&arguments);
    }
    // Everything below is for a machine of its own: it would mount over, and switch off, whatever
    // it is started on.
    if std::process::id() != 1 {
        console::say("this is the init process of a guest, and only runs as process 1");
        return ExitCode::FAILURE;
    }
    console::power_off_on_panic();
    let Err(fatal) = run();
    console::power_off(&fatal.to_string())
}

fn run() -> Result<Infallible, Fatal> {
    init::mount_all()?;
    identity::cover_boot_id().or_fatal(|| "cover the boot's id".into())?;
    // Subscribed before the first device can appear, so that nothing comes unnoticed.
    let uevents = netlink::Uevents::subscribe()?;
    modules::load_all()?;
    let port = port::find(&uevents, PORT_DEADLINE)?;
    let disks = Arc::new(disks::Disks::default());
    disks::follow(uevents, Arc::clone(&disks))?;
    serve::serve(port, disks)
}
