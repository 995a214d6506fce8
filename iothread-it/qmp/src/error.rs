//! What can go wrong between QEMU's monitor and us.

use super::LostEvents;
use crate::wait::Deadline;

/// Why a QMP call or wait ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU answered with an error of its own.
    #[error("QEMU refused {command}: {desc}")]
    Refused {
        /// The command.
        command: &'static str,
        /// QEMU's error class, such as `GenericError` or `DeviceNotFound`.
        class: String,
        /// QEMU's own words.
        desc: String,
    },

    /// Nothing came in time.
    #[error("{awaited} did not come within {deadline} (last events: {last_events})")]
    TimedOut {
        /// What was awaited.
        awaited: String,
        /// How long.
        deadline: Deadline,
        /// The names of the newest events, as a hint.
        last_events: String,
    },

    /// The channel ended, mostly because QEMU did.
    #[error("the QMP channel ended while waiting for {awaited}: {why}")]
    Closed {
        /// What was awaited.
        awaited: String,
        /// How it ended.
        why: String,
    },

    /// A reply without the form that QEMU documents for it.
    #[error("the reply to {command} is not of the expected form")]
    Unexpected {
        /// The command.
        command: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// Events are gone from the log before they were looked at.
    #[error("waited for {awaited} among events that are gone: {lost}")]
    EventsLost {
        /// What was awaited.
        awaited: String,
        /// Which.
        lost: LostEvents,
    },
}

impl QmpError {
    /// Returns QEMU's error class, if QEMU itself refused.
    pub fn class(&self) -> Option<&str> {
        match self {
            Self::Refused { class, .. } => Some(class),
            _ => None,
        }
    }
}
