//! The messages between host and agent: JSON, one message a line.
//!
//! The agent sends the first message, a [`Greeting`]. It contains the protocol's version, so that an
//! outdated boot image is reported as such, and the [`BootId`]. After a reset of the guest the agent
//! starts again, and its new greeting ends every request that is still open. A request carries the
//! boot ID that it is meant for; the agent drops requests for an earlier boot.
//!
//! Requests run concurrently and are answered in the order in which they end.

mod collect;
mod load;
mod program;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use collect::{
    Binary, Collect, CollectedFolder, LeftOut, MAX_COLLECTED_BYTES, MAX_COLLECTED_DEPTH,
    MAX_COLLECTED_FILE_BYTES, MAX_COLLECTED_FILES, Piece,
};
pub use load::{Direction, Latencies, Load, LoadReport, RequestCounts};
pub use program::{Action, Bytes, Exit, HOME, MountTarget, Program, Stream, TerminalSize, User};

/// The version of this protocol. Any change to a message raises it.
pub const VERSION: u32 = 13;

/// The name of the virtio-serial port that the agent answers on.
pub const PORT_NAME: &str = "org.iothread-it.agent";

/// The word on the kernel's command line that requests KVM, and what tests of VM managers use beside it.
pub const KVM_PARAMETER: &str = "guest_agent.kvm";

/// On the kernel's command line: the agent mounts cgroup v1, with each controller that the kernel has there.
pub const CGROUP_V1_PARAMETER: &str = "guest_agent.cgroup=v1";

/// On the kernel's command line: the agent configures the network card for QEMU's user-mode networking.
pub const NETWORK_PARAMETER: &str = "guest_agent.network";

/// On the kernel's command line, before a size that tmpfs takes: the size of the folder for temporary files.
pub const TMP_PARAMETER: &str = "guest_agent.tmp=";

/// Identifies one boot of a guest: the kernel's `boot_id`, or the one that replaced it in a clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

impl fmt::Display for BootId {
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

/// The agent's first message after each boot, and after each [reseed](Command::Reseed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Greeting {
    /// The [`VERSION`] that the agent was built with.
    pub protocol: u32,
    /// The current boot.
    pub boot_id: BootId,
    /// The guest kernel's release, from `uname`(2).
    pub kernel: String,
    /// CPUs that are online in the guest.
    pub cpus: u32,
}

/// A message from the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The boot that this is meant for.
    pub boot_id: BootId,
    /// Chosen by the host; unique within a boot.
    pub id: RequestId,
    /// What to do.
    pub command: Command,
}

/// What the agent is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Lists the block devices that have a serial. Answered by [`Reply::Disks`].
    Disks,
    /// Waits, by kernel uevents, until a disk is present or absent. Answered by [`Reply::Awaited`],
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
    /// Makes requests of every kind on an extent whose length is four times a multiple of 4096, at most 64 MiB: large
    /// and unaligned writes of the pattern, flushes, a discard and a write of zeroes. Its second half is zero
    /// afterwards, which is checked. Answered by [`Reply::Requests`], or [`FailureKind::Mismatch`].
    MakeRequests(Extent),
    /// Writes a text into every file below `/sys` that a path names. In it, `*` stands for any
    /// name. Answered by [`Reply::Done`], or [`FailureKind::BadRequest`] if it names none.
    SetAttribute {
        /// Such as `/sys/bus/pci/slots/*/power`.
        path: String,
        /// What to write.
        text: String,
    },
    /// Resets a SCSI disk (`SG_SCSI_RESET`): the kernel aborts and retries its outstanding commands.
    /// Answered by [`Reply::Done`].
    ResetDisk {
        /// The disk.
        serial: Serial,
    },
    /// Generates I/O load. Sends [`Notice::LoadRunning`] once every thread has completed an operation.
    /// Answered by [`Reply::Load`].
    Load(Load),
    /// Switches to a tmpfs root with `/proc`, `/sys`, cgroup v2, devpts, users, the kernel's modules,
    /// `/sbin/modprobe`, and the tools of the boot image, as test programs expect. Answered by [`Reply::Done`]; a second request
    /// does nothing.
    SetUpRootfs {
        /// The user of programs that do not run as root. It owns [`HOME`].
        user: User,
    },
    /// Mounts the EROFS image on a disk, after [`Command::SetUpRootfs`]. The disk has to stay. Answered
    /// by [`Reply::Done`].
    Mount {
        /// The disk.
        serial: Serial,
        /// How its files become visible.
        target: MountTarget,
    },
    /// Runs fixed work for some milliseconds. Answered by [`Reply::Speed`].
    MeasureSpeed,
    /// Runs a program until it ends, and sends [`Notice::Output`], [`Notice::Appended`],
    /// [`Notice::Collected`], [`Notice::LeftOut`], [`Notice::KernelMessage`], [`Notice::KernelTaint`] and
    /// [`Notice::Left`] meanwhile.
    /// Answered by [`Reply::Exited`], or [`FailureKind::TimedOut`].
    Run(Program),
    /// Acts on a program that sent [`Notice::Started`]. Answered by [`Reply::Done`], or
    /// [`FailureKind::NoSuchProgram`] if it has ended.
    Attached {
        /// The request that runs the program.
        program: RequestId,
        /// What to do.
        action: Action,
    },
    /// Gives a clone a clock, entropy and boot ID that differ from its template's. Answered by a
    /// [`Greeting`] with the new boot ID, which ends every open request.
    Reseed(Reseed),
    /// Reads what [`Command::Reseed`] sets. Answered by [`Reply::Identity`].
    Identity,
}

