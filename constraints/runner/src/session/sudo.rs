//! Processes on this host as root by `sudo -n`.
//!
//! The process cannot read its variables by itself as a harness of kata-test does, so a shell reads them
//! from a file of this process's memory. This process cannot signal root's processes either: the shell
//! ends them when its standard input hangs up, as it does when this process is killed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{ProcessEnd, Session, SessionCommand};
use crate::child_io::{ChildEnd, run_child};
use crate::{Binary, PlaceError};

/// Arguments: the folder, the file of variables, the command for env(1).
const SCRIPT: &str = r#"
cd "$1" && . "$2" || exit 127
shift 2
exec 3<&0 </dev/null
setsid /usr/bin/env "$@" 3<&- &
process=$!
{ cat <&3; kill -TERM -$process; sleep 2; kill -KILL -$process; } >/dev/null 2>&1 &
watcher=$!
wait $process
status=$?
exec 3<&- 2>/dev/null
kill -KILL $watcher -$process
exit $status
"#;

/// Variables that some shells refuse to set.
const READ_ONLY: [&str; 6] = [
    "BASHOPTS",
    "BASH_VERSINFO",
    "EUID",
    "PPID",
    "SHELLOPTS",
    "UID",
];

/// Processes of one binary on this host, as root.
pub(crate) struct SudoSession<'a> {
    binary: &'a Binary,
    env: Vec<(OsString, OsString)>,
}

impl<'a> SudoSession<'a> {
    /// Prepares processes with these variables.
    pub(crate) fn new(binary: &'a Binary, env: Vec<(OsString, OsString)>) -> Self {
        Self { binary, env }
    }
}

impl Session for SudoSession<'_> {
    fn run(
        &mut self,
        command: &SessionCommand<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ProcessEnd, PlaceError> {
        let variables = self.env.iter().chain(command.env);
        let (plain, odd): (Vec<_>, Vec<_>) = variables.partition(|(name, _)| is_identifier(name));
        let file = environment_file(&plain)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "--", "/bin/sh", "-c", SCRIPT, "sh"])
            .arg(&self.binary.folder)
            .arg(path);
        // A command line can be read by everybody: only what cargo sets goes there,
        // `CARGO_BIN_EXE_a-b=/path`.
        let of_cargo = |(name, _): &&(OsString, OsString)| name.as_bytes().starts_with(b"CARGO_");
        for (name, value) in odd.into_iter().filter(of_cargo) {
            sudo.arg([name.as_os_str(), value].join(OsStr::new("=")));
        }
        sudo.arg(command.program.unwrap_or(&self.binary.executable))
            .args(command.arguments);
        Ok(
            match run_child(sudo, command.limit, command.stop, output)? {
                ChildEnd::Ended(status) => match status.code() {
                    Some(code) => ProcessEnd::of_shell(code),
                    None => ProcessEnd::Crashed(format!("sudo ended: {status}")),
                },
                ChildEnd::Stopped => ProcessEnd::Stopped,
                ChildEnd::TooLate(limit) => ProcessEnd::TimedOut(limit),
            },
        )
    }

    fn uid(&self) -> u32 {
        0
    }
}

/// Returns whether a shell can set a variable of this name.
fn is_identifier(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|first| !first.is_ascii_digit())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && !READ_ONLY.iter().any(|known| name == *known)
}

/// A file without a name that sets variables in a shell.
fn environment_file(variables: &[&(OsString, OsString)]) -> io::Result<File> {
    let mut text = Vec::new();
    for (name, value) in variables {
        text.extend_from_slice(b"export ");
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b"='");
        for byte in value.as_bytes() {
            match byte {
                b'\'' => text.extend_from_slice(br"'\''"),
                byte => text.push(*byte),
            }
        }
        text.extend_from_slice(b"'\n");
    }
    let mut file = File::from(memfd_create(c"kata-test", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&text)?;
    Ok(file)
}
