//! Why this host does not give a user namespace, and what to do.

use std::fs;
use std::io;

use nix::errno::Errno;

use super::setup::Step;

const MAX: &str = "/proc/sys/user/max_user_namespaces";
const CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";
const APPARMOR: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
const STATUS: &str = "/proc/self/status";

/// Reads a setting of this host.
pub(super) fn read(file: &str) -> Option<String> {
    fs::read_to_string(file).ok()
}

/// Explains an error: what failed, the setting that forbids it with its file, and what to do.
pub(super) fn explain(
    step: Step,
    error: &io::Error,
    read: &dyn Fn(&str) -> Option<String>,
) -> String {
    let what = match step {
        Step::Clone => "cannot create a user namespace",
        Step::Ids => "cannot map ids into a user namespace",
        Step::Proc => "cannot mount /proc in a user namespace",
        Step::Loopback => "cannot set up the loopback device of a network namespace",
        Step::Exec => "cannot execute the program",
    };
    let why = match cause(step, error, read) {
        Some(why) => format!(": {why}"),
        None => String::new(),
    };
    format!("{what} ({}){why}", shown(error))
}

fn cause(step: Step, error: &io::Error, read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let is = |file: &str, value: &str| read(file).is_some_and(|text| text.trim() == value);
    let set = |file: &str, now: &str, then: &str| {
        let name = file.trim_start_matches("/proc/sys/").replace('/', ".");
        format!("{file} is {now}; as root, run `sysctl {name}={then}`, or run these tests in a VM")
    };
    if is(MAX, "0") {
        return Some(set(MAX, "0", "15000"));
    }
    if is(CLONE, "0") {
        return Some(set(CLONE, "0", "1"));
    }
    if is(APPARMOR, "1") && matches!(errno, Some(Errno::EPERM | Errno::EACCES)) {
        let text = set(APPARMOR, "1", "0");
        return Some(format!(
            "{text}, or give this program an AppArmor profile with `userns`"
        ));
    }
    Some(match (step, errno?) {
        (Step::Clone, Errno::ENOSPC | Errno::EUSERS) => {
            format!(
                "a limit in {} is reached; raise it as root, or run these tests in a VM",
                MAX.trim_end_matches("/max_user_namespaces")
            )
        }
        (Step::Clone, Errno::EINVAL) => "this kernel lacks one of the namespaces".to_owned(),
        (Step::Clone, Errno::EPERM | Errno::ENOSYS) if has_seccomp_filter(read) => format!(
            "{STATUS} has Seccomp 2: a filter forbids it, as in a container; start the container with \
             one that permits it (`--security-opt seccomp=unconfined`), or run these tests in a VM"
        ),
        (Step::Clone, Errno::EPERM) => {
            "this process is in a chroot, or a security module forbids it; run these tests in a VM"
                .to_owned()
        }
        (Step::Proc, Errno::EPERM) => {
            "something is mounted over a part of /proc, as in a container; start the container without \
             that (`--security-opt systempaths=unconfined`), or run these tests in a VM"
                .to_owned()
        }
        _ => return None,
    })
}

fn has_seccomp_filter(read: &dyn Fn(&str) -> Option<String>) -> bool {
    let status = read(STATUS).unwrap_or_default();
    let mut lines = status.lines();
    lines.any(|line| {
        line.strip_prefix("Seccomp:")
            .is_some_and(|value| value.trim() == "2")
    })
}

/// The name of an error, or its text if it is not the system's.
fn shown(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    //! Scope: settings that this host does not have.

    use super::*;

    type Settings = &'static [(&'static str, &'static str)];

    #[test]
    fn a_refusal_names_the_file_its_value_and_a_remedy() {
        let cases: [(Step, Errno, Settings); 9] = [
            (Step::Clone, Errno::ENOSPC, &[(MAX, "0\n")]),
            (Step::Clone, Errno::ENOSPC, &[(MAX, "96364\n")]),
            (Step::Clone, Errno::EPERM, &[(CLONE, "0\n"), (MAX, "7\n")]),
            (Step::Ids, Errno::EPERM, &[(APPARMOR, "1\n")]),
            (Step::Proc, Errno::EACCES, &[(APPARMOR, "1\n")]),
            (
                Step::Clone,
                Errno::EPERM,
                &[(STATUS, "Name:\tx\nSeccomp:\t2\n")],
            ),
            (
                Step::Clone,
                Errno::EPERM,
                &[(STATUS, "Seccomp:\t0\n"), (APPARMOR, "0\n")],
            ),
            (Step::Proc, Errno::EPERM, &[]),
            (Step::Loopback, Errno::EIO, &[]),
        ];
        let explained = |(step, errno, files): (Step, Errno, Settings)| {
            let read = |file: &str| {
                let found = files.iter().find(|(name, _)| *name == file);
                found.map(|(_, text)| (*text).to_owned())
            };
            explain(step, &errno.into(), &read) + "\n"
        };
        let text: String = cases.into_iter().map(explained).collect();
        insta::assert_snapshot!(text);
    }
}
