//! Processes on this host as root in a user namespace, each in namespaces of its own.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::attached::wait;
use super::process::run_started;
use super::{AttachedCommand, ProcessEnd, Session, SessionCommand};
use crate::sudo::SAID_TO_OTHERS;
use crate::userns::{Control, Ids, NAME};
use crate::{Binary, PROFILE_FILE, PlaceError, ProfileFile};
use kata_test::__runner::PLACE;

/// Processes of one binary, as root in a user namespace.
pub(crate) struct UsernsSession<'a> {
    binary: &'a Binary,
    ids: &'a Ids,
}

impl<'a> UsernsSession<'a> {
    /// Prepares processes of a binary.
    pub(crate) fn new(binary: &'a Binary, ids: &'a Ids) -> Self {
        Self { binary, ids }
    }

    fn command(&self, program: &Path, env: &[(OsString, OsString)]) -> Command {
        let mut command = self.binary.command(program);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        for name in SAID_TO_OTHERS {
            command.env_remove(name);
        }
        command.env(PLACE, NAME);
        if let Some(file) = ProfileFile::next(NAME) {
            command.env(PROFILE_FILE, file.pattern());
        }
        command
    }
}

impl Session for UsernsSession<'_> {
    fn run(
        &mut self,
        command: &SessionCommand<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ProcessEnd, PlaceError> {
        let program = command.program.unwrap_or(&self.binary.executable);
        let mut process = self.command(program, command.env);
        process.args(command.arguments);
        let start = |process: &mut Command| self.ids.spawn(process, Control::Runner);
        let ended = run_started(process, &start, command.limit, command.stop, output);
        ended.map_err(|error| format!("cannot run {}: {error}", program.display()).into())
    }

    fn attach(&mut self, command: &AttachedCommand<'_>) -> Result<ProcessEnd, PlaceError> {
        let streams = command.streams;
        let program = command.program.unwrap_or(&self.binary.executable);
        let mut process = self.command(program, command.env);
        process
            .args(command.arguments)
            .current_dir(command.directory)
            .stdin(streams.stdin.try_clone_to_owned()?)
            .stdout(streams.stdout.try_clone_to_owned()?)
            .stderr(streams.stderr.try_clone_to_owned()?);
        let child = self.ids.spawn(&mut process, Control::User)?;
        let id = Pid::from_raw(i32::try_from(child.id())?);
        let send = &mut |signal| {
            let _ = kill(id, signal);
        };
        Ok(wait(child, streams.signals, send)?)
    }

    fn uid(&self) -> u32 {
        0
    }
}
