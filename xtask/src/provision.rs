//! Everything that a guest is booted from: QEMU, a kernel, our agent, and the image of both.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use iothread_it::artifacts::{Manifest, Progress, QemuChoice, Store};
use iothread_it::guest;

use crate::cargo;
use crate::progress::Shown;

/// The only target of the agent, and so of a host that can run it.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Provides what is missing, and writes down in the manifest what a VM is started from.
///
/// Nothing that is there and whole is made again, so without changes this takes a fraction of a
/// second and no network.
pub(crate) fn provision(choice: &QemuChoice) -> Result<Manifest> {
    let progress: &mut dyn Progress = &mut Shown::new();
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
    let (qemu, kernel) = iothread_it::artifacts::provision(choice, &lock, progress)?;
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

/// Builds the agent as a static program, apart from everything else.
fn build_agent(target: &Path) -> Result<PathBuf> {
    // A directory of its own, so that its flags do not make cargo build the workspace anew.
    let directory = Store::in_target(target).base().join("agent");
    let mut command = cargo::cargo();
    command
        .args(["build", "--package=iothread-it-agent", "--bin=iothread-it-agent"])
        .args(["--profile=agent", "--target", TARGET])
        .arg("--target-dir")
        .arg(&directory)
        // Flags from outside would take the place of ours, or ask for a sanitizer, or for coverage.
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo::executable(&mut command).context("the guest agent cannot be built")
}
