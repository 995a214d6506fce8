//! The environment of a process that has become another user.
#![expect(unsafe_code, reason = "the environment is changed")]

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::account::Account;
use crate::session::is_of_a_session;
use crate::sys::may_execute;

/// Folders of the caller's, which stay if the user may use them.
const FOLDERS: [&str; 2] = ["CARGO_HOME", "RUSTUP_HOME"];

/// Gives the calling child, which has become this user, the variables of that user's session, and a
/// folder as HOME and TMPDIR.
///
/// # Safety
///
/// The process has one thread: no other may read the environment meanwhile.
pub(super) unsafe fn enter(account: &Account, home: &Path) {
    let is_closed = |name: &OsStr| {
        FOLDERS.iter().any(|folder| name == *folder)
            && env::var_os(name).is_some_and(|path| may_execute(Path::new(&path)).is_err())
    };
    let names = env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| is_of_a_session(name) || is_closed(name)) {
        // SAFETY: the caller's process has one thread.
        unsafe { env::remove_var(name) };
    }
    for (name, value) in variables(account, home) {
        // SAFETY: as above.
        unsafe { env::set_var(name, value) };
    }
}

fn variables(account: &Account, home: &Path) -> Vec<(&'static str, OsString)> {
    let mut variables = vec![("HOME", home.into()), ("TMPDIR", home.into())];
    if let Some(name) = &account.name {
        variables.push(("USER", name.into()));
        variables.push(("LOGNAME", name.into()));
        variables.push(("MAIL", format!("/var/mail/{name}").into()));
    }
    if let Some(shell) = &account.shell {
        variables.push(("SHELL", shell.into()));
    }
    // It is there as long as the user is logged in.
    let runtime = format!("/run/user/{}", account.uid);
    if fs::metadata(&runtime).is_ok_and(|folder| folder.uid() == account.uid.as_raw()) {
        variables.push(("XDG_RUNTIME_DIR", runtime.into()));
    }
    variables
}
