//! The table of mounts, read again whenever the kernel reports a change.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const TABLE: &str = "/proc/self/mountinfo";

/// A mount. Its id can be used again when it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    id: String,
    point: String,
    kind: String,
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.point, self.kind)
    }
}

pub(super) struct Mounts {
    /// `None` if the system has no such table.
    file: Option<File>,
    known: Vec<Mount>,
    /// Mounts that are not known.
    new: Vec<Mount>,
}

impl Mounts {
    pub(super) fn watch() -> Self {
        let mut mounts = Self {
            file: File::open(TABLE).ok(),
            known: Vec::new(),
            new: Vec::new(),
        };
        mounts.read();
        mounts.known.append(&mut mounts.new);
        mounts
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Whether the table has changed since the last call.
    pub(super) fn changed(&self) -> bool {
        let Some(fd) = self.fd() else { return false };
        let mut fds = [PollFd::new(fd, PollFlags::POLLPRI)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    pub(super) fn read(&mut self) {
        let Some(file) = &mut self.file else { return };
        let mut text = Vec::new();
        // On an error no mount is new.
        if file
            .rewind()
            .and_then(|()| file.read_to_end(&mut text))
            .is_ok()
        {
            self.new = parse(&String::from_utf8_lossy(&text));
            self.new.retain(|mount| !self.known.contains(mount));
        }
    }

    /// Mounts that have appeared and are not ignored.
    pub(super) fn new_ones(&self) -> impl Iterator<Item = &Mount> {
        self.new.iter()
    }

    /// Ignores a mount from now on.
    pub(super) fn ignore(&mut self, mount: Mount) {
        self.new.retain(|new| *new != mount);
        self.known.push(mount);
    }
}

fn parse(table: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ');
        Some(Mount {
            id: fields.next()?.to_owned(),
            point: unescape(fields.nth(3)?),
            kind: right.split(' ').next()?.to_owned(),
        })
    };
    table.lines().filter_map(line).collect()
}

/// The kernel writes a space, tab, line break and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (escaped, plain)| {
        text.replace(escaped, plain)
    })
}

#[cfg(test)]
mod tests {
    //! Scope: the table's form. That a mount is noticed shows in a sample's test, as root.

    use super::*;

    #[test]
    fn lines_with_and_without_optional_fields() {
        let table = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
                     40 35 0:5 / /a\\040b rw - tmpfs tmpfs rw\ngarbage\n";
        let shown: Vec<String> = parse(table).iter().map(Mount::to_string).collect();
        assert_eq!(shown, ["/mnt2 (ext3)", "/a b (tmpfs)"]);
    }
}
