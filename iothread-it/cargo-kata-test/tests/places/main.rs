//! VM places with real test binaries: tests that need another machine, and tests that crash it.
//!
//! The tests need the artifacts of all VM places: `cargo xtask plan --places all` provides them.

mod a_terminal;
mod artifacts;
mod blocked;
#[expect(dead_code, reason = "the target `reference` uses the rest")]
#[path = "../pages/mod.rs"]
mod book;
mod cache;
mod commands;
mod coverage;
mod cpu;
mod crashes;
mod debugging_page;
mod doctor;
mod everywhere;
mod example;
mod hostile;
mod isolated_network;
mod kernel_module;
mod kernel_warnings;
mod kills;
mod kvm;
mod own_kernel;
mod own_kernel_page;
mod pages;
mod plain;
mod programs;
mod qemu;
mod requirements;
mod run;
mod runner_process;
mod saved_guests;
mod scratch_package;
mod secrets;
mod shapes;
mod shared;
mod signals;
mod sudo;
mod target_runner;
mod terminal;
mod upkeep;
mod userns;
mod vms;
mod workspace;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_kata_test::place::{VmArtifacts, VmArtifactsError, VmPlace};
use guest_vm::artifacts::{Store, WorkFolder};
use guest_vm::scratch::ScratchDir;
use guest_vm::warm::WarmStore;
use kata_test::Verdict;
use kata_test_runner::{Binary, Outcome, Record, Workspace};

/// The kernels of the places that tests use: those with long-term support, and the newest, whose version
/// the archive decides.
const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", NEWEST];
const NEWEST: &str = "newest";

fn artifacts(work: &WorkFolder, kernel: &str) -> Result<VmArtifacts, VmArtifactsError> {
    match kernel {
        NEWEST => {
            let newest = VmArtifacts::find_all(work)?.pop();
            newest.map_or_else(|| VmArtifacts::find(work, NEWEST), Ok)
        }
        _ => VmArtifacts::find(work, kernel),
    }
}

/// Met if the artifacts of each kernel's VM are provided.
fn artifacts_provided() -> Verdict {
    const SOURCE: &str = "target/kata-test/vm/places";
    let found = WorkFolder::find()
        .map_err(|error| error.to_string())
        .and_then(|work| {
            let find = |kernel: &&str| artifacts(&work, kernel).map_err(|error| error.to_string());
            KERNELS.iter().map(find).collect::<Result<Vec<_>, _>>()
        });
    match found {
        Ok(_) => Verdict::met("artifacts of all kernels", SOURCE),
        Err(error) => Verdict::unmet(error, SOURCE),
    }
}

/// Creates a folder of this user for records and disk images.
fn folder() -> Result<ScratchDir> {
    Ok(ScratchDir::new_in(&user_folder(nix::unistd::geteuid()))?)
}

/// Returns a user's folder for these. If the user does not own the target directory, root creates it.
fn user_folder(user: nix::unistd::Uid) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("places-{user}"))
}

/// Creates the place with a kernel and disk images below `folder`. Users other than root have
/// templates of their own.
fn place(kernel: &str, folder: &ScratchDir) -> Result<VmPlace> {
    let artifacts = artifacts(&shared::work_folder()?, kernel)?;
    let warm = match nix::unistd::geteuid().is_root() {
        true => WarmStore::of(&Store::of_user()?),
        false => WarmStore::at(user_folder(nix::unistd::geteuid()).join("warm")),
    };
    let scratch = folder.path().join("disks");
    Ok(VmPlace::new(
        &format!("vm:{kernel}"),
        artifacts,
        warm,
        scratch,
    ))
}

/// Builds a test target of the package in a folder.
fn build(package: PathBuf, target: &str) -> Result<Binary> {
    std::env::set_current_dir(package)?;
    let workspace = Workspace::here()?;
    let binaries = workspace.test_binaries(&["--test", target].map(Into::into))?;
    binaries
        .into_iter()
        .next()
        .context("cargo built no test binary")
}

fn outcome<'a>(outcomes: &'a [Record], test: &str) -> &'a Record {
    let found = outcomes.iter().find(|outcome| outcome.test == test);
    found.unwrap_or_else(|| panic!("no outcome of {test}: {outcomes:#?}"))
}

fn kind(outcomes: &[Record], test: &str) -> Outcome {
    outcome(outcomes, test).outcome
}

kata_test::main!();
