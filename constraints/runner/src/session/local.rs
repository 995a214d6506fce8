//! Processes on this host, as the current user.

use super::process::run;
use super::{ProcessEnd, Session, SessionCommand};
use crate::{Binary, PlaceError};

/// Processes of one binary on this host, as the current user, each in a process group of its own.
#[derive(Debug)]
pub struct LocalSession<'a> {
    binary: &'a Binary,
}

impl<'a> LocalSession<'a> {
    /// Prepares processes of a binary.
    #[must_use]
    pub fn new(binary: &'a Binary) -> Self {
        Self { binary }
    }
}

impl Session for LocalSession<'_> {
    fn run(
        &mut self,
        command: &SessionCommand<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<ProcessEnd, PlaceError> {
        let binary = self.binary;
        let program = command.program.unwrap_or(&binary.executable);
        let mut process = binary.command(program);
        process
            .args(command.arguments)
            .envs(command.env.iter().map(|(name, value)| (name, value)));
        let ended = run(process, command.limit, command.stop, output);
        ended.map_err(|error| format!("cannot run {}: {error}", program.display()).into())
    }

    fn uid(&self) -> u32 {
        nix::unistd::geteuid().as_raw()
    }
}
