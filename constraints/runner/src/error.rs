//! What can go wrong with a run's files.

use std::io;
use std::path::{Path, PathBuf};

/// A run's files could not be made, read or written.
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
    /// The pipe that tells test processes of this one's end could not be made.
    #[error("cannot make the pipe that ends the tests with their runner")]
    Lifeline(#[source] io::Error),
    /// The outcomes cannot be written as JUnit.
    #[error("cannot write the outcomes as JUnit")]
    Junit(#[source] quick_junit::SerializeError),
    /// A manifest is none.
    #[error("{} is no manifest", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: Box<toml::de::Error>,
    },
    /// What a runner has noted of its run cannot be understood.
    #[error("{} does not say what its run was", path.display())]
    About {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// A source file has no tokens of Rust.
    #[error("{}:{line}: {problem}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The reason.
        problem: String,
    },
    /// A test binary does not say which tests it has.
    #[error("{binary} does not list its tests: {problem}")]
    List {
        /// The binary's id.
        binary: String,
        /// What happened.
        problem: String,
    },
    /// The run was stopped while it was planned.
    #[error("stopped before any test ran")]
    Stopped,
    /// A line of a list of tests names none.
    #[error("line {line} of {} is not a binary's id, a space and a test's name", path.display())]
    NoTest {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// There is nothing to merge.
    #[error("no records lie in or below {}: state the folder that the shards' records were put into", .0.display())]
    NoRecords(PathBuf),
    /// A line that is complete is no record.
    #[error("line {line} of {} is no record of a test", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The parser's reason.
        source: serde_json::Error,
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
