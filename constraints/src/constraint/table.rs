//! The one table of constraints. A row makes a constructor, what the run-time parser does with the
//! name, an entry for suggestions and listings, and the reference documentation.

use super::kernel::{Operator, Range};
use super::{Atom, Constraint, Probe, need};
use crate::verdict::Verdict;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name as it stands in the attribute.
    pub name: &'static str,
    /// What it asks for, in Markdown.
    pub doc: &'static str,
    /// How it is used, in the attribute's grammar.
    pub example: &'static str,
    pub(crate) build: Build,
}

/// What stands behind a name, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Build {
    Flag(Atom),
    Text(fn(&'static str) -> Result<Atom, &'static str>),
    Number(fn(u32) -> Result<Atom, &'static str>),
    /// The path of a function, which a text at run time cannot name.
    Function,
}

macro_rules! table {
    ($( $(#[doc = $doc:literal])+ $name:ident $example:literal $shape:ident($($arg:ident)?) => $atom:expr; )+) => {
        $( constructor! {
            #[doc = concat!("```ignore\n#[kata_test(", $example, ")]\n```\n")]
            $(#[doc = $doc])+
            $shape $name($($arg)?) $atom
        } )+

        /// Every constraint that an attribute can name.
        pub const TABLE: &[Entry] = &[
            $( Entry {
                name: stringify!($name),
                doc: concat!($($doc, "\n"),+),
                example: $example,
                build: build!($shape $($arg)? => $atom),
            } ),+
        ];

        /// The names alone.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

macro_rules! constructor {
    ($(#[doc = $doc:expr])+ flag $name:ident() $atom:expr) => {
        $(#[doc = $doc])+
        #[must_use]
        pub const fn $name() -> Constraint {
            Constraint::Atom($atom)
        }
    };
    ($(#[doc = $doc:expr])+ text $name:ident($arg:ident) $atom:expr) => {
        $(#[doc = $doc])+
        #[track_caller]
        #[must_use]
        pub const fn $name($arg: &'static str) -> Constraint {
            accept($atom)
        }
    };
    ($(#[doc = $doc:expr])+ number $name:ident($arg:ident) $atom:expr) => {
        $(#[doc = $doc])+
        #[track_caller]
        #[must_use]
        pub const fn $name($arg: u32) -> Constraint {
            accept($atom)
        }
    };
    ($(#[doc = $doc:expr])+ function $name:ident($arg:ident) $atom:expr) => {
        $(#[doc = $doc])+
        #[must_use]
        pub const fn $name(name: &'static str, run: fn() -> Verdict) -> Constraint {
            let $arg = Probe { name, run };
            Constraint::Atom($atom)
        }
    };
}

macro_rules! build {
    (flag => $atom:expr) => {
        Build::Flag($atom)
    };
    (text $arg:ident => $atom:expr) => {
        Build::Text(|$arg| $atom)
    };
    (number $arg:ident => $atom:expr) => {
        Build::Number(|$arg| $atom)
    };
    (function $arg:ident => $atom:expr) => {
        Build::Function
    };
}

/// Makes a bad literal a compile error at the place of the constructor's caller.
#[track_caller]
const fn accept(atom: Result<Atom, &'static str>) -> Constraint {
    match atom {
        Ok(atom) => Constraint::Atom(atom),
        Err(problem) => panic!("{}", problem),
    }
}

table! {
    /// The effective uid is 0.
    ///
    /// Read by geteuid(2). It says nothing about capabilities or about the user namespace.
    root "root" flag() => Atom::Root;
    /// The effective uid is not 0.
    ///
    /// Read by geteuid(2).
    non_root "non_root" flag() => Atom::NonRoot;
    /// The running kernel is in a range.
    ///
    /// Read by uname(2). Each version is compared as far as it is stated.
    kernel r#"kernel = ">= 5.10, < 6.9""# text(range) => in_range(Range::parse(range));
    /// The running kernel is that version as far as the requirement states it: any 6.1.x.
    kernel_eq r#"kernel_eq = "6.1""# text(version) => in_range(Range::one(Operator::Eq, version));
    /// The running kernel is another version than that.
    kernel_ne r#"kernel_ne = "6.1""# text(version) => in_range(Range::one(Operator::Ne, version));
    /// The running kernel is older than any 6.1.
    kernel_lt r#"kernel_lt = "6.1""# text(version) => in_range(Range::one(Operator::Lt, version));
    /// The running kernel is a 6.1 or older.
    kernel_le r#"kernel_le = "6.1""# text(version) => in_range(Range::one(Operator::Le, version));
    /// The running kernel is newer than any 6.1.
    kernel_gt r#"kernel_gt = "6.1""# text(version) => in_range(Range::one(Operator::Gt, version));
    /// The running kernel is a 6.1 or newer.
    ///
    /// Read by uname(2). Distributions port features back without changing the version: prefer to
    /// ask for the feature itself.
    kernel_ge r#"kernel_ge = "6.1""# text(version) => in_range(Range::one(Operator::Ge, version));
    /// /dev/kvm runs guest code at the speed of hardware.
    ///
    /// Shown by a bounded loop in a tiny guest. A node that opens, and even a guest that halts,
    /// prove nothing.
    kvm "kvm" flag() => Atom::Kvm;
    /// PATH leads to an executable regular file of that name.
    command r#"command = "qemu-img""# text(text) => match need::tool::name(text) {
        Ok(name) => Ok(Atom::Command(name)),
        Err(problem) => Err(problem),
    };
    /// What a function of yours, `fn() -> kata_test::Verdict`, says.
    ///
    /// It is called in a child process, once in each test process, and has ten seconds.
    when "when = path::to::probe" function(probe) => Atom::When(probe);
}

const fn in_range(range: Result<Range, &'static str>) -> Result<Atom, &'static str> {
    match range {
        Ok(range) => Ok(Atom::Kernel(range)),
        Err(problem) => Err(problem),
    }
}