/// The state that a clone must not share with its template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reseed {
    /// The time, in nanoseconds since 1970 (CLOCK_REALTIME).
    pub realtime_ns: u64,
    /// Entropy for the kernel's random number generator.
    pub entropy: [u8; 32],
}

/// The state that differs from clone to clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// 32 bytes read from `/dev/urandom`.
    pub random: [u8; 32],
    /// CLOCK_REALTIME, in nanoseconds since 1970.
    pub realtime_ns: u64,
}

/// Whether the guest has a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// Announced by the kernel, with its serial readable and its node in `/dev`.
    Present,
    /// Removed, as the kernel announced.
    Absent,
}

/// A range of a disk and the [pattern](crate::pattern) that it holds. Offset and length are in bytes,
/// and multiples of 4096.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// The disk.
    pub serial: Serial,
    /// The pattern's seed.
    pub seed: u64,
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// A message from the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The agent has started.
    Greeting(Greeting),
    /// An intermediate result of an open request.
    Notice {
        /// The request.
        id: RequestId,
        /// The result.
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

/// An intermediate result of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// Every thread of a load has completed at least one operation.
    LoadRunning,
    /// Output of a program.
    Output {
        /// Where the program wrote it.
        stream: Stream,
        /// The output.
        bytes: Bytes,
    },
    /// Bytes that were appended to a file in [`Program::follow`].
    Appended {
        /// The file's name.
        file: String,
        /// The bytes.
        bytes: Bytes,
    },
    /// A piece of a file in [`Program::collect`].
    Collected(Piece),
    /// A file in [`Program::collect`] is not sent, or not to its end.
    LeftOut {
        /// Its path, relative to the root. What is not UTF-8 is replaced.
        path: String,
        /// Why.
        why: LeftOut,
    },
    /// What a program left behind, for people: `processes`, `mounts`.
    Left(String),
    /// The kernel logged a line while a program ran. It is sent before what is later appended to a file in
    /// [`Program::follow`].
    KernelMessage(String),
    /// The kernel was tainted while a program ran: the new bits of `/proc/sys/kernel/tainted`.
    KernelTaint(u64),
    /// A program with [`Program::attached`] runs: the host may act on it.
    Started,
}

/// The result of a request that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The disks that have a serial, sorted by it.
    Disks(Vec<Disk>),
    /// The disk of [`Command::AwaitDisk`] is present or absent.
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
    /// What [`Command::MakeRequests`] did.
    Requests(RequestCounts),
    /// The request has no result.
    Done,
    /// The result of a load. It counts errors of single operations.
    Load(LoadReport),
    /// The result of [`Command::Identity`].
    Identity(Identity),
    /// The result of [`Command::MeasureSpeed`].
    Speed(Speed),
    /// A program ended.
    Exited(Exit),
}

/// How fast a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Steps of [work](crate::speed) in a second.
    pub steps_per_s: u64,
    /// If the guest has KVM: how often in a second a guest in it can write to an I/O port, which ends
    /// `KVM_RUN`.
    pub exits_per_s: Option<u64>,
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

/// The result of a request that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Which kind of failure.
    pub kind: FailureKind,
    /// A message for people.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The request is invalid.
    BadRequest,
    /// No disk has that serial.
    NoSuchDisk,
    /// No program runs for that request.
    NoSuchProgram,
    /// The request's timeout passed.
    TimedOut,
    /// Reading or writing failed.
    Io {
        /// The error number, if the kernel returned one.
        errno: Option<i32>,
    },
    /// The data on the disk differs from the pattern.
    Mismatch {
        /// The first byte that differs.
        offset: u64,
    },
}

/// Serializes a message as a line, with its newline.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line =
        serde_json::to_vec(message).expect("a message has only string keys and finite numbers");
    line.push(b'\n');
    line
}

/// Deserializes a message from a line.
///
/// # Errors
/// If the line is not a message of this type.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_round_trips() {
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
    fn all_byte_values_round_trip() {
        let bytes = Bytes((0..=255).collect());
        let line = encode(&bytes);
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(decode::<Bytes>(&line).unwrap(), bytes);
        assert!(decode::<Bytes>("\"\u{100}\"".as_bytes()).is_err());
        let binary = Binary(bytes.0);
        let line = encode(&binary);
        assert_eq!(line.len(), 2 * 256 + 3);
        assert_eq!(decode::<Binary>(&line).unwrap(), binary);
        assert!(decode::<Binary>(b"\"a\"").is_err());
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let line = br#"{"protocol":2,"boot_id":"e","kernel":"6.1","cpus":1,"colour":"red"}"#;
        assert!(decode::<Greeting>(line).is_err());
    }
}
