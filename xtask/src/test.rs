//! `cargo xtask test`: the suite's tests need something to boot, which is provided first.

use std::process::ExitCode;

use anyhow::Result;
use iothread_it::artifacts::{MANIFEST_ENV, Manifest, QemuChoice};
use iothread_it::cli::test::{self, Options};

use crate::{cargo, provision};

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut options = options.clone();
    options.build.all_features = true;
    provision::provision(&QemuChoice::Auto)?;
    let manifest = Manifest::path_in(&cargo::target_directory()?);
    test::run(&options, &[(MANIFEST_ENV, manifest.into_os_string())])
}
