//! Provides the artifacts that VMs are booted from: QEMU, a kernel, the guest agent and the boot image,
//! in the cache of this user.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use crate::place::{VmArtifacts, VmPlace};
use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::{Manifest, Progress, QemuChoice, Silent, Store, WorkFolder};
use guest_vm::guest;
use sha2::{Digest as _, Sha256};

use super::agent::BuildOutput;
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
    let agent = agent::provide(&lock, &target, BuildOutput::Progress)?;
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
    let target = cargo::target_directory()?;
    let store = store::open(offline)?;
    let progress = &mut PrintedProgress::default();
    vm_places_in(&target, suites, &store, BuildOutput::Progress, progress)
}

/// Provides VM places with disks and lists of artifacts in a target directory.
fn vm_places_in(
    target: &Path,
    suites: &[&str],
    store: &Store,
    output: BuildOutput,
    progress: &mut dyn Progress,
) -> Result<Vec<VmPlace>> {
    let work = WorkFolder::in_target(target);
    let lock = store.lock(progress)?;
    let agent = agent::provide(&lock, target, output)?;
    let qemu = guest_vm::artifacts::provision_qemu(&QemuChoice::Auto, &lock, progress)?;
    let place = |suite: &&str| {
        let artifacts = VmArtifacts::provide(suite, &qemu, &agent, &lock, &work, progress)?;
        Ok(VmPlace::of_suite(suite, artifacts, store, &work))
    };
    let places: Vec<_> = suites.iter().map(place).collect::<Result<_>>()?;
    store::bound(&lock, progress)?;
    Ok(places)
}

/// Provides the VM place of a suite for a single program. What was provided before is used as it is, if
/// the agent and the lock file have not changed since; this takes milliseconds.
///
/// # Errors
/// If the agent cannot be built, or QEMU or a kernel cannot be fetched.
pub(super) fn vm_place(
    suite: &str,
    target: Option<&Path>,
    lock_file: &Path,
    offline: bool,
) -> Result<VmPlace> {
    let store = store::open_with(lock_file, offline)?;
    let own = store.base().join("run");
    let target = target.unwrap_or(&own);
    let work = WorkFolder::in_target(target);
    if let Some(artifacts) = provided(suite, &work, &store, lock_file) {
        return Ok(VmPlace::of_suite(suite, artifacts, &store, &work));
    }
    let (output, progress): (_, &mut dyn Progress) = match io::stderr().is_terminal() {
        true => (BuildOutput::Progress, &mut PrintedProgress::default()),
        false => (BuildOutput::Errors, &mut Silent),
    };
    let places = vm_places_in(target, &[suite], &store, output, progress)?;
    places.into_iter().next().context("no place was provided")
}

/// Finds artifacts that were provided before with the current agent and lock file.
fn provided(
    suite: &str,
    work: &WorkFolder,
    store: &Store,
    lock_file: &Path,
) -> Option<VmArtifacts> {
    let artifacts = VmArtifacts::find(work, suite).ok()?;
    let agent = fs::read(agent::path(store).ok()?).ok()?;
    let digest: String = Sha256::digest(agent)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let changed = |file: &Path| file.metadata().and_then(|data| data.modified()).ok();
    // `None`, for a file that is not there, is less than a time.
    let is_newer = changed(&VmArtifacts::list_of(work, suite)) > changed(lock_file);
    (digest == artifacts.manifest.guest.agent_sha256 && is_newer).then_some(artifacts)
}
