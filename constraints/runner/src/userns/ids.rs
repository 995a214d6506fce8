//! Which user and group ids exist in the namespace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::{Pid, Uid, User, getegid, geteuid};

use kata_test_host::sys::{Ran, command_within};

/// The number of ids that are mapped if root starts it: 0 to 65535, with those of all users and of `nobody` (65534).
const WHOLE: u32 = 1 << 16;

/// How long `newuidmap` may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The ids of a namespace. Root there is the user that starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// Root alone. Files of other users and groups belong to `nobody` (65534) there.
    Root,
    /// The ids that `/etc/subuid` and `/etc/subgid` give to the user follow root.
    Subordinate(Subordinate),
    /// The same ids as outside: only root may map them.
    Same,
}

/// Ids that a user has besides its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subordinate {
    uids: IdRange,
    gids: IdRange,
    /// `newuidmap` and `newgidmap`.
    programs: [PathBuf; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IdRange {
    first: u32,
    count: u32,
}

impl Ids {
    /// Returns what may be tried for this user, the most ids first.
    pub(super) fn choices() -> Vec<Self> {
        let further = match geteuid().is_root() {
            true => Some(Self::Same),
            false => Subordinate::of_user().map(Self::Subordinate),
        };
        further.into_iter().chain([Self::Root]).collect()
    }

    /// Returns whether there are other users than root.
    pub(super) fn has_users(&self) -> bool {
        *self != Self::Root
    }

    /// Maps the ids of a process's namespace.
    pub(super) fn map(&self, process: Pid) -> io::Result<()> {
        let write = |file: &str, text: String| fs::write(format!("/proc/{process}/{file}"), text);
        match self {
            Self::Same => {
                write("uid_map", format!("0 0 {WHOLE}"))?;
                write("gid_map", format!("0 0 {WHOLE}"))
            }
            Self::Root => {
                // Who could leave a group could open what is closed to it.
                write("setgroups", "deny".to_owned())?;
                write("uid_map", format!("0 {} 1", geteuid()))?;
                write("gid_map", format!("0 {} 1", getegid()))
            }
            Self::Subordinate(of) => {
                let [of_users, of_groups] = &of.programs;
                run(of_users, process, geteuid().as_raw(), of.uids)?;
                run(of_groups, process, getegid().as_raw(), of.gids)
            }
        }
    }
}

impl std::fmt::Display for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => f.write_str("without other users"),
            Self::Subordinate(of) => write!(
                f,
                "with {} user ids and {} group ids",
                of.uids.count.saturating_add(1),
                of.gids.count.saturating_add(1)
            ),
            Self::Same => write!(f, "with {WHOLE} user and group ids"),
        }
    }
}

impl Subordinate {
    fn of_user() -> Option<Self> {
        let user = User::from_uid(geteuid()).ok().flatten();
        let name = user.as_ref().map_or("", |user| &user.name);
        let ids = |file: &str| {
            let text = fs::read_to_string(file).ok()?;
            IdRange::largest(&text, name, geteuid())
        };
        Some(Self {
            uids: ids("/etc/subuid")?,
            gids: ids("/etc/subgid")?,
            programs: [find("newuidmap")?, find("newgidmap")?],
        })
    }
}

impl IdRange {
    /// Returns the largest range that a file gives to a user: lines of `user:first:count`.
    fn largest(text: &str, name: &str, uid: Uid) -> Option<Self> {
        let uid = uid.to_string();
        let range = |line: &str| {
            let mut fields = line.split(':');
            let user = fields.next()?;
            if user != uid && (user != name || name.is_empty()) {
                return None;
            }
            let first = fields.next()?.parse().ok()?;
            let count = fields.next()?.trim_end().parse().ok()?;
            (count > 0).then_some(Self { first, count })
        };
        text.lines().filter_map(range).max_by_key(|of| of.count)
    }
}

/// Maps root to one id, and the ids after it to a range.
fn run(program: &Path, process: Pid, root: u32, further: IdRange) -> io::Result<()> {
    let mut command = Command::new(program);
    let numbers = [0, root, 1, 1, further.first, further.count];
    command
        .arg(process.to_string())
        .args(numbers.map(|number| number.to_string()));
    let failed = |why: String| {
        let name = program.display();
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{name} failed: {why}"),
        ))
    };
    match command_within(LIMIT, command) {
        Ran::Ended { success: true, .. } => Ok(()),
        Ran::Ended { how, stderr, .. } => {
            let said = String::from_utf8_lossy(&stderr);
            failed(said.lines().next().unwrap_or(&how).to_owned())
        }
        Ran::NotStarted(error) => Err(error),
        Ran::TooLate | Ran::Stopped => failed(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let mut paths = std::env::split_paths(&folders).map(|folder| folder.join(program));
    paths.find(|path| path.is_absolute() && path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_range_of_a_user_counts() {
        let text = "alice:100000:10\n1000:200000:65536\nbob:1:99\nalice:5\nalice:x:9\n:7:1000000\n";
        let of = |name: &str, uid: u32| {
            let range = IdRange::largest(text, name, Uid::from_raw(uid));
            range.map(|range| (range.first, range.count))
        };
        assert_eq!(of("alice", 1000), Some((200_000, 65_536)));
        assert_eq!(of("alice", 1), Some((100_000, 10)));
        assert_eq!(of("carol", 1), None);
        // A user without a name is not the one of a line without a name.
        assert_eq!(of("", 1), None);
    }
}
