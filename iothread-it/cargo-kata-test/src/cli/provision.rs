//! Provides the artifacts that VMs are booted from: QEMU, a kernel, the guest agent and the boot image,
//! in the cache of this user.

use crate::place::{VmArtifacts, VmPlace};
use anyhow::{Result, ensure};
use guest_vm::artifacts::{Manifest, Progress, QemuChoice, WorkFolder};
use guest_vm::guest;

use super::progress::PrintedProgress;
use super::{agent, cargo, store};

/// Provides the artifacts of a VM and writes their manifest to the target directory.
///
/// Artifacts that exist and are complete are reused: if nothing changed, this takes a fraction of a
/// second and no network. With `offline` nothing else is used.
///
/// # Errors
/// If the agent cannot be built, or QEMU or a kernel cannot be fetched.
pub fn provision(choice: &QemuChoice, offline: bool) -> Result<Manifest> {
    let progress: &mut dyn Progress = &mut PrintedProgress::default();
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "VMs need an x86_64 Linux host; this is {} {}",
        std::env::consts::ARCH,
        std::env::consts::OS,
    );
    let target = cargo::target_directory()?;
    let lock = store::open(offline)?.lock(progress)?;
    let agent = agent::provide(&lock, &target)?;
    let (qemu, kernel) = guest_vm::artifacts::provision(choice, &lock, progress)?;
    let images = guest::image::folder(&agent, &kernel, &lock)?;
    let file = |name: &str| images.join(name);
    let mut guest = guest::image::build(&agent, &kernel, &file("initramfs"))?;
    let vmlinux = file("vmlinux");
    match guest::kernel::uncompressed(&kernel.image, &vmlinux) {
        Ok(()) => guest.vmlinux = Some(vmlinux),
        Err(why) => progress.noted(&format!(
            "the kernel cannot be uncompressed, and boots more slowly: {why}"
        )),
    }
    let manifest = Manifest { qemu, guest };
    manifest.write(&Manifest::path_in(&target))?;
    store::bound(&lock, progress)?;
    Ok(manifest)
}

/// Provides VM places with the kernels of these suites. With `offline` they are made from the cache only.
///
/// # Errors
/// If the agent cannot be built, or QEMU or a kernel cannot be fetched.
pub fn vm_places(suites: &[&str], offline: bool) -> Result<Vec<VmPlace>> {
    let progress: &mut dyn Progress = &mut PrintedProgress::default();
    let target = cargo::target_directory()?;
    let work = WorkFolder::in_target(&target);
    let store = store::open(offline)?;
    let lock = store.lock(progress)?;
    let agent = agent::provide(&lock, &target)?;
    let qemu = guest_vm::artifacts::provision_qemu(&QemuChoice::Auto, &lock, progress)?;
    let place = |suite: &&str| {
        let artifacts = VmArtifacts::provide(suite, &qemu, &agent, &lock, &work, progress)?;
        Ok(VmPlace::of_suite(suite, artifacts, &store, &work))
    };
    let places: Vec<_> = suites.iter().map(place).collect::<Result<_>>()?;
    store::bound(&lock, progress)?;
    Ok(places)
}
