//! Drops privileges for a test that needs to be unprivileged, where this process is root.
//!
//! Only `non_root` and `uid` by themselves have this effect: `not(root)` and `any(non_root, …)` are
//! evaluated as root.

mod account;
mod evaluate;
mod home;
mod session;

use std::env;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Pid, Uid, geteuid};

use crate::constraint::Constraint;
use crate::registry::Test;
use crate::sys::{die_with, may_execute};

use account::Account;
pub(super) use evaluate::{evaluate_as, unknown_user};
pub(super) use home::Home;

/// The uid and gid of nobody on almost every system.
const NOBODY: u32 = 65534;

/// The user that a test runs as.
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
        let mut uids = test.constraints.iter().filter_map(Constraint::required_uid);
        let uid = uids.find(|uid| *uid != 0);
        let account = match uid {
            Some(uid) => Account::of(Uid::from_raw(uid), None),
            None if test.constraints.iter().any(Constraint::is_non_root) => {
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

    pub(super) fn gid(self) -> u32 {
        self.0.gid.as_raw()
    }

    /// Sets the variables of this user's session and this home, in the calling child, which has dropped
    /// its privileges.
    #[expect(unsafe_code, reason = "the environment is changed")]
    pub(super) fn enter_session(self, home: &Home) {
        // SAFETY: a child that the harness has just forked has one thread.
        unsafe { session::enter(self.0, home.path()) };
    }

    /// Changes the calling child to this user, irrevocably.
    pub(super) fn drop_privileges(self, parent: Pid) -> Result<(), String> {
        let failed = |call: &'static str| {
            move |errno: Errno| {
                format!(
                    "cannot drop privileges to uid {}: {call}: {}",
                    self.0.uid,
                    errno.desc()
                )
            }
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
            // After setuid the process is not dumpable, so it could not write its own uid_map.
            nix::sys::prctl::set_dumpable(true).map_err(failed("prctl"))?;
        }
        #[cfg(not(target_os = "linux"))]
        return Err(failed("setresuid")(Errno::ENOSYS));
        // setresuid has cleared this.
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

/// The paths that a test needs access to: the folder of its package and its own executable.
fn required_paths() -> Vec<PathBuf> {
    let paths = [env::current_dir(), env::current_exe()];
    paths.into_iter().flatten().collect()
}

/// Names the first folder or file on the way to these that the calling process has no access to.
fn inaccessible(paths: &[PathBuf]) -> Option<String> {
    paths.iter().find_map(|path| {
        let mut way: Vec<_> = path.ancestors().collect();
        way.reverse();
        way.into_iter().find_map(|step| {
            let errno = may_execute(step).err()?;
            Some(format!(
                "has no access to {}: {}",
                step.display(),
                errno.desc()
            ))
        })
    })
}
