//! Errors of QMP calls.

use std::fmt;

use crate::wait::Deadline;

/// Why a QMP call or wait ended without its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// QEMU replied with an error.
    #[error("QEMU refused {command}: {desc}")]
    Refused {
        /// The command.
        command: &'static str,
        /// QEMU's error class, such as `GenericError` or `DeviceNotFound`.
        class: String,
        /// QEMU's description of the error.
        desc: String,
    },

    /// The reply or event did not arrive before the deadline.
    #[error("{awaited} did not come within {deadline} (last events: {last_events})")]
    TimedOut {
        /// The awaited reply or event.
        awaited: String,
        /// The deadline.
        deadline: Deadline,
        /// The names of the newest events.
        last_events: String,
    },

    /// The connection was closed, in most cases because QEMU exited.
    #[error("the QMP connection was closed while waiting for {awaited}: {why}")]
    Closed {
        /// The awaited reply or event.
        awaited: String,
        /// The reason.
        why: String,
    },

    /// A reply that does not match QEMU's documented type.
    #[error("the reply to {command} does not have the documented type")]
    Unexpected {
        /// The command.
        command: &'static str,
        /// The error of deserialization.
        source: serde_json::Error,
    },

    /// The log dropped events before they were read.
    #[error("cannot wait for {awaited}: {lost}")]
    EventsLost {
        /// The awaited reply or event.
        awaited: String,
        /// The dropped events.
        lost: LostEvents,
    },
}

impl QmpError {
    /// Returns QEMU's error class, if QEMU replied with an error.
    pub fn class(&self) -> Option<&str> {
        match self {
            Self::Refused { class, .. } => Some(class),
            _ => None,
        }
    }
}

/// Why events after a cursor are not available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostEvents {
    /// This many events were dropped because the log was full.
    Dropped(u64),
    /// The cursor belongs to another connection.
    OtherConnection,
}

impl fmt::Display for LostEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped(count) => write!(f, "the event log was full and dropped {count} events"),
            Self::OtherConnection => f.write_str("the cursor belongs to another connection"),
        }
    }
}
