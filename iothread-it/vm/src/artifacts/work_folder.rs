//! The folder of a workspace's VMs in its target directory: manifests, and the disks of running VMs.

use std::path::{Path, PathBuf};

use kata_test_host::sys::target_folder_of;

use super::manifest::ManifestError;

/// A folder for files that are of no use to other workspaces.
#[derive(Debug, Clone)]
pub struct WorkFolder(PathBuf);

impl WorkFolder {
    /// Returns the folder in a target directory of cargo.
    #[must_use]
    pub fn in_target(target: &Path) -> Self {
        Self(target.join("kata-test").join("vm"))
    }

    /// Returns the folder in the target directory of the running executable.
    ///
    /// # Errors
    /// If the executable is not in a target directory.
    pub fn find() -> Result<Self, ManifestError> {
        let executable = std::env::current_exe().map_err(ManifestError::NoExecutable)?;
        Self::of_executable(&executable)
    }

    fn of_executable(executable: &Path) -> Result<Self, ManifestError> {
        let target = target_folder_of(executable)
            .ok_or_else(|| ManifestError::NoTarget(executable.into()))?;
        Ok(Self::in_target(target))
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_directory_is_found_from_a_test_binary() {
        // A directory that existed before cargo has only the second.
        for mark in ["CACHEDIR.TAG", ".rustc_info.json"] {
            let target = tempfile::tempdir().unwrap();
            std::fs::write(target.path().join(mark), "").unwrap();
            let executable = target.path().join("debug/deps/it-0123");
            let found = WorkFolder::of_executable(&executable).unwrap();
            assert_eq!(found.path(), target.path().join("kata-test/vm"));
        }
        assert!(WorkFolder::of_executable(Path::new("/usr/bin/it")).is_err());
    }
}
