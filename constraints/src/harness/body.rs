//! Calls a test's body and judges how it ended. Both harnesses share it.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::catch_unwind;

use crate::facts::panic_text;
use crate::halt::{self, Halt};
use crate::registry::{Body, ShouldPanic, Test};

/// How a body ended.
pub(crate) enum Ended {
    Passed,
    /// It ended otherwise than it should have; the panic hook has said nothing about this.
    Failed(String),
    /// It panicked, and the panic hook has said so.
    Panicked(Box<dyn Any + Send>),
    /// It found half-way that it cannot do its work.
    Halted(Halt),
}

pub(crate) fn run(test: &Test) -> Ended {
    let (ended, asked_to_halt) = match call(test.body) {
        Ok(ended) => ended,
        Err(why) => return Ended::Failed(why),
    };
    let ended = match ended.map_err(<Box<dyn Any + Send>>::downcast::<Halt>) {
        Err(Ok(halt)) => return Ended::Halted(*halt),
        Err(Err(payload)) => Err(payload),
        // Whatever caught the unwinding, a test that cannot do its work has not passed.
        Ok(_) if asked_to_halt => {
            let why = "the test called `require!` or `skip!`, and something caught the unwinding by \
                       which these end it";
            return Ended::Failed(why.to_owned());
        }
        Ok(success) => Ok(success),
    };
    match (ended, test.should_panic) {
        (Ok(true), ShouldPanic::No) => Ended::Passed,
        (Ok(false), ShouldPanic::No) => Ended::Failed("the test returned an error".to_owned()),
        (Ok(_), _) => Ended::Failed("test did not panic as expected".to_owned()),
        (Err(payload), ShouldPanic::No) => Ended::Panicked(payload),
        (Err(payload), expected) => {
            // Dropping a payload can itself panic, and nobody needs it any more.
            judge_panic(&**ManuallyDrop::new(payload), expected)
        }
    }
}

/// Judges a panic of a test that should panic.
fn judge_panic(payload: &(dyn Any + Send), expected: ShouldPanic) -> Ended {
    let ShouldPanic::With(expected) = expected else {
        return Ended::Passed;
    };
    let text = panic_text(payload);
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

/// What the body returned or unwound with, and whether it was asked to stop.
type Called = (std::thread::Result<bool>, bool);

/// Calls the body, on a runtime if it needs one. That is built outside of what catches panics: a
/// runtime that cannot be built is no panic that a test should end with.
fn call(body: Body) -> Result<Called, String> {
    match body {
        Body::Unit(run) => Ok(halt::watch(|| {
            catch_unwind(|| {
                run();
                true
            })
        })),
        Body::Plain(run) => Ok(halt::watch(|| catch_unwind(run))),
        #[cfg(feature = "tokio")]
        Body::Async(run) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| format!("no tokio runtime could be built: {error}"))?;
            let run = std::panic::AssertUnwindSafe(|| run(&runtime));
            Ok(halt::watch(|| catch_unwind(run)))
        }
    }
}
