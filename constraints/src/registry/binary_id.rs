//! The binary id, as the runner or nextest states it. Only cargo has a target's name: an executable
//! has its crate's name, which has no dashes, and a path that can differ.

use std::env;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// The id of a binary that a runner starts itself.
pub const BINARY_ID: &str = "KATA_TEST_BINARY_ID";

/// A file with the ids of all binaries that cargo starts for a runner. Cargo gives every binary the
/// same variables, so each entry has an executable's real path behind the id and a tab. A NUL ends it.
pub const BINARY_IDS: &str = "KATA_TEST_BINARY_IDS";

/// The ids that may be this binary's. Processes inherit the variables of the test that starts them, so
/// the caller has to check an id.
pub(super) fn given_ids() -> &'static [String] {
    static IDS: OnceLock<Vec<String>> = OnceLock::new();
    IDS.get_or_init(|| {
        let named = [BINARY_ID, "NEXTEST_BINARY_ID"].map(|name| env::var(name).ok());
        let ids = std::iter::once(id_in_file()).chain(named);
        ids.flatten().filter(|id| !id.is_empty()).collect()
    })
}

fn id_in_file() -> Option<String> {
    let entries = fs::read(env::var_os(BINARY_IDS)?).ok()?;
    let executable = env::current_exe().and_then(fs::canonicalize).ok()?;
    entries.split(|byte| *byte == 0).find_map(|entry| {
        let tab = entry.iter().position(|byte| *byte == b'\t')?;
        let is_this = entry[tab + 1..] == *executable.as_os_str().as_bytes();
        is_this.then(|| String::from_utf8_lossy(&entry[..tab]).into_owned())
    })
}
