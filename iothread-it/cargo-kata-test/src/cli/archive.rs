//! `cargo kata-test archive`: packs the built tests for other machines, with nextest. Each machine runs a
//! shard, and `report --merge` merges the records.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::build::Build;
use super::cargo;

/// Options of the command.
#[derive(Clone, Default, clap::Args)]
pub struct Options {
    /// The test binaries.
    #[command(flatten)]
    pub build: Build,

    /// The archive's path. Default: `kata-test/tests.tar.zst` in the target directory.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Further arguments for `cargo nextest archive`, such as `-- --test integration`.
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Runs the command.
///
/// # Errors
/// If nextest is not installed, or cannot build or pack the tests.
pub fn run(options: &Options) -> Result<ExitCode> {
    require_nextest()?;
    let out = match &options.out {
        Some(out) => std::path::absolute(out)?,
        None => options
            .build
            .workspace()?
            .target
            .join("kata-test/tests.tar.zst"),
    };
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut archive = cargo::cargo();
    archive
        .args(["nextest", "archive", "--archive-file"])
        .arg(&out)
        .args(options.build.nextest_arguments())
        .args(&options.arguments);
    cargo::must_pass(&mut archive, "cargo nextest archive")?;
    let out = out.display();
    println!(
        "archive: {out}\n\
         on each machine, in a checkout of this workspace, with a unique NAME and shard number M of N:\n  \
         KATA_TEST_RECORD_DIR=$PWD/records/NAME cargo nextest run --archive-file {out} \\\n      \
         --workspace-remap . --no-fail-fast --no-tests pass --partition hash:M/N\n\
         then, with the records of all machines in one folder:\n  \
         report --merge records"
    );
    Ok(ExitCode::SUCCESS)
}

fn require_nextest() -> Result<()> {
    let mut command = cargo::cargo();
    command.args(["nextest", "--version"]);
    if let Err(error) = cargo::query("cargo nextest --version", command) {
        bail!(
            "cannot run cargo-nextest, which packs the tests: {error}; \
             install it with `cargo install --locked cargo-nextest`"
        );
    }
    Ok(())
}
