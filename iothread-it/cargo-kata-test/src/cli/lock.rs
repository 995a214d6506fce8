//! `cargo kata-test lock`: pins the packages of QEMU and kernels to the archive's current versions.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use guest_vm::artifacts::{PackageSource, Store, kernels, provision_packages};
use kata_test_runner::Config;

use super::places::PlaceOptions;
use super::progress::PrintedProgress;
use super::vm_choice::VmKernel;
use super::{provision, store};

/// Options of the command.
#[derive(Clone, clap::Args)]
pub struct Options {
    /// The places whose kernels are pinned. Default: all VMs.
    #[command(flatten)]
    places: PlaceOptions,
}

/// Runs the command: fetches the newest packages and writes their versions and hashes.
///
/// # Errors
/// If packages cannot be fetched, or the file cannot be written.
pub fn run(options: &Options) -> Result<ExitCode> {
    let root = super::cargo::workspace_root()?;
    let config = Config::load(&root)?;
    let mut places = options.places.with_config(&config, &root)?;
    places.default_to_all();
    let vms = places.vms();
    ensure!(
        !vms.is_empty(),
        "`--places` names no VM, so there is nothing to pin"
    );
    let source = PackageSource {
        archive: store::archive(&root)?,
        fresh: true,
        ..PackageSource::default()
    };
    let progress = &mut PrintedProgress::default();
    let lock = Store::of_user()?.with_source(source).lock(progress)?;
    kernels(&lock, true, progress)?;
    let qemu = vms.qemu.clone();
    let vms = provision::choices(&vms, &lock, progress)?.into_iter();
    let choices = vms.filter_map(|vm| match vm.kernel {
        VmKernel::Archive(choice) => Some(choice),
        VmKernel::Own(_) => None,
    });
    let choices: Vec<_> = choices.collect();
    let pins = provision_packages(&qemu, &choices, &lock, progress)?;
    let path = store::lock_file()?;
    pins.write(&path)?;
    for line in pins.summary() {
        println!("{line}");
    }
    println!("wrote {}", path.display());
    Ok(ExitCode::SUCCESS)
}
