//! What a test asks of the place it runs in: a tree, built at compile time, that never looks at the
//! host itself.
//!
//! The constructors parse their literals while the test is being compiled and panic on a bad one,
//! so a mistyped name or version is an error of rustc at the user's own line. [`TABLE`] lists them.

mod agree;
mod judge;
pub mod kernel;
mod nearest;
mod need;
mod operator;
mod parse;
mod table;
mod text;

use std::fmt;

use crate::verdict::Verdict;
use kernel::Range;

#[doc(hidden)]
pub use agree::agree;
pub(crate) use parse::keep;
pub use parse::{ParseError, parse, suggest};
pub use table::*;

pub(crate) use judge::{Judgement, Standing, judge};

/// A tree of needs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Constraint {
    /// One need.
    Atom(Atom),
    /// Every one of them.
    All(&'static [Constraint]),
    /// At least one of them.
    Any(&'static [Constraint]),
    /// The opposite.
    Not(&'static Constraint),
}

/// One need, which one answer decides.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Atom {
    /// The effective uid is 0.
    Root,
    /// The effective uid is not 0.
    NonRoot,
    /// The running kernel's version is in that range.
    Kernel(Range),
    /// A KVM that runs guests at the speed of hardware.
    Kvm,
    /// An executable file of this name on PATH.
    Command(&'static str),
    /// What the user's own function says.
    When(Probe),
}

/// A function of the user that decides a need.
#[derive(Clone, Copy)]
pub struct Probe {
    /// The path as the test names it.
    pub name: &'static str,
    /// The function, called in a child process.
    pub run: fn() -> Verdict,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe").field(&self.name).finish()
    }
}

impl PartialEq for Probe {
    /// Two modules can each have a `probe`, so the address counts, not only the name.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && std::ptr::fn_addr_eq(self.run, other.run)
    }
}

impl Eq for Probe {}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::NonRoot => f.write_str("non_root"),
            Self::Kernel(range) => write!(f, "kernel {range}"),
            Self::Kvm => f.write_str("kvm"),
            Self::Command(name) => write!(f, "command {name}"),
            Self::When(probe) => write!(f, "when {}", probe.name),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, of: &[Constraint]| {
            write!(f, "{name}(")?;
            for (index, constraint) in of.iter().enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                write!(f, "{comma}{constraint}")?;
            }
            f.write_str(")")
        };
        match self {
            Self::Atom(atom) => atom.fmt(f),
            Self::All(of) => list(f, "all", of),
            Self::Any(of) => list(f, "any", of),
            Self::Not(of) => write!(f, "not({of})"),
        }
    }
}
