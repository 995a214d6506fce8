//! The commands of `constraints/docs/upkeep.md`, as they are written there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kata_test::kata_test;

use crate::book::{Block, blocks, is_run};
use crate::commands::in_package;
use crate::run::RUNNER;

/// Returns the commands of sections, which must be there.
fn commands(sections: &[&str]) -> Result<Vec<String>> {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../constraints/docs/upkeep.md"
    );
    let page = fs::read_to_string(page)?;
    let mut commands = Vec::new();
    for section in sections {
        let start = format!("## {section}\n");
        let text = page.split_once(&start).context(start.clone())?.1;
        let text = text.split("\n## ").next().unwrap_or_default();
        commands.extend(text.lines().filter_map(|line| line.strip_prefix("$ ")));
    }
    let run = commands.iter().filter(|command| is_run(command));
    Ok(run.map(|command| (*command).to_owned()).collect())
}

/// Makes a workspace with a test, and a folder for PATH with the runner; returns a shell there.
fn shell(folder: &Path) -> Result<Command> {
    fs::create_dir(folder.join("src"))?;
    fs::create_dir(folder.join("bin"))?;
    fs::write(
        folder.join("Cargo.toml"),
        "[workspace]\n[package]\nname = \"new\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    )?;
    fs::write(folder.join("src/lib.rs"), "#[test]\nfn passes() {}\n")?;
    symlink(RUNNER, folder.join("bin/cargo-kata-test"))?;
    let path = std::env::var_os("PATH").context("no PATH")?;
    let first = std::iter::once(folder.join("bin"));
    let path = std::env::join_paths(first.chain(std::env::split_paths(&path)))?;
    let mut command = in_package("sh", folder)?;
    command
        .env("PATH", path)
        .env_remove("CARGO_TARGET_DIR")
        .arg("-euxc");
    Ok(command)
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}{errors}",
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(())
}

#[kata_test]
fn each_command_is_in_a_section_that_is_tested() -> Result<()> {
    let tested = commands(&["Upgrade", "Removal", "Without a network"])?;
    let blocks = blocks("upkeep.md");
    let shown = blocks.iter().flat_map(Block::commands);
    let shown: Vec<&str> = shown.filter(|command| is_run(command)).collect();
    assert_eq!(shown, tested);
    Ok(())
}

#[kata_test(timeout = "2m")]
fn upgrade_and_removal() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut shell = shell(folder.path())?;
    let commands = commands(&["Upgrade", "Removal"])?;
    assert!(commands.len() > 4, "{commands:?}");
    let cache = folder.path().join("cache");
    let records = folder.path().join("target/kata-test");
    for left in [&cache.join("indices/host"), &records] {
        fs::create_dir_all(left)?;
    }
    shell.env("KATA_TEST_CACHE", &cache);
    succeed(shell.arg(commands.join("\n")))?;
    assert!(!cache.exists() && !records.exists(), "something is left");
    Ok(())
}

/// The cache of this user has what the first command fetches.
#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn without_a_network() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut shell = shell(folder.path())?;
    let commands = commands(&["Without a network"])?;
    assert!(commands.len() > 3, "{commands:?}");
    succeed(shell.arg(commands.join("\n")))
}
