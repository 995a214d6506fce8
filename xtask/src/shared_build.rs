//! A check that the build of this program and that of all tests share what they depend on: a package is compiled
//! once only if it has the same features in both.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use cargo_kata_test::cli::cargo;

#[test]
fn this_program_and_the_tests_share_their_dependencies() -> Result<()> {
    share("normal,no-proc-macro", "normal,dev,no-proc-macro")
}

#[test]
fn they_share_procedural_macros_and_build_scripts_too() -> Result<()> {
    share("normal,build", "normal,build,dev")
}

/// Compares the packages that these edges of cargo's tree lead to.
fn share(edges: &str, edges_of_tests: &str) -> Result<()> {
    let tests = packages(&["--workspace", "--all-features", "--edges", edges_of_tests])?;
    let ours = packages(&["--package=xtask", "--edges", edges])?;
    ensure!(ours.len() > 50, "cargo tree lists only {ours:?}");
    let others: Vec<_> = ours.difference(&tests).map(String::as_str).collect();
    ensure!(
        others.is_empty(),
        "these packages have other features in a build of all tests, which compiles them again; name those features \
         in xtask/Cargo.toml:\n{}",
        others.join("\n")
    );
    Ok(())
}

/// Returns the packages that a build needs, each with its features.
fn packages(build: &[&str]) -> Result<BTreeSet<String>> {
    let mut tree = cargo::cargo();
    tree.args(["tree", "--quiet", "--locked", "--prefix=none"]);
    tree.args(["--format={p} [{f}]"]).args(build);
    let output = tree.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo tree failed: {errors}");
    let lines = String::from_utf8(output.stdout)?;
    // The mark of a package that was listed already.
    let packages = lines.lines().map(|line| line.trim_end_matches(" (*)"));
    Ok(packages.map(str::to_owned).collect())
}
