//! How a request fails.

use std::io;

use guest_agent::protocol::{Failure, FailureKind};

/// The request cannot be done as asked.
pub(crate) fn bad_request(message: impl Into<String>) -> Failure {
    Failure {
        kind: FailureKind::BadRequest,
        message: message.into(),
    }
}

/// Something could not be done: "cannot `what`: error".
pub(crate) fn io(what: &str, error: &io::Error) -> Failure {
    Failure {
        kind: FailureKind::Io {
            errno: error.raw_os_error(),
        },
        message: format!("cannot {what}: {error}"),
    }
}

/// An operation moved fewer bytes than asked, and the kernel gave no error number for it: so ends
/// what is done to a disk that goes.
pub(crate) fn short(what: &str, moved: usize, asked: usize) -> Failure {
    Failure {
        kind: FailureKind::Io { errno: None },
        message: format!("cannot {what}: only {moved} of {asked} bytes were moved"),
    }
}
