//! Constructors of [`Failure`].

use std::io;

use guest_agent::protocol::{Failure, FailureKind};

/// The request is invalid.
pub(crate) fn bad_request(message: impl Into<String>) -> Failure {
    Failure {
        kind: FailureKind::BadRequest,
        message: message.into(),
    }
}

/// A system call failed: "cannot `what`: error".
pub(crate) fn io(what: &str, error: &io::Error) -> Failure {
    Failure {
        kind: FailureKind::Io {
            errno: error.raw_os_error(),
        },
        message: format!("cannot {what}: {error}"),
    }
}

/// Converts errors to [`Failure`].
pub(crate) trait OrFailure<T> {
    /// Converts an error to "cannot `what`: error".
    fn or_failure(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> OrFailure<T> for Result<T, E> {
    fn or_failure(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| io(&what(), &error.into()))
    }
}
