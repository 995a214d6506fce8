//! I/O load in the guest that runs in the background.

use guest_agent::protocol::{LoadReport, Reply, RequestId};

use super::{Agent, AgentError};
use qmp_client::wait::Deadline;

/// I/O load that runs in the guest.
#[derive(Debug)]
#[must_use = "only `finish` returns the report of the load"]
pub struct RunningLoad<'a> {
    pub(super) agent: &'a Agent,
    pub(super) id: RequestId,
}

impl RunningLoad<'_> {
    /// Waits for the end of the load and returns its report.
    ///
    /// # Errors
    /// If the load fails or does not end in time.
    pub fn finish(self, deadline: Deadline) -> Result<LoadReport, AgentError> {
        const AWAITED: &str = "the end of the load";
        match self.agent.answer(AWAITED, self.id, deadline)? {
            Reply::Load(report) => Ok(report),
            _ => Err(AgentError::wrong_reply(AWAITED)),
        }
    }
}

impl Drop for RunningLoad<'_> {
    fn drop(&mut self) {
        self.agent
            .board
            .with(|state| state.requests.remove(&self.id));
    }
}
