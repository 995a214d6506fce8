//! Programs that the agent runs, and the files that they find.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Collect;

/// The home folder of the user of [`SetUpRootfs`](super::Command::SetUpRootfs).
pub const HOME: &str = "/home/user";

/// How the files of an image become visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountTarget {
    /// As the content of this folder. It can be written; what is written is in the guest's memory.
    Folder(String),
    /// Each file at its own path, which begins at the image's root, as a read-only mount. Its folders
    /// and symbolic links are created in the file systems that the guest has.
    Files,
}

/// A user of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

/// A program to run, in a session of its own and, as root, in a mount namespace of its own. At its time limit it gets SIGTERM, and after a grace period SIGKILL.
/// Processes that it leaves behind are killed. All texts are UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The executable's path.
    pub path: String,
    /// Its arguments, without its own name.
    pub arguments: Vec<String>,
    /// All of its environment variables.
    pub environment: Vec<(String, String)>,
    /// Its working directory.
    pub directory: String,
    /// Its user, without supplementary groups and capabilities; root if `None`.
    pub user: Option<User>,
    /// The time after which it is ended, in milliseconds.
    pub timeout_ms: u64,
    /// Whether standard error is the same pipe as standard output, which keeps the order of what is written
    /// to both. It is sent as [`Stream::Stdout`].
    pub joins_output: bool,
    /// How many bytes of each output stream are sent. The end of a longer output is sent too, after a
    /// line that says how many bytes were dropped. `None`: all.
    pub output_limit: Option<u64>,
    /// A directory, created if it does not exist. What is appended to files in it is sent as
    /// [`Appended`](super::Notice::Appended).
    pub follow: Option<String>,
    /// Folders whose files are sent.
    pub collect: Option<Collect>,
    /// Whether the host may [act on it](super::Command::Attached), and standard input is a pipe from the
    /// host. If not, it is `/dev/null`. The working directory of an attached program is created if it is not there.
    pub attached: bool,
    /// Its standard streams are a terminal of this size, which controls its session. What it writes is sent as
    /// [`Stream::Stdout`]. With [`attached`](Self::attached) only.
    pub terminal: Option<TerminalSize>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Its height.
    pub rows: u16,
    /// Its width.
    pub columns: u16,
}

/// What the host does to a program that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Writes to its standard input; no bytes close it. The answer comes when the pipe has taken all of
    /// them, so a host that waits for it sends no more than the program reads. It is a
    /// [failure](super::FailureKind::Io) with `EPIPE` if the program has closed its end.
    Input(Bytes),
    /// Sends a signal to the processes of its group.
    Signal(i32),
    /// Sets the size of its terminal.
    Resize(TerminalSize),
    /// Closes the reading end of an output stream once more is written to it.
    CloseOutput(Stream),
}

/// An output stream of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Bytes, serialized as a string of the characters U+0000 to U+00FF, so that text stays readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.iter().copied().map(char::from).collect();
        to.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes: Result<_, _> = text.chars().map(u8::try_from).collect();
        bytes.map(Self).map_err(serde::de::Error::custom)
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}
