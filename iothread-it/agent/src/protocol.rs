//! The messages between host and agent: JSON, one message a line.
//!
//! The agent speaks first, with a [`Greeting`]. It names the protocol's version, so that a stale
//! boot image is an error and not a riddle, and the [`Epoch`]: the guest's boot. A reset starts
//! the agent anew, and its new greeting ends whatever the host still waited for. Requests carry
//! the epoch that they were meant for, and the agent drops those of an earlier one.
//!
//! Requests run side by side and are answered as they end, in any order.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of this protocol. Any change to a message raises it.
pub const VERSION: u32 = 3;

/// The name of the virtio-serial port that the agent answers on.
pub const PORT_NAME: &str = "org.iothread-it.agent";

/// One boot of a guest: the kernel's `boot_id`, or of a restored guest the one that it got instead.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub String);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number that pairs a request with its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// A block device's serial, as the guest reads it from `/sys/block/*/serial`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(pub String);

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The agent's first line after each boot, and after each [renewal](Command::Renew).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Greeting {
    /// [`VERSION`] as the agent was built with.
    pub protocol: u32,
    /// This boot.
    pub epoch: Epoch,
    /// The guest kernel's release, from `uname`(2).
    pub kernel: String,
    /// CPUs that are online in the guest.
    pub cpus: u32,
}

/// What the host asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The boot that this is meant for.
    pub epoch: Epoch,
    /// Chosen by the host, unique within an epoch.
    pub id: RequestId,
    /// What to do.
    pub command: Command,
}

/// What the agent can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Lists the block devices that have a serial. Answered by [`Reply::Disks`].
    Disks,
    /// Waits, by kernel uevents, until a disk is there or gone. Answered by [`Reply::Awaited`],
    /// or [`FailureKind::TimedOut`].
    AwaitDisk {
        /// The disk.
        serial: Serial,
        /// What to wait for.
        presence: Presence,
        /// How long, in milliseconds.
        timeout_ms: u64,
    },
    /// Writes the [pattern](crate::pattern) and flushes it. Answered by [`Reply::Extent`].
    Write(Extent),
    /// Reads back past the page cache and compares with the pattern. Answered by
    /// [`Reply::Extent`], or [`FailureKind::Mismatch`].
    Verify(Extent),
    /// Writes a text into every file below `/sys` that a path names. In it, `*` stands for any
    /// name. Answered by [`Reply::Done`], or [`FailureKind::BadRequest`] if it names none.
    SetAttribute {
        /// Such as `/sys/bus/pci/slots/*/power`.
        path: String,
        /// What to write.
        text: String,
    },
    /// Resets a SCSI disk: it gives up what it was asked to do, and is asked again. Answered by
    /// [`Reply::Done`].
    ResetDisk {
        /// The disk.
        serial: Serial,
    },
    /// Reads and writes for a while. Says [`Notice::LoadRunning`] once every thread has
    /// completed an operation, and ends with [`Reply::Load`].
    Load(Load),
    /// Makes the guest a place for programs that know nothing of it: a root file system that can be
    /// pivoted, users, cgroups, a program that loads modules. Answered by [`Reply::Done`]; asked
    /// again, nothing is done again.
    Furnish,
    /// Unpacks the cpio archive (form `newc`) that a disk holds from its first byte on. Answered by
    /// [`Reply::Unpacked`].
    Unpack {
        /// The disk.
        serial: Serial,
    },
    /// Runs a program to its end, with [`Notice::Output`] and [`Notice::Appended`] as it goes.
    /// Answered by [`Reply::Exited`], or [`FailureKind::TimedOut`].
    Run(Program),
    /// Makes a restored guest another than those restored from the same file. Answered by a new
    /// [`Greeting`] with a new epoch, which ends whatever was asked in the old one.
    Renew(Renewal),
    /// Tells by what the guest differs from others. Answered by [`Reply::Identity`].
    Identity,
}

/// What a restored guest cannot have of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The time, in nanoseconds since 1970 (CLOCK_REALTIME).
    pub realtime_ns: u64,
    /// Bytes that nobody can guess, for the kernel's random number generator.
    pub entropy: [u8; 32],
}

/// By what a guest differs from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The next bytes of the kernel's random number generator.
    pub random: [u8; 32],
    /// CLOCK_REALTIME, in nanoseconds since 1970.
    pub realtime_ns: u64,
}

/// A program to be run. It has a session and a mount namespace of its own, and no standard input;
/// whatever processes it leaves behind are killed. Texts are as the kernel takes them, in UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The executable's path.
    pub path: String,
    /// Its arguments, without its own name.
    pub arguments: Vec<String>,
    /// All of its variables.
    pub environment: Vec<(String, String)>,
    /// Its working directory.
    pub directory: String,
    /// The uid and gid that it runs with; root's if `None`.
    pub user: Option<u32>,
    /// After so many milliseconds it is killed.
    pub timeout_ms: u64,
    /// A folder: whatever is appended to files in it is said as it comes. Made if it is not there.
    pub follow: Option<String>,
}

/// Whether a disk is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Announced by the kernel, with its serial readable and its node in `/dev`.
    Present,
    /// Removed, as the kernel announced.
    Absent,
}

