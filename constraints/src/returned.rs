//! The text of the error that a test returns, where an `expect_failure` compares it.

use std::cell::RefCell;
use std::fmt::Debug;

thread_local! {
    /// The text of the error that the test on this thread has returned.
    static ERROR: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes the text of the error that the test on this thread has returned, if it was kept.
pub(crate) fn take_error() -> Option<String> {
    ERROR.take()
}

/// What a test has returned. Its error is kept, if it has one: the first of the two traits is used if it
/// is implemented.
#[derive(Debug)]
pub struct Returned<T>(pub T);

/// Keeps an error as the harness prints it.
pub trait KeepError {
    /// Keeps it.
    fn keep_error(&self);
}

/// Keeps nothing.
pub trait KeepNothing {
    /// Keeps nothing.
    fn keep_error(&self) {}
}

impl<T, E: Debug> KeepError for Returned<Result<T, E>> {
    fn keep_error(&self) {
        if let Err(error) = &self.0 {
            ERROR.set(Some(format!("{error:?}")));
        }
    }
}

impl<T> KeepNothing for &Returned<T> {}

/// Whether a test's return value is a success; keeps the text of its error.
#[doc(hidden)]
#[macro_export]
macro_rules! __succeeded {
    ($returned:expr) => {{
        // One of them is used; rustc reports no unused import in the macro of another crate.
        use $crate::__private_0_1_0::{KeepError as _, KeepNothing as _};
        let returned = $crate::__private_0_1_0::Returned($returned);
        (&returned).keep_error();
        $crate::__private_0_1_0::succeeded(returned.0)
    }};
}

#[cfg(test)]
mod tests {
    //! Scope: which values have an error. The sample binaries compare its text.

    use super::*;

    #[test]
    #[expect(unused_imports, reason = "the macro uses one of two")]
    fn errors_are_kept_and_other_values_are_not() {
        assert!(!crate::__succeeded!(Err::<(), _>("no disk")));
        assert_eq!(take_error().as_deref(), Some("\"no disk\""));
        assert!(crate::__succeeded!(std::process::ExitCode::SUCCESS));
        assert!(crate::__succeeded!(Ok::<(), String>(())));
        assert_eq!(take_error(), None);
    }
}
