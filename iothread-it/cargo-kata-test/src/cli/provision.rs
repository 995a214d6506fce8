//! Provides the artifacts that VMs are booted from: QEMU, a kernel, the guest agent and the boot image,
//! in the cache of this user.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use crate::place::{SavedTest, VmArtifacts, VmPlace, boot_image};
use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::{
    KernelInstall, Manifest, Origin, Progress, QemuChoice, Silent, Store, StoreLock, Tools,
    WorkFolder, provision_headers, provision_kernel_of, provision_tools,
};
use guest_vm::guest;
use sha2::{Digest as _, Sha256};

use super::agent::BuildOutput;
use super::places::VmPlaces;
use super::progress::PrintedProgress;
use super::vm_choice::{VmChoice, VmKernel};
use super::{agent, cargo, offers, store};

/// Provides the artifacts of a VM and writes their manifest to the target directory.
///
/// Artifacts that exist and are complete are reused: if nothing changed, this takes a fraction of a
/// second and no network. With `offline` nothing else is used.
///
/// # Errors
/// If the agent cannot be built, or QEMU or a kernel cannot be fetched.
pub fn provision(choice: &QemuChoice, offline: bool) -> Result<Manifest> {
    provision_with(choice, None, offline)
}

/// The same with another kernel than that of the host's own distribution.
///
/// # Errors
/// As for [`provision`], and if a kernel from a file lacks what a guest needs.
pub fn provision_with(
    choice: &QemuChoice,
    kernel: Option<&VmKernel>,
    offline: bool,
) -> Result<Manifest> {
    let progress: &mut dyn Progress = &mut PrintedProgress::default();
    check_host()?;
    let target = cargo::target_directory()?;
    let lock = store::open(offline)?.lock(progress)?;
    let agent = agent::provide(&lock, &target, BuildOutput::Progress)?;
    let (qemu, kernel) = match kernel {
        None => guest_vm::artifacts::provision(choice, &lock, progress)?,
        Some(kernel) => {
            let qemu = guest_vm::artifacts::provision_qemu(choice, &lock, progress)?;
            (qemu, kernel.provide(&lock, progress)?)
        }
    };
    let images = guest::image::folder(&agent, &kernel, &lock)?;
    let guest = boot_image(&agent, &kernel, &images, progress)?;
    let with_tools = |tools: &Tools, progress: &mut dyn Progress| {
        let image = images.join("initramfs-place");
        guest::image::with_modules(&guest, &kernel, Some(tools), &image, progress)
    };
    let guest_with_tools = provision_tools(&lock, progress)
        .map(|tools| with_tools(&tools, progress))
        .transpose()?;
    let manifest = Manifest {
        qemu,
        guest,
        guest_with_tools,
    };
    manifest.write(&Manifest::path_in(&target))?;
    store::bound(&lock, progress)?;
    Ok(manifest)
}

/// Checks that this is a kind of machine on which VMs run.
///
/// # Errors
/// If it is not.
pub(super) fn check_host() -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "VMs need an x86_64 Linux host, and this is {} {}; run the tests in other places",
        std::env::consts::ARCH,
        std::env::consts::OS,
    );
    Ok(())
}

/// Provides the headers of a suite's kernel in the cache, for tests that compile a module. If they cannot be had, that
/// is noted: those tests are skipped.
///
/// # Errors
/// If the cache cannot be used.
pub fn kernel_headers(suite: &str, offline: bool) -> Result<()> {
    let progress = &mut PrintedProgress::default();
    let lock = store::open(offline)?.lock(progress)?;
    if let Err(error) = provision_headers(suite, &lock, progress) {
        progress.noted(&format!("no kernel headers of {suite}: {error}"));
    }
    Ok(())
}

/// Provides VM places. With `offline` they are made from the cache only.
///
/// # Errors
/// If the agent cannot be built, or QEMU or a kernel cannot be fetched.
pub fn vm_places(vms: &VmPlaces, offline: bool) -> Result<Vec<VmPlace>> {
    let target = cargo::target_directory()?;
    let store = store::open(offline)?;
    let progress = &mut PrintedProgress::default();
    vm_places_in(&target, vms, &store, BuildOutput::Progress, progress)
}

