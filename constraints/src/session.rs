//! The variables of a user's session. What they say of one user is wrong for another, so they are
//! left out wherever a process becomes another user.

use std::ffi::OsStr;

const NAMES: [&str; 10] = [
    "_", "HOME", "LOGNAME", "MAIL", "OLDPWD", "PWD", "SHELL", "SHLVL", "USER", "USERNAME",
];
const PREFIXES: [&str; 4] = ["SUDO_", "XDG_", "DBUS_", "SSH_"];

/// Says whether a variable is about the session of a user.
pub fn is_of_a_session(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    NAMES.contains(&&*name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
