//! Starts a command as root of namespaces of its own.
#![expect(
    unsafe_code,
    reason = "what happens between fork and exec has no safe form"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::child::{Control, Ends, MAPPED, enter};
use super::ids::Ids;
use super::refusal;
use super::setup::Step;
use kata_test_host::sys::pipe;

/// Why a command did not start.
#[derive(Debug, thiserror::Error)]
#[error("{}", refusal::explain(*step, error, &refusal::read))]
pub(super) struct NotStarted {
    step: Step,
    error: io::Error,
}

impl From<NotStarted> for io::Error {
    fn from(not: NotStarted) -> Self {
        match not.step {
            Step::Exec => not.error,
            _ => Self::other(not),
        }
    }
}

impl NotStarted {
    fn at(step: Step) -> impl FnOnce(Errno) -> Self {
        move |errno| Self {
            step,
            error: errno.into(),
        }
    }

    /// Whether the namespaces exist, but not with these ids.
    pub(super) fn is_about_ids(&self) -> bool {
        self.step == Step::Ids
    }
}

/// Starts a command, whose process is the supervisor of the program.
pub(super) fn spawn(
    command: &mut Command,
    ids: &Ids,
    control: Control,
) -> Result<Child, NotStarted> {
    spawn_with(command, ids, control, || Ok(()))
}

/// Starts a command, after a last step, which makes system calls only.
fn spawn_with(
    command: &mut Command,
    ids: &Ids,
    control: Control,
    last: fn() -> io::Result<()>,
) -> Result<Child, NotStarted> {
    let (progress_reader, progress) = pipe().map_err(NotStarted::at(Step::Clone))?;
    let (mapped, mapped_writer) = pipe().map_err(NotStarted::at(Step::Clone))?;
    let ends = Ends {
        progress: progress.as_raw_fd(),
        mapped: mapped.as_raw_fd(),
        mapped_writer: mapped_writer.as_raw_fd(),
        runner: Pid::this(),
    };
    // SAFETY: what it requires is what this closure is run for.
    unsafe { command.pre_exec(move || enter(ends, control).and_then(|()| last())) };
    thread::scope(|scope| {
        // Until the program is executed, the other thread waits for that.
        let mapping = scope.spawn(move || follow(progress_reader.into(), mapped_writer, ids));
        let spawned = command.spawn();
        drop((progress, mapped));
        let Ok((step, ids_mapped)) = mapping.join() else {
            let error = io::Error::other("the thread that maps ids panicked");
            return Err(NotStarted {
                step: Step::Ids,
                error,
            });
        };
        spawned.map_err(|error| NotStarted {
            step,
            error: ids_mapped.err().unwrap_or(error),
        })
    })
}

/// Starts nothing, but prepares namespaces for it.
pub(super) fn try_out(ids: &Ids) -> Result<(), NotStarted> {
    // It shows that all before has succeeded.
    const PREPARED: Errno = Errno::ECANCELED;
    let mut command = Command::new("/proc/self/exe");
    match spawn_with(&mut command, ids, Control::Runner, || Err(PREPARED.into())) {
        Err(not) if not.error.raw_os_error() != Some(PREPARED as i32) => Err(not),
        _ => Ok(()),
    }
}

/// Follows the steps of the child. Returns the last, and whether ids were mapped.
fn follow(mut progress: File, mapped: OwnedFd, ids: &Ids) -> (Step, io::Result<()>) {
    let mut init = [0; 4];
    if progress.read_exact(&mut init).is_err() {
        return (Step::Clone, Ok(()));
    }
    let init = Pid::from_raw(i32::from_ne_bytes(init));
    let done = ids.map(init);
    let answer = if done.is_ok() { MAPPED } else { b'-' };
    if let Err(error) = done.and(File::from(mapped).write_all(&[answer])) {
        return (Step::Ids, Err(error));
    }
    let mut steps = Vec::new();
    let _ = progress.read_to_end(&mut steps);
    let step = steps.last().copied().and_then(Step::of);
    (step.unwrap_or(Step::Ids), Ok(()))
}
