//! Errors of requests to the guest agent.

use guest_agent::protocol::{self, Failure};

use qmp_client::wait::Deadline;

/// Why a request to the agent has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The agent reported a failure. It is no source, which would repeat it.
    #[error("guest agent: {0}")]
    Failed(Failure),
    /// The agent did not answer in time.
    #[error("guest agent: timed out after {deadline} waiting for {awaited}")]
    TimedOut {
        /// What was awaited.
        awaited: String,
        /// The deadline.
        deadline: Deadline,
    },
    /// The guest was reset, so there will be no answer.
    #[error("guest agent: the guest was reset while waiting for {awaited}")]
    Reset {
        /// What was awaited.
        awaited: String,
    },
    /// The channel is closed, usually because QEMU has exited.
    #[error("guest agent: the channel closed while waiting for {awaited}: {why}")]
    Closed {
        /// What was awaited.
        awaited: String,
        /// Why it is closed.
        why: String,
    },
    /// There is no boot that a request could be for.
    #[error("guest agent: cannot send a request: the agent has sent no greeting yet")]
    NoGreeting,
    /// The agent in the boot image has another protocol version.
    #[error(
        "the guest agent has protocol version {theirs}, the host has {}; make the boot image again with \
         `cargo kata-test plan --places all` or `cargo xtask it`",
        protocol::VERSION
    )]
    VersionMismatch {
        /// The version of the agent.
        theirs: u32,
    },
    /// The receiver of a program's output refused more of it.
    #[error("guest agent: stopped waiting for {awaited}: {why}")]
    OutputRefused {
        /// What was awaited.
        awaited: String,
        /// The reason of the receiver.
        why: String,
    },
    /// The answer has another type than the request.
    #[error("guest agent: wrong answer while waiting for {0}")]
    WrongReply(String),
}

impl AgentError {
    pub(super) fn wrong_reply(awaited: &str) -> Self {
        Self::WrongReply(awaited.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use guest_agent::protocol::FailureKind;

    use super::*;

    #[test]
    fn a_chain_of_causes_has_the_failure_once() {
        let error = AgentError::Failed(Failure {
            kind: FailureKind::TimedOut,
            message: "no disk".to_owned(),
        });
        assert_eq!(error.to_string(), "guest agent: no disk");
        assert!(error.source().is_none());
    }
}
