//! A reviewed list of tests that may run nowhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Record, RunnerError, TestId};

/// Tests that may run nowhere, a line each: the binary's id, a space, and the test's name. What
/// follows a `#` is a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedNowhere {
    tests: BTreeSet<TestId>,
}

impl AllowedNowhere {
    /// Reads a list.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a line is not of that form.
    pub fn read(path: &Path) -> Result<Self, RunnerError> {
        let text = fs::read_to_string(path).map_err(RunnerError::io("read", path))?;
        Self::parse(&text).map_err(|line| RunnerError::NoTest {
            path: path.to_owned(),
            line,
        })
    }

    /// The error is the number of the line that names no test.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut tests = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [] => {}
                [binary, test] => drop(tests.insert(TestId::new(binary, test))),
                _ => return Err(index + 1),
            }
        }
        Ok(Self { tests })
    }

    /// The tests that ran nowhere and are not on the list.
    #[must_use]
    pub fn missing(&self, outcomes: &[Record]) -> Vec<TestId> {
        nowhere(outcomes).difference(&self.tests).cloned().collect()
    }

    /// The tests on the list that did run somewhere, or are not there any more.
    #[must_use]
    pub fn stale(&self, outcomes: &[Record]) -> Vec<TestId> {
        self.tests.difference(&nowhere(outcomes)).cloned().collect()
    }
}

fn nowhere(outcomes: &[Record]) -> BTreeSet<TestId> {
    // A test may have an outcome in each of several places.
    let (nowhere, somewhere): (Vec<_>, Vec<_>) =
        outcomes.iter().partition(|one| one.outcome.is_nowhere());
    let somewhere: BTreeSet<TestId> = somewhere.into_iter().map(TestId::of).collect();
    let nowhere = nowhere.into_iter().map(TestId::of);
    nowhere.filter(|test| !somewhere.contains(test)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(test: &str, outcome: &str) -> Record {
        let line = format!(
            r#"{{"schema":1,"run":"r","binary":"p::it","test":"{test}","place":"here","phase":"run","attempt":1,"as_uid":0,"outcome":"{outcome}","reasons":[],"issue":null,"reason":null,"signal":null,"duration_ms":0,"measures":{{}}}}"#
        );
        serde_json::from_str(&line).expect("a record")
    }

    #[test]
    fn missing_and_stale_tests_are_found() {
        let allowed = AllowedNowhere::parse("# reviewed\np::it a  # no such CPU\np::it b\n\n");
        let allowed = allowed.expect("a list");
        let outcomes = [
            outcome("a", "nowhere"),
            outcome("b", "passed"),
            outcome("c", "nowhere"),
            outcome("d", "skipped"),
            outcome("e", "ignored"),
            outcome("f", "skipped"),
            outcome("f", "passed"),
        ];
        let id = |test: &str| TestId {
            binary: "p::it".into(),
            test: test.into(),
        };
        assert_eq!(allowed.missing(&outcomes), [id("c"), id("d")]);
        assert_eq!(allowed.stale(&outcomes), [id("b")]);
    }

    #[test]
    fn a_malformed_line_has_a_number() {
        assert_eq!(AllowedNowhere::parse("p::it a\n\np::it\n"), Err(3));
    }
}
