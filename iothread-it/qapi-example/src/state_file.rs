//! The file that a manager goes on from after it was killed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use iothread_hotplug::Saved;

/// A file that has the newest state, whole.
#[derive(Debug, Clone)]
pub(crate) struct StateFile(PathBuf);

impl StateFile {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns the state, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Saved>> {
        let text = match std::fs::read(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| self.describe())?,
        };
        let saved = serde_json::from_slice(&text).with_context(|| self.describe())?;
        Ok(Some(saved))
    }

    /// Replaces the state. It need not survive a crash of the host, which QEMU does not survive either.
    pub(crate) fn write(&self, state: &Saved) -> std::io::Result<()> {
        let new = self.0.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(state)?)?;
        std::fs::rename(&new, &self.0)
    }

    fn describe(&self) -> String {
        format!("cannot read the state in {}", Path::display(&self.0))
    }
}
