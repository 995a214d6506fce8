//! Finds tests that return early because of the host. Such a test did nothing, and is counted as passed.
//!
//! Sources are parsed and not compiled, so what a name refers to is known by the name alone: a function or macro
//! of the searched files, or a well-known one.

mod definitions;
mod finder;
mod host_check;
mod instead;
mod tokens;

use std::path::{Path, PathBuf};

use definitions::Definitions;

/// A test that returns early because of the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EarlyReturn {
    /// The source file.
    pub(crate) file: PathBuf,
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// The test, or a helper of tests, with its inline modules.
    pub(crate) function: String,
    /// The condition, or the call of a macro.
    pub(crate) code: String,
    /// The attribute that states the same requirement, such as `#[kata_test(root)]`. `None`: only the test knows,
    /// so `kata_test::skip!` belongs there.
    pub(crate) attribute: Option<String>,
}

/// Finds the early returns of all files, each with its path and text. A file that is no Rust is passed to
/// `unreadable` with the reason.
pub(crate) fn find(
    files: &[(PathBuf, String)],
    mut unreadable: impl FnMut(&Path, String),
) -> Vec<EarlyReturn> {
    let mut parsed = Vec::new();
    for (path, text) in files {
        match syn::parse_file(text) {
            Ok(file) => parsed.push((path, file)),
            Err(error) => {
                let line = error.span().start().line;
                unreadable(path, format!("line {line}: {error}"));
            }
        }
    }
    let definitions = Definitions::of(parsed.iter().map(|(_, file)| file));
    let mut found = Vec::new();
    for (path, file) in &parsed {
        finder::find(path, file, &definitions, &mut found);
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests;
