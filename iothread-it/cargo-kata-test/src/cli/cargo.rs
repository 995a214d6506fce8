//! Cargo, as a child.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use guest_vm::process::BoundedCommand;
use serde_json::Value;

/// Ample for a question that needs no build.
pub(super) const QUERY_DEADLINE: Duration = Duration::from_secs(2 * 60);

/// Returns the cargo that runs this program. It works in the caller's directory, which a relative
/// `CARGO_TARGET_DIR` is meant from.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Runs a step with its output on the screen, and fails if it does.
///
/// # Errors
/// If it does, or cannot be run.
pub fn must_pass(command: &mut Command, what: &str) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {what}"))?;
    ensure!(status.success(), "{what} failed with {status}");
    Ok(())
}

/// Runs a build of one executable and returns where that is. Cargo shows its own progress.
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
        None => bail!("cargo names no executable that it built"),
    }
}

/// Asks cargo where it builds, since a variable or a configuration may have moved it.
///
/// # Errors
/// If there is no workspace, or cargo cannot be run.
pub fn target_directory() -> Result<PathBuf> {
    let metadata = metadata()?;
    let directory = metadata["target_directory"].as_str();
    Ok(directory
        .context("cargo metadata names no target directory")?
        .into())
}

/// Asks cargo for the manifests of the workspace's packages.
///
/// # Errors
/// If there is no workspace, or cargo cannot be run.
pub fn manifests() -> Result<Vec<PathBuf>> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array();
    let packages = packages.context("cargo metadata names no packages")?;
    let manifest = |package: &Value| package["manifest_path"].as_str().map(PathBuf::from);
    Ok(packages.iter().filter_map(manifest).collect())
}

fn metadata() -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps"]);
    let run = BoundedCommand {
        what: "cargo metadata",
        command,
        deadline: QUERY_DEADLINE,
        input: b"",
    };
    let mut metadata = String::new();
    run.succeed(|line| metadata.push_str(line))?;
    serde_json::from_str(&metadata).context("cargo metadata is no JSON")
}

/// Takes the executable's path out of one of cargo's messages, if it is about one.
fn executable_in(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
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
