//! What can go wrong between the guest's agent and us.

use guest_agent::protocol::{self, Failure};

use qmp_client::wait::Deadline;

/// Why a request to the agent has no result.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent could not do it.
    #[error("the guest's agent failed: {0}")]
    Failed(#[from] Failure),
    /// No answer.
    #[error("{awaited} did not come from the guest's agent within {deadline}")]
    TimedOut {
        /// What was awaited.
        awaited: String,
        /// How long.
        deadline: Deadline,
    },
    /// The guest has started again, so the answer will never come.
    #[error("the guest was reset while waiting for {awaited}")]
    Reset {
        /// What was awaited.
        awaited: String,
    },
    /// The channel has ended, mostly because QEMU has.
    #[error("the agent's channel ended while waiting for {awaited}: {why}")]
    Closed {
        /// What was awaited.
        awaited: String,
        /// How it ended.
        why: String,
    },
    /// The boot image has another version's agent.
    #[error(
        "the guest's agent speaks version {theirs} of the protocol and this host version {}; \
         `cargo xtask it` makes a new boot image",
        protocol::VERSION
    )]
    OtherVersion {
        /// The agent's version.
        theirs: u32,
    },
    /// What a program said is not taken any more, so the program was given up.
    #[error("{awaited} is not waited for any more: {why}")]
    GivenUp {
        /// What was awaited.
        awaited: String,
        /// What was said.
        why: String,
    },
    /// An answer to another question.
    #[error("the guest's agent answered {awaited} with something else")]
    WrongReply {
        /// What was awaited.
        awaited: String,
    },
}

impl AgentError {
    pub(super) fn wrong_reply(awaited: &str) -> Self {
        Self::WrongReply {
            awaited: awaited.to_owned(),
        }
    }
}
