//! `cargo kata-test lock`: pins the packages of QEMU and kernels to the archive's current versions.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use guest_vm::artifacts::{PackageSource, Store, provision_packages};

use super::places::PlaceOptions;
use super::progress::PrintedProgress;
use super::store;

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
    let mut places = options.places.clone();
    places.default_to_all();
    let suites = places.suites();
    ensure!(
        !suites.is_empty(),
        "`--places` names no VM, so there is nothing to pin"
    );
    let source = PackageSource {
        archive: store::archive(&super::cargo::workspace_root()?)?,
        fresh: true,
        ..PackageSource::default()
    };
    let lock = Store::of_user()?
        .with_source(source)
        .lock(&mut PrintedProgress::default())?;
    let pins = provision_packages(&suites, &lock, &mut PrintedProgress::default())?;
    let path = store::lock_file()?;
    pins.write(&path)?;
    for line in pins.summary() {
        println!("{line}");
    }
    println!("wrote {}", path.display());
    Ok(ExitCode::SUCCESS)
}
