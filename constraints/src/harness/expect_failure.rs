//! A test that has to fail while some constraints are met. They are evaluated in the test's own process, as
//! its user.

use super::test_end::TestEnd;
use crate::constraint::{Status, evaluate};
use crate::facts::Host;
use crate::registry::{ExpectedFailure, Test};
use crate::runtime_skip::RuntimeSkip;

impl ExpectedFailure {
    /// The first whose constraints are met, with its index. What cannot be decided ends the test.
    pub(crate) fn of(test: &Test, host: &dyn Host) -> Result<Option<usize>, TestEnd> {
        for (index, expected) in test.expect_failure.iter().enumerate() {
            let evaluation = evaluate(expected.constraints, host);
            match evaluation.status {
                Status::Met => return Ok(Some(index)),
                Status::Unmet => {}
                status => {
                    let reasons = evaluation.reasons;
                    return Err(TestEnd::Skipped(RuntimeSkip { status, reasons }));
                }
            }
        }
        Ok(None)
    }

    /// What the end of the test's body means. `text` is that of its panic or error.
    pub(crate) fn weigh(&self, end: TestEnd, text: Option<&str>) -> TestEnd {
        match end {
            TestEnd::Passed if !self.sometimes => TestEnd::UnexpectedPass,
            TestEnd::Failed(why) => {
                let text = text.or(why.as_deref());
                if self.is_by(text.unwrap_or_default()) {
                    return TestEnd::ExpectedFailure;
                }
                let why = why.map_or(String::new(), |why| format!("{why}\n"));
                let message = self.message.unwrap_or_default();
                TestEnd::Failed(Some(format!(
                    "{why}{self}, and it does not contain {message:?}"
                )))
            }
            end => end,
        }
    }
}

#[cfg(test)]
mod tests {
    //! Scope: which end is the expected one. That the harness asks is covered by the sample binaries.

    use super::*;

    const EXPECTED: ExpectedFailure = ExpectedFailure {
        message: Some("no disk"),
        issue: Some("x/1"),
        ..ExpectedFailure::ANY
    };

    #[test]
    fn another_failure_is_a_failure() {
        let failed = |why: Option<&str>| TestEnd::Failed(why.map(str::to_owned));
        let weigh = |end, text| EXPECTED.weigh(end, text);
        assert_eq!(
            weigh(failed(None), Some("there is no disk")),
            TestEnd::ExpectedFailure
        );
        assert_eq!(
            weigh(failed(Some("no disk at all")), None),
            TestEnd::ExpectedFailure
        );
        let other = weigh(failed(None), Some("no file"));
        let TestEnd::Failed(Some(why)) = other else {
            panic!("{other:?}");
        };
        assert_eq!(
            why,
            "a failure is expected (issue x/1), and it does not contain \"no disk\""
        );
        assert_eq!(
            ExpectedFailure::ANY.weigh(failed(None), None),
            TestEnd::ExpectedFailure
        );
    }

    #[test]
    fn a_pass_is_expected_sometimes_only() {
        assert_eq!(
            EXPECTED.weigh(TestEnd::Passed, None),
            TestEnd::UnexpectedPass
        );
        let sometimes = ExpectedFailure {
            sometimes: true,
            ..ExpectedFailure::ANY
        };
        assert_eq!(sometimes.weigh(TestEnd::Passed, None), TestEnd::Passed);
    }
}
