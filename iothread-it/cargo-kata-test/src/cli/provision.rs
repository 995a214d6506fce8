//! Everything that a guest is booted from: QEMU, a kernel, our agent, and the image of both.

use std::path::{Path, PathBuf};

use crate::place::{Supply, VmPlace};
use anyhow::{Context as _, Result, ensure};
use guest_vm::artifacts::{Manifest, Progress, QemuChoice, Store};
use guest_vm::guest;

use super::cargo;
use super::progress::Shown;

/// The only target of the agent, and so of a host that can run it.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Small, since it travels in the boot image and is unpacked by an emulated CPU.
const PROFILE: [&str; 6] = [
    "profile.agent.inherits=\"release\"",
    "profile.agent.opt-level=\"s\"",
    "profile.agent.lto=true",
    "profile.agent.codegen-units=1",
    "profile.agent.panic=\"abort\"",
    "profile.agent.strip=true",
];

/// Provides what is missing, and writes down in the manifest what a VM is started from.
///
/// Nothing that is there and whole is made again, so without changes this takes a fraction of a
/// second and no network.
///
/// # Errors
/// If the agent cannot be built, or QEMU and a kernel cannot be had.
pub fn provision(choice: &QemuChoice) -> Result<Manifest> {
    let progress: &mut dyn Progress = &mut Shown::default();
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "guests are booted on x86_64 Linux only, and this is {} {}",
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
        Err(why) => progress.noted(&format!("the kernel is booted packed: {why}")),
    }
    let manifest = Manifest { qemu, guest };
    manifest.write(&Manifest::path_in(&target))?;
    Ok(manifest)
}

/// Provides places with the kernels of these suites.
///
/// # Errors
/// If the agent cannot be built, or QEMU and the kernels cannot be had.
pub fn vm_places(suites: &[&str]) -> Result<Vec<VmPlace>> {
    let progress: &mut dyn Progress = &mut Shown::default();
    let target = cargo::target_directory()?;
    let agent = build_agent(&target)?;
    let store = Store::in_target(&target);
    let lock = store.lock(progress)?;
    let qemu = guest_vm::artifacts::provision_qemu(&QemuChoice::Auto, &lock, progress)?;
    let place = |suite: &&str| {
        let supply = Supply::of_suite(suite, &qemu, &agent, &lock, progress)?;
        Ok(VmPlace::of_suite(suite, supply, &store))
    };
    suites.iter().map(place).collect()
}

/// Builds the agent as a static program, apart from everything else.
fn build_agent(target: &Path) -> Result<PathBuf> {
    // A directory of its own, so that its flags do not make cargo build the workspace anew.
    let directory = Store::in_target(target).base().join("agent");
    let manifest = Path::new(guest_agent::SOURCES).join("Cargo.toml");
    ensure!(
        manifest.is_file(),
        "the sources of the guest agent are not in {} any more; install cargo-kata-test again",
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
        // Flags from outside would take the place of ours, or ask for a sanitizer, or for coverage.
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo::executable(&mut command).context("the guest agent cannot be built")
}
