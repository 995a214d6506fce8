//! Programs that run in the guest, and what they are delivered with.

use std::time::Duration;

use guest_agent::protocol::{Command, Exit, Notice, Program, Reply, Serial};

use super::state::End;
use super::{Agent, AgentError, GRACE};
use qmp_client::wait::Deadline;

/// How long a guest may be silent before it is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(15);

/// How long it may take to answer that. An emulated guest that shares its CPU takes well under a
/// second.
const SIGN_OF_LIFE: Duration = Duration::from_secs(40);

impl Agent {
    /// Makes the guest a place for programs; see [`Command::Furnish`].
    ///
    /// # Errors
    /// If something cannot be made or mounted, or not in time.
    pub fn furnish(&self, deadline: Deadline) -> Result<(), AgentError> {
        self.ask("the guest's furnishing", Command::Furnish, deadline)
            .map(drop)
    }

    /// Unpacks the archive that a disk holds. Returns its entries and the bytes of its files.
    ///
    /// # Errors
    /// If the disk holds none, or it cannot be unpacked in time.
    pub fn unpack(&self, serial: &Serial, deadline: Deadline) -> Result<(u64, u64), AgentError> {
        let awaited = format!("the unpacking of disk {serial}");
        let serial = serial.clone();
        match self.ask(&awaited, Command::Unpack { serial }, deadline)? {
            Reply::Unpacked { entries, bytes } => Ok((entries, bytes)),
            _ => Err(AgentError::wrong_reply(&awaited)),
        }
    }

    /// Runs a program to its end; `on_notice` hears what it says as it says it. The time that it may
    /// take is the program's own; a guest that is silent is asked for a sign of life.
    ///
    /// # Errors
    /// If it cannot be started, if its time is up, or if the guest is gone or hangs.
    pub fn run(
        &self,
        program: &Program,
        on_notice: &mut dyn FnMut(Notice),
    ) -> Result<Exit, AgentError> {
        let awaited = format!("the end of {}", program.path);
        let time = Duration::from_millis(program.timeout_ms);
        let deadline = Deadline::after(time.saturating_add(GRACE));
        let id = self.send(&awaited, Command::Run(program.clone()))?;
        loop {
            let step = deadline.or_after(SILENCE);
            let heard = self.wait(&awaited, step, |state| {
                let progress = state.requests.get_mut(&id)?;
                let notices = std::mem::take(&mut progress.notices);
                let is_news = !notices.is_empty() || progress.end.is_some();
                is_news.then(|| (notices, progress.end.take()))
            });
            let (notices, end) = match heard {
                Ok(heard) => heard,
                Err(AgentError::TimedOut { .. }) if !deadline.has_passed() => {
                    self.disks(Deadline::after(SIGN_OF_LIFE))?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            notices.into_iter().for_each(&mut *on_notice);
            if let Some(end) = end {
                self.board.with(|state| state.requests.remove(&id));
                return match end {
                    End::Answered(Ok(Reply::Exited(exit))) => Ok(exit),
                    end => Err(end.into_error(&awaited)),
                };
            }
        }
    }
}
