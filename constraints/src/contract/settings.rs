//! Reads the variables.

use std::ffi::OsString;

use crate::constraint::{Constraint, parse};

/// Constraints that this host promises.
pub const EXPECT: &str = "KATA_TEST_EXPECT";
/// The only constraints for which a test may be skipped.
pub const MAY_SKIP: &str = "KATA_TEST_MAY_SKIP";
/// A file with the facts of another host, to be evaluated instead of this one.
pub const FACTS: &str = "KATA_TEST_FACTS";
/// Whether unmet tests are run as well.
pub(crate) const UNSKIP: &str = "KATA_TEST_UNSKIP";

/// The text of a variable, if it is set.
pub(super) fn text(name: &str, value: Option<OsString>) -> Result<Option<String>, String> {
    let text = value.map(OsString::into_string).transpose();
    text.map_err(|value| format!("{name} is not valid UTF-8: {}", value.to_string_lossy()))
}

/// Constraints in the attribute's grammar.
pub(super) fn constraints(name: &str, text: &str) -> Result<Vec<Constraint>, String> {
    parse(text).map_err(|problem| format!("{name}: {problem}"))
}

/// A switch, which is off if unset.
pub(super) fn switch(name: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        Some("1") => Ok(true),
        None | Some("" | "0") => Ok(false),
        Some(other) => Err(format!("{name} must be 0 or 1, got {other:?}")),
    }
}

/// Whether unmet tests are run as well, for `require!`. Another value than 1 or 0 has stopped the run
/// before.
pub(crate) fn unskip() -> bool {
    std::env::var_os(UNSKIP).is_some_and(|value| value == "1")
}
