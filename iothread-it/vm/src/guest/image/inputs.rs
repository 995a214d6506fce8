//! What an image was made from, noted beside it, so that it is made again only if that changes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::artifacts::FileState;

/// The layout of the image; another one is made anew.
const LAYOUT: u32 = 3;

/// The note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inputs {
    layout: u32,
    /// The agent, by content: it is small, and a new build of the same source changes nothing.
    agent_sha256: String,
    /// Which modules were asked for.
    wanted: Vec<String>,
    /// The module directory and the files in it that were read.
    modules: PathBuf,
    files: Vec<FileState>,
    image_sha256: String,
}

/// What an image is to be made from.
pub(super) struct Wanted<'a> {
    pub(super) agent_sha256: &'a str,
    pub(super) modules: &'a Path,
    pub(super) names: &'a [&'a str],
}

impl Inputs {
    /// Describes an image that has just been made.
    pub(super) fn of(wanted: &Wanted<'_>, read: &[PathBuf], image_sha256: String) -> Self {
        Self {
            layout: LAYOUT,
            agent_sha256: wanted.agent_sha256.to_owned(),
            wanted: wanted.names.iter().map(|&name| name.to_owned()).collect(),
            modules: wanted.modules.into(),
            // A file that is gone already leaves a note that never fits again, which is right.
            files: read
                .iter()
                .filter_map(|path| FileState::of(path).ok())
                .collect(),
            image_sha256,
        }
    }

    /// Whether an image with this note is what would be made now.
    pub(super) fn fit(&self, wanted: &Wanted<'_>, image_sha256: &str) -> bool {
        self.layout == LAYOUT
            && self.agent_sha256 == wanted.agent_sha256
            && self.wanted == wanted.names
            && self.modules == wanted.modules
            && self.image_sha256 == image_sha256
            && self.files.iter().all(FileState::still_holds)
    }
}
