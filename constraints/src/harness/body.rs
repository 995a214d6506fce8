//! Calls a test's body and judges how it ended. Both harnesses share it.

use std::any::Any;
use std::panic::catch_unwind;

use crate::facts::panic_text;
use crate::registry::{ShouldPanic, Test};

/// How a body ended.
pub(crate) enum Ended {
    Passed,
    /// It ended otherwise than it should have; the panic hook has said nothing about this.
    Failed(String),
    /// It panicked, and the panic hook has said so.
    Panicked(Box<dyn Any + Send>),
}

pub(crate) fn run(test: &Test) -> Ended {
    match (catch_unwind(test.run), test.should_panic) {
        (Ok(true), ShouldPanic::No) => Ended::Passed,
        (Ok(false), ShouldPanic::No) => Ended::Failed("the test returned an error".to_owned()),
        (Ok(_), _) => Ended::Failed("test did not panic as expected".to_owned()),
        (Err(payload), ShouldPanic::No) => Ended::Panicked(payload),
        (Err(_), ShouldPanic::Yes) => Ended::Passed,
        (Err(payload), ShouldPanic::With(expected)) => {
            let text = panic_text(&*payload);
            if text.is_some_and(|text| text.contains(expected)) {
                return Ended::Passed;
            }
            Ended::Failed(match text {
                Some(text) => format!(
                    "panic did not contain expected string\n      panic message: {text:?}\n \
                     expected substring: {expected:?}"
                ),
                None => format!(
                    "expected panic with string value, found a value of another type\n \
                     expected substring: {expected:?}"
                ),
            })
        }
    }
}
