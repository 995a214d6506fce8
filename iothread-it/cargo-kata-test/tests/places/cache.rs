//! The cache that workspaces share: the second one downloads and builds nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use guest_vm::artifacts::CACHE_ENV;
use kata_test::kata_test;

use crate::commands::in_package;
use crate::folder;

const MANIFEST: &str =
    "[workspace]\n[package]\nname = \"empty\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";

/// Makes a workspace without tests.
fn workspace(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("Cargo.toml"), MANIFEST)?;
    fs::write(folder.join("src/lib.rs"), "")?;
    Ok(())
}

/// Returns the command in a workspace with a target directory of its own, where the programs that would
/// fetch or build only write their names to `log`.
fn in_workspace(workspace: &Path, programs: &Path) -> Result<Command> {
    let mut command = in_package(env!("CARGO_BIN_EXE_cargo-kata-test"), workspace)?;
    let path = std::env::var_os("PATH").context("no PATH")?;
    let first = std::iter::once(programs.to_owned());
    let path = std::env::join_paths(first.chain(std::env::split_paths(&path)))?;
    command
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", workspace.join("target"))
        .arg("kata-test");
    Ok(command)
}

/// Makes programs that fail and note that they were called.
fn traps(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for program in ["apt-get", "dpkg-deb"] {
        let path = folder.join(program);
        let log = folder.join("log");
        fs::write(
            &path,
            format!("#!/bin/sh\necho {program} >> '{}'\nexit 1\n", log.display()),
        )?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<(Output, String)> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    let text = text.into_owned();
    Ok((output, text))
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn a_second_workspace_downloads_and_builds_nothing() -> Result<()> {
    let folder = folder()?;
    let programs = folder.path().join("programs");
    traps(&programs)?;
    for (name, arguments) in [("one", &[] as &[&str]), ("two", &["--offline"] as &[&str])] {
        let root = folder.path().join(name);
        workspace(&root)?;
        let mut command = in_workspace(&root, &programs)?;
        command
            .args(["plan", "--places", "vm:bookworm,vm:trixie"])
            .args(arguments);
        let (ended, text) = output(&mut command)?;
        ensure!(ended.status.success(), "{name} ended with {}", ended.status);
        assert!(!text.contains("Compiling guest-agent"), "{text}");
        assert!(
            !programs.join("log").exists(),
            "{}",
            fs::read_to_string(programs.join("log"))?
        );
    }
    Ok(())
}

#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn an_empty_cache_is_an_error_offline_and_nothing_is_fetched() -> Result<()> {
    let folder = folder()?;
    let programs = folder.path().join("programs");
    traps(&programs)?;
    let root = folder.path().join("workspace");
    workspace(&root)?;
    let cache = folder.path().join("cache");
    // The agent is built by cargo, which has its dependencies.
    let real = guest_vm::artifacts::Store::of_user()?;
    fs::create_dir(&cache)?;
    let agents = [real.base().join("agents"), cache.join("agents")];
    let copied = Command::new("cp").arg("-a").args(&agents).status()?;
    ensure!(copied.success(), "cannot copy {agents:?}");
    let mut command = in_workspace(&root, &programs)?;
    command
        .env(CACHE_ENV, &cache)
        .args(["plan", "--places", "vm:bookworm", "--offline"]);
    let (ended, text) = output(&mut command)?;
    assert!(!ended.status.success());
    // A host with QEMU lacks only the kernel.
    let lacks = ["does not have qemu of", "does not know which kernels"];
    assert!(lacks.iter().any(|lack| text.contains(lack)), "{text}");
    assert!(
        text.contains("run the command once without `--offline`"),
        "{text}"
    );
    assert!(!programs.join("log").exists());
    Ok(())
}

/// What others could write may contain anything, and would run as this user.
#[kata_test(when = crate::artifacts_provided, timeout = "10m")]
fn a_cache_that_others_can_write_is_refused() -> Result<()> {
    let folder = folder()?;
    let root = folder.path().join("workspace");
    workspace(&root)?;
    let cache = folder.path().join("cache");
    fs::create_dir(&cache)?;
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777))?;
    for arguments in [
        &["cache"] as &[&str],
        &["plan", "--places", "vm:sid"] as &[&str],
    ] {
        let mut command = in_workspace(&root, folder.path())?;
        command.env(CACHE_ENV, &cache).args(arguments);
        let (ended, text) = output(&mut command)?;
        assert!(!ended.status.success());
        assert!(text.contains("other users can write to"), "{text}");
        assert!(text.contains("`chmod go-w "), "{text}");
    }
    Ok(())
}
