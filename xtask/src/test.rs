//! `cargo xtask test`: every test of the workspace, in all places. The suite's tests need something
//! to boot, which is provided first.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use cargo_kata_test::cli::test::{self, Options};
use guest_vm::artifacts::{MANIFEST_ENV, Manifest, QemuChoice};

use crate::{cargo, provision};

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut options = options.clone();
    options.build.all_features = true;
    options.places.or_all();
    test::run(&options, &[prepare()?])
}

/// Provides what the suite boots, and returns the variable that names it.
pub(crate) fn prepare() -> Result<(&'static str, OsString)> {
    provision::provision(&QemuChoice::Auto)?;
    let manifest = Manifest::path_in(&cargo::target_directory()?);
    Ok((MANIFEST_ENV, manifest.into_os_string()))
}
