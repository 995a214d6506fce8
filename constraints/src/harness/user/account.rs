//! A user's entry in the host's user database.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User};

/// A user with all of its groups.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    /// The supplementary groups, and the one above.
    pub(super) groups: Vec<Gid>,
    /// `None` if the database has no such user.
    pub(super) name: Option<String>,
    pub(super) shell: Option<PathBuf>,
}

/// The functions that read the database.
struct Database {
    user: fn(Uid) -> nix::Result<Option<User>>,
    groups: fn(&str, Gid) -> nix::Result<Vec<Gid>>,
}

impl Account {
    /// Looks a user up, once per process and group. The group defaults to the user's own, else to the one of
    /// the same number.
    pub(super) fn of(uid: Uid, gid: Option<Gid>) -> Result<&'static Self, String> {
        // By what was asked for: the group that was given may not be the user's own.
        type Asked = (Uid, Option<Gid>);
        static KNOWN: Mutex<Vec<(Asked, &Account)>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, account)) = known.iter().find(|(asked, _)| *asked == (uid, gid)) {
            return Ok(account);
        }
        let database = Database {
            user: User::from_uid,
            groups,
        };
        let account: &'static Self = Box::leak(Box::new(Self::look_up(uid, gid, &database)?));
        known.push(((uid, gid), account));
        Ok(account)
    }

    fn look_up(uid: Uid, gid: Option<Gid>, database: &Database) -> Result<Self, String> {
        let user = match (database.user)(uid) {
            Ok(user) => user,
            // getpwuid_r(3) lists these as "not found": there is no file, for example.
            Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => None,
            Err(errno) => {
                return Err(format!(
                    "cannot look up uid {uid}: getpwuid_r: {}",
                    errno.desc()
                ));
            }
        };
        let own = user.as_ref().map(|user| user.gid);
        let gid = gid.or(own).unwrap_or(Gid::from_raw(uid.as_raw()));
        let groups = match &user {
            Some(user) => (database.groups)(&user.name, gid).map_err(|errno| {
                let (name, error) = (&user.name, errno.desc());
                format!("cannot look up the groups of user {name}: getgrouplist: {error}")
            })?,
            None => vec![gid],
        };
        let (name, shell) = user.map(|user| (user.name, user.shell)).unzip();
        Ok(Self {
            uid,
            gid,
            groups,
            name,
            shell,
        })
    }
}

/// Returns all groups of a user, the given one among them.
#[cfg(target_os = "linux")]
fn groups(name: &str, gid: Gid) -> nix::Result<Vec<Gid>> {
    let name = std::ffi::CString::new(name).map_err(|_| Errno::EINVAL)?;
    nix::unistd::getgrouplist(&name, gid)
}

/// No test changes its user there.
#[cfg(not(target_os = "linux"))]
fn groups(_: &str, gid: Gid) -> nix::Result<Vec<Gid>> {
    Ok(vec![gid])
}

#[cfg(test)]
mod tests {
    //! Scope: errors of the database. Real users are in the tests that run as root.

    use super::*;

    const SOMEBODY: Uid = Uid::from_raw(4321);

    fn root_s_entry(_: Uid) -> nix::Result<Option<User>> {
        let mut user = User::from_uid(Uid::from_raw(0))?.expect("root");
        user.name = "somebody".to_owned();
        Ok(Some(user))
    }

    #[test]
    fn an_error_of_the_database_is_not_taken_for_no_groups() {
        let no_groups: fn(&str, Gid) -> nix::Result<Vec<Gid>> = |_, _| Err(Errno::ENOMEM);
        let fails = Database {
            user: |_| Err(Errno::EIO),
            groups: no_groups,
        };
        let problem = Account::look_up(SOMEBODY, None, &fails).expect_err("an error");
        assert_eq!(problem, "cannot look up uid 4321: getpwuid_r: I/O error");
        let has_no_groups = Database {
            user: root_s_entry,
            groups: no_groups,
        };
        let problem = Account::look_up(SOMEBODY, None, &has_no_groups).expect_err("an error");
        assert_eq!(
            problem,
            "cannot look up the groups of user somebody: getgrouplist: Out of memory"
        );
    }

    #[test]
    fn an_account_with_another_group_is_not_taken_for_the_users_own() {
        let other = Gid::from_raw(7);
        let with_other = Account::of(SOMEBODY, Some(other)).expect("a user");
        let own = Account::of(SOMEBODY, None).expect("a user");
        assert_eq!((with_other.gid, own.gid), (other, Gid::from_raw(4321)));
    }

    #[test]
    fn an_unknown_user_has_the_group_of_its_number() {
        for result in [
            (|_| Ok(None)) as fn(Uid) -> nix::Result<Option<User>>,
            |_| Err(Errno::ENOENT),
        ] {
            let database = Database {
                user: result,
                groups: |_, _| Err(Errno::EIO),
            };
            let account = Account::look_up(SOMEBODY, None, &database).expect("a user");
            assert_eq!(account.groups, [Gid::from_raw(4321)]);
            assert_eq!(account.name, None);
        }
    }
}
