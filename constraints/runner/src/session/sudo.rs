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
use std::path::Path;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::attached::wait;
use super::{AttachedCommand, ProcessEnd, Session, SessionCommand};
use crate::child_io::{ChildEnd, run_child};
use crate::{Binary, PlaceError};

/// Arguments: the folder, the file of variables, the command for env(1). Files that the program leaves in
/// `KATA_TEST_ARTIFACTS` are given to the user that owns the folders above.
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
test -n "$KATA_TEST_ARTIFACTS" || exit $status
for file in "$KATA_TEST_ARTIFACTS"/* "$KATA_TEST_ARTIFACTS"/.[!.]*; do
    test -e "$file" || test -h "$file" || continue
    find "$KATA_TEST_ARTIFACTS" -xdev '(' -type d -o -links 1 ')' \
        -exec chown -h --reference="$KATA_TEST_ARTIFACTS/.." '{}' +
    break
done
exit $status
"#;

/// Arguments: the folder, the file of variables, the pipe of commands, the command for env(1). The program
/// takes the shell's place, so sudo returns its status. A process beside it, which is not its child, sends
/// it the signals whose names come through the pipe, and ends it if the pipe hangs up before `END` comes.
const ATTACHED: &str = r#"
cd "$1" && . "$2" || exit 127
program=$$
({
    while read -r signal; do
        test "$signal" = END && exit
        kill "-$signal" -$program || kill "-$signal" $program
    done
    kill -TERM $program; sleep 2; kill -KILL $program
} <"$3" >/dev/null 2>&1 &)
shift 3
exec /usr/bin/env "$@"
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
        let program = command.program.unwrap_or(&self.binary.executable);
        let variables = Variables::of(self.env.iter().chain(command.env))?;
        let mut sudo = sudo(SCRIPT, &self.binary.folder, &[path_of(&variables.file)]);
        sudo.args(variables.arguments)
            .arg(program)
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

    fn attach(&mut self, command: &AttachedCommand<'_>) -> Result<ProcessEnd, PlaceError> {
        let variables = Variables::of(self.env.iter().chain(command.env))?;
        let (read, mut write) = io::pipe()?;
        let files = [path_of(&variables.file), path_of(&read)];
        let mut sudo = sudo(ATTACHED, command.directory, &files);
        let streams = command.streams;
        sudo.args(variables.arguments)
            .arg(command.program.unwrap_or(&self.binary.executable))
            .args(command.arguments)
            .stdin(streams.stdin.try_clone_to_owned()?)
            .stdout(streams.stdout.try_clone_to_owned()?)
            .stderr(streams.stderr.try_clone_to_owned()?);
        let ended = wait(sudo.spawn()?, streams.signals, &mut |signal| {
            let name = signal.as_str().trim_start_matches("SIG");
            let _ = writeln!(write, "{name}");
        });
        // It has nothing to read if the program has not been started.
        let _ = write.write_all(b"END\n");
        Ok(ended?)
    }

    fn uid(&self) -> u32 {
        0
    }
}

/// Returns a script of root's in a folder; the files are its further arguments.
fn sudo(script: &str, folder: &Path, files: &[String]) -> Command {
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "--", "/bin/sh", "-c", script, "sh"])
        .arg(folder)
        .args(files);
    sudo
}

/// Returns a path by which root opens a file of this process.
pub(crate) fn path_of(file: &impl AsRawFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

/// Variables for a script.
struct Variables {
    /// Those that a shell can set.
    file: File,
    /// The others, for env(1).
    arguments: Vec<OsString>,
}

impl Variables {
    fn of<'a>(variables: impl Iterator<Item = &'a (OsString, OsString)>) -> io::Result<Self> {
        let (plain, odd): (Vec<_>, Vec<_>) = variables.partition(|(name, _)| is_identifier(name));
        // A command line can be read by everybody: only what cargo sets goes there,
        // `CARGO_BIN_EXE_a-b=/path`.
        let of_cargo = |(name, _): &&(OsString, OsString)| name.as_bytes().starts_with(b"CARGO_");
        let argument =
            |(name, value): &(OsString, OsString)| [&**name, value].join(OsStr::new("="));
        Ok(Self {
            file: environment_file(&plain)?,
            arguments: odd.into_iter().filter(of_cargo).map(argument).collect(),
        })
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
    memory_file(&text)
}

/// Makes a file without a name.
pub(crate) fn memory_file(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"kata-test", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    Ok(file)
}
