//! The variables that a program gets in a guest.

use kata_test_runner::Binary;

use super::parcel::Parcel;

/// Where records are written in the guest.
pub(super) const RECORDS: &str = "/run/kata-test";

/// What names things of the host, or is said anew.
const LEFT_OUT: [&str; 20] = [
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
const LEFT_OUT_PREFIXES: [&str; 5] = ["NEXTEST", "SSH_", "SYSTEMD_", "XDG_", "RUST_TEST_"];
/// What a runner says to the harness here, and not to that in the guest.
const LEFT_OUT_OF_OURS: [&str; 9] = [
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

/// Words in the names of variables that hold secrets. Tests in a guest are not trusted with them.
const SECRET_WORDS: [&str; 9] = [
    "AUTH",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "PASS",
    "PASSWD",
    "PASSWORD",
    "SECRET",
    "TOKEN",
];

/// The variables of a program of a parcel. Those that are no text stay here.
pub(super) fn of(binary: &Binary, parcel: &Parcel) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !is_left_out(name) && !is_secret(name))
        .collect();
    let own = binary.env.iter();
    let own = own.filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    let own: Vec<_> = own.filter(|(name, _)| !is_left_out(name)).collect();
    let folders: Vec<_> = parcel
        .library_folders
        .iter()
        .filter_map(|folder| folder.to_str())
        .collect();
    let folders = folders.join(":");
    let said = [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
        ("TMPDIR", "/tmp"),
        ("LD_LIBRARY_PATH", &folders),
        ("KATA_TEST_RECORD_DIR", RECORDS),
    ];
    for (name, value) in own.into_iter().chain(said) {
        set(&mut all, name, value);
    }
    all
}

/// Says where the program is.
pub(super) fn name_place(environment: &mut Vec<(String, String)>, place: &str) {
    set(environment, "KATA_TEST_PLACE", place);
}

/// Sets a variable.
pub(super) fn set(environment: &mut Vec<(String, String)>, name: &str, value: &str) {
    environment.retain(|(known, _)| known != name);
    environment.push((name.to_owned(), value.to_owned()));
}

fn is_left_out(name: &str) -> bool {
    LEFT_OUT.contains(&name)
        || LEFT_OUT_OF_OURS.contains(&name)
        || LEFT_OUT_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn is_secret(name: &str) -> bool {
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| {
        SECRET_WORDS
            .iter()
            .any(|secret| word.eq_ignore_ascii_case(secret))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_a_word_of_their_name() {
        for name in [
            "GITHUB_TOKEN",
            "CARGO_REGISTRIES_MINE_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "npm_config_password",
            "DOCKER_AUTH_CONFIG",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["RUST_BACKTRACE", "MONKEY", "AUTHOR", "BYPASS", "KEYMAP"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
