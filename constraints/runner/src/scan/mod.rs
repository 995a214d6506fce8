//! Finds tests that no harness runs: in a target with `harness = false` rustc silently drops every plain
//! `#[test]`, and every attribute that expands to one.

mod returns;
mod source;
mod targets;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::RunnerError;
pub use returns::{EarlyReturn, early_returns};
use source::{Module, Source};

/// A function that looks like a test, and that nothing runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct UnregisteredTest {
    /// The source file.
    pub file: PathBuf,
    /// The attribute's line, from 1.
    pub line: usize,
    /// The attribute, as `tokio::test`.
    pub attribute: String,
    /// The function, if its name stands there.
    pub test: Option<String>,
    /// The target, as `test it` or `lib`.
    pub target: String,
}

impl fmt::Display for UnregisteredTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, test) = (
            self.file.display(),
            self.test.as_deref().unwrap_or("a function"),
        );
        let attribute = &self.attribute;
        write!(
            f,
            "{file}:{}: nothing runs {test}: `#[{attribute}]` is dropped, for the target `{}` has \
             `harness = false`; ",
            self.line, self.target
        )?;
        f.write_str(match attribute.as_str() {
            "test" => {
                "write `#[kata_test]`, or `#[macro_use(test)] extern crate kata_test;` at the root"
            }
            "rstest" => "add `#[kata_test::test]` below it",
            _ => "write `#[kata_test]` instead",
        })
    }
}

/// Scans the targets of a package for tests that nothing runs.
///
/// `manifest` is its `Cargo.toml`. A source file is looked for where rustc looks; one that is not
/// there is taken for one that is configured out.
///
/// # Errors
///
/// If the manifest or a source file cannot be read, or is none.
pub fn unregistered_tests(manifest: &Path) -> Result<Vec<UnregisteredTest>, RunnerError> {
    let mut unregistered = BTreeSet::new();
    let targets = targets::without_harness(manifest)?;
    // Examples are not tests, as a rule.
    let is_test = |target: &targets::Target| !target.name.starts_with("example ");
    for target in targets.into_iter().filter(is_test) {
        let mut seen = BTreeSet::new();
        let mut modules = vec![Module {
            file: target.root.clone(),
            outer_is_ours: false,
        }];
        let mut takes_over = None;
        while let Some(module) = modules.pop() {
            let file = &module.file;
            if !file.is_file() || !seen.insert(file.clone()) {
                continue;
            }
            let text = fs::read_to_string(file).map_err(RunnerError::io("read", file))?;
            let source = Source::read(&module, &text, *file == target.root)?;
            // The first file is the root, where the line stands that makes plain tests ours.
            let takes_over = *takes_over.get_or_insert(source.takes_over);
            for found in source.found {
                if found.attribute == "test" && takes_over {
                    continue;
                }
                unregistered.insert(UnregisteredTest {
                    file: file.clone(),
                    line: found.line,
                    attribute: found.attribute,
                    test: found.test,
                    target: target.name.clone(),
                });
            }
            modules.extend(source.modules);
        }
    }
    Ok(unregistered.into_iter().collect())
}

/// Returns which targets of a package have `harness = false`, as `test it` or `lib`.
///
/// # Errors
///
/// If the manifest cannot be read, or is none.
pub(super) fn targets_without_harness(manifest: &Path) -> Result<BTreeSet<String>, RunnerError> {
    let targets = targets::without_harness(manifest)?.into_iter();
    Ok(targets.map(|target| target.name).collect())
}

#[cfg(test)]
mod tests;