/// A stretch of a disk and the pattern that belongs there. Offset and length are in bytes, and
/// multiples of 4096.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// The disk.
    pub serial: Serial,
    /// Which pattern.
    pub seed: u64,
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// A bounded load. It ends at the first of its limits, or, for each thread, at its first error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// What is read, or where the pattern is written.
    pub extent: Extent,
    /// Read or write.
    pub direction: Direction,
    /// Threads that work at once.
    pub threads: u32,
    /// The guest CPUs to run on: thread *n* is bound to entry *n* modulo their number. Empty: not
    /// bound.
    pub cpus: Vec<u32>,
    /// Operations that each thread keeps outstanding.
    pub depth: u32,
    /// Bytes an operation, a multiple of 512.
    pub block_size: u32,
    /// Ends the load after so many milliseconds.
    pub duration_ms: u64,
    /// Ends each thread after so many operations.
    pub operations: Option<u64>,
}

/// Which way a load goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the disk.
    Read,
    /// To the disk.
    Write,
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The agent has started.
    Greeting(Greeting),
    /// Something happened within a request that goes on.
    Notice {
        /// The request.
        id: RequestId,
        /// What happened.
        notice: Notice,
    },
    /// A request has ended.
    Answer {
        /// The request.
        id: RequestId,
        /// How it ended.
        outcome: Result<Reply, Failure>,
    },
}

/// A step within a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// Every thread of a load has completed at least one operation.
    LoadRunning,
    /// A program has written to its standard output or error.
    Output {
        /// Which of the two.
        stream: Stream,
        /// What it wrote.
        bytes: Bytes,
    },
    /// A file in the followed folder has grown.
    Appended {
        /// The file's name.
        file: String,
        /// What was appended.
        bytes: Bytes,
    },
}

/// A program's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Bytes as a text of the characters U+0000 to U+00FF: most of what programs write stays readable.
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

/// A request that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The disks that are there, by serial.
    Disks(Vec<Disk>),
    /// What [`Command::AwaitDisk`] waited for has happened.
    Awaited {
        /// How long the agent has known, in nanoseconds of the guest's CLOCK_MONOTONIC: since it
        /// read the kernel's uevent, or the request if that came later.
        known_for_ns: u64,
    },
    /// An extent written or verified.
    Extent {
        /// SHA-256 of the bytes written or read, in hexadecimal.
        sha256: String,
    },
    /// What was asked for is done.
    Done,
    /// A load that has ended. Errors of single operations are counted, not fatal.
    Load(LoadReport),
    /// What [`Command::Identity`] asks for.
    Identity(Identity),
    /// An archive unpacked.
    Unpacked {
        /// Its entries.
        entries: u64,
        /// The bytes of its files.
        bytes: u64,
    },
    /// A program that has ended by itself.
    Exited(Exit),
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

/// A block device of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its serial.
    pub serial: Serial,
    /// The kernel's name, such as `vda`.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What a load did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadReport {
    /// Operations that completed in full.
    pub operations: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Operations that failed or came back short.
    pub errors: u64,
    /// The first of these.
    pub first_error: Option<String>,
    /// How long before the end of the load that one was started which, of those that failed, was
    /// started first. In milliseconds of the guest's CLOCK_MONOTONIC, rounded down.
    pub failed_for_ms: Option<u64>,
    /// How long the operations took that completed in full.
    pub latencies: Latencies,
    /// How long it took, in milliseconds of the guest's CLOCK_MONOTONIC.
    pub elapsed_ms: u64,
}

/// How long operations took, in microseconds of the guest's CLOCK_MONOTONIC. The percentiles are
/// up to a sixteenth too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latencies {
    /// The median.
    pub p50_us: u64,
    /// What 99 of 100 stayed below.
    pub p99_us: u64,
    /// The longest.
    pub longest_us: u64,
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Which kind of failure.
    pub kind: FailureKind,
    /// What happened, for a person.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What a program can tell about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The request asks for something that cannot be done as asked.
    BadRequest,
    /// No disk has that serial.
    NoSuchDisk,
    /// What was awaited did not come in time.
    TimedOut,
    /// Reading or writing failed.
    Io {
        /// The error number, if the kernel gave one.
        errno: Option<i32>,
    },
    /// The data on the disk is not the pattern.
    Mismatch {
        /// The first wrong byte.
        offset: u64,
    },
}

/// Writes a message as its line, the newline included.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line =
        serde_json::to_vec(message).expect("a message has only string keys and finite numbers");
    line.push(b'\n');
    line
}

/// Reads a message from its line.
///
/// # Errors
/// If the line is no message of this type.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_comes_back() {
        let message = Message::Answer {
            id: RequestId(7),
            outcome: Err(Failure {
                kind: FailureKind::Io { errno: Some(5) },
                message: "two\nlines".into(),
            }),
        };
        let line = encode(&message);
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(decode::<Message>(&line).unwrap(), message);
    }

    #[test]
    fn bytes_of_any_kind_come_back() {
        let bytes = Bytes((0..=255).collect());
        let line = encode(&bytes);
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(decode::<Bytes>(&line).unwrap(), bytes);
        assert!(decode::<Bytes>("\"\u{100}\"".as_bytes()).is_err());
    }

    #[test]
    fn a_field_this_version_does_not_know_is_refused() {
        let line = br#"{"protocol":2,"epoch":"e","kernel":"6.1","cpus":1,"colour":"red"}"#;
        assert!(decode::<Greeting>(line).is_err());
    }
}
