//! Time until the guest's agent answers: booted as in QEMU's manual, booted by us, and restored from a
//! template.

use std::ffi::OsString;
use std::time::Instant;

use anyhow::{Result, bail};
use guest_vm::artifacts::Store;
use guest_vm::qemu::{GuestMemory, Topology, arguments};
use guest_vm::vm::{Start, Vm};
use guest_vm::warm::WarmStore;

use super::figure::{Figure, Goal, Peer};
use super::interleave::since;
use super::raw_qemu::RawQemu;
use super::vms::{Vms, shape};
use super::{Bench, Setup};
use iothread_advise::Samples;

pub(super) const BENCHES: &[Bench] = &[Bench::of_vms("boot: cold and warm", cold_and_warm)];

fn cold_and_warm(setup: &Setup, vms: &Vms) -> Result<Vec<Figure>> {
    let store = WarmStore::of(&Store::of_user()?);
    let shape = shape(Topology::Q35, 1);
    let restore = || {
        let start = Instant::now();
        let vm = Vm::restore_or_boot(&vms.manifest, &shape, &store)?;
        let took = since(start);
        match vm.start() {
            Start::Restored => Ok(took),
            other => bail!("the guest was not restored: {other:?}"),
        }
    };
    // Creates the template.
    restore()?;
    let [plain, cold, warm] = setup.rounds().interleave([
        &mut || {
            let start = Instant::now();
            let vm = RawQemu::start(&vms.manifest.qemu, plain(vms))?;
            vm.wait_for_greeting()?;
            Ok(since(start))
        },
        &mut || {
            let start = Instant::now();
            let accelerator = vms.accelerator.clone();
            let _vm = Vm::boot_with_accelerator(&vms.manifest, &shape, accelerator)?;
            Ok(since(start))
        },
        &mut || restore(),
    ])?;
    let plain = Peer::new("-kernel vmlinuz, same initramfs", plain);
    let figure = |what, ours: &Samples, peer| vms.figure(what, "ms", ours.clone(), peer);
    Ok(vec![
        figure("boot: cold boot to agent", &cold, plain.clone()).with_goal(Goal::AtMost(0.65)),
        figure("boot: warm restore to agent", &warm, plain).with_goal(Goal::AtMost(0.06)),
        figure(
            "boot: warm restore instead of a boot",
            &warm,
            Peer::new("our cold boot", cold.clone()),
        ),
    ])
}

/// Returns our command line without its optimizations for a fast boot.
fn plain(vms: &Vms) -> Vec<OsString> {
    let guest = &vms.manifest.guest;
    let shape = shape(Topology::Q35, 1);
    let ours = arguments(
        &shape,
        &vms.accelerator,
        &vms.manifest,
        &GuestMemory::Anonymous,
    );
    let cpu = match vms.accelerator {
        guest_vm::qemu::Accelerator::Kvm => "host",
        guest_vm::qemu::Accelerator::Tcg { .. } => "max",
    };
    let mut plain = Vec::with_capacity(ours.len());
    let mut option = OsString::new();
    for argument in ours {
        let instead = match option.to_str() {
            Some("-machine") => Some("q35".into()),
            Some("-cpu") => Some(cpu.into()),
            Some("-kernel") => Some(guest.kernel.clone().into_os_string()),
            Some("-append") => Some("console=ttyS0 quiet panic=-1".into()),
            _ => None,
        };
        option.clone_from(&argument);
        plain.push(instead.unwrap_or(argument));
    }
    plain
}
