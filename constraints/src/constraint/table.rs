//! The one table of constraints: every row makes a constructor and an entry of [`TABLE`].

use super::kernel::{Operator, Requirement};
use super::{Atom, Constraint, Probe};
use crate::verdict::Verdict;

/// A row of the table, for listings and for suggestions.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name as it stands in the attribute.
    pub name: &'static str,
    /// What it asks for, in Markdown.
    pub doc: &'static str,
}

macro_rules! table {
    ($( $(#[doc = $doc:literal])+ $name:ident($($arg:ident: $ty:ty),*) = $atom:expr; )+) => {
        $(
            $(#[doc = $doc])+
            #[track_caller]
            #[must_use]
            pub const fn $name($($arg: $ty),*) -> Constraint {
                Constraint::Atom($atom)
            }
        )+

        /// Every constraint that an attribute can name.
        pub const TABLE: &[Entry] = &[
            $( Entry { name: stringify!($name), doc: concat!($($doc, "\n"),+) } ),+
        ];
    };
}

table! {
    /// `root`: the effective uid is 0, read by geteuid(2). It says nothing about capabilities or
    /// about the user namespace.
    root() = Atom::Root;
    /// `non_root`: the effective uid is not 0, read by geteuid(2).
    non_root() = Atom::NonRoot;
    /// `kernel_eq = "6.1"`: the running kernel, read by uname(2), is that version as far as the
    /// requirement states it: any 6.1.x.
    kernel_eq(version: &'static str) = Atom::Kernel(Operator::Eq, Requirement::new(version));
    /// `kernel_ne = "6.1"`: the running kernel is another version than that.
    kernel_ne(version: &'static str) = Atom::Kernel(Operator::Ne, Requirement::new(version));
    /// `kernel_lt = "6.1"`: the running kernel is older than any 6.1.
    kernel_lt(version: &'static str) = Atom::Kernel(Operator::Lt, Requirement::new(version));
    /// `kernel_le = "6.1"`: the running kernel is a 6.1 or older.
    kernel_le(version: &'static str) = Atom::Kernel(Operator::Le, Requirement::new(version));
    /// `kernel_gt = "6.1"`: the running kernel is newer than any 6.1.
    kernel_gt(version: &'static str) = Atom::Kernel(Operator::Gt, Requirement::new(version));
    /// `kernel_ge = "6.1"`: the running kernel is a 6.1 or newer.
    kernel_ge(version: &'static str) = Atom::Kernel(Operator::Ge, Requirement::new(version));
    /// `kvm`: /dev/kvm runs guest code at the speed of hardware, shown by a bounded loop in a tiny
    /// guest. A node that opens, and even a guest that halts, prove nothing.
    kvm() = Atom::Kvm;
    /// `command = "qemu-img"`: PATH leads to an executable regular file of that name.
    command(name: &'static str) = Atom::Command(command_name(name));
    /// `when = path::to::probe`: what a function of yours, `fn() -> kata_test::Verdict`, says. It is
    /// called in a child process, once in each test process, and has ten seconds.
    when(name: &'static str, run: fn() -> Verdict) = Atom::When(Probe { name, run });
}

/// Accepts what can be the name of a file on PATH and nothing that looks like more.
#[track_caller]
const fn command_name(name: &'static str) -> &'static str {
    assert!(
        !name.is_empty(),
        "a command needs a name, such as \"qemu-img\""
    );
    let bytes = name.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        assert!(
            bytes[index] != b'/',
            "a command is searched on PATH: state its name without a directory"
        );
        assert!(
            bytes[index] > b' ' && bytes[index] != 0x7f,
            "a command is one name, without spaces or arguments"
        );
        index += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    //! Scope: the rows agree with what they build. Bad literals are covered by the UI tests.

    use super::*;

    #[test]
    fn names_and_display_agree() {
        let shown: Vec<String> = [
            root(),
            non_root(),
            kernel_eq("6.1"),
            kernel_ne("6.1.0-18"),
            kernel_lt("6.8-rc4"),
            kernel_le("5"),
            kernel_gt("5.10.16.4"),
            kernel_ge("5.0.10"),
            kvm(),
            command("qemu-img"),
            when("a::b", || Verdict::met("", "")),
        ]
        .iter()
        .map(Constraint::to_string)
        .collect();
        assert_eq!(
            shown,
            [
                "root",
                "non_root",
                "kernel = 6.1",
                "kernel != 6.1.0-18",
                "kernel < 6.8-rc4",
                "kernel <= 5",
                "kernel > 5.10.16.4",
                "kernel >= 5.0.10",
                "kvm",
                "command qemu-img",
                "when a::b",
            ]
        );
        assert_eq!(TABLE.len(), shown.len());
    }
}
