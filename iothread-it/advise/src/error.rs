//! What can go wrong, with what to do about it.

use std::io;
use std::path::PathBuf;

use qmp_client::QmpError;

/// Why a QEMU could not be observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such process, or it is not accessible.
    #[error("cannot read process {pid}: {source}{}", hint(source))]
    Process {
        /// The process.
        pid: i32,
        /// The error.
        source: io::Error,
    },
    /// No monitor of QEMU can be connected to.
    #[error(
        "process {pid} has no QMP socket on its command line (`-qmp unix:PATH,server=on,wait=off`, or \
         `-chardev socket,…` with `-mon …,mode=control`). If a manager passed its monitor as a descriptor, ask it \
         for another one, and name that with --qmp"
    )]
    NoMonitor {
        /// The process.
        pid: i32,
    },
    /// No monitor could be used.
    #[error(
        "no QMP socket of process {pid} can be used:\n{}A socket serves one client at a time. If QEMU's manager \
         is connected, start QEMU with a second one (`-qmp unix:PATH,server=on,wait=off`)",
        refused.iter().map(|(path, why)| format!("  {}: {why}\n", path.display())).collect::<String>()
    )]
    Monitors {
        /// The process.
        pid: i32,
        /// Each socket, and why it cannot be used.
        refused: Vec<(PathBuf, String)>,
    },
    /// The monitor is that of another process.
    #[error("{} is not a monitor of process {pid}: no thread of it is thread {thread}, which QEMU lists", path.display())]
    OtherProcess {
        /// The process.
        pid: i32,
        /// The socket.
        path: PathBuf,
        /// A thread that QEMU lists.
        thread: i32,
    },
    /// QEMU refused a query, or ended.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The report cannot be printed.
    #[error("cannot print the report: {0}")]
    Print(#[source] io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ". Run this as the user of that process, or as root",
        io::ErrorKind::NotFound => ". Is it still running?",
        _ => "",
    }
}
