//! Commands on PATH.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::system::why;
use super::{Answer, Finding};
use crate::sys::{Ran, may_execute, run_within};

/// How long `--version` may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Searches PATH the way execvp(3) does.
pub(super) fn answer(name: &str) -> Answer {
    let finding = match env::var_os("PATH") {
        Some(path) => search(name, &path),
        None => Finding::Absent("PATH is not set".to_owned()),
    };
    Answer::new(finding, "PATH")
}

fn search(name: &str, path: &OsStr) -> Finding {
    let mut not_executable = None;
    for directory in env::split_paths(path) {
        // An empty entry means the working directory.
        let empty = directory.as_os_str().is_empty();
        let file = if empty { PathBuf::from(".") } else { directory }.join(name);
        if !file.is_file() {
            continue;
        }
        if may_execute(&file).is_ok() {
            return Finding::Is(file.display().to_string());
        }
        not_executable.get_or_insert(file);
    }
    Finding::Absent(match not_executable {
        Some(file) => format!("{} is not executable", file.display()),
        None => format!("no executable file {name} found"),
    })
}

/// Runs the command with `--version` and reads the first version that it prints.
pub(super) fn version(name: &str) -> Answer {
    let path = match answer(name) {
        Answer {
            finding: Finding::Is(path),
            ..
        } => path,
        other => return other,
    };
    let source = format!("{path} --version");
    let output = match run_within(LIMIT, Path::new(&path), &["--version"]) {
        Ran::Ended {
            success: true,
            stdout,
            stderr,
            ..
        } => {
            let [stdout, stderr] =
                [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            format!("{stdout}\n{stderr}")
        }
        Ran::Ended { how, .. } => {
            return Answer::unknown(format!("{path} --version {how}"), source);
        }
        Ran::NotStarted(error) => {
            return Answer::unknown(format!("cannot start {path}: {}", why(&error)), source);
        }
        Ran::TooLate | Ran::Stopped => {
            let seconds = LIMIT.as_secs();
            return Answer::unknown(
                format!("{path} --version did not exit within {seconds} s"),
                source,
            );
        }
    };
    match first_version(&output) {
        Some(version) => Answer::is(version, source),
        None => Answer::unknown(format!("{path} --version prints no version"), source),
    }
}

/// Returns the first version in a command's output: numbers with dots, or else a number in the first line.
pub(crate) fn first_version(output: &str) -> Option<&str> {
    let output = output.trim();
    let first = output.lines().next()?;
    let dotted = |text| numbers(text).find(|number: &&str| number.contains('.'));
    dotted(first)
        .or_else(|| numbers(first).next())
        .or_else(|| dotted(output))
}

/// Returns the numbers in a text, with or without dots, that do not continue a word.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let from = at + text[at..].find(|c: char| c.is_ascii_digit())?;
            let rest = &text[from..];
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            at = from + end;
            let before = text[..from].chars().next_back();
            let two = text[..from].chars().rev().nth(1);
            let opens = match before {
                // The v of a version, but not the end of a word.
                Some('v' | 'V') => !two.is_some_and(char::is_alphanumeric),
                Some(other) => !other.is_alphanumeric() && other != '.' && other != '_',
                None => true,
            };
            if opens {
                return Some(rest[..end].trim_end_matches('.'));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    //! Scope: the search itself, over made-up directories.

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_an_executable_regular_file_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let [a, b, c] = ["a", "b", "c"].map(|name| root.path().join(name));
        for directory in [&a, &b, &c] {
            fs::create_dir(directory).expect("a directory");
        }
        let path = env::join_paths([&a, &b, &c]).expect("a PATH");
        let tool = |directory: &Path| directory.join("tool");

        assert_eq!(
            search("tool", &path),
            Finding::Absent("no executable file tool found".into())
        );

        fs::create_dir(tool(&a)).expect("a directory of that name");
        fs::write(tool(&b), "").expect("a file");
        fs::set_permissions(tool(&b), fs::Permissions::from_mode(0o644)).expect("chmod");
        let found = search("tool", &path);
        assert_eq!(
            found,
            Finding::Absent(format!("{} is not executable", tool(&b).display()))
        );

        fs::write(tool(&c), "").expect("a file");
        fs::set_permissions(tool(&c), fs::Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(
            search("tool", &path),
            Finding::Is(tool(&c).display().to_string())
        );
    }

    #[test]
    fn the_first_version_is_found() {
        for (output, expected) in [
            (
                "qemu-img version 8.2.2 (Debian 1:8.2.2+ds-0ubuntu1)\nCopyright (c) 2003-2023",
                Some("8.2.2"),
            ),
            ("git version 2.39.5", Some("2.39.5")),
            ("ip utility, iproute2-6.1.0, libbpf 1.1.0", Some("6.1.0")),
            ("systemd 252 (252.38-1~deb12u1)", Some("252.38")),
            ("252", Some("252")),
            ("v20.11.1", Some("20.11.1")),
            (
                "GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)",
                Some("5.2.15"),
            ),
            ("a tool\nversion 1.2", Some("1.2")),
            ("usage: tool [-x86]", None),
            ("", None),
        ] {
            assert_eq!(first_version(output), expected, "{output}");
        }
    }

    fn script(folder: &Path, text: &str) -> String {
        let file = folder.join("tool");
        fs::write(&file, text).expect("a script");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
        file.display().to_string()
    }

    /// The attribute refuses a name with a slash, but the search on PATH finds it.
    #[test]
    fn a_broken_command_is_undetermined() {
        let root = tempfile::tempdir().expect("a directory");
        let name = |text| script(root.path(), text);
        let finding = |name: String| version(&name).finding;

        let fine = finding(name("#!/bin/sh\necho tool 1.2 >&2"));
        assert_eq!(fine, Finding::Is("1.2".into()));
        let Finding::Unknown(text) = finding(name("#!/bin/sh\nexit 3")) else {
            panic!("exit 3")
        };
        assert!(text.ends_with("--version exited with code 3"), "{text}");
        let Finding::Unknown(text) = finding(name("#!/bin/sh\necho hello")) else {
            panic!("hello")
        };
        assert!(text.ends_with("prints no version"), "{text}");
        let Finding::Unknown(text) = finding(name("#!/no/such/interpreter")) else {
            panic!("exec")
        };
        assert!(
            text.starts_with("cannot start ") && text.contains("ENOENT"),
            "{text}"
        );
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_all_it_started() {
        let root = tempfile::tempdir().expect("a directory");
        let pid = root.path().join("pid");
        let text = format!("#!/bin/sh\nsleep 60 & echo $! > {}\nwait", pid.display());
        let Finding::Unknown(text) = version(&script(root.path(), &text)).finding else {
            panic!("it hangs")
        };
        assert!(text.ends_with("did not exit within 5 s"), "{text}");
        let pid: i32 = fs::read_to_string(pid)
            .expect("a pid")
            .trim()
            .parse()
            .expect("a pid");
        // The kernel reports the end of a process a little before it has ended.
        let deadline = std::time::Instant::now() + LIMIT;
        let alive = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while alive() {
            assert!(std::time::Instant::now() < deadline, "{pid} lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_command_ends_without_the_daemon_that_it_leaves() {
        let root = tempfile::tempdir().expect("a directory");
        let text = "#!/bin/sh\nsetsid sleep 60 &\necho $! > \"$0.pid\"\necho tool 1.2";
        let tool = script(root.path(), text);
        let start = std::time::Instant::now();
        let finding = version(&tool).finding;
        assert_eq!(finding, Finding::Is("1.2".into()));
        assert!(start.elapsed() < LIMIT);
        // The daemon has left the group and still has the command's output.
        let pid = fs::read_to_string(format!("{tool}.pid")).expect("a pid");
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().expect("a pid"));
        let killed = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        assert_eq!(killed, Ok(()), "it lives on");
    }

    proptest::proptest! {
        #[test]
        fn no_output_panics(output in proptest::prelude::any::<String>()) {
            let _ = first_version(&output);
        }
    }
}
