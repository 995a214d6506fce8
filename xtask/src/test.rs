//! `cargo xtask test`: runs the tests of the workspace that the default filter in `.config/kata-test.toml` selects, in
//! all places. QEMU and the guest's kernel, which the suite boots, are provisioned first.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use cargo_kata_test::cli::test::{self, Options};
use guest_vm::artifacts::{MANIFEST_ENV, Manifest, QemuChoice};

use crate::{cargo, provision};

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut options = options.clone();
    options.build.enable_all_features();
    options.places.default_to_all();
    // Many plain tests of this workspace share what they build.
    options.plain.shared_process = true;
    let suite = prepare(&options.places.qemu(), options.build.is_offline())?;
    test::run(&options, &[suite])
}

/// The suite whose kernel headers tests compile a module with.
const HEADERS_SUITE: &str = "bookworm";

/// Provisions what the suite boots and other tests need, and returns the variable that names the manifest.
pub(crate) fn prepare(qemu: &QemuChoice, offline: bool) -> Result<(&'static str, OsString)> {
    provision::provision(qemu, offline)?;
    provision::kernel_headers(HEADERS_SUITE, offline)?;
    let manifest = Manifest::path_in(&cargo::target_directory()?);
    Ok((MANIFEST_ENV, manifest.into_os_string()))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use kata_test_runner::early_returns;

    /// Finds every Rust source below a folder, except target folders and other workspaces.
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_generated = path.ends_with("target") || path.ends_with(".git");
            if path.is_dir() && !is_generated && !path.join("Cargo.lock").exists() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn no_test_of_this_workspace_returns_early() {
        let mut files = Vec::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        sources(root, &mut files);
        assert!(files.iter().any(|file| file.ends_with("xtask/src/test.rs")));
        let found: Vec<String> = files
            .iter()
            .flat_map(|file| early_returns(file).unwrap())
            .map(|found| found.to_string())
            .collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
