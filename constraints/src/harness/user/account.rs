//! What the host knows of a user.

#[cfg(target_os = "linux")]
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use nix::unistd::{Gid, Uid, User};

/// A user with all of its groups.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    /// The supplementary groups, and the one above.
    pub(super) groups: Vec<Gid>,
    /// Unknown to the host: the number is all there is.
    pub(super) name: Option<String>,
    pub(super) shell: Option<PathBuf>,
}

impl Account {
    /// Looks a user up, once for this process. Without a group it is the user's own, or the one of the
    /// same number.
    pub(super) fn of(uid: Uid, gid: Option<Gid>) -> &'static Self {
        static KNOWN: Mutex<Vec<&Account>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it =
            |account: &&&Self| account.uid == uid && gid.is_none_or(|gid| account.gid == gid);
        if let Some(account) = known.iter().find(is_it) {
            return account;
        }
        let account: &'static Self = Box::leak(Box::new(Self::look_up(uid, gid)));
        known.push(account);
        account
    }

    fn look_up(uid: Uid, gid: Option<Gid>) -> Self {
        let user = User::from_uid(uid).ok().flatten();
        let own = || user.as_ref().map(|user| user.gid);
        let gid = gid.or_else(own).unwrap_or(Gid::from_raw(uid.as_raw()));
        let (name, shell) = user.map(|user| (user.name, user.shell)).unzip();
        Self {
            uid,
            gid,
            groups: name
                .as_deref()
                .map_or_else(|| vec![gid], |name| groups(name, gid)),
            name,
            shell,
        }
    }
}

/// All groups of a user, the given one among them.
#[cfg(target_os = "linux")]
fn groups(name: &str, gid: Gid) -> Vec<Gid> {
    let groups = CString::new(name).map(|name| nix::unistd::getgrouplist(&name, gid));
    groups
        .ok()
        .and_then(Result::ok)
        .unwrap_or_else(|| vec![gid])
}

/// Nobody is given another user there.
#[cfg(not(target_os = "linux"))]
fn groups(_: &str, gid: Gid) -> Vec<Gid> {
    vec![gid]
}
