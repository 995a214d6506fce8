//! Everything that a guest is booted from: QEMU, a kernel, our agent, and the image of both.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use iothread_it::artifacts::{Manifest, Progress, QemuChoice, Run, Store};
use serde_json::Value;

/// The only target of the agent, and so of a host that can run it.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Ample for one small program on a busy machine.
const BUILD_DEADLINE: Duration = Duration::from_secs(15 * 60);
const QUERY_DEADLINE: Duration = Duration::from_secs(2 * 60);

/// Provides what is missing, and writes down in the manifest what a VM is started from.
///
/// Nothing that is there and whole is made again, so without changes this takes a fraction of a
/// second and no network.
pub(crate) fn provision(choice: &QemuChoice, progress: &mut dyn Progress) -> Result<Manifest> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "guests are booted on x86_64 Linux only, and this is {} {}",
        std::env::consts::ARCH,
        std::env::consts::OS,
    );
    let target = target_directory()?;
    let agent = build_agent(&target, progress)?;
    let store = Store::in_target(&target);
    let lock = store.lock(progress)?;
    let (qemu, kernel) = iothread_it::artifacts::provision(choice, &lock, progress)?;
    let image = store
        .base()
        .join("images")
        .join(format!("initramfs-{}", kernel.release));
    let guest = iothread_it::guest::image::build(&agent, &kernel, &image)?;
    let manifest = Manifest { qemu, guest };
    manifest.write(&Manifest::path_in(&target))?;
    Ok(manifest)
}

/// Runs cargo on this workspace, with each line of its output given to `on_line`.
fn cargo(
    args: &[&str],
    deadline: Duration,
    set_up: impl FnOnce(&mut Command),
    on_line: impl FnMut(&str),
) -> Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut command = Command::new(program);
    // In the caller's own directory, which a relative `CARGO_TARGET_DIR` is meant from.
    command.args(args).arg("--manifest-path").arg(manifest);
    set_up(&mut command);
    let what = format!("cargo {}", args.first().unwrap_or(&""));
    let run = Run {
        what: &what,
        command,
        deadline,
        input: b"",
    };
    run.succeed(on_line)?;
    Ok(())
}

/// Asks cargo where it builds, since a variable or a configuration may have moved it.
fn target_directory() -> Result<PathBuf> {
    let mut metadata = String::new();
    let args = ["metadata", "--format-version", "1", "--no-deps"];
    cargo(
        &args,
        QUERY_DEADLINE,
        |_| {},
        |line| metadata.push_str(line),
    )?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is no JSON")?;
    let directory = metadata["target_directory"].as_str();
    Ok(directory
        .context("cargo metadata names no target directory")?
        .into())
}

/// Builds the agent as a static program, apart from everything else.
fn build_agent(target: &Path, progress: &mut dyn Progress) -> Result<PathBuf> {
    // A directory of its own, so that its flags do not make cargo build the workspace anew.
    let directory = Store::in_target(target).base().join("agent");
    let args = [
        "build",
        "--package=iothread-it-agent",
        "--bin=iothread-it-agent",
        "--profile=agent",
        "--message-format=json-render-diagnostics",
        "--target",
        TARGET,
    ];
    let set_up = |command: &mut Command| {
        command.arg("--target-dir").arg(&directory);
        // Flags from outside would take the place of ours, or ask for a sanitizer, or for coverage.
        command.env_remove("RUSTFLAGS");
        command.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    };
    let mut executable = None;
    progress.started("building the guest agent");
    let result = cargo(&args, BUILD_DEADLINE, set_up, |line| {
        executable = executable_in(line).or(executable.take());
    });
    progress.finished();
    result.context("the guest agent cannot be built")?;
    match executable {
        Some(executable) => Ok(executable),
        None => bail!("cargo built the guest agent but names no executable"),
    }
}

/// Takes the executable's path out of one of cargo's messages, if it is about one.
fn executable_in(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    //! **Scope**: cargo's messages; the rest is shown by the commands that boot a guest.

    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let artifact = r#"{"reason":"compiler-artifact","executable":"/t/agent"}"#;
        assert_eq!(executable_in(artifact), Some("/t/agent".into()));
        let others = [
            r#"{"reason":"compiler-artifact","executable":null}"#,
            "{}",
            "warning",
            "",
        ];
        for other in others {
            assert_eq!(executable_in(other), None, "{other}");
        }
    }

    #[test]
    fn cargo_says_where_it_builds() {
        let directory = target_directory().unwrap();
        assert!(std::env::current_exe().unwrap().starts_with(directory));
    }
}
