//! Running cargo.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use guest_vm::process::{BoundedCommand, CommandError};
pub use kata_test_runner::cargo;
use serde_json::Value;

/// The time limit for commands that build nothing.
const QUERY_DEADLINE: Duration = Duration::from_secs(2 * 60);

/// Runs a command with inherited output.
///
/// # Errors
/// If it fails, or cannot be run.
pub fn must_pass(command: &mut Command, what: &str) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {what}"))?;
    ensure!(status.success(), "{what} failed with {status}");
    Ok(())
}

/// Runs a build of one executable and returns the executable's path. Cargo prints its progress.
///
/// # Errors
/// If the build fails.
pub fn executable(command: &mut Command) -> Result<PathBuf> {
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "cargo failed with {}",
        output.status
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    match messages.lines().filter_map(executable_in).next_back() {
        Some(executable) => Ok(executable),
        None => bail!("cargo built no executable"),
    }
}

/// Returns the workspace's target directory, as `cargo metadata` reports it.
///
/// # Errors
/// If there is no workspace, or cargo cannot be run.
pub fn target_directory() -> Result<PathBuf> {
    let metadata = metadata()?;
    let directory = metadata["target_directory"].as_str();
    Ok(directory
        .context("cargo metadata reports no target directory")?
        .into())
}

/// Returns the workspace's folder, as `cargo metadata` reports it.
///
/// # Errors
/// If there is no workspace, or cargo cannot be run.
pub fn workspace_root() -> Result<PathBuf> {
    let metadata = metadata()?;
    let root = metadata["workspace_root"].as_str();
    Ok(root.context("cargo metadata reports no workspace")?.into())
}

/// Returns the manifests of the workspace's packages, as `cargo metadata` reports them.
///
/// # Errors
/// If there is no workspace, or cargo cannot be run.
pub fn manifests() -> Result<Vec<PathBuf>> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array();
    let packages = packages.context("cargo metadata reports no packages")?;
    let manifest = |package: &Value| package["manifest_path"].as_str().map(PathBuf::from);
    Ok(packages.iter().filter_map(manifest).collect())
}

fn metadata() -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps"]);
    let metadata = query("cargo metadata", command)?;
    serde_json::from_str(&metadata).context("cargo metadata printed invalid JSON")
}

/// Runs a command that builds nothing, and returns its output.
pub(super) fn query(what: &str, command: Command) -> Result<String, CommandError> {
    let run = BoundedCommand {
        what,
        command,
        deadline: QUERY_DEADLINE,
        input: b"",
    };
    let mut output = String::new();
    run.succeed(|line| output.push_str(line))?;
    Ok(output)
}

/// Returns the executable's path if one of cargo's messages has one.
fn executable_in(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_read_from_cargos_messages() {
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
    fn the_target_directory_contains_this_executable() {
        let directory = target_directory().unwrap();
        assert!(std::env::current_exe().unwrap().starts_with(directory));
    }
}
