//! The commands, in a package outside of this workspace.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use guest_vm::artifacts::CACHE_ENV;
use kata_test::kata_test;
use kata_test_runner::Record;

/// Returns a target directory for other packages, which is kept.
pub(crate) fn target() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("places-packages");
    fs::create_dir_all(&target)?;
    Ok(target)
}

/// Returns a command in another package, without the variables of cargo and of the runner, except the
/// one that names the cache.
pub(crate) fn in_package(program: impl AsRef<OsStr>, package: &Path) -> Result<Command> {
    const OURS: [&str; 5] = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "KATA_TEST_",
        "NEXTEST",
        "RUST_TEST_",
    ];
    let mut command = Command::new(program);
    command
        .current_dir(package)
        .env("CARGO_TARGET_DIR", target()?)
        // Smaller files: the packages are built once, and only a debugger needs more.
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "none")
        .stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text != CACHE_ENV && OURS.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

/// Returns cargo in the example package.
fn cargo() -> Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    in_package(cargo, &example())
}

/// Returns the folder of the package `examples/places`.
pub(crate) fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/places")
}

/// Builds the example's `xtask` and returns its path.
pub(crate) fn xtask() -> Result<PathBuf> {
    let built = cargo()?.args(["build", "--package", "xtask"]).status();
    ensure!(built.context("cargo cannot be run")?.success(), "no xtask");
    Ok(target()?.join("debug/xtask"))
}

/// Reads the outcomes of the last run in [`target`].
pub(crate) fn outcomes() -> Result<Vec<Record>> {
    let path = target()?.join("kata-test/latest/outcomes.jsonl");
    let text = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

/// The commands of the example's README.
#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn the_example_runs_with_its_own_xtask() -> Result<()> {
    let mut arguments = vec!["run", "--package", "xtask", "--", "test", "--places", "all"];
    let mut nowhere = 1;
    // The list was written where there is no KVM.
    if !kata_test::facts::kvm().usable() {
        arguments.extend(["--allow-nowhere", "nowhere.txt"]);
        nowhere = 2;
    }
    let ran = cargo()?.args(&arguments).output()?;
    let output = String::from_utf8_lossy(&ran.stdout);
    println!("{output}{}", String::from_utf8_lossy(&ran.stderr));
    ensure!(ran.status.success(), "it ended with {}", ran.status);
    let outcomes = outcomes()?;
    crate::example::check(&outcomes);
    assert!(output.contains(&format!("{nowhere} nowhere, {} in all", outcomes.len())));
    for place in ["here", "vm:5.10", "vm:6.1", "vm:6.12", "nowhere"] {
        assert!(output.contains(place), "the table has no {place}");
    }
    Ok(())
}
