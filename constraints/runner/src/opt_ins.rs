//! Finds opt-ins in `KATA_TEST_ALLOW` that no test requires, such as mistyped ones.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use super::RunnerError;
use kata_test::__runner::ENDING;
use kata_test_host::constraint::nearest;

/// An opt-in that no test of the run requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownOptIn {
    /// The opt-in as written.
    pub name: String,
    /// A similar opt-in that a test requires, if there is one.
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownOptIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "KATA_TEST_ALLOW has {:?}, which no test requires",
            self.name
        )?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean {nearest:?}?"),
            None => Ok(()),
        }
    }
}

/// Compares a list such as `slow,destructive` with what the binaries of a run declared.
pub(super) fn unknown(folder: &Path, allowed: &str) -> Result<Vec<UnknownOptIn>, RunnerError> {
    let known = declared(folder)?;
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    let written = allowed.split(',').map(str::trim);
    let unknown = written.filter(|name| !name.is_empty() && !known.contains(*name));
    Ok(unknown
        .map(|name| UnknownOptIn {
            name: name.to_owned(),
            nearest: nearest(name, &names).map(|index| names[index].to_owned()),
        })
        .collect())
}

fn declared(folder: &Path) -> Result<BTreeSet<String>, RunnerError> {
    let mut known = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(RunnerError::io("read", folder))? {
        let path = entry.map_err(RunnerError::io("read", folder))?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            let lines = fs::read_to_string(&path).map_err(RunnerError::io("read", &path))?;
            known.extend(lines.lines().map(str::to_owned));
        }
    }
    Ok(known)
}
