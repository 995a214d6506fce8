//! Constraints: a tree that is built at compile time, without a look at the host.
//!
//! The constructors parse their literals at compile time and panic on a bad one, so that rustc reports a
//! mistyped name or version at the user's line. [`TABLE`] lists them.

mod atom;
mod contradictions;
mod demand;
mod evaluate;
mod evaluator;
mod kernel;
mod parse;
mod range;
mod suggest;
mod table;
mod text;
mod version;

use std::fmt;

pub use crate::facts::Probe;
use crate::names::Names;
pub use atom::Atom;
use atom::Kind;
#[cfg(test)]
pub(crate) const NAMESPACES: &[&str] = atom::namespace::NAMESPACES.names;
#[doc(hidden)]
pub use demand::Demand;

#[cfg(feature = "fuzzing")]
pub(crate) use kernel::Release;
#[cfg(feature = "fuzzing")]
pub(crate) use version::Version;

#[doc(hidden)]
pub use contradictions::assert_consistent;
#[doc(hidden)]
pub use parse::keep;
pub use parse::{ParseError, parse, suggest};
#[doc(hidden)]
pub use suggest::nearest;
pub use table::*;

pub use evaluate::{Evaluation, Status, evaluate};

/// A constraint: an atom, or several with an operator.
#[expect(
    clippy::large_enum_variant,
    reason = "a constant cannot be boxed, and these live in read-only data"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Constraint {
    /// A constraint without operators.
    Atom(Atom),
    /// All of them hold.
    All(&'static [Constraint]),
    /// At least one of them holds.
    Any(&'static [Constraint]),
    /// It does not hold.
    Not(&'static Constraint),
}

impl Constraint {
    /// Collects the names of opt-ins at any depth.
    #[doc(hidden)]
    pub fn opt_ins(&self, names: &mut Names<'static>) {
        match self {
            Self::Atom(Atom(Kind::OptIn(name))) => {
                names.insert(name);
            }
            Self::Atom(_) => {}
            Self::All(of) | Self::Any(of) => of.iter().for_each(|one| one.opt_ins(names)),
            Self::Not(of) => of.opt_ins(names),
        }
    }

    /// The uid that this constraint requires, if it is `uid = N`.
    #[doc(hidden)]
    #[must_use]
    pub fn required_uid(&self) -> Option<u32> {
        match self {
            Self::Atom(Atom(Kind::Uid(uid))) => Some(*uid),
            _ => None,
        }
    }

    /// Whether this constraint is `non_root`.
    #[doc(hidden)]
    #[must_use]
    pub fn is_non_root(&self) -> bool {
        matches!(self, Self::Atom(Atom(Kind::NonRoot)))
    }

    /// Whether a test with this constraint gets a network namespace of its own.
    #[doc(hidden)]
    #[must_use]
    pub fn isolates_network(&self) -> bool {
        match self {
            Self::Atom(Atom(kind)) => matches!(kind, Kind::IsolatedNetwork),
            Self::All(of) => of.iter().any(Self::isolates_network),
            Self::Any(_) | Self::Not(_) => false,
        }
    }

    /// Collects what the reasons of a skip can be called: the atoms, and the groups that they make.
    #[doc(hidden)]
    pub fn reason_names(&self, names: &mut Names<'static>) {
        self.negated_names(&|name| name, names);
    }

    fn negated_names(&self, negate: &dyn Fn(String) -> String, names: &mut Names<'static>) {
        match self {
            Self::Atom(atom) => {
                names.insert(keep(&negate(atom.to_string())));
            }
            Self::All(of) | Self::Any(of) => {
                names.insert(keep(&negate(self.to_string())));
                of.iter().for_each(|one| one.negated_names(negate, names));
            }
            Self::Not(of) => of.negated_names(&|name| negate(format!("not({name})")), names),
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
