//! The environment variables of programs in a guest.

use std::path::{Path, PathBuf};

use kata_test_runner::Binary;

use super::image::BinaryFiles;

/// The folder for records in the guest.
pub(super) const RECORDS: &str = "/run/kata-test";

/// The folders for programs in the guest.
const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Variables that refer to the host, or are set below.
const HOST_VARIABLES: [&str; 20] = [
    "_",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "HOME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LOGNAME",
    "OLDPWD",
    "PATH",
    "PWD",
    "SHELL",
    "SHLVL",
    "SUDO_GID",
    "SUDO_UID",
    "SUDO_USER",
    "TMPDIR",
    "USER",
    "WAYLAND_DISPLAY",
    "LLVM_PROFILE_FILE",
    "HOSTNAME",
];
const HOST_PREFIXES: [&str; 5] = ["NEXTEST", "SSH_", "SYSTEMD_", "XDG_", "RUST_TEST_"];
/// Variables of the runner for harnesses on this host.
const RUNNER_VARIABLES: [&str; 11] = [
    "KATA_TEST_ARTIFACTS",
    "KATA_TEST_ARTIFACTS_ENDED",
    "KATA_TEST_EXCLUDE_FILE",
    "KATA_TEST_EXPECT",
    "KATA_TEST_MAY_SKIP",
    "KATA_TEST_FACTS",
    "KATA_TEST_LIFELINE",
    "KATA_TEST_RECORD_DIR",
    "KATA_TEST_RUN",
    "KATA_TEST_PLACE",
    "KATA_TEST_TIME_SCALE",
];

/// Returns the variables of a binary's programs, as root. Variables that are not UTF-8 are left out.
pub(super) fn of(binary: &Binary, files: &BinaryFiles) -> Vec<(String, String)> {
    let is_for_guests = |name: &str| !names_the_host(name) && !binary.secrets.is_secret(name);
    let mut all: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_for_guests(name))
        .collect();
    let own = binary.env.iter();
    let own = own.filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    let own: Vec<_> = own.filter(|(name, _)| is_for_guests(name)).collect();
    let folders = list(files.library_folders.iter().map(PathBuf::as_path));
    // First: the guest's own tools may have the same names in other folders.
    let first = files.program_folders.iter().map(PathBuf::as_path);
    let rest = PATH.iter().map(Path::new);
    let path = list(first.chain(rest.filter(|folder| !files.program_folders.contains(*folder))));
    let fixed = [
        ("PATH", &*path),
        ("HOME", "/root"),
        ("TMPDIR", "/tmp"),
        ("LD_LIBRARY_PATH", &folders),
        ("KATA_TEST_RECORD_DIR", RECORDS),
    ];
    for (name, value) in own.into_iter().chain(fixed) {
        set(&mut all, name, value);
    }
    all
}

/// Returns folders in the form of `PATH`.
fn list<'a>(folders: impl Iterator<Item = &'a Path>) -> String {
    let folders: Vec<_> = folders.filter_map(Path::to_str).collect();
    folders.join(":")
}

/// Sets a variable.
pub(super) fn set(environment: &mut Vec<(String, String)>, name: &str, value: &str) {
    environment.retain(|(known, _)| known != name);
    environment.push((name.to_owned(), value.to_owned()));
}

fn names_the_host(name: &str) -> bool {
    HOST_VARIABLES.contains(&name)
        || RUNNER_VARIABLES.contains(&name)
        || HOST_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_the_configuration_of_cargo_is_passed() {
        let env = [("MYSQL_PWD", "x"), ("KT_LEVEL", "7"), ("HOSTNAME", "h")];
        let binary = Binary {
            env: env
                .map(|(name, value)| (name.into(), value.into()))
                .to_vec(),
            executable: std::env::current_exe().unwrap(),
            ..Binary::default()
        };
        let passed = of(&binary, &BinaryFiles::of(&binary, &[]).unwrap());
        let names = passed.iter().map(|(name, _)| &**name);
        let own: Vec<&str> = names
            .filter(|name| env.iter().any(|(own, _)| own == name))
            .collect();
        assert_eq!(own, ["KT_LEVEL"]);
    }
}
