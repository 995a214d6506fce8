//! A program that runs in the guest: its end, its standard input, and signals.

use std::ops::ControlFlow;

use guest_agent::protocol::{
    Action, Bytes, Command, Exit, Notice, RequestId, Stream, TerminalSize,
};

use super::{Agent, AgentError, WRITE_TIMEOUT};
use qmp_client::wait::Deadline;

/// A program that was started. With [`Program::attached`](guest_agent::protocol::Program::attached) other
/// threads may act on it once it has sent [`Notice::Started`].
#[derive(Debug)]
pub struct RunningProgram<'a> {
    pub(super) agent: &'a Agent,
    pub(super) id: RequestId,
    pub(super) awaited: String,
    pub(super) deadline: Deadline,
}

impl RunningProgram<'_> {
    /// Waits for the program's end, and passes on its output meanwhile; see [`Agent::run`].
    ///
    /// # Errors
    /// As for [`Agent::run`].
    pub fn follow(
        &self,
        on_notice: &mut dyn FnMut(Notice) -> ControlFlow<String>,
    ) -> Result<Exit, AgentError> {
        let Self {
            agent,
            id,
            awaited,
            deadline,
        } = self;
        let ended = agent.follow(awaited, *deadline, *id, on_notice);
        agent.board.with(|state| state.requests.remove(id));
        ended
    }

    /// Writes to its standard input, at most a pipe's size at once, and waits until the guest's pipe has
    /// taken it. No bytes close it. Returns `false` once the program reads no more: it has closed its end or has
    /// ended, which it may have done after it has read these bytes.
    ///
    /// # Errors
    /// If the agent cannot be reached.
    pub fn input(&self, bytes: &[u8]) -> Result<bool, AgentError> {
        self.act(Action::Input(Bytes(bytes.to_vec())))
    }

    /// Sends a signal, by its number, to the processes of its group.
    ///
    /// # Errors
    /// If the agent cannot be reached.
    pub fn signal(&self, signal: i32) -> Result<(), AgentError> {
        self.act(Action::Signal(signal)).map(drop)
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// If the agent cannot be reached.
    pub fn resize(&self, size: TerminalSize) -> Result<(), AgentError> {
        self.act(Action::Resize(size)).map(drop)
    }

    /// Closes the reading end of an output stream, as a reader that ends does.
    ///
    /// # Errors
    /// If the agent cannot be reached.
    pub fn close_output(&self, stream: Stream) -> Result<(), AgentError> {
        self.act(Action::CloseOutput(stream)).map(drop)
    }

    /// Returns whether the agent has done it before the program's end was reported.
    fn act(&self, action: Action) -> Result<bool, AgentError> {
        let awaited = match action {
            Action::Input(_) => "the program to read its standard input",
            Action::Signal(_) => "the signal to be sent",
            Action::Resize(_) => "the terminal to be resized",
            Action::CloseOutput(_) => "the output to be closed",
        };
        let Self { agent, id, .. } = self;
        let program = *id;
        let command = Command::Attached { program, action };
        let sent = Deadline::after(WRITE_TIMEOUT);
        let request = agent.send(awaited, command, sent)?;
        // The program ends by its own deadline.
        let done = agent.wait(awaited, self.deadline, |state| {
            let has_ended = state
                .requests
                .get(id)
                .is_none_or(|program| program.end.is_some());
            match state.requests.get_mut(&request)?.end.take() {
                Some(end) => Some(end.is_success()),
                None => has_ended.then_some(false),
            }
        });
        agent.board.with(|state| state.requests.remove(&request));
        done
    }
}

impl Drop for RunningProgram<'_> {
    fn drop(&mut self) {
        // The reader may be waiting for room for its output.
        self.agent
            .board
            .with(|state| state.requests.remove(&self.id));
    }
}
