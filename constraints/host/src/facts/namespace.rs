//! Namespaces. A probe creates one in a child that ends at once: sysctls, limits and security modules decide
//! whether that is possible, and /proc/self/ns shows none of them.
#![expect(
    unsafe_code,
    reason = "a child of a process with threads may do no more than unshare"
)]

use std::time::Duration;

use nix::errno::Errno;
use nix::libc::CLONE_NEWTIME;
use nix::sched::{CloneFlags, unshare};

use super::Answer;
use crate::facts::system::errno;
use crate::sys::{TRUNCATED, answer_within};

/// The time limit for unshare(2): network namespaces wait for others to be torn down.
const LIMIT: Duration = Duration::from_secs(5);

/// Creates the namespace in a child. In a new user namespace it creates another namespace too: one that
/// comes without capabilities is of no use.
pub(super) fn answer(kind: &'static str) -> Answer {
    let source = format!("unshare of a {kind} namespace");
    let Some(flag) = flag(kind) else {
        return Answer::unknown(format!("{kind:?} is no kind of namespace"), source);
    };
    let look = || {
        let first = unshare(flag);
        let then = match first {
            Ok(()) if flag == CloneFlags::CLONE_NEWUSER => unshare(CloneFlags::CLONE_NEWUTS),
            _ => Ok(()),
        };
        let code = |result: nix::Result<()>| result.map_or_else(|errno| errno as u8, |()| 0);
        [code(first), code(then)]
    };
    // SAFETY: the child makes system calls only.
    let answer = unsafe { answer_within(LIMIT, |send| send(&look())) };
    match answer.map(<[u8; 2]>::try_from) {
        Ok(Ok([first, then])) => outcome(kind, first.into(), then.into(), source),
        Ok(Err(_)) => Answer::unknown(TRUNCATED, source),
        Err(problem) => Answer::unknown(problem.to_string(), source),
    }
}

fn outcome(kind: &str, first: i32, then: i32, source: String) -> Answer {
    if first == 0 && then == 0 {
        return Answer::is("one could be created", source);
    }
    if first == 0 {
        let why = errno(Errno::from_raw(then));
        let text = format!("one could be created, but without any capability in it: {why}");
        return Answer::absent(text, source);
    }
    let code = Errno::from_raw(first);
    match code {
        Errno::EINVAL => Answer::absent(format!("this kernel has no {kind} namespaces"), source),
        Errno::EPERM => Answer::absent("EPERM, this user may not create one", source),
        Errno::EACCES => Answer::absent("EACCES, a security module forbids it", source),
        Errno::ENOSPC | Errno::EUSERS => {
            let text =
                format!("{code:?}, the limit in /proc/sys/user/max_{kind}_namespaces is reached");
            Answer::absent(text, source)
        }
        _ => Answer::unknown(errno(code), source),
    }
}

fn flag(kind: &str) -> Option<CloneFlags> {
    Some(match kind {
        "cgroup" => CloneFlags::CLONE_NEWCGROUP,
        "ipc" => CloneFlags::CLONE_NEWIPC,
        "mnt" => CloneFlags::CLONE_NEWNS,
        "net" => CloneFlags::CLONE_NEWNET,
        "pid" => CloneFlags::CLONE_NEWPID,
        "time" => CloneFlags::from_bits_retain(CLONE_NEWTIME),
        "user" => CloneFlags::CLONE_NEWUSER,
        "uts" => CloneFlags::CLONE_NEWUTS,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    //! Scope: every kind that an attribute accepts, on the host at hand.

    use super::*;
    use crate::facts::Finding;

    #[test]
    fn every_kind_is_answered_and_this_process_stays_where_it_is() {
        let before = std::fs::read_link("/proc/self/ns/uts").expect("a namespace");
        for kind in crate::constraint::NAMESPACES {
            let answer = answer(kind);
            let text = match &answer.finding {
                Finding::Is(text) | Finding::Absent(text) => text,
                Finding::Unknown(text) => panic!("{kind}: {text}"),
            };
            assert!(!text.is_empty());
        }
        let after = std::fs::read_link("/proc/self/ns/uts").expect("a namespace");
        assert_eq!(before, after);
    }

    #[test]
    fn each_error_has_its_text() {
        let text = |first: Errno| outcome("time", first as i32, 0, String::new()).finding;
        let absent = |text: &str| Finding::Absent(text.to_owned());
        assert_eq!(
            text(Errno::EINVAL),
            absent("this kernel has no time namespaces")
        );
        assert_eq!(
            text(Errno::EPERM),
            absent("EPERM, this user may not create one")
        );
        assert!(matches!(text(Errno::EIO), Finding::Unknown(_)));
        let hollow = outcome("user", 0, Errno::EPERM as i32, String::new());
        assert!(matches!(hollow.finding, Finding::Absent(_)));
    }
}
