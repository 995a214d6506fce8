//! A test binary, as cargo built it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Excludes, Secrets};

/// A test binary and what it is to be run with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binary {
    /// Its id, in nextest's form: `pkg::it`.
    pub id: String,
    /// The executable.
    pub executable: PathBuf,
    /// The folder of its package, in which it runs.
    pub folder: PathBuf,
    /// Other executables that it may start: the programs of its package.
    pub programs: Vec<PathBuf>,
    /// Whether its harness is Rust's own: its target does not have `harness = false`.
    pub has_libtest: bool,
    /// The files of its package that tests in VMs do not need.
    pub excludes: Excludes,
    /// The variables that tests in VMs do not get.
    pub secrets: Secrets,
    /// The questions that the requirements of its plain tests lead to, such as `module dummy`. VMs load these
    /// modules.
    pub questions: Vec<String>,
    /// Variables that cargo sets for it, beside those of this process.
    pub env: Vec<(OsString, OsString)>,
}

impl Binary {
    /// Returns a command that runs a program in its folder, with its variables.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Which file this is: another build of it is another.
    pub(super) fn identity(&self) -> String {
        use std::os::unix::fs::MetadataExt;
        let path = self.executable.display();
        match self.executable.metadata() {
            Ok(data) => format!(
                "{path} {} {}.{}",
                data.len(),
                data.mtime(),
                data.mtime_nsec()
            ),
            Err(_) => path.to_string(),
        }
    }
}
