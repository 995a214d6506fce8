//! Files that programs leave for the host.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The maximum size of a file that is sent, in bytes.
pub const MAX_COLLECTED_FILE_BYTES: u64 = 64 << 20;

/// The maximum size of all files of a folder that is sent, in bytes.
pub const MAX_COLLECTED_BYTES: u64 = 128 << 20;

/// The maximum number of files of a folder that is sent.
pub const MAX_COLLECTED_FILES: u32 = 1000;

/// The maximum depth of a file, in folders below the one that is sent.
pub const MAX_COLLECTED_DEPTH: usize = 16;

/// A folder whose files are sent when the program has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectedFolder {
    /// Its path, relative to the root.
    pub path: String,
    /// How many times the limits of a folder apply, as when so many tests share it.
    pub limits: u32,
}

/// Folders whose files are sent as [`Collected`](super::Notice::Collected), and removed. A folder is sent up to
/// [`MAX_COLLECTED_FILES`] and [`MAX_COLLECTED_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collect {
    /// The folder that paths are relative to.
    pub root: String,
    /// The folders, which all users can write.
    pub folders: Vec<CollectedFolder>,
    /// A file with the names of folders that are complete, one a line. Each is sent before what is later
    /// appended to a file in [`Program::follow`](super::Program::follow).
    pub ended: Option<String>,
}

/// A piece of a file. The pieces of a file follow one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// The file, relative to the root.
    pub path: String,
    /// Where the piece begins, in bytes.
    pub offset: u64,
    /// The piece; empty for an empty file only.
    pub bytes: Binary,
}

/// Why a file is not sent, or not to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftOut {
    /// It is larger than [`MAX_COLLECTED_FILE_BYTES`], or its folder is larger than [`MAX_COLLECTED_BYTES`]. Its
    /// beginning is sent.
    TooLarge,
    /// It and those after it exceed [`MAX_COLLECTED_FILES`]: as many are sent, and as many left out by name.
    TooMany,
    /// It is below more than [`MAX_COLLECTED_DEPTH`] folders.
    TooDeep,
    /// It is a link, a device, a socket or a pipe.
    NoFile,
    /// Its name is not UTF-8.
    Name,
    /// It cannot be read.
    Unreadable,
}

/// Bytes, serialized as a string of the characters U+0100 to U+01FF: each takes two bytes, whatever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary(pub Vec<u8>);

/// The character of the byte 0.
const FIRST: u32 = 0x100;

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.iter().map(|byte| FIRST + u32::from(*byte));
        let text: String = bytes.filter_map(char::from_u32).collect();
        to.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let byte = |c: char| u8::try_from(u32::from(c).wrapping_sub(FIRST));
        let bytes: Result<_, _> = text.chars().map(byte).collect();
        bytes.map(Self).map_err(serde::de::Error::custom)
    }
}
