//! Files that are built from other files, and rebuilt only if one of them changes.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::artifacts::{FileState, write_atomically};

/// What a file was built from, stored beside it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note<K> {
    /// Everything that determines the content, except the content of the inputs.
    key: K,
    inputs: Vec<FileState>,
    output: FileState,
}

/// Returns whether `out` was built with this key, and neither its inputs nor `out` have changed since.
pub(super) fn is_current<K: DeserializeOwned + PartialEq>(out: &Path, key: &K) -> bool {
    let note = std::fs::read(note_path(out)).ok();
    let note = note.and_then(|text| serde_json::from_slice::<Note<K>>(&text).ok());
    note.is_some_and(|note| {
        note.key == *key
            && FileState::of(out).is_ok_and(|state| state == note.output)
            && note.inputs.iter().all(FileState::is_unchanged)
    })
}

/// Writes `out` atomically. The states of the inputs must be taken before the inputs are read.
pub(super) fn write<K: Serialize>(
    out: &Path,
    content: &[u8],
    key: K,
    inputs: Vec<FileState>,
) -> io::Result<()> {
    write_atomically(out, content)?;
    let output = FileState::of(out)?;
    // Written last: without a matching note, the file is not used.
    let note = Note {
        key,
        inputs,
        output,
    };
    write_atomically(&note_path(out), &serde_json::to_vec_pretty(&note)?)
}

pub(super) fn note_path(out: &Path) -> PathBuf {
    out.with_added_extension("inputs.json")
}
