//! The option `--qemu`: another QEMU is another VM.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use kata_test::kata_test;

use crate::commands::in_package;
use crate::run::RUNNER;
use crate::{artifacts, folder, shared};

/// Makes a program that notes that it was started, and becomes the QEMU of the provided places.
fn noting_qemu(folder: &Path) -> Result<()> {
    let qemu = artifacts(&shared::work_folder()?, "6.1")?.manifest.qemu;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut script = "#!/bin/sh\n".to_owned();
    for (name, value) in &qemu.env {
        script += &format!("export {name}={}\n", quoted(value));
    }
    // The version is asked before each use.
    script += "case \"$*\" in *-version*) ;; *) echo started >> \"${0%/*}/log\" ;; esac\nexec";
    let program = qemu.program.to_str().context("a path is not UTF-8")?;
    for word in std::iter::once(program).chain(qemu.prefix_args.iter().map(String::as_str)) {
        script += &format!(" {}", quoted(word));
    }
    let path = folder.join("qemu");
    fs::write(&path, script + " \"$@\"\n")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Runs a program in a VM, and returns how often the noting QEMU has started since.
fn starts(folder: &Path, options: &[&str]) -> Result<usize> {
    let output = in_package(RUNNER, folder)?
        .args(["run", "--offline", "--place", "vm:6.1"])
        .args(options)
        .args(["--", "true"])
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{options:?}: {stderr}");
    let log = folder.join("log");
    let started = fs::read_to_string(&log).unwrap_or_default().lines().count();
    let _ = fs::remove_file(log);
    Ok(started)
}

#[kata_test(when = crate::artifacts_provided, serial = "places-packages", timeout = "15m")]
fn each_choice_of_a_qemu_has_its_own_vm() -> Result<()> {
    let folder = folder()?;
    let folder = folder.path();
    fs::write(folder.join("Cargo.toml"), "[package]\n")?;
    fs::write(folder.join("Cargo.lock"), "")?;
    noting_qemu(folder)?;
    assert_eq!(
        starts(folder, &[])?,
        0,
        "the QEMU of the packages is the default"
    );
    let own = ["--qemu", "./qemu"];
    let first = starts(folder, &own)?;
    assert!(first > 0, "another QEMU, or the template of another one");
    assert!(starts(folder, &own)? > 0, "the template needs no QEMU");
    assert_eq!(
        starts(folder, &[])?,
        0,
        "the last choice is taken for the default"
    );
    fs::create_dir(folder.join(".config"))?;
    fs::write(
        folder.join(".config/kata-test.toml"),
        "[vms]\nqemu = './qemu'\n",
    )?;
    assert!(starts(folder, &[])? > 0, "the configuration is not read");
    assert_eq!(
        starts(folder, &["--qemu", "auto"])?,
        0,
        "the option is last"
    );
    Ok(())
}
