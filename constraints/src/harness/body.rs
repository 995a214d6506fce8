//! Runs a test's body. Both harnesses share it.

use std::any::Any;
use std::mem::ManuallyDrop;
use std::panic::catch_unwind;

use super::network;
use super::test_end::TestEnd;
use crate::facts::{Here, panic_text};
use crate::registry::{Body, ExpectedFailure, ShouldPanic, Test};
use crate::returned::take_error;
use crate::runtime_skip::{self, RuntimeSkip};

/// Runs the body. [`TestEnd::Failed`] has a text only if the panic hook has printed none. `tell` gets the
/// index of the test's `expect_failure` that applies, before the body runs.
pub(crate) fn run(test: &Test, tell: impl FnOnce(usize)) -> TestEnd {
    let expected = match ExpectedFailure::of(test, &Here) {
        Ok(expected) => expected,
        Err(end) => return end,
    };
    let Some(index) = expected else {
        return run_body(test).0;
    };
    tell(index);
    let (end, text) = run_body(test);
    test.expect_failure[index].weigh(end, text.as_deref())
}

/// How the body ended, with the text of its panic or error.
fn run_body(test: &Test) -> (TestEnd, Option<String>) {
    let _network = match network::enter(test) {
        Ok(entered) => entered,
        Err(why) => return (TestEnd::Failed(Some(why)), None),
    };
    let (result, called_skip) = match call(test.body) {
        Ok(called) => called,
        Err(why) => return (TestEnd::Failed(Some(why)), None),
    };
    // Dropping a payload can itself panic.
    let result = result.map_err(|payload| match payload.downcast::<RuntimeSkip>() {
        Ok(skip) => Ok(*skip),
        Err(payload) => Err(ManuallyDrop::new(payload)),
    });
    let failed = |why: &str| TestEnd::Failed(Some(why.to_owned()));
    let text = match &result {
        Err(Err(payload)) if !test.expect_failure.is_empty() => {
            panic_text(&***payload).map(str::to_owned)
        }
        _ => take_error(),
    };
    let end = match (result, test.should_panic) {
        (Err(Ok(skip)), _) => TestEnd::Skipped(skip),
        (Ok(_), _) if called_skip => failed(
            "the test called `require!` or `skip!`, and something caught the unwinding by which \
             these end it",
        ),
        (Ok(true), ShouldPanic::No) => TestEnd::Passed,
        (Ok(false), ShouldPanic::No) => failed("the test returned an error"),
        (Ok(_), _) => failed("test did not panic as expected"),
        (Err(Err(_)), ShouldPanic::No) => TestEnd::Failed(None),
        (Err(Err(payload)), expected) => check_panic(&**payload, expected),
    };
    // A test that has left out a part of its work has not passed.
    let end = match (runtime_skip::take_iterations(), end) {
        (Some(skip), TestEnd::Passed) => TestEnd::Skipped(skip),
        (_, end) => end,
    };
    (end, text)
}

/// Compares a panic with the one that the test should end with.
fn check_panic(payload: &(dyn Any + Send), expected: ShouldPanic) -> TestEnd {
    let ShouldPanic::With(expected) = expected else {
        return TestEnd::Passed;
    };
    let text = panic_text(payload);
    if text.is_some_and(|text| text.contains(expected)) {
        return TestEnd::Passed;
    }
    TestEnd::Failed(Some(match text {
        Some(text) => format!(
            "panic did not contain expected string\n      panic message: {text:?}\n \
             expected substring: {expected:?}"
        ),
        None => format!(
            "expected panic with string value, found a value of another type\n \
             expected substring: {expected:?}"
        ),
    }))
}

/// What the body returned or unwound with, and whether it called `require!` or `skip!` without effect.
type Called = (std::thread::Result<bool>, bool);

/// Calls the body, on a runtime if it is async. The runtime is built outside of `catch_unwind`: if it
/// cannot be built, a test that should panic has not panicked.
fn call(body: Body) -> Result<Called, String> {
    match body {
        Body::Unit(run) => Ok(runtime_skip::watch(|| {
            catch_unwind(|| {
                run();
                true
            })
        })),
        Body::Plain(run) => Ok(runtime_skip::watch(|| catch_unwind(run))),
        #[cfg(feature = "tokio")]
        Body::Async(run) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| format!("no tokio runtime could be built: {error}"))?;
            let run = std::panic::AssertUnwindSafe(|| run(&runtime));
            Ok(runtime_skip::watch(|| catch_unwind(run)))
        }
    }
}
