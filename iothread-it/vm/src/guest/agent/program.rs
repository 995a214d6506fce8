//! Runs programs in the guest.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use guest_agent::protocol::{
    Command, Exit, MountTarget, Notice, Program, Reply, RequestId, Serial, Speed, User,
};

use super::running_program::RunningProgram;
use super::state::{PendingRequest, RequestEnd};
use super::{Agent, AgentError, REPLY_MARGIN, WRITE_TIMEOUT};
use qmp_client::wait::Deadline;

/// How long a program may be silent before the agent is checked.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the agent may take to answer that check. An emulated guest on a busy CPU takes less than a
/// second.
const LIVENESS_TIMEOUT: Duration = Duration::from_secs(40);

/// How long the agent may take to send the files of a program that has ended.
const COLLECT_MARGIN: Duration = Duration::from_secs(120);

impl Agent {
    /// Prepares the root file system for programs; see [`Command::SetUpRootfs`].
    ///
    /// # Errors
    /// If the agent reports a failure or does not answer in time.
    pub fn set_up_rootfs(&self, user: User, deadline: Deadline) -> Result<(), AgentError> {
        self.ask(
            "the setup of the root file system",
            Command::SetUpRootfs { user },
            deadline,
        )
        .map(drop)
    }

    /// Mounts the image on a disk; see [`Command::Mount`].
    ///
    /// # Errors
    /// If the agent reports a failure or does not answer in time.
    pub fn mount(
        &self,
        serial: &Serial,
        target: MountTarget,
        deadline: Deadline,
    ) -> Result<(), AgentError> {
        let awaited = format!("the image on disk {serial} to be mounted");
        let serial = serial.clone();
        self.ask(&awaited, Command::Mount { serial, target }, deadline)
            .map(drop)
    }

    /// Measures the speed of the guest.
    ///
    /// # Errors
    /// If the agent does not answer in time.
    pub fn speed(&self, deadline: Deadline) -> Result<Speed, AgentError> {
        const AWAITED: &str = "the speed of the guest";
        match self.ask(AWAITED, Command::MeasureSpeed, deadline)? {
            Reply::Speed(speed) => Ok(speed),
            _ => Err(AgentError::wrong_reply(AWAITED)),
        }
    }

    /// Runs a program and returns its exit status.
    ///
    /// `on_notice` gets the output as it arrives. If it breaks, the call returns with that reason, and
    /// the program goes on in the guest. The time limit is part of `program`. While the program is
    /// silent, the agent is checked regularly.
    ///
    /// # Errors
    /// If the program cannot be started or exceeds its time limit, if `on_notice` breaks, or if the
    /// agent does not answer.
    pub fn run(
        &self,
        program: &Program,
        on_notice: &mut dyn FnMut(Notice) -> ControlFlow<String>,
    ) -> Result<Exit, AgentError> {
        self.start(program)?.follow(on_notice)
    }

    /// Starts a program, to be followed by [`RunningProgram::follow`]. Until then, a program with much output delays
    /// the answers to other requests. If the value is dropped, the output is discarded.
    ///
    /// # Errors
    /// If the request cannot be sent.
    pub fn start(&self, program: &Program) -> Result<RunningProgram<'_>, AgentError> {
        let awaited = format!("the end of {}", program.path);
        let command = Command::Run(program.clone());
        let mut time = Duration::from_millis(program.timeout_ms);
        if program.collect.is_some() {
            time = time.saturating_add(COLLECT_MARGIN);
        }
        let deadline = Deadline::after(time.saturating_add(REPLY_MARGIN));
        let written = deadline.capped_at(WRITE_TIMEOUT);
        let pending = PendingRequest::of_program();
        let id = self.send_in(None, &awaited, command, pending, written)?;
        Ok(RunningProgram {
            agent: self,
            id,
            awaited,
            deadline,
        })
    }

    pub(super) fn follow(
        &self,
        awaited: &str,
        deadline: Deadline,
        id: RequestId,
        on_notice: &mut dyn FnMut(Notice) -> ControlFlow<String>,
    ) -> Result<Exit, AgentError> {
        loop {
            let step = deadline.capped_at(SILENCE_TIMEOUT);
            let heard = self.wait(awaited, step, |state| {
                let pending = state.requests.get_mut(&id)?;
                let is_news = pending.has_news();
                is_news.then(|| (pending.take_notices(), pending.end.take()))
            });
            let (notices, end) = match heard {
                Ok(heard) => heard,
                Err(AgentError::TimedOut { .. }) if !deadline.has_passed() => {
                    if !self.has_pauses.load(Ordering::Relaxed) {
                        self.check_alive(id, deadline)?;
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            // Wakes the reader, which may be waiting for room.
            self.board.with(|_| ());
            for notice in notices {
                if let ControlFlow::Break(why) = on_notice(notice) {
                    let awaited = awaited.to_owned();
                    return Err(AgentError::OutputRefused { awaited, why });
                }
            }
            match end {
                // A program that writes without end is not silent, so its deadline is checked here too.
                None if deadline.has_passed() => {
                    let awaited = awaited.to_owned();
                    return Err(AgentError::TimedOut { awaited, deadline });
                }
                None => {}
                Some(RequestEnd::Answered(Ok(Reply::Exited(exit)))) => return Ok(exit),
                Some(end) => return Err(end.into_error(awaited)),
            }
        }
    }

    /// Sends a request to the agent. Output of the program counts as an answer.
    fn check_alive(&self, program: RequestId, deadline: Deadline) -> Result<(), AgentError> {
        const AWAITED: &str = "an answer to a liveness check";
        let deadline = deadline.capped_at(LIVENESS_TIMEOUT);
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
