//! Errors of a run.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

/// An error of a parser or serializer.
type BoxError = Box<dyn StdError + Send + Sync>;

/// A run failed for another reason than a test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// A file or folder could not be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `create`, `read`, `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The pipe that ends the tests of a killed runner could not be created.
    #[error("cannot create the pipe that ends the tests when the runner is killed")]
    Lifeline(#[source] io::Error),
    /// The outcomes cannot be written as JUnit.
    #[error("cannot write the outcomes as JUnit")]
    Junit(#[source] BoxError),
    /// A manifest cannot be parsed.
    #[error("cannot parse manifest {}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: BoxError,
    },
    /// The metadata of a run cannot be parsed.
    #[error("cannot parse run metadata {}", path.display())]
    RunInfo {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: BoxError,
    },
    /// A source file cannot be tokenized.
    #[error("{}:{line}: {problem}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The reason.
        problem: String,
    },
    /// A test binary has tests of kata-test and a `main` that does not run them.
    #[error(
        "{binary} has tests with `#[kata_test]`, and its `main` runs none of them; write `kata_test::main!();` instead of \
         that `main`, or remove `harness = false`"
    )]
    AnotherMain {
        /// The binary's id.
        binary: String,
    },
    /// A test binary did not list its tests.
    #[error("{binary} did not list its tests: {problem}")]
    List {
        /// The binary's id.
        binary: String,
        /// What happened.
        problem: String,
    },
    /// The run was stopped while it was planned.
    #[error("stopped before any test ran")]
    Stopped,
    /// A line of a list of tests is malformed.
    #[error("{}:{line}: expected a binary id, a space and a test name", path.display())]
    NoTest {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// There are no records.
    #[error("no records in or below {}; pass the folder with the records of the shards", .0.display())]
    NoRecords(PathBuf),
    /// A line is not a record.
    #[error("{}:{line}: not a record of a test", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The parser's reason.
        source: BoxError,
    },
}

impl RunnerError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

/// Formats an error with its causes.
#[must_use]
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (**error).source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
