//! Programs that run in the guest, and what they are delivered with.

use std::ops::ControlFlow;
use std::time::Duration;

use guest_agent::protocol::{Command, Exit, Notice, Program, Reply, RequestId, Serial};

use super::state::{End, Progress};
use super::{Agent, AgentError, GRACE, WRITE_TIMEOUT};
use qmp_client::wait::Deadline;

/// How long a guest may be silent before it is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(15);

/// How long it may take to answer that. An emulated guest that shares its CPU takes well under a
/// second.
const SIGN_OF_LIFE: Duration = Duration::from_secs(40);

impl Agent {
    /// Sets up the root file system that programs expect; see [`Command::SetUpRootfs`].
    ///
    /// # Errors
    /// If something cannot be made or mounted, or not in time.
    pub fn set_up_rootfs(&self, deadline: Deadline) -> Result<(), AgentError> {
        self.ask(
            "the guest's root file system",
            Command::SetUpRootfs,
            deadline,
        )
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

    /// Runs a program to its end; `on_notice` hears what it says as it says it, and may give the
    /// program up, with the reason: the guest goes on with it then. The time that it may take is the
    /// program's own; a guest that is silent is asked for a sign of life.
    ///
    /// # Errors
    /// If it cannot be started, if its time is up, if it is given up, or if the guest is gone or
    /// hangs.
    pub fn run(
        &self,
        program: &Program,
        on_notice: &mut dyn FnMut(Notice) -> ControlFlow<String>,
    ) -> Result<Exit, AgentError> {
        let awaited = format!("the end of {}", program.path);
        let command = Command::Run(program.clone());
        let time = Duration::from_millis(program.timeout_ms);
        let deadline = Deadline::after(time.saturating_add(GRACE));
        let written = deadline.or_after(WRITE_TIMEOUT);
        let id = self.send_in(None, &awaited, command, Progress::of_program(), written)?;
        let ended = self.follow(&awaited, deadline, id, on_notice);
        self.board.with(|state| state.requests.remove(&id));
        ended
    }

    fn follow(
        &self,
        awaited: &str,
        deadline: Deadline,
        id: RequestId,
        on_notice: &mut dyn FnMut(Notice) -> ControlFlow<String>,
    ) -> Result<Exit, AgentError> {
        loop {
            let step = deadline.or_after(SILENCE);
            let heard = self.wait(awaited, step, |state| {
                let progress = state.requests.get_mut(&id)?;
                let is_news = progress.has_news();
                is_news.then(|| (progress.take_notices(), progress.end.take()))
            });
            let (notices, end) = match heard {
                Ok(heard) => heard,
                Err(AgentError::TimedOut { .. }) if !deadline.has_passed() => {
                    self.sign_of_life(id)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // The reading thread waits for room.
            self.board.with(|_| ());
            for notice in notices {
                if let ControlFlow::Break(why) = on_notice(notice) {
                    let awaited = awaited.to_owned();
                    return Err(AgentError::GivenUp { awaited, why });
                }
            }
            match end {
                None => {}
                Some(End::Answered(Ok(Reply::Exited(exit)))) => return Ok(exit),
                Some(end) => return Err(end.into_error(awaited)),
            }
        }
    }

    /// Asks the guest something. Anything that the program says meanwhile is an answer too.
    fn sign_of_life(&self, program: RequestId) -> Result<(), AgentError> {
        const AWAITED: &str = "a sign of life";
        let deadline = Deadline::after(SIGN_OF_LIFE);
        let id = self.send(AWAITED, Command::Disks, deadline)?;
        let heard = self.wait(AWAITED, deadline, |state| {
            let is_answered = state.requests.get(&id)?.end.is_some();
            let is_heard = state.requests.get(&program)?.has_news();
            (is_answered || is_heard).then_some(())
        });
        self.board.with(|state| state.requests.remove(&id));
        heard
    }
}
