//! Provides the artifacts that VMs are booted from: QEMU, a kernel, the guest agent and the boot image.

use std::path::{Path, PathBuf};

use crate::place::{VmArtifacts, VmPlace};
use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::{Manifest, Progress, QemuChoice, Store};
use guest_vm::guest;

use super::cargo;
use super::progress::PrintedProgress;

/// The target of the guest agent.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A profile for small size: an emulated CPU unpacks the agent with the boot image.
const PROFILE: [&str; 6] = [
    "profile.agent.inherits=\"release\"",
    "profile.agent.opt-level=\"s\"",
    "profile.agent.lto=true",
    "profile.agent.codegen-units=1",
    "profile.agent.panic=\"abort\"",
    "profile.agent.strip=true",
];

/// Provides the artifacts of a VM and writes their manifest to the target directory.
///
/// Artifacts that exist and are complete are reused: if nothing changed, this takes a fraction of a
/// second and no network.
///
/// # Errors
/// If the agent cannot be built, or QEMU or a kernel cannot be fetched.
pub fn provision(choice: &QemuChoice) -> Result<Manifest> {
    let progress: &mut dyn Progress = &mut PrintedProgress::default();
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "VMs need an x86_64 Linux host; this is {} {}",
        std::env::consts::ARCH,
        std::env::consts::OS,
    );
    let target = cargo::target_directory()?;
    let agent = build_agent(&target)?;
    let store = Store::in_target(&target);
    let lock = store.lock(progress)?;
    let (qemu, kernel) = guest_vm::artifacts::provision(choice, &lock, progress)?;
    let images = store.base().join("images");
    let file = |name: &str| images.join(format!("{name}-{}", kernel.release));
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
    Ok(manifest)
}

/// Provides VM places with the kernels of these suites.
///
/// # Errors
/// If the agent cannot be built, or QEMU or a kernel cannot be fetched.
pub fn vm_places(suites: &[&str]) -> Result<Vec<VmPlace>> {
    let progress: &mut dyn Progress = &mut PrintedProgress::default();
    let target = cargo::target_directory()?;
    let agent = build_agent(&target)?;
    let store = Store::in_target(&target);
    let lock = store.lock(progress)?;
    let qemu = guest_vm::artifacts::provision_qemu(&QemuChoice::Auto, &lock, progress)?;
    let place = |suite: &&str| {
        let artifacts = VmArtifacts::provide(suite, &qemu, &agent, &lock, progress)?;
        Ok(VmPlace::of_suite(suite, artifacts, &store))
    };
    suites.iter().map(place).collect()
}

/// Builds the guest agent as a static program, from the sources of its package.
fn build_agent(target: &Path) -> Result<PathBuf> {
    // A target directory of its own: its flags would make cargo rebuild the workspace.
    let directory = Store::in_target(target).base().join("agent");
    let manifest = Path::new(guest_agent::SOURCES).join("Cargo.toml");
    ensure!(
        manifest.is_file(),
        "cannot find the sources of the guest agent in {}; reinstall cargo-kata-test",
        guest_agent::SOURCES
    );
    let mut command = cargo::cargo();
    command
        .args(["build", "--bin=guest-agent", "--manifest-path"])
        .arg(manifest)
        .args(PROFILE.map(|setting| format!("--config={setting}")))
        .args(["--profile=agent", "--target", TARGET])
        .arg("--target-dir")
        .arg(&directory)
        // The caller's flags may enable a sanitizer or coverage, or replace these.
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo::executable(&mut command).context("cannot build the guest agent")
}
