//! The list of a plain binary's tests.

use std::collections::{BTreeMap, BTreeSet};

use super::PlainTest;
use crate::listing::{listed, no_list};
use crate::{Binary, RunnerError, StopToken, TestId, TestSettings};

/// All arguments together can be about this long.
const LONGEST_ARGUMENTS: usize = 100_000;

/// Lists the tests of a plain binary. Benchmarks are left out. No test runs.
///
/// # Errors
///
/// If the binary cannot be run or lists no tests, or if the run is to stop meanwhile.
pub fn list_plain(binary: &Binary, stop: StopToken<'_>) -> Result<Vec<PlainTest>, RunnerError> {
    let list = |further: &[&str]| {
        let arguments = [&["--list", "--format", "terse"], further].concat();
        answer(binary, &arguments, stop).and_then(|text| names(binary, &text))
    };
    let all = list(&[])?;
    let ignored: BTreeSet<String> = list(&["--ignored"])?.into_iter().collect();
    let mut reasons = match ignored.is_empty() {
        true => BTreeMap::new(),
        false => reasons(binary, &ignored, stop)?,
    };
    let test = |name: String| {
        let is_ignored = ignored.contains(&name);
        PlainTest {
            ignored: is_ignored.then(|| reasons.remove(&name).unwrap_or_default()),
            id: TestId::new(&*binary.id, name),
            runs: !is_ignored,
            settings: TestSettings::default(),
        }
    };
    Ok(all.into_iter().map(test).collect())
}

/// The names in a list: `a::b: test`.
fn names(binary: &Binary, text: &str) -> Result<Vec<String>, RunnerError> {
    let mut names = Vec::new();
    for line in text.lines() {
        match line.rsplit_once(": ") {
            Some((name, "test")) => names.push(name.to_owned()),
            Some((_, "benchmark")) => {}
            // A harness that has libtest's options may print more.
            _ if !binary.has_libtest => {}
            _ => {
                return Err(no_list(
                    binary,
                    format!("its output is not a list: {line:?}"),
                ));
            }
        }
    }
    Ok(names)
}

/// Returns the reasons of ignored tests. libtest prints them for tests that it is to run, and does not,
/// since they are ignored.
fn reasons(
    binary: &Binary,
    ignored: &BTreeSet<String>,
    stop: StopToken<'_>,
) -> Result<BTreeMap<String, String>, RunnerError> {
    let length: usize = ignored.iter().map(|name| name.len() + 1).sum();
    // Others accept one filter only.
    if !binary.has_libtest || length > LONGEST_ARGUMENTS {
        return Ok(BTreeMap::new());
    }
    let arguments: Vec<&str> = std::iter::once("--exact")
        .chain(ignored.iter().map(String::as_str))
        .collect();
    let text = answer(binary, &arguments, stop)?;
    let reason = |line: &str| {
        let (name, reason) = line.strip_prefix("test ")?.split_once(" ... ignored, ")?;
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        Some((name.to_owned(), reason.to_owned()))
    };
    Ok(text.lines().filter_map(reason).collect())
}

fn answer(binary: &Binary, arguments: &[&str], stop: StopToken<'_>) -> Result<String, RunnerError> {
    let mut command = binary.command(&binary.executable);
    command.args(arguments);
    listed(binary, command, stop)
}
