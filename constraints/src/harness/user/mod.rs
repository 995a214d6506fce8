//! Another user for a test that needs to be unprivileged, where this process is root.
//!
//! Only a need that stands by itself is provided: `not(root)` or `any(non_root, …)` ask how things
//! are, and get that answer.

mod account;
mod home;
mod judge;
mod session;

use std::env;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Pid, Uid, geteuid};

use crate::constraint::{Atom, Constraint};
use crate::registry::Test;
use crate::sys::{die_with, may_execute};

use account::Account;
pub(super) use home::Home;
pub(super) use judge::{judge_all, unknown_user};

/// The user that is nobody almost everywhere.
const NOBODY: u32 = 65534;

/// Whom a test runs as.
#[derive(Clone, Copy, Debug)]
pub(super) struct User(&'static Account);

impl PartialEq for User {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl User {
    /// The user that a test gets, if this process is root's and the test needs another one.
    pub(super) fn for_test(test: &Test) -> Result<Option<Self>, String> {
        if cfg!(target_os = "linux") && geteuid().is_root() {
            Self::wanted(test)
        } else {
            Ok(None)
        }
    }

    /// The user that a test gets wherever the process is root's. A uid comes before `non_root`.
    pub(super) fn wanted(test: &Test) -> Result<Option<Self>, String> {
        let uid = test.constraints.iter().find_map(|need| match need {
            Constraint::Atom(Atom::Uid(uid)) if *uid != 0 => Some(*uid),
            _ => None,
        });
        let is_non_root = |need| matches!(need, &Constraint::Atom(Atom::NonRoot));
        let account = match uid {
            Some(uid) => Account::of(Uid::from_raw(uid), None),
            None if test.constraints.iter().any(is_non_root) => {
                let (uid, gid) = unprivileged();
                Account::of(uid, Some(gid))
            }
            None => return Ok(None),
        };
        account.map(|account| Some(Self(account)))
    }

    pub(super) fn uid(self) -> u32 {
        self.0.uid.as_raw()
    }

    /// Gives the calling child, which has become this user, that user's variables and this home.
    #[expect(unsafe_code, reason = "the environment is changed")]
    pub(super) fn enter_session(self, home: &Home) {
        // SAFETY: a child that the harness has just forked has one thread.
        unsafe { session::enter(self.0, home.path()) };
    }

    /// Makes the calling child this user, for good.
    pub(super) fn become_it(self, parent: Pid) -> Result<(), String> {
        let failed = |call: &'static str| {
            move |errno: Errno| format!("cannot become uid {}: {call}: {errno}", self.0.uid)
        };
        #[cfg(target_os = "linux")]
        {
            use nix::unistd::{setgroups, setresgid, setresuid};
            let Account {
                uid, gid, groups, ..
            } = self.0;
            setgroups(groups).map_err(failed("setgroups"))?;
            setresgid(*gid, *gid, *gid).map_err(failed("setresgid"))?;
            setresuid(*uid, *uid, *uid).map_err(failed("setresuid"))?;
            // A process that changed its user is nobody's to look at, not even its own: it could
            // not write the maps of its user namespace.
            nix::sys::prctl::set_dumpable(true).map_err(failed("prctl"))?;
        }
        #[cfg(not(target_os = "linux"))]
        return Err(failed("setresuid")(Errno::ENOSYS));
        // The change of user has taken this away.
        die_with(parent);
        Ok(())
    }
}

/// The user who became root by sudo, else nobody.
fn unprivileged() -> (Uid, Gid) {
    let number = |name| {
        let number: Option<u32> = env::var(name).ok()?.parse().ok();
        number.filter(|id| *id != 0)
    };
    let (uid, gid) = number("SUDO_UID")
        .zip(number("SUDO_GID"))
        .unwrap_or((NOBODY, NOBODY));
    (Uid::from_raw(uid), Gid::from_raw(gid))
}

/// What a test needs to reach: the folder of its package, and its own executable.
pub(super) fn needed() -> Vec<PathBuf> {
    let paths = [env::current_dir(), env::current_exe()];
    paths.into_iter().flatten().collect()
}

/// The first folder or file on the way to these that the calling process cannot use.
pub(super) fn out_of_reach(needed: &[PathBuf]) -> Option<String> {
    needed.iter().find_map(|path| {
        let mut way: Vec<_> = path.ancestors().collect();
        way.reverse();
        way.into_iter().find_map(|step| {
            let errno = may_execute(step).err()?;
            Some(format!("cannot reach {}: {}", step.display(), errno.desc()))
        })
    })
}