/// Provides VM places with disks and lists of artifacts in a target directory.
fn vm_places_in(
    target: &Path,
    vms: &VmPlaces,
    store: &Store,
    output: BuildOutput,
    progress: &mut dyn Progress,
) -> Result<Vec<VmPlace>> {
    check_host()?;
    let work = WorkFolder::in_target(target);
    let lock = store.lock(progress)?;
    // What may be missing or refused comes before the agent, which takes time to build.
    let qemu = guest_vm::artifacts::provision_qemu(&vms.qemu, &lock, progress)?;
    let chosen = choices(vms, &lock, progress)?;
    let mut kernels = Vec::new();
    for vm in &chosen {
        vm.check()?;
        let kernel = vm.kernel.provide(&lock, progress);
        kernels.push(match &vm.kernel {
            VmKernel::Archive(_) => kernel?,
            VmKernel::Own(_) => kernel.with_context(|| format!("place {vm}"))?,
        });
    }
    let is_of_archive = |vm: &VmChoice| matches!(vm.kernel, VmKernel::Archive(_));
    let asks_archive = vms.all
        || vms.vms.iter().any(is_of_archive)
        || matches!(qemu.origin, Origin::Packages { .. });
    let tools = asks_archive
        .then(|| provision_tools(&lock, progress))
        .flatten();
    let agent = agent::provide(&lock, target, output)?;
    let mut places = Vec::new();
    for (vm, kernel) in chosen.iter().zip(&kernels) {
        let args = &vm.kernel_args;
        let artifacts = VmArtifacts::provide(
            kernel,
            args,
            (&vms.qemu, &qemu),
            &agent,
            tools.as_ref(),
            &lock,
            progress,
        )?;
        if let Some(name) = vm.of_archive() {
            artifacts.list(&work, &name)?;
        }
        places.push(named(vm, artifacts, store, &work));
    }
    SavedTest::sweep(&lock);
    store::bound(&lock, progress)?;
    Ok(places)
}

impl VmKernel {
    fn provide(&self, lock: &StoreLock, progress: &mut dyn Progress) -> Result<KernelInstall> {
        Ok(match self {
            Self::Archive(choice) => provision_kernel_of(choice, lock, progress)?,
            Self::Own(own) => own.install(lock)?,
        })
    }
}

fn named(vm: &VmChoice, artifacts: VmArtifacts, store: &Store, work: &WorkFolder) -> VmPlace {
    let artifacts = match vm.network {
        true => artifacts.with_network(),
        false => artifacts,
    };
    VmPlace::named(&vm.name, artifacts, store, work)
}

/// Provides a VM place for a single program. What was provided before is used as it is, if the kernel is of the
/// archive, and the agent, the choice of a QEMU and the lock file have not changed since; this takes milliseconds.
///
/// # Errors
/// If the agent cannot be built, or QEMU or a kernel cannot be fetched.
pub(super) fn vm_place(
    vm: &VmChoice,
    qemu: &QemuChoice,
    target: Option<&Path>,
    lock_file: &Path,
    offline: bool,
) -> Result<VmPlace> {
    let store = store::open_with(lock_file, offline)?;
    let own = store.base().join("run");
    let target = target.unwrap_or(&own);
    let work = WorkFolder::in_target(target);
    let provided = vm
        .of_archive()
        .and_then(|name| provided(&name, qemu, &work, &store, lock_file));
    if let Some(artifacts) = provided {
        return Ok(named(vm, artifacts, &store, &work));
    }
    let (output, progress): (_, &mut dyn Progress) = match io::stderr().is_terminal() {
        true => (BuildOutput::Progress, &mut PrintedProgress::default()),
        false => (BuildOutput::Errors, &mut Silent),
    };
    let vms = VmPlaces {
        vms: vec![vm.clone()],
        qemu: qemu.clone(),
        all: false,
    };
    let places = vm_places_in(target, &vms, &store, output, progress)?;
    places.into_iter().next().context("no place was provided")
}

/// Finds artifacts that were provided before with this choice of a QEMU and the current agent and lock file.
fn provided(
    name: &str,
    qemu: &QemuChoice,
    work: &WorkFolder,
    store: &Store,
    lock_file: &Path,
) -> Option<VmArtifacts> {
    let artifacts = VmArtifacts::find(work, name).ok()?;
    let agent = fs::read(agent::path(store).ok()?).ok()?;
    let digest = store::hex(&Sha256::digest(agent));
    let changed = |file: &Path| file.metadata().and_then(|data| data.modified()).ok();
    // `None`, for a file that is not there, is less than a time.
    let is_newer = changed(&VmArtifacts::list_of(work, name)) > changed(lock_file);
    let is_same = digest == artifacts.manifest.guest.agent_sha256 && artifacts.has_choice(qemu);
    (is_same && is_newer).then_some(artifacts)
}

/// Returns the VMs, each once, and prints which ones are the default set.
///
/// # Errors
/// If the archive cannot be read, or has no kernel.
pub(super) fn choices(
    vms: &VmPlaces,
    lock: &StoreLock,
    progress: &mut dyn Progress,
) -> Result<Vec<VmChoice>> {
    let mut choices = Vec::new();
    if vms.all {
        let kernels = guest_vm::artifacts::kernels(lock, false, progress)?;
        choices.extend(kernels.default_set().into_iter().map(VmChoice::from));
        ensure!(
            !choices.is_empty(),
            "the archive has no kernel that `all` could stand for; name a Debian archive in KATA_TEST_ARCHIVE"
        );
        progress.noted(&offers::all(&kernels));
    }
    for choice in &vms.vms {
        if !choices.contains(choice) {
            choices.push(choice.clone());
        }
    }
    Ok(choices)
}
