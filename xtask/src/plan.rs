//! `cargo xtask plan`: lists which test `cargo xtask test` would run in which place.

use std::process::ExitCode;

use anyhow::Result;
use cargo_kata_test::cli::plan::{self, Options};

use crate::test::prepare;

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut options = options.clone();
    options.build.enable_all_features();
    options.places.default_to_all();
    let suite = prepare(&options.places.qemu(), options.build.is_offline())?;
    plan::run(&options, &[suite])
}
