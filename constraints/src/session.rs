//! The variables of a user's session, which are removed when a process changes its user.

use std::ffi::OsStr;

const NAMES: [&str; 10] = [
    "_", "HOME", "LOGNAME", "MAIL", "OLDPWD", "PWD", "SHELL", "SHLVL", "USER", "USERNAME",
];
const PREFIXES: [&str; 4] = ["SUDO_", "XDG_", "DBUS_", "SSH_"];

/// Whether a variable belongs to a user's session.
pub fn is_of_a_session(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    NAMES.contains(&&*name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
