//! The environment variables that change how tests run.

use kata_test::constraint::nearest;

/// The prefix of all of them.
pub(super) const PREFIX: &str = "KATA_TEST_";

/// The variables that a user sets, and their effect.
const EFFECTS: &[(&str, &str)] = &[
    (
        "KATA_TEST_EXPECT",
        "here: a run fails before any test if this machine does not keep this promise",
    ),
    (
        "KATA_TEST_MAY_SKIP",
        "here: a skip for a constraint that is not listed fails",
    ),
    ("KATA_TEST_ALLOW", "all: tests with these opt-ins run"),
    (
        "KATA_TEST_UNSKIP",
        "here: tests whose requirements are not met run too",
    ),
    (
        "KATA_TEST_FACTS",
        "here: lists of tests have the verdicts of another machine",
    ),
    (
        "KATA_TEST_GRACE",
        "all: the time between SIGTERM and SIGKILL is changed",
    ),
    (
        "KATA_TEST_SLOW_AFTER",
        "all: the time until a test is announced as slow is changed",
    ),
    (
        "KATA_TEST_ALLOW_THREADS",
        "all: tests are forked although the process has threads",
    ),
    (
        "KATA_TEST_RETRIES",
        "here: a test that fails runs again, up to so many times",
    ),
    (
        "KATA_TEST_REPEAT",
        "here: each test runs up to so many times, until it fails",
    ),
    ("KATA_TEST_RECORD_DIR", "all: records are in this folder"),
    ("KATA_TEST_RUN", "all: records have this run id"),
    ("KATA_TEST_CACHE", "vm:…: the cache is in this folder"),
    (
        "KATA_TEST_CACHE_MAX",
        "vm:…: the cache has another maximum size",
    ),
    (
        "KATA_TEST_ARCHIVE",
        "vm:…: packages come from this archive, not from that of the host's apt",
    ),
    (
        "KATA_TEST_ARCHIVE_SUITES",
        "vm:…: the suites of that archive",
    ),
    (
        "KATA_TEST_ARCHIVE_KEYRING",
        "vm:…: the keyring of that archive",
    ),
];

/// Returns the effect of a variable, unless nothing reads it from a user's environment.
pub(super) fn effect(name: &str) -> Option<&'static str> {
    let found = EFFECTS.iter().find(|(known, _)| *known == name);
    found.map(|(_, effect)| *effect)
}

/// Returns which variable may be meant, for a message.
pub(super) fn meant(name: &str) -> String {
    let names: Vec<&str> = EFFECTS.iter().map(|(name, _)| *name).collect();
    match nearest(name, &names) {
        Some(index) => format!("; did you mean {}?", names[index]),
        None => String::new(),
    }
}

/// A variable, without a value that may have a password.
pub(super) fn shown(name: &str, value: &str) -> String {
    match value.contains('@') {
        true => format!("{name} is set"),
        false => format!("{name}={value}"),
    }
}

#[cfg(test)]
mod tests {
    //! **Scope**: that the list is complete.

    use super::*;

    /// Compares with the table in the documentation of kata-test.
    #[test]
    fn every_documented_variable_has_an_effect() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../constraints/src/lib.rs");
        let text = std::fs::read_to_string(file).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
        let documented = rows.filter(|row| row.starts_with(PREFIX)).map(|row| {
            let end = row.find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            &row[..end.expect("a name in backticks")]
        });
        let documented: Vec<&str> = documented.collect();
        assert!(documented.len() > 8, "{documented:?}");
        for name in documented {
            assert!(effect(name).is_some(), "{name}");
        }
    }
}
