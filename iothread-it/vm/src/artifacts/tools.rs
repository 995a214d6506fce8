//! A shell and the usual tools for guests: one static program that is many, from the package `busybox-static`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::apt::{AptError, PackageSet, ensure};
use super::progress::Progress;
use super::store::StoreLock;
use crate::process::{BoundedCommand, CommandError};

/// How long the program may run to list its names.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// The paths of the program in packages.
const PROGRAMS: [&str; 2] = ["bin/busybox", "usr/bin/busybox"];

const TOOLS: PackageSet = PackageSet {
    name: "tools",
    candidates: &["busybox-static"],
    needs: |package| package.name() == "busybox-static",
    check: |root| Ok(Tools::below(root)?.names.len().to_string()),
};

/// Why the tools cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolsError {
    /// A file is missing in the package.
    #[error("the package busybox-static contains no busybox")]
    Lacks,
    /// The program failed.
    #[error("the unpacked busybox failed")]
    Fails(#[from] CommandError),
}

/// A shell and the usual tools.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The static program.
    pub program: PathBuf,
    /// The paths that it is found at, relative to the root: `bin/sh`.
    pub names: Vec<String>,
}

impl Tools {
    fn below(root: &Path) -> Result<Self, ToolsError> {
        let mut paths = PROGRAMS.iter().map(|path| root.join(path));
        let program = paths.find(|path| path.is_file()).ok_or(ToolsError::Lacks)?;
        let mut command = Command::new(&program);
        command.arg("--list-full");
        let list = BoundedCommand::new("busybox --list-full", command, LIST_TIMEOUT);
        let mut names = Vec::new();
        list.succeed(|line| names.push(line.trim_start_matches('/').to_owned()))?;
        Ok(Self { program, names })
    }
}

/// Provides the tools of the host's release. `None` if they cannot be had, which is noted: most tests need none.
pub fn provision_tools(lock: &StoreLock, progress: &mut dyn Progress) -> Option<Tools> {
    let mut provide = || -> Result<Tools, AptError> {
        Ok(Tools::below(&ensure(lock, None, &TOOLS, progress)?.root)?)
    };
    match provide() {
        Ok(tools) => Some(tools),
        Err(error) => {
            let why = super::with_causes(&error);
            progress.noted(&format!("guests have no shell and no tools: {why}"));
            None
        }
    }
}
