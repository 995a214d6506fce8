//! VMs as places, with real test binaries: what becomes of tests that need another machine, and of
//! those that take it with them.
//!
//! What VMs are made of has to be there: `cargo xtask plan --places all` provides it.

mod commands;
mod disasters;
mod example;
mod hostile;
mod kills;
mod signals;
mod stage;
mod sudo;
mod workspace;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_kata_test::place::{SUITES, Supply, VmPlace};
use guest_vm::artifacts::Store;
use guest_vm::scratch::ScratchDir;
use guest_vm::warm::WarmStore;
use kata_test::Verdict;
use kata_test_runner::{Binary, Outcome, Record, Workspace};

/// Whether there is what VMs with every suite's kernel are made of.
fn supplied() -> Verdict {
    const SOURCE: &str = "target/iothread-it/places";
    let found = Store::find()
        .map_err(|error| error.to_string())
        .and_then(|store| {
            let find =
                |suite: &&str| Supply::find(&store, suite).map_err(|error| error.to_string());
            SUITES.iter().map(find).collect::<Result<Vec<_>, _>>()
        });
    match found {
        Ok(_) => Verdict::met("all suites are provided", SOURCE),
        Err(error) => Verdict::unmet(error, SOURCE),
    }
}

/// A folder for records and disks, the user's own.
fn folder() -> Result<ScratchDir> {
    Ok(ScratchDir::new_in(&room(nix::unistd::geteuid()))?)
}

/// Where a user has such folders. Whoever is not the owner of the target directory needs somebody to
/// make it.
fn room(user: nix::unistd::Uid) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("places-{user}"))
}

/// The place with a suite's kernel, with its disks below `folder`. Whoever cannot use the store's own
/// templates has others.
fn place(suite: &str, folder: &ScratchDir) -> Result<VmPlace> {
    let store = Store::find()?;
    let supply = Supply::find(&store, suite)?;
    let warm = match nix::unistd::geteuid().is_root() {
        true => WarmStore::of(&store),
        false => WarmStore::at(room(nix::unistd::geteuid()).join("warm")),
    };
    let scratch = folder.path().join("disks");
    Ok(VmPlace::new(&format!("vm:{suite}"), supply, warm, scratch))
}

/// Has cargo build a test target, in the package of this folder.
fn build(package: PathBuf, target: &str) -> Result<Binary> {
    std::env::set_current_dir(package)?;
    let workspace = Workspace::here()?;
    let binaries = workspace.test_binaries(&["--test", target].map(Into::into))?;
    binaries.into_iter().next().context("cargo builds one")
}

fn outcome<'a>(outcomes: &'a [Record], test: &str) -> &'a Record {
    let found = outcomes.iter().find(|outcome| outcome.test == test);
    found.unwrap_or_else(|| panic!("nothing is known of {test}: {outcomes:#?}"))
}

fn kind(outcomes: &[Record], test: &str) -> Outcome {
    outcome(outcomes, test).outcome
}

kata_test::main!();
