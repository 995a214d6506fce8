//! Records the opt-ins of a binary's tests. A runner checks `KATA_TEST_ALLOW` against those of all
//! binaries.

use std::env;

use super::paths::{self, at};
use super::write::complain;
use crate::facts::ALLOW;
use crate::names::Names;

/// The extension of a file with a binary's opt-ins, one a line.
pub const ENDING: &str = "opt-ins";

/// Records the opt-ins of a binary, if the user allows any.
pub(crate) fn declare(binary: &str, names: &Names<'_>) {
    if env::var_os(ALLOW).is_none_or(|allowed| allowed.is_empty()) {
        return;
    }
    let write = || {
        let folder = paths::folder(&paths::run())?;
        let name = format!("{}.{ENDING}", paths::file_name(binary));
        let lines: String = names.all().iter().map(|name| format!("{name}\n")).collect();
        // Every process of the binary writes the same.
        let written = folder.replace(&name, lines.as_bytes());
        written.map_err(|error| at(&folder.path().join(name), &error))
    };
    if let Err(error) = write() {
        complain(&error);
    }
}
