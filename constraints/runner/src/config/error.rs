//! Mistakes in the configuration.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file has a mistake.
    #[error("{}:{line}: {problem}", path.display())]
    Mistake {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Both files have a configuration.
    #[error(
        "{} and [workspace.metadata.kata-test] in Cargo.toml both have a configuration; keep one of them",
        path.display()
    )]
    TwoFiles {
        /// The file of its own.
        path: PathBuf,
    },
}

/// A mistake, with the bytes of the text that it concerns, if known.
pub(super) struct Mistake {
    pub(super) problem: String,
    pub(super) span: Option<Range<usize>>,
}

impl Mistake {
    pub(super) fn at(span: Range<usize>, problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            span: Some(span),
        }
    }

    pub(super) fn in_file(self, path: &Path, text: &str) -> ConfigError {
        let start = self.span.map_or(0, |span| span.start.min(text.len()));
        let before = &text.as_bytes()[..start];
        ConfigError::Mistake {
            path: path.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            problem: self.problem,
        }
    }
}

impl From<toml::de::Error> for Mistake {
    fn from(error: toml::de::Error) -> Self {
        // Some messages have several lines; an error is one.
        let lines: Vec<&str> = error.message().lines().map(str::trim).collect();
        Self {
            problem: lines.join("; "),
            span: error.span(),
        }
    }
}
