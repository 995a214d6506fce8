//! A load that goes on in the guest while the host does something else.

use guest_agent::protocol::{LoadReport, Reply, RequestId};

use super::{Agent, AgentError};
use qmp_client::wait::Deadline;

/// A load that runs in the guest.
#[derive(Debug)]
#[must_use = "a load ends by itself, but only `finish` tells what it did"]
pub struct RunningLoad<'a> {
    pub(super) agent: &'a Agent,
    pub(super) id: RequestId,
}

impl RunningLoad<'_> {
    /// Waits for the load's end.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn finish(self, deadline: Deadline) -> Result<LoadReport, AgentError> {
        const AWAITED: &str = "the end of the load";
        match self.agent.answer(AWAITED, self.id, deadline)? {
            Reply::Load(report) => Ok(report),
            _ => Err(AgentError::wrong_reply(AWAITED)),
        }
    }
}
