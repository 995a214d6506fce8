//! The inputs of a boot image, stored beside it: it is rebuilt only if one of them changes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::artifacts::FileState;

/// Version of the layout. Images of another version are rebuilt.
const LAYOUT: u32 = 3;

/// The inputs and the hash of an existing image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inputs {
    layout: u32,
    /// The hash of the agent. A rebuild of the same source does not change it.
    agent_sha256: String,
    /// The requested modules.
    wanted: Vec<String>,
    /// The module directory, and the files that were read from it.
    modules: PathBuf,
    files: Vec<FileState>,
    image_sha256: String,
}

/// The requested inputs of an image.
pub(super) struct Wanted<'a> {
    pub(super) agent_sha256: &'a str,
    pub(super) modules: &'a Path,
    pub(super) names: &'a [&'a str],
}

impl Inputs {
    /// Describes an image that was just built.
    pub(super) fn of(wanted: &Wanted<'_>, read: &[PathBuf], image_sha256: String) -> Self {
        Self {
            layout: LAYOUT,
            agent_sha256: wanted.agent_sha256.to_owned(),
            wanted: wanted.names.iter().map(|&name| name.to_owned()).collect(),
            modules: wanted.modules.into(),
            // Without the state of a file that has vanished, the note never matches again.
            files: read
                .iter()
                .filter_map(|path| FileState::of(path).ok())
                .collect(),
            image_sha256,
        }
    }

    /// Returns whether a build would make the same image.
    pub(super) fn fit(&self, wanted: &Wanted<'_>, image_sha256: &str) -> bool {
        self.layout == LAYOUT
            && self.agent_sha256 == wanted.agent_sha256
            && self.wanted == wanted.names
            && self.modules == wanted.modules
            && self.image_sha256 == image_sha256
            && self.files.iter().all(FileState::is_unchanged)
    }
}
